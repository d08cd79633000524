//! Reading log entries: stored and live.

use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::access::{Action, Actor, Resource, Rights};
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{Invalid, quoted};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use time::OffsetDateTime;

use crate::authorise::authorise;
use crate::error::Error;
use crate::live::Subscription;
use crate::platform::Platform;
use crate::ports::{Context, Cursor, Histogram, LogQuery, MAX_REACH, Order, Paging};

/// Most entries of one answer.
pub const MAX_PAGE: u32 = 5_000;
/// Most stretches of time of one histogram.
pub const MAX_BUCKETS: usize = 500;
/// Most neighbours on each side of a line.
pub const MAX_CONTEXT: usize = 200;
/// Most hits that are shown among their neighbours.
pub const MAX_HITS: u32 = 50;
/// How long one search may take. What it has found by then is the answer, and it says so.
const BUDGET: Duration = Duration::from_secs(10);
/// Entries read at once for an export.
const EXPORT_PAGE: usize = 1_000;
/// What later pages may take in memory, and a line of them without its text; in bytes.
const EXPORT_BYTES: usize = 12 * 1024 * 1024;
const EXPORT_LEAST: usize = 500;

/// Which stored entries a caller wants.
#[derive(Debug, Clone, Default)]
pub struct ReadLogs {
    pub filter: LogFilter,
    /// See [`TextQuery`] for what can be asked.
    pub text: Option<TextQuery>,
    pub since: Option<OffsetDateTime>,
    pub until: Option<OffsetDateTime>,
    pub limit: u32,
    pub offset: u32,
    pub order: Order,
    /// Behind this place, in the order asked for: stable while lines arrive.
    pub after: Option<Cursor>,
    /// Count all that match, wherever the page is.
    pub total: bool,
    /// Search for less long than usual.
    pub budget: Option<Duration>,
}

/// Entries in the order asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogEntries {
    /// Matching entries before paging, if it was asked for.
    pub total: u64,
    pub entries: Vec<LogEntry>,
    /// The places of the first and the last of them.
    pub ends: Option<(Cursor, Cursor)>,
    /// Where to go on; `None`: there is nothing more at present.
    pub next: Option<Cursor>,
    /// The search took too long, or a part of the store is damaged: there may be more.
    pub is_incomplete: bool,
}

impl ReadLogs {
    pub(crate) fn query(self, px: &Platform, actor: &Actor) -> Result<(LogQuery, Paging), Error> {
        authorise(px, actor, Action::ReadLogs, Resource::Shown)?;
        if self.limit == 0 || self.limit > MAX_PAGE {
            let problem = format!("must be 1 to {MAX_PAGE}, not {}", self.limit);
            return Err(Error::invalid("limit", problem));
        }
        let (limit, offset) = (self.limit as usize, self.offset as usize);
        if limit + offset > MAX_REACH {
            let problem = format!("reaches at most {MAX_REACH} entries; page on with cursor");
            return Err(Error::invalid("offset", problem));
        }
        let query = LogQuery {
            filter: self.filter,
            shown: shown(actor),
            text: self.text,
            since: self.since,
            until: self.until,
            budget: Some(self.budget.map_or(BUDGET, |budget| budget.min(BUDGET))),
        };
        let paging = Paging {
            order: self.order,
            after: self.after,
            limit,
            offset,
            total: self.total,
        };
        Ok((query, paging))
    }
}

pub async fn read_logs(
    px: &Platform,
    actor: &Actor,
    request: ReadLogs,
) -> Result<LogEntries, Error> {
    let (query, paging) = request.query(px, actor)?;
    px.parts().journal.flush().await;
    let page = px.parts().log_store.page(&query, &paging).await?;
    let is_cut = page.total.is_some_and(|total| !total.is_complete);
    Ok(LogEntries {
        total: page.total.map_or(0, |total| total.lines),
        is_incomplete: is_cut
            || page.damaged > 0
            || (page.next.is_some() && page.lines.len() < paging.limit),
        ends: page
            .lines
            .first()
            .zip(page.lines.last())
            .map(|(first, last)| (first.cursor, last.cursor)),
        entries: page.lines.into_iter().map(|line| line.entry).collect(),
        next: page.next,
    })
}

/// Entries over time and by level.
pub async fn histogram(
    px: &Platform,
    actor: &Actor,
    request: ReadLogs,
    buckets: usize,
) -> Result<Histogram, Error> {
    if buckets == 0 || buckets > MAX_BUCKETS {
        let problem = format!("must be 1 to {MAX_BUCKETS}, not {buckets}");
        return Err(Error::invalid("buckets", problem));
    }
    let (query, _) = request.query(px, actor)?;
    px.parts().journal.flush().await;
    Ok(px.parts().log_store.histogram(&query, buckets).await?)
}

/// A page of hits, each among `count` entries of the same replica before and after.
pub async fn hits(
    px: &Platform,
    actor: &Actor,
    request: ReadLogs,
    count: usize,
) -> Result<(LogEntries, Vec<Context>), Error> {
    if count > MAX_CONTEXT {
        let problem = format!("must be 0 to {MAX_CONTEXT}, not {count}");
        return Err(Error::invalid("context", problem));
    }
    if request.limit > MAX_HITS {
        let problem = format!(
            "must be 1 to {MAX_HITS} with 'context', not {}",
            request.limit
        );
        return Err(Error::invalid("limit", problem));
    }
    let page = read_logs(px, actor, request).await?;
    let mut around = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        let query = LogQuery {
            shown: shown(actor),
            filter: LogFilter {
                app_name: Some(entry.flukedeploy_metadata.app_name.clone()),
                ..LogFilter::default()
            },
            ..LogQuery::default()
        };
        // One that retention removed meanwhile is left out.
        around.extend(
            px.parts()
                .log_store
                .context(&query, &entry.id, count)
                .await?,
        );
    }
    Ok((page, around))
}

/// One entry among `count` of the same replica before and after; `None` if the query does not find
/// it.
pub async fn context(
    px: &Platform,
    actor: &Actor,
    request: ReadLogs,
    id: &str,
    count: usize,
) -> Result<Option<Context>, Error> {
    if count > MAX_CONTEXT {
        let problem = format!("must be 0 to {MAX_CONTEXT}, not {count}");
        return Err(Error::invalid("context", problem));
    }
    let (query, _) = request.query(px, actor)?;
    px.parts().journal.flush().await;
    Ok(px.parts().log_store.context(&query, id, count).await?)
}

/// Everything that matches, oldest first, in pieces. A reader that goes on later does so behind
/// the cursor of the last line it has.
pub async fn export(
    px: &Platform,
    actor: &Actor,
    request: ReadLogs,
) -> Result<BoxStream<'static, Result<Vec<LogEntry>, Error>>, Error> {
    let (mut query, mut paging) = request.query(px, actor)?;
    query.budget = None;
    px.parts().journal.flush().await;
    (paging.order, paging.limit, paging.offset) = (Order::OldestFirst, EXPORT_PAGE, 0);
    let px = px.clone();
    let pages = stream::unfold(Some((px, query, paging)), async |state| {
        let (px, query, mut paging) = state?;
        match px.parts().log_store.page(&query, &paging).await {
            Ok(page) => {
                let entries: Vec<_> = page.lines.into_iter().map(|line| line.entry).collect();
                paging.after = page.next;
                paging.limit = lines_of_a_page(&entries);
                let rest = page.next.map(|_| (px, query, paging));
                Some((Ok(entries), rest))
            }
            Err(error) => Some((Err(error.into()), None)),
        }
    });
    Ok(pages.boxed())
}

/// As many lines as these make a page of [`EXPORT_BYTES`]. The store opens whole blocks of lines for
/// each page: with short lines, small pages would open the same ones a hundred times.
fn lines_of_a_page(entries: &[LogEntry]) -> usize {
    let bytes: usize = entries
        .iter()
        .map(|entry| {
            let trace = entry.flukedeploy_metadata.stack_trace.as_ref();
            EXPORT_LEAST + entry.message.len() + trace.map_or(0, String::len)
        })
        .sum();
    let each = bytes / entries.len().max(1);
    (EXPORT_BYTES / each.max(EXPORT_LEAST)).max(EXPORT_PAGE)
}

/// A place in the log as callers carry it: readers treat it as opaque.
pub fn cursor_text(cursor: Cursor) -> String {
    format!("{:x}-{:x}", cursor.time_ns, cursor.sequence)
}

/// # Errors
/// It was not made by [`cursor_text`].
pub fn parse_cursor(text: &str) -> Result<Cursor, Invalid> {
    let parse = || {
        let (time, sequence) = text.rsplit_once('-')?;
        Some(Cursor {
            time_ns: u64::from_str_radix(time, 16).ok()?.cast_signed(),
            sequence: u64::from_str_radix(sequence, 16).ok()?,
        })
    };
    parse().ok_or_else(|| {
        let problem = format!(
            "must be a cursor of an earlier answer, not {}",
            quoted(text)
        );
        Invalid::new("cursor", problem)
    })
}

/// Live entries from now on. The caller filters, so that a subscription outlives a change of
/// filter.
pub fn subscribe(px: &Platform, actor: &Actor) -> Result<Subscription, Error> {
    authorise(px, actor, Action::ReadLogs, Resource::Shown)?;
    Ok(px.parts().journal.subscribe())
}

/// What the entries are narrowed to that an actor gets; `None`: to nothing. What it may not see is
/// left out, so that asking for an app says nothing about whether there is one.
pub(crate) fn shown(actor: &Actor) -> Option<Arc<Rights>> {
    (!actor.rights.is_everything()).then(|| Arc::clone(&actor.rights))
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata, LogSource, SourceType};

    use super::*;

    #[test]
    fn pages_of_an_export_are_bounded_in_bytes() {
        let entry = |length: usize| {
            let source = LogSource {
                kind: SourceType::Container,
                container_name: "shop".to_owned(),
                service_id: None,
                node_id: None,
                task_id: None,
                stream: None,
            };
            let metadata = LogMetadata::new(EventType::PostDeploy, "shop");
            let at = OffsetDateTime::UNIX_EPOCH;
            LogEntry::new(at, 1, Level::Info, "x".repeat(length), source, metadata)
        };
        assert!(lines_of_a_page(&vec![entry(25); 50]) > 20_000);
        assert_eq!(lines_of_a_page(&vec![entry(16_000); 50]), EXPORT_PAGE);
        assert!(lines_of_a_page(&[]) <= MAX_REACH);
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for (time_ns, sequence) in [(0, 0), (1_770_200_000_123_456_789, 42), (-5, u64::MAX)] {
            let cursor = Cursor { time_ns, sequence };
            assert_eq!(parse_cursor(&cursor_text(cursor)), Ok(cursor));
        }
        for wrong in ["", "x", "1", "-", "1-g", "zz-1"] {
            assert_eq!(parse_cursor(wrong).unwrap_err().field, "cursor");
        }
    }
}
