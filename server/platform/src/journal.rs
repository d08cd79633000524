//! The log bus: every entry goes to the live readers at once and to the store in batches.
//!
//! The platform never waits for it: while the store is slow or full, its own entries queue up and
//! beyond that are lost, counted and told of, and deployments go on. What is read from replicas waits
//! where it is. A reader that is slow is told how many entries it missed.
//!
//! Secrets are taken out of every entry before it goes anywhere: this is the only way in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::log_entry::{Level, LogEntry, LogMetadata, LogSource, SourceType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ports::{Clock, LogBatch, LogStore};
use crate::redaction::{Redaction, Redactor};
use crate::secret::random_u64;

/// Entries that may wait for the store.
const QUEUE: usize = 65_536;
/// Entries that were read and may wait for the store. More are read when there is room again.
const READ: usize = 16_384;
/// Entries that are worth a transaction without waiting for more.
const BATCH: usize = 2_000;
/// Entries a live reader may lag behind.
const LIVE: usize = 4_096;
/// Entries told to live readers before these get a turn.
const TOLD_AT_ONCE: usize = 256;
/// How long an entry may wait for others to be stored with.
const GATHER: Duration = Duration::from_millis(40);
/// When entries that could not be stored are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a reader waits for what was recorded just now.
const FLUSH: Duration = Duration::from_secs(3);

/// An entry on its way to the store and to every reader.
#[derive(Debug)]
pub struct Recorded {
    entry: LogEntry,
    json: OnceLock<Bytes>,
}

impl Recorded {
    pub(crate) fn new(entry: LogEntry) -> Self {
        Self {
            entry,
            json: OnceLock::new(),
        }
    }

    /// Its JSON, UTF-8. Written once, however many readers there are.
    pub fn json(&self) -> Bytes {
        // Keys are strings and numbers are finite, so that this cannot fail.
        let write = || serde_json::to_vec(&self.entry).unwrap_or_default().into();
        self.json.get_or_init(write).clone()
    }
}

impl std::ops::Deref for Recorded {
    type Target = LogEntry;
    fn deref(&self) -> &LogEntry {
        &self.entry
    }
}

pub(crate) struct Journal {
    clock: Arc<dyn Clock>,
    live: broadcast::Sender<Arc<Recorded>>,
    queue: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    broadcast_count: AtomicU64,
    redaction: Redaction,
}

enum Message {
    Entry(Arc<Recorded>),
    Read(Read),
    Flush(oneshot::Sender<()>),
}

/// Entries that were read somewhere, and where reading goes on behind them.
struct Read {
    entries: Vec<Arc<Recorded>>,
    positions: Vec<(String, Vec<u8>)>,
    /// Given back once they are stored.
    room: OwnedSemaphorePermit,
}

impl Message {
    fn entries(&self) -> usize {
        match self {
            Self::Entry(_) => 1,
            Self::Read(read) => read.entries.len(),
            Self::Flush(_) => 0,
        }
    }
}

/// What a live reader gets.
#[derive(Debug, Clone)]
pub enum Live {
    Entry(Arc<Recorded>),
    /// The reader was too slow for this many entries.
    Dropped(u64),
}

/// A live reader's place.
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Recorded>>,
}

impl Subscription {
    /// The next entry or notice; `None` when the platform stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Live> {
        match self.receiver.recv().await {
            Ok(entry) => Some(Live::Entry(entry)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Live::Dropped(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next entry if one is there already.
    pub fn try_next(&mut self) -> Option<Live> {
        match self.receiver.try_recv() {
            Ok(entry) => Some(Live::Entry(entry)),
            Err(broadcast::error::TryRecvError::Lagged(count)) => Some(Live::Dropped(count)),
            Err(_) => None,
        }
    }
}

impl Journal {
    pub(crate) fn new(
        store: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let trouble = Arc::default();
        let writer = Writer {
            inbox,
            store,
            lost: Arc::clone(&lost),
            trouble: Arc::clone(&trouble),
            stop,
        };
        tasks.spawn(writer.run());
        Self {
            clock,
            live: broadcast::channel(LIVE).0,
            queue,
            room: Arc::new(Semaphore::new(READ)),
            lost,
            trouble,
            broadcast_count: AtomicU64::new(0),
            redaction: Redaction::default(),
        }
    }

    /// What is taken out of entries. Whoever quotes an app elsewhere asks it too.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Never waits: the platform does not stop because its log cannot be stored.
    pub(crate) fn record(&self, entry: LogEntry) {
        let entry = self.take_in(entry);
        let message = Message::Entry(Arc::clone(&entry));
        if self.queue.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.tell(entry);
    }

    /// Entries that were read, and the keys and places where reading goes on: all of them are stored
    /// together, or none. Waits for room: what is read stays where it is meanwhile.
    pub(crate) async fn record_read(
        &self,
        entries: Vec<LogEntry>,
        positions: Vec<(String, Vec<u8>)>,
    ) {
        let count = entries.len();
        let room = u32::try_from(count.min(READ)).unwrap_or(u32::MAX);
        // It is never closed.
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(room).await else {
            return;
        };
        let Ok(slot) = self.queue.reserve().await else {
            self.lost.fetch_add(count as u64, Ordering::Relaxed);
            return;
        };
        let entries = self.take_in_all(entries);
        let told = entries.clone();
        slot.send(Message::Read(Read {
            entries,
            positions,
            room,
        }));
        // Whoever begins to listen after this finds them in the store.
        if self.live.receiver_count() > 0 {
            for (n, entry) in (1..).zip(told) {
                self.tell(entry);
                if n % TOLD_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        } else {
            self.broadcast_count
                .fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    fn take_in(&self, mut entry: LogEntry) -> Arc<Recorded> {
        self.redaction.entry(&mut entry);
        entry.limit();
        Arc::new(Recorded::new(entry))
    }

    /// The same for many, which are of one app as a rule.
    fn take_in_all(&self, entries: Vec<LogEntry>) -> Vec<Arc<Recorded>> {
        let app = |entry: &LogEntry| entry.flukedeploy_metadata.app_name.clone();
        let mut known: Option<(Redactor, String)> = None;
        let mut taken = Vec::with_capacity(entries.len());
        for mut entry in entries {
            match &known {
                Some((redactor, of)) if *of == entry.flukedeploy_metadata.app_name => {
                    redactor.entry(&mut entry);
                }
                _ => {
                    let app = app(&entry);
                    let redactor = self.redaction.of(&app);
                    redactor.entry(&mut entry);
                    known = Some((redactor, app));
                }
            }
            entry.limit();
            taken.push(Arc::new(Recorded::new(entry)));
        }
        taken
    }

    fn tell(&self, entry: Arc<Recorded>) {
        self.broadcast_count.fetch_add(1, Ordering::Relaxed);
        // No reader is fine.
        let _ = self.live.send(entry);
    }

    /// Why entries cannot be stored at present, if they cannot.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// An entry of the platform's own about an app or itself.
    pub(crate) fn note(&self, level: Level, message: impl Into<String>, metadata: LogMetadata) {
        let kind = if metadata.deployment_id.is_some() {
            SourceType::Deployment
        } else {
            SourceType::System
        };
        let source = LogSource {
            kind,
            container_name: metadata.app_name.clone(),
            service_id: None,
            node_id: None,
            task_id: None,
            stream: None,
        };
        self.record(LogEntry::new(
            self.clock.now(),
            random_u64(),
            level,
            message,
            source,
            metadata,
        ));
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription {
            receiver: self.live.subscribe(),
        }
    }

    /// Returns once everything recorded so far is stored, or it is clear that it is not now.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let flushing = async {
            if self.queue.send(Message::Flush(done)).await.is_ok() {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH, flushing).await;
    }

    pub(crate) fn broadcast_count(&self) -> u64 {
        self.broadcast_count.load(Ordering::Relaxed)
    }
}

/// Takes entries out of the queue and stores them in batches.
struct Writer {
    inbox: mpsc::Receiver<Message>,
    store: Arc<dyn LogStore>,
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
}

impl Writer {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH);
        while self.gather(&mut messages).await {
            let mut waiting = Vec::new();
            let mut entries = Vec::with_capacity(messages.len());
            // The last of each reader counts.
            let mut positions = HashMap::new();
            let mut rooms = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Entry(entry) => entries.push(taken(entry)),
                    Message::Read(read) => {
                        positions.extend(read.positions);
                        entries.extend(read.entries.into_iter().map(taken));
                        rooms.push(read.room);
                    }
                    Message::Flush(done) => waiting.push(done),
                }
            }
            if !entries.is_empty() {
                let positions = positions.into_iter().collect();
                self.store(LogBatch { entries, positions }, &mut waiting)
                    .await;
            }
            drop(rooms);
            for done in waiting {
                let _ = done.send(());
            }
            let missing = self.lost.swap(0, Ordering::Relaxed);
            if missing > 0 {
                tracing::warn!(entries = missing, "log entries were lost");
            }
        }
    }

    /// The messages of one batch; `false` at the end.
    async fn gather(&mut self, messages: &mut Vec<Message>) -> bool {
        let inbox = &mut self.inbox;
        let count = tokio::select! {
            count = inbox.recv_many(messages, BATCH) => count,
            () = self.stop.cancelled() => {
                // Take what is there and end: nobody waits for a sender that never closes.
                inbox.close();
                inbox.recv_many(messages, BATCH).await
            }
        };
        let is_flush = |message: &Message| matches!(message, Message::Flush(_));
        let mut entries: usize = messages.iter().map(Message::entries).sum();
        if count > 0 && !messages.iter().any(is_flush) && !self.stop.is_cancelled() {
            // Entries come in bursts: a short wait makes one transaction of many.
            let _ = tokio::time::timeout(GATHER, async {
                while entries < BATCH {
                    let from = messages.len();
                    if inbox.recv_many(messages, BATCH - entries).await == 0
                        || messages.last().is_some_and(is_flush)
                    {
                        break;
                    }
                    entries += messages[from..].iter().map(Message::entries).sum::<usize>();
                }
            })
            .await;
        }
        count > 0
    }

    /// Tries until it works or the platform stops: a full disk gets space again, and what was read
    /// must not be passed by. Who waits is told at once.
    async fn store(&mut self, batch: LogBatch, waiting: &mut Vec<oneshot::Sender<()>>) {
        let batch = Arc::new(batch);
        while let Err(error) = self.store.append(Arc::clone(&batch)).await {
            let why = in_full(&error);
            if self.note(Some(why.clone())) {
                tracing::error!(
                    error = why,
                    entries = batch.entries.len(),
                    "log entries cannot be stored; tried again every second"
                );
            }
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.lost.fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
                    return;
                }
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        if self.note(None) {
            tracing::info!("log entries are stored again");
        }
    }

    /// Whether that is new.
    fn note(&self, trouble: Option<String>) -> bool {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = noted.is_some() != trouble.is_some();
        *noted = trouble;
        is_new
    }
}

/// Copied only while a live reader has it too.
fn taken(recorded: Arc<Recorded>) -> LogEntry {
    match Arc::try_unwrap(recorded) {
        Ok(recorded) => recorded.entry,
        Err(shared) => shared.entry.clone(),
    }
}

/// An error and what caused it, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
