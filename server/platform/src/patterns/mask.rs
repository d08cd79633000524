//! Takes out of a line what differs from one time to the next.

/// As much of a line makes its pattern, in bytes and words.
const MAX_BYTES: usize = 1024;
const MAX_WORDS: usize = 40;
/// A word of letters and digits as long as this is an id.
const LONG_ID: usize = 20;

/// The words of a line's first line, with `<NUM>`, `<IP>` and the like for what varies.
pub(super) fn words(message: &str) -> Vec<String> {
    let line = message.lines().next().unwrap_or_default();
    let line = &line[..line.floor_char_boundary(MAX_BYTES)];
    let line = without_quotes(line);
    let mut words: Vec<String> = line
        .split_whitespace()
        .take(MAX_WORDS)
        .map(masked)
        .collect();
    // "<DATE> <TIME>" and "<TIME>" are both a time.
    words.dedup_by(|next, before| next == "<TIME>" && before == "<TIME>");
    words
}

/// `"…"` and `'…'` become `<STR>`; apostrophes within words stay.
fn without_quotes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let opens = matches!(c, '"' | '\'' | '`') && !before.is_alphanumeric();
        let end = opens.then(|| after.find(c)).flatten();
        if let Some(end) = end {
            out.push_str("<STR>");
            rest = &after[end + c.len_utf8()..];
        } else {
            out.push(c);
            rest = after;
        }
        before = c;
    }
    out
}

/// One word, masked: piece by piece where it is put together (`user=42`, `/users/42?x=1`, `[7]`).
fn masked(word: &str) -> String {
    if is_time(word) {
        return "<TIME>".to_owned();
    }
    let mut out = String::with_capacity(word.len());
    // A query is of one request.
    let (word, query) = match word.split_once('?') {
        Some((path, _)) if path.contains('/') => (path, "?<*>"),
        _ => (word, ""),
    };
    let mut rest = word;
    while !rest.is_empty() {
        let is_inner = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_');
        let start = rest.find(is_inner).unwrap_or(rest.len());
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| !is_inner(c)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        // What ends a sentence is no part of a number.
        let trimmed = piece.trim_end_matches(['.', ':', '-']);
        piece_into(trimmed, &mut out);
        out.push_str(&piece[trimmed.len()..]);
        rest = after;
    }
    out.push_str(query);
    out
}

fn piece_into(piece: &str, out: &mut String) {
    if !piece.bytes().any(|b| b.is_ascii_digit()) && !is_hex(piece) {
        out.push_str(piece);
    } else if is_uuid(piece) {
        out.push_str("<UUID>");
    } else if let Some(port) = ip(piece) {
        out.push_str(if port { "<IP>:<NUM>" } else { "<IP>" });
    } else if is_time(piece) {
        out.push_str("<TIME>");
    } else if is_duration(piece) {
        out.push_str("<DUR>");
    } else if is_hex(piece) {
        out.push_str("<HEX>");
    } else if is_id(piece) {
        out.push_str("<ID>");
    } else {
        numbers_into(piece, out);
    }
}

/// Each number in a word, with its sign and decimals, becomes `<NUM>`.
fn numbers_into(piece: &str, out: &mut String) {
    let mut in_number = false;
    let bytes = piece.as_bytes();
    for (at, c) in piece.char_indices() {
        if c.is_ascii_digit() {
            if !in_number {
                out.push_str("<NUM>");
            }
            in_number = true;
        } else {
            let goes_on = c == '.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !(in_number && goes_on) {
                in_number = false;
                out.push(c);
            }
        }
    }
}

/// 8-4-4-4-12 hex digits.
fn is_uuid(piece: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = piece.split('-');
    piece.len() == 36
        && lengths.iter().all(|length| {
            parts.next().is_some_and(|part| {
                part.len() == *length && part.bytes().all(|b| b.is_ascii_hexdigit())
            })
        })
}

/// Whether it is an address; and if so, whether a port follows it.
fn ip(piece: &str) -> Option<bool> {
    if piece.parse::<std::net::IpAddr>().is_ok() {
        return Some(false);
    }
    let (address, port) = piece.rsplit_once(':')?;
    let is_both = address.parse::<std::net::Ipv4Addr>().is_ok() && port.parse::<u16>().is_ok();
    is_both.then_some(true)
}

/// Dates, times of day, and both together.
fn is_time(word: &str) -> bool {
    let word = word.trim_matches(|c| matches!(c, '[' | ']' | '(' | ')' | ','));
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let separators = word
        .bytes()
        .filter(|b| matches!(b, b':' | b'-' | b'/'))
        .count();
    let other = |b: u8| {
        !(b.is_ascii_digit() || matches!(b, b':' | b'-' | b'/' | b'.' | b',' | b'T' | b'Z' | b'+'))
    };
    (5..=35).contains(&word.len())
        && digits >= 5
        && separators >= 2
        && word.as_bytes()[0].is_ascii_digit()
        && !word.bytes().any(other)
        && word
            .split([':', '-', '/', '.', ',', 'T', 'Z', '+'])
            .all(|part| part.len() <= 9)
}

/// `12ms`, `1.5s`, `3m2s`.
fn is_duration(piece: &str) -> bool {
    let mut rest = piece;
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        if number == 0 {
            return false;
        }
        rest = &rest[number..];
        let Some(unit) = ["ns", "us", "µs", "ms", "s", "m", "h", "d"]
            .iter()
            .find(|unit| rest.starts_with(**unit))
        else {
            return false;
        };
        rest = &rest[unit.len()..];
        parts += 1;
    }
    (1..=5).contains(&parts)
}

/// `0x1f`, or at least eight hex digits with figures among them.
fn is_hex(piece: &str) -> bool {
    if let Some(digits) = piece.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    piece.len() >= 8
        && piece.bytes().all(|b| b.is_ascii_hexdigit())
        && piece.bytes().any(|b| b.is_ascii_digit())
        && piece.bytes().any(|b| b.is_ascii_alphabetic())
}

fn is_id(piece: &str) -> bool {
    piece.len() >= LONG_ID
        && piece
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && piece.bytes().filter(u8::is_ascii_digit).count() >= 4
        && piece.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_masked() {
        for (line, pattern) in [
            (
                "GET /users/42 200 in 12 ms",
                "GET /users/<NUM> <NUM> in <NUM> ms",
            ),
            (
                "connect to 10.0.0.7:5432 failed",
                "connect to <IP>:<NUM> failed",
            ),
            ("from ::1 and 10.1.2.3.", "from <IP> and <IP>."),
            (
                "job 6ba7b810-9dad-11d1-80b4-00c04fd430c8 done",
                "job <UUID> done",
            ),
            ("took 1.5s, then 3m2s", "took <DUR>, then <DUR>"),
            ("2026-11-22 21:05:22,123 INFO up", "<TIME> INFO up"),
            ("[2026-11-22T21:05:22.123Z] up", "<TIME> up"),
            (
                "user \"bob smith\" isn't in 'x y'",
                "user <STR> isn't in <STR>",
            ),
            ("commit deadbeef12 at 0x1f", "commit <HEX> at <HEX>"),
            ("user=42 share=0.5%", "user=<NUM> share=<NUM>%"),
            ("GET /a?x=1&y=2 -3", "GET /a?<*> -<NUM>"),
            ("key k3v9x2qpa7k3v9x2qpa7", "key <ID>"),
            ("v1.2.3 of shop-web2", "v<NUM> of shop-web<NUM>"),
            ("deadline facade", "deadline facade"),
            ("one\ntwo", "one"),
            ("", ""),
        ] {
            assert_eq!(words(line).join(" "), pattern, "{line}");
        }
    }

    #[test]
    fn long_lines_have_an_end() {
        assert!(words(&"word ".repeat(100_000)).len() <= MAX_WORDS);
        assert!(words(&"'".repeat(100_000)).len() <= MAX_WORDS);
        assert!(words(&"ä".repeat(100_000)).join(" ").len() <= MAX_BYTES);
    }
}
