//! A crash at any byte: what was appended is there, once.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::{Place, entries, line, lines, small};
use crate::state::lock;
use crate::{Error, LogStore};

fn position(number: u64) -> Vec<(String, Vec<u8>)> {
    vec![("reader".to_owned(), number.to_le_bytes().to_vec())]
}

fn cut(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

/// Appends batches of three lines with the number of lines so far as the position.
fn fill(store: &LogStore, batches: std::ops::Range<u64>) {
    for batch in batches {
        let numbers = batch * 3..batch * 3 + 3;
        store
            .append(&lines("shop", numbers.clone()), &position(numbers.end))
            .unwrap();
    }
}

fn check_prefix(store: &LogStore, least: u64) -> u64 {
    let found = entries(store);
    let count = found.len() as u64;
    assert_eq!(found, lines("shop", 0..count));
    assert!(count >= least, "{count} of {least} lines are left");
    let position = store
        .position("reader")
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    assert_eq!(position, count, "the position is that of the last line");
    count
}

#[test]
fn a_write_ahead_log_torn_at_any_byte_keeps_whole_batches() {
    let place = Place::new();
    fill(&place.open(), 0..4);
    let original = &place.files(".log")[0];
    let name = original.file_name().unwrap();
    let length = fs::metadata(original).unwrap().len();
    let mut counts = Vec::new();
    for end in 20..=length {
        let copy = place.copy();
        cut(&copy.0.join(name), end);
        let store = copy.open();
        let count = check_prefix(&store, 0);
        // It goes on where it was torn, and that is kept too.
        fill(&store, count / 3..count / 3 + 1);
        drop(store);
        check_prefix(&copy.open(), count + 3);
        counts.push(count);
    }
    counts.dedup();
    assert_eq!(counts, [0, 3, 6, 9, 12]);
}

#[test]
fn a_segment_torn_at_any_byte_loses_nothing_that_the_log_still_has() {
    let place = Place::new();
    let store = LogStore::open(&place.0, {
        let mut options = small();
        options.wal_bytes = 1 << 20;
        options.segment_bytes = 1 << 20;
        options
    })
    .unwrap();
    fill(&store, 0..20);
    // Written, but as if the machine stopped before anything was made to last.
    while store.usage()[0].segments == 0 || !store.shared.read().apps["shop"].waiting.is_empty() {
        std::thread::yield_now();
    }
    let copy = place.copy();
    drop(store);
    let segment = copy.files(".seg")[0].clone();
    let segment = segment.strip_prefix(&copy.0).unwrap();
    let length = fs::metadata(copy.0.join(segment)).unwrap().len();
    assert!(length > 2_000);
    for end in (0..=length).step_by(7).chain(length - 20..=length) {
        let torn = copy.copy();
        cut(&torn.0.join(segment), end);
        let store = torn.open();
        assert_eq!(check_prefix(&store, 60), 60);
        fill(&store, 20..30);
        store.flush().unwrap();
        drop(store);
        assert_eq!(check_prefix(&torn.open(), 90), 90);
    }
    // Pages of a file need not reach the disk in order: a hole in the middle of a block.
    for at in (30..length - 40).step_by(41) {
        let torn = copy.copy();
        let path = torn.0.join(segment);
        let mut bytes = fs::read(&path).unwrap();
        let at = usize::try_from(at).unwrap();
        bytes[at..at + 40].fill(0);
        fs::write(&path, bytes).unwrap();
        assert_eq!(check_prefix(&torn.open(), 60), 60);
    }
}

#[test]
fn a_crash_at_any_moment_leaves_every_line_once() {
    let place = Place::new();
    let mut store = place.open();
    let mut done = 0;
    for round in 0..120 {
        fill(&store, done..done + 2);
        done += 2;
        // What a killed process leaves is what is in the files at that moment.
        let copy = {
            // A copy takes a while; the segments must not move on meanwhile.
            let _files = lock(&store.shared.files);
            place.copy()
        };
        let crashed = copy.open();
        check_prefix(&crashed, done * 3);
        if round % 3 == 0 {
            drop(crashed);
            let twice = copy.open();
            check_prefix(&twice, done * 3);
        }
        if round % 10 == 9 {
            drop(store);
            store = place.open();
        }
    }
    assert!(place.files(".seg").len() > 3);
}

#[test]
fn damage_in_an_old_segment_costs_its_block_only() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 0..60);
    store.flush().unwrap();
    drop(store);
    let segment = &place.files(".seg")[0];
    let mut bytes = fs::read(segment).unwrap();
    // In the middle of the first block's sections.
    bytes[900..1_000].fill(0xff);
    fs::write(segment, bytes).unwrap();
    let store = place.open();
    let page = store
        .page(&crate::Query::default(), &super::oldest(1_000))
        .unwrap();
    assert!(page.damaged == 1 && page.lines.len() > 100 && page.lines.len() < 180);
    assert_eq!(page.lines.last().unwrap().entry, line("shop", 179));
    fill(&store, 60..61);
    assert_eq!(entries(&store).last(), Some(&line("shop", 182)));
}

#[test]
fn files_that_are_none_of_ours_are_set_aside() {
    let place = Place::new();
    fill(&place.open(), 0..60);
    fs::write(place.0.join("wal-0000000000.log"), "not a log").unwrap();
    fs::write(place.0.join("apps/app-shop/0000009999.seg"), vec![7; 500]).unwrap();
    fs::write(place.0.join("apps/stray"), "x").unwrap();
    let store = place.open();
    check_prefix(&store, 180);
    assert_eq!(place.files(".damaged").len(), 2);
}

#[test]
fn positions_are_kept_over_new_logs_and_can_be_forgotten() {
    let place = Place::new();
    let store = place.open();
    store
        .append(
            &[],
            &[
                ("gone".to_owned(), vec![1]),
                ("kept".to_owned(), vec![2, 3]),
            ],
        )
        .unwrap();
    store
        .forget_positions(&["gone".to_owned(), "never".to_owned()])
        .unwrap();
    fill(&store, 0..100);
    assert!(store.shared.read().apps["shop"].segments.len() > 2);
    drop(store);
    let store = place.open();
    assert_eq!(store.position("kept"), Some(vec![2, 3]));
    assert_eq!(store.position("gone"), None);
    assert_eq!(store.positions().len(), 2);
    let long = [("k".repeat(600), Vec::new())];
    assert!(matches!(store.append(&[], &long), Err(Error::TooLarge(_))));
}

#[test]
fn one_process_at_a_time_and_nobody_else_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let inner = place.0.join("logs");
    let store = LogStore::open(&inner, small()).unwrap();
    fill(&store, 0..60);
    store.flush().unwrap();
    assert!(matches!(LogStore::open(&inner, small()), Err(Error::InUse)));
    for (path, mode) in place
        .files("")
        .into_iter()
        .map(|path| (path, 0o600))
        .chain([(inner.clone(), 0o700), (inner.join("apps/app-shop"), 0o700)])
    {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
}

#[test]
fn a_message_cannot_pass_for_a_frame() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 0..1);
    let wal = fs::read(&place.files(".log")[0]).unwrap();
    // The frames themselves as a message, as if somebody knew them.
    let mut nasty = line("shop", 3);
    nasty.message = wal.iter().map(|byte| char::from(*byte & 0x7f)).collect();
    store.append(std::slice::from_ref(&nasty), &[]).unwrap();
    drop(store);
    assert_eq!(entries(&place.open()).pop(), Some(nasty));
}

#[test]
fn sequence_numbers_never_come_again() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 0..10);
    store.delete_app("shop").unwrap();
    store.flush().unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.append(&[line("other", 0)], &[]).unwrap(), 31);
}
