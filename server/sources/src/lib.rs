//! Source archives and git repositories behind the platform's
//! [`Workshop`](flukedeploy_platform::ports::Workshop) port.
//!
//! Owns the directory `sources` and nothing else. What comes in is taken for hostile: a tree is
//! written through one [`tree::TreeWriter`], whatever it is made from, which follows no link and
//! counts every byte; git runs with an environment of its own, may call only addresses that were
//! checked before, and never gets a secret as an argument. No file of a source is ever run here.

mod archive;
mod fault;
mod git;
mod ignore;
mod pack;
mod places;
mod programs;
mod reach;
mod tree;
mod uploads;
mod workshop;

pub use git::ssh_wrapper;
pub use pack::pack_folder;
pub use reach::{Resolver, system_resolver};
pub use workshop::{SourceWorkshop, SourcesConfig};
