//! The L7 proxy: the data plane of `FlukeDeploy`.
//!
//! It forwards requests to replicas by host name, and takes its routing table as whole, versioned
//! snapshots from the control plane over a WebSocket that it opens itself. It keeps serving on the
//! last good snapshot when the control plane is away, even across its own restart.
//!
//! # What a request may meet
//!
//! - Releases take turns by weight (`table`). The turns go on from table to table, and a request
//!   keeps its turn however often it is tried: a release under test, which may not stand in for
//!   others, never gets more than its share. Testers (`testers`) get it whatever its weight.
//! - A replica that cannot be reached is suspected for longer and longer, and tried again by one
//!   request at a time (`endpoint`). A machine that vanishes without a word is noticed by the
//!   kernel (`connection_pool`); what may be sent again is sent elsewhere (`journey`).
//! - While nobody can answer, a request asks DNS, tries again for a moment, or is held for as long
//!   as its route says, without its body being read (`waiting`, `holds`).
//! - Tunnels of a release that is wanted no more are closed: `WebSockets` with a Close frame between
//!   two frames of theirs, everything else at the end of the time that is left (`tunnel`).
//!
//! It must never know the store or Docker, never trust a client's `X-Forwarded-*`, never send a
//! request twice that may have had an effect, and never log query strings or credentials.
//!
//! One thread per worker, each with its own runtime, listener (`SO_REUSEPORT`) and pool of
//! upstream connections; the only things shared on the way of a request are the routing table
//! (read without a lock) and counters.

mod access;
mod answer;
mod body;
mod check;
mod client;
mod client_stream;
mod compile;
mod config;
mod connection_pool;
mod control;
mod endpoint;
mod error;
mod forward;
mod headers;
mod holds;
mod ingress;
mod journey;
mod listener;
mod routing_state;
mod service;
mod snapshot_file;
mod table;
mod testers;
mod tunnel;
mod waiting;
mod websocket;
mod worker;

pub use check::check;
pub use config::{ControlToken, IngressConfig, Limits};
pub use error::{CheckError, IngressError, SnapshotError};
pub use ingress::{Ingress, run};
pub use routing_state::Applied;
