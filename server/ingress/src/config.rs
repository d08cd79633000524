//! What an ingress needs to know before it starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Uri};

use crate::error::IngressError;

/// The secret with which the ingress shows the control plane who it is.
#[derive(Clone)]
pub struct ControlToken(HeaderValue);

impl ControlToken {
    /// # Errors
    /// [`IngressError::Config`] if the text cannot stand in an `Authorization` header.
    pub fn new(token: &str) -> Result<Self, IngressError> {
        let usable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {token}"))
            .ok()
            .filter(|_| usable);
        let mut value = value.ok_or_else(|| {
            IngressError::Config("the control token must be printable ASCII without spaces".into())
        })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(crate) fn authorization(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for ControlToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlToken(redacted)")
    }
}

/// How one ingress process runs.
#[derive(Debug, Clone)]
pub struct IngressConfig {
    /// Where HTTP requests are accepted; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// `ws://host:port/ingress`, tried in turn, for ever. Empty: routes come from
    /// `snapshot_path` and [`Ingress::apply`](crate::Ingress::apply) alone.
    pub control_urls: Vec<String>,
    pub token: ControlToken,
    /// Unique among the ingresses of one control plane.
    pub ingress_id: String,
    /// Name of the cluster node this ingress runs on.
    pub node: String,
    /// The last good snapshot is kept here and loaded at start.
    pub snapshot_path: Option<PathBuf>,
    /// Threads that serve requests (1–256).
    pub worker_threads: usize,
    /// How long requests and tunnels in flight may go on after a stop was asked for.
    pub drain_timeout: Duration,
    pub limits: Limits,
}

impl IngressConfig {
    /// A configuration with the default limits, one worker per CPU and a drain of 30 s.
    pub fn new(http_listen: SocketAddr, token: ControlToken, ingress_id: String) -> Self {
        Self {
            http_listen,
            control_urls: Vec::new(),
            token,
            node: String::new(),
            ingress_id,
            snapshot_path: None,
            worker_threads: std::thread::available_parallelism().map_or(1, usize::from),
            drain_timeout: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }

    pub(crate) fn control_uris(&self) -> Result<Vec<Uri>, IngressError> {
        self.control_urls
            .iter()
            .map(|url| control_uri(url))
            .collect()
    }

    pub(crate) fn validate(&self) -> Result<(), IngressError> {
        let problem = if !(1..=256).contains(&self.worker_threads) {
            "worker_threads must be 1 to 256"
        } else if self.limits.max_header_bytes < 8192 {
            "max_header_bytes must be at least 8192"
        } else if self.limits.max_connections < self.worker_threads {
            "max_connections must be at least worker_threads"
        } else if self.limits.upstream_silence < Duration::from_secs(1) {
            "upstream_silence must be at least a second"
        } else if self.limits.shortest_timeout().is_zero() {
            "time-outs must be above zero"
        } else {
            return self.control_uris().map(drop);
        };
        Err(IngressError::Config(problem.into()))
    }
}

fn control_uri(url: &str) -> Result<Uri, IngressError> {
    // The URL itself stays out of the message: it might hold a secret by mistake.
    let bad = || IngressError::Config("a control URL must look like ws://host:port/path".into());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let plain = uri.scheme_str() == Some("ws")
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none();
    if plain { Ok(uri) } else { Err(bad()) }
}

/// Bounds that keep one client or one app from using up the ingress. Times are enforced with a
/// resolution of a quarter of the shortest one, at most a second.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections of the whole process; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Request line and headers together; at most 100 headers. More gets a 431.
    pub max_header_bytes: usize,
    /// From accepting a connection to the end of its first request's headers.
    pub header_timeout: Duration,
    /// How long a kept-alive client connection may be without a request.
    pub idle_timeout: Duration,
    /// From the last byte sent to the app to its response headers; a 504 afterwards. Long polls
    /// must answer within it, streams may go on for ever once they have begun.
    pub response_header_timeout: Duration,
    /// One TCP handshake with a replica.
    pub connect_timeout: Duration,
    /// How long the machine of a replica may leave what was sent to it without any acknowledgement
    /// before it is thought dead; at least a second. Uploads and tunnels, whose receiver may be
    /// slow, get 30 s.
    pub upstream_silence: Duration,
    /// How long a request goes on trying when no replica of its app can be reached, before it gets
    /// a 503. A replacement that arrives meanwhile gets it.
    pub retry_window: Duration,
    /// Requests of the whole process that may be held at once because their route says so; more
    /// get a 503 at once. How long is the route's business.
    pub max_held: usize,
    /// How long both ends of a WebSocket have to close after they were asked to.
    pub close_grace: Duration,
    /// Unused connections kept per replica and worker.
    pub max_idle_per_endpoint: usize,
    /// How long an unused connection to a replica is kept.
    pub upstream_idle_timeout: Duration,
    /// Requests that are not idempotent use a pooled connection only if it was used within this
    /// time: a replica that closes it at the same moment makes them fail, as they may not be resent.
    pub fresh_for_unsafe: Duration,
    /// A control link without any sign of life for this long is dropped.
    pub control_silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(75),
            response_header_timeout: Duration::from_mins(5),
            connect_timeout: Duration::from_secs(1),
            upstream_silence: Duration::from_secs(2),
            retry_window: Duration::from_secs(2),
            max_held: 10_000,
            close_grace: Duration::from_secs(5),
            max_idle_per_endpoint: 128,
            upstream_idle_timeout: Duration::from_secs(50),
            fresh_for_unsafe: Duration::from_secs(2),
            control_silence: Duration::from_secs(15),
        }
    }
}

impl Limits {
    fn shortest_timeout(&self) -> Duration {
        self.header_timeout
            .min(self.idle_timeout)
            .min(self.response_header_timeout)
            .min(self.upstream_idle_timeout)
            .min(self.connect_timeout)
            .min(self.control_silence)
    }

    /// How often a worker looks for what has timed out.
    pub(crate) fn tick(&self) -> Duration {
        (self.shortest_timeout() / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX / 4)
        .min(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows() {
        let token = ControlToken::new("s3cret").unwrap();
        assert_eq!(format!("{token:?}"), "ControlToken(redacted)");
        assert!(!format!("{:?}", token.authorization()).contains("s3cret"));
        for bad in ["", "a b", "a\nb", "ä"] {
            assert!(ControlToken::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn control_urls_are_plain_websockets() {
        assert!(control_uri("ws://10.0.0.1:3000/ingress").is_ok());
        for bad in [
            "http://a/",
            "wss://a/",
            "ws://user:pw@a/",
            "ws://a/?token=1",
            "a",
            "",
        ] {
            let error = control_uri(bad).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
