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
    /// A command inside the container must end with 0. Docker runs it, on whatever node.
    Command {
        /// Program and arguments; no shell is involved.
        command: Vec<String>,
    },
}

impl HealthProbe {
    /// Docker calls a replica running only when its own check says so.
    pub fn is_dockers(&self) -> bool {
        matches!(self, Self::Docker | Self::Command { .. })
    }
}

/// The health gate of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthGate {
    pub probe: HealthProbe,
    /// How long a replica may take from its start until it is healthy, in seconds (1–3600).
    pub deadline_seconds: u32,
    /// How long one probe may take, in milliseconds (100–60 000).
    pub timeout_ms: u64,
    /// How long a replica must have been healthy without a break before it counts, in seconds.
    #[serde(default)]
    pub min_healthy_seconds: u32,
    /// How long the rollout may go on without one more healthy replica, in seconds: placing and
    /// pulling included. `None`: the deadline and a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<u32>,
    /// How long after its start a replica's bad answers mean nothing, in seconds.
    #[serde(default)]
    pub start_grace_seconds: u32,
    /// How often replicas may end while they are being judged before the release is given up.
    #[serde(default = "default_restarts")]
    pub max_restarts: u32,
}

fn default_restarts() -> u32 {
    2
}

impl Default for HealthGate {
    fn default() -> Self {
        Self {
            probe: HealthProbe::Tcp,
            deadline_seconds: 60,
            timeout_ms: 2_000,
            min_healthy_seconds: 0,
            progress_deadline_seconds: None,
            start_grace_seconds: 0,
            max_restarts: default_restarts(),
        }
    }
}

impl HealthGate {
    /// See [`HealthGate::progress_deadline_seconds`].
    pub fn progress_deadline(&self) -> u32 {
        self.progress_deadline_seconds
            .unwrap_or_else(|| self.deadline_seconds.saturating_add(60))
    }

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
        // Each fits into the next, or the next could never be met.
        let fits = [
            ("min_healthy_seconds", self.min_healthy_seconds),
            ("start_grace_seconds", self.start_grace_seconds),
        ];
        for (name, seconds) in fits {
            if seconds >= self.deadline_seconds {
                return Err(Invalid::new(
                    format!("health.{name}"),
                    format!(
                        "must be below deadline_seconds ({}), not {seconds}",
                        self.deadline_seconds
                    ),
                ));
            }
        }
        if self.progress_deadline() < self.deadline_seconds || self.progress_deadline() > 86_400 {
            return Err(Invalid::new(
                "health.progress_deadline_seconds",
                format!(
                    "must be at least deadline_seconds ({}) and at most 86400",
                    self.deadline_seconds
                ),
            ));
        }
        if self.max_restarts > 100 {
            return Err(Invalid::new(
                "health.max_restarts",
                format!("must be 0 to 100, not {}", self.max_restarts),
            ));
        }
        if let HealthProbe::Command { command } = &self.probe {
            let long: usize = command.iter().map(String::len).sum();
            let named = command.first().is_some_and(|program| !program.is_empty());
            if !named
                || command.len() > 50
                || long > 4_096
                || command.iter().any(|part| part.contains('\0'))
            {
                return Err(Invalid::new(
                    "health.command",
                    "must be a list of 1 to 50 strings: a program and its arguments",
                ));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_checked_against_one_another() {
        let gate = |change: fn(&mut HealthGate)| {
            let mut gate = HealthGate::default();
            change(&mut gate);
            gate.validate()
        };
        gate(|_| {}).unwrap();
        for (name, change) in [
            (
                "health.min_healthy_seconds",
                (|g| g.min_healthy_seconds = 60) as fn(&mut HealthGate),
            ),
            ("health.start_grace_seconds", |g| g.start_grace_seconds = 61),
            ("health.progress_deadline_seconds", |g| {
                g.progress_deadline_seconds = Some(59);
            }),
            ("health.max_restarts", |g| g.max_restarts = 101),
            ("health.command", |g| {
                g.probe = HealthProbe::Command { command: vec![] }
            }),
        ] {
            assert_eq!(gate(change).unwrap_err().field, name);
        }
    }
}
