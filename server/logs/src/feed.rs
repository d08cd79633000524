//! Lines in the order in which they were stored, for readers that must miss none.
//!
//! Pages go by time, and a line can come late: behind a cursor of time it would never be seen. The
//! sequence numbers say in which order lines came, and a reader needs to remember one number only.

use flukedeploy_domain::log_entry::LogFilter;

use crate::block::Found;
use crate::error::{Doing, Error};
use crate::gone;
use crate::query::{Cursor, Feed, FeedQuery, Query, StoredLine};
use crate::scan::{Scanner, Source, Wanted, sources_in};
use crate::store::LogStore;

const READING: &str = "reading log lines in their order";

/// A block that has lines behind a number.
struct Behind {
    source: Source,
    first: u64,
    last: u64,
}

impl LogStore {
    /// Lines in the order in which they were stored, behind a number.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn feed(&self, query: &FeedQuery) -> Result<Feed, Error> {
        let plain = plain(&query.filter);
        let wanted = Wanted::new(&plain, None);
        let (blocks, newest) = self.behind(&wanted, query.after);
        if newest <= query.after {
            return Ok(Feed {
                reached: query.after,
                newest,
                ..Feed::default()
            });
        }
        let mut scanner = Scanner::new().doing(READING)?;
        let mut found: Vec<Found> = Vec::new();
        let mut unreadable = 0;
        for block in &blocks {
            if found.len() >= query.limit
                && found.last().is_some_and(|last| last.sequence < block.first)
            {
                break;
            }
            let damaged = scanner.damaged;
            let lines = read(&mut scanner, block, &wanted, query).doing(READING)?;
            if scanner.damaged > damaged {
                let header = block.source.header();
                unreadable += header.map_or(0, |header| wanted.plain_count(header));
            }
            found.extend(lines);
            found.sort_unstable_by_key(|line| line.sequence);
            found.truncate(query.limit);
        }
        let fitting = fitting(&found, query.limit_bytes);
        let is_cut = fitting < found.len() || found.len() == query.limit;
        found.truncate(fitting);
        let reached = match found.last() {
            Some(last) if is_cut => last.sequence,
            _ => newest,
        };
        // Asked last: a block that went while this ran has been noted by then.
        let first = found.first().map_or(reached, |first| first.sequence - 1);
        let (gone, gone_first) = {
            let state = self.shared.read();
            let between = |after, up_to| gone::between(&state, &query.filter, after, up_to);
            (between(query.after, reached), between(query.after, first))
        };
        Ok(Feed {
            lines: found.into_iter().map(stored).collect(),
            reached,
            newest,
            missed: gone + unreadable,
            missed_first: gone_first,
        })
    }

    /// How many lines are behind a number: exactly those in memory, about those in segments.
    pub fn backlog(&self, filter: &LogFilter, after: u64) -> u64 {
        let plain = plain(filter);
        let wanted = Wanted::new(&plain, None);
        let (blocks, newest) = self.behind(&wanted, after);
        let lines = blocks.iter().map(|behind| match &behind.source {
            Source::Memory(block, _) => {
                let columns = &block.columns;
                let is_behind = |row: &usize| columns.sequences[*row] > after;
                let rows = (0..columns.rows()).filter(is_behind);
                rows.filter(|row| wanted.has_row(columns, *row)).count() as u64
            }
            Source::Stored(segment, index) => {
                let all = wanted.plain_count(&segment.blocks[*index].header);
                gone::part(all, behind.first, behind.last, after)
            }
        });
        lines.sum::<u64>() + gone::between(&self.shared.read(), filter, after, newest)
    }

    /// The number of the newest line, 0 if there never was one.
    pub fn newest(&self) -> u64 {
        self.shared.read().newest
    }

    /// Blocks with lines behind a number, in the order of their first, and the newest line's.
    fn behind(&self, wanted: &Wanted<'_>, after: u64) -> (Vec<Behind>, u64) {
        let state = self.shared.read();
        if state.newest <= after {
            return (Vec::new(), state.newest);
        }
        let mut blocks: Vec<Behind> = sources_in(&state, wanted)
            .into_iter()
            .filter_map(|source| {
                let (first, last) = source.sequences();
                (last > after).then_some(Behind {
                    source,
                    first,
                    last,
                })
            })
            .collect();
        blocks.sort_unstable_by_key(|block| block.first);
        (blocks, state.newest)
    }
}

fn plain(filter: &LogFilter) -> Query {
    Query {
        filter: filter.clone(),
        ..Query::default()
    }
}

/// The first lines of a block behind the number asked for.
fn read(
    scanner: &mut Scanner,
    block: &Behind,
    wanted: &Wanted<'_>,
    query: &FeedQuery,
) -> std::io::Result<Vec<Found>> {
    let Some((mut rows, mut opened)) = scanner.rows(&block.source, wanted)? else {
        return Ok(Vec::new());
    };
    let sequences = &opened.columns().sequences;
    rows.retain(|row| sequences[*row] > query.after);
    rows.sort_unstable_by_key(|row| sequences[*row]);
    rows.truncate(query.limit);
    if rows.is_empty() || !scanner.complete(&block.source, &mut opened)? {
        return Ok(Vec::new());
    }
    let lines = rows.into_iter();
    Ok(lines
        .filter_map(|row| Scanner::line(&opened, row))
        .collect())
}

/// How many lines fit into so many bytes, one at least.
fn fitting(found: &[Found], limit_bytes: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = found.iter().take_while(|line| {
        bytes = bytes.saturating_add(line.text_bytes());
        bytes <= limit_bytes
    });
    fits.count().max(found.len().min(1))
}

fn stored(found: Found) -> StoredLine {
    StoredLine {
        cursor: Cursor {
            time_ns: found.time,
            sequence: found.sequence,
        },
        entry: found.into_entry(),
    }
}
