//! What is stored in one write.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use flukedeploy_domain::log_entry::{Level, LogEntry, LogMetadata, LogSource};
use serde_json::Value;
use time::OffsetDateTime;

/// What consecutive lines of one replica have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineOrigin {
    pub source: LogSource,
    /// Without a duration, a stack trace and fields: those are a line's own.
    pub metadata: LogMetadata,
}

/// A line that a replica printed. Millions come, and few are looked at while they do: an entry is
/// made of one only for somebody who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaLine {
    pub origin: Arc<LineOrigin>,
    /// In nanoseconds since 1970.
    pub at: i64,
    /// Makes the entry's id, see [`LogEntry::make_id`].
    pub number: u64,
    pub level: Level,
    pub message: String,
    pub stack_trace: Option<String>,
    pub fields: BTreeMap<String, Value>,
}

impl ReplicaLine {
    pub fn to_entry(&self) -> LogEntry {
        let at = OffsetDateTime::from_unix_timestamp_nanos(self.at.into());
        let metadata = LogMetadata {
            stack_trace: self.stack_trace.clone(),
            fields: self.fields.clone(),
            ..self.origin.metadata.clone()
        };
        LogEntry::new(
            at.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            self.number,
            self.level,
            self.message.as_str(),
            self.origin.source.clone(),
            metadata,
        )
    }
}

/// One of those that are stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    Entry(Box<LogEntry>),
    Line(ReplicaLine),
}

impl Logged {
    pub fn app(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.flukedeploy_metadata.app_name,
            Self::Line(line) => &line.origin.metadata.app_name,
        }
    }

    /// Of its text: what memory and a write are measured by.
    pub(crate) fn text_bytes(&self) -> usize {
        let (message, trace) = match self {
            Self::Entry(entry) => {
                let trace = &entry.flukedeploy_metadata.stack_trace;
                (&entry.message, trace)
            }
            Self::Line(line) => (&line.message, &line.stack_trace),
        };
        message.len() + trace.as_ref().map_or(0, String::len)
    }

    fn to_entry(&self) -> LogEntry {
        match self {
            Self::Entry(entry) => LogEntry::clone(entry),
            Self::Line(line) => line.to_entry(),
        }
    }
}

/// What is stored in one write.
#[derive(Debug, Default, Clone)]
pub struct LogBatch {
    pub logged: Vec<Logged>,
    /// Readers' keys, and where each goes on behind these entries.
    pub positions: Vec<(String, Vec<u8>)>,
    entries: OnceLock<Vec<LogEntry>>,
}

impl LogBatch {
    pub fn new(logged: Vec<Logged>, positions: Vec<(String, Vec<u8>)>) -> Self {
        Self {
            logged,
            positions,
            entries: OnceLock::new(),
        }
    }

    /// Of entries alone.
    pub fn of(entries: Vec<LogEntry>) -> Self {
        let boxed = entries.into_iter().map(Box::new);
        Self::new(boxed.map(Logged::Entry).collect(), Vec::new())
    }

    /// All as entries. Made once, for the first that asks.
    pub fn entries(&self) -> &[LogEntry] {
        self.entries
            .get_or_init(|| self.logged.iter().map(Logged::to_entry).collect())
    }
}
