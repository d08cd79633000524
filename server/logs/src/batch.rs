//! What one `append` brings, looked through once.

use flukedeploy_domain::log_entry::LogEntry;

use crate::block::{Id, Line, level_number, to_ns};
use crate::codec::to_u32;
use crate::origin::Origins;

pub(crate) struct Batch<'a> {
    pub(crate) entries: &'a [LogEntry],
    pub(crate) origins: Origins,
    /// Per entry: what takes longest to find out and is needed twice.
    heads: Vec<Head<'a>>,
    /// Per entry that has fields, by entry: they as JSON.
    fields: Vec<(u32, String)>,
}

struct Head<'a> {
    origin: u32,
    time: i64,
    id: Id<'a>,
}

impl<'a> Batch<'a> {
    pub(crate) fn of(entries: &'a [LogEntry]) -> Result<Self, serde_json::Error> {
        let mut batch = Self {
            entries,
            origins: Origins::default(),
            heads: Vec::with_capacity(entries.len()),
            fields: Vec::new(),
        };
        for (row, entry) in entries.iter().enumerate() {
            let time = to_ns(entry.timestamp);
            batch.heads.push(Head {
                origin: batch.origins.of_entry(entry)?,
                time,
                id: Id::of(&entry.id, time),
            });
            let fields = &entry.flukedeploy_metadata.fields;
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
        let entries = self.entries.iter().zip(&self.heads).enumerate();
        entries.map(move |(row, (entry, head))| {
            let own = fields.next_if(|(of, _)| *of == to_u32(row));
            let metadata = &entry.flukedeploy_metadata;
            let line = Line {
                time: head.time,
                level: level_number(entry.level),
                id: head.id,
                duration: metadata.duration_ms,
                message: &entry.message,
                trace: metadata.stack_trace.as_deref(),
                fields: own.map(|(_, json)| json.as_str()),
            };
            (head.origin, line)
        })
    }
}
