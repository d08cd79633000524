use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flukedeploy_domain::access::Rights;
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use time::OffsetDateTime;

use super::log_batch::LogBatch;
use super::store::StoreError;

/// Log entries, kept apart from the control plane's database so that logs can never block it.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Stores lines and readers' positions together: after a crash all of a call are there, or
    /// none. What was brought twice is stored twice; readers go on from their position.
    ///
    /// # Errors
    /// No space, or the disk fails: nothing of this call is stored, all before it stays, and the
    /// same call works once the cause is gone. Returns the sequence number of the first line; the
    /// others follow it one by one, and queries find them.
    async fn append(&self, batch: Arc<LogBatch>) -> Result<u64, StoreError>;
    /// The sequence number of the line that was appended last; 0 before the first.
    fn last_sequence(&self) -> u64;
    /// One page of what a query finds.
    async fn page(&self, query: &LogQuery, paging: &Paging) -> Result<LogPage, StoreError>;
    /// Lines over time and by level, in at most `buckets` stretches.
    async fn histogram(&self, query: &LogQuery, buckets: usize) -> Result<Histogram, StoreError>;
    /// The line of this id that the query finds (a time range makes that fast), among `count`
    /// lines of the same replica before and after.
    async fn context(
        &self,
        query: &LogQuery,
        id: &str,
        count: usize,
    ) -> Result<Option<Context>, StoreError>;
    /// Where readers stopped, by their keys, for all keys that begin with this.
    async fn positions(&self, prefix: &str) -> Result<HashMap<String, Vec<u8>>, StoreError>;
    /// Of readers that will not come back; unknown keys do no harm.
    async fn forget_positions(&self, prefix: &str) -> Result<(), StoreError>;
    /// Lines in the order in which they were stored, for readers that must miss none: a line that
    /// came late is behind those that were stored before it, whatever its time.
    async fn feed(&self, query: &FeedQuery) -> Result<Feed, StoreError>;
    /// How many lines wait for a reader that has all up to this number. Where a block of lines is
    /// partly behind it, or the filter looks at more than app and level, this is an estimate.
    async fn backlog(&self, filter: &LogFilter, after: u64) -> Result<u64, StoreError>;
    /// The number of the newest line, 0 if there never was one.
    async fn newest(&self) -> Result<u64, StoreError>;
    /// Removes what is kept long enough, and the oldest of all where the disk gets full; returns
    /// how many lines went.
    async fn expire(&self, retention: &Retention) -> Result<u64, StoreError>;
    /// Bytes on disk and lines, by app.
    async fn usage(&self) -> Result<Vec<LogUsage>, StoreError>;
}

/// What a reader that follows the store's own order wants next.
#[derive(Debug, Clone, Default)]
pub struct FeedQuery {
    /// Only `app_name`, `environment`, `level` and `min_level` need to be looked at.
    pub filter: LogFilter,
    /// The lines behind this number; 0: all.
    pub after: u64,
    pub limit: usize,
    /// Of message and stack trace; one line is given however long it is.
    pub limit_bytes: usize,
}

/// Lines in the order in which they were stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feed {
    pub lines: Vec<StoredLine>,
    /// Every line up to this number is in `lines` or an earlier answer, is not wanted, or is gone.
    pub reached: u64,
    /// Of the newest line of the store. Less than what was asked for: the store was begun anew.
    pub newest: u64,
    /// Wanted lines between `after` and `reached` that retention took away, or that cannot be read:
    /// at most, since of lines that are gone only app and level are known.
    pub missed: u64,
    /// Those of them that were before the first of `lines`.
    pub missed_first: u64,
}

/// For how long lines are kept, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// What is older goes.
    pub since: OffsetDateTime,
    /// An app's oldest go until the rest takes no more than this.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// For apps that are not named.
    pub usual: Keep,
    pub apps: BTreeMap<String, Keep>,
    /// A reader has not got the lines behind this number yet: what goes of them is remembered, see
    /// [`Feed::missed`].
    pub unread_after: Option<u64>,
}

impl Retention {
    pub fn of(&self, app: &str) -> Keep {
        self.apps.get(app).copied().unwrap_or(self.usual)
    }
}

/// What one app's lines take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogUsage {
    pub app: String,
    pub lines: u64,
    pub bytes: u64,
}

/// A line's place among all lines, which are ordered by time, then by sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Given by the store when the line was appended.
    pub sequence: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
    /// By sequence number: as they came in, whatever their times. A reader that goes on behind the
    /// last line it has misses none, be it one that came late. Only the cursor's sequence number
    /// counts.
    Arrival,
}

/// Which lines; all parts must hold.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub filter: LogFilter,
    /// Only lines that these let their reader see. `None`: all.
    pub shown: Option<Arc<Rights>>,
    pub text: Option<TextQuery>,
    /// Not before this.
    pub since: Option<OffsetDateTime>,
    /// Before this.
    pub until: Option<OffsetDateTime>,
    /// Stop searching after this long, and say so. `None`: never.
    pub budget: Option<Duration>,
}

/// Which of a query's lines are wanted, and in what order.
#[derive(Debug, Clone)]
pub struct Paging {
    pub order: Order,
    /// Behind this line, in the order asked for.
    pub after: Option<Cursor>,
    pub limit: usize,
    /// Lines left out first. Together with `limit` at most [`MAX_REACH`].
    pub offset: usize,
    /// Count all lines of the query, wherever the page is.
    pub total: bool,
}

/// Furthest line that one page can reach from its start; beyond it, page by cursor.
pub const MAX_REACH: usize = 100_000;

impl Default for Paging {
    fn default() -> Self {
        Self {
            order: Order::default(),
            after: None,
            limit: 100,
            offset: 0,
            total: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    pub cursor: Cursor,
    pub entry: LogEntry,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<StoredLine>,
    /// Where to go on; `None`: there is nothing more at present. It can be there with fewer lines
    /// than asked for, or none, when the budget was used up.
    pub next: Option<Cursor>,
    pub total: Option<Total>,
    /// Blocks that could not be read because they are damaged; their lines are missing.
    pub damaged: u64,
}

/// How many lines a query has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    pub lines: u64,
    /// Otherwise the budget was used up and there may be more.
    pub is_complete: bool,
}

/// Lines over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Of the first bucket.
    pub start: OffsetDateTime,
    /// Of every bucket, in nanoseconds.
    pub width_ns: u64,
    pub buckets: Vec<Bucket>,
    pub is_complete: bool,
    pub damaged: u64,
}

/// Lines per level in one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    pub debug: u64,
    pub info: u64,
    pub warn: u64,
    pub error: u64,
}

/// A line among its neighbours, all oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub before: Vec<StoredLine>,
    pub line: StoredLine,
    pub after: Vec<StoredLine>,
}
