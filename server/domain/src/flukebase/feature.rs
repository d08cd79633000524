//! What a token allows, and what a server can do.

use std::collections::BTreeSet;

use serde::Serialize;

/// What is done with `FlukeBase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Projects,
    Tasks,
    Variables,
    Memories,
    Agents,
}

impl Feature {
    pub const ALL: [Self; 5] = [
        Self::Projects,
        Self::Tasks,
        Self::Variables,
        Self::Memories,
        Self::Agents,
    ];

    /// What the token must be good for.
    pub fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Projects => &["read:projects"],
            Self::Tasks => &["read:tasks", "write:tasks"],
            Self::Variables => &["read:environment"],
            Self::Memories => &["write:memories"],
            Self::Agents => &["write:agents"],
        }
    }

    /// The first scope that is missing for it.
    pub fn missing_in(self, scopes: &BTreeSet<String>) -> Option<&'static str> {
        if scopes.contains("*") {
            return None;
        }
        let missing = |scope: &&&str| !scopes.contains(**scope);
        self.scopes().iter().find(missing).copied()
    }
}

/// A feature with whether it works, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureState {
    pub feature: Feature,
    pub on: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

pub fn features_of(scopes: &BTreeSet<String>) -> Vec<FeatureState> {
    Feature::ALL
        .into_iter()
        .map(|feature| {
            let missing = feature.missing_in(scopes);
            FeatureState {
                feature,
                on: missing.is_none(),
                why: missing.map(|scope| format!("the token lacks the scope {scope}")),
            }
        })
        .collect()
}

/// Routes that `FlukeBase` plans. Each is tried out once with an empty object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedRoute {
    DeploymentLogs,
    DeploymentLogsBatch,
    Deployments,
    FlatTasks,
}

impl PlannedRoute {
    pub const ALL: [Self; 4] = [
        Self::DeploymentLogs,
        Self::DeploymentLogsBatch,
        Self::Deployments,
        Self::FlatTasks,
    ];

    pub fn path(self) -> &'static str {
        match self {
            Self::DeploymentLogs => "/deployment_logs",
            Self::DeploymentLogsBatch => "/deployment_logs/batch",
            Self::Deployments => "/deployments",
            Self::FlatTasks => "/wedo_tasks",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    #[default]
    Unknown,
    Present,
    Absent,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|scope| (*scope).to_owned()).collect()
    }

    #[test]
    fn a_default_token_cannot_write_tasks_and_it_is_said_why() {
        let states = features_of(&scopes(&[
            "read:projects",
            "read:environment",
            "read:milestones",
            "read:context",
        ]));
        let on: Vec<Feature> = states.iter().filter(|s| s.on).map(|s| s.feature).collect();
        assert_eq!(on, [Feature::Projects, Feature::Variables]);
        let tasks = states.iter().find(|s| s.feature == Feature::Tasks).unwrap();
        assert!(tasks.why.as_deref().unwrap().contains("read:tasks"));
    }

    #[test]
    fn a_star_is_everything() {
        assert!(features_of(&scopes(&["*"])).iter().all(|state| state.on));
    }
}
