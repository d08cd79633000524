//! The one shape of every log line: JSON-LD `UnifiedLogEntry`.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::deployment::{HealthStatus, PhaseName, Strategy};
use crate::names::Invalid;
use crate::timestamp;

/// Constant of the contract.
pub const CONTEXT: &str = "https://flukebase.me/schemas/unified-log";
/// Constant of the contract.
pub const TYPE: &str = "UnifiedLogEntry";
/// Longest message kept, in bytes; longer ones are cut and say so.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(Invalid::new("level", "must be debug, info, warn or error")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceType {
    Deployment,
    Container,
    System,
}

/// The contract's twelve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    PreBuild,
    BuildStart,
    BuildComplete,
    BuildError,
    PreDeploy,
    DeployStart,
    DeployComplete,
    DeployError,
    PostDeploy,
    HealthCheck,
    ScaleEvent,
    ConfigChange,
}

impl EventType {
    pub const ALL: [Self; 12] = [
        Self::PreBuild,
        Self::BuildStart,
        Self::BuildComplete,
        Self::BuildError,
        Self::PreDeploy,
        Self::DeployStart,
        Self::DeployComplete,
        Self::DeployError,
        Self::PostDeploy,
        Self::HealthCheck,
        Self::ScaleEvent,
        Self::ConfigChange,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreBuild => "pre_build",
            Self::BuildStart => "build_start",
            Self::BuildComplete => "build_complete",
            Self::BuildError => "build_error",
            Self::PreDeploy => "pre_deploy",
            Self::DeployStart => "deploy_start",
            Self::DeployComplete => "deploy_complete",
            Self::DeployError => "deploy_error",
            Self::PostDeploy => "post_deploy",
            Self::HealthCheck => "health_check",
            Self::ScaleEvent => "scale_event",
            Self::ConfigChange => "config_change",
        }
    }

    pub fn of_phase_start(phase: PhaseName) -> Self {
        match phase {
            PhaseName::PreBuild => Self::PreBuild,
            PhaseName::Build => Self::BuildStart,
            PhaseName::PreDeploy => Self::PreDeploy,
            PhaseName::Deploy => Self::DeployStart,
            PhaseName::PostDeploy => Self::PostDeploy,
        }
    }

    pub fn of_phase_success(phase: PhaseName) -> Self {
        match phase {
            PhaseName::PreBuild => Self::PreBuild,
            PhaseName::Build => Self::BuildComplete,
            PhaseName::PreDeploy => Self::PreDeploy,
            PhaseName::Deploy => Self::DeployComplete,
            PhaseName::PostDeploy => Self::PostDeploy,
        }
    }

    pub fn of_phase_failure(phase: PhaseName) -> Self {
        match phase {
            PhaseName::PreBuild | PhaseName::Build => Self::BuildError,
            PhaseName::PreDeploy | PhaseName::Deploy | PhaseName::PostDeploy => Self::DeployError,
        }
    }
}

impl std::str::FromStr for EventType {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|event| event.as_str() == text)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|event| event.as_str()).collect();
                Invalid::new("event_type", format!("must be one of {}", known.join(", ")))
            })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSource {
    #[serde(rename = "type")]
    pub kind: SourceType,
    pub container_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Swarm task; an addition to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// `stdout` or `stderr`; an addition to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMetadata {
    pub event_type: EventType,
    pub app_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_status: Option<HealthStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Which of the five phases; an addition to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// Release number; an addition to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
}

impl LogMetadata {
    pub fn new(event_type: EventType, app_name: impl Into<String>) -> Self {
        Self {
            event_type,
            app_name: app_name.into(),
            deployment_id: None,
            build_id: None,
            version: None,
            duration_ms: None,
            replicas: None,
            health_status: None,
            error_code: None,
            stack_trace: None,
            strategy: None,
            environment: None,
            phase: None,
            release: None,
        }
    }
}

/// One entry. Absent optional fields are left out, never `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    #[serde(rename = "@context")]
    pub context: String,
    #[serde(rename = "@type")]
    pub kind: String,
    pub id: String,
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
    pub level: Level,
    pub message: String,
    pub source: LogSource,
    pub flukedeploy_metadata: LogMetadata,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl LogEntry {
    /// `dep-<unix ms>-<9 base36>`; readers treat it as opaque.
    pub fn make_id(at: OffsetDateTime, random: u64) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut rest = random;
        let tail: String = (0..9)
            .map(|_| {
                let digit = usize::try_from(rest % 36).unwrap_or(0);
                rest /= 36;
                char::from(DIGITS[digit])
            })
            .collect();
        format!("dep-{}-{tail}", timestamp::to_unix_ms(at))
    }

    pub fn new(
        at: OffsetDateTime,
        random: u64,
        level: Level,
        message: impl Into<String>,
        source: LogSource,
        metadata: LogMetadata,
    ) -> Self {
        Self {
            context: CONTEXT.to_owned(),
            kind: TYPE.to_owned(),
            id: Self::make_id(at, random),
            timestamp: at,
            level,
            message: cut_message(message.into()),
            source,
            flukedeploy_metadata: metadata,
            tags: Vec::new(),
        }
    }
}

fn cut_message(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        let whole = message.len();
        let mut end = MAX_MESSAGE_BYTES;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("… [cut: ");
        message.push_str(&whole.to_string());
        message.push_str(" bytes in all]");
    }
    message
}

/// Which entries a reader wants: equality tests joined by AND.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// This level or worse; an addition to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_level: Option<Level>,
}

impl LogFilter {
    pub fn matches(&self, entry: &LogEntry) -> bool {
        let metadata = &entry.flukedeploy_metadata;
        self.app_name
            .as_ref()
            .is_none_or(|app| *app == metadata.app_name)
            && self
                .deployment_id
                .as_ref()
                .is_none_or(|id| metadata.deployment_id.as_ref() == Some(id))
            && self.level.is_none_or(|level| level == entry.level)
            && self
                .event_type
                .is_none_or(|event| event == metadata.event_type)
            && self.min_level.is_none_or(|level| entry.level >= level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_contracts_example() {
        let at = timestamp::from_wire("2026-02-04T10:13:20.123Z").unwrap();
        let metadata = LogMetadata {
            deployment_id: Some("dep-1770200000000-9f3c1a7e".to_owned()),
            version: Some("v2.4.0".to_owned()),
            strategy: Some(Strategy::Rolling),
            ..LogMetadata::new(EventType::BuildStart, "shop-web")
        };
        let source = LogSource {
            kind: SourceType::Deployment,
            container_name: "shop-web".to_owned(),
            service_id: None,
            node_id: None,
            task_id: None,
            stream: None,
        };
        let entry = LogEntry::new(at, 7, Level::Info, "Phase build started", source, metadata);
        assert_eq!(
            serde_json::to_value(&entry).unwrap(),
            serde_json::json!({
                "@context": "https://flukebase.me/schemas/unified-log",
                "@type": "UnifiedLogEntry",
                "id": "dep-1770200000123-700000000",
                "timestamp": "2026-02-04T10:13:20.123Z",
                "level": "info",
                "message": "Phase build started",
                "source": {"type": "deployment", "container_name": "shop-web"},
                "flukedeploy_metadata": {
                    "event_type": "build_start", "app_name": "shop-web",
                    "deployment_id": "dep-1770200000000-9f3c1a7e", "version": "v2.4.0", "strategy": "rolling"
                }
            })
        );
    }

    #[test]
    fn a_long_message_is_cut_and_says_so() {
        let cut = cut_message("ä".repeat(MAX_MESSAGE_BYTES));
        assert!(cut.len() < MAX_MESSAGE_BYTES + 64 && cut.ends_with("bytes in all]"));
    }
}
