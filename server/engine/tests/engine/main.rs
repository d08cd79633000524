//! The adapter against a real engine.

#[cfg(test)]
mod absent;
#[cfg(test)]
mod builds;
#[cfg(test)]
mod data_plane;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swarm;
#[cfg(test)]
mod workload;
