//! The lines of a `json-file` log: `{"log":"text\n","stream":"stdout","time":"…Z"}`.

use serde::Deserialize;
use time::OffsetDateTime;

use crate::services::instant;

const BEGIN: &[u8] = br#"{"log":""#;
/// Bytes of a time up to its seconds.
const SECONDS: usize = 19;

/// What one line holds: a whole line of the container's, or the first 16 KiB of what is left of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonLine {
    pub(super) at: OffsetDateTime,
    pub(super) stderr: bool,
    /// Without the line end.
    pub(super) text: Vec<u8>,
    /// Whether there was one.
    pub(super) is_whole: bool,
}

/// Reads by hand what the engine writes, in one pass; whatever else is JSON, more slowly.
#[derive(Default)]
pub(super) struct Parser {
    /// The last time's date and seconds. Most lines are of the same second as the one before.
    second: Option<([u8; SECONDS], OffsetDateTime)>,
}

#[derive(Deserialize)]
struct Slow {
    log: String,
    stream: String,
    time: String,
}

impl Parser {
    /// The first line of `lines`, which end with a line end, and its length with it; `None` in place
    /// of what cannot be understood.
    pub(super) fn take(&mut self, lines: &[u8]) -> (Option<JsonLine>, usize) {
        if let Some((line, length)) = self.fast(lines) {
            return (Some(line), length);
        }
        let end = lines.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(lines.len(), |end| end + 1);
        (self.slow(&lines[..length]), length)
    }

    fn fast(&mut self, lines: &[u8]) -> Option<(JsonLine, usize)> {
        let (text, rest) = unescaped(lines.strip_prefix(BEGIN)?)?;
        let rest = rest.strip_prefix(br#","stream":"std"#)?;
        let (name, rest) = rest.split_first_chunk::<4>()?;
        let (stderr, rest) = match name {
            b"out\"" => (false, rest),
            b"err\"" => (true, rest),
            _ => return None,
        };
        let rest = rest.strip_prefix(br#","time":""#)?;
        // 30 bytes with all of the nanoseconds.
        let end = rest.iter().take(40).position(|byte| *byte == b'"')?;
        let at = self.time(&rest[..end])?;
        let rest = rest[end..].strip_prefix(b"\"}\n")?;
        Some((line(at, stderr, text), lines.len() - rest.len()))
    }

    /// A line with more in it (`attrs`), in another order, or behind half a line: an engine that was
    /// killed begins anew in the middle.
    fn slow(&mut self, whole: &[u8]) -> Option<JsonLine> {
        let read = |bytes: &[u8]| serde_json::from_slice::<Slow>(bytes).ok();
        // Within a text the quotes would be escaped.
        let again = || {
            whole
                .windows(BEGIN.len())
                .rposition(|window| window == BEGIN)
        };
        let slow = read(whole).or_else(|| read(&whole[again()?..]))?;
        let at = self.time(slow.time.as_bytes())?;
        Some(line(at, slow.stream == "stderr", slow.log.into_bytes()))
    }

    fn time(&mut self, text: &[u8]) -> Option<OffsetDateTime> {
        let (seconds, rest) = text.split_first_chunk::<SECONDS>()?;
        let second = match &self.second {
            Some((known, second)) if known == seconds => *second,
            _ => {
                let whole = format!("{}Z", std::str::from_utf8(seconds).ok()?);
                let second = instant(&whole)?;
                self.second = Some((*seconds, second));
                second
            }
        };
        let fraction = match rest.strip_suffix(b"Z")? {
            [] => return Some(second),
            [b'.', fraction @ ..] if fraction.len() <= 9 => fraction,
            _ => return None,
        };
        let mut nanoseconds = 0;
        for place in 0..9 {
            let digit = *fraction.get(place).unwrap_or(&b'0');
            if !digit.is_ascii_digit() {
                return None;
            }
            nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
        }
        second.replace_nanosecond(nanoseconds).ok()
    }
}

fn line(at: OffsetDateTime, stderr: bool, mut text: Vec<u8>) -> JsonLine {
    let is_whole = text.last() == Some(&b'\n');
    if is_whole {
        text.pop();
    }
    JsonLine {
        at,
        stderr,
        text,
        is_whole,
    }
}

/// A JSON string behind its first quote, and what comes behind its last.
fn unescaped(json: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let first = special(json)?;
    let mut text = Vec::with_capacity(first + 1);
    let (mut rest, mut plain) = (json, first);
    loop {
        text.extend_from_slice(&rest[..plain]);
        let (found, after) = rest[plain..].split_first()?;
        if *found == b'"' {
            return Some((text, after));
        }
        let (kind, after) = after.split_first()?;
        rest = after;
        match kind {
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'"' | b'\\' | b'/' => text.push(*kind),
            b'u' => rest = unicode(after, &mut text)?,
            _ => return None,
        }
        plain = special(rest)?;
    }
}

/// Behind `\u`: four digits, or two times four of what UTF-16 needs a pair for.
fn unicode<'a>(json: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    let unit = |json: &'a [u8]| {
        let (digits, rest) = json.split_first_chunk::<4>()?;
        let mut value = 0_u16;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16)?;
            value = value << 4 | u16::try_from(digit).ok()?;
        }
        Some((value, rest))
    };
    let (first, rest) = unit(json)?;
    let second = rest.strip_prefix(b"\\u").and_then(unit);
    let (character, rest) = match (char::from_u32(first.into()), second) {
        (Some(character), _) => (character, rest),
        (None, Some((second, rest))) => (char::decode_utf16([first, second]).next()?.ok()?, rest),
        (None, None) => (char::REPLACEMENT_CHARACTER, rest),
    };
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

/// Where the next quote or backslash is. Blocks without one are passed by with vector code.
fn special(json: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\');
    let blocks = json.chunks_exact(BLOCK);
    let plain = blocks
        .take_while(|block| {
            !block
                .iter()
                .fold(false, |found, byte| found | is_special(byte))
        })
        .count();
    let from = plain * BLOCK;
    Some(from + json[from..].iter().position(is_special)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn take(text: &[u8]) -> Option<JsonLine> {
        let (line, length) = Parser::default().take(text);
        assert_eq!(length, text.len());
        line
    }

    const TIME: &str = "2024-05-01T10:20:30.5Z";

    #[test]
    fn what_the_engine_writes_is_read_by_hand() {
        let text = concat!(
            r#"{"log":"a \"b\" \\ \u003cc\u003e \u0000 \ud83d\ude00 \ufffd\r\n","stream":"stderr","#,
            r#""time":"2024-05-01T10:20:30.000000012Z"}"#,
            "\n"
        );
        let (line, length) = Parser::default().fast(text.as_bytes()).unwrap();
        assert_eq!(length, text.len());
        assert_eq!(line.text, "a \"b\" \\ <c> \0 😀 \u{fffd}\r".as_bytes());
        assert!(line.is_whole && line.stderr);
        assert_eq!(line.at, instant("2024-05-01T10:20:30.000000012Z").unwrap());
    }

    #[test]
    fn times_have_as_many_digits_as_they_need() {
        let mut parser = Parser::default();
        for text in [
            "2024-05-01T10:20:30Z",
            "2024-05-01T10:20:30.5Z",
            "2024-05-01T10:20:30.123456789Z",
            "2024-05-01T10:20:31.000000001Z",
            "1970-01-01T00:00:00Z",
        ] {
            assert_eq!(parser.time(text.as_bytes()), instant(text), "{text}");
        }
        for text in [
            "",
            "2024-05-01",
            "2024-05-01T10:20:30",
            "2024-05-01T10:20:30.Xz",
            "2024-05-01T10:20:30.1234567890Z",
            "2024-99-01T10:20:30Z",
            "2024-05-01T10:20:30+02:00",
        ] {
            assert_eq!(parser.time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_has_another_form_is_read_too() {
        for text in [
            r#"{"log":"x\n","stream":"stdout","attrs":{"a":"b"},"time":"2024-05-01T10:20:30.5Z"}"#,
            r#"{"stream":"stdout","time":"2024-05-01T10:20:30.5Z","log":"x\n"}"#,
            // Half a line that an engine which was killed left behind.
            r#"{"log":"half a li{"log":"x\n","stream":"stdout","time":"2024-05-01T10:20:30.5Z"}"#,
        ] {
            let line = take(format!("{text}\n").as_bytes()).unwrap();
            assert_eq!(
                (line.text.as_slice(), line.is_whole),
                (b"x".as_slice(), true)
            );
            assert_eq!(line.at, instant(TIME).unwrap());
        }
    }

    #[test]
    fn garbage_is_passed_by() {
        for text in [
            "\n",
            "\0\0\0\n",
            "{}\n",
            "{\"log\":\"\n",
            "{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"never\"}\n",
            "{\"log\":\"\\x\",\"stream\":\"stdout\",\"time\":\"2024-05-01T10:20:30.5Z\"}\n",
        ] {
            assert_eq!(take(text.as_bytes()), None, "{text:?}");
        }
        let mut lines = b"garbage\n".to_vec();
        lines
            .extend_from_slice(br#"{"log":"a","stream":"stdout","time":"2024-05-01T10:20:30.5Z"}"#);
        lines.push(b'\n');
        let mut parser = Parser::default();
        let (line, length) = parser.take(&lines);
        assert_eq!((line, length), (None, 8));
        let (line, _) = parser.take(&lines[length..]);
        assert!(!line.unwrap().is_whole, "it goes on in the next");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC{0,80}", control in "[\u{0}-\u{1f}\"\\\\]{0,3}", stderr: bool) {
            let text = format!("{text}{control}");
            let stream = if stderr { "stderr" } else { "stdout" };
            // In this order, as the engine has it.
            let line = format!(r#"{{"log":{},"stream":"{stream}","time":"{TIME}"}}"#, json!(format!("{text}\n")));
            let line = format!("{line}\n");
            let (read, length) = Parser::default().fast(line.as_bytes()).unwrap();
            prop_assert_eq!(length, line.len());
            prop_assert_eq!(read.text, text.into_bytes());
            prop_assert_eq!(read.stderr, stderr);
        }

        #[test]
        fn no_bytes_do_any_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut lines = br#"{"log":""#.to_vec();
            lines.extend(bytes);
            lines.push(b'\n');
            let (_, length) = Parser::default().take(&lines);
            prop_assert!(length > 0 && length <= lines.len());
        }
    }
}
