//! Removing by age, by size and by app, also across crashes.

use std::time::Duration;

use super::{Place, entries, line, lines};
use crate::Removed;

#[test]
fn the_oldest_segments_go_first() {
    let place = Place::new();
    let store = place.open();
    store.append(&lines("shop", 0..1), &[]).unwrap();
    for start in 0..40 {
        store
            .append(&lines("shop", 1 + start * 10..11 + start * 10), &[])
            .unwrap();
    }
    store.append(&lines("other", 0..30), &[]).unwrap();
    store.flush().unwrap();
    let before = store.usage();
    let shop = before.iter().find(|usage| usage.app == "shop").unwrap();
    assert_eq!((shop.lines, shop.waiting_bytes), (401, 0));
    assert_eq!(shop.oldest, Some(line("shop", 0).timestamp));
    assert_eq!(shop.newest, Some(line("shop", 400).timestamp));
    let on_disk: u64 = place
        .files(".seg")
        .iter()
        .filter(|path| path.to_str().unwrap().contains("app-shop"))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(shop.bytes, on_disk);

    let cut = line("shop", 200).timestamp;
    let removed = store.expire(cut).unwrap();
    assert!(
        removed.lines > 100 + 30 && removed.lines <= 200 + 30,
        "{removed:?}"
    );
    let first = removed.lines - 30;
    assert_eq!(entries(&store), lines("shop", first..401));

    let half = shop.bytes / 4;
    let more = store.retain("shop", None, Some(half)).unwrap();
    assert!(more.lines > 0 && store.usage()[0].bytes <= half);
    let first = first + more.lines;
    assert_eq!(entries(&store), lines("shop", first..401));
    assert_eq!(
        store.retain("none", None, Some(0)).unwrap(),
        Removed::default()
    );
    drop(store);
    assert_eq!(entries(&place.open()), lines("shop", first..401));
}

#[test]
fn what_was_removed_does_not_come_back_from_the_write_ahead_log() {
    for flush in [false, true] {
        let place = Place::new();
        let store = place.open();
        store.append(&lines("shop", 0..40), &[]).unwrap();
        store.append(&lines("gone", 0..40), &[]).unwrap();
        if flush {
            store.flush().unwrap();
        }
        assert_eq!(store.delete_app("gone").unwrap().lines, 40);
        assert_eq!(entries(&place.copy().open()), lines("shop", 0..40));
        // The name may be used again.
        store.append(&lines("gone", 50..60), &[]).unwrap();
        let later = line("shop", 45).timestamp;
        store.append(&lines("shop", 60..61), &[]).unwrap();
        store.flush().unwrap();
        store.append(&lines("small", 0..2), &[]).unwrap();
        store.expire(later).unwrap();
        for store in [place.copy().open(), store] {
            let left = entries(&store);
            assert!(left.ends_with(&lines("shop", 60..61)));
            assert!(!left.contains(&line("gone", 0)) && !left.contains(&line("small", 0)));
            assert!(left.contains(&line("gone", 50)));
        }
        assert!(!place.0.join("apps/app-small").exists());
    }
}

#[test]
fn an_export_survives_that_its_lines_are_removed() {
    let place = Place::new();
    let store = place.open();
    store.append(&lines("shop", 0..400), &[]).unwrap();
    store.flush().unwrap();
    let mut export = store.export(crate::Query::default());
    assert!(export.next().unwrap().is_ok());
    store.delete_app("shop").unwrap();
    assert!(export.all(|line| line.is_ok()));
    assert_eq!(store.usage(), []);
}

#[test]
fn segments_end_with_the_day() {
    let place = Place::new();
    let store = place.open();
    for day in 0..3 {
        let mut batch = lines("quiet", 0..3);
        for entry in &mut batch {
            entry.timestamp += Duration::from_secs(day * 90_000);
        }
        store.append(&batch, &[]).unwrap();
        store.flush().unwrap();
    }
    assert_eq!(store.usage()[0].segments, 3);
}

#[test]
fn app_names_cannot_leave_the_directory() {
    let place = Place::new();
    let store = place.open();
    let long = "x".repeat(300);
    let names = [
        "../../etc",
        "",
        ".",
        "Ünï/côde",
        "a%2fb",
        "shop",
        "SHOP",
        &long,
    ];
    for name in names {
        let mut entry = line("x", 1);
        entry.flukedeploy_metadata.app_name = name.to_owned();
        store.append(&[entry], &[]).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    let store = place.open();
    let mut found: Vec<_> = store.usage().into_iter().map(|usage| usage.app).collect();
    found.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(place.files(".seg").len(), names.len());
    for name in names {
        assert_eq!(store.delete_app(name).unwrap().lines, 1);
    }
    assert!(place.files(".seg").is_empty());
}
