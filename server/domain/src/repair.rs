//! What can be put right by itself, and how far that reaches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{Invalid, quoted};

/// How much can go wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Nothing that serves or is needed again.
    Low,
    /// Restarts what is not well.
    Medium,
    /// Takes something away that may be somebody's; has to be confirmed.
    High,
}

impl RiskLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The repairs there are. None of them touches a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairAction {
    CleanLogs,
    PruneImages,
    PruneBuildCache,
    PushRoutes,
    ConvergeServices,
    RetryWebhooks,
    RestartUnhealthyServices,
    RemoveOrphanedServices,
}

impl RepairAction {
    pub const ALL: [Self; 8] = [
        Self::CleanLogs,
        Self::PruneImages,
        Self::PruneBuildCache,
        Self::PushRoutes,
        Self::ConvergeServices,
        Self::RetryWebhooks,
        Self::RestartUnhealthyServices,
        Self::RemoveOrphanedServices,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CleanLogs => "clean_logs",
            Self::PruneImages => "prune_images",
            Self::PruneBuildCache => "prune_build_cache",
            Self::PushRoutes => "push_routes",
            Self::ConvergeServices => "converge_services",
            Self::RetryWebhooks => "retry_webhooks",
            Self::RestartUnhealthyServices => "restart_unhealthy_services",
            Self::RemoveOrphanedServices => "remove_orphaned_services",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::CleanLogs => "Remove old log entries and store again",
            Self::PruneImages => "Remove images that nothing needs",
            Self::PruneBuildCache => "Empty the build cache",
            Self::PushRoutes => "Send the routes again",
            Self::ConvergeServices => "Start what is missing",
            Self::RetryWebhooks => "Send failed webhook deliveries again",
            Self::RestartUnhealthyServices => "Restart apps that are not well",
            Self::RemoveOrphanedServices => "Remove services that belong to nothing",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::CleanLogs => {
                "Removes log entries that are past their retention now, and tries at once to store \
                 what waits."
            }
            Self::PruneImages => {
                "Removes images that former deployments brought to this node and that no kept \
                 release, no way back, no deployment under way and no container needs."
            }
            Self::PruneBuildCache => {
                "Removes what the engine keeps of former builds; the next build takes longer."
            }
            Self::PushRoutes => "Makes the routing table anew and sends it to every ingress.",
            Self::ConvergeServices => {
                "Starts services of active releases that are missing, and puts their number of \
                 replicas right."
            }
            Self::RetryWebhooks => {
                "Sends the deliveries that were given up once more, of webhooks that are turned on."
            }
            Self::RestartUnhealthyServices => {
                "Restarts apps that have fewer running replicas than wanted, as a deployment each."
            }
            Self::RemoveOrphanedServices => {
                "Removes services that carry this instance's label, belong to no release, and are \
                 older than the data directory. Volumes stay."
            }
        }
    }

    /// It may run without anybody having looked, if its risk is low, too.
    pub fn is_automated(self) -> bool {
        self != Self::RemoveOrphanedServices
    }

    pub fn risk_level(self) -> RiskLevel {
        match self {
            Self::CleanLogs
            | Self::PruneImages
            | Self::PruneBuildCache
            | Self::PushRoutes
            | Self::ConvergeServices
            | Self::RetryWebhooks => RiskLevel::Low,
            Self::RestartUnhealthyServices => RiskLevel::Medium,
            Self::RemoveOrphanedServices => RiskLevel::High,
        }
    }
}

impl fmt::Display for RepairAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RepairAction {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|action| action.as_str()).collect();
            let problem = format!("must be one of {}, not {}", known.join(", "), quoted(text));
            Invalid::new("action", problem)
        })
    }
}

/// What came of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairStatus {
    Success,
    Failed,
    /// There was nothing to do, or only a look was asked for.
    Skipped,
}

impl RepairStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}
