use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::request_record::{LeftOut, RequestRecord};
use flukedeploy_domain::routing::{ProbeOutcome, RoutingSnapshot, ServiceTraffic};
use thiserror::Error;
use tokio::sync::{broadcast, oneshot};

use crate::secret::Secret;

/// The ingresses that are connected right now.
#[async_trait]
pub trait Traffic: Send + Sync + 'static {
    /// Lets ingresses in at `host` that show `token`, on `port` if it is free (else on any).
    /// Returns the port. Called again with the same address it changes nothing.
    async fn listen(
        &self,
        host: IpAddr,
        port: Option<u16>,
        token: &Secret,
    ) -> Result<u16, TrafficError>;

    /// Keeps `snapshot` for ingresses that connect later, sends it to all that are connected, and
    /// returns how many confirmed it. Waits at most a few seconds; one that does not confirm is
    /// disconnected and takes the newest snapshot when it comes back.
    ///
    /// # Errors
    /// [`TrafficError::NoneConnected`] where nobody could confirm; the snapshot is kept anyway.
    async fn publish(&self, snapshot: RoutingSnapshot) -> Result<usize, TrafficError>;

    /// Asks one replica, from an ingress, whether it is well.
    async fn probe(
        &self,
        target: SocketAddr,
        probe: &HealthProbe,
        timeout_ms: u64,
    ) -> Result<ProbeOutcome, TrafficError>;

    /// Returns how many requests to `service` are left, over all ingresses: 0 when drained, else
    /// what was left at the time-out. `WebSockets` are asked to close after `close_after_ms`;
    /// `None` leaves them open.
    async fn await_drained(
        &self,
        service: &str,
        timeout_ms: u64,
        close_after_ms: Option<u64>,
    ) -> Result<u64, TrafficError>;

    /// Totals of these services over all ingresses, asked for now. A service that no ingress knows
    /// has none. Ingresses that do not answer in time make it fail: half a count is no count.
    async fn fresh_totals(
        &self,
        services: &[String],
    ) -> Result<HashMap<String, ServiceTraffic>, TrafficError>;

    /// Apps that sleep and that a request waits for.
    fn wanted(&self) -> broadcast::Receiver<(AppName, EnvironmentName)>;

    /// What the ingresses tell by themselves: the next of it, for one listener. Never ends; may be
    /// given up and called again without losing any.
    async fn news(&self) -> IngressNews {
        std::future::pending().await
    }

    /// Sends one real request through every ingress.
    async fn request(
        &self,
        host: &Hostname,
        path: &str,
        timeout_ms: u64,
    ) -> Result<Vec<Served>, TrafficError>;

    /// Ingresses connected now.
    fn connected(&self) -> usize;

    /// Returns once at least one ingress is connected, or after `timeout_ms`.
    async fn wait_connected(&self, timeout_ms: u64) -> Result<(), TrafficError>;

    /// Totals of one service over all ingresses, as last reported.
    fn totals(&self, service: &str) -> Option<ServiceTraffic>;
}

/// What an ingress tells by itself, or the link to it does.
#[derive(Debug)]
pub enum IngressNews {
    Connected {
        /// Name of the node it runs on.
        node: String,
    },
    Gone {
        node: String,
        why: &'static str,
    },
    Requests(RequestBatch),
}

/// Requests that an ingress tells of. It sends more only when these are taken.
#[derive(Debug)]
pub struct RequestBatch {
    pub requests: Vec<RequestRecord>,
    pub left_out: Vec<LeftOut>,
    /// To be told when they are in the log.
    pub taken: oneshot::Sender<()>,
}

/// How a request through an ingress ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub status: Option<u16>,
    /// Which release's service answered.
    pub service: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrafficError {
    #[error("no ingress is connected")]
    NoneConnected,
    #[error("cannot listen for ingresses: {0}")]
    CannotListen(String),
    #[error("the ingress did not answer in time")]
    TimedOut,
    #[error("the connection to the ingress was lost")]
    Lost,
}
