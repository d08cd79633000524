//! Readers that follow the order in which lines were stored.

use flukedeploy_domain::log_entry::{Level, LogEntry, LogFilter};

use super::{Place, line, lines};
use crate::{Feed, FeedQuery, LogStore};

fn after(number: u64) -> FeedQuery {
    FeedQuery {
        after: number,
        limit: 7,
        limit_bytes: usize::MAX,
        ..FeedQuery::default()
    }
}

/// Everything behind a number, page by page, and how much was missed.
fn read_on(store: &LogStore, query: &FeedQuery) -> (Vec<LogEntry>, u64) {
    let mut query = query.clone();
    let (mut entries, mut missed) = (Vec::new(), 0);
    loop {
        let Feed {
            lines,
            reached,
            newest,
            missed: more,
            missed_first,
        } = store.feed(&query).unwrap();
        assert!(lines.len() <= query.limit && reached <= newest);
        assert!(lines.is_sorted_by_key(|line| line.cursor.sequence));
        assert!(missed_first <= more);
        missed += more;
        entries.extend(lines.into_iter().map(|line| line.entry));
        if reached == newest {
            return (entries, missed);
        }
        assert!(reached > query.after, "it goes on");
        query.after = reached;
    }
}

#[test]
fn lines_come_in_the_order_in_which_they_were_stored() {
    let place = Place::new();
    let store = place.open();
    let mut expected = Vec::new();
    // Later ones have earlier times, and two apps' blocks fill side by side.
    for round in (0..60).rev() {
        let app = if round % 2 == 0 { "shop" } else { "other" };
        let batch = lines(app, round * 5..round * 5 + 5);
        store.append(&batch, &[]).unwrap();
        expected.extend(batch);
    }
    assert_eq!(store.newest(), 300);
    for again in 0..2 {
        assert_eq!(read_on(&store, &after(0)), (expected.clone(), 0), "{again}");
        assert_eq!(read_on(&store, &after(123)).0, expected[123..]);
        assert_eq!(store.backlog(&LogFilter::default(), 0), 300);
        store.flush().unwrap();
    }
    drop(store);
    let store = place.open();
    assert_eq!(read_on(&store, &after(0)), (expected, 0));
    assert_eq!(store.feed(&after(300)).unwrap().reached, 300);
    assert_eq!(store.feed(&after(999)).unwrap().newest, 300);
}

#[test]
fn a_filter_and_a_size_leave_nothing_out() {
    let place = Place::new();
    let store = place.open();
    store.append(&lines("other", 0..50), &[]).unwrap();
    store.append(&lines("shop", 0..50), &[]).unwrap();
    let mut query = after(0);
    query.filter = LogFilter {
        app_name: Some("shop".to_owned()),
        environment: Some("production".to_owned()),
        min_level: Some(Level::Warn),
        ..LogFilter::default()
    };
    query.limit_bytes = 10;
    let mut expected = lines("shop", 0..50);
    expected.retain(|entry| entry.level >= Level::Warn);
    assert_eq!(read_on(&store, &query), (expected, 0));
    assert_eq!(store.feed(&query).unwrap().lines.len(), 1);
    assert_eq!(store.backlog(&query.filter, 0), 24);
    query.filter.environment = Some("staging".to_owned());
    assert_eq!(read_on(&store, &query), (Vec::new(), 0));
}

#[test]
fn what_goes_before_a_reader_had_it_is_told_also_after_a_crash() {
    let place = Place::new();
    let store = place.open();
    for start in 0..40 {
        let batch = lines("shop", start * 10..start * 10 + 10);
        store.append(&batch, &[]).unwrap();
    }
    store.append(&lines("other", 0..30), &[]).unwrap();
    store.flush().unwrap();
    store.unread_after(Some(100));
    let removed = store.expire(line("shop", 200).timestamp).unwrap().lines;
    assert!(removed > 130);
    let all = 430;
    for store in [&place.copy().open(), &store] {
        let (entries, missed) = read_on(store, &after(100));
        let seen = entries.len() as u64;
        // Of a block that begins before what was read, a part is reckoned.
        let truth = all - 100 - seen;
        assert!(missed >= truth && missed <= truth + 3, "{missed} {truth}");
        assert_eq!(
            store.backlog(&LogFilter::default(), 100),
            seen + missed,
            "what waits includes what will be missed"
        );
        let others = FeedQuery {
            filter: LogFilter {
                app_name: Some("other".to_owned()),
                ..LogFilter::default()
            },
            ..after(100)
        };
        assert_eq!(read_on(store, &others), (Vec::new(), 30));
        assert_eq!(read_on(store, &after(430)), (Vec::new(), 0));
    }
    // Everybody is past it: the note goes, and nobody else's positions show it.
    assert!(store.positions().is_empty());
    store.unread_after(Some(430));
    store.append(&lines("shop", 400..401), &[]).unwrap();
    store.expire(line("shop", 0).timestamp).unwrap();
    assert_eq!(read_on(&store, &after(100)).1, 0);
}

#[test]
fn what_goes_while_nobody_reads_is_not_noted() {
    let place = Place::new();
    let store = place.open();
    store.append(&lines("shop", 0..200), &[]).unwrap();
    store.flush().unwrap();
    assert!(store.expire(line("shop", 150).timestamp).unwrap().lines > 0);
    assert_eq!(read_on(&store, &after(0)).1, 0);
}
