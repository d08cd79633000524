//! The thread that compresses full blocks into segments, in the order they filled.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crate::block::Block;
use crate::disk::{make_directory, open_file, sync_directory};
use crate::encoding::{Encoder, Header};
use crate::error::{Doing, Error};
use crate::segment::Segment;
use crate::state::{Shared, lock};
use crate::wal;

const BETWEEN_TRIES: Duration = Duration::from_secs(1);
const NS_PER_SECOND: i64 = 1_000_000_000;

pub(crate) enum Task {
    /// Put an app's waiting block into a segment.
    Seal {
        app: String,
        block: Arc<Block>,
    },
    /// All lines of write-ahead logs up to this one are in blocks that were sent before, or were
    /// carried over: make those blocks last, then remove the logs.
    Retire(u64),
    /// Answer when all before is done.
    Reach(Sender<()>),
    Stop,
}

pub(crate) struct Sealer {
    shared: Arc<Shared>,
    encoder: Encoder,
    /// Segments written to since they were last made to last.
    dirty: BTreeSet<PathBuf>,
    dirty_directories: BTreeSet<PathBuf>,
}

impl Sealer {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, Error> {
        let encoder = Encoder::new(shared.options.compression).doing("preparing compression")?;
        // A run before may have been killed before it made its last blocks last.
        let dirty = shared
            .read()
            .apps
            .values()
            .filter_map(|app| app.segments.last())
            .filter(|segment| !segment.finished)
            .map(|segment| segment.path.clone())
            .collect();
        Ok(Self {
            shared,
            encoder,
            dirty,
            dirty_directories: BTreeSet::new(),
        })
    }

    pub(crate) fn run(mut self, tasks: &Receiver<Task>) {
        while let Ok(task) = tasks.recv() {
            let go_on = match task {
                Task::Seal { app, block } => {
                    let go_on = self.until_done(|sealer| sealer.seal(&app, &block));
                    self.shared.backlog.done(block.bytes());
                    go_on
                }
                Task::Retire(last) => self.until_done(|sealer| sealer.retire(last)),
                Task::Reach(answer) => {
                    // Nobody waits any more: nothing to tell.
                    let _ = answer.send(());
                    true
                }
                Task::Stop => false,
            };
            if !go_on {
                break;
            }
        }
    }

    /// Tries again until it succeeds: what it is about is safe in the write-ahead log meanwhile.
    /// `false`: the store is closing.
    fn until_done(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<(), Error>) -> bool {
        let mut told = false;
        while let Err(error) = attempt(self) {
            if !told {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot write log segments; trying again"
                );
                told = true;
            }
            self.shared.backlog.failed(&error);
            if !self.shared.backlog.pause(BETWEEN_TRIES) {
                return false;
            }
        }
        if told {
            tracing::info!("log segments are written again");
            self.shared.backlog.done(0);
        }
        true
    }

    fn seal(&mut self, app: &str, block: &Arc<Block>) -> Result<(), Error> {
        let (header, bytes) = self.encoder.encode(block).doing("compressing log lines")?;
        let shared = Arc::clone(&self.shared);
        let _files = lock(&shared.files);
        let (directory, last, number) = {
            let state = shared.read();
            let Some(known) = state.apps.get(app) else {
                return Ok(());
            };
            if !known
                .waiting
                .iter()
                .any(|waiting| Arc::ptr_eq(waiting, block))
            {
                return Ok(()); // Deleted meanwhile.
            }
            let last = known.segments.last().filter(|last| !last.finished).cloned();
            (known.directory.clone(), last, known.next_number)
        };
        let mut finished = None;
        let mut segment = match last.map(Arc::unwrap_or_clone) {
            Some(last) if self.has_room(&last, &header) => last,
            full => {
                if let Some(mut full) = full {
                    full.finish(&shared.disk).doing("finishing a log segment")?;
                    self.dirty.remove(&full.path);
                    finished = Some(full);
                }
                make_directory(&directory).doing("making a directory for an app's logs")?;
                self.dirty_directories.insert(directory.clone());
                Segment::create(&directory, number, app, &shared.disk)
                    .doing("making a log segment")?
            }
        };
        let pushed = segment.push(header, &bytes, &shared.disk);
        let written = pushed.is_ok();
        let mut state = shared.write();
        if let Some(known) = state.apps.get_mut(app) {
            if let Some(finished) = finished {
                known.segments.pop();
                known.segments.push(Arc::new(finished));
            }
            if written {
                known.next_number = known.next_number.max(segment.number + 1);
                self.dirty.insert(segment.path.clone());
                if known
                    .segments
                    .last()
                    .is_some_and(|s| s.number == segment.number)
                {
                    known.segments.pop();
                }
                known.segments.push(Arc::new(segment));
                known.waiting.retain(|waiting| !Arc::ptr_eq(waiting, block));
            }
        }
        drop(state);
        pushed.doing("writing log lines to a segment")
    }

    fn has_room(&self, segment: &Segment, header: &Header) -> bool {
        let options = &self.shared.options;
        let span = i64::from(options.segment_seconds).saturating_mul(NS_PER_SECOND);
        let (min, max) = segment
            .times()
            .unwrap_or((header.min_time, header.max_time));
        let spanned = max
            .max(header.max_time)
            .saturating_sub(min.min(header.min_time));
        segment.length < options.segment_bytes && spanned <= span
    }

    fn retire(&mut self, last: u64) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let _files = lock(&shared.files);
        while let Some(path) = self.dirty.first() {
            match open_file(path, false).and_then(|file| file.sync_data()) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("making a log segment last", cause));
                }
                _ => drop(self.dirty.pop_first()),
            }
        }
        while let Some(path) = self.dirty_directories.first() {
            match sync_directory(path) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("making a log directory last", cause));
                }
                _ => drop(self.dirty_directories.pop_first()),
            }
        }
        sync_directory(&shared.root.join("apps")).doing("making a log directory last")?;
        let files = crate::disk::numbered_files(&shared.root, "wal-", ".log")
            .doing("listing write-ahead logs")?;
        for (generation, _) in files {
            if generation <= last {
                wal::retire(&shared.root, generation, 2 * shared.options.wal_bytes)
                    .doing("putting a write-ahead log by")?;
            }
        }
        Ok(())
    }
}
