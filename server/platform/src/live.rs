//! Entries on their way to every live reader: a batch is handed on as it was stored, shared by all.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flukedeploy_domain::log_entry::LogEntry;
use tokio::sync::broadcast;

use crate::ports::LogBatch;

/// Batches that a reader may lag behind; behind that it reads from the store.
const LIVE: usize = 64;
/// Most entries of a batch. More were stored in one write when there are many.
const BATCH: usize = 1_024;

/// Entries that came together.
#[derive(Debug)]
pub struct Recorded {
    batch: Arc<LogBatch>,
    range: Range<usize>,
    json: Box<[OnceLock<Bytes>]>,
    pub(crate) place: Place,
}

/// Where entries stand in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// From this number on, one by one. If they could not be stored at first, they were told then,
    /// the first of them under the second number.
    Stored(u64, Option<u64>),
    /// Not there yet.
    Unstored(u64),
    /// Anywhere.
    Read,
}

/// Of the entries of a batch up to here: the number under which they were told before they could be
/// stored, if they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) end: usize,
    pub(crate) number: Option<u64>,
}

impl Recorded {
    fn new(batch: Arc<LogBatch>, range: Range<usize>, place: Place) -> Arc<Self> {
        let json = range.clone().map(|_| OnceLock::new()).collect();
        Arc::new(Self {
            batch,
            range,
            json,
            place,
        })
    }

    /// Entries that were read from the store.
    pub(crate) fn read(entries: Vec<LogEntry>) -> Arc<Self> {
        let range = 0..entries.len();
        Self::new(Arc::new(LogBatch::of(entries)), range, Place::Read)
    }

    pub fn entries(&self) -> &[LogEntry] {
        &self.batch.entries()[self.range.clone()]
    }

    /// How many entries that are.
    pub(crate) fn count(&self) -> usize {
        self.range.len()
    }

    /// The JSON of one of them, UTF-8. Written once, however many readers there are.
    pub fn json(&self, at: usize) -> Bytes {
        let (Some(json), Some(entry)) = (self.json.get(at), self.entries().get(at)) else {
            return Bytes::new();
        };
        // Keys are strings and numbers are finite, so that this cannot fail.
        let write = || serde_json::to_vec(entry).unwrap_or_default().into();
        json.get_or_init(write).clone()
    }
}

/// The sender's side. Clones share it.
#[derive(Clone)]
pub(crate) struct Live {
    sender: broadcast::Sender<Arc<Recorded>>,
    stored: Arc<AtomicU64>,
    told: Arc<AtomicU64>,
    unstored: Arc<AtomicU64>,
}

impl Live {
    /// `stored`: the number of the entry that was stored last.
    pub(crate) fn new(stored: u64) -> Self {
        Self {
            sender: broadcast::channel(LIVE).0,
            stored: Arc::new(AtomicU64::new(stored)),
            told: Arc::default(),
            unstored: Arc::default(),
        }
    }

    /// Entries that are stored from the number `first` on, and which of them were told before.
    pub(crate) fn tell(&self, batch: &Arc<LogBatch>, first: u64, told: &[Told]) {
        let count = batch.logged.len() as u64;
        self.stored.store(first + count - 1, Ordering::Release);
        let mut from = 0;
        for part in told {
            let range = from..part.end;
            if part.number.is_none() {
                self.told.fetch_add(range.len() as u64, Ordering::Relaxed);
            }
            self.send(batch, range, |at| {
                Place::Stored(first + at as u64, part.number)
            });
            from = part.end;
        }
    }

    /// Entries that cannot be stored now. The numbers follow each other.
    pub(crate) fn tell_unstored(&self, batch: &Arc<LogBatch>, range: Range<usize>) -> u64 {
        let number = self.unstored.fetch_add(1, Ordering::Relaxed);
        self.told.fetch_add(range.len() as u64, Ordering::Relaxed);
        self.send(batch, range, |_| Place::Unstored(number));
        number
    }

    fn send(&self, batch: &Arc<LogBatch>, range: Range<usize>, place: impl Fn(usize) -> Place) {
        if self.sender.receiver_count() == 0 {
            // Nobody reads.
            return;
        }
        for at in range.clone().step_by(BATCH) {
            let part = at..range.end.min(at + BATCH);
            // That the last reader just left is fine.
            let _ = self
                .sender
                .send(Recorded::new(Arc::clone(batch), part, place(at)));
        }
    }

    /// Whether the slowest reader has a good part of what it may lag behind to read.
    pub(crate) fn is_ahead(&self) -> bool {
        self.sender.len() > LIVE / 4
    }

    /// Whether anybody listens.
    pub(crate) fn has_readers(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// How many entries were told.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Everything that is stored under higher numbers than [`stored`](Self::stored) says from now
    /// on will be received.
    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription {
            receiver: self.sender.subscribe(),
        }
    }
}

/// A live reader's place. What it missed since it was too slow shows in the numbers of what comes
/// next.
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Recorded>>,
}

impl Subscription {
    /// The next entries; `None` when the platform stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Recorded>> {
        loop {
            match self.receiver.recv().await {
                Ok(recorded) => return Some(recorded),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next entries if some are there already.
    pub fn try_next(&mut self) -> Option<Arc<Recorded>> {
        loop {
            match self.receiver.try_recv() {
                Ok(recorded) => return Some(recorded),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}
