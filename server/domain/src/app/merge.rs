//! Partial changes of settings, as callers send them: a JSON merge patch (RFC 7396) of the parts
//! that are objects, checked so that nothing that was sent is silently lost.

use serde_json::{Map, Value};

use super::Settings;
use crate::names::{Invalid, near_names, quoted};

/// The parts of the settings that can be changed this way.
pub const MERGED_PARTS: [&str; 11] = [
    "rollout",
    "objective",
    "resources",
    "placement",
    "volumes",
    "published_ports",
    "expose_http",
    "build",
    "jobs",
    "checks",
    "logs",
];

impl Settings {
    /// These settings with the named parts changed. In objects, fields that are not named stay and
    /// `null` brings the default back; lists are replaced.
    ///
    /// # Errors
    /// One [`Invalid`] a part: a value of the wrong form, or a field that does not exist.
    pub fn merged(&self, patch: &Map<String, Value>) -> Result<Self, Vec<Invalid>> {
        let mut faults = Vec::new();
        let (Ok(Value::Object(mut now)), Ok(Value::Object(defaults))) = (
            serde_json::to_value(self),
            serde_json::to_value(Self::default()),
        ) else {
            return Err(vec![Invalid::new("settings", "cannot be read")]);
        };
        for (part, change) in patch {
            if !MERGED_PARTS.contains(&part.as_str()) {
                faults.push(unknown(part, part, &MERGED_PARTS.map(str::to_owned)));
                continue;
            }
            let badly_typed = badly_typed(part, change);
            if !badly_typed.is_empty() {
                faults.extend(badly_typed);
                continue;
            }
            let default = defaults.get(part).cloned().unwrap_or(Value::Null);
            let before = now.get(part).cloned().unwrap_or_else(|| default.clone());
            let mut wanted = before.clone();
            merge(&mut wanted, change, &default);
            now.insert(part.clone(), wanted.clone());
            match serde_json::from_value::<Self>(Value::Object(now.clone())) {
                Ok(read) => {
                    let read = serde_json::to_value(&read).unwrap_or_default();
                    let back = read.get(part).cloned().unwrap_or_default();
                    lost(part, &wanted, &back, &mut faults);
                }
                Err(error) => {
                    faults.push(Invalid::new(part, format!("cannot be read: {error}")));
                    now.insert(part.clone(), before);
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        serde_json::from_value(Value::Object(now))
            .map_err(|error| vec![Invalid::new("settings", format!("cannot be read: {error}"))])
    }
}

/// Values of another type than text where secrets are expected. Found here, since what reads settings
/// would quote them in its complaint.
fn badly_typed(part: &str, change: &Value) -> Vec<Invalid> {
    let mut faults = Vec::new();
    match change {
        _ if part != "build" => {}
        Value::Object(build) => {
            for name in ["args", "secrets"] {
                let path = format!("build.{name}");
                match build.get(name) {
                    None | Some(Value::Null) => {}
                    Some(Value::Object(values)) => {
                        let wrong = values
                            .iter()
                            .filter(|(_, value)| !value.is_string() && !value.is_null());
                        faults.extend(wrong.map(|(key, _)| {
                            let field = format!("{path}.{}", quoted(key));
                            Invalid::new(field, "must have a string as its value")
                        }));
                    }
                    Some(_) => faults.push(Invalid::new(path, "must be an object of strings")),
                }
            }
        }
        Value::Null => {}
        _ => faults.push(Invalid::new("build", "must be an object")),
    }
    faults
}

fn merge(into: &mut Value, change: &Value, default: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                let default = default.get(name).cloned().unwrap_or(Value::Null);
                if value.is_null() {
                    if default.is_null() {
                        into.remove(name);
                    } else {
                        into.insert(name.clone(), default);
                    }
                } else {
                    merge(
                        into.entry(name.clone()).or_insert(Value::Null),
                        value,
                        &default,
                    );
                }
            }
        }
        (into, Value::Null) => *into = default.clone(),
        (into, change) => *into = change.clone(),
    }
}

/// What was wanted and did not come back: names that do not exist.
fn lost(path: &str, wanted: &Value, back: &Value, faults: &mut Vec<Invalid>) {
    match (wanted, back) {
        (Value::Object(wanted), Value::Object(back)) => {
            for (name, value) in wanted {
                let inner = format!("{path}.{name}");
                match back.get(name) {
                    Some(back) => lost(&inner, value, back, faults),
                    None if value.is_null() => {}
                    None => {
                        let known: Vec<String> = back.keys().cloned().collect();
                        faults.push(unknown(&inner, name, &known));
                    }
                }
            }
        }
        (Value::Array(wanted), Value::Array(back)) => {
            for (wanted, back) in wanted.iter().zip(back) {
                lost(path, wanted, back, faults);
            }
        }
        _ => {}
    }
}

fn unknown(path: &str, name: &str, known: &[String]) -> Invalid {
    let near = near_names(name, known.iter().map(String::as_str));
    let hint = match near.first() {
        Some(near) => format!("; did you mean {}?", quoted(near)),
        None => String::new(),
    };
    Invalid::new(path, format!("is not known here{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Quantity;
    use serde_json::json;

    fn merged(patch: Value) -> Result<Settings, Vec<String>> {
        let Value::Object(patch) = patch else {
            panic!("no object")
        };
        let mut settings = Settings::default();
        settings.resources.memory_limit_mb = Some(64);
        settings
            .merged(&patch)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_named_stays_and_null_brings_the_default_back() {
        let now = merged(json!({
            "rollout": {"max_surge": 1, "canary": {"steps": [10, 50]}},
            "resources": {"cpu_limit_milli": 500, "memory_limit_mb": null},
            "placement": ["node.labels.disk==ssd"],
            "volumes": [{"name": "data", "path": "/data"}],
        }))
        .unwrap();
        assert_eq!(now.rollout.max_surge, Quantity::Count(1));
        assert_eq!(now.rollout.canary.steps, [10, 50]);
        assert_eq!(now.rollout.canary.step_seconds, 60);
        assert_eq!(now.resources.memory_limit_mb, None);
        assert_eq!(now.resources.cpu_limit_milli, Some(500));
        assert_eq!(now.placement.len(), 1);
        assert!(!now.volumes[0].shared);
        let back = now
            .merged(json!({"rollout": null}).as_object().unwrap())
            .unwrap();
        assert_eq!(back.rollout, Settings::default().rollout);
    }

    #[test]
    fn values_of_builds_are_never_quoted() {
        for wrong in [
            json!({"build": "hunter2"}),
            json!({"build": {"secrets": "hunter2"}}),
            json!({"build": {"secrets": {"A": ["hunter2"]}}}),
            json!({"build": {"args": {"A": {"b": "hunter2"}, "C": 5}}}),
            json!({"build": {"args": ["hunter2"]}}),
        ] {
            let faults = merged(wrong.clone()).unwrap_err();
            assert!(faults[0].starts_with("build"), "{faults:?}");
            assert!(!faults.concat().contains("hunter2"), "{faults:?}");
        }
        let fine = json!({"build": {"secrets": {"A": "hunter2", "B": null}, "args": null}});
        assert_eq!(merged(fine).unwrap().build.secrets.0["A"], "hunter2");
    }

    #[test]
    fn nothing_that_was_sent_is_lost_in_silence() {
        let faults = merged(json!({
            "rollout": {"max_surg": 1},
            "resources": {"memory_limit_mb": "lots"},
            "colour": "red",
        }))
        .unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(
            faults
                .iter()
                .any(|f| f
                    .starts_with("rollout.max_surg is not known here; did you mean 'max_surge'")),
            "{faults:#?}"
        );
        assert!(
            faults
                .iter()
                .any(|f| f.starts_with("resources cannot be read")),
            "{faults:#?}"
        );
        assert!(
            faults.iter().any(|f| f.starts_with("colour is not known")),
            "{faults:#?}"
        );
        let null_in_list = merged(json!({"volumes": [{"name": "a", "path": "/a", "size": 3}]}));
        assert!(null_in_list.unwrap_err()[0].starts_with("volumes.size is not known"));
    }
}
