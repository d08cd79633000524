//! The platform with its real store against an engine and an ingress that do as they are told:
//! fail, hang, lose replicas. Each test has a world of its own.
//!
//! The ingress of that world checks every table it is given: once an app has served, it must go on
//! to, and only replicas that are well may be named.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, but not the functions they share"
)]

mod approving;
mod bench;
mod cancelling;
mod crashing;
mod deploying;
mod environments;
mod failing;
mod files;
mod finding;
mod flukebase;
#[expect(dead_code, reason = "the tests of the client use the rest")]
#[path = "../../../flukebase/tests/it/stand_in.rs"]
mod flukebase_stand_in;
mod forwarding;
mod ingress;
mod journal;
mod moving;
mod outages;
mod people;
mod preparing;
mod queueing;
mod receiver;
mod reconciling;
mod redacting;
mod rights;
mod shop;
mod signing_in;
mod sinks;
mod standstill;
mod store;
mod summing_up;
mod swarm;
mod tap;
mod telling;
mod upkeep;
mod validating;
mod webhooks;
