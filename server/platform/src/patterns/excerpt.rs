//! The first error and what stands around it.

use std::collections::VecDeque;

use flukedeploy_domain::log_entry::{Level, LogEntry};
use flukedeploy_domain::timestamp;
use serde::Serialize;
use time::OffsetDateTime;

/// Entries shown before and after the error.
const AROUND: usize = 5;
/// Longest message of a line, in bytes.
const MAX_LINE: usize = 500;
/// Lines of a stack trace that are kept at its beginning and its end.
const FIRST_FRAMES: usize = 8;
const LAST_FRAMES: usize = 4;

/// The first entry of level error, with up to five entries before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// Id of the entry with the error.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Its beginning and its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<String>,
    pub lines: Vec<ExcerptLine>,
}

/// One entry of an excerpt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExcerptLine {
    pub id: String,
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
    pub level: Level,
    /// Cut to 500 bytes.
    pub message: String,
}

impl From<&LogEntry> for ExcerptLine {
    fn from(entry: &LogEntry) -> Self {
        let mut message = entry.message[..entry.message.floor_char_boundary(MAX_LINE)].to_owned();
        if message.len() < entry.message.len() {
            message.push('…');
        }
        Self {
            id: entry.id.clone(),
            timestamp: entry.timestamp,
            level: entry.level,
            message,
        }
    }
}

/// Looks for the first error while entries go by.
#[derive(Default)]
pub(super) struct Finder {
    before: VecDeque<ExcerptLine>,
    found: Option<Excerpt>,
    /// Entries that still belong to the excerpt.
    wanted: usize,
}

impl Finder {
    pub(super) fn add(&mut self, entry: &LogEntry) {
        if let Some(found) = &mut self.found {
            if self.wanted > 0 {
                self.wanted -= 1;
                found.lines.push(entry.into());
            }
            return;
        }
        self.before.push_back(entry.into());
        if entry.level == Level::Error {
            let metadata = &entry.flukedeploy_metadata;
            self.found = Some(Excerpt {
                id: entry.id.clone(),
                error_code: metadata.error_code.clone(),
                stack_trace: metadata.stack_trace.as_deref().map(fold_trace),
                lines: std::mem::take(&mut self.before).into(),
            });
            self.wanted = AROUND;
        } else if self.before.len() > AROUND {
            self.before.pop_front();
        }
    }

    pub(super) fn finish(self) -> Option<Excerpt> {
        self.found
    }
}

/// The first and last lines of a stack trace, each cut to 500 bytes, with a note of what is left out.
pub fn fold_trace(trace: &str) -> String {
    let lines: Vec<&str> = trace.lines().collect();
    let shown = |line: &&str| line[..line.floor_char_boundary(MAX_LINE)].to_owned();
    if lines.len() <= FIRST_FRAMES + LAST_FRAMES + 1 {
        return lines.iter().map(shown).collect::<Vec<_>>().join("\n");
    }
    let last = lines.len() - LAST_FRAMES;
    let mut folded: Vec<String> = lines[..FIRST_FRAMES].iter().map(shown).collect();
    folded.push(format!("… {} lines left out …", last - FIRST_FRAMES));
    folded.extend(lines[last..].iter().map(shown));
    folded.join("\n")
}
