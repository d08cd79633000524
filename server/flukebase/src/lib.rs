//! The client of the `FlukeBase` API: the platform's port [`Flukebase`] over HTTP/1.1 and its live
//! news over `/cable`.
//!
//! The other side is trusted with nothing: what it answers is bounded in time and size, read field by
//! field, and shortened before it is shown; it is never followed elsewhere. Whom a connection may reach
//! is decided by whoever gives the [`Dial`]. No token is ever part of an address, an error or a log line.
//!
//! [`Flukebase`]: flukedeploy_platform::ports::Flukebase

mod answer;
mod cable;
mod client;
mod dial;
mod pace;
mod port;
mod read;

pub use client::FlukebaseClient;
pub use dial::{Dial, Stream};
pub use pace::PER_MINUTE;
