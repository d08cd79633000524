//! Runs deployments: loads, steps, stores, performs, repeats.

mod acts;
mod approval;
mod back;
mod cleanup;
mod diagnose;
mod drive;
mod jobs;
mod phases;
mod prove;
mod queue;
mod report;
mod rollout;
mod secret_files;
mod services;
mod source;
mod spec;
mod traffic;
mod trial;
mod validation;

pub(crate) use queue::{Runner, busy_deployments};
pub(crate) use rollout::shift_after_restart;
pub(crate) use spec::service_spec;
pub(crate) use traffic::drain;
