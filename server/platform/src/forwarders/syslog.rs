//! RFC 5424: one message an entry.
//!
//! The text is UTF-8 behind a byte order mark, as the RFC wants it. Line breaks stay, since neither
//! octet counting nor datagrams mind; other control characters, which could speak to a terminal,
//! are written as `#` and three octal digits, as syslog daemons do.

use std::fmt::Write as _;

use bytes::Bytes;
use flukedeploy_domain::log_entry::{Level, LogEntry};
use time::UtcOffset;
use time::macros::format_description;

/// User-level messages.
const FACILITY: u8 = 1;
/// The structured data's name. Names of one's own need a number of IANA's; this one is free for
/// anybody's examples, and receivers look at what is before it.
const SD_ID: &str = "flukedeploy@32473";
const NIL: &str = "-";

/// The whole message, without a frame.
pub(super) fn message(entry: &LogEntry, instance: &str) -> Bytes {
    let metadata = &entry.flukedeploy_metadata;
    let host = entry.source.node_id.as_deref().unwrap_or(instance);
    let mut text = format!(
        "<{}>1 {} {} {} {} {} ",
        FACILITY * 8 + severity(entry.level),
        timestamp(entry),
        token(Some(host), 255),
        token(Some(&metadata.app_name), 48),
        token(entry.source.task_id.as_deref(), 128),
        token(Some(metadata.event_type.as_str()), 32),
    );
    structured(&mut text, entry);
    text.push_str(" \u{feff}");
    tame(&mut text, &entry.message);
    if let Some(trace) = &metadata.stack_trace {
        text.push('\n');
        tame(&mut text, trace);
    }
    text.into()
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
    }
}

/// With microseconds: the RFC allows no more.
fn timestamp(entry: &LogEntry) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let at = entry.timestamp.to_offset(UtcOffset::UTC);
    at.format(format).unwrap_or_else(|_| NIL.to_owned())
}

/// A field of the head: visible ASCII, of a limited length, or nothing.
fn token(text: Option<&str>, most: usize) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let token: String = text
        .unwrap_or_default()
        .chars()
        .map(plain)
        .take(most)
        .collect();
    if token.is_empty() {
        NIL.to_owned()
    } else {
        token
    }
}

fn structured(text: &mut String, entry: &LogEntry) {
    let (metadata, source) = (&entry.flukedeploy_metadata, &entry.source);
    let _ = write!(text, "[{SD_ID}");
    let release = metadata.release.map(|release| release.to_string());
    let fields = (!metadata.fields.is_empty())
        .then(|| serde_json::to_string(&metadata.fields).unwrap_or_default());
    let known = [
        ("id", Some(&entry.id)),
        ("environment", metadata.environment.as_ref()),
        ("release", release.as_ref()),
        ("version", metadata.version.as_ref()),
        ("deployment", metadata.deployment_id.as_ref()),
        ("container", Some(&source.container_name)),
        ("stream", source.stream.as_ref()),
        ("error", metadata.error_code.as_ref()),
        ("fields", fields.as_ref()),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            let _ = write!(text, " {name}=\"");
            value_of(text, value);
            text.push('"');
        }
    }
    text.push(']');
}

/// A value between quotes: `"`, `\` and `]` have a `\` before them.
fn value_of(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => {
                text.push('\\');
                text.push(c);
            }
            _ if c.is_control() => octal(text, c),
            _ => text.push(c),
        }
    }
}

fn tame(text: &mut String, message: &str) {
    for c in message.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            octal(text, c);
        } else {
            text.push(c);
        }
    }
}

fn octal(text: &mut String, c: char) {
    let _ = write!(text, "#{:03o}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::log_entry::{EventType, LogMetadata, LogSource, SourceType};
    use flukedeploy_domain::timestamp::from_wire;

    use super::*;

    fn entry(message: &str) -> LogEntry {
        let source = LogSource {
            kind: SourceType::Container,
            container_name: r#"a"b\c]d"#.to_owned(),
            service_id: None,
            node_id: Some("node 1".to_owned()),
            task_id: None,
            stream: Some("std\u{1b}err".to_owned()),
        };
        let metadata = LogMetadata {
            environment: Some("prödüction".to_owned()),
            release: Some(3),
            ..LogMetadata::new(EventType::PostDeploy, "shop")
        };
        let at = from_wire("2026-02-04T10:13:20.123456789Z").unwrap();
        LogEntry::new(at, 7, Level::Error, message, source, metadata)
    }

    fn text(entry: &LogEntry) -> String {
        String::from_utf8(message(entry, "main").to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_as_the_rfc_says_byte_by_byte() {
        assert_eq!(
            text(&entry("größer\tals \u{1b}[31m\u{7f}\0\nzwei \u{9b}")),
            concat!(
                "<11>1 2026-02-04T10:13:20.123456Z node_1 shop - post_deploy ",
                "[flukedeploy@32473 id=\"dep-1770200000123-700000000\" environment=\"prödüction\" ",
                "release=\"3\" container=\"a\\\"b\\\\c\\]d\" stream=\"std#033err\"] ",
                "\u{feff}größer\tals #033[31m#177#000\nzwei #233"
            )
        );
    }

    #[test]
    fn what_is_missing_or_too_long_leaves_a_message_that_can_be_read() {
        let mut odd = entry("");
        odd.source.node_id = None;
        odd.flukedeploy_metadata.app_name = "ä".repeat(60);
        odd.flukedeploy_metadata.stack_trace = Some("at x".to_owned());
        odd.flukedeploy_metadata
            .fields
            .insert("a".to_owned(), serde_json::json!("]\""));
        let text = text(&odd);
        let head: Vec<&str> = text.splitn(7, ' ').collect();
        assert_eq!(head[2], "main");
        assert_eq!(head[3], "_".repeat(48));
        assert!(text.contains(r#" fields="{\"a\":\"\]\\\"\"}"]"#), "{text}");
        assert!(text.ends_with("\u{feff}\nat x"), "{text}");
        for (level, number) in [(Level::Debug, 15), (Level::Info, 14), (Level::Warn, 12)] {
            odd.level = level;
            assert!(self::text(&odd).starts_with(&format!("<{number}>1 ")));
        }
    }
}
