//! Values that are known to be secret, found again in the forms that programs print them in.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::{Found, SHORTEST};

/// Most values of one app, and bytes in all; beyond, the oldest are forgotten.
const MAX_VALUES: usize = 4_000;
const MAX_BYTES: usize = 1024 * 1024;
/// So much of one value is looked for: a large file must not make the others be forgotten.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// As much of a form is looked for, in bytes; the rest is compared then.
const BEGINNING: usize = 16;
/// So much of a longer secret, printed by itself, is secret too.
const ENOUGH: usize = 32;
/// In a text that repeats a value over and over, overlaps are looked for so far, in bytes compared.
const MAX_COMPARED: usize = 64 * 1024;
/// Values that tell nothing, and stand in many lines.
const EVERYDAY: [&str; 21] = [
    "true",
    "false",
    "password",
    "passwd",
    "secret",
    "secrets",
    "token",
    "tokens",
    "apikey",
    "api_key",
    "api-key",
    "default",
    "disabled",
    "enabled",
    "required",
    "optional",
    "production",
    "development",
    "staging",
    "localhost",
    "undefined",
];

/// The values themselves, oldest first.
#[derive(Default)]
pub(super) struct Secrets {
    values: Vec<(String, String)>,
    seen: HashSet<String>,
    bytes: usize,
}

impl Secrets {
    /// A value of several lines is printed in lines: each is a secret. True if something is new.
    pub(super) fn learn(&mut self, name: &str, value: &str) -> bool {
        let mut is_new = false;
        let value = &value[..value.floor_char_boundary(MAX_VALUE_BYTES)];
        let mut add = |part: &str| {
            let part = part.trim();
            if is_findable(part) && !self.seen.contains(part) {
                self.seen.insert(part.to_owned());
                self.bytes += part.len();
                self.values.push((name.to_owned(), part.to_owned()));
                is_new = true;
            }
        };
        if value.contains('\n') {
            // Printed in one line, with `\n` for its ends, or encoded, it is found as a whole.
            add(value);
            for line in value.lines().filter(|line| !line.starts_with("-----")) {
                add(line);
            }
        } else {
            add(value);
        }
        while self.values.len() > MAX_VALUES || self.bytes > MAX_BYTES {
            let (_, oldest) = self.values.remove(0);
            self.bytes -= oldest.len();
            self.seen.remove(&oldest);
        }
        is_new
    }
}

/// Whether a value stands out enough to be looked for.
pub(super) fn is_findable(value: &str) -> bool {
    let value = value.trim();
    let is_everyday = EVERYDAY.iter().any(|word| value.eq_ignore_ascii_case(word));
    let mut letters = value.bytes();
    let first = letters.next();
    let is_line = letters.all(|b| Some(b) == first);
    value.len() >= SHORTEST && !is_everyday && !is_line
}

/// One way to write a value.
struct Form {
    /// Index of the name.
    name: usize,
    text: String,
    /// A part of a longer run of base64, which goes as a whole.
    is_base64: bool,
}

/// Finds all forms of all values in one pass.
pub(super) struct Known {
    search: AhoCorasick,
    names: Vec<String>,
    forms: Vec<Form>,
    /// For each pattern of the search, the forms that it may be the beginning of.
    of_pattern: Vec<Vec<usize>>,
}

impl Known {
    /// `None` if there is nothing to look for.
    pub(super) fn new(secrets: &Secrets) -> Option<Self> {
        let mut names = Vec::new();
        let mut forms = Vec::new();
        for (number, (name, value)) in secrets.values.iter().enumerate() {
            names.push(name.clone());
            forms_of(number, value, &mut forms);
        }
        let mut by_beginning: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (number, form) in forms.iter().enumerate() {
            by_beginning
                .entry(beginning(&form.text))
                .or_default()
                .push(number);
        }
        let patterns: Vec<&[u8]> = by_beginning.keys().copied().collect();
        let of_pattern = patterns
            .iter()
            .map(|pattern| {
                // A shorter form may be the beginning of this one.
                let lengths = SHORTEST..=pattern.len();
                let all = lengths.filter_map(|length| by_beginning.get(&pattern[..length]));
                all.flatten().copied().collect()
            })
            .collect();
        if patterns.is_empty() {
            return None;
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .ok()?;
        Some(Self {
            search,
            names,
            forms,
            of_pattern,
        })
    }

    pub(super) fn find<'a>(&'a self, text: &str, found: &mut Vec<Found<'a>>) {
        let (mut at, mut compared) = (0, 0);
        while let Some(hit) = self.search.find(Input::new(text).range(at..)) {
            let start = hit.start();
            let longest = self.of_pattern[hit.pattern().as_usize()]
                .iter()
                .filter_map(|form| {
                    let form = &self.forms[*form];
                    Some((matched(form, &text[start..])?, form))
                })
                .max_by_key(|(length, _)| *length);
            // Values may overlap: the next may begin within this one.
            at = start + 1;
            if let Some((length, form)) = longest {
                let (start, end) = if form.is_base64 {
                    run_around(text.as_bytes(), start, start + length)
                } else {
                    (start, start + length)
                };
                compared += length;
                if form.is_base64 || compared > MAX_COMPARED {
                    at = end;
                }
                found.push(Found {
                    start,
                    end,
                    name: &self.names[form.name],
                });
            }
        }
    }
}

fn beginning(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(BEGINNING)]
}

/// How many bytes at the start of `text` are this form: all of it, or enough of its beginning, or as
/// much as there is before the text ends (it was cut there).
fn matched(form: &Form, text: &str) -> Option<usize> {
    let pairs = form.text.bytes().zip(text.bytes());
    let same = pairs.take_while(|(a, b)| a == b).count();
    let is_enough =
        same == form.text.len() || same >= ENOUGH || same == text.len() && same >= SHORTEST;
    is_enough.then(|| text.floor_char_boundary(same))
}

/// The whole run of base64 characters that these bytes are a part of.
fn run_around(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    let is_code =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=');
    let before = bytes[..start]
        .iter()
        .rev()
        .take_while(|b| is_code(b))
        .count();
    let after = bytes[end..].iter().take_while(|b| is_code(b)).count();
    // "key=": the sign before a run is no part of it.
    let begin = start - before;
    let signs = bytes[begin..start].iter().rposition(|b| *b == b'=');
    (signs.map_or(begin, |sign| begin + sign + 1), end + after)
}

fn forms_of(name: usize, value: &str, forms: &mut Vec<Form>) {
    let mut texts = vec![value.to_owned()];
    let escaped = escaped(value);
    texts.push(self::escaped(&escaped));
    texts.push(escaped);
    // Not everybody encodes the same characters, nor in the same case.
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let marks = |b: u8| unreserved(b) || matches!(b, b'!' | b'\'' | b'(' | b')' | b'*');
    let addresses = |b: u8| {
        marks(b)
            || matches!(
                b,
                b';' | b',' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b'#'
            )
    };
    for keep in [&unreserved as &dyn Fn(u8) -> bool, &marks, &addresses] {
        let encoded = percent_encoded(value, keep);
        let with_plus = encoded.replace("%20", "+");
        texts.extend([
            lower_hex(&encoded),
            lower_hex(&with_plus),
            encoded,
            with_plus,
        ]);
    }
    texts.sort_unstable();
    texts.dedup();
    forms.extend(texts.into_iter().map(|text| Form {
        name,
        text,
        is_base64: false,
    }));
    let mut codes = Vec::new();
    for shift in 0..3 {
        for text in [value, value.trim_end()] {
            codes.extend(base64_inside(text, shift));
        }
    }
    codes.sort_unstable();
    codes.dedup();
    forms.extend(codes.into_iter().map(|text| Form {
        name,
        text,
        is_base64: true,
    }));
}

/// As JSON writes it, without the quotes.
fn escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent_encoded(value: &str, keep: &dyn Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(value.len());
    for b in value.bytes() {
        if keep(b) {
            encoded.push(char::from(b));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{b:02X}");
        }
    }
    encoded
}

fn lower_hex(encoded: &str) -> String {
    let mut lower = String::with_capacity(encoded.len());
    let mut digits = 0;
    for c in encoded.chars() {
        lower.push(if digits > 0 {
            c.to_ascii_lowercase()
        } else {
            c
        });
        digits = if c == '%' {
            2_u8
        } else {
            digits.saturating_sub(1)
        };
    }
    lower
}

/// The characters of base64 that depend on nothing but the value, when `shift` bytes (modulo 3)
/// stand before it and anything behind it; in both alphabets.
fn base64_inside(value: &str, shift: usize) -> Vec<String> {
    let mut bytes = vec![0; shift];
    bytes.extend_from_slice(value.as_bytes());
    let skipped = [0, 2, 3][shift];
    // Six bits a character: the last one may hold bits of what follows.
    let whole = bytes.len() * 8 / 6;
    [
        STANDARD_NO_PAD.encode(&bytes),
        URL_SAFE_NO_PAD.encode(&bytes),
    ]
    .iter()
    .map(|code| code[skipped..whole].to_owned())
    .filter(|code| code.len() >= SHORTEST)
    .collect()
}
