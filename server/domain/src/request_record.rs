//! What an ingress tells of single requests: which ones, and in which form.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::app::AccessLog;
use crate::names::{AppName, EnvironmentName};

/// Longest path that is told, in bytes; longer ones are cut.
pub const MAX_PATH_BYTES: usize = 512;
/// Longest user agent that is told, in bytes; longer ones are cut.
pub const MAX_AGENT_BYTES: usize = 200;

/// Which requests of a route are told. A route without it has none told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessRule {
    /// Of the requests that went well, so many in a thousand.
    #[serde(default)]
    pub sample_permille: u32,
    /// From how many milliseconds until the answer begins a request is slow; 0: none is.
    #[serde(default)]
    pub slow_ms: u32,
}

impl AccessRule {
    /// `None`: nothing is to be told.
    pub fn of(settings: &AccessLog) -> Option<Self> {
        settings.enabled.then_some(Self {
            sample_permille: settings.sample_permille,
            slow_ms: settings.slow_ms,
        })
    }
}

/// One request that has ended. It holds no query string and no header but the user agent and the
/// request id, and no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it ended, in milliseconds since 1970 by the clock of the ingress's node.
    pub ended_at_ms: i64,
    pub app: AppName,
    pub environment: EnvironmentName,
    /// The service that answered, or was last asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The replica that answered, or was last asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    pub method: String,
    /// Without query string and path parameters; what is not visible ASCII is percent-encoded.
    pub path: String,
    /// `None`: the client left before there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From the first byte of the request's head to the last of the answer.
    pub duration_ms: u64,
    /// Until the answer began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Of the answer's body.
    pub bytes_out: u64,
    /// The client's address.
    pub client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    pub request_id: String,
    /// How often it was tried at another replica, or again.
    #[serde(default)]
    pub retries: u32,
    #[serde(default)]
    pub slow: bool,
    /// Why the ingress could not serve it: a stable code, such as `replicas_unreachable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

/// Requests that should have been told and were not: too many came at once, or nobody took them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub count: u64,
}
