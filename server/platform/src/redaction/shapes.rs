//! What is a secret by its form, wherever it turns up.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::Found;
use crate::checks::secrets::{FORMS, is_secret_name, is_stand_in, wordy};

/// Longest name before a value, and longest value behind one, in bytes.
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 4 * 1024;
/// As much of a value is judged, in bytes.
const JUDGED: usize = 128;
/// Longest authorization, in bytes.
const MAX_HEADER: usize = 1024;
/// How far the `@` of an address may be from its `://`, in bytes.
const MAX_LOGIN: usize = 512;
/// Shortest value that counts, unless its name says "password".
const SHORTEST_NAMED: usize = 6;

/// What begins so may be secret; each is looked at closely then.
#[derive(Clone, Copy)]
enum Sign {
    /// One of [`FORMS`], or of ours: so many of these characters follow.
    Form {
        prefix: usize,
        follow: usize,
        allowed: fn(u8) -> bool,
    },
    Jwt,
    PrivateKey,
    Url,
    /// A part of a name such as `DB_PASSWORD` or `apiKey`.
    Name,
    Authorization,
}

struct Signs {
    search: AhoCorasick,
    of_pattern: Vec<Sign>,
}

fn signs() -> &'static Signs {
    static SIGNS: OnceLock<Signs> = OnceLock::new();
    SIGNS.get_or_init(|| {
        let mut all: Vec<(String, Sign)> = Vec::new();
        let forms = FORMS
            .iter()
            .map(|form| (form.prefix, form.follow, form.allowed));
        // Our own tokens, and FlukeBase's.
        let own = [("fd_", 30, wordy as fn(u8) -> bool), ("flk_", 16, wordy)];
        for (prefix, follow, allowed) in forms.chain(own) {
            if prefix.contains(' ') {
                continue; // headers, below
            }
            let sign = Sign::Form {
                prefix: prefix.len(),
                follow,
                allowed,
            };
            all.push((prefix.to_owned(), sign));
        }
        all.push(("eyJ".to_owned(), Sign::Jwt));
        all.push(("-----BEGIN ".to_owned(), Sign::PrivateKey));
        all.push(("://".to_owned(), Sign::Url));
        for word in ["uthorization", "UTHORIZATION"] {
            all.push((word.to_owned(), Sign::Authorization));
        }
        for word in ["pass", "secret", "token", "key", "credential", "pwd"] {
            let (first, rest) = word.split_at(1);
            let title = format!("{}{rest}", first.to_uppercase());
            for spelling in [word.to_owned(), word.to_uppercase(), title] {
                all.push((spelling, Sign::Name));
            }
        }
        let (patterns, of_pattern): (Vec<String>, Vec<Sign>) = all.into_iter().unzip();
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(patterns)
            .expect("a few dozen short patterns fit");
        Signs { search, of_pattern }
    })
}

/// Adds every part of the text that is to go.
pub(super) fn find(text: &str, found: &mut Vec<Found<'_>>) {
    let signs = signs();
    let mut at = 0;
    while let Some(hit) = signs.search.find(Input::new(text).range(at..)) {
        let part = match signs.of_pattern[hit.pattern().as_usize()] {
            Sign::Form {
                prefix,
                follow,
                allowed,
            } => form(text, hit.start(), prefix, follow, allowed),
            Sign::Jwt => jwt(text, hit.start()),
            Sign::PrivateKey => private_key(text, hit.start()),
            Sign::Url => password_in_url(text, hit.end()),
            Sign::Name => named(text, hit.range()),
            Sign::Authorization => authorization(text, hit.end()),
        };
        at = hit.start() + 1;
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            at = part.end.max(at);
            found.push(Found {
                start: part.start,
                end: part.end,
                name: "",
            });
        }
    }
}

fn starts_word(text: &str, at: usize) -> bool {
    at == 0 || !wordy(text.as_bytes()[at - 1])
}

fn run(text: &str, from: usize, allowed: impl Fn(u8) -> bool) -> usize {
    from + text.as_bytes()[from..]
        .iter()
        .take_while(|b| allowed(**b))
        .count()
}

fn form(
    text: &str,
    start: usize,
    prefix: usize,
    follow: usize,
    allowed: fn(u8) -> bool,
) -> Option<Range<usize>> {
    if !starts_word(text, start) {
        return None;
    }
    let end = run(text, start + prefix, allowed);
    (end - start - prefix >= follow).then_some(start..end)
}

/// Three base64url parts, of which the first two begin with `{"` (RFC 7519).
fn jwt(text: &str, start: usize) -> Option<Range<usize>> {
    if start > 0 && (!starts_word(text, start) || text.as_bytes()[start - 1] == b'.') {
        return None;
    }
    let end = run(text, start, |b| wordy(b) || b == b'.');
    let mut parts = text[start..end].split('.');
    let first = parts.next().is_some_and(|part| part.len() >= 10);
    let second = parts.next().is_some_and(|part| part.len() >= 10);
    (first && second).then_some(start..end)
}

/// PEM (RFC 7468), from its first line to its last, or to the end of the text.
fn private_key(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start + 11..];
    let label = rest.get(..rest.find("-----")?)?;
    if label.len() > 40 || !label.contains("PRIVATE KEY") {
        return None;
    }
    let body = start + 11 + label.len() + 5;
    let end_mark = text[body..].find("-----END ").map(|at| body + at);
    let content = &text[body..end_mark.unwrap_or(text.len())];
    let code = content
        .bytes()
        .take(400)
        .filter(u8::is_ascii_alphanumeric)
        .count();
    // Somebody who only talks of keys shows none.
    let is_key = code >= 16 && (end_mark.is_some() || !content.trim().contains(' '));
    if !is_key {
        return None;
    }
    let end = end_mark.map_or(text.len(), |mark| {
        let tail = mark + 9;
        text[tail..].find("-----").map_or(tail, |at| tail + at + 5)
    });
    Some(start..end)
}

/// The password of `scheme://user:password@host`; `from`: behind the `://`.
fn password_in_url(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let limit = bytes.len().min(from + MAX_LOGIN);
    let ends = |b: &u8| {
        matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>') || b.is_ascii_whitespace()
    };
    let length = bytes[from..limit]
        .iter()
        .position(ends)
        .unwrap_or(limit - from);
    let authority = &bytes[from..from + length];
    let end = authority.iter().rposition(|b| *b == b'@')?;
    let colon = authority[..end].iter().position(|b| *b == b':')?;
    let password = from + colon + 1..from + end;
    let is_placeholder = text.get(password.clone()).is_none_or(is_reference);
    (!is_placeholder).then_some(password)
}

/// All passwords in the addresses of a text.
pub(super) fn passwords_in_urls(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://")
        .filter_map(|(at, mark)| password_in_url(text, at + mark.len()))
}

/// `$PASSWORD`, `${x}`, `<password>`, or what was taken out before.
fn is_reference(value: &str) -> bool {
    value.starts_with(['$', '<', '{', '%']) || value.starts_with("[redacted")
}

/// What may stand between a name and its value: quotes (also escaped ones), `=`, `:`, `=>`.
struct Between {
    is_equals: bool,
    quote: Option<(u8, usize)>,
    /// Where the value begins.
    from: usize,
}

fn between(text: &str, from: usize) -> Option<Between> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let blanks = |from: usize| from + (0..2).take_while(|n| at(from + n) == b' ').count();
    let slashes = |from: usize| from + (0..4).take_while(|n| at(from + n) == b'\\').count();
    let mut next = slashes(from);
    if matches!(at(next), b'"' | b'\'' | b'`' | b']') {
        next += 1;
    } else {
        next = from;
    }
    next = blanks(next);
    let is_equals = match (at(next), at(next + 1)) {
        (b'=', b'>') => {
            next += 2;
            false
        }
        (b'=', other) if other != b'=' => {
            next += 1;
            true
        }
        (b':', b'=') => {
            next += 2;
            true
        }
        (b':', _) => {
            next += 1;
            false
        }
        _ => return None,
    };
    next = blanks(next);
    let quoted = slashes(next);
    if matches!(at(quoted), b'"' | b'\'' | b'`') {
        return Some(Between {
            is_equals,
            quote: Some((at(quoted), quoted - next)),
            from: quoted + 1,
        });
    }
    Some(Between {
        is_equals,
        quote: None,
        from: next,
    })
}

/// Where the value ends that begins there.
fn end_of_value(text: &str, between: &Between) -> usize {
    let bytes = text.as_bytes();
    let limit = text.floor_char_boundary(between.from + MAX_VALUE);
    let value = &bytes[between.from..limit];
    let length = match between.quote {
        Some((quote, slashes)) => {
            let mut before = 0;
            let mut end = None;
            for (at, b) in value.iter().enumerate() {
                let ends = before == slashes || slashes == 0 && before.is_multiple_of(2);
                if *b == quote && ends {
                    end = Some(at - slashes);
                    break;
                }
                before = if *b == b'\\' { before + 1 } else { 0 };
            }
            end
        }
        None => value.iter().position(|b| {
            b.is_ascii_whitespace()
                || matches!(
                    b,
                    b'&' | b';' | b',' | b'"' | b'\'' | b'`' | b'|' | b'}' | b')' | b'>'
                )
        }),
    };
    between.from + length.unwrap_or(value.len())
}

/// `DB_PASSWORD=…`, `"apiKey": "…"`, `--token …`, `password => '…'`.
fn named(text: &str, stem: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let is_name = |b: &u8| wordy(*b) || *b == b'.';
    let ahead = bytes[..stem.start].iter().rev().take(MAX_NAME);
    let start = stem.start - ahead.take_while(|b| is_name(b)).count();
    let behind = bytes[stem.end..].iter().take(MAX_NAME);
    let end = stem.end + behind.take_while(|b| is_name(b)).count();
    let name = &text[start..end];
    let is_option = name.starts_with("--") && bytes.get(end) == Some(&b' ');
    let between = if is_option {
        Between {
            is_equals: true,
            quote: None,
            from: end + 1,
        }
    } else {
        between(text, end)?
    };
    let value = between.from..end_of_value(text, &between);
    let shown = text.get(value.clone())?;
    // Its beginning tells enough.
    let shown = &shown[..shown.floor_char_boundary(JUDGED)];
    if shown.is_empty() || is_reference(shown) {
        return None;
    }
    let is_password = name
        .as_bytes()
        .windows(4)
        .any(|part| part.eq_ignore_ascii_case(b"pass"));
    let is_clear = between.quote.is_some() || between.is_equals;
    let has = |test: fn(&u8) -> bool| shown.as_bytes().iter().any(test);
    // "password: must have 8 characters" is a sentence; "token=512" is a number of tokens.
    let is_secret = if is_clear && is_password {
        !shown.starts_with('/')
    } else {
        shown.len() >= SHORTEST_NAMED
            && !shown.starts_with('/')
            && has(u8::is_ascii_alphabetic)
            && (is_clear || has(u8::is_ascii_digit))
    };
    // Last, since it takes the longest.
    (is_secret && is_secret_name(name) && !is_stand_in(shown)).then_some(value)
}

/// `Authorization: Bearer …`, also as JSON and as programs print headers; `from`: behind the word.
fn authorization(text: &str, from: usize) -> Option<Range<usize>> {
    let between = between(text, from)?;
    let end = if between.quote.is_some() {
        end_of_value(text, &between)
    } else {
        let limit = text.floor_char_boundary(between.from + MAX_HEADER);
        run(&text[..limit], between.from, |b| {
            !matches!(b, b'\n' | b'"' | b'\'' | b',' | b';')
        })
    };
    let value = text.get(between.from..end)?;
    // The scheme says something and is no secret.
    let scheme = [
        "bearer ",
        "basic ",
        "token ",
        "digest ",
        "negotiate ",
        "apikey ",
    ]
    .iter()
    .find(|scheme| {
        value
            .get(..scheme.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(scheme))
    });
    let start = between.from + scheme.map_or(0, |scheme| scheme.len());
    let secret = text.get(start..end)?;
    let length = if scheme.is_some_and(|scheme| scheme.starts_with("digest")) {
        secret.len()
    } else {
        secret.find(char::is_whitespace).unwrap_or(secret.len())
    };
    let secret = &secret[..length];
    let is_secret = secret.len() >= SHORTEST_NAMED
        && !is_reference(secret)
        && (scheme.is_some() || secret.bytes().any(|b| b.is_ascii_digit()));
    is_secret.then_some(start..start + length)
}
