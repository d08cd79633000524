//! Whether a service is as wanted already.

use serde_json::Value;

/// Whether `existing` says everything that `wanted` says. What only `existing` holds (the engine's
/// defaults) does not count, and what `wanted` holds of no value may be left out, as the engine
/// does. Lists must match element by element, so that nothing can hide in them.
pub(crate) fn covers(existing: &Value, wanted: &Value) -> bool {
    match (existing, wanted) {
        (Value::Object(existing), Value::Object(wanted)) => {
            wanted
                .iter()
                .all(|(name, wanted)| match existing.get(name) {
                    Some(existing) => covers(existing, wanted),
                    None => is_nothing(wanted),
                })
        }
        (Value::Array(existing), Value::Array(wanted)) => {
            existing.len() == wanted.len()
                && existing
                    .iter()
                    .zip(wanted)
                    .all(|(existing, wanted)| covers(existing, wanted))
        }
        (Value::Null, wanted) => is_nothing(wanted),
        (existing, wanted) => existing == wanted,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_engines_defaults_do_not_count() {
        let existing =
            json!({"Name": "a", "Mode": {"Replicated": {"Replicas": 2}}, "Runtime": "container"});
        assert!(covers(
            &existing,
            &json!({"Name": "a", "Mode": {"Replicated": {"Replicas": 2}}})
        ));
        assert!(covers(
            &existing,
            &json!({"Name": "a", "Ports": [], "Init": false, "Env": null})
        ));
    }

    #[test]
    fn every_difference_counts() {
        let existing =
            json!({"Env": ["A=1", "B=2"], "Labels": {"a": "1"}, "Ports": [{"PublishedPort": 80}]});
        for other in [
            json!({"Env": ["A=1"]}),
            json!({"Env": ["B=2", "A=1"]}),
            json!({"Env": []}),
            json!({"Labels": {"a": "2"}}),
            json!({"Labels": {"b": "1"}}),
            json!({"Ports": []}),
            json!({"Ports": [{"PublishedPort": 81}]}),
            json!({"Init": true}),
            json!({"Labels": "a"}),
        ] {
            assert!(!covers(&existing, &other), "{other}");
        }
    }
}
