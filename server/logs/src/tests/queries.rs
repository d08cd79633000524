//! Whatever is asked, the answer is that of a list of all lines that was sorted and filtered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::access::{Grant, Rights, Role};
use flukedeploy_domain::log_entry::{Level, LogEntry, LogFilter, SourceType};
use flukedeploy_domain::log_query::{TextQuery, search_text};
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;

use super::{Place, all, line, lines, oldest};
use crate::block::{from_ns, to_ns};
use crate::{Cursor, LogStore, Order, Paging, Query};

const WORDS: [&str; 8] = [
    "alpha", "Beta", "gamma_1", "req-8f3a", "Größe", "200", "=>", "naïve",
];

fn entry() -> impl Strategy<Value = LogEntry> {
    let words = prop::collection::vec(0..WORDS.len(), 0..6);
    (0..3_u64, 0..4_u64, 0..400_i64, words, 0..14_u8).prop_map(|(app, level, time, words, kind)| {
        let mut entry = line(&format!("app-{app}"), level);
        entry.timestamp = match kind {
            0 => OffsetDateTime::UNIX_EPOCH,
            1 => from_ns(4_102_444_800_000_000_000),
            _ => from_ns(1_770_200_000_000_000_000 + time * 1_000_000),
        };
        let words: Vec<&str> = words.into_iter().map(|word| WORDS[word]).collect();
        entry.message = words.join(" ");
        entry.id = LogEntry::make_id(entry.timestamp, time.unsigned_abs());
        let metadata = &mut entry.flukedeploy_metadata;
        match kind {
            2 => entry.id = "odd id".to_owned(),
            3 => metadata.stack_trace = Some("at alpha.beta\nat x".to_owned()),
            4 => drop(
                metadata
                    .fields
                    .insert("n".to_owned(), json!({"k": ["alpha", 1]})),
            ),
            5 => {
                metadata.duration_ms = Some(app);
                metadata.stack_trace = Some(String::new());
                metadata.fields.insert("é".to_owned(), json!("200"));
            }
            6 => entry.source.task_id = None,
            7 => metadata.release = None,
            8 => entry.tags.push("tag".to_owned()),
            9 => entry.source.kind = SourceType::System,
            10 => metadata.environment = Some("staging".to_owned()),
            11 => metadata.environment = None,
            _ => {}
        }
        entry
    })
}

/// All of one app, one environment of another.
fn some_rights() -> Arc<Rights> {
    let grant = |app: &str, environments: Option<&str>| Grant {
        app: app.parse().unwrap(),
        role: Role::Viewer,
        environments: environments.map(|name| BTreeSet::from([name.parse().unwrap()])),
    };
    Arc::new(Rights::Only(vec![
        grant("app-0", None),
        grant("app-2", Some("staging")),
    ]))
}

fn query() -> impl Strategy<Value = Query> {
    let texts = prop::sample::select(vec![
        None,
        Some("alpha"),
        Some("beta -alpha"),
        Some("req-8f3a"),
        Some("\"eq-8f\""),
        Some("/g.mma/"),
        Some("-/^Beta/"),
        Some("größe"),
        Some("\"a b\""),
        Some("k"),
        Some("200 alpha"),
        Some("nothing"),
    ]);
    let filter = (
        prop::option::of(0..3_u64),
        prop::option::weighted(0.2, Just(Level::Warn)),
        prop::option::weighted(0.2, Just(Level::Info)),
        0..8_u8,
    )
        .prop_map(|(app, level, min_level, kind)| LogFilter {
            app_name: app.map(|app| format!("app-{app}")),
            level,
            min_level,
            task_id: (kind == 1).then(|| "task-0".to_owned()),
            release: (kind == 2).then_some(3),
            node_id: (kind == 3).then(|| "node-2".to_owned()),
            source_type: (kind == 4).then_some(SourceType::System),
            ..LogFilter::default()
        });
    let time = || prop::option::of(0..400_i64);
    (filter, texts, time(), time(), prop::bool::weighted(0.2)).prop_map(
        |(filter, text, since, until, some_apps)| Query {
            filter,
            shown: some_apps.then(some_rights),
            text: text.map(|text| TextQuery::parse(text).unwrap()),
            since: since.map(|ms| from_ns(1_770_200_000_000_000_000 + ms * 1_000_000)),
            until: until.map(|ms| from_ns(1_770_200_000_000_000_000 + ms * 1_000_000)),
            budget: None,
        },
    )
}

/// What must come out, oldest first.
fn expected<'a>(model: &'a [(Cursor, LogEntry)], query: &Query) -> Vec<&'a (Cursor, LogEntry)> {
    model
        .iter()
        .filter(|(_, entry)| {
            let app = &entry.flukedeploy_metadata.app_name;
            query.filter.matches(entry)
                && query.shown.as_ref().is_none_or(|rights| {
                    rights.shows(app, entry.flukedeploy_metadata.environment.as_deref())
                })
                && query
                    .text
                    .as_ref()
                    .is_none_or(|text| text.matches_entry(entry))
                && query.since.is_none_or(|since| entry.timestamp >= since)
                && query.until.is_none_or(|until| entry.timestamp < until)
        })
        .collect()
}

fn check(store: &LogStore, model: &[(Cursor, LogEntry)], query: &Query) {
    let mut expected = expected(model, query);
    let exported: Vec<_> = store.export(query.clone()).map(Result::unwrap).collect();
    assert_eq!(exported.len(), expected.len(), "{query:?}");
    for (found, (cursor, entry)) in exported.iter().zip(&expected) {
        assert_eq!((found.cursor, &found.entry), (*cursor, entry), "{query:?}");
    }
    let histogram = store.histogram(query, 7).unwrap();
    for (number, bucket) in (0_u64..).zip(&histogram.buckets) {
        let from = i128::from(to_ns(histogram.start)) + i128::from(number * histogram.width_ns);
        let to = from + i128::from(histogram.width_ns);
        let count = |level| {
            let within = expected.iter().filter(|(cursor, entry)| {
                entry.level == level && (from..to).contains(&i128::from(cursor.time_ns))
            });
            within.count() as u64
        };
        assert_eq!(bucket.error, count(Level::Error), "{query:?} {histogram:?}");
        assert_eq!(bucket.debug, count(Level::Debug));
    }
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut paging = Paging {
            order,
            limit: 5,
            offset: 2,
            total: true,
            after: None,
        };
        let mut left = expected.iter().skip(2);
        loop {
            let page = store.page(query, &paging).unwrap();
            let total = page.total.unwrap();
            assert!(
                total.is_complete && total.lines == expected.len() as u64,
                "{query:?}"
            );
            for found in &page.lines {
                assert_eq!(Some(found.cursor), left.next().map(|line| line.0));
            }
            paging.after = page.next;
            paging.offset = 0;
            if paging.after.is_none() {
                break;
            }
        }
        assert_eq!(left.count(), 0, "{query:?} {order:?}");
        expected.reverse();
    }
    let mut arrived: Vec<u64> = expected.iter().map(|line| line.0.sequence).collect();
    arrived.sort_unstable();
    let mut paging = Paging {
        order: Order::Arrival,
        limit: 5,
        ..Paging::default()
    };
    let mut found = Vec::new();
    loop {
        let page = store.page(query, &paging).unwrap();
        found.extend(page.lines.iter().map(|line| line.cursor.sequence));
        paging.after = page.next;
        if paging.after.is_none() {
            break;
        }
    }
    assert_eq!(found, arrived, "{query:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn answers_are_those_of_a_sorted_list(
        batches in prop::collection::vec((prop::collection::vec(entry(), 1..20), 0..8_u8), 1..25),
        queries in prop::collection::vec(query(), 12),
    ) {
        let place = Place::new();
        let mut store = place.open();
        let mut model = Vec::new();
        for (batch, then) in batches {
            let first = store.append(&batch, &[]).unwrap();
            for (entry, sequence) in batch.into_iter().zip(first..) {
                model.push((Cursor { time_ns: to_ns(entry.timestamp), sequence }, entry));
            }
            match then {
                0 => store.flush().unwrap(),
                1 => {
                    drop(store);
                    store = place.open();
                }
                _ => {}
            }
        }
        model.sort_by_key(|(cursor, _)| *cursor);
        for query in &queries {
            check(&store, &model, query);
        }
        check(&store, &model, &Query::default());
    }
}

#[test]
fn the_store_searches_the_text_the_domain_names() {
    let place = Place::new();
    let store = place.open();
    let mut entry = line("shop", 1);
    entry.flukedeploy_metadata.stack_trace = Some("at Some.place".to_owned());
    entry
        .flukedeploy_metadata
        .fields
        .insert("req".to_owned(), json!("8f3a"));
    store.append(std::slice::from_ref(&entry), &[]).unwrap();
    store.append(&lines("shop", 2..50), &[]).unwrap();
    store.flush().unwrap();
    let text = search_text(&entry).into_owned();
    assert!(
        text.contains("\nat Some.place\n{\"req\":\"8f3a\"}"),
        "{text}"
    );
    for asked in [r#""at some.place""#, "8f3a", &text] {
        let query = Query {
            text: Some(TextQuery::phrase(asked.trim_matches('"')).unwrap()),
            ..Query::default()
        };
        let page = store.page(&query, &Paging::default()).unwrap();
        assert_eq!(page.lines.len(), 1, "{asked}");
        assert_eq!(page.lines[0].entry, entry);
    }
}

#[test]
fn a_page_behind_a_cursor_stays_while_lines_arrive() {
    let place = Place::new();
    let store = place.open();
    let mut next = 0..100_000_u64;
    let mut append = |count: usize| {
        let batch: Vec<_> = next.by_ref().take(count).map(|n| line("shop", n)).collect();
        store.append(&batch, &[]).unwrap();
    };
    append(200);
    let mut paging = Paging {
        limit: 7,
        ..Paging::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.page(&Query::default(), &paging).unwrap();
        seen.extend(page.lines.iter().map(|line| line.cursor.sequence));
        paging.after = page.next;
        if paging.after.is_none() {
            break;
        }
        append(11);
    }
    let expected: Vec<u64> = (1..=200).rev().collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_budget_stops_a_search_that_can_go_on() {
    let place = Place::new();
    let store = place.open();
    store.append(&lines("shop", 0..600), &[]).unwrap();
    store.flush().unwrap();
    let query = Query {
        text: Some(TextQuery::parse("/number(5|599) /").unwrap()),
        budget: Some(Duration::ZERO),
        ..Query::default()
    };
    for order in [Order::NewestFirst, Order::OldestFirst, Order::Arrival] {
        let mut paging = Paging {
            order,
            total: true,
            ..Paging::default()
        };
        let mut found = Vec::new();
        let mut pages = 0;
        loop {
            let page = store.page(&query, &paging).unwrap();
            found.extend(page.lines.iter().map(|line| line.cursor.sequence));
            pages += 1;
            paging.after = page.next;
            if paging.after.is_none() {
                break;
            }
            assert!(!page.total.unwrap().is_complete && pages < 1_000);
        }
        found.sort_unstable();
        assert_eq!(found, [6, 600]);
        assert!(pages > 5, "{pages} pages");
    }
    let histogram = store.histogram(&query, 3).unwrap();
    assert!(!histogram.is_complete);
}

#[test]
fn a_line_has_its_replicas_neighbours_and_a_link() {
    let place = Place::new();
    let store = place.open();
    store.append(&lines("shop", 0..300), &[]).unwrap();
    store.append(&lines("other", 0..300), &[]).unwrap();
    let page = store.page(&Query::default(), &oldest(600)).unwrap();
    let hit = page
        .lines
        .iter()
        .find(|line| line.cursor.sequence == 101)
        .unwrap();
    let context = store.context("shop", hit.cursor, 2).unwrap().unwrap();
    let numbers = |lines: &[crate::StoredLine]| -> Vec<u64> {
        lines.iter().map(|line| line.cursor.sequence).collect()
    };
    assert_eq!(numbers(&context.before), [97, 99]);
    assert_eq!(context.line, *hit);
    assert_eq!(numbers(&context.after), [103, 105]);
    assert_eq!(store.context("other", hit.cursor, 2).unwrap(), None);
    let linked = store
        .line(&Query::default(), &hit.entry.id)
        .unwrap()
        .unwrap();
    assert_eq!(linked.entry.id, hit.entry.id);
    assert_eq!(
        store.line(&Query::default(), "dep-1-000000000").unwrap(),
        None
    );
    let newest = store.newest_of_service("service-shop").unwrap();
    assert_eq!(newest, Some(line("shop", 299).timestamp));
    assert_eq!(store.newest_of_service("service-none").unwrap(), None);
}

#[test]
fn readers_and_the_writer_do_not_wait_for_each_other_for_long() {
    let place = Place::new();
    let store = place.open();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut before = 0;
                    while before < 4_000 {
                        let found = all(&store);
                        let sequences = found.iter().map(|line| line.cursor.sequence);
                        assert!(sequences.eq(1..=found.len() as u64));
                        assert!(found.len() >= before);
                        before = found.len();
                    }
                })
            })
            .collect();
        for start in 0..200 {
            store
                .append(&lines("shop", start * 20..(start + 1) * 20), &[])
                .unwrap();
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
