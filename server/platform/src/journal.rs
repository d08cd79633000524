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
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ports::{Clock, LogBatch, LogStore};
use crate::redaction::Redaction;
use crate::secret::random_u64;

/// Entries that may wait for the store.
const QUEUE: usize = 65_536;
/// Entries of one transaction.
const BATCH: usize = 2_000;
/// Entries a live reader may lag behind.
const LIVE: usize = 4_096;
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
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    broadcast_count: AtomicU64,
    redaction: Redaction,
}

enum Message {
    /// With the reader's position behind it, if it was read somewhere.
    Entry(Arc<Recorded>, Option<(String, Vec<u8>)>),
    Flush(oneshot::Sender<()>),
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
        let message = Message::Entry(Arc::clone(&entry), None);
        if self.queue.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.tell(entry);
    }

    /// An entry that was read, and the key and place where reading goes on: both are stored
    /// together, or none. Waits for room: what is read stays where it is meanwhile.
    pub(crate) async fn record_read(&self, entry: LogEntry, position: Option<(String, Vec<u8>)>) {
        let entry = self.take_in(entry);
        let message = Message::Entry(Arc::clone(&entry), position);
        if self.queue.send(message).await.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.tell(entry);
    }

    fn take_in(&self, mut entry: LogEntry) -> Arc<Recorded> {
        self.redaction.entry(&mut entry);
        entry.limit();
        Arc::new(Recorded::new(entry))
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
            for message in messages.drain(..) {
                match message {
                    Message::Entry(entry, position) => {
                        positions.extend(position);
                        entries.push(match Arc::try_unwrap(entry) {
                            Ok(recorded) => recorded.entry,
                            Err(shared) => shared.entry.clone(),
                        });
                    }
                    Message::Flush(done) => waiting.push(done),
                }
            }
            if !entries.is_empty() {
                let positions = positions.into_iter().collect();
                self.store(LogBatch { entries, positions }, &mut waiting)
                    .await;
            }
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
        let nobody_waits = !messages
            .iter()
            .any(|message| matches!(message, Message::Flush(_)));
        if count > 0 && nobody_waits && count < BATCH && !self.stop.is_cancelled() {
            // Entries come in bursts: a short wait makes one transaction of many.
            let _ = tokio::time::timeout(GATHER, async {
                while messages.len() < BATCH {
                    let room = BATCH - messages.len();
                    if inbox.recv_many(messages, room).await == 0
                        || matches!(messages.last(), Some(Message::Flush(_)))
                    {
                        break;
                    }
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
