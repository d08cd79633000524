//! What is wrong with the platform or the machine, found by looking at both.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::repair::RepairAction;
use crate::timestamp;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something needs a look.
    Warning,
    /// Something does not work.
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $word:literal, $component:literal;)+) => {
        /// The kinds of issues. Their names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum IssueKind {
            $($(#[$doc])* $name,)+
        }

        impl IssueKind {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// The part of the system it is about, in the contract's words.
            pub fn component(self) -> &'static str {
                match self {
                    $(Self::$name => $component,)+
                }
            }
        }
    };
}

kinds! {
    /// A disk that the platform or the engine writes to.
    DiskFull => "disk_full", "disk";
    MemoryHigh => "memory_high", "memory";
    LoadHigh => "load_high", "cpu";
    /// The engine's clock and ours differ.
    ClockSkew => "clock_skew", "health_check";
    EngineUnreachable => "engine_unreachable", "docker_swarm";
    SwarmInactive => "swarm_inactive", "docker_swarm";
    /// The managers cannot decide any more, or one more failure would bring them there.
    ManagerQuorum => "manager_quorum", "docker_swarm";
    NodeDown => "node_down", "docker_swarm";
    ServiceBelowWanted => "service_below_wanted", "services";
    /// Replicas start and end, over and over.
    CrashLoop => "crash_loop", "services";
    /// A node cannot get hold of an image.
    ImagePullFailing => "image_pull_failing", "services";
    /// A service of this instance that belongs to nothing, and is older than the data directory.
    OrphanedService => "orphaned_service", "services";
    /// Somebody changed a service from outside.
    ServiceChanged => "service_changed", "services";
    DeploymentStuck => "deployment_stuck", "services";
    /// Routes cannot be changed.
    IngressDisconnected => "ingress_disconnected", "services";
    /// The ingresses did not confirm the newest routes.
    IngressSnapshotOld => "ingress_snapshot_old", "services";
    /// Log entries cannot be stored.
    LogStoragePaused => "log_storage_paused", "disk";
    DatabaseFailing => "database_failing", "health_check";
    RegistryUnreachable => "registry_unreachable", "health_check";
    WebhookFailing => "webhook_failing", "health_check";
    LogForwarderFailing => "log_forwarder_failing", "health_check";
    /// Volumes of environments that are gone, which something still uses.
    LeftoverVolumes => "leftover_volumes", "disk";
}

impl fmt::Display for IssueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Numbers and names that show an issue, by what they are.
pub type Facts = BTreeMap<&'static str, Value>;

/// Something that is wrong, at one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub kind: IssueKind,
    pub severity: Severity,
    /// What of its kind it is: a service, a node. Empty where there is only one.
    pub subject: String,
    pub message: String,
    pub evidence: Facts,
    pub suggested_action: String,
    pub repair: Option<RepairAction>,
}

impl Finding {
    /// The same for as long as the same thing is wrong, and again when it comes back.
    pub fn id(&self) -> String {
        if self.subject.is_empty() {
            self.kind.as_str().to_owned()
        } else {
            format!("{}:{}", self.kind, self.subject)
        }
    }
}

/// A finding, and since when it is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Issue {
    pub id: String,
    pub kind: IssueKind,
    pub severity: Severity,
    pub component: &'static str,
    pub message: String,
    /// When it was seen first.
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub first_seen: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub last_seen: OffsetDateTime,
    pub evidence: Facts,
    pub suggested_action: String,
    /// What would put it right by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairAction>,
}

impl Issue {
    pub fn new(finding: Finding, first_seen: OffsetDateTime, now: OffsetDateTime) -> Self {
        Self {
            id: finding.id(),
            kind: finding.kind,
            severity: finding.severity,
            component: finding.kind.component(),
            message: finding.message,
            timestamp: first_seen,
            first_seen,
            last_seen: now,
            evidence: finding.evidence,
            suggested_action: finding.suggested_action,
            repair: finding.repair,
        }
    }
}
