//! The store as a whole, against a simple model of it and against crashes.

mod batches;
mod crash;
mod feed;
mod kill;
mod queries;
mod retention;
mod space;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};

use crate::block::from_ns;
use crate::{LogStore, Options, Order, Query, StoredLine};

/// A directory that is gone after the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("flukedeploy-logs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        copy_directory(&self.0, &copy.0);
        copy
    }

    fn open(&self) -> LogStore {
        LogStore::open(&self.0, small()).unwrap()
    }

    /// All files with this ending, anywhere below.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list(&self.0, ending, &mut files);
        files.sort();
        files
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn list(directory: &Path, ending: &str, files: &mut Vec<PathBuf>) {
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            list(&path, ending, files);
        } else if path.to_str().unwrap().ends_with(ending) {
            files.push(path);
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_directory(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Sizes at which a few lines make blocks, segments and new write-ahead logs.
fn small() -> Options {
    Options {
        block_bytes: 1_500,
        segment_bytes: 1_500,
        wal_bytes: 6_000,
        carry_bytes: 900,
        open_bytes: 8_000,
        ..Options::default()
    }
}

/// Line `number` of an app, one microsecond behind the one before.
fn line(app: &str, number: u64) -> LogEntry {
    let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    let source = LogSource {
        kind: SourceType::Container,
        container_name: format!("{app}.{}", number % 2),
        service_id: Some(format!("service-{app}")),
        node_id: Some("node-1".to_owned()),
        task_id: Some(format!("task-{}", number % 2)),
        stream: Some("stdout".to_owned()),
    };
    let metadata = LogMetadata {
        environment: Some("production".to_owned()),
        release: Some(3),
        ..LogMetadata::new(EventType::PostDeploy, app)
    };
    let at = from_ns(1_770_200_000_000_000_000 + i64::try_from(number).unwrap() * 1_000);
    let level = levels[usize::try_from(number % 4).unwrap()];
    let message = format!("line number{number} of {app} says word{}", number % 7);
    LogEntry::new(at, number, level, message, source, metadata)
}

fn lines(app: &str, numbers: std::ops::Range<u64>) -> Vec<LogEntry> {
    numbers.map(|number| line(app, number)).collect()
}

/// Everything, oldest first.
fn all(store: &LogStore) -> Vec<StoredLine> {
    let exported = store.export(Query::default());
    exported.collect::<Result<_, _>>().unwrap()
}

fn entries(store: &LogStore) -> Vec<LogEntry> {
    all(store).into_iter().map(|line| line.entry).collect()
}

fn oldest(limit: usize) -> crate::Paging {
    crate::Paging {
        order: Order::OldestFirst,
        limit,
        ..crate::Paging::default()
    }
}
