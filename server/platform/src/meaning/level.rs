//! How bad a line is, from the marks that loggers use.

use flukedeploy_domain::log_entry::Level;

/// How far into a line a level is looked for, in bytes and in words: loggers put it in front.
const REACH: usize = 160;
const WORDS: usize = 10;

/// A level's name as structured lines give it, in any case.
pub(crate) fn named(word: &str) -> Option<Level> {
    let mut lower = [0; 13];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    match &*lower {
        b"trace" | b"trc" | b"debug" | b"dbg" | b"verbose" | b"vrb" | b"silly" | b"fine"
        | b"finer" | b"finest" | b"d" | b"t" => Some(Level::Debug),
        b"info" | b"inf" | b"information" | b"informational" | b"notice" | b"note" | b"log"
        | b"http" | b"i" | b"n" | b"success" => Some(Level::Info),
        b"warn" | b"warning" | b"wrn" | b"w" => Some(Level::Warn),
        b"error" | b"err" | b"e" | b"fatal" | b"ftl" | b"f" | b"critical" | b"crit" | b"c"
        | b"panic" | b"pnc" | b"dpanic" | b"emerg" | b"emergency" | b"alert" | b"severe" => {
            Some(Level::Error)
        }
        _ => None,
    }
}

/// A level's number: pino and bunyan count 10 to 60, monolog 100 to 600, syslog 0 to 7.
pub(crate) fn numbered(number: u64) -> Option<Level> {
    match number {
        7 | 10..=29 | 100..=199 => Some(Level::Debug),
        5 | 6 | 30..=39 | 200..=299 => Some(Level::Info),
        4 | 40..=49 | 300..=399 => Some(Level::Warn),
        0..=3 | 50..=60 | 400..=600 => Some(Level::Error),
        _ => None,
    }
}

/// Python's own numbers, which differ from pino's under another name (`levelno`).
pub(crate) fn numbered_by_python(number: u64) -> Option<Level> {
    match number {
        1..=19 => Some(Level::Debug),
        20..=29 => Some(Level::Info),
        30..=39 => Some(Level::Warn),
        40..=99 => Some(Level::Error),
        _ => None,
    }
}

/// `<3>` before a line, as systemd and the kernel write it (`sd-daemon(3)`): the level, and the
/// length of the mark.
pub(crate) fn syslog_mark(text: &str) -> Option<(Level, usize)> {
    let rest = text.strip_prefix('<')?;
    let digits = rest.bytes().take(4).take_while(u8::is_ascii_digit).count();
    let number: u64 = rest.get(..digits)?.parse().ok()?;
    if number > 191 || rest.as_bytes().get(digits) != Some(&b'>') {
        return None;
    }
    Some((numbered(number % 8)?, digits + 2))
}

/// The level that a line of plain text shows. A sentence may hold "error" as any other word: only
/// a word that stands as a mark counts (`ERROR`, `[warn]`, `level=warn`, `error: …` in front).
pub(crate) fn shown(text: &str) -> Option<Level> {
    let bytes = text.as_bytes();
    if let Some(level) = by_beginning(bytes) {
        return Some(level);
    }
    let mut at = 0;
    let mut words = 0;
    let mut no_word_yet = true;
    while at < bytes.len().min(REACH) && words < WORDS {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        let end = bytes.len().min(REACH + 16);
        while at < end && bytes[at].is_ascii_alphanumeric() {
            at += 1;
        }
        words += 1;
        if !bytes[start].is_ascii_alphabetic() {
            continue;
        }
        let is_first = std::mem::take(&mut no_word_yet);
        if !(3..=13).contains(&(at - start)) {
            continue;
        }
        let (before, after) = (
            start.checked_sub(1).map(|i| bytes[i]),
            bytes.get(at).copied(),
        );
        if let Some(level) = marked(&text[start..at], before, after, is_first, &text[at..]) {
            return Some(level);
        }
    }
    None
}

fn marked(
    word: &str,
    before: Option<u8>,
    after: Option<u8>,
    is_first: bool,
    rest: &str,
) -> Option<Level> {
    let bytes = word.as_bytes();
    // A cheap look first: most words begin with no letter of a level.
    match bytes[0] | 0x20 {
        b'l' | b's' if after == Some(b'=') => {
            let is_key = ["level", "lvl", "loglevel", "levelname", "severity"]
                .iter()
                .any(|key| word.eq_ignore_ascii_case(key));
            let value = rest[1..].trim_start_matches('"');
            let end = value.bytes().take(14).take_while(u8::is_ascii_alphabetic);
            return is_key.then(|| named(&value[..end.count()])).flatten();
        }
        b't' | b'd' | b'v' | b'i' | b'n' | b'w' | b'e' | b'f' | b'c' | b'p' | b'a' | b's' => {}
        _ => return None,
    }
    let opens = matches!(
        before,
        None | Some(b' ' | b'\t' | b'[' | b'(' | b'|' | b'<' | b':' | b'"' | b'*' | b',')
    );
    let closes = matches!(
        after,
        None | Some(b' ' | b'\t' | b']' | b')' | b':' | b'|' | b'>' | b'!' | b'"' | b'*' | b',')
    );
    if !opens || !closes {
        return None;
    }
    let is_upper = bytes.iter().all(u8::is_ascii_uppercase);
    let is_bracketed = before == Some(b'[') && after == Some(b']');
    // "error: …", "Warning: …", after nothing but a time.
    let leads = is_first && after == Some(b':') && !is_ambiguous(word);
    (is_upper && !is_ambiguous(word) || is_bracketed || leads)
        .then(|| named(word))
        .flatten()
}

/// Levels in structured lines, but everyday words in text.
fn is_ambiguous(word: &str) -> bool {
    ["http", "log", "success", "silly", "note", "fine", "alert"]
        .iter()
        .any(|other| word.eq_ignore_ascii_case(other))
}

fn by_beginning(bytes: &[u8]) -> Option<Level> {
    match bytes.first()? {
        // glog and klog: E0102 15:04:05.678901 …
        letter @ (b'D' | b'I' | b'W' | b'E' | b'F')
            if bytes.len() > 8
                && bytes[1..5].iter().all(u8::is_ascii_digit)
                && bytes[5] == b' '
                && bytes[6].is_ascii_digit() =>
        {
            match letter {
                b'D' => Some(Level::Debug),
                b'I' => Some(Level::Info),
                b'W' => Some(Level::Warn),
                _ => Some(Level::Error),
            }
        }
        b'T' if bytes.starts_with(b"Traceback (most recent call last)") => Some(Level::Error),
        b'E' if bytes.starts_with(b"Exception in thread ") => Some(Level::Error),
        b'P' if bytes.starts_with(b"PHP Fatal error:") => Some(Level::Error),
        b'P' if bytes.starts_with(b"PHP Warning:") => Some(Level::Warn),
        b'U' if bytes.starts_with(b"Unhandled exception") => Some(Level::Error),
        b't' if bytes.starts_with(b"thread '")
            && bytes
                .windows(13)
                .take(120)
                .any(|part| part == b" panicked at ") =>
        {
            Some(Level::Error)
        }
        b'n' if bytes.starts_with(b"npm error ") => Some(Level::Error),
        b'n' if bytes.starts_with(b"npm warn ") => Some(Level::Warn),
        // Redis: "1:M 01 Jan 2026 12:00:00.000 # text".
        b'0'..=b'9' => {
            let digits = bytes
                .iter()
                .take(8)
                .take_while(|b| b.is_ascii_digit())
                .count();
            let [b':', b'X' | b'C' | b'S' | b'M', b' ', rest @ ..] = &bytes[digits..] else {
                return None;
            };
            let mark = rest.get(25).filter(|_| rest.get(24) == Some(&b' '))?;
            match mark {
                b'#' => Some(Level::Warn),
                b'*' | b'-' => Some(Level::Info),
                b'.' => Some(Level::Debug),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_many_loggers_are_known() {
        use Level::{Debug, Error, Info, Warn};
        for (line, level) in [
            ("ERROR cannot connect", Error),
            ("2026-01-01 12:00:00,123 ERROR [main] com.x.Y - no", Error),
            ("[main] WARN  com.x.Y - slow", Warn),
            ("ERROR:root:boom", Error),
            ("2026-01-01 12:00:00 - app - WARNING - slow", Warn),
            ("[12:00:00 ERR] boom", Error),
            ("12:00PM INF started", Info),
            ("E, [2026-01-01T12:00:00.1 #12] ERROR -- : boom", Error),
            ("2026/01/01 12:00:00 [error] 31#31: *1 open() failed", Error),
            ("2026/01/01 12:00:00 [warn] 31#31: slow", Warn),
            ("[Warning] [MY-010068] CA certificate is self signed", Warn),
            ("E0102 15:04:05.678901       1 main.go:12] boom", Error),
            ("W0102 15:04:05.678901       1 main.go:12] slow", Warn),
            ("I0102 15:04:05.678901       1 main.go:12] fine", Info),
            ("npm ERR! missing script", Error),
            ("npm error code E404", Error),
            ("npm WARN deprecated x", Warn),
            ("error: could not compile", Error),
            ("Warning: Something is deprecated", Warn),
            ("2026-01-01T12:00:00Z error: boom", Error),
            ("time=\"2026\" level=warning msg=\"slow\"", Warn),
            ("ts=1 something level=error", Error),
            ("2026-01-01 UTC [12] FATAL:  role does not exist", Error),
            ("2026-01-01 UTC [12] NOTICE:  table exists", Info),
            ("1:M 01 Jan 2026 12:00:00.000 # Server overcommit", Warn),
            ("1:M 01 Jan 2026 12:00:00.000 * Ready", Info),
            ("Traceback (most recent call last):", Error),
            ("thread 'main' panicked at src/main.rs:1:1:", Error),
            ("Exception in thread \"main\" java.lang.Error: x", Error),
            ("DEBUG x", Debug),
            ("[trace] x", Debug),
            ("INFO retrying after ERROR", Info),
            ("SEVERE: no", Error),
        ] {
            assert_eq!(shown(line), Some(level), "{line}");
        }
    }

    #[test]
    fn a_word_in_a_sentence_is_no_mark() {
        for line in [
            "",
            "no error at all",
            "there was an error: it is gone",
            "the [errors] are counted",
            "GET /api/ERROR HTTP/1.1",
            "0 errors, 2 warnings",
            "ERROR_COUNT=0",
            "errors: 0",
            "Errors everywhere",
            "TRACE-ID 4711",
            "request_error=none",
            "mylevel=error",
            "informal",
            "a fatal mistake",
            "HTTP 200 in 3 ms",
            "GET / HTTP/1.1 200",
            "NOTE to self",
            "Eight",
            "E0102",
            "1:M",
        ] {
            assert_eq!(shown(line), None, "{line}");
        }
        let far = format!("{}ERROR", "word ".repeat(40));
        assert_eq!(shown(&far), None);
    }

    #[test]
    fn numbers_and_syslog_marks_are_understood() {
        assert_eq!(numbered(50), Some(Level::Error));
        assert_eq!(numbered(20), Some(Level::Debug));
        assert_eq!(numbered(250), Some(Level::Info));
        assert_eq!(numbered(9), None);
        assert_eq!(numbered_by_python(40), Some(Level::Error));
        assert_eq!(syslog_mark("<3>boom"), Some((Level::Error, 3)));
        assert_eq!(syslog_mark("<14>fine"), Some((Level::Info, 4)));
        for text in ["<html>", "<999>x", "<>", "<3", "3>", "<-1>x"] {
            assert_eq!(syslog_mark(text), None, "{text}");
        }
    }
}
