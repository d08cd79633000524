//! Around and beyond pages: one line, its neighbours, all lines one by one, lines over time.

use flukedeploy_domain::log_entry::{LogFilter, SourceType};
use time::OffsetDateTime;

use crate::block::{from_ns, to_ns};
use crate::error::{Doing, Error};
use crate::query::{Bucket, Context, Cursor, Histogram, Order, Paging, Query, StoredLine};
use crate::scan::{Scanner, Wanted, sources};
use crate::store::LogStore;

/// Lines that an export reads at once.
const EXPORT_LINES: usize = 10_000;
/// Most buckets of a histogram.
pub const MAX_BUCKETS: usize = 10_000;
const COUNTING: &str = "counting log lines over time";

impl LogStore {
    /// The line with an id, as links name it. Found by the time in the id.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn line(&self, query: &Query, id: &str) -> Result<Option<StoredLine>, Error> {
        let ms = id
            .strip_prefix("dep-")
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(ms, _)| ms.parse::<i64>().ok());
        let Some(since) = ms.and_then(|ms| ms.checked_mul(1_000_000)) else {
            return Ok(None);
        };
        let query = Query {
            since: Some(from_ns(since)),
            until: Some(from_ns(since.saturating_add(1_000_000))),
            ..query.clone()
        };
        for line in self.export(query) {
            let line = line?;
            if line.entry.id == id {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Time of the newest line of a container of a service (`source.service_id`).
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn newest_of_service(&self, service: &str) -> Result<Option<OffsetDateTime>, Error> {
        let query = Query {
            filter: LogFilter {
                source_type: Some(SourceType::Container),
                ..LogFilter::default()
            },
            ..Query::default()
        };
        let paging = Paging {
            limit: 1,
            ..Paging::default()
        };
        let page = self.page_of(&Wanted::new(&query, Some(service)), &paging)?;
        Ok(page.lines.first().map(|line| line.entry.timestamp))
    }

    /// A line with up to `count` lines before and behind it: those of the same replica, or, where
    /// it comes from none, of the same app from anywhere but containers.
    ///
    /// # Errors
    /// The disk cannot be read; more than a page can hold.
    pub fn context(&self, app: &str, at: Cursor, count: usize) -> Result<Option<Context>, Error> {
        let of_app = Query {
            filter: LogFilter {
                app_name: Some(app.to_owned()),
                ..LogFilter::default()
            },
            ..Query::default()
        };
        let page = |query: &Query, order, after, limit| {
            let paging = Paging {
                order,
                after: Some(after),
                limit,
                ..Paging::default()
            };
            self.page(query, &paging).map(|page| page.lines)
        };
        let just_before = Cursor {
            sequence: at.sequence.saturating_sub(1),
            ..at
        };
        let line = page(&of_app, Order::OldestFirst, just_before, 1)?.pop();
        let Some(line) = line.filter(|line| line.cursor == at) else {
            return Ok(None);
        };
        let source = &line.entry.source;
        let mut near = of_app;
        match &source.task_id {
            Some(task) => near.filter.task_id = Some(task.clone()),
            None => near.filter.source_type = Some(source.kind),
        }
        let mut before = page(&near, Order::NewestFirst, at, count)?;
        before.reverse();
        let after = page(&near, Order::OldestFirst, at, count)?;
        Ok(Some(Context {
            before,
            line,
            after,
        }))
    }

    /// All lines of a query, oldest first, a few thousand in memory at a time. Lines that arrive
    /// meanwhile with a later time are among them. The query's budget is not looked at: whoever
    /// reads can stop.
    pub fn export(&self, query: Query) -> Export<'_> {
        self.export_after(query, None)
    }

    /// [`export`](Self::export) from behind a line.
    pub fn export_after(&self, query: Query, after: Option<Cursor>) -> Export<'_> {
        Export {
            store: self,
            query: Query {
                budget: None,
                ..query
            },
            lines: Vec::new().into_iter(),
            after,
            is_last: false,
        }
    }

    /// Lines per level in `buckets` equal stretches of the query's time, or of the time from its
    /// first to its last line where the query leaves an end open.
    ///
    /// # Errors
    /// More than [`MAX_BUCKETS`], or none; the disk cannot be read.
    pub fn histogram(&self, query: &Query, buckets: usize) -> Result<Histogram, Error> {
        if buckets == 0 || buckets > MAX_BUCKETS {
            let text = format!("a histogram has 1 to {MAX_BUCKETS} buckets, not {buckets}");
            return Err(Error::TooLarge(text));
        }
        let wanted = Wanted::new(query, None);
        let mut blocks = sources(&self.shared, &wanted);
        // What the budget is too short for is the oldest.
        blocks.sort_by_key(|block| std::cmp::Reverse(block.times().1));
        let oldest = blocks.iter().map(|block| block.times().0).min();
        let newest = blocks.iter().map(|block| block.times().1).max();
        let start = query.since.map(to_ns).or(oldest).unwrap_or(0);
        let end = query
            .until
            .map(to_ns)
            .or(newest.map(|newest| newest.saturating_add(1)))
            .unwrap_or(start);
        // As 128 bits: the ends can be centuries apart.
        let span = (i128::from(end) - i128::from(start)).max(1);
        let width = (span + buckets as i128 - 1) / buckets as i128;
        let place = |time: i64| {
            let place = (i128::from(time) - i128::from(start)) / width;
            usize::try_from(place).map_or(0, |place| place.min(buckets - 1))
        };
        let mut counts = vec![[0_u64; 4]; buckets];
        let mut scanner = Scanner::new().doing(COUNTING)?;
        let mut is_complete = true;
        for block in &blocks {
            if let Some(header) = block.header()
                && wanted.is_plain()
                && wanted.spans(header.min_time, header.max_time)
                && place(header.min_time) == place(header.max_time)
            {
                for (level, lines) in (0..).zip(header.levels) {
                    if wanted.has_level(level) {
                        counts[place(header.min_time)][usize::from(level)] += u64::from(lines);
                    }
                }
                continue;
            }
            if wanted.is_over() {
                is_complete = false;
                break;
            }
            if let Some((rows, opened)) = scanner.rows(block, &wanted).doing(COUNTING)? {
                let columns = opened.columns();
                for row in rows {
                    let level = usize::from(columns.levels[row] & 3);
                    counts[place(columns.times[row])][level] += 1;
                }
            }
        }
        let buckets = counts.into_iter().map(|[debug, info, warn, error]| Bucket {
            debug,
            info,
            warn,
            error,
        });
        Ok(Histogram {
            start: from_ns(start),
            width_ns: u64::try_from(width).unwrap_or(u64::MAX),
            buckets: buckets.collect(),
            is_complete,
            damaged: scanner.damaged,
        })
    }
}

/// See [`LogStore::export`]. Ends at the first error.
#[derive(Debug)]
pub struct Export<'a> {
    store: &'a LogStore,
    query: Query,
    lines: std::vec::IntoIter<StoredLine>,
    after: Option<Cursor>,
    is_last: bool,
}

impl Iterator for Export<'_> {
    type Item = Result<StoredLine, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(line) = self.lines.next() {
            return Some(Ok(line));
        }
        if self.is_last {
            return None;
        }
        let paging = Paging {
            order: Order::OldestFirst,
            after: self.after,
            limit: EXPORT_LINES,
            ..Paging::default()
        };
        match self.store.page(&self.query, &paging) {
            Ok(page) => {
                self.after = page.next;
                self.is_last = page.next.is_none();
                self.lines = page.lines.into_iter();
                self.lines.next().map(Ok)
            }
            Err(error) => {
                self.is_last = true;
                Some(Err(error))
            }
        }
    }
}
