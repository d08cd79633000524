//! A disk that fills up, and has space again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Place, entries, lines, small};
use crate::LogStore;
use crate::disk::Disk;

fn limited(place: &Place, space: u64) -> (LogStore, Arc<AtomicU64>) {
    let space = Arc::new(AtomicU64::new(space));
    let disk = Disk {
        space: Some(Arc::clone(&space)),
    };
    let mut options = small();
    options.waiting_bytes = 6_000;
    (LogStore::open_on(&place.0, options, disk).unwrap(), space)
}

#[test]
fn a_full_disk_is_an_error_and_space_heals_it() {
    for space in (300..16_000).step_by(411) {
        let place = Place::new();
        let (store, left) = limited(&place, space);
        let mut stored = 0;
        let failure = loop {
            match store.append(&lines("shop", stored..stored + 5), &[]) {
                Ok(_) => stored += 5,
                Err(error) => break error,
            }
        };
        assert!(failure.is_full(), "{failure:?}");
        assert_eq!(
            entries(&store),
            lines("shop", 0..stored),
            "what was stored is found"
        );
        // A process that ends now, too.
        let copy = place.copy();
        assert_eq!(entries(&copy.open()), lines("shop", 0..stored));

        left.store(u64::MAX, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(20);
        let end = stored + 200;
        while stored < end {
            assert!(Instant::now() < deadline, "it never healed");
            if store
                .append(&lines("shop", stored..stored + 5), &[])
                .is_ok()
            {
                stored += 5;
            }
        }
        store.flush().unwrap();
        assert_eq!(store.trouble(), None);
        drop(store);
        assert_eq!(entries(&place.open()), lines("shop", 0..stored));
    }
}

#[test]
fn removing_old_lines_makes_space_on_a_full_disk() {
    let place = Place::new();
    let (store, _) = limited(&place, 20_000);
    let mut stored = 0;
    while store
        .append(&lines("shop", stored..stored + 5), &[])
        .is_ok()
    {
        stored += 5;
    }
    let removed = store.retain("shop", None, Some(0)).unwrap();
    assert!(removed.lines > 0 && removed.bytes > 0);
    let rest = entries(&store);
    assert_eq!(rest, lines("shop", removed.lines..stored));
}

#[test]
fn a_store_opens_on_a_full_disk_and_goes_on_when_there_is_space() {
    for space in (300..16_000).step_by(977) {
        let place = Place::new();
        let (store, _) = limited(&place, space);
        let mut stored = 0;
        while store
            .append(&lines("shop", stored..stored + 5), &[])
            .is_ok()
        {
            stored += 5;
        }
        drop(store);
        for _ in 0..2 {
            let (store, _) = limited(&place, 0);
            assert_eq!(entries(&store), lines("shop", 0..stored), "{space} bytes");
            let refused = store.append(&lines("shop", stored..stored + 5), &[]);
            assert!(refused.is_err_and(|error| error.is_full()));
        }
        let (store, _) = limited(&place, u64::MAX);
        for _ in 0..50 {
            store
                .append(&lines("shop", stored..stored + 5), &[])
                .unwrap();
            stored += 5;
        }
        drop(store);
        assert_eq!(entries(&place.open()), lines("shop", 0..stored));
    }
}

#[test]
fn a_store_that_opened_on_a_full_disk_heals_without_being_opened_again() {
    let place = Place::new();
    let (store, _) = limited(&place, 9_000);
    let mut stored = 0;
    while store
        .append(&lines("shop", stored..stored + 5), &[])
        .is_ok()
    {
        stored += 5;
    }
    drop(store);
    let (store, left) = limited(&place, 0);
    left.store(u64::MAX, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(20);
    let end = stored + 500;
    while stored < end {
        assert!(Instant::now() < deadline, "it never healed");
        if store
            .append(&lines("shop", stored..stored + 5), &[])
            .is_ok()
        {
            stored += 5;
        }
    }
    // Killed now, and after everything was written to segments.
    assert_eq!(entries(&place.copy().open()), lines("shop", 0..stored));
    store.flush().unwrap();
    assert_eq!(entries(&place.copy().open()), lines("shop", 0..stored));
}
