//! What one `append` brings, looked through once.

use flukedeploy_domain::log_entry::LogEntry;

use crate::block::Line;
use crate::codec::to_u32;
use crate::origin::Origins;

pub(crate) struct Batch<'a> {
    pub(crate) entries: &'a [LogEntry],
    pub(crate) origins: Origins,
    /// Per entry.
    origin_of: Vec<u32>,
    /// Per entry that has fields, by entry: they as JSON.
    fields: Vec<(u32, String)>,
}

impl<'a> Batch<'a> {
    pub(crate) fn of(entries: &'a [LogEntry]) -> Result<Self, serde_json::Error> {
        let mut batch = Self {
            entries,
            origins: Origins::default(),
            origin_of: Vec::with_capacity(entries.len()),
            fields: Vec::new(),
        };
        for (row, entry) in entries.iter().enumerate() {
            batch.origin_of.push(batch.origins.of_entry(entry)?);
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
        let entries = self.entries.iter().zip(&self.origin_of).enumerate();
        entries.map(move |(row, (entry, origin))| {
            let own = fields.next_if(|(of, _)| *of == to_u32(row));
            (*origin, Line::of(entry, own.map(|(_, json)| json)))
        })
    }
}
