//! The store: appending, positions, and what runs beside.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound::Included;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use flukedeploy_domain::log_entry::LogEntry;
use flukedeploy_platform::ports::LogBatch;
use rustix::fs::{FlockOperation, flock};

use crate::batch::{Batch, Item};
use crate::block::Block;
use crate::disk::Disk;
use crate::error::{Doing, Error};
use crate::gone;
use crate::options::Options;
use crate::recovery::{Recovered, is_full, recover};
use crate::sealer::{Sealer, Task};
use crate::state::{App, Backlog, Shared, State, lock};
use crate::wal::{Frame, MAX_FRAME_BYTES, Wal};

/// Longest key of a reader position, in bytes.
pub const MAX_POSITION_KEY_BYTES: usize = 512;
/// Longest reader position, in bytes.
pub const MAX_POSITION_BYTES: usize = 4 << 10;

/// Largest buffer that is kept for the next batch.
const MAX_SPARE_BYTES: usize = 2 << 20;

/// Log lines on disk, in a directory of its own. See the crate's description.
///
/// Calls block on the disk: call them where that is allowed. All may be made from any thread.
pub struct LogStore {
    pub(crate) shared: Arc<Shared>,
    /// Taken before every other lock.
    pub(crate) writer: Mutex<Writer>,
    /// Lines behind this number are still wanted by a reader.
    pub(crate) read_up_to: AtomicU64,
    /// Too little space was left when it was last asked.
    pub(crate) is_short: AtomicBool,
    sealer: Option<JoinHandle<()>>,
    lock: File,
    /// What the last batch was written from, for the next: fresh memory costs a fault per page.
    spare: Mutex<Vec<u8>>,
}

pub(crate) struct Writer {
    pub(crate) wal: Wal,
    pub(crate) next_sequence: u64,
    /// Text in open blocks.
    open_bytes: usize,
    pub(crate) tasks: Sender<Task>,
    /// Length at which beginning the log anew is tried next.
    rotate_at: u64,
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore")
            .field("root", &self.shared.root)
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens the directory, or makes it (mode 0700), and takes in what a run before left, however
    /// it ended.
    ///
    /// # Errors
    /// Another process has it open; the disk is full or cannot be read. Damaged files are set
    /// aside, not an error.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        Self::open_on(directory, options, Disk::default())
    }

    pub(crate) fn open_on(root: &Path, options: Options, disk: Disk) -> Result<Self, Error> {
        let Recovered {
            mut state,
            next_sequence,
            last_generation,
            lock: lock_file,
        } = recover(root, &options, &disk)?;
        state.newest = next_sequence.saturating_sub(1);
        let (frames, waiting) = {
            let mut frames = vec![Frame::checkpoint(next_sequence, state.positions.iter())];
            let mut waiting = Vec::new();
            for (name, app) in &state.apps {
                if app.open.rows() > 0 {
                    frames.push(Frame::carried(&app.open));
                }
                waiting.extend(app.waiting.iter().map(|b| (name.clone(), Arc::clone(b))));
            }
            (frames, waiting)
        };
        let open_bytes = state.apps.values().map(|app| app.open.bytes()).sum();
        let (wal, is_new) = begin_or_resume(root, last_generation, frames, &disk)?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            options,
            disk,
            state: RwLock::new(state),
            files: Mutex::new(()),
            backlog: Backlog::default(),
        });
        let (tasks, receiver) = mpsc::channel();
        let sealer = Sealer::new(Arc::clone(&shared))?;
        let sealer = std::thread::Builder::new()
            .name("log-sealer".to_owned())
            .spawn(move || sealer.run(&receiver))
            .doing("starting the thread that writes segments")?;
        let writer = Writer {
            rotate_at: wal.length + if is_new { shared.options.wal_bytes } else { 0 },
            wal,
            next_sequence,
            open_bytes,
            tasks,
        };
        for (app, block) in waiting {
            writer.seal(&shared.backlog, app, block);
        }
        if is_new {
            // If it is gone already, closing finds out.
            let _ = writer.tasks.send(Task::Retire(last_generation));
        }
        Ok(Self {
            shared,
            writer: Mutex::new(writer),
            read_up_to: AtomicU64::new(u64::MAX),
            is_short: AtomicBool::new(false),
            sealer: Some(sealer),
            lock: lock_file,
            spare: Mutex::default(),
        })
    }

    /// Stores lines and reader positions together: after a crash either all of a call are there,
    /// or none. They are on disk, and found by queries, when it returns; returns the sequence
    /// number of the first line, the others follow it one by one.
    ///
    /// A line's id is not looked at: the same line brought twice is stored twice. Readers that
    /// start again take up at their position.
    ///
    /// # Errors
    /// No space, the disk fails, or segments cannot be written for so long that memory for lines
    /// is used up: nothing of this call is stored, all before it stays, and the same call works
    /// once the cause is gone. Too large: more than 64 MiB at once.
    pub fn append(
        &self,
        entries: &[LogEntry],
        positions: &[(String, Vec<u8>)],
    ) -> Result<u64, Error> {
        self.append_items(entries, positions)
    }

    /// The same for what the platform brings: lines of replicas that share their origin.
    ///
    /// # Errors
    /// As there.
    pub fn append_batch(&self, batch: &LogBatch) -> Result<u64, Error> {
        self.append_items(&batch.logged, &batch.positions)
    }

    fn append_items(
        &self,
        items: &[impl Item],
        positions: &[(String, Vec<u8>)],
    ) -> Result<u64, Error> {
        check_positions(positions)?;
        let batch = Batch::of(items);
        let batch = batch.map_err(|cause| Error::io("encoding log lines", cause.into()))?;
        let buffer = std::mem::take(&mut *lock(&self.spare));
        let mut frame = Frame::lines(&batch, positions, buffer);
        if frame.len() > MAX_FRAME_BYTES {
            let text = format!(
                "{} log lines with {} bytes at once",
                items.len(),
                frame.len()
            );
            return Err(Error::TooLarge(text));
        }
        if !items.is_empty() {
            self.shared
                .backlog
                .room(self.shared.options.waiting_bytes)?;
        }
        let mut writer = lock(&self.writer);
        let first = writer.next_sequence;
        if items.is_empty() && positions.is_empty() {
            return Ok(first);
        }
        writer.rotate_if_long(&self.shared);
        frame.number(first);
        writer.wal.append(&mut frame).doing("storing log lines")?;
        writer.next_sequence += items.len() as u64;
        writer.take_in(&self.shared, &batch, positions);
        let buffer = frame.into_buffer();
        if buffer.capacity() <= MAX_SPARE_BYTES {
            *lock(&self.spare) = buffer;
        }
        Ok(first)
    }

    /// Where a reader stopped: what it stored last under this key.
    pub fn position(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.read().positions.get(key).cloned()
    }

    /// All reader positions.
    pub fn positions(&self) -> HashMap<String, Vec<u8>> {
        let mut positions = self.shared.read().positions.clone();
        positions.retain(|key, _| !gone::is_ours(key));
        positions
    }

    /// Removes positions of readers that will not come back. Unknown keys do no harm.
    ///
    /// # Errors
    /// No space, or the disk fails: they are all still there.
    pub fn forget_positions(&self, keys: &[String]) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        let mut frame = Frame::forget_positions(keys);
        writer
            .wal
            .append(&mut frame)
            .doing("forgetting log readers")?;
        let mut state = self.shared.write();
        for key in keys {
            state.positions.remove(key);
        }
        Ok(())
    }

    /// The sequence number that the next line will get. Numbers begin at 1 and never come again.
    pub fn next_sequence(&self) -> u64 {
        lock(&self.writer).next_sequence
    }

    /// Why full blocks cannot be written to segments at present, if they cannot. Lines are still
    /// taken until the memory for them is used up.
    pub fn trouble(&self) -> Option<String> {
        self.shared.backlog.failure()
    }

    /// Writes all lines to segments and begins the write-ahead log anew: for an orderly end, and
    /// for measuring. Waits until it is done, however long the disk stays full.
    ///
    /// # Errors
    /// No space for the new write-ahead log, or the store is closing.
    pub fn flush(&self) -> Result<(), Error> {
        let answer = {
            let mut writer = lock(&self.writer);
            writer.rotate(&self.shared, 0)?;
            let (sender, answer) = mpsc::channel();
            writer
                .tasks
                .send(Task::Reach(sender))
                .map_err(|_| Error::Closed)?;
            answer
        };
        answer.recv().map_err(|_| Error::Closed)
    }
}

impl Drop for LogStore {
    /// Waits for the block being written; the rest is in the write-ahead log.
    fn drop(&mut self) {
        self.shared.backlog.close();
        let _ = lock(&self.writer).tasks.send(Task::Stop);
        if let Some(sealer) = self.sealer.take()
            && sealer.join().is_err()
        {
            tracing::error!("the thread that writes log segments ended in a panic");
        }
        // Not left to closing the file: a process being started may still share it for a moment.
        if let Err(cause) = flock(&self.lock, FlockOperation::Unlock) {
            tracing::debug!(error = %cause, "the log directory is unlocked when the file is closed");
        }
    }
}

/// A new write-ahead log. On a full disk the last one goes on until there is space again: what is
/// stored is read all the same.
fn begin_or_resume(
    root: &Path,
    last_generation: u64,
    frames: Vec<Frame>,
    disk: &Disk,
) -> Result<(Wal, bool), Error> {
    let begun = Wal::create(root, last_generation + 1, frames, disk.clone())
        .doing("beginning a write-ahead log");
    match begun {
        Ok(wal) => Ok((wal, true)),
        Err(error) if error.is_full() => match Wal::resume(root, last_generation, disk.clone()) {
            Ok(wal) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the disk is full: the log store opens, and stores nothing before there is space"
                );
                Ok((wal, false))
            }
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn check_positions(positions: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let fits = |(key, value): &(String, Vec<u8>)| {
        key.len() <= MAX_POSITION_KEY_BYTES && value.len() <= MAX_POSITION_BYTES
    };
    if positions.iter().all(fits) {
        return Ok(());
    }
    let text = format!(
        "a reader position beyond {MAX_POSITION_BYTES} bytes, \
         or its key beyond {MAX_POSITION_KEY_BYTES}"
    );
    Err(Error::TooLarge(text))
}

/// An app that lines of a batch are of: looked up once, and not for each of them.
struct Filling<'a> {
    name: &'a str,
    open: &'a mut Block,
    waiting: &'a mut Vec<Arc<Block>>,
}

/// The apps that a batch's lines are of, and per origin of the batch the place of its app.
fn fillings<'a>(
    shared: &Shared,
    state: &'a mut State,
    batch: &Batch<'_, impl Item>,
) -> (Vec<Filling<'a>>, Vec<usize>) {
    let origins = batch.origins.list();
    let mut names: Vec<&str> = origins.iter().map(|origin| origin.app()).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        state.add_app(&shared.root, name);
    }
    let filling_of = origins.iter().map(|origin| {
        let place = names.binary_search(&origin.app());
        place.unwrap_or(usize::MAX)
    });
    let filling_of = filling_of.collect();
    let filling = |(name, app): (&'a String, &'a mut App)| Filling {
        name,
        open: Arc::make_mut(&mut app.open),
        waiting: &mut app.waiting,
    };
    let (Some(least), Some(most)) = (names.first(), names.last()) else {
        return (Vec::new(), filling_of);
    };
    // Both are by name.
    let apps = state
        .apps
        .range_mut::<str, _>((Included(*least), Included(*most)));
    let wanted = apps.filter(|(name, _)| names.binary_search(&name.as_str()).is_ok());
    (wanted.map(filling).collect(), filling_of)
}

impl Writer {
    fn seal(&self, backlog: &Backlog, app: String, block: Arc<Block>) {
        backlog.add(block.bytes());
        // Fails only while closing; the block is in the write-ahead log.
        let _ = self.tasks.send(Task::Seal { app, block });
    }

    /// Makes lines that are in the write-ahead log visible.
    fn take_in(
        &mut self,
        shared: &Shared,
        batch: &Batch<'_, impl Item>,
        positions: &[(String, Vec<u8>)],
    ) {
        let first = self.next_sequence - batch.items.len() as u64;
        let mut state = shared.write();
        state.newest = self.next_sequence.saturating_sub(1);
        for (key, value) in positions {
            match state.positions.get_mut(key) {
                Some(known) => known.clone_from(value),
                None => drop(state.positions.insert(key.clone(), value.clone())),
            }
        }
        let mut full = self.push_lines(shared, &mut state, batch, first);
        self.close_fullest(shared, &mut state, &mut full);
        drop(state);
        for (app, block) in full {
            self.seal(&shared.backlog, app, block);
        }
    }

    /// Puts lines into the open blocks of their apps; returns those that became full.
    fn push_lines(
        &mut self,
        shared: &Shared,
        state: &mut State,
        batch: &Batch<'_, impl Item>,
        first: u64,
    ) -> Vec<(String, Arc<Block>)> {
        let origins = batch.origins.list();
        let mut full = Vec::new();
        let (mut filling, filling_of) = fillings(shared, state, batch);
        // Per origin of the batch, its place in its app's open block.
        let mut places = vec![None; origins.len()];
        for ((origin, line), sequence) in batch.lines().zip(first..) {
            let origin = origin as usize;
            let Some(Filling {
                name,
                open,
                waiting,
            }) = filling.get_mut(filling_of[origin])
            else {
                continue;
            };
            let before = open.bytes();
            let place = *places[origin]
                .get_or_insert_with(|| open.columns.dictionary.of_origin(&origins[origin]));
            open.push(sequence, place, line);
            self.open_bytes += open.bytes() - before;
            if is_full(open.bytes(), open.rows(), shared.options.block_bytes) {
                self.open_bytes -= open.bytes();
                // What filled one block is likely to fill another.
                let next = open.next();
                let block = Arc::new(std::mem::replace(*open, next));
                waiting.push(Arc::clone(&block));
                full.push(((*name).to_owned(), block));
                // Its origins are numbered anew.
                places.fill(None);
            }
        }
        full
    }

    fn close_fullest(
        &mut self,
        shared: &Shared,
        state: &mut State,
        full: &mut Vec<(String, Arc<Block>)>,
    ) {
        while self.open_bytes > shared.options.open_bytes {
            let Some((name, app)) = state
                .apps
                .iter_mut()
                .max_by_key(|(_, app)| app.open.bytes())
            else {
                return;
            };
            let bytes = app.open.bytes();
            let Some(block) = app.close_open() else {
                return;
            };
            self.open_bytes = self.open_bytes.saturating_sub(bytes);
            full.push((name.clone(), block));
        }
    }

    /// Takes an app's open lines out of the account.
    pub(crate) fn dropped_open(&mut self, bytes: usize) {
        self.open_bytes = self.open_bytes.saturating_sub(bytes);
    }

    fn rotate_if_long(&mut self, shared: &Shared) {
        if self.wal.length < self.rotate_at {
            return;
        }
        if let Err(error) = self.rotate(shared, shared.options.carry_bytes) {
            // The old one goes on; not tried with every line.
            self.rotate_at = self.wal.length + shared.options.wal_bytes / 4;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the write-ahead log of log lines cannot be begun anew"
            );
        }
    }

    /// Begins the log anew: blocks with `carry` bytes or more go to segments, smaller ones into
    /// the new log.
    fn rotate(&mut self, shared: &Shared, carry: usize) -> Result<(), Error> {
        let mut full = Vec::new();
        let frames = {
            let mut state = shared.write();
            for (name, app) in &mut state.apps {
                if app.open.bytes() >= carry {
                    full.extend(app.close_open().map(|block| (name.clone(), block)));
                }
            }
            let mut frames = vec![Frame::checkpoint(
                self.next_sequence,
                state.positions.iter(),
            )];
            let open = state.apps.values().map(|app| &app.open);
            frames.extend(
                open.filter(|o| o.rows() > 0)
                    .map(|open| Frame::carried(open)),
            );
            self.open_bytes = state.apps.values().map(|app| app.open.bytes()).sum();
            frames
        };
        // Sent whether or not the new log can be made: the blocks wait already.
        for (app, block) in full {
            self.seal(&shared.backlog, app, block);
        }
        let old = self.wal.generation;
        self.wal = Wal::create(&shared.root, old + 1, frames, shared.disk.clone())
            .doing("beginning a write-ahead log")?;
        self.rotate_at = self.wal.length + shared.options.wal_bytes;
        self.tasks
            .send(Task::Retire(old))
            .map_err(|_| Error::Closed)
    }
}
