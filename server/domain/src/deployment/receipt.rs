//! What a deployment did, in figures: written once, with its final state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::state::{PhaseName, PhaseStatus, Status};
use crate::access::Door;
use crate::app::{EnvVars, Settings};
use crate::release::ReleaseNo;
use crate::timestamp;

/// Requests of the environment while traffic was being moved: from the first change that users
/// could notice to the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchTraffic {
    /// Answered, by either release.
    pub served: u64,
    /// Answers 5xx, and requests that got no answer.
    pub failed: u64,
    /// Of these, requests the new release got.
    pub by_new_release: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    pub phase: PhaseName,
    pub status: PhaseStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// One setting that differs between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChange {
    /// `replicas`, `env_vars.DATABASE_URL`, `image` …
    pub name: String,
    /// Absent for variables, whose values are never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub outcome: Status,
    #[serde(with = "timestamp")]
    pub started_at: OffsetDateTime,
    #[serde(with = "timestamp")]
    pub ended_at: OffsetDateTime,
    /// Account or token name.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
    pub door: Door,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_release: Option<ReleaseNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_release: Option<ReleaseNo>,
    /// Digest or image id that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_image: Option<String>,
    pub phases: Vec<PhaseTime>,
    /// `None`: no ingress could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<SwitchTraffic>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SettingsChange>,
}

/// What differs between the settings of two releases. Of variables, names only.
pub fn changes_between(before: &Settings, after: &Settings) -> Vec<SettingsChange> {
    let mut changes = Vec::new();
    let fields = |settings: &Settings| {
        let mut value = serde_json::to_value(settings).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.remove("env_vars");
            // What is shared shows as the variables that the app gets.
            object.remove("shared");
            if let Some(build) = object
                .get_mut("build")
                .and_then(|build| build.as_object_mut())
            {
                build.remove("args");
                build.remove("secrets");
            }
        }
        let mut flat = Vec::new();
        flatten("", &value, &mut flat);
        flat
    };
    let (old, new) = (fields(before), fields(after));
    let find = |list: &[(String, String)], name: &str| {
        list.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.clone())
    };
    let mut names: Vec<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (before, after) = (find(&old, name), find(&new, name));
        if before != after {
            changes.push(SettingsChange {
                name: name.clone(),
                before,
                after,
            });
        }
    }
    let values_of = |settings: &Settings| {
        let delivered = settings.delivered();
        EnvVars(
            delivered
                .map(|one| (one.name.clone(), one.value.clone()))
                .collect(),
        )
    };
    let parts = [
        ("env_vars", &values_of(before), &values_of(after)),
        ("build.args", &before.build.args, &after.build.args),
        ("build.secrets", &before.build.secrets, &after.build.secrets),
    ];
    for (part, before, after) in parts {
        names_between(part, &before.0, &after.0, &mut changes);
    }
    changes
}

/// Which variables were set, changed or taken away; never their values.
fn names_between(
    part: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    changes: &mut Vec<SettingsChange>,
) {
    for name in old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)))
    {
        if old.get(name) != new.get(name) {
            let shown = |there: bool| there.then(|| "(set)".to_owned());
            changes.push(SettingsChange {
                name: format!("{part}.{name}"),
                before: shown(old.contains_key(name)),
                after: shown(new.contains_key(name)),
            });
        }
    }
}

fn flatten(prefix: &str, value: &serde_json::Value, into: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&name, value, into);
            }
        }
        serde_json::Value::String(text) => into.push((prefix.to_owned(), text.clone())),
        other => into.push((prefix.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_variables_and_never_their_values() {
        let mut before = Settings::default();
        before
            .env_vars
            .0
            .insert("KEY".to_owned(), "hunter2".to_owned());
        before
            .env_vars
            .0
            .insert("GONE".to_owned(), "hunter3".to_owned());
        let mut after = before.clone();
        after.replicas = 3;
        after
            .env_vars
            .0
            .insert("KEY".to_owned(), "hunter4".to_owned());
        after.env_vars.0.remove("GONE");
        let changes = changes_between(&before, &after);
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["replicas", "env_vars.GONE", "env_vars.KEY"]);
        assert_eq!(changes[0].after.as_deref(), Some("3"));
        assert!(!serde_json::to_string(&changes).unwrap().contains("hunter"));
        assert!(changes_between(&before, &before).is_empty());
    }
}
