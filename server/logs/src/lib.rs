//! `FlukeDeploy`'s log store: millions of lines per app on a small disk, on it before `append`
//! returns, found again in moments.
//!
//! # Files
//! ```text
//! lock                      held by the process that has the directory open
//! wal-0000000007.log        the write-ahead log: what is in no segment yet, and reader positions
//! wal.spare                 a write-ahead log that is no longer needed, for the next to write over
//! apps/app-shop/0000000003.seg   segments: blocks of about half a megabyte of text each
//! ```
//!
//! # Why so
//! - **Per app, by time**: what people ask is nearly always about one app and the last minutes, and
//!   what retention removes is the oldest of one app. Lines in a block are ordered by time, then by
//!   the sequence number given when they came; blocks may overlap in time, and queries keep the best
//!   lines of all blocks that can have some, in the order of where the blocks begin.
//! - **Compressed blocks with a filter of words**, not an index: an index of words costs more than
//!   the lines themselves and takes four fifths of the speed of writing. A filter costs 3 % and lets
//!   a search for a rare word pass by nearly all blocks. It is split into lines of 64 bytes of which
//!   one question needs one, so filters stay on disk and memory holds 150 bytes per block. It also
//!   knows replicas, releases, deployments and so on, so that filters on them pass blocks by too.
//! - **Three compressed sections**: counting by origin, level or time reads only the columns;
//!   searching text adds the messages; ids are read for lines that are shown.
//! - **One write and one `fdatasync` per `append`**: callers gather lines into batches, which commits
//!   them in groups. Compression runs on a thread of its own behind a bounded queue.
//! - **Blocks are made to last before the write-ahead log that has their lines is removed**, and not
//!   before: a few syncs per 32 MiB. A line that is in both after a crash is known by its sequence
//!   number. Blocks that fill slowly are carried from one write-ahead log to the next.
//! - **Reader positions are stored with the lines**, so that a collector that was killed goes on
//!   exactly behind the last line that is stored.
//!
//! # What it must never do
//! Lose a line for which `append` returned; show one twice; fail a query because one block is
//! damaged; hold up writing while somebody reads; use memory in proportion to what is stored, but
//! for those 150 bytes per block.

mod batch;
mod block;
mod bloom;
mod codec;
mod disk;
mod encoding;
mod error;
mod feed;
mod gone;
mod lookup;
mod options;
mod origin;
mod port;
mod query;
mod recovery;
mod retention;
mod scan;
mod sealer;
mod search;
mod segment;
mod space;
mod state;
mod store;
mod wal;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use lookup::{Export, MAX_BUCKETS};
pub use options::Options;
pub use port::Logs;
pub use query::{
    Bucket, Context, Cursor, Feed, FeedQuery, Histogram, MAX_REACH, Order, Page, Paging, Query,
    StoredLine, Total,
};
pub use retention::{Removed, Usage};
pub use store::{LogStore, MAX_POSITION_BYTES, MAX_POSITION_KEY_BYTES};
