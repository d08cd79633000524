//! `level=info msg="it is up" ms=12`.

use serde_json::{Map, Value};

/// Longest line that is read so, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// Most pairs of one line.
const MAX_PAIRS: usize = 200;

/// Whether a line begins as one of pairs does; cheap enough for every line.
pub(super) fn begins(text: &str) -> bool {
    let bytes = text.as_bytes();
    let key = bytes.iter().take(40).take_while(|b| is_key(**b)).count();
    key > 0
        && bytes.get(key) == Some(&b'=')
        && (bytes[0].is_ascii_alphabetic() || matches!(bytes[0], b'_' | b'@'))
}

/// The pairs of a line that is nothing but pairs and has two of them at least.
pub(super) fn parse(text: &str) -> Option<Map<String, Value>> {
    if text.len() > MAX_LINE || !begins(text.trim()) {
        return None;
    }
    let mut pairs = Map::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let key_end = rest.bytes().take_while(|b| is_key(*b)).count();
        if key_end == 0 || key_end > 128 || pairs.len() == MAX_PAIRS {
            return None;
        }
        let (key, after) = rest.split_at(key_end);
        let (value, after) = match after.strip_prefix('=') {
            Some(after) => take_value(after)?,
            // A flag.
            None => (Value::Bool(true), after),
        };
        if !after.is_empty() && !after.starts_with([' ', '\t']) {
            return None;
        }
        pairs.insert(key.to_owned(), value);
        rest = after.trim_start();
    }
    let flags = pairs
        .values()
        .filter(|value| **value == Value::Bool(true))
        .count();
    // "done = all good" and other sentences are not this.
    (pairs.len() >= 2 && flags * 2 <= pairs.len()).then_some(pairs)
}

fn take_value(text: &str) -> Option<(Value, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        return Some((plain(word), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Value::String(value), &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                c @ ('"' | '\\') => value.push(c),
                other => {
                    value.push('\\');
                    value.push(other);
                }
            },
            c => value.push(c),
        }
    }
    None
}

/// Numbers and truths where writing them again gives the same text; anything else is text.
fn plain(word: &str) -> Value {
    match word {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let starts = word.as_bytes().first();
    if starts.is_some_and(|b| b.is_ascii_digit() || *b == b'-') && word.len() <= 18 {
        if let Ok(number) = word.parse::<i64>()
            && number.to_string() == word
        {
            return number.into();
        }
        if let Ok(number) = word.parse::<f64>()
            && number.is_finite()
            && number.to_string() == word
        {
            return number.into();
        }
    }
    Value::String(word.to_owned())
}

fn is_key(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'@' | b'/' | b'#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn pairs_are_read_with_their_kinds() {
        let line = r#"time=2026-01-01T00:00:00Z level=info msg="it \"is\" up\n" ms=12 share=0.5 ok=true id=007 empty= fast"#;
        assert!(begins(line));
        assert_eq!(
            Value::Object(parse(line).unwrap()),
            json!({"time": "2026-01-01T00:00:00Z", "level": "info", "msg": "it \"is\" up\n", "ms": 12,
                   "share": 0.5, "ok": true, "id": "007", "empty": "", "fast": true})
        );
    }

    #[test]
    fn sentences_and_commands_are_not_read_so() {
        for line in [
            "",
            "a=1",
            "x = 3",
            "PATH=/bin and more words follow here",
            "a=\"never ended b=2",
            "a=1 (b=2)",
            "SELECT a=1, b=2",
            "--flag=1 -x",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
        assert!(!begins("plain line with a=1"));
        assert!(parse(&"a=1 ".repeat(100_000)).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec("[ -~äß]{0,12}", 2..8)) {
            let line: Vec<String> = values.iter().enumerate().map(|(n, value)| {
                format!("k{n}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
            }).collect();
            let pairs = parse(&line.join(" ")).unwrap();
            for (n, value) in values.iter().enumerate() {
                prop_assert_eq!(pairs[&format!("k{n}")].as_str(), Some(value.as_str()));
            }
        }

        #[test]
        fn anything_is_survived(line in "\\PC{0,80}") {
            let _ = (begins(&line), parse(&line));
        }
    }
}
