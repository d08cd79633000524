//! Level, message and error out of the keys that structured loggers use.

use std::collections::BTreeMap;

use flukedeploy_domain::log_entry::Level;
use serde_json::{Map, Value};

use super::clean::clean_owned;
use super::{Meaning, level, trace};

/// Most fields of one entry.
const MAX_FIELDS: usize = 64;
/// Longest name of a field, and longest text in one, in bytes.
const MAX_NAME_BYTES: usize = 128;
const MAX_TEXT_BYTES: usize = 2 * 1024;
/// All fields of one entry together, in bytes.
const MAX_FIELDS_BYTES: usize = 8 * 1024;
/// Says how many fields were left out.
const LEFT_OUT: &str = "_left_out";

/// The likeliest first; the case of letters does not matter.
const LEVELS: [&str; 11] = [
    "level",
    "severity",
    "lvl",
    "log.level",
    "loglevel",
    "levelname",
    "level_name",
    "@l",
    "priority",
    "severity_text",
    "at",
];
const MESSAGES: [&str; 7] = ["msg", "message", "event", "text", "@m", "@mt", "body"];
const ERRORS: [&str; 5] = ["err", "error", "exception", "exc_info", "@x"];
const TRACES: [&str; 9] = [
    "stack",
    "stack_trace",
    "stacktrace",
    "traceback",
    "backtrace",
    "error.stack_trace",
    "error.stack",
    "err.stack",
    "exception.stacktrace",
];
const CODES: [&str; 7] = [
    "error_code",
    "errorcode",
    "error_type",
    "error.type",
    "exception.type",
    "err.type",
    "exception_class",
];

/// What an object's keys say; `None` if none of them is a message: then the line itself is the
/// message, and `Err` gives the level, if there is one.
pub(super) fn read(mut object: Map<String, Value>) -> Result<Meaning, Option<Level>> {
    // Rust's tracing puts the message among "fields", ECS the level into "log".
    for (outer, sign) in [("fields", "message"), ("log", "level")] {
        if object
            .get(outer)
            .is_some_and(|inner| inner.get(sign).is_some())
            && let Some(Value::Object(inner)) = object.remove(outer)
        {
            for (name, value) in inner {
                object.entry(name).or_insert(value);
            }
        }
    }
    let level = take_level(&mut object);
    let mut error = take_error(&mut object);
    let message = take_text(&mut object, &MESSAGES)
        .filter(|message| !message.trim().is_empty())
        .or_else(|| error.message.take());
    let Some(message) = message else {
        return Err(level);
    };
    if let Some(own) = error.message.take().filter(|own| *own != message) {
        object.insert("error".to_owned(), Value::String(own));
    }
    let default = if error.stack_trace.is_some() {
        Level::Error
    } else {
        Level::Info
    };
    Ok(Meaning {
        level: level.unwrap_or(default),
        message: clean_owned(message),
        error_code: error
            .code
            .map(|code| limited(clean_owned(code), MAX_NAME_BYTES)),
        stack_trace: error.stack_trace.map(clean_owned),
        fields: kept(object),
    })
}

fn take_level(object: &mut Map<String, Value>) -> Option<Level> {
    for key in LEVELS {
        let Some(name) = find(object, key) else {
            continue;
        };
        let level = match &object[&name] {
            Value::String(word) => {
                level::named(word).or_else(|| level::numbered(word.parse().ok()?))
            }
            Value::Number(number) => level::numbered(number.as_u64()?),
            _ => None,
        };
        if level.is_some() {
            object.remove(&name);
            return level;
        }
    }
    // MongoDB: "s":"I" beside "c" and "msg". Python: "levelno".
    if object.contains_key("c")
        && object.contains_key("msg")
        && let Some(letter) = object.get("s").and_then(Value::as_str)
    {
        return level::named(letter.trim_end_matches(|c: char| c.is_ascii_digit()));
    }
    level::numbered_by_python(object.get("levelno")?.as_u64()?)
}

#[derive(Default)]
struct Found {
    code: Option<String>,
    message: Option<String>,
    stack_trace: Option<String>,
}

fn take_error(object: &mut Map<String, Value>) -> Found {
    let mut found = Found {
        code: take_text(object, &CODES),
        message: None,
        stack_trace: take_text(object, &TRACES),
    };
    for key in ERRORS {
        let Some(name) = find(object, key) else {
            continue;
        };
        match object.remove(&name) {
            Some(Value::Object(mut error)) => {
                let code = take_text(&mut error, &["type", "name", "class", "kind", "code"]);
                found.code = found.code.or(code);
                let trace = take_text(&mut error, &TRACES);
                found.stack_trace = found.stack_trace.or(trace);
                let message = take_text(&mut error, &["message", "msg", "description"]);
                found.message = found.message.or(message);
                if !error.is_empty() {
                    object.insert(name, Value::Object(error));
                }
            }
            Some(Value::String(text)) if text.trim_end().contains('\n') => {
                found.code = found.code.or_else(|| trace::error_code_in(text.lines()));
                found.stack_trace.get_or_insert(text);
            }
            Some(Value::String(text)) if !text.is_empty() => {
                found.code = found
                    .code
                    .or_else(|| trace::error_class(&text).map(str::to_owned));
                found.message.get_or_insert(text);
            }
            Some(Value::Null | Value::String(_)) | None => {}
            Some(other) => {
                object.insert(name, other);
            }
        }
    }
    found
}

fn find(object: &Map<String, Value>, key: &str) -> Option<String> {
    if object.contains_key(key) {
        return Some(key.to_owned());
    }
    object
        .keys()
        .find(|name| name.eq_ignore_ascii_case(key))
        .cloned()
}

/// The first of these keys with a text (or a list of texts) in it.
fn take_text(object: &mut Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| {
        let name = find(object, key)?;
        let text = match object.get_mut(&name)? {
            Value::String(text) => std::mem::take(text),
            Value::Array(lines) if !lines.is_empty() && lines.iter().all(Value::is_string) => {
                let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
                lines.join("\n")
            }
            _ => return None,
        };
        object.remove(&name);
        Some(text)
    })
}

/// What is left, within limits: a line may hold anything.
fn kept(object: Map<String, Value>) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let (mut room, mut left_out) = (MAX_FIELDS_BYTES, 0_u64);
    for (name, value) in object {
        if value.is_null() {
            continue;
        }
        let name = limited(clean_owned(name), MAX_NAME_BYTES);
        let value = match value {
            Value::String(text) => Value::String(limited(clean_owned(text), MAX_TEXT_BYTES)),
            Value::Array(_) | Value::Object(_) => nested(value),
            simple => simple,
        };
        let size = name.len() + value.as_str().map_or(16, str::len);
        if fields.len() == MAX_FIELDS || size > room {
            left_out += 1;
            continue;
        }
        room -= size;
        fields.insert(name, value);
    }
    if left_out > 0 {
        fields.insert(LEFT_OUT.to_owned(), left_out.into());
    }
    fields
}

/// A small list or object stays one, a large one becomes the beginning of its text.
fn nested(value: Value) -> Value {
    let text = value.to_string();
    // Written out, a character that acts is an escape: `\u001b`.
    if text.len() <= MAX_TEXT_BYTES && !text.contains("\\u00") {
        value
    } else {
        Value::String(limited(text, MAX_TEXT_BYTES))
    }
}

fn limited(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meaning(value: Value) -> Meaning {
        let Value::Object(object) = value else {
            panic!("no object")
        };
        read(object).unwrap()
    }

    #[test]
    fn the_keys_of_many_loggers_are_known() {
        for (line, level, message) in [
            (
                json!({"level": 30, "time": 1, "pid": 2, "hostname": "h", "msg": "pino"}),
                Level::Info,
                "pino",
            ),
            (
                json!({"level": 50, "msg": "bunyan", "v": 0}),
                Level::Error,
                "bunyan",
            ),
            (
                json!({"level": "WARN", "msg": "slog", "time": "t"}),
                Level::Warn,
                "slog",
            ),
            (
                json!({"severity": "CRITICAL", "message": "gcp"}),
                Level::Error,
                "gcp",
            ),
            (
                json!({"log.level": "debug", "message": "ecs"}),
                Level::Debug,
                "ecs",
            ),
            (
                json!({"log": {"level": "warn"}, "message": "ecs"}),
                Level::Warn,
                "ecs",
            ),
            (
                json!({"@l": "Warning", "@mt": "serilog"}),
                Level::Warn,
                "serilog",
            ),
            (
                json!({"event": "structlog", "level": "error"}),
                Level::Error,
                "structlog",
            ),
            (
                json!({"level": "INFO", "fields": {"message": "tracing", "a": 1}, "target": "t"}),
                Level::Info,
                "tracing",
            ),
            (
                json!({"level": 400, "level_name": "ERROR", "message": "monolog"}),
                Level::Error,
                "monolog",
            ),
            (
                json!({"levelno": 30, "message": "python"}),
                Level::Warn,
                "python",
            ),
            (
                json!({"t": {"$date": "x"}, "s": "W", "c": "NETWORK", "msg": "mongo"}),
                Level::Warn,
                "mongo",
            ),
            (
                json!({"LEVEL": "Error", "Message": "upper"}),
                Level::Error,
                "upper",
            ),
            (json!({"text": "no level"}), Level::Info, "no level"),
            (
                json!({"level": {"odd": 1}, "msg": "odd level"}),
                Level::Info,
                "odd level",
            ),
        ] {
            let got = meaning(line.clone());
            assert_eq!(
                (got.level, got.message.as_str()),
                (level, message),
                "{line}"
            );
        }
    }

    #[test]
    fn other_fields_are_kept_as_they_are() {
        let got = meaning(
            json!({"level": "info", "msg": "m", "ms": 12, "ok": true, "nothing": null,
            "user": {"id": 7}, "tags": ["a"], "path": "/x\u{1b}[31m"}),
        );
        assert_eq!(
            serde_json::to_value(&got.fields).unwrap(),
            json!({"ms": 12, "ok": true, "user": {"id": 7}, "tags": ["a"], "path": "/x"})
        );
    }

    #[test]
    fn errors_become_code_and_trace() {
        let pino = meaning(json!({"level": 50, "msg": "request failed",
            "err": {"type": "TypeError", "message": "x is undefined", "stack": "TypeError: x\n    at f (a.js:1:2)", "code": "E1"}}));
        assert_eq!(pino.error_code.as_deref(), Some("TypeError"));
        assert!(pino.stack_trace.unwrap().contains("a.js:1:2"));
        assert_eq!(
            serde_json::to_value(&pino.fields).unwrap(),
            json!({"err": {"code": "E1"}, "error": "x is undefined"})
        );
        let python = meaning(json!({"event": "failed",
            "exception": "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: no"}));
        assert_eq!(python.level, Level::Error);
        assert_eq!(python.error_code.as_deref(), Some("ValueError"));
        let go = meaning(json!({"level": "error", "error": "dial tcp: refused"}));
        assert_eq!(
            (go.message.as_str(), go.error_code),
            ("dial tcp: refused", None)
        );
        let both =
            meaning(json!({"level": "error", "msg": "m", "error": "java.io.IOException: no"}));
        assert_eq!(both.error_code.as_deref(), Some("java.io.IOException"));
        assert_eq!(both.fields["error"], json!("java.io.IOException: no"));
    }

    #[test]
    fn without_a_message_the_line_is_the_message() {
        for (line, level) in [
            (json!({"method": "GET"}), None),
            (json!({"level": "warn", "status": 500}), Some(Level::Warn)),
            (json!({"msg": 3}), None),
            (json!({"msg": ""}), None),
        ] {
            let Value::Object(object) = line else {
                panic!("no object")
            };
            assert_eq!(read(object).err(), Some(level));
        }
    }

    #[test]
    fn fields_have_limits() {
        let mut many =
            json!({"msg": "m", "long": "x".repeat(100_000), "deep": [[[["y".repeat(5_000)]]]]});
        for n in 0..500 {
            many[format!("f{n:03}")] = json!("v".repeat(100));
        }
        let got = meaning(many);
        assert!(got.fields.len() <= MAX_FIELDS + 1 && got.fields.contains_key(LEFT_OUT));
        let whole = serde_json::to_string(&got.fields).unwrap();
        assert!(whole.len() < 2 * MAX_FIELDS_BYTES, "{}", whole.len());
    }
}
