//! Stored entries for a live reader, piece by piece, as they came in.

use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::access::Rights;
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_domain::timestamp;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::logs::parse_cursor;
use crate::platform::Platform;
use crate::ports::{Cursor, LogPage, LogQuery, Order, Paging, StoreError};

/// Entries read at once, and so held in memory for one reader.
const PIECE: usize = 1_000;
/// How long one read may take before others have their turn.
const BUDGET: Duration = Duration::from_secs(2);

/// From where on a reader wants what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Not before this.
    Time(OffsetDateTime),
    /// What came in after the entry of this id. If it is not stored any more: since its time.
    Entry(String),
    /// What stands behind this place, by time.
    Cursor(Cursor),
}

impl std::str::FromStr for Since {
    type Err = Invalid;

    /// A time as the wire writes it, an entry's id, or a cursor of `/logs`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Ok(at) = timestamp::from_wire(text) {
            return Ok(Self::Time(at));
        }
        if time_of_id(text).is_some() {
            return Ok(Self::Entry(text.to_owned()));
        }
        parse_cursor(text).map(Self::Cursor).map_err(|_| {
            let problem = format!(
                "must be a time such as 2026-02-04T10:13:20Z, the id of an entry or a cursor of \
                 /logs, not {}",
                quoted(text)
            );
            Invalid::new("since", problem)
        })
    }
}

/// The millisecond that an entry's id begins with.
fn time_of_id(id: &str) -> Option<OffsetDateTime> {
    let (ms, rest) = id.strip_prefix("dep-")?.split_once('-')?;
    let ms: i64 = ms.parse().ok()?;
    let plain =
        !rest.is_empty() && rest.len() <= 64 && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    plain.then_some(at)
}

fn query(filter: &LogFilter, text: Option<&TextQuery>, shown: Option<Arc<Rights>>) -> LogQuery {
    LogQuery {
        filter: filter.clone(),
        text: text.cloned(),
        shown,
        budget: Some(BUDGET),
        ..LogQuery::default()
    }
}

/// Under which number an entry is stored.
async fn number_of(px: &Platform, id: &str) -> Result<Option<u64>, Error> {
    let query = LogQuery::default();
    let found = px.parts().log_store.context(&query, id, 0).await?;
    Ok(found.map(|context| context.line.cursor.sequence))
}

/// Entries in the order in which they came, and where that ends.
pub(crate) struct Piece {
    pub(crate) entries: Vec<LogEntry>,
    /// It was the last: what comes behind this number comes live.
    pub(crate) caught_up: Option<u64>,
}

/// Reads from the store behind a number until there is nothing more. Whoever uses it has seen to it
/// that the reader may see what the filter asks for.
pub(crate) struct Replay {
    query: LogQuery,
    /// The number behind which the next piece begins.
    after: u64,
    /// Entries that stand at this place or before it, by time, are not wanted.
    behind: Option<Cursor>,
    /// Goes on when whoever waits for it gives up: else a reader that gives up again and again
    /// would have read much at a time.
    reading: Option<JoinHandle<Result<(LogPage, u64), StoreError>>>,
    /// A place among those that catch up, given back at the end.
    _place: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Replay {
    pub(crate) async fn since(
        px: &Platform,
        filter: &LogFilter,
        text: Option<&TextQuery>,
        shown: Option<Arc<Rights>>,
        since: Since,
    ) -> Result<Self, Error> {
        let mut replay = Self::new(filter, text, shown, 0);
        match since {
            Since::Time(at) => replay.query.since = Some(at),
            Since::Cursor(cursor) => {
                let ns = i128::from(cursor.time_ns);
                let at = OffsetDateTime::from_unix_timestamp_nanos(ns).ok();
                replay.query.since = at;
                replay.behind = Some(cursor);
            }
            Since::Entry(id) => {
                let at = time_of_id(&id).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                match number_of(px, &id).await? {
                    Some(number) => replay.after = number,
                    None => replay.query.since = Some(at),
                }
            }
        }
        Ok(replay)
    }

    /// For a reader that fell behind. `None`: too many catch up already, and it is not `owed`.
    pub(crate) fn behind(
        px: &Platform,
        filter: &LogFilter,
        text: Option<&TextQuery>,
        shown: Option<Arc<Rights>>,
        position: u64,
        owed: bool,
    ) -> Option<Self> {
        let place = if owed {
            None
        } else {
            let places = Arc::clone(&px.parts().journal.catching_up);
            Some(places.try_acquire_owned().ok()?)
        };
        Some(Self {
            _place: place,
            ..Self::new(filter, text, shown, position)
        })
    }

    fn new(
        filter: &LogFilter,
        text: Option<&TextQuery>,
        shown: Option<Arc<Rights>>,
        after: u64,
    ) -> Self {
        Self {
            query: query(filter, text, shown),
            after,
            behind: None,
            reading: None,
            _place: None,
        }
    }

    /// The newest entries, newest first.
    pub(crate) async fn newest(
        px: &Platform,
        filter: &LogFilter,
        text: Option<&TextQuery>,
        shown: Option<Arc<Rights>>,
        count: u32,
    ) -> Result<LogPage, Error> {
        let query = query(filter, text, shown);
        let paging = Paging {
            limit: count as usize,
            ..Paging::default()
        };
        let _place = px.parts().journal.reads.acquire().await;
        Ok(px.parts().log_store.page(&query, &paging).await?)
    }

    pub(crate) fn change_query(
        &mut self,
        filter: &LogFilter,
        text: Option<&TextQuery>,
        shown: Option<Arc<Rights>>,
    ) {
        self.query = query(filter, text, shown);
        // What is being read was asked for by the former.
        self.reading = None;
    }

    /// From the next piece on.
    pub(crate) fn narrow(&mut self, shown: Option<Arc<Rights>>) {
        self.query.shown = shown;
        self.reading = None;
    }

    /// The number up to which everything was read.
    pub(crate) fn place(&self) -> u64 {
        self.after
    }

    /// Cancel safe.
    pub(crate) async fn next(&mut self, px: &Platform) -> Result<Piece, Error> {
        if self.reading.is_none() {
            self.reading = Some(self.begin(px));
        }
        let Some(reading) = &mut self.reading else {
            return Ok(self.nothing(px));
        };
        let read = reading.await;
        self.reading = None;
        let (page, stored) = match read {
            Ok(read) => read?,
            Err(error) => {
                return Err(Error::Internal {
                    doing: "reading stored log entries",
                    source: error.into(),
                });
            }
        };
        let caught_up = if let Some(next) = page.next {
            self.after = next.sequence;
            None
        } else {
            let last = page.lines.last().map_or(0, |line| line.cursor.sequence);
            self.after = self.after.max(stored).max(last);
            Some(self.after)
        };
        let behind = self.behind;
        let lines = page.lines.into_iter();
        let wanted = lines.filter(|line| behind.is_none_or(|behind| line.cursor > behind));
        Ok(Piece {
            entries: wanted.map(|line| line.entry).collect(),
            caught_up,
        })
    }

    fn nothing(&self, px: &Platform) -> Piece {
        Piece {
            entries: Vec::new(),
            caught_up: Some(self.after.max(px.parts().journal.stored())),
        }
    }

    fn begin(&self, px: &Platform) -> JoinHandle<Result<(LogPage, u64), StoreError>> {
        let (px, query) = (px.clone(), self.query.clone());
        let paging = Paging {
            order: Order::Arrival,
            after: Some(Cursor {
                time_ns: 0,
                sequence: self.after,
            }),
            limit: PIECE,
            ..Paging::default()
        };
        tokio::spawn(async move {
            let journal = &px.parts().journal;
            let _place = journal.reads.acquire().await;
            // Before the read: what is stored meanwhile comes live, if it was not read.
            let stored = journal.stored();
            let page = px.parts().log_store.page(&query, &paging).await?;
            Ok((page, stored))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_place_to_begin_is_a_time_an_entry_or_a_cursor() {
        assert_eq!(
            "2026-02-04T10:13:20Z".parse(),
            Ok(Since::Time(datetime!(2026-02-04 10:13:20 UTC)))
        );
        let id = "dep-1770200000123-k3v9x2qpa";
        assert_eq!(id.parse(), Ok(Since::Entry(id.to_owned())));
        assert_eq!(time_of_id(id), Some(datetime!(2026-02-04 10:13:20.123 UTC)));
        let cursor = Cursor {
            time_ns: 1_770_200_000_123_456_789,
            sequence: 42,
        };
        assert_eq!(
            crate::logs::cursor_text(cursor).parse(),
            Ok(Since::Cursor(cursor))
        );
        for wrong in [
            "yesterday",
            "dep-x-1",
            "dep-1-",
            "dep-99999999999999999999-a",
            "-",
        ] {
            let fault = wrong.parse::<Since>().unwrap_err();
            assert_eq!(fault.field, "since", "{wrong}");
        }
    }
}
