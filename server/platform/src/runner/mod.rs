//! Runs deployments: loads, steps, stores, performs, repeats.

mod cleanup;
mod diagnose;
mod drive;
mod phases;
mod queue;
mod report;
mod rollout;

pub(crate) use queue::Runner;
pub(crate) use rollout::service_spec;
