//! How a release proves that it may serve.

use serde::{Deserialize, Serialize};

use crate::names::Invalid;

/// What to ask a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HealthProbe {
    /// `GET path` must answer 200–399 (or exactly `expect_status`).
    Http {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect_status: Option<u16>,
    },
    /// The container port must accept a TCP connection.
    Tcp,
    /// The image's own HEALTHCHECK decides; the port must accept a connection as well.
    Docker,
}

/// The health gate of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthGate {
    pub probe: HealthProbe,
    /// How long a new release may take until every replica is healthy, in seconds (1–3600).
    pub deadline_seconds: u32,
    /// How long one probe may take, in milliseconds (100–60 000).
    pub timeout_ms: u64,
}

impl Default for HealthGate {
    fn default() -> Self {
        Self {
            probe: HealthProbe::Tcp,
            deadline_seconds: 60,
            timeout_ms: 2_000,
        }
    }
}

impl HealthGate {
    /// # Errors
    /// [`Invalid`] naming the field that is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        if !(1..=3600).contains(&self.deadline_seconds) {
            return Err(Invalid::new(
                "health.deadline_seconds",
                format!("must be 1 to 3600, not {}", self.deadline_seconds),
            ));
        }
        if !(100..=60_000).contains(&self.timeout_ms) {
            return Err(Invalid::new(
                "health.timeout_ms",
                format!("must be 100 to 60000, not {}", self.timeout_ms),
            ));
        }
        if let HealthProbe::Http {
            path,
            expect_status,
        } = &self.probe
        {
            let printable = path.bytes().all(|b| b.is_ascii_graphic());
            if !path.starts_with('/') || path.len() > 1024 || !printable {
                return Err(Invalid::new(
                    "health.path",
                    "must start with '/', have at most 1024 characters and no spaces or control characters",
                ));
            }
            if let Some(status) = expect_status
                && !(100..=599).contains(status)
            {
                return Err(Invalid::new(
                    "health.expect_status",
                    "must be an HTTP status, 100 to 599",
                ));
            }
        }
        Ok(())
    }
}
