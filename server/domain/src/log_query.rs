//! What a reader may ask of a message: words, phrases and regular expressions.
//!
//! | written | finds messages with |
//! | --- | --- |
//! | `timeout` | that whole word, in upper or lower case |
//! | `req-8f3a` | that text, in any case, not inside a longer word (`req-8f3ab`, `xreq-8f3a`) |
//! | `"connection ref"` | that text anywhere, in any case; `\"` and `\\` inside |
//! | `/time(d )?out/` | that expression, case as written; `/…/i` in any case; `\/` inside |
//! | `-word`, `-"text"`, `-/regex/` | none of it |
//!
//! All that is written must hold. A word is a run of letters, digits and `_`, as in editors and
//! `grep -w`. `/api/v1/users` is no expression, since its second slash does not end it: a path can
//! be searched as it is. Any case means ASCII letters one by one, and Unicode's simple folding for
//! others; an ASCII letter never equals another one, so that a store may look words up.

use std::borrow::Cow;
use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::log_entry::LogEntry;
use crate::names::Invalid;

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 1_000;
/// Most words, phrases and expressions in one query.
pub const MAX_TERMS: usize = 16;
/// Memory for one compiled expression, and again for what it learns while searching, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
const FIELD: &str = "q";

/// A parsed query; see the module for its grammar. Searching takes time linear in the message,
/// whatever was asked.
#[derive(Clone)]
pub struct TextQuery {
    written: String,
    /// The most telling positive text first: [`next_candidate`](Self::next_candidate) uses it.
    terms: Vec<Term>,
    words: Vec<String>,
    literals: Vec<String>,
}

#[derive(Clone)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone)]
enum Test {
    Text {
        text: Regex,
        /// The text, or an end of it that is found faster.
        quick: Regex,
        length: usize,
        /// The message's neighbours of the text must not be part of a word.
        word_before: bool,
        word_after: bool,
    },
    Expression(Regex),
}

/// Part of a word: a letter or digit of any script, or `_`.
pub fn is_word_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// What a query looks at: the message, then the stack trace, then the fields as JSON, with a line
/// break before each that is there.
pub fn search_text(entry: &LogEntry) -> Cow<'_, str> {
    let metadata = &entry.flukedeploy_metadata;
    if metadata.stack_trace.is_none() && metadata.fields.is_empty() {
        return Cow::Borrowed(&entry.message);
    }
    let mut text = entry.message.clone();
    if let Some(trace) = &metadata.stack_trace {
        text.push('\n');
        text.push_str(trace);
    }
    if let Ok(fields) = serde_json::to_string(&metadata.fields)
        && !metadata.fields.is_empty()
    {
        text.push('\n');
        text.push_str(&fields);
    }
    Cow::Owned(text)
}

impl TextQuery {
    /// # Errors
    /// Empty, too long, too many terms, a quote or expression that is not closed or is none.
    pub fn parse(written: &str) -> Result<Self, Invalid> {
        check_length(written)?;
        let mut query = Self::empty(written);
        let mut rest = written.trim_start();
        while !rest.is_empty() {
            let (negated, term) = match rest.strip_prefix('-') {
                Some(after) if after.starts_with(|c: char| !c.is_whitespace()) => (true, after),
                _ => (false, rest),
            };
            let after = query.read_term(term, negated)?;
            if query.terms.len() > MAX_TERMS {
                let problem = format!("may have at most {MAX_TERMS} words, phrases or expressions");
                return Err(Invalid::new(FIELD, problem));
            }
            rest = after.trim_start();
        }
        if query.terms.is_empty() {
            return Err(Invalid::new(FIELD, "must not be empty"));
        }
        query.finish();
        Ok(query)
    }

    /// The whole text as it stands, anywhere in a message, in any case.
    ///
    /// # Errors
    /// Empty or too long.
    pub fn phrase(text: &str) -> Result<Self, Invalid> {
        check_length(text)?;
        if text.is_empty() {
            return Err(Invalid::new(FIELD, "must not be empty"));
        }
        let mut query = Self::empty(text);
        query.push_text(text, false, false)?;
        query.finish();
        Ok(query)
    }

    fn empty(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            terms: Vec::new(),
            words: Vec::new(),
            literals: Vec::new(),
        }
    }

    /// Reads one term and returns what follows it.
    fn read_term<'a>(&mut self, term: &'a str, negated: bool) -> Result<&'a str, Invalid> {
        if let Some(inner) = term.strip_prefix('"') {
            let (text, after) = quoted_text(inner)
                .ok_or_else(|| Invalid::new(FIELD, "has a quote that is not closed"))?;
            if !text.is_empty() {
                self.push_text(&text, false, negated)?;
            }
            return Ok(after);
        }
        if let Some((expression, any_case, after)) = expression(term) {
            self.terms.push(Term {
                negated,
                test: Test::Expression(compile(&expression, any_case)?),
            });
            return Ok(after);
        }
        let end = term.find(char::is_whitespace).unwrap_or(term.len());
        let (word, after) = term.split_at(end);
        self.push_text(word, true, negated)?;
        Ok(after)
    }

    fn push_text(&mut self, text: &str, whole: bool, negated: bool) -> Result<(), Invalid> {
        let word_before = whole && text.starts_with(is_word_char);
        let word_after = whole && text.ends_with(is_word_char);
        if !negated {
            self.words
                .extend(whole_words(text, word_before, word_after));
            self.literals.push(text.to_owned());
        }
        let compile = |text| {
            RegexBuilder::new(&any_case_pattern(text))
                .size_limit(MAX_REGEX_BYTES)
                .build()
                .map_err(|_| Invalid::new(FIELD, "is too long to search for"))
        };
        self.terms.push(Term {
            negated,
            test: Test::Text {
                text: compile(text)?,
                quick: compile(quick_end(text))?,
                length: text.len(),
                word_before,
                word_after,
            },
        });
        Ok(())
    }

    fn finish(&mut self) {
        // Longest text first, then expressions, then what must be absent: cheap and telling first.
        self.terms
            .sort_by_key(|term| match (&term.test, term.negated) {
                (Test::Text { length, .. }, false) => (0, usize::MAX - length),
                (Test::Expression(_), false) => (1, 0),
                (Test::Text { .. }, true) => (2, 0),
                (Test::Expression(_), true) => (3, 0),
            });
        self.words.sort();
        self.words.dedup();
    }

    /// What was asked, as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether an entry is wanted, by its [text](search_text).
    pub fn matches_entry(&self, entry: &LogEntry) -> bool {
        self.matches(&search_text(entry))
    }

    /// Whether a message is wanted.
    pub fn matches(&self, message: &str) -> bool {
        self.terms
            .iter()
            .all(|term| term.test.is_match(message) != term.negated)
    }

    /// ASCII words, in lower case, that every wanted message has as whole words (in any case): a
    /// message, or a block of messages, without one of them need not be read. May be empty.
    pub fn required_words(&self) -> &[String] {
        &self.words
    }

    /// Texts that every wanted message has somewhere, in any case. May be empty.
    pub fn required_texts(&self) -> &[String] {
        &self.literals
    }

    /// Whether there is a text that every wanted message has, to search for in many at once.
    pub fn has_lead(&self) -> bool {
        self.lead().is_some()
    }

    /// Searches many messages at once, written one after the other into `text` with nothing
    /// between: a message from `from` (a message's start) on that is wanted has its end after the
    /// position returned. `None`: none of the rest is wanted. Without a
    /// [lead](Self::has_lead) every message has to be looked at.
    pub fn next_candidate(&self, text: &str, from: usize) -> Option<usize> {
        match self.lead() {
            Some(wanted) => wanted.find_at(text, from).map(|found| found.start()),
            None => Some(from),
        }
    }

    fn lead(&self) -> Option<&Regex> {
        match self.terms.first() {
            Some(Term {
                negated: false,
                test: Test::Text { quick, .. },
            }) => Some(quick),
            _ => None,
        }
    }
}

impl Test {
    fn is_match(&self, message: &str) -> bool {
        match self {
            Self::Expression(expression) => expression.is_match(message),
            Self::Text {
                text,
                word_before,
                word_after,
                ..
            } => {
                let mut from = 0;
                while let Some(found) = text.find_at(message, from) {
                    let clear_before =
                        !word_before || !message[..found.start()].ends_with(is_word_char);
                    let clear_after =
                        !word_after || !message[found.end()..].starts_with(is_word_char);
                    if clear_before && clear_after {
                        return true;
                    }
                    // One character on, not behind the find: finds may overlap.
                    let step = message[found.start()..]
                        .chars()
                        .next()
                        .map_or(1, char::len_utf8);
                    from = found.start() + step;
                }
                false
            }
        }
    }
}

impl std::str::FromStr for TextQuery {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Debug for TextQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TextQuery").field(&self.written).finish()
    }
}

impl PartialEq for TextQuery {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written && self.literals == other.literals
    }
}

impl Eq for TextQuery {}

fn check_length(written: &str) -> Result<(), Invalid> {
    if written.len() > MAX_QUERY_BYTES {
        let problem = format!(
            "must have at most {MAX_QUERY_BYTES} bytes, not {}",
            written.len()
        );
        return Err(Invalid::new(FIELD, problem));
    }
    Ok(())
}

/// The text up to the closing quote, and what follows that.
fn quoted_text(inner: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &inner[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                Some((_, other)) => text.extend(['\\', other]),
                None => return None,
            },
            c => text.push(c),
        }
    }
    None
}

/// `/expression/` or `/expression/i` up to white space: the expression, whether any case will do,
/// and what follows.
fn expression(term: &str) -> Option<(String, bool, &str)> {
    let inner = term.strip_prefix('/')?;
    let mut expression = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '/' => {
                let after = &inner[at + 1..];
                let (any_case, after) = match after.strip_prefix('i') {
                    Some(after) => (true, after),
                    None => (false, after),
                };
                let ends = after.is_empty() || after.starts_with(char::is_whitespace);
                return (ends && !expression.is_empty()).then_some((expression, any_case, after));
            }
            '\\' => match chars.next() {
                Some((_, '/')) => expression.push('/'),
                Some((_, other)) => expression.extend(['\\', other]),
                None => return None,
            },
            c => expression.push(c),
        }
    }
    None
}

fn compile(expression: &str, any_case: bool) -> Result<Regex, Invalid> {
    RegexBuilder::new(expression)
        .case_insensitive(any_case)
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_BYTES)
        .nest_limit(50)
        .build()
        .map_err(|cause| {
            let problem = match cause {
                regex::Error::CompiledTooBig(_) => {
                    "has a regular expression that is too large".to_owned()
                }
                // The last line says what is wrong; those before it point into the expression.
                other => {
                    let text = other.to_string();
                    let what = text.lines().last().unwrap_or_default();
                    let what = what.trim_start_matches("error: ");
                    format!("has a regular expression that cannot be read: {what}")
                }
            };
            Invalid::new(FIELD, problem)
        })
}

/// Each ASCII letter in both its cases and no other (`(?i)k` would find the Kelvin sign too).
fn any_case_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() * 4);
    for c in text.chars() {
        if c.is_ascii_alphabetic() {
            pattern.extend(['[', c.to_ascii_lowercase(), c.to_ascii_uppercase(), ']']);
        } else {
            let escaped = regex::escape(c.encode_utf8(&mut [0; 4]));
            if c.is_ascii() {
                pattern.push_str(&escaped);
            } else {
                pattern.push_str("(?i:");
                pattern.push_str(&escaped);
                pattern.push(')');
            }
        }
    }
    pattern
}

/// From the first letter on. A text in any case that begins with a digit or sign would be searched
/// for by that one byte, and logs are full of digits.
fn quick_end(text: &str) -> &str {
    const LEAST: usize = 4;
    let letter = text.find(|c: char| c.is_ascii_alphabetic());
    let end = letter.map_or(text, |at| &text[at..]);
    if end.len() < LEAST { text } else { end }
}

/// The ASCII words of a text that must be whole words wherever the text is found: those with
/// something else on both sides, or an end at which the text may not go on as a word.
fn whole_words(text: &str, whole_start: bool, whole_end: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut start = None;
    let ends = text
        .char_indices()
        .chain(std::iter::once((text.len(), ' ')));
    for (at, c) in ends {
        match (is_word_char(c) && at < text.len(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                start = None;
                let word = &text[from..at];
                let closed = (from > 0 || whole_start) && (at < text.len() || whole_end);
                if closed && word.is_ascii() {
                    words.push(word.to_ascii_lowercase());
                }
            }
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(query: &str, message: &str) -> bool {
        TextQuery::parse(query).unwrap().matches(message)
    }

    fn words(query: &str) -> Vec<String> {
        TextQuery::parse(query).unwrap().required_words().to_vec()
    }

    #[test]
    fn bare_words_are_whole_words_in_any_case() {
        for (query, message, wanted) in [
            ("timeout", "Connect TIMEOUT after 3s", true),
            ("timeout", "timeouts", false),
            ("user", "user_id=3", false),
            ("user_id", "user_id=3", true),
            ("aa", "aaa aa", true),
            ("req-8f3a", "id=REQ-8F3A.", true),
            ("req-8f3a", "id=req-8f3ab", false),
            ("req-8f3a", "xreq-8f3a req-8f3a", true),
            ("req-8f3a", "req 8f3a", false),
            ("/api/v1/users", "GET /api/v1/users 200", true),
            ("/api/v1/users", "GET /API/v1/usersx 200", false),
            ("a=b", "xa=b", false),
            ("=>", "a=>b", true),
            ("größe", "GRÖSSE GRÖẞE Größe", true),
            ("größe", "untergröße", false),
            ("k", "300 \u{212a}", false),
            ("two words", "words or two", true),
            ("two words", "two", false),
            ("two -words", "two words", false),
            ("two -words", "two", true),
            ("-", "a - b", true),
            (r#"-"a b""#, "xa bx", false),
        ] {
            assert_eq!(found(query, message), wanted, "{query} in {message}");
        }
    }

    #[test]
    fn phrases_are_any_text_and_expressions_are_as_written() {
        for (query, message, wanted) in [
            (r#""nection ref""#, "Connection refused", true),
            (r#""a \"b\" \\""#, r#"xA "B" \y"#, true),
            (r#""50% (.*)""#, "at 50% (.*)", true),
            (r#""50% (.*)""#, "at 50% (x)", false),
            ("/time(d )?out/", "it timed out", true),
            ("/time(d )?out/", "it TIMED out", false),
            ("/time(d )?out/i", "it TIMED out", true),
            (r"/GET \/v\d+/", "GET /v12", true),
            ("/^a b$/ c", "a b", false),
            ("-/^GET/", "POST x", true),
            ("-/^GET/", "GET x", false),
            ("//", "http://x", true),
        ] {
            assert_eq!(found(query, message), wanted, "{query} in {message}");
        }
    }

    #[test]
    fn a_store_learns_which_words_must_be_there() {
        assert_eq!(words("Req-8f3A"), ["8f3a", "req"]);
        assert_eq!(words(r#""one two three four""#), ["three", "two"]);
        assert_eq!(words(r#"" one ""#), ["one"]);
        assert_eq!(words("-gone stays"), ["stays"]);
        assert_eq!(words("größe a"), ["a"]);
        assert_eq!(words("/regex here/"), Vec::<String>::new());
        assert_eq!(
            TextQuery::phrase("-a \"b").unwrap().required_texts(),
            ["-a \"b"]
        );
        assert!(TextQuery::phrase("-a \"b").unwrap().matches("x-A \"Bc"));
    }

    #[test]
    fn what_cannot_be_searched_says_why() {
        for (query, problem) in [
            ("", "empty"),
            ("  ", "empty"),
            ("\"\"", "empty"),
            ("\"open", "not closed"),
            ("/(/", "unclosed group"),
            ("/(a{1000}){1000}/", "too large"),
            (&"x ".repeat(17), "at most 16"),
            (&"x".repeat(1_001), "at most 1000 bytes"),
        ] {
            let fault = TextQuery::parse(query).unwrap_err();
            assert_eq!(fault.field, "q");
            assert!(fault.problem.contains(problem), "{query}: {fault}");
        }
    }

    #[test]
    fn an_expression_meant_to_explode_stays_linear() {
        let query = TextQuery::parse("/(a|aa|a*)*b/").unwrap();
        assert!(!query.matches(&"a".repeat(16 * 1024)));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,80}", message in ".{0,80}") {
            if let Ok(query) = TextQuery::parse(&text) {
                query.matches(&message);
            }
        }

        #[test]
        fn candidates_and_words_miss_nothing(
            query in r#"-?("[abA _é.7]{1,8}"|[abA_é.]{1,4}|/[ab]b?/)( [ab]{1,2})?"#,
            messages in prop::collection::vec("[abAB _éÉ.7]{0,10}", 1..8),
        ) {
            let Ok(query) = TextQuery::parse(&query) else { return Ok(()) };
            let text = messages.concat();
            let mut start = 0;
            for message in &messages {
                let end = start + message.len();
                if query.matches(message) && !message.is_empty() {
                    let candidate = query.next_candidate(&text, start);
                    prop_assert!(candidate.is_some_and(|at| at < end));
                    prop_assert!(query.has_lead() || candidate == Some(start));
                    let own: Vec<String> = message
                        .split(|c| !is_word_char(c))
                        .map(str::to_ascii_lowercase)
                        .collect();
                    for word in query.required_words() {
                        prop_assert!(own.contains(word), "{word} in {message}");
                    }
                }
                start = end;
            }
        }
    }
}
