//! Control frames; the contract's words. Log frames are bare entries.

use axum::extract::ws::Message;
use flukedeploy_domain::names::Invalid;
use flukedeploy_domain::timestamp;
use flukedeploy_platform::follow::Followed;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::MAX_MESSAGE_BYTES;

/// Longest part of a client's own words that is sent back.
const MAX_ECHO: usize = 60;

pub(super) fn connected(port: u16, filter: &Value, authenticated: bool) -> Message {
    frame(&json!({
        "type": "connected",
        "message": "Connected to FlukeDeploy log stream",
        "port": port,
        "filter": filter,
        "authenticated": authenticated,
    }))
}

pub(super) fn authenticated() -> Message {
    frame(&json!({"type": "authenticated", "message": "Authenticated"}))
}

pub(super) fn subscribed(filter: &Value) -> Message {
    frame(&json!({
        "type": "subscribed", "message": "Subscription updated", "filter": filter,
    }))
}

pub(super) fn unsubscribed() -> Message {
    frame(&json!({"type": "unsubscribed", "message": "Log frames are off"}))
}

pub(super) fn pong(now: OffsetDateTime) -> Message {
    frame(&json!({"type": "pong", "timestamp": timestamp::to_wire(now)}))
}

#[derive(Debug, Serialize)]
pub(super) struct Stats {
    pub(super) total_clients: usize,
    pub(super) port: u16,
    pub(super) messages_broadcast: u64,
    pub(super) uptime_ms: u64,
    #[serde(with = "timestamp")]
    pub(super) started_at: OffsetDateTime,
}

pub(super) fn stats(stats: &Stats) -> Message {
    frame(&json!({"type": "stats", "stats": stats}))
}

/// The client was too slow for `count` entries.
fn dropped(count: u64) -> Message {
    frame(&json!({"type": "dropped", "count": count}))
}

pub(super) fn not_json() -> Message {
    frame(&json!({"type": "error", "message": "Invalid JSON message"}))
}

pub(super) fn too_long() -> Message {
    let message = format!("a message has at most {MAX_MESSAGE_BYTES} bytes");
    error("bad_request", &message)
}

pub(super) fn unknown_action(action: &str) -> Message {
    let action: String = action
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_ECHO)
        .collect();
    frame(&json!({"type": "error", "message": format!("Unknown action: {action}")}))
}

pub(super) fn error(code: &str, message: &str) -> Message {
    frame(&json!({"type": "error", "code": code, "message": message}))
}

pub(super) fn invalid(faults: &[Invalid]) -> Message {
    let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
    error("bad_request", &text.join("; "))
}

/// A bare entry, or the notice that the client was too slow for some.
pub(super) fn followed(followed: Followed) -> Message {
    match followed {
        Followed::Entry(entry) => match entry.json().try_into() {
            Ok(text) => Message::Text(text),
            // JSON is UTF-8; were it not, one entry would be missing.
            Err(_) => dropped(1),
        },
        Followed::Dropped(count) => dropped(count),
    }
}

fn frame(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Auth(String),
    Subscribe(Map<String, Value>),
    Unsubscribe,
    Ping,
    Stats,
    Unknown(String),
    NotJson,
    /// Longer than [`MAX_MESSAGE_BYTES`].
    TooLong,
}

impl Request {
    pub(super) fn parse(text: &str) -> Self {
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
            return Self::NotJson;
        };
        let action = match message.remove("action") {
            Some(Value::String(action)) => action,
            Some(other) => other.to_string(),
            None => "(none)".to_owned(),
        };
        match action.as_str() {
            "auth" => match message.remove("token") {
                Some(Value::String(token)) => Self::Auth(token),
                _ => Self::Auth(String::new()),
            },
            "subscribe" => Self::Subscribe(message),
            "unsubscribe" => Self::Unsubscribe,
            "ping" => Self::Ping,
            "get_stats" => Self::Stats,
            _ => Self::Unknown(action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &Message) -> Value {
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    #[test]
    fn frames_are_the_contracts() {
        let connected = text(&connected(8767, &json!({}), true));
        assert_eq!(connected["type"], "connected");
        assert_eq!(connected["message"], "Connected to FlukeDeploy log stream");
        assert_eq!(
            (&connected["port"], &connected["filter"]),
            (&json!(8767), &json!({}))
        );
        assert_eq!(
            text(&not_json()),
            json!({"type": "error", "message": "Invalid JSON message"})
        );
        assert_eq!(
            text(&unknown_action("dance")),
            json!({"type": "error", "message": "Unknown action: dance"})
        );
        assert_eq!(text(&dropped(3)), json!({"type": "dropped", "count": 3}));
        assert_eq!(
            text(&pong(OffsetDateTime::UNIX_EPOCH)),
            json!({"type": "pong", "timestamp": "1970-01-01T00:00:00.000Z"})
        );
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(Request::parse("nonsense"), Request::NotJson);
        assert_eq!(Request::parse("[1]"), Request::NotJson);
        assert_eq!(Request::parse(r#"{"action":"ping"}"#), Request::Ping);
        assert_eq!(Request::parse(r#"{"action":"get_stats"}"#), Request::Stats);
        assert_eq!(
            Request::parse(r#"{"action":"unsubscribe"}"#),
            Request::Unsubscribe
        );
        assert_eq!(
            Request::parse(r#"{"action":"dance"}"#),
            Request::Unknown("dance".to_owned())
        );
        assert_eq!(Request::parse("{}"), Request::Unknown("(none)".to_owned()));
        let auth = Request::parse(r#"{"action":"auth","token":"t"}"#);
        assert_eq!(auth, Request::Auth("t".to_owned()));
    }
}
