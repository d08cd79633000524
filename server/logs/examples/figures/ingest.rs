//! How many lines a second come in, until all are in their final place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use flukedeploy_platform::ports::{LineOrigin, LogBatch, Logged, ReplicaLine};

use crate::lines::{Random, entry};
use crate::sqlite::Sqlite;
use crate::{BATCH, Result, new_store, processor_us, spread, tell};

const ROUNDS: usize = 5;
const LINES: u64 = 500_000;

/// Ours and `SQLite` in turns, over the same lines, which are made beforehand as the collector makes
/// them: lines of a replica share what they have in common.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    let batches = batches();
    let sqlite = Sqlite::new()?;
    let (mut own, mut peer, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut own_us, mut peer_us, mut slowest) = (Vec::new(), Vec::new(), 0.0_f64);
    fs::create_dir_all(directory)?;
    for _ in 0..ROUNDS {
        let begun = processor_us();
        let ours = store(&directory.join("logs"), &batches, &mut slowest)?;
        own_us.push((processor_us() - begun) / LINES as f64);
        let begun = processor_us();
        let theirs = sqlite.store(&directory.join("peer.db"), &batches)?;
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

/// The lines, and how far the collector read with them.
fn batches() -> Vec<LogBatch> {
    let mut random = Random::new();
    let mut origins: Vec<Arc<LineOrigin>> = Vec::new();
    let lines: Vec<ReplicaLine> = (0..LINES)
        .map(|number| {
            let entry = entry(number, &mut random);
            let made = LineOrigin {
                source: entry.source,
                metadata: entry.flukedeploy_metadata,
            };
            let known = origins.iter().find(|known| ***known == made).cloned();
            let origin = known.unwrap_or_else(|| {
                let made = Arc::new(made);
                origins.push(Arc::clone(&made));
                made
            });
            ReplicaLine {
                origin,
                at: i64::try_from(entry.timestamp.unix_timestamp_nanos()).unwrap_or(i64::MAX),
                number: random.next(),
                level: entry.level,
                message: entry.message,
                stack_trace: None,
                fields: BTreeMap::new(),
            }
        })
        .collect();
    lines
        .chunks(BATCH)
        .enumerate()
        .map(|(number, lines)| {
            let logged = lines.iter().cloned().map(Logged::Line).collect();
            let position = number.to_le_bytes().to_vec();
            LogBatch::new(logged, vec![("reader".to_owned(), position)])
        })
        .collect()
}

/// Lines a second.
fn store(directory: &Path, batches: &[LogBatch], slowest: &mut f64) -> Result<f64> {
    let store = new_store(directory)?;
    let begun = Instant::now();
    for batch in batches {
        let appended = Instant::now();
        store.append_batch(batch)?;
        *slowest = slowest.max(crate::milliseconds(appended));
    }
    store.flush()?;
    Ok(LINES as f64 / begun.elapsed().as_secs_f64())
}
