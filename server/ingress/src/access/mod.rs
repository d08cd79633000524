//! Which requests there were, for the logs of the apps: as much as each route wants told.
//!
//! A worker looks at a request it was asked to watch when the request has ended, and writes it down
//! if it failed, was slow, or chance has chosen it. Notes stay on the worker's thread until its next
//! tick, wait in one bounded place for the link, and leave in batches that the control plane has to
//! take one by one. What does not fit is counted and told as a number: requests wait for none of this.

mod note;
mod notebook;
mod outbox;
mod watched;

pub(crate) use note::Note;
pub(crate) use notebook::Notebook;
pub(crate) use outbox::Outbox;
pub(crate) use watched::{Trace, Watched};
