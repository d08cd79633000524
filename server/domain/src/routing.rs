//! What the control plane tells the ingress, and what the ingress reports back.
//!
//! A [`RoutingSnapshot`] is complete: the ingress swaps it in whole, so that no request ever sees
//! half a change. The frames travel as JSON text over one WebSocket that the *ingress* opens to
//! the control plane, because the ingress may run on any node while the control plane has one
//! address.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::app::TesterRule;
use crate::health::HealthProbe;
use crate::names::{AppName, EnvironmentName, Hostname};
use crate::request_record::{AccessRule, LeftOut, RequestRecord};
use crate::traffic::{LatencyCounts, Traffic};

/// The whole routing table at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingSnapshot {
    /// Rises with every change; an ingress never goes back to a lower one of the same `epoch`.
    pub version: u64,
    /// Changes when the control plane's data directory is new; versions of different epochs are
    /// not comparable and the newest connection wins.
    pub epoch: String,
    pub routes: Vec<Route>,
}

/// Host names and the releases that answer for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub app: AppName,
    pub environment: EnvironmentName,
    /// Exact host names, lower case, without port.
    pub hosts: Vec<Hostname>,
    /// May be empty (an app that was never deployed): the ingress then answers 503.
    pub upstreams: Vec<Upstream>,
    /// Keep new requests waiting (bounded) instead of answering 503 while nobody can answer them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Why nobody answers, for the page that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// Which requests are told ([`IngressFrame::Requests`]); none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessRule>,
}

/// How requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How long one request may wait, in milliseconds.
    pub max_wait_ms: u64,
    /// Hold every new request, also where a replica could answer.
    #[serde(default)]
    pub all: bool,
    /// Tell the control plane that somebody waits ([`IngressFrame::Wanted`]): the app sleeps.
    #[serde(default)]
    pub wake: bool,
}

/// Why an app does not answer although nothing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    Stopped,
    Maintenance,
}

/// One release behind a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The Swarm service, which is also its DNS name on the overlay network. Unique per release;
    /// the key for draining and traffic counts.
    pub service: String,
    pub release: u32,
    /// Share of new requests, relative to the other upstreams of the route. 0 gets none.
    pub weight: u32,
    /// It may answer what another upstream of the route could not. False for a release under test,
    /// which must never get more than its share.
    #[serde(default = "yes")]
    pub fallback: bool,
    /// Requests that go here whatever the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testers: Option<TesterRule>,
    /// Port the replicas listen on; used when a name has to be resolved.
    pub port: u16,
    /// Replicas that passed their health gate, as seen from the overlay network.
    pub endpoints: Vec<SocketAddr>,
}

fn yes() -> bool {
    true
}

/// Control plane → ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlFrame {
    /// Replace the routing table. Answered by [`IngressFrame::Applied`].
    Snapshot { snapshot: RoutingSnapshot },
    /// Ask one replica whether it is well, from where requests come from. Answered by
    /// [`IngressFrame::Probed`].
    Probe {
        id: u64,
        target: SocketAddr,
        probe: HealthProbe,
        timeout_ms: u64,
    },
    /// Answer once no request to `service` is in flight, or after `timeout_ms`. Connections that
    /// have switched protocols are asked to close after `close_after_ms` (`WebSockets` with 1001,
    /// "going away", RFC 6455 7.4.1) and cut at the time-out.
    AwaitDrained {
        id: u64,
        service: String,
        timeout_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        close_after_ms: Option<u64>,
    },
    /// Ask for the newest totals of these services. Answered by [`IngressFrame::Totals`].
    ReportTraffic { id: u64, services: Vec<String> },
    /// Send one request through the normal proxy path of this process to `host`, and report the
    /// answer. Used to prove that a release really serves. Answered by [`IngressFrame::Served`].
    Request {
        id: u64,
        host: Hostname,
        path: String,
        timeout_ms: u64,
    },
    /// The batch of [`IngressFrame::Requests`] with this number has been taken.
    RequestsTaken { id: u64 },
}

/// Ingress → control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum IngressFrame {
    /// First frame after connecting.
    Hello {
        ingress_id: String,
        node: String,
        epoch: Option<String>,
        version: Option<u64>,
    },
    Applied {
        epoch: String,
        version: u64,
    },
    /// The snapshot was not used: a newer one (`current`) is in use, or it contradicts itself.
    Refused {
        epoch: String,
        version: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        current: Option<u64>,
        reason: String,
    },
    Totals {
        id: u64,
        services: Vec<ServiceTraffic>,
    },
    /// A request waits for an app that sleeps. Sent at most once a second for each.
    Wanted {
        app: AppName,
        environment: EnvironmentName,
    },
    Probed {
        id: u64,
        outcome: ProbeOutcome,
    },
    /// `in_flight` is 0 when drained, else what was left at the time-out.
    Drained {
        id: u64,
        in_flight: u64,
    },
    Served {
        id: u64,
        status: Option<u16>,
        service: Option<String>,
        error: Option<String>,
    },
    /// Sent every second while there is traffic: totals since this ingress started.
    Traffic {
        services: Vec<ServiceTraffic>,
    },
    /// Requests that ended, as the routes' [`AccessRule`]s want them told. The next batch comes after
    /// [`ControlFrame::RequestsTaken`]; one that was not taken comes again, with the same number, on
    /// the next link. An ingress sends none to a control plane whose routes never asked for any.
    Requests {
        /// Rises, also over restarts of the ingress.
        id: u64,
        requests: Vec<RequestRecord>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left_out: Vec<LeftOut>,
    },
}

/// Totals of one release's service since the ingress process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTraffic {
    pub service: String,
    pub requests: u64,
    /// Answers 5xx that the app gave itself.
    pub server_errors: u64,
    /// Requests the ingress could not get answered (502, 503, 504 of its own).
    pub failed: u64,
    pub in_flight: u64,
    /// Time until the answer's head, of all requests that got one.
    #[serde(default)]
    pub latency: LatencyCounts,
}

impl ServiceTraffic {
    /// As decisions see it: an answer 5xx and no answer are the same to a user.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests,
            failed: self.server_errors + self.failed,
            latency: self.latency.clone(),
        }
    }
}

/// What one health probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum ProbeOutcome {
    Healthy {
        status: Option<u16>,
    },
    /// Nothing listens there (RST, or ICMP unreachable).
    Refused,
    /// No answer within the time-out. `connected`: the TCP handshake had been done.
    TimedOut {
        connected: bool,
    },
    /// An HTTP answer other than the wanted one. `body_start` holds at most 512 bytes of text.
    WrongAnswer {
        status: u16,
        body_start: String,
    },
    Failed {
        detail: String,
    },
}

impl ProbeOutcome {
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    /// One line for people and agents.
    pub fn describe(&self, target: IpAddr) -> String {
        match self {
            Self::Healthy {
                status: Some(status),
            }
            | Self::WrongAnswer { status, .. } => {
                format!("{target} answered {status}")
            }
            Self::Healthy { status: None } => format!("{target} accepts connections"),
            Self::Refused => format!("{target} refused the connection"),
            Self::TimedOut { connected: false } => {
                format!("{target} did not accept a connection in time")
            }
            Self::TimedOut { connected: true } => {
                format!("{target} accepted the connection but did not answer in time")
            }
            Self::Failed { detail } => format!("{target}: {detail}"),
        }
    }
}
