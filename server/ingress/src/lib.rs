//! The L7 proxy: the data plane of `FlukeDeploy`.
//!
//! It forwards requests to replicas by host name, and takes its routing table as whole, versioned
//! snapshots from the control plane over a WebSocket that it opens itself. It keeps serving on the
//! last good snapshot when the control plane is away, even across its own restart.
//!
//! It must never know the store or Docker, never trust a client's `X-Forwarded-*`, never send a
//! request twice that may have had an effect, and never log query strings or credentials.
//!
//! One thread per worker, each with its own runtime, listener (`SO_REUSEPORT`) and pool of
//! upstream connections; the only things shared on the way of a request are the routing table
//! (read without a lock) and counters.

mod answer;
mod body;
mod check;
mod client;
mod config;
mod connection_pool;
mod control;
mod endpoint;
mod error;
mod forward;
mod headers;
mod ingress;
mod listener;
mod routing_state;
mod service;
mod snapshot_file;
mod table;
mod tunnel;
mod worker;

pub use check::check;
pub use config::{ControlToken, IngressConfig, Limits};
pub use error::{CheckError, IngressError, SnapshotError};
pub use ingress::{Ingress, run};
pub use routing_state::Applied;
