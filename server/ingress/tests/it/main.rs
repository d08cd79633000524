//! The ingress from outside: real sockets, real servers, everything on free ports.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should fail there"
)]

mod control;
mod drain;
mod hygiene;
mod retries;
mod routing;
mod streaming;
mod support;
mod upgrades;
