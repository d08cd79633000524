//! Measures the store: `figures DIRECTORY [LINES]`, on one core, each figure beside its peer in
//! turns: `SQLite` in batches that are as durable as ours, and `rg -j1` over the same lines in a
//! plain file. Prints `what<TAB>figure<TAB>goal`, one a line.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod ingest;
mod lines;
mod search;
mod sqlite;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use flukedeploy_domain::log_entry::LogEntry;
use flukedeploy_logs::{LogStore, Options};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const DEFAULT_LINES: u64 = 5_000_000;
/// Lines in one `append`, and in one of the peer's transactions.
const BATCH: usize = 5_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory is needed")?;
    let directory = Path::new(&directory);
    let lines = arguments.next().map(|text| text.parse());
    let lines = lines.transpose()?.unwrap_or(DEFAULT_LINES);
    stay_on_one_core()?;
    fs::create_dir_all(directory)?;
    ingest::measure(&directory.join("ingest"))?;
    search::measure(&directory.join("search"), lines)
}

/// All threads and programs started after this share one processor.
fn stay_on_one_core() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rfind(|cpu| allowed.is_set(*cpu));
    let mut only = CpuSet::new();
    only.set(last.ok_or("no processor")?);
    Ok(sched_setaffinity(None, &only)?)
}

/// One figure and its goal, which may be empty.
fn tell(what: &str, figure: &str, goal: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}\t{figure}\t{goal}")?;
    out.flush()
}

/// A fresh store in this directory.
fn new_store(directory: &Path) -> Result<LogStore> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(LogStore::open(directory, Options::default())?)
}

/// As a collector does it: the lines and how far it read, in one durable step.
fn append(store: &LogStore, batch: &[LogEntry], number: usize) -> Result<()> {
    let position = number.to_le_bytes().to_vec();
    store.append(batch, &[("reader".to_owned(), position)])?;
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Microseconds of processor time that this process has used, with all its threads.
fn processor_us() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e6 + used.tv_nsec as f64 / 1e3
}

/// The one in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median and range.
fn spread(values: &mut [f64]) -> String {
    let middle = median(values);
    match values {
        [least, .., most] => format!("{middle:.2} ({least:.2}..{most:.2})"),
        _ => format!("{middle:.2}"),
    }
}

/// Resident memory of this process.
fn memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
