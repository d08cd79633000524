//! Opening: what a run before left behind becomes the state again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::block::{Line, MAX_ROWS};
use crate::disk::{Disk, make_directory, numbered_files, open_file, remove_if_there};
use crate::error::{Doing, Error};
use crate::options::Options;
use crate::origin::Origins;
use crate::segment::Segment;
use crate::state::{App, State};
use crate::wal::{OldWal, Replay, TEMPORARY};

const OPENING: &str = "opening the log store";

/// Everything found, and what the next writer starts from.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) next_sequence: u64,
    pub(crate) last_generation: u64,
    /// Held as long as the store is open.
    pub(crate) lock: File,
}

pub(crate) fn recover(root: &Path, options: &Options, disk: &Disk) -> Result<Recovered, Error> {
    make_directory(&root.join("apps")).doing("making the log directory")?;
    let lock_path = root.join("lock");
    let lock = match open_file(&lock_path, false) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => open_file(&lock_path, true),
        opened => opened,
    }
    .doing("locking the log directory")?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse)?;
    remove_if_there(&root.join(TEMPORARY)).doing(OPENING)?;

    let mut wals = Vec::new();
    let mut last_generation = 0;
    for (generation, path) in numbered_files(root, "wal-", ".log").doing(OPENING)? {
        last_generation = generation;
        wals.push(path);
    }
    let bounds = wals
        .first()
        .map_or_else(Bounds::default, |oldest| Bounds::of(oldest));
    let mut replayed = Replayed {
        root,
        block_bytes: options.block_bytes,
        disk,
        state: State::default(),
        done: HashMap::new(),
        next_sequence: 1,
        forgotten: Vec::new(),
    };
    open_segments(&mut replayed, &bounds)?;
    for path in &wals {
        match OldWal::read(path) {
            Ok(wal) => wal.replay(&mut replayed, false),
            Err(cause) => set_aside(path, &cause)?,
        }
    }
    replayed.remove_forgotten();
    replayed.state.apps.retain(|_, app| !app.is_empty());
    Ok(Recovered {
        next_sequence: replayed.next_sequence,
        state: replayed.state,
        last_generation,
        lock,
    })
}

/// A file that is none of ours, or damaged beyond use, stays for whoever wants to look at it.
fn set_aside(path: &Path, cause: &std::io::Error) -> Result<(), Error> {
    tracing::error!(error = %cause, file = %path.display(), "a file of the log store is damaged and set aside");
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    fs::rename(path, PathBuf::from(aside)).doing("setting a damaged log file aside")
}

/// From which sequence numbers on blocks may not have reached the disk: those whose lines the
/// oldest write-ahead log has.
#[derive(Default)]
struct Bounds {
    next: u64,
    carried: HashMap<String, u64>,
}

impl Bounds {
    fn of(path: &Path) -> Self {
        let mut bounds = Self::default();
        if let Ok(wal) = OldWal::read(path) {
            wal.replay(&mut bounds, true);
        }
        bounds
    }

    fn doubtful(&self, app: &str) -> u64 {
        let carried = self.carried.get(app).copied();
        carried.map_or(self.next, |first| first.min(self.next))
    }
}

impl Replay for Bounds {
    fn next_sequence(&mut self, next: u64) {
        self.next = next;
    }
    fn position(&mut self, _: &str, _: &[u8]) {}
    fn forget_position(&mut self, _: &str) {}
    fn line(&mut self, sequence: u64, origins: &Origins, origin: u32, _: Line<'_>) {
        let app = origins.list()[origin as usize].app();
        match self.carried.get_mut(app) {
            Some(first) => *first = sequence.min(*first),
            None => drop(self.carried.insert(app.to_owned(), sequence)),
        }
    }
    fn forget_lines(&mut self, _: &str, _: u64, _: u64) {}
}

fn open_segments(replayed: &mut Replayed<'_>, bounds: &Bounds) -> Result<(), Error> {
    let apps = replayed.root.join("apps");
    for directory in fs::read_dir(&apps).doing(OPENING)? {
        let directory = directory.doing(OPENING)?.path();
        if !directory.is_dir() {
            continue;
        }
        for (number, path) in numbered_files(&directory, "", ".seg").doing(OPENING)? {
            match Segment::open(&path, number, |app| bounds.doubtful(app)) {
                Ok((name, segment)) => replayed.add_segment(&name, segment, &directory),
                Err(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
                    set_aside(&path, &cause)?;
                }
                // Made, and nothing written yet.
                Err(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
                    remove_if_there(&path).doing(OPENING)?;
                }
                Err(cause) => return Err(Error::io(OPENING, cause)),
            }
        }
    }
    Ok(())
}

struct Replayed<'a> {
    root: &'a Path,
    block_bytes: usize,
    disk: &'a Disk,
    state: State,
    /// The last sequence number of each app that is in a segment, or was read already.
    done: HashMap<String, u64>,
    next_sequence: u64,
    forgotten: Vec<(String, u64, u64)>,
}

impl Replayed<'_> {
    fn add_segment(&mut self, name: &str, mut segment: Segment, directory: &Path) {
        let app = self.state.app(self.root, name);
        directory.clone_into(&mut app.directory);
        app.next_number = app.next_number.max(segment.number + 1);
        if let Some((_, last)) = segment.sequences() {
            self.next_sequence = self.next_sequence.max(last + 1);
            self.raise(name, last);
        }
        // Only the newest is added to; an older one without an index was cut by a crash.
        let app = self.state.app(self.root, name);
        if let Some(before) = app.segments.last_mut()
            && !before.finished
        {
            let before = Arc::make_mut(before);
            if let Err(cause) = before.finish(self.disk) {
                tracing::warn!(error = %cause, "a log segment stays without an index");
            }
            before.finished = true;
        }
        if segment.blocks.is_empty() && !segment.finished {
            // Its blocks did not reach the disk: begun anew under the same number.
            app.next_number = app.next_number.max(segment.number + 1);
            if remove_if_there(&segment.path).is_ok() {
                return;
            }
            segment.finished = true;
        }
        app.segments.push(Arc::new(segment));
    }

    fn raise(&mut self, app: &str, last: u64) {
        match self.done.get_mut(app) {
            Some(done) => *done = last.max(*done),
            None => drop(self.done.insert(app.to_owned(), last)),
        }
    }

    /// A crash came between the decision and the deed.
    fn remove_forgotten(&mut self) {
        for (name, first, last) in std::mem::take(&mut self.forgotten) {
            let Some(app) = self.state.apps.get_mut(&name) else {
                continue;
            };
            app.segments.retain(|segment| {
                let inside = segment
                    .sequences()
                    .is_some_and(|(min, max)| first <= min && max <= last);
                !(inside && remove_if_there(&segment.path).is_ok())
            });
        }
    }
}

impl Replay for Replayed<'_> {
    fn next_sequence(&mut self, next: u64) {
        self.next_sequence = self.next_sequence.max(next);
    }

    fn position(&mut self, key: &str, value: &[u8]) {
        let positions = &mut self.state.positions;
        positions.insert(key.to_owned(), value.to_vec());
    }

    fn forget_position(&mut self, key: &str) {
        self.state.positions.remove(key);
    }

    fn line(&mut self, sequence: u64, origins: &Origins, origin: u32, line: Line<'_>) {
        let origin = &origins.list()[origin as usize];
        let name = origin.app();
        if self.done.get(name).is_some_and(|done| sequence <= *done) {
            return;
        }
        self.raise(name, sequence);
        let app: &mut App = self.state.app(self.root, name);
        if is_full(app.open.bytes(), app.open.rows(), self.block_bytes) {
            app.close_open();
        }
        let open = Arc::make_mut(&mut app.open);
        let index = open.columns.dictionary.of_origin(origin);
        open.push(sequence, index, line);
    }

    fn forget_lines(&mut self, name: &str, first: u64, last: u64) {
        self.raise(name, last);
        self.forgotten.push((name.to_owned(), first, last));
        let Some(app) = self.state.apps.get_mut(name) else {
            return;
        };
        let open = std::mem::take(&mut app.open);
        app.open = open.without(first, last);
        for block in &mut app.waiting {
            *block = block.without(first, last);
        }
        app.waiting.retain(|block| block.rows() > 0);
    }
}

pub(crate) fn is_full(bytes: usize, rows: usize, block_bytes: usize) -> bool {
    bytes >= block_bytes || rows >= MAX_ROWS
}
