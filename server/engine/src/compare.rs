//! Whether a service is as wanted already.

use serde_json::Value;

/// A part of a service's specification that people have a word for.
struct Part {
    word: &'static str,
    pointer: &'static str,
    /// To wish for nothing is a wish too: a memory limit that is no longer wanted has to go.
    whole: bool,
}

const fn part(word: &'static str, pointer: &'static str, whole: bool) -> Part {
    Part {
        word,
        pointer,
        whole,
    }
}

const PARTS: [Part; 12] = [
    part("image", "/TaskTemplate/ContainerSpec/Image", true),
    part("env", "/TaskTemplate/ContainerSpec/Env", true),
    part("replicas", "/Mode", false),
    part("resources", "/TaskTemplate/Resources", true),
    // Beside it the engine notes the platforms of the image.
    part("placement", "/TaskTemplate/Placement/Constraints", true),
    part("mounts", "/TaskTemplate/ContainerSpec/Mounts", true),
    part("secrets", "/TaskTemplate/ContainerSpec/Secrets", true),
    part("ports", "/EndpointSpec/Ports", true),
    part(
        "health check",
        "/TaskTemplate/ContainerSpec/Healthcheck",
        true,
    ),
    part("labels", "/Labels", false),
    part("labels", "/TaskTemplate/ContainerSpec/Labels", false),
    part("networks", "/TaskTemplate/Networks", false),
];

/// What of `existing` is not as `wanted`, in words; empty if nothing is.
pub(crate) fn differences(existing: &Value, wanted: &Value) -> Vec<&'static str> {
    let mut words = Vec::new();
    let mut rest = wanted.clone();
    for part in &PARTS {
        let at = |spec: &Value| spec.pointer(part.pointer).cloned().unwrap_or_default();
        let (existing, wanted) = (at(existing), at(wanted));
        let same = covers(&existing, &wanted) && (!part.whole || covers(&wanted, &existing));
        if !same && !words.contains(&part.word) {
            words.push(part.word);
        }
        take(&mut rest, part.pointer);
    }
    if !covers(existing, &rest) {
        words.push("other");
    }
    words
}

fn take(spec: &mut Value, pointer: &str) {
    if let Some((parent, name)) = pointer.rsplit_once('/')
        && let Some(parent) = spec.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        parent.remove(name);
    }
}

/// Whether `existing` says everything that `wanted` says. What only `existing` holds (the engine's
/// defaults) does not count, and what `wanted` holds of no value may be left out, as the engine
/// does. Lists must match element by element, so that nothing can hide in them.
fn covers(existing: &Value, wanted: &Value) -> bool {
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
        (Value::Null, other) | (other, Value::Null) => is_nothing(other),
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

    /// As the engine answers, with its defaults.
    fn existing() -> Value {
        json!({
            "Name": "a",
            "Labels": {"a": "1"},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "sha256:1", "Labels": {"a": "1"}, "Env": ["A=1"], "Isolation": "default",
                    "StopGracePeriod": 7, "DNSConfig": {}, "Init": false,
                },
                "Resources": {"Limits": {}, "Reservations": {}},
                "RestartPolicy": {"Condition": "any", "Delay": 1, "MaxAttempts": 0},
                "Placement": {"Platforms": [{"Architecture": "amd64", "OS": "linux"}]},
                "Networks": [{"Target": "net1", "Aliases": ["shop"]}],
                "Runtime": "container",
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "EndpointSpec": {"Mode": "dnsrr"},
        })
    }

    fn wanted() -> Value {
        json!({
            "Name": "a",
            "Labels": {"a": "1"},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "sha256:1", "Labels": {"a": "1"}, "Env": ["A=1"],
                    "StopGracePeriod": 7, "Init": false,
                },
                "RestartPolicy": {"Condition": "any", "Delay": 1},
                "Networks": [{"Target": "net1", "Aliases": ["shop"]}],
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "EndpointSpec": {"Mode": "dnsrr", "Ports": []},
        })
    }

    fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[name] = value;
        spec
    }

    #[test]
    fn what_nobody_wished_for_and_nobody_set_is_no_difference() {
        assert!(differences(&existing(), &wanted()).is_empty());
    }

    #[test]
    fn every_difference_has_a_word() {
        let container = "/TaskTemplate/ContainerSpec";
        for (pointer, value, word) in [
            (format!("{container}/Image"), json!("sha256:2"), "image"),
            (format!("{container}/Env"), json!(["A=2"]), "env"),
            (
                "/Mode".to_owned(),
                json!({"Replicated": {"Replicas": 3}}),
                "replicas",
            ),
            (
                "/TaskTemplate/Resources".to_owned(),
                json!({"Limits": {"MemoryBytes": 9}}),
                "resources",
            ),
            (
                "/TaskTemplate/Placement".to_owned(),
                json!({"Constraints": ["node.role == worker"]}),
                "placement",
            ),
            (
                format!("{container}/Mounts"),
                json!([{"Type": "volume", "Source": "v", "Target": "/v"}]),
                "mounts",
            ),
            (
                "/EndpointSpec/Ports".to_owned(),
                json!([{"PublishedPort": 80, "TargetPort": 80, "PublishMode": "host"}]),
                "ports",
            ),
            (
                format!("{container}/Healthcheck"),
                json!({"Test": ["CMD", "/check"]}),
                "health check",
            ),
            ("/Labels".to_owned(), json!({"a": "2"}), "labels"),
            (format!("{container}/Labels"), json!({"b": "1"}), "labels"),
            (
                "/TaskTemplate/Networks".to_owned(),
                json!([{"Target": "net2"}]),
                "networks",
            ),
            (format!("{container}/StopGracePeriod"), json!(8), "other"),
        ] {
            let other = with(wanted(), &pointer, value.clone());
            assert_eq!(differences(&existing(), &other), [word], "{other}");
            // It is one too when it was set so and is not wished for.
            let former = with(existing(), &pointer, value);
            assert_eq!(
                differences(&former, &wanted()),
                [word],
                "not wished for: {former}"
            );
        }
        let both = with(wanted(), "/Labels", json!({"a": "2"}));
        let both = with(both, &format!("{container}/Labels"), json!({"a": "2"}));
        assert_eq!(differences(&existing(), &both), ["labels"]);
    }

    #[test]
    fn one_of_two_limits_that_is_no_longer_wished_for_is_a_difference() {
        let resources = "/TaskTemplate/Resources";
        let one = json!({"Limits": {"MemoryBytes": 9}});
        let two = json!({"Limits": {"MemoryBytes": 9, "NanoCPUs": 5}, "Reservations": {}});
        let wanted = with(wanted(), resources, one.clone());
        assert!(differences(&with(existing(), resources, one), &wanted).is_empty());
        let former = with(existing(), resources, two);
        assert_eq!(differences(&former, &wanted), ["resources"]);
    }
}
