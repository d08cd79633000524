//! What can go wrong outside of a single request.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// Why an ingress did not start, or ended by itself.
#[derive(Debug, Error)]
pub enum IngressError {
    #[error("ingress configuration: {0}")]
    Config(String),
    #[error("listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("start an ingress thread")]
    Thread(#[source] io::Error),
    #[error("wait for signals")]
    Signals(#[source] io::Error),
    #[error("an ingress worker ended unexpectedly")]
    WorkerEnded,
}

/// Why a routing snapshot was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    #[error("host {0} belongs to two routes")]
    DuplicateHost(String),
    #[error("a service name must have 1 to 255 printable characters")]
    ServiceName,
    #[error("service {0} has an endpoint that cannot be connected to")]
    Endpoint(String),
    #[error("the epoch must have 1 to 128 characters")]
    Epoch,
}

/// Why an ingress does not look alive.
#[derive(Debug, Error)]
pub enum CheckError {
    #[error("ask the ingress")]
    Io(#[from] io::Error),
    #[error("the ingress gave no HTTP answer")]
    NotHttp,
    #[error("the ingress did not answer in time")]
    TimedOut,
}
