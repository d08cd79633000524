//! The link to the control plane, which the ingress opens and keeps open.

mod jobs;
mod link;
mod probe;
mod telling;
mod wanted;

pub(crate) use link::{Link, write_snapshots};
