//! How many lines a second come in, until all are in their final place.

use std::fs;
use std::path::Path;
use std::time::Instant;

use flukedeploy_domain::log_entry::LogEntry;

use crate::lines::{Random, entry};
use crate::sqlite::Sqlite;
use crate::{BATCH, Result, append, new_store, processor_us, spread, tell};

const ROUNDS: usize = 5;
const LINES: u64 = 500_000;

/// Ours and `SQLite` in turns, over the same entries, which are made beforehand.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    let mut random = Random::new();
    let entries: Vec<LogEntry> = (0..LINES).map(|n| entry(n, &mut random)).collect();
    let sqlite = Sqlite::new()?;
    let (mut own, mut peer, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut own_us, mut peer_us, mut slowest) = (Vec::new(), Vec::new(), 0.0_f64);
    fs::create_dir_all(directory)?;
    for _ in 0..ROUNDS {
        let begun = processor_us();
        let ours = store(&directory.join("logs"), &entries, &mut slowest)?;
        own_us.push((processor_us() - begun) / LINES as f64);
        let begun = processor_us();
        let theirs = sqlite.store(&directory.join("peer.db"), &entries)?;
        peer_us.push((processor_us() - begun) / LINES as f64);
        own.push(ours / 1e3);
        peer.push(theirs / 1e3);
        ratios.push(ours / theirs);
    }
    fs::remove_dir_all(directory)?;
    let own = format!("{} thousand lines/s", spread(&mut own));
    tell("ingest, durable, one core", &own, "")?;
    let peer = format!("{} thousand lines/s", spread(&mut peer));
    tell("the same by SQLite", &peer, "")?;
    tell("ratio", &spread(&mut ratios), ">= 2.0")?;
    let used = format!(
        "{} µs, SQLite {}",
        spread(&mut own_us),
        spread(&mut peer_us)
    );
    tell("processor time for a line", &used, "")?;
    let slowest = format!("{slowest:.1} ms");
    tell("slowest append of 5,000 lines", &slowest, "").map_err(Into::into)
}

/// Lines a second.
fn store(directory: &Path, entries: &[LogEntry], slowest: &mut f64) -> Result<f64> {
    let store = new_store(directory)?;
    let begun = Instant::now();
    for (number, batch) in entries.chunks(BATCH).enumerate() {
        let appended = Instant::now();
        append(&store, batch, number)?;
        *slowest = slowest.max(crate::milliseconds(appended));
    }
    store.flush()?;
    Ok(entries.len() as f64 / begun.elapsed().as_secs_f64())
}
