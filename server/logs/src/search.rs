//! Pages of lines: the best of all blocks that may have some.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::block::Found;
use crate::error::{Doing, Error};
use crate::query::{Cursor, MAX_REACH, Order, Page, Paging, Query, StoredLine, Total};
use crate::scan::{Opened, Scanner, Source, Wanted, sources};
use crate::store::LogStore;

const SEARCHING: &str = "searching log lines";

/// A line that may be on the page. The greatest is the one to drop first.
struct Candidate {
    found: Found,
    order: Order,
}

impl Candidate {
    fn place(&self) -> Place {
        place(self.order, (self.found.time, self.found.sequence))
    }
}

/// Where a line stands in an order: by time and then sequence number, or by sequence number alone.
type Place = (i64, u64);

fn place(order: Order, (time, sequence): (i64, u64)) -> Place {
    match order {
        Order::NewestFirst | Order::OldestFirst => (time, sequence),
        Order::Arrival => (0, sequence),
    }
}

/// The lowest and the highest place of a block's lines.
fn span(order: Order, source: &Source) -> (Place, Place) {
    let (times, sequences) = (source.times(), source.sequences());
    match order {
        // Sequence numbers of a block do not go with its times.
        Order::NewestFirst | Order::OldestFirst => ((times.0, 0), (times.1, u64::MAX)),
        Order::Arrival => ((0, sequences.0), (0, sequences.1)),
    }
}

/// Whether the first comes before the second.
fn is_before(order: Order, first: Place, second: Place) -> bool {
    match order {
        Order::NewestFirst => first > second,
        Order::OldestFirst | Order::Arrival => first < second,
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.order {
            Order::NewestFirst => other.place().cmp(&self.place()),
            Order::OldestFirst | Order::Arrival => self.place().cmp(&other.place()),
        }
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// The page while it is gathered: the best lines so far, one more than wanted.
struct Gathering<'a> {
    paging: &'a Paging,
    reach: usize,
    best: BinaryHeap<Candidate>,
    scanner: Scanner,
    total: u64,
    is_complete: bool,
}

impl Gathering<'_> {
    fn is_full(&self) -> bool {
        self.best.len() == self.reach
    }

    /// Whether a line is behind the cursor.
    fn is_behind(&self, line: Place) -> bool {
        let order = self.paging.order;
        self.paging.after.is_none_or(|after| {
            let after = place(order, (after.time_ns, after.sequence));
            is_before(order, after, line)
        })
    }

    /// Whether a line comes before one that is on the page, or there is still room.
    fn is_good(&self, line: Place) -> bool {
        let worst = self.best.peek().filter(|_| self.is_full());
        worst.is_none_or(|worst| is_before(self.paging.order, line, worst.place()))
    }

    /// Whether a block can have a line for the page, by the end of it that comes first and the
    /// end that comes last.
    fn could_take_from(&self, source: &Source) -> bool {
        let (min, max) = span(self.paging.order, source);
        let (first, last) = match self.paging.order {
            Order::NewestFirst => (max, min),
            Order::OldestFirst | Order::Arrival => (min, max),
        };
        self.reach > 0 && self.is_behind(last) && self.is_good(first)
    }

    fn take_from<'a>(
        &mut self,
        source: &'a Source,
        rows: &[usize],
        mut opened: Opened<'a>,
    ) -> std::io::Result<()> {
        let mut complete = false;
        let mut in_order: Vec<usize> = rows.to_vec();
        match self.paging.order {
            Order::NewestFirst => in_order.reverse(),
            Order::OldestFirst => {}
            Order::Arrival => in_order.sort_by_key(|row| opened.columns().sequences[*row]),
        }
        for row in in_order {
            let line = place(self.paging.order, opened.columns().key(row));
            if !self.is_behind(line) {
                continue;
            }
            if !self.is_good(line) {
                break;
            }
            if !complete {
                if !self.scanner.complete(source, &mut opened)? {
                    return Ok(());
                }
                complete = true;
            }
            if let Some(found) = Scanner::line(&opened, row) {
                if self.is_full() {
                    self.best.pop();
                }
                let order = self.paging.order;
                self.best.push(Candidate { found, order });
            }
        }
        Ok(())
    }
}

impl LogStore {
    /// A page of lines, and how many there are in all if that is asked for.
    ///
    /// Lines appended later do not move a page that begins behind a cursor.
    ///
    /// # Errors
    /// Further than [`MAX_REACH`]; the disk cannot be read.
    pub fn page(&self, query: &Query, paging: &Paging) -> Result<Page, Error> {
        self.page_of(&Wanted::new(query, None), paging)
    }

    pub(crate) fn page_of(&self, wanted: &Wanted<'_>, paging: &Paging) -> Result<Page, Error> {
        let reach = paging.offset.saturating_add(paging.limit);
        if reach > MAX_REACH {
            let text = format!("a page that ends {reach} lines on; the furthest is {MAX_REACH}");
            return Err(Error::TooLarge(text));
        }
        let mut blocks = sources(&self.shared, wanted);
        match paging.order {
            Order::NewestFirst => blocks.sort_by_key(|b| std::cmp::Reverse(b.times().1)),
            Order::OldestFirst => blocks.sort_by_key(|b| b.times().0),
            Order::Arrival => blocks.sort_by_key(|b| b.sequences().0),
        }
        let mut gathering = Gathering {
            paging,
            // One more, to know whether there is more.
            reach: if paging.limit == 0 { 0 } else { reach + 1 },
            best: BinaryHeap::new(),
            scanner: Scanner::new().doing(SEARCHING)?,
            total: 0,
            is_complete: true,
        };
        let stopped = gather(&mut gathering, &blocks, wanted).doing(SEARCHING)?;
        Ok(finish(gathering, stopped))
    }
}

/// Fills the page, then counts the rest. If the search had to stop before the page was certain:
/// nothing from this place on (in the order asked for) was looked at completely.
fn gather(
    gathering: &mut Gathering<'_>,
    blocks: &[Source],
    wanted: &Wanted<'_>,
) -> std::io::Result<Option<Place>> {
    let paging = gathering.paging;
    // Where a block begins to matter: at the cursor at the earliest.
    let start_of = |block: &Source| {
        let (min, max) = span(paging.order, block);
        match (paging.order, paging.after) {
            (Order::NewestFirst, None) => max,
            (Order::NewestFirst, Some(after)) => max.min((after.time_ns, u64::MAX)),
            (Order::OldestFirst | Order::Arrival, None) => min,
            (Order::OldestFirst, Some(after)) => min.max((after.time_ns, 0)),
            (Order::Arrival, Some(after)) => min.max((0, after.sequence.saturating_add(1))),
        }
    };
    let mut first = None;
    let mut rest = Vec::new();
    for block in blocks {
        if !gathering.could_take_from(block) {
            rest.push(block);
            continue;
        }
        // A page gets on by something at least, else asking again would change nothing.
        let start = start_of(block);
        if *first.get_or_insert(start) != start && wanted.is_over() {
            gathering.is_complete = false;
            return Ok(Some(start));
        }
        if let Some((rows, opened)) = gathering.scanner.rows(block, wanted)? {
            gathering.total += rows.len() as u64;
            gathering.take_from(block, &rows, opened)?;
        }
    }
    if paging.total {
        count(gathering, &rest, wanted)?;
    }
    Ok(None)
}

fn count(
    gathering: &mut Gathering<'_>,
    blocks: &[&Source],
    wanted: &Wanted<'_>,
) -> std::io::Result<()> {
    let plain = wanted.is_plain();
    for block in blocks {
        let header = block.header().filter(|_| plain);
        let whole = header.filter(|header| wanted.spans(header.min_time, header.max_time));
        if let Some(header) = whole {
            gathering.total += wanted.plain_count(header);
        } else if wanted.is_over() {
            gathering.is_complete = false;
        } else if let Some((rows, _)) = gathering.scanner.rows(block, wanted)? {
            gathering.total += rows.len() as u64;
        }
    }
    Ok(())
}

fn finish(gathering: Gathering<'_>, stopped: Option<Place>) -> Page {
    let paging = gathering.paging;
    let mut lines = gathering.best.into_sorted_vec();
    let mut next = None;
    if let Some(at) = stopped {
        // Only what comes before the place where the search stopped is certain.
        lines.retain(|line| is_before(paging.order, line.place(), at));
        next = Some(Cursor {
            time_ns: at.0,
            sequence: match paging.order {
                Order::NewestFirst | Order::OldestFirst => at.1,
                Order::Arrival => at.1.saturating_sub(1),
            },
        });
    }
    let end = paging.offset + paging.limit;
    let has_more = lines.len() > end;
    let lines: Vec<StoredLine> = lines
        .into_iter()
        .take(end)
        .skip(paging.offset)
        .map(|candidate| to_line(candidate.found))
        .collect();
    if has_more {
        next = lines.last().map(|line| line.cursor);
    }
    Page {
        lines,
        next,
        total: paging.total.then_some(Total {
            lines: gathering.total,
            is_complete: gathering.is_complete,
        }),
        damaged: gathering.scanner.damaged,
    }
}

fn to_line(found: Found) -> StoredLine {
    StoredLine {
        cursor: Cursor {
            time_ns: found.time,
            sequence: found.sequence,
        },
        entry: found.into_entry(),
    }
}
