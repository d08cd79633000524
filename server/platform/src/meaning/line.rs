//! One line by itself.

use std::collections::BTreeMap;

use flukedeploy_domain::log_entry::Level;
use serde_json::Value;

use super::clean::clean_owned;
use super::{fields, level, logfmt, trace};

/// Longest line that is read as JSON, in bytes.
const MAX_JSON: usize = 256 * 1024;

/// What was printed, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) level: Level,
    pub(crate) message: String,
    /// The class of the error: `java.io.IOException`, `ValueError`, `panic`.
    pub(crate) error_code: Option<String>,
    pub(crate) stack_trace: Option<String>,
    /// What else a structured line said.
    pub(crate) fields: BTreeMap<String, Value>,
}

impl Meaning {
    pub(super) fn plain(level: Level, message: String) -> Self {
        Self {
            level,
            message,
            error_code: None,
            stack_trace: None,
            fields: BTreeMap::new(),
        }
    }

    /// Reads a line. Plain text keeps its wording whole, so that what a person searches for is
    /// what the app printed.
    pub(crate) fn of_line(text: String) -> Self {
        let mut text = clean_owned(text);
        let mut level = None;
        if text.starts_with('<')
            && let Some((marked, length)) = level::syslog_mark(&text)
        {
            level = Some(marked);
            text.drain(..length);
        }
        let object = if text.starts_with('{') && text.len() <= MAX_JSON {
            serde_json::from_str(&text).ok()
        } else if logfmt::begins(&text) {
            logfmt::parse(&text)
        } else {
            None
        };
        match object.map(fields::read) {
            Some(Ok(meaning)) => return meaning,
            Some(Err(found)) => level = level.or(found),
            None => {}
        }
        let error_code = trace::error_class(&text).map(str::to_owned);
        let level = level.or_else(|| level::shown(&text));
        let default = if error_code.is_some() {
            Level::Error
        } else {
            Level::Info
        };
        Self {
            error_code,
            ..Self::plain(level.unwrap_or(default), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Meaning {
        Meaning::of_line(text.to_owned())
    }

    #[test]
    fn lines_become_levels_and_messages() {
        for (line, level, message) in [
            (
                r#"{"level":"warn","msg":"slow","ms":12}"#,
                Level::Warn,
                "slow",
            ),
            (
                "2026-01-01 ERROR cannot connect",
                Level::Error,
                "2026-01-01 ERROR cannot connect",
            ),
            ("no error at all", Level::Info, "no error at all"),
            ("{broken", Level::Info, "{broken"),
            (
                r#"{"method":"GET","level":"error"}"#,
                Level::Error,
                r#"{"method":"GET","level":"error"}"#,
            ),
            (
                "level=debug msg=\"two words\" a=1",
                Level::Debug,
                "two words",
            ),
            (
                "at=error code=H12 path=/",
                Level::Error,
                "at=error code=H12 path=/",
            ),
            ("<3>disk is gone", Level::Error, "disk is gone"),
            ("\u{1b}[31mERROR\u{1b}[0m red\0", Level::Error, "ERROR red"),
            (
                "java.lang.IllegalStateException: no",
                Level::Error,
                "java.lang.IllegalStateException: no",
            ),
            ("", Level::Info, ""),
        ] {
            let got = of(line);
            assert_eq!(
                (got.level, got.message.as_str()),
                (level, message),
                "{line}"
            );
        }
        assert_eq!(
            of(r#"{"msg":"m","ms":12}"#).fields["ms"],
            serde_json::json!(12)
        );
        assert_eq!(
            of("ValueError: no").error_code.as_deref(),
            Some("ValueError")
        );
    }

    #[test]
    fn markup_stays_text_and_depth_does_no_harm() {
        let script = "<script>alert(1)</script>";
        assert_eq!(of(script).message, script);
        let deep = "{\"a\":".repeat(5_000);
        assert_eq!(of(&deep).message, deep);
        let long = "x".repeat(10_000_000);
        assert_eq!(of(&long).message.len(), long.len());
    }

    proptest! {
        #[test]
        fn anything_becomes_something(line in "(\\PC|[\u{0}-\u{1f}{}\"=:<>\\[\\]]){0,80}") {
            let got = of(&line);
            prop_assert!(!got.message.chars().any(|c| c.is_control() && c != '\t' && c != '\n'));
        }
    }

    #[test]
    #[ignore = "measures; meant for an optimised build"]
    fn how_long_a_line_takes() {
        for (what, line) in [
            (
                "plain",
                "2026-11-22T21:05:22.123Z request 4711 from 10.0.0.7 served in 12 ms, 2048 bytes, cache hit",
            ),
            (
                "level",
                "2026-11-22 21:05:22,123 INFO [http-8080-exec-1] com.shop.Web - GET /cart 200 in 12 ms",
            ),
            (
                "logfmt",
                "time=2026-11-22T21:05:22Z level=info msg=\"request served\" path=/cart ms=12 status=200",
            ),
            (
                "json",
                r#"{"level":30,"time":1770200000123,"pid":7,"hostname":"a","msg":"request served","ms":12}"#,
            ),
        ] {
            let rounds = 200_000;
            let lines: Vec<String> = (0..rounds).map(|_| line.to_owned()).collect();
            let began = std::time::Instant::now();
            let mut bytes = 0;
            for line in lines {
                bytes += std::hint::black_box(Meaning::of_line(line)).message.len();
            }
            let each = began.elapsed().as_nanos() / rounds;
            println!("{what}: {each} ns a line ({bytes} bytes in all)");
        }
    }
}
