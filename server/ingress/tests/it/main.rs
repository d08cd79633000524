//! The ingress from outside: real sockets, real servers, everything on free ports.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should fail there"
)]

mod canaries;
mod closing;
mod control;
mod drain;
mod holds;
mod hygiene;
mod retries;
mod routing;
mod silence;
mod streaming;
mod support;
mod telling;
mod upgrades;
