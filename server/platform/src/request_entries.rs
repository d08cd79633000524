//! Entries about single requests, as the ingresses tell of them.
//!
//! They are the platform's own words about an app (`system`), so that whoever reads what an app printed
//! does not meet them; their stream and tag is `access`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use flukedeploy_domain::log_entry::{
    ACCESS, EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use flukedeploy_domain::request_record::{LeftOut, RequestRecord};
use flukedeploy_domain::timestamp;
use serde_json::Value;
use time::OffsetDateTime;

use crate::platform::Platform;
use crate::secret::random_u64;

/// Writes requests into the logs of their apps.
pub(crate) fn record(px: &Platform, requests: Vec<RequestRecord>, left_out: &[LeftOut]) {
    let now = px.now();
    for request in requests {
        let task = request
            .service
            .as_deref()
            .zip(request.upstream)
            .and_then(|(service, upstream)| px.parts().fleet.task_at(service, upstream.ip()));
        px.parts().journal.record(entry(&request, task, now));
    }
    for left_out in left_out {
        px.parts().journal.record(of_left_out(left_out, now));
    }
}

/// `task`: id and node of the replica.
fn entry(
    request: &RequestRecord,
    task: Option<(String, Option<String>)>,
    now: OffsetDateTime,
) -> LogEntry {
    // The clock of another node must not bring lines from the future.
    let at = timestamp::from_unix_ms(request.ended_at_ms).min(now);
    let (level, message) = (level_of(request), message_of(request));
    // The same for the same request, if it is told twice after a crash.
    let mut hasher = DefaultHasher::new();
    (&request.request_id, request.ended_at_ms, &message).hash(&mut hasher);
    let (task_id, node_id) = task.map_or((None, None), |(task, node)| (Some(task), node));
    let source = LogSource {
        kind: SourceType::System,
        container_name: request.app.to_string(),
        service_id: request.service.clone(),
        node_id,
        task_id,
        stream: Some(ACCESS.to_owned()),
    };
    let metadata = LogMetadata {
        environment: Some(request.environment.to_string()),
        release: request.release,
        duration_ms: Some(request.duration_ms),
        error_code: request.error_code.clone(),
        fields: fields_of(request),
        ..LogMetadata::new(EventType::PostDeploy, request.app.as_str())
    };
    let mut entry = LogEntry::new(at, hasher.finish(), level, message, source, metadata);
    entry.tags.push(ACCESS.to_owned());
    entry
}

fn of_left_out(left_out: &LeftOut, now: OffsetDateTime) -> LogEntry {
    let app = left_out.app.to_string();
    let source = LogSource {
        kind: SourceType::System,
        container_name: app.clone(),
        service_id: None,
        node_id: None,
        task_id: None,
        stream: Some(ACCESS.to_owned()),
    };
    let metadata = LogMetadata {
        environment: Some(left_out.environment.to_string()),
        fields: BTreeMap::from([("left_out".to_owned(), left_out.count.into())]),
        ..LogMetadata::new(EventType::PostDeploy, app)
    };
    let message = match left_out.count {
        1 => "1 more request is not told here: too many came at once".to_owned(),
        count => format!("{count} more requests are not told here: too many came at once"),
    };
    let mut entry = LogEntry::new(now, random_u64(), Level::Warn, message, source, metadata);
    entry.tags.push(ACCESS.to_owned());
    entry
}

/// Error: the ingress could not serve it. Warn: the app says that it failed, or was slow, or its owner
/// has closed it.
fn level_of(request: &RequestRecord) -> Level {
    let server_error = request.status.is_some_and(|status| status >= 500);
    match request.error_code.as_deref() {
        Some("app_stopped" | "app_in_maintenance" | "request_incomplete") => Level::Warn,
        Some(_) => Level::Error,
        None if server_error || request.slow => Level::Warn,
        None => Level::Info,
    }
}

/// `GET /orders 200 in 12 ms`.
fn message_of(request: &RequestRecord) -> String {
    let RequestRecord {
        method,
        path,
        duration_ms,
        ..
    } = request;
    let Some(status) = request.status else {
        return format!("{method} {path} given up by the client after {duration_ms} ms");
    };
    let text = format!("{method} {path} {status} in {duration_ms} ms");
    match request.error_code.as_deref() {
        Some(code) => format!("{text}: {}", words_of(code)),
        None => text,
    }
}

/// What a code of the ingress means.
fn words_of(code: &str) -> &str {
    match code {
        "no_healthy_replica" => "no replica of the app is healthy",
        "replicas_unreachable" => "no replica of the app accepts connections",
        "too_many_waiting" => "too many requests are waiting for the app",
        "bad_answer" => "the app closed the connection before it gave an answer",
        "answer_broke_off" => "the app broke off in the middle of its answer",
        "app_timed_out" => "the app did not answer in time",
        "app_stopped" => "the app is stopped",
        "app_in_maintenance" => "the app is in maintenance",
        "request_incomplete" => "the client did not send all of it",
        other => other,
    }
}

fn fields_of(request: &RequestRecord) -> BTreeMap<String, Value> {
    let text = |text: &str| Some(Value::from(text));
    let parts = [
        ("method", text(&request.method)),
        ("path", text(&request.path)),
        ("status", request.status.map(Value::from)),
        ("first_byte_ms", request.first_byte_ms.map(Value::from)),
        ("bytes", Some(request.bytes_out.into())),
        ("client", text(&request.client)),
        ("user_agent", request.user_agent.as_deref().and_then(text)),
        ("request_id", text(&request.request_id)),
        (
            "upstream",
            request.upstream.map(|at| Value::from(at.to_string())),
        ),
        (
            "retries",
            (request.retries > 0).then(|| request.retries.into()),
        ),
        ("slow", request.slow.then_some(Value::Bool(true))),
    ];
    let told = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RequestRecord {
        serde_json::from_value(serde_json::json!({
            "ended_at_ms": 1_770_200_000_000_i64, "app": "shop", "environment": "production",
            "service": "fd-shop-r3", "release": 3, "upstream": "10.0.1.7:8080",
            "method": "GET", "path": "/orders", "status": 200, "duration_ms": 12, "first_byte_ms": 9,
            "bytes_out": 512, "client": "203.0.113.9", "user_agent": "curl/8", "request_id": "abc",
        }))
        .unwrap()
    }

    fn told(change: impl FnOnce(&mut RequestRecord)) -> LogEntry {
        let mut request = request();
        change(&mut request);
        let now = timestamp::from_unix_ms(1_770_200_001_000);
        entry(&request, Some(("t7".to_owned(), None)), now)
    }

    #[test]
    fn a_request_is_an_entry_with_its_parts() {
        let entry = told(|_| {});
        assert_eq!(entry.message, "GET /orders 200 in 12 ms");
        assert_eq!(
            (entry.level, entry.source.kind),
            (Level::Info, SourceType::System)
        );
        assert_eq!(entry.source.stream.as_deref(), Some("access"));
        assert_eq!(entry.source.task_id.as_deref(), Some("t7"));
        let metadata = &entry.flukedeploy_metadata;
        assert_eq!(
            (metadata.release, metadata.duration_ms),
            (Some(3), Some(12))
        );
        assert_eq!(metadata.fields["bytes"], 512);
        assert_eq!(metadata.fields["upstream"], "10.0.1.7:8080");
        assert!(!metadata.fields.contains_key("retries"));
        assert_eq!(told(|_| {}).id, entry.id, "told twice, it is the same");
        assert_ne!(told(|one| one.request_id = "abd".to_owned()).id, entry.id);
    }

    #[test]
    fn who_failed_shows_in_the_level() {
        let by_app = told(|one| one.status = Some(500));
        assert_eq!(by_app.level, Level::Warn);
        let by_ingress = told(|one| {
            one.status = Some(502);
            one.error_code = Some("bad_answer".to_owned());
        });
        assert_eq!(by_ingress.level, Level::Error);
        assert_eq!(
            by_ingress.message,
            "GET /orders 502 in 12 ms: the app closed the connection before it gave an answer"
        );
        let stopped = told(|one| {
            one.status = Some(503);
            one.error_code = Some("app_stopped".to_owned());
        });
        assert_eq!(stopped.level, Level::Warn);
        assert_eq!(told(|one| one.slow = true).level, Level::Warn);
        let left = told(|one| one.status = None);
        assert_eq!(
            left.message,
            "GET /orders given up by the client after 12 ms"
        );
        let future = told(|one| one.ended_at_ms += 3_600_000);
        assert_eq!(timestamp::to_unix_ms(future.timestamp), 1_770_200_001_000);
    }
}
