//! What is where: segments, blocks that wait to be written, blocks still filling.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};

use crate::block::Block;
use crate::disk::{Disk, directory_name};
use crate::error::Error;
use crate::options::Options;
use crate::segment::Segment;

/// How long `append` waits for blocks to be written, when writing them makes progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// A panic elsewhere while a lock was held leaves data that is still sound: it is replaced whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) directory: PathBuf,
    /// By number; only the last may be unfinished and added to.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) next_number: u64,
    /// Full blocks, oldest first. In no segment yet.
    pub(crate) waiting: Vec<Arc<Block>>,
    /// Readers share it for a moment; written to meanwhile, it is copied.
    pub(crate) open: Arc<Block>,
}

impl App {
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        Self {
            directory: root.join("apps").join(directory_name(name)),
            segments: Vec::new(),
            next_number: 1,
            waiting: Vec::new(),
            open: Arc::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.waiting.is_empty() && self.open.rows() == 0
    }

    /// Moves the open block, if anything is in it, to those that wait.
    pub(crate) fn close_open(&mut self) -> Option<Arc<Block>> {
        if self.open.rows() == 0 {
            return None;
        }
        let full = std::mem::take(&mut self.open);
        self.waiting.push(Arc::clone(&full));
        Some(full)
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) apps: BTreeMap<String, App>,
    pub(crate) positions: HashMap<String, Vec<u8>>,
    /// Sequence number of the newest line, 0 before the first.
    pub(crate) newest: u64,
}

impl State {
    pub(crate) fn add_app(&mut self, root: &Path, name: &str) {
        // Not `entry`: it would need a new `String` every time.
        if !self.apps.contains_key(name) {
            self.apps.insert(name.to_owned(), App::new(root, name));
        }
    }

    pub(crate) fn app(&mut self, root: &Path, name: &str) -> &mut App {
        self.add_app(root, name);
        self.apps
            .get_mut(name)
            .expect("the app was put there above")
    }
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    pub(crate) disk: Disk,
    pub(crate) state: RwLock<State>,
    /// Held by whoever changes segment files. Taken before `state`, after the writer.
    pub(crate) files: Mutex<()>,
    pub(crate) backlog: Backlog,
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Text in blocks that wait to be written, so that memory stays bounded.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    inner: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    /// Why blocks cannot be written now, and whether for lack of space.
    failure: Option<(String, bool)>,
    /// Somebody wants the writing tried again at once.
    hurry: bool,
    closing: bool,
}

impl Backlog {
    pub(crate) fn add(&self, bytes: usize) {
        lock(&self.inner).bytes += bytes;
    }

    pub(crate) fn done(&self, bytes: usize) {
        let mut waiting = lock(&self.inner);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        waiting.failure = None;
        self.changed.notify_all();
    }

    pub(crate) fn failed(&self, error: &Error) {
        let cause = std::error::Error::source(error);
        let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        lock(&self.inner).failure = Some((text, error.is_full()));
        self.changed.notify_all();
    }

    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.inner).failure.clone().map(|(text, _)| text)
    }

    /// Waits before another try; `false`: the store is closing.
    pub(crate) fn pause(&self, longest: Duration) -> bool {
        let mut waiting = lock(&self.inner);
        if !waiting.hurry && !waiting.closing {
            waiting = self
                .changed
                .wait_timeout_while(waiting, longest, |w| !w.hurry && !w.closing)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        waiting.hurry = false;
        !waiting.closing
    }

    pub(crate) fn close(&self) {
        lock(&self.inner).closing = true;
        self.changed.notify_all();
    }

    /// Waits until there is room for more.
    pub(crate) fn room(&self, most: usize) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut waiting = lock(&self.inner);
        while waiting.bytes >= most {
            if let Some((reason, full)) = &waiting.failure {
                let error = if *full {
                    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
                    Error::io(reason.clone(), source)
                } else {
                    Error::Behind(reason.clone())
                };
                waiting.hurry = true;
                self.changed.notify_all();
                return Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = "blocks are written too slowly".to_owned();
                return Err(Error::Behind(reason));
            }
            waiting = self
                .changed
                .wait_timeout(waiting, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        Ok(())
    }
}
