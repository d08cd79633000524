//! What one `append` brings, looked through once.

use std::collections::BTreeMap;
use std::sync::Arc;

use flukedeploy_domain::log_entry::{ID_NUMBERS, Level, LogEntry, LogMetadata, LogSource};
use flukedeploy_platform::ports::{LineOrigin, Logged};
use serde_json::Value;

use crate::block::{Id, Line, level_number, to_ns};
use crate::codec::to_u32;
use crate::origin::Origins;

/// One of those that are appended.
pub(crate) trait Item {
    fn time(&self) -> i64;
    fn id(&self, time: i64) -> Id<'_>;
    fn level(&self) -> Level;
    fn message(&self) -> &str;
    fn duration(&self) -> Option<u64>;
    fn stack_trace(&self) -> Option<&str>;
    fn fields(&self) -> &BTreeMap<String, Value>;
    /// What it has in common with others.
    fn origin(&self) -> (&LogSource, &LogMetadata, &[String]);
    /// The same, where it is known to be the same.
    fn shared_origin(&self) -> Option<&Arc<LineOrigin>>;
}

impl Item for LogEntry {
    fn time(&self) -> i64 {
        to_ns(self.timestamp)
    }

    fn id(&self, time: i64) -> Id<'_> {
        Id::of(&self.id, time)
    }

    fn level(&self) -> Level {
        self.level
    }

    fn message(&self) -> &str {
        &self.message
    }

    fn duration(&self) -> Option<u64> {
        self.flukedeploy_metadata.duration_ms
    }

    fn stack_trace(&self) -> Option<&str> {
        self.flukedeploy_metadata.stack_trace.as_deref()
    }

    fn fields(&self) -> &BTreeMap<String, Value> {
        &self.flukedeploy_metadata.fields
    }

    fn origin(&self) -> (&LogSource, &LogMetadata, &[String]) {
        (&self.source, &self.flukedeploy_metadata, &self.tags)
    }

    fn shared_origin(&self) -> Option<&Arc<LineOrigin>> {
        None
    }
}

impl Item for Logged {
    fn time(&self) -> i64 {
        match self {
            Self::Entry(entry) => entry.time(),
            Self::Line(line) => line.at,
        }
    }

    fn id(&self, time: i64) -> Id<'_> {
        match self {
            Self::Entry(entry) => entry.id(time),
            Self::Line(line) => Id::Usual(line.number % ID_NUMBERS),
        }
    }

    fn level(&self) -> Level {
        match self {
            Self::Entry(entry) => entry.level,
            Self::Line(line) => line.level,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.message,
            Self::Line(line) => &line.message,
        }
    }

    fn duration(&self) -> Option<u64> {
        match self {
            Self::Entry(entry) => entry.duration(),
            Self::Line(_) => None,
        }
    }

    fn stack_trace(&self) -> Option<&str> {
        match self {
            Self::Entry(entry) => entry.stack_trace(),
            Self::Line(line) => line.stack_trace.as_deref(),
        }
    }

    fn fields(&self) -> &BTreeMap<String, Value> {
        match self {
            Self::Entry(entry) => entry.fields(),
            Self::Line(line) => &line.fields,
        }
    }

    fn origin(&self) -> (&LogSource, &LogMetadata, &[String]) {
        match self {
            Self::Entry(entry) => entry.origin(),
            Self::Line(line) => (&line.origin.source, &line.origin.metadata, &[]),
        }
    }

    fn shared_origin(&self) -> Option<&Arc<LineOrigin>> {
        match self {
            Self::Entry(_) => None,
            Self::Line(line) => Some(&line.origin),
        }
    }
}

pub(crate) struct Batch<'a, T> {
    pub(crate) items: &'a [T],
    pub(crate) origins: Origins,
    /// Per item: what is needed twice. Entries are large: going through all of them again would
    /// bring each from memory again.
    heads: Vec<Head<'a>>,
    /// Per item that has fields, by item: they as JSON.
    fields: Vec<(u32, String)>,
}

struct Head<'a> {
    origin: u32,
    level: u8,
    /// There is more than this.
    has_more: bool,
    time: i64,
    id: Id<'a>,
    message: &'a str,
}

impl<'a, T: Item> Batch<'a, T> {
    pub(crate) fn of(items: &'a [T]) -> Result<Self, serde_json::Error> {
        let mut batch = Self {
            items,
            origins: Origins::default(),
            heads: Vec::with_capacity(items.len()),
            fields: Vec::new(),
        };
        let mut last: Option<(&Arc<LineOrigin>, u32)> = None;
        for (row, item) in items.iter().enumerate() {
            let shared = item.shared_origin();
            let origin = match (shared, last) {
                (Some(own), Some((known, place))) if Arc::ptr_eq(own, known) => place,
                _ => {
                    let (source, metadata, tags) = item.origin();
                    let place = batch.origins.of_parts(source, metadata, tags)?;
                    last = shared.map(|own| (own, place));
                    place
                }
            };
            let time = item.time();
            let fields = item.fields();
            batch.heads.push(Head {
                origin,
                level: level_number(item.level()),
                has_more: !fields.is_empty()
                    || item.stack_trace().is_some()
                    || item.duration().is_some(),
                time,
                id: item.id(time),
                message: item.message(),
            });
            if !fields.is_empty() {
                batch
                    .fields
                    .push((to_u32(row), serde_json::to_string(fields)?));
            }
        }
        Ok(batch)
    }

    /// Each line with the index of its origin.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u32, Line<'_>)> {
        let mut fields = self.fields.iter().peekable();
        let items = self.items.iter().zip(&self.heads).enumerate();
        items.map(move |(row, (item, head))| {
            let mut line = Line {
                time: head.time,
                level: head.level,
                id: head.id,
                duration: None,
                message: head.message,
                trace: None,
                fields: None,
            };
            if head.has_more {
                let own = fields.next_if(|(of, _)| *of == to_u32(row));
                line.duration = item.duration();
                line.trace = item.stack_trace();
                line.fields = own.map(|(_, json)| json.as_str());
            }
            (head.origin, line)
        })
    }

    /// Of all messages together.
    pub(crate) fn message_bytes(&self) -> usize {
        self.heads.iter().map(|head| head.message.len()).sum()
    }
}
