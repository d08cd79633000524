//! The one shape of every log line: JSON-LD `UnifiedLogEntry`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::deployment::{HealthStatus, PhaseName, Strategy};
use crate::names::Invalid;
use crate::timestamp;

/// Constant of the contract.
pub const CONTEXT: &str = "https://flukebase.me/schemas/unified-log";
/// Constant of the contract.
pub const TYPE: &str = "UnifiedLogEntry";
/// So many numbers make different ids within a millisecond, see [`LogEntry::make_id`].
pub const ID_NUMBERS: u64 = 36_u64.pow(9);
/// Stream and tag of entries in which the ingress tells of a request.
pub const ACCESS: &str = "access";
/// Name in place of an app's in entries about the platform itself. No app can have it.
pub const SYSTEM: &str = "_system";
/// Longest message kept, in bytes; longer ones are cut and say so.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Longest stack trace kept, in bytes; longer ones are cut and say so.
pub const MAX_TRACE_BYTES: usize = 32 * 1024;

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

impl std::str::FromStr for SourceType {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "deployment" => Ok(Self::Deployment),
            "container" => Ok(Self::Container),
            "system" => Ok(Self::System),
            _ => {
                let problem = "must be deployment, container or system";
                Err(Invalid::new("source_type", problem))
            }
        }
    }
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
    /// `stdout` or `stderr`, or [`ACCESS`] where the ingress tells of a request; an addition to the
    /// contract.
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
    /// What a structured line said beside its level and message, by the app's own names; an
    /// addition to the contract.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, serde_json::Value>,
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
            fields: BTreeMap::new(),
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
        // Made for every line that an app prints.
        let mut id = String::with_capacity(4 + 14 + 1 + 9);
        let _ = write!(id, "dep-{}-", timestamp::to_unix_ms(at));
        let mut rest = random;
        for _ in 0..9 {
            let digit = usize::try_from(rest % 36).unwrap_or(0);
            rest /= 36;
            id.push(char::from(DIGITS[digit]));
        }
        id
    }

    /// Message and stack trace are as long as they come; see [`LogEntry::limit`].
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
            message: message.into(),
            source,
            flukedeploy_metadata: metadata,
            tags: Vec::new(),
        }
    }

    /// As [`limit`].
    pub fn limit(&mut self) {
        limit(
            &mut self.message,
            self.flukedeploy_metadata.stack_trace.as_mut(),
        );
    }
}

/// Cuts what is too long to be kept. Comes after secrets were taken out: of one that the cut
/// went through, half would stay.
pub fn limit(message: &mut String, stack_trace: Option<&mut String>) {
    cut(message, MAX_MESSAGE_BYTES);
    if let Some(trace) = stack_trace {
        cut(trace, MAX_TRACE_BYTES);
    }
}

/// `time level app message`, for terminals and text files. What an app printed cannot speak to the
/// terminal: control characters are left out.
pub fn plain_line(entry: &LogEntry) -> String {
    let level = match entry.level {
        Level::Debug => "debug",
        Level::Info => "info ",
        Level::Warn => "warn ",
        Level::Error => "error",
    };
    let tame = |text: &str| -> String {
        let speaks = |c: &char| c.is_control() && *c != '\t' && *c != '\n';
        text.chars().filter(|c| !speaks(c)).collect()
    };
    let metadata = &entry.flukedeploy_metadata;
    let at = timestamp::to_wire(entry.timestamp);
    let (app, message) = (tame(&metadata.app_name), tame(&entry.message));
    format!("{at} {level} {app} {message}")
}

const CUT: &str = "… [cut: ";
const CUT_END: &str = " bytes in all]";

/// Stands at the end of a text that was longer, and says how long it was.
pub fn cut_note(whole_bytes: usize) -> String {
    format!("{CUT}{whole_bytes}{CUT_END}")
}

/// A text that says already that it was longer goes on saying so.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let note = note_of(text).map_or_else(|| cut_note(text.len()), str::to_owned);
        text.truncate(text.floor_char_boundary(limit));
        text.push_str(&note);
    }
}

/// The note at the end of a text that was cut before.
fn note_of(text: &str) -> Option<&str> {
    let note = &text[text.rfind(CUT)?..];
    let count = note.strip_prefix(CUT)?.strip_suffix(CUT_END)?;
    let is_count = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    (is_count && count.len() <= 20).then_some(note)
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
    /// The following are additions to the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The replica: a Swarm task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// `stdout`, `stderr` or [`ACCESS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<SourceType>,
}

impl LogFilter {
    pub fn matches(&self, entry: &LogEntry) -> bool {
        self.matches_level(entry.level)
            && self.matches_origin(&entry.source, &entry.flukedeploy_metadata)
    }

    /// The part of [`matches`](Self::matches) that looks at the level.
    pub fn matches_level(&self, level: Level) -> bool {
        self.level.is_none_or(|wanted| wanted == level)
            && self.min_level.is_none_or(|least| level >= least)
    }

    /// The part of [`matches`](Self::matches) that looks at where an entry comes from. Lines of
    /// one replica share it, so a store can answer it once for many.
    pub fn matches_origin(&self, source: &LogSource, metadata: &LogMetadata) -> bool {
        fn is(wanted: Option<&String>, found: Option<&String>) -> bool {
            wanted.is_none() || wanted == found
        }
        is(self.app_name.as_ref(), Some(&metadata.app_name))
            && is(self.deployment_id.as_ref(), metadata.deployment_id.as_ref())
            && is(self.environment.as_ref(), metadata.environment.as_ref())
            && is(self.task_id.as_ref(), source.task_id.as_ref())
            && is(self.node_id.as_ref(), source.node_id.as_ref())
            && is(self.stream.as_ref(), source.stream.as_ref())
            && (self.release.is_none() || self.release == metadata.release)
            && self
                .event_type
                .is_none_or(|event| event == metadata.event_type)
            && self.source_type.is_none_or(|kind| kind == source.kind)
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
        let mut twice = "x".repeat(MAX_MESSAGE_BYTES) + &cut_note(10_000_000);
        cut(&mut twice, MAX_MESSAGE_BYTES);
        assert!(twice.ends_with("xx… [cut: 10000000 bytes in all]"));
        let mut claimed = "x".repeat(MAX_MESSAGE_BYTES) + "… [cut: many bytes in all]";
        cut(&mut claimed, MAX_MESSAGE_BYTES);
        assert!(claimed.ends_with("xx… [cut: 16412 bytes in all]"));
        let mut long = "ä".repeat(MAX_MESSAGE_BYTES);
        cut(&mut long, MAX_MESSAGE_BYTES);
        assert!(long.len() < MAX_MESSAGE_BYTES + 64 && long.ends_with("bytes in all]"));
    }

    #[test]
    fn a_filter_joins_all_its_tests() {
        let at = timestamp::from_wire("2026-02-04T10:13:20.123Z").unwrap();
        let metadata = LogMetadata {
            environment: Some("production".to_owned()),
            release: Some(7),
            ..LogMetadata::new(EventType::PostDeploy, "shop-web")
        };
        let source = LogSource {
            kind: SourceType::Container,
            container_name: "shop-web.1".to_owned(),
            service_id: None,
            node_id: Some("n1".to_owned()),
            task_id: Some("t1".to_owned()),
            stream: Some("stderr".to_owned()),
        };
        let entry = LogEntry::new(at, 7, Level::Warn, "slow", source, metadata);
        let all = LogFilter {
            app_name: Some("shop-web".to_owned()),
            deployment_id: None,
            level: Some(Level::Warn),
            event_type: Some(EventType::PostDeploy),
            min_level: Some(Level::Info),
            environment: Some("production".to_owned()),
            release: Some(7),
            task_id: Some("t1".to_owned()),
            node_id: Some("n1".to_owned()),
            stream: Some("stderr".to_owned()),
            source_type: Some(SourceType::Container),
        };
        assert!(all.matches(&entry) && LogFilter::default().matches(&entry));
        let other = || Some("other".to_owned());
        let wrong: [fn(&mut LogFilter, Option<String>); 11] = [
            |f, v| f.app_name = v,
            |f, v| f.deployment_id = v,
            |f, v| f.environment = v,
            |f, v| f.task_id = v,
            |f, v| f.node_id = v,
            |f, v| f.stream = v,
            |f, _| f.release = Some(8),
            |f, _| f.level = Some(Level::Error),
            |f, _| f.min_level = Some(Level::Error),
            |f, _| f.event_type = Some(EventType::HealthCheck),
            |f, _| f.source_type = Some(SourceType::System),
        ];
        for (number, spoil) in wrong.iter().enumerate() {
            let mut filter = all.clone();
            spoil(&mut filter, other());
            assert!(!filter.matches(&entry), "test {number} was not looked at");
        }
    }
}
