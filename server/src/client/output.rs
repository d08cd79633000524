//! What people and programs read. Nothing from a server reaches a terminal as it came: what could move
//! the cursor or turn text around is taken out, or escaped within JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use flukedeploy_domain::diagnosis::tame;
use serde_json::Value;

/// Longest line shown, in characters.
const LONGEST: usize = 2_000;

/// A line on standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", tame(text, LONGEST))
}

/// A line of parts that are tame, painted.
pub(crate) fn painted(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line for people beside the output proper, which may go to a file.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", tame(text, LONGEST));
}

/// The API's JSON, on standard output.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(io::stdout().lock(), "{}", escaped(&text))
}

/// JSON whose strings hold no character that a terminal obeys; it means the same.
pub(crate) fn escaped(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        let obeyed = c != '\n'
            && (c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'));
        if obeyed {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Columns, each as wide as its widest cell.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    let clean = |row: &Vec<String>| row.iter().map(|cell| tame(cell, 80)).collect();
    lines.extend(rows.iter().map(clean));
    let lines: Vec<Vec<String>> = lines;
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = io::stdout().lock();
    for cells in &lines {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// A field as text: strings as they are, absent ones as nothing.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The objects in a list of the answer.
pub(crate) fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Good,
    Bad,
    Busy,
    Faint,
}

/// Colours on a terminal, unless `NO_COLOR` is set.
#[derive(Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn for_stdout() -> Self {
        Self(io::stdout().is_terminal() && wants_colours())
    }

    pub(crate) fn for_stderr() -> Self {
        Self(io::stderr().is_terminal() && wants_colours())
    }

    /// The text must be tame already.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Good => 32,
            Colour::Bad => 31,
            Colour::Busy => 33,
            Colour::Faint => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// <https://no-color.org>: present and not empty, whatever its value.
fn wants_colours() -> bool {
    !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal only takes lines.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_moves_no_cursor() {
        let value = serde_json::json!({"a": "x\u{1b}[2J\u{9b}31m\u{202e}é", "b": [1, null]});
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            text.chars()
                .all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}'))
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
