//! What reading one replica has to do with reading the others.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flukedeploy_platform::ports::{EngineError, RawLine, RawLines, ReadTo, ReplicaRead};
use time::OffsetDateTime;
use tokio::sync::Notify;

/// Where lines are from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) task_id: Option<String>,
    pub(super) node_id: Option<String>,
}

impl Origin {
    pub(super) fn lines(&self, lines: Vec<RawLine>) -> RawLines {
        RawLines {
            task_id: self.task_id.clone(),
            node_id: self.node_id.clone(),
            lines,
        }
    }
}

/// All replicas of a service that are read.
pub(super) struct Sources {
    read: Mutex<ReadTo>,
    running: AtomicUsize,
    files: AtomicUsize,
    /// Which broke off, by their keys.
    broken: Mutex<HashSet<String>>,
    /// When one broke off, or none is left.
    pub(super) look: Notify,
}

impl Sources {
    pub(super) fn new(read: &ReadTo) -> Arc<Self> {
        Arc::new(Self {
            read: Mutex::new(read.clone()),
            running: AtomicUsize::new(0),
            files: AtomicUsize::new(0),
            broken: Mutex::default(),
            look: Notify::new(),
        })
    }

    /// How many replicas are being read, and how many of them from their files.
    pub(super) fn count(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Acquire);
        (load(&self.running), load(&self.files))
    }

    pub(super) fn read_of(&self, task_id: Option<&str>) -> ReplicaRead {
        lock(&self.read).of(task_id)
    }

    /// Those that broke off since the last call.
    pub(super) fn take_broken(&self) -> Vec<String> {
        lock(&self.broken).drain().collect()
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one replica as being read for as long as it exists.
pub(super) struct Running {
    sources: Arc<Sources>,
    key: String,
    task_id: Option<String>,
    is_file: bool,
}

impl Running {
    pub(super) fn new(sources: &Arc<Sources>, key: &str, origin: &Origin, is_file: bool) -> Self {
        sources.running.fetch_add(1, Ordering::AcqRel);
        sources
            .files
            .fetch_add(usize::from(is_file), Ordering::AcqRel);
        Self {
            sources: Arc::clone(sources),
            key: key.to_owned(),
            task_id: origin.task_id.clone(),
            is_file,
        }
    }

    /// It has to be read again, from there.
    pub(super) fn failed(&self, error: &EngineError, read: [Option<OffsetDateTime>; 2]) {
        tracing::debug!(%error, source = self.key, "reading a log broke off");
        if let Some(task) = &self.task_id {
            let mut to = lock(&self.sources.read);
            for (stderr, at) in [(false, read[0]), (true, read[1])] {
                if let Some(at) = at {
                    to.insert(task.as_str(), stderr, at);
                }
            }
        }
        lock(&self.sources.broken).insert(self.key.clone());
        self.sources.look.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let sources = &self.sources;
        let files = usize::from(self.is_file);
        sources.files.fetch_sub(files, Ordering::AcqRel);
        if sources.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Perhaps the service is gone.
            sources.look.notify_one();
        }
    }
}

/// Tells a reader that its container has ended, and prints nothing more.
#[derive(Default)]
pub(super) struct Ended {
    has: AtomicBool,
    pub(super) wake: Arc<Notify>,
}

impl Ended {
    pub(super) fn set(&self) {
        if !self.has.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    pub(super) fn has(&self) -> bool {
        self.has.load(Ordering::Acquire)
    }
}
