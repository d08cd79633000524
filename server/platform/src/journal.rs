//! The log bus: every entry goes to the live readers at once and to the store in batches.
//!
//! Writers never wait: a store that is slow or full loses entries, counts them and says so, and
//! deployments go on. A reader that is slow is told how many entries it missed.
//!
//! Secrets are taken out of every entry before it goes anywhere: this is the only way in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::log_entry::{Level, LogEntry, LogMetadata, LogSource, SourceType};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ports::{Clock, LogStore};
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
    broadcast_count: AtomicU64,
    redaction: Redaction,
}

enum Message {
    Entry(Arc<Recorded>),
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
        tasks.spawn(write(inbox, store, Arc::clone(&lost), stop));
        Self {
            clock,
            live: broadcast::channel(LIVE).0,
            queue,
            lost,
            broadcast_count: AtomicU64::new(0),
            redaction: Redaction::default(),
        }
    }

    /// What is taken out of entries. Whoever quotes an app elsewhere asks it too.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    pub(crate) fn record(&self, mut entry: LogEntry) {
        self.redaction.entry(&mut entry);
        entry.limit();
        let entry = Arc::new(Recorded::new(entry));
        if self
            .queue
            .try_send(Message::Entry(Arc::clone(&entry)))
            .is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.broadcast_count.fetch_add(1, Ordering::Relaxed);
        // No reader is fine.
        let _ = self.live.send(entry);
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

    /// Returns once everything recorded so far is stored (or was given up).
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    pub(crate) fn broadcast_count(&self) -> u64 {
        self.broadcast_count.load(Ordering::Relaxed)
    }
}

async fn write(
    mut inbox: mpsc::Receiver<Message>,
    store: Arc<dyn LogStore>,
    lost: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let mut messages = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            count = inbox.recv_many(&mut messages, BATCH) => count,
            () = stop.cancelled() => {
                // Take what is there and end: nobody waits for a sender that never closes.
                inbox.close();
                inbox.recv_many(&mut messages, BATCH).await
            }
        };
        if count == 0 {
            return;
        }
        let nobody_waits = !messages
            .iter()
            .any(|message| matches!(message, Message::Flush(_)));
        if nobody_waits && count < BATCH && !stop.is_cancelled() {
            // Entries come in bursts: a short wait makes one transaction of many.
            let _ = tokio::time::timeout(GATHER, async {
                while messages.len() < BATCH {
                    let room = BATCH - messages.len();
                    if inbox.recv_many(&mut messages, room).await == 0
                        || matches!(messages.last(), Some(Message::Flush(_)))
                    {
                        break;
                    }
                }
            })
            .await;
        }
        let mut waiting = Vec::new();
        let mut entries = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Entry(entry) => entries.push(match Arc::try_unwrap(entry) {
                    Ok(recorded) => recorded.entry,
                    Err(shared) => shared.entry.clone(),
                }),
                Message::Flush(done) => waiting.push(done),
            }
        }
        if !entries.is_empty()
            && let Err(error) = store.append(&entries).await
        {
            lost.fetch_add(entries.len() as u64, Ordering::Relaxed);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                entries = entries.len(),
                "log entries could not be stored"
            );
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            tracing::warn!(entries = missing, "log entries were lost");
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}
