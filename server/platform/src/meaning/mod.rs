//! What a container printed: raw lines become level, message and fields.
//!
//! Lines come in one by one ([`Streams::feed`]) and go out as [`Printed`]. A line of its own goes
//! out at once; the lines of a stack trace go out together, as one entry.

pub(crate) mod clean;
mod fields;
mod keys;
mod level;
mod line;
mod logfmt;
mod streams;
mod trace;

pub(crate) use keys::KeyWatch;
pub(crate) use line::Meaning;
pub(crate) use streams::{Printed, Streams};
