//! OTLP logs in the JSON form of its protocol: 64-bit numbers are strings, enumerations numbers.

use bytes::Bytes;
use flukedeploy_domain::log_entry::{Level, LogEntry};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// One request for all of these, in their order: entries of one origin that follow each other share
/// a resource.
pub(super) fn request(entries: &[&LogEntry], now: OffsetDateTime, version: &str) -> Bytes {
    let observed = nanos(now);
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for entry in entries {
        let resource = resource(entry);
        let record = record(entry, &observed);
        match groups.last_mut() {
            Some((last, records)) if *last == resource => records.push(record),
            _ => groups.push((resource, vec![record])),
        }
    }
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|(resource, records)| {
            json!({
                "resource": resource,
                "scopeLogs": [{
                    "scope": {"name": "flukedeploy", "version": version},
                    "logRecords": records,
                }],
            })
        })
        .collect();
    json!({"resourceLogs": groups}).to_string().into()
}

/// What an answer says was refused: how many, and why.
pub(super) fn refused(answer: &[u8]) -> (u64, Option<String>) {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let part = &answer["partialSuccess"];
    let count = match &part["rejectedLogRecords"] {
        Value::String(text) => text.parse().unwrap_or(0),
        number => number.as_u64().unwrap_or(0),
    };
    let why = part["errorMessage"].as_str().map(|why| {
        let mut why: String = why.chars().filter(|c| !c.is_control()).collect();
        why.truncate(why.floor_char_boundary(300));
        why
    });
    (count, why.filter(|why| !why.is_empty()))
}

fn nanos(at: OffsetDateTime) -> String {
    at.unix_timestamp_nanos().max(0).to_string()
}

/// Debug, info, warn and error as OpenTelemetry numbers them.
fn severity(level: Level) -> u8 {
    match level {
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warn => 13,
        Level::Error => 17,
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn texts<'a>(known: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Vec<Value> {
    known
        .into_iter()
        .filter_map(|(key, value)| Some(text(key, value?)))
        .collect()
}

fn resource(entry: &LogEntry) -> Value {
    let (metadata, source) = (&entry.flukedeploy_metadata, &entry.source);
    let attributes = texts([
        ("service.name", Some(metadata.app_name.as_str())),
        ("service.version", metadata.version.as_deref()),
        ("service.instance.id", source.task_id.as_deref()),
        (
            "deployment.environment.name",
            metadata.environment.as_deref(),
        ),
        ("container.name", Some(source.container_name.as_str())),
        ("host.id", source.node_id.as_deref()),
    ]);
    json!({"attributes": attributes})
}

fn record(entry: &LogEntry, observed: &str) -> Value {
    let metadata = &entry.flukedeploy_metadata;
    let mut attributes = texts([
        ("log.record.uid", Some(entry.id.as_str())),
        ("deployment.id", metadata.deployment_id.as_deref()),
        ("log.iostream", entry.source.stream.as_deref()),
        ("error.type", metadata.error_code.as_deref()),
        ("exception.stacktrace", metadata.stack_trace.as_deref()),
    ]);
    if let Some(release) = metadata.release {
        let value = json!({"intValue": release.to_string()});
        attributes.push(json!({"key": "flukedeploy.release", "value": value}));
    }
    let fields = metadata.fields.iter();
    attributes.extend(fields.map(|(key, value)| json!({"key": key, "value": any(value)})));
    json!({
        "timeUnixNano": nanos(entry.timestamp),
        "observedTimeUnixNano": observed,
        "severityNumber": severity(entry.level),
        "severityText": entry.level.as_str(),
        "body": {"stringValue": entry.message},
        "attributes": attributes,
        "eventName": metadata.event_type.as_str(),
    })
}

/// A JSON value as an `AnyValue`.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({"intValue": whole.to_string()}),
            None => json!({"doubleValue": number}),
        },
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(list) => {
            let values: Vec<Value> = list.iter().map(any).collect();
            json!({"arrayValue": {"values": values}})
        }
        Value::Object(map) => json!({"kvlistValue": {"values": pairs(map)}}),
    }
}

fn pairs(map: &Map<String, Value>) -> Vec<Value> {
    map.iter()
        .map(|(key, value)| json!({"key": key, "value": any(value)}))
        .collect()
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::log_entry::{EventType, LogMetadata, LogSource, SourceType};
    use flukedeploy_domain::timestamp::from_wire;

    use super::*;

    fn entry(app: &str, message: &str) -> LogEntry {
        let source = LogSource {
            kind: SourceType::Container,
            container_name: format!("{app}.1"),
            service_id: None,
            node_id: None,
            task_id: Some("t1".to_owned()),
            stream: Some("stderr".to_owned()),
        };
        let mut metadata = LogMetadata::new(EventType::PostDeploy, app);
        metadata.environment = Some("production".to_owned());
        metadata
            .fields
            .insert("n".to_owned(), json!([1, 2.5, null, {"a": true}]));
        let at = from_wire("2026-02-04T10:13:20.123Z").unwrap();
        LogEntry::new(at, 7, Level::Warn, message, source, metadata)
    }

    #[test]
    fn entries_become_records_in_their_order() {
        let all = [
            entry("shop", "a"),
            entry("shop", "b\0"),
            entry("api", "c"),
            entry("shop", "d"),
        ];
        let all: Vec<&LogEntry> = all.iter().collect();
        let now = from_wire("2026-02-04T10:13:21Z").unwrap();
        let body: Value = serde_json::from_slice(&request(&all, now, "1.2.3")).unwrap();
        let groups = body["resourceLogs"].as_array().unwrap();
        assert_eq!(groups.len(), 3);
        let records = |group: &Value| group["scopeLogs"][0]["logRecords"].clone();
        assert_eq!(records(&groups[0]).as_array().unwrap().len(), 2);
        assert_eq!(
            groups[0]["resource"]["attributes"],
            json!([
                {"key": "service.name", "value": {"stringValue": "shop"}},
                {"key": "service.instance.id", "value": {"stringValue": "t1"}},
                {"key": "deployment.environment.name", "value": {"stringValue": "production"}},
                {"key": "container.name", "value": {"stringValue": "shop.1"}},
            ])
        );
        assert_eq!(
            records(&groups[1])[0],
            json!({
                "timeUnixNano": "1770200000123000000",
                "observedTimeUnixNano": "1770200001000000000",
                "severityNumber": 13,
                "severityText": "warn",
                "body": {"stringValue": "c"},
                "eventName": "post_deploy",
                "attributes": [
                    {"key": "log.record.uid", "value": {"stringValue": "dep-1770200000123-700000000"}},
                    {"key": "log.iostream", "value": {"stringValue": "stderr"}},
                    {"key": "n", "value": {"arrayValue": {"values": [
                        {"intValue": "1"}, {"doubleValue": 2.5}, {},
                        {"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": true}}]}},
                    ]}}},
                ],
            })
        );
    }

    #[test]
    fn what_was_refused_is_read_in_both_forms() {
        for (answer, count) in [
            (
                r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too\u001b old"}}"#,
                3,
            ),
            (r#"{"partialSuccess":{"rejectedLogRecords":3}}"#, 3),
            ("{}", 0),
            ("", 0),
            ("nonsense", 0),
        ] {
            assert_eq!(refused(answer.as_bytes()).0, count, "{answer}");
        }
        let answer =
            r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too\u001b old"}}"#;
        assert_eq!(refused(answer.as_bytes()).1.as_deref(), Some("too old"));
    }
}
