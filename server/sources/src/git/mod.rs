//! Repositories, by the `git` program.
//!
//! git's own checkout is not used: a commit comes out as a tar stream (`git archive`) through the
//! same [`TreeWriter`](crate::tree::TreeWriter) as an upload, so one set of limits and checks holds
//! for both, no filter or hook has a place, and no `.git` is ever in the tree.

mod failure;
mod fetch;
mod run;
mod ssh;
mod submodules;

pub(crate) use fetch::Fetcher;
pub use ssh::ssh_wrapper;
