//! The workshop from outside: real archives, real repositories, real ssh.

#[cfg(test)]
mod archives;
#[cfg(test)]
mod packing;
#[cfg(test)]
mod repositories;
#[cfg(test)]
mod secure_shell;
#[cfg(test)]
mod support;
