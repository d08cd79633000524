//! A real process, really killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Place, entries, lines};
use crate::{LogStore, Options};

const DIRECTORY: &str = "FLUKEDEPLOY_LOGS_TEST_DIRECTORY";

const LEAST_ROUNDS: u64 = 12;

/// Small enough that blocks, segments and logs are begun all the time.
fn sizes() -> Options {
    Options {
        block_bytes: 16 << 10,
        segment_bytes: 64 << 10,
        wal_bytes: 128 << 10,
        carry_bytes: 4 << 10,
        ..Options::default()
    }
}

/// The child: appends numbered lines to two apps, and says how many are stored.
#[test]
#[ignore = "runs in a process of its own, which the test below kills"]
fn child_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = LogStore::open(directory.as_ref(), sizes()).unwrap();
    let mut next = store
        .position("reader")
        .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    loop {
        let end = next + 1 + next % 97;
        let mut batch = lines("shop", next..end);
        batch.extend(lines("other", next..end));
        let position = ("reader".to_owned(), end.to_le_bytes().to_vec());
        store.append(&batch, &[position]).unwrap();
        println!("stored {end}");
        next = end;
    }
}

#[test]
fn a_killed_process_loses_no_line_and_doubles_none() {
    let place = Place::new();
    let mut stored = 0;
    // On a busy machine a process gets less far before it is killed: then there are more of them.
    for round in 0..100_u64 {
        if round >= LEAST_ROUNDS && place.files(".seg").len() > 4 {
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::kill::child_that_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(DIRECTORY, &place.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let start = Instant::now();
        let least = Duration::from_millis(20 + round % LEAST_ROUNDS * 23);
        // Killed while it writes; what it said until then counts.
        let mut killed = false;
        while let Some(Ok(text)) = output.next() {
            if let Some((_, number)) = text.split_once("stored ") {
                stored = number.trim().parse().unwrap();
            }
            if !killed && stored > 0 && start.elapsed() >= least {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        let store = LogStore::open(&place.0, sizes()).unwrap();
        let position = store.position("reader").unwrap();
        let position = u64::from_le_bytes(position.try_into().unwrap());
        assert!(position >= stored, "stored {stored}, found {position}");
        let mut found = entries(&store);
        found.sort_by(|a, b| {
            let key = |e: &super::LogEntry| (e.flukedeploy_metadata.app_name.clone(), e.timestamp);
            key(a).cmp(&key(b))
        });
        let mut expected = lines("other", 0..position);
        expected.extend(lines("shop", 0..position));
        assert!(
            found == expected,
            "{} lines, not {}",
            found.len(),
            expected.len()
        );
    }
    panic!("nothing reached segments");
}
