//! What retention took away before a reader had it: remembered until all readers are past it, so
//! that nothing goes missing in silence.
//!
//! Kept as reader positions of their own, one per app: they last as those do.

use flukedeploy_domain::log_entry::LogFilter;

use crate::block::level_of;
use crate::state::State;
use crate::store::{MAX_POSITION_BYTES, MAX_POSITION_KEY_BYTES};

/// No reader's key begins so.
const KEY: &str = "\u{0}gone/";
const SPAN_BYTES: usize = 48;
const MAX_SPANS: usize = MAX_POSITION_BYTES / SPAN_BYTES;

/// Lines that are gone: their first and last number, and how many of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) levels: [u64; 4],
}

pub(crate) fn key_of(app: &str) -> Option<String> {
    let key = format!("{KEY}{app}");
    (key.len() <= MAX_POSITION_KEY_BYTES).then_some(key)
}

pub(crate) fn is_ours(key: &str) -> bool {
    key.starts_with(KEY)
}

fn read(bytes: &[u8]) -> Vec<Span> {
    let spans = bytes.chunks_exact(SPAN_BYTES).map(|bytes| {
        let mut numbers = [0; SPAN_BYTES / 8];
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        let [first, last, levels @ ..] = numbers;
        Span {
            first,
            last,
            levels,
        }
    });
    spans.collect()
}

fn write(spans: &[Span]) -> Vec<u8> {
    let numbers = spans.iter().flat_map(|span| {
        let ends = [span.first, span.last].into_iter();
        ends.chain(span.levels)
    });
    numbers.flat_map(u64::to_le_bytes).collect()
}

/// An app's note with these spans added, and without those that all readers are past.
pub(crate) fn note(known: Option<&Vec<u8>>, more: Vec<Span>, read_up_to: u64) -> Vec<u8> {
    let mut spans = known.map(|bytes| read(bytes)).unwrap_or_default();
    // What is taken away a second time, after a crash, is not counted twice.
    spans.retain(|span| span.last > read_up_to && !more.iter().any(|new| new.first == span.first));
    spans.extend(more.into_iter().filter(|span| span.last > read_up_to));
    spans.sort_unstable_by_key(|span| span.first);
    while spans.len() > MAX_SPANS {
        let second = spans.remove(1);
        let first = &mut spans[0];
        first.last = first.last.max(second.last);
        for (sum, count) in first.levels.iter_mut().zip(second.levels) {
            *sum += count;
        }
    }
    write(&spans)
}

/// How many lines of a filter are gone behind one number and up to another.
pub(crate) fn between(state: &State, filter: &LogFilter, after: u64, up_to: u64) -> u64 {
    let of_app = |key: &str| {
        let app = key.strip_prefix(KEY);
        let asked = filter.app_name.as_deref();
        app.is_some_and(|app| asked.is_none_or(|asked| asked == app))
    };
    let notes = state.positions.iter().filter(|(key, _)| of_app(key));
    let spans = notes.flat_map(|(_, bytes)| read(bytes));
    spans
        .filter(|span| span.last > after && span.first <= up_to)
        .map(|span| {
            let levels = (0..).zip(span.levels);
            let wanted = levels.filter(|(level, _)| filter.matches_level(level_of(*level)));
            let all: u64 = wanted.map(|(_, lines)| lines).sum();
            let behind = part(all, span.first, span.last, after);
            behind - part(all, span.first, span.last, up_to).min(behind)
        })
        .sum()
}

/// About how many of a stretch's lines are behind a number.
pub(crate) fn part(lines: u64, first: u64, last: u64, after: u64) -> u64 {
    if after < first {
        return lines;
    }
    if after >= last {
        return 0;
    }
    let (left, whole) = (u128::from(last - after), u128::from(last - first + 1));
    u64::try_from((u128::from(lines) * left).div_ceil(whole)).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> Span {
        Span {
            first,
            last,
            levels: [0, last - first + 1, 0, 0],
        }
    }

    #[test]
    fn a_note_stays_small_and_forgets_what_was_read() {
        let mut bytes = Vec::new();
        for number in 0..500 {
            let first = number * 10 + 1;
            bytes = note(Some(&bytes), vec![span(first, first + 9)], 0);
            assert!(bytes.len() <= MAX_POSITION_BYTES);
        }
        let mut state = State::default();
        state.positions.insert(key_of("shop").unwrap(), bytes);
        let filter = LogFilter::default();
        assert_eq!(between(&state, &filter, 0, 5_000), 5_000);
        assert_eq!(between(&state, &filter, 4_990, 5_000), 10);
        assert_eq!(between(&state, &filter, 4_995, 4_997), 2);
        let elsewhere = LogFilter {
            app_name: Some("other".to_owned()),
            ..LogFilter::default()
        };
        assert_eq!(between(&state, &elsewhere, 0, 5_000), 0);
        let bytes = &state.positions[&key_of("shop").unwrap()];
        assert_eq!(note(Some(bytes), Vec::new(), 4_990).len(), SPAN_BYTES);
        assert_eq!(note(Some(bytes), Vec::new(), 5_000), Vec::<u8>::new());
    }

    #[test]
    fn the_same_removed_twice_counts_once() {
        let once = note(None, vec![span(1, 10)], 0);
        let twice = note(Some(&once), vec![span(1, 10)], 0);
        assert_eq!(once, twice);
        assert_eq!(key_of(&"x".repeat(600)), None);
        assert!(is_ours(&key_of("shop").unwrap()) && !is_ours("shop"));
    }
}
