//! The log bus: every entry goes to the store in batches, and from there to the live readers.
//!
//! Readers get what is stored, with the numbers under which it is stored: where somebody read last is
//! a place that holds after a crash too, and a reader that fell behind reads on from the store. While
//! nothing can be stored (a full disk), readers get entries all the same.
//!
//! The platform never waits for it: while the store is slow or full, its own entries queue up and
//! beyond that are lost, counted and told of, and deployments go on. What is read from replicas waits
//! where it is.
//!
//! Secrets are taken out of every entry before it goes anywhere: this is the only way in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flukedeploy_domain::log_entry::{self, Level, LogEntry, LogMetadata, LogSource, SourceType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::live::{Live, Subscription};
use crate::ports::{Clock, LogBatch, LogStore, Logged};
use crate::redaction::{Redaction, Redactor};
use crate::secret::random_u64;

/// Entries that may wait for the store.
const QUEUE: usize = 65_536;
/// Entries that were read and may wait for the store. More are read when there is room again.
const READ: usize = 16_384;
/// Entries that are worth a transaction without waiting for more.
const BATCH: usize = 2_000;
/// Writes are so far apart at least, unless they are full or somebody waits: entries come in bursts,
/// and what is stored together costs one write and wakes every reader once. The first entry after a
/// pause waits for nothing.
const GATHER: Duration = Duration::from_millis(40);
/// When entries that could not be stored are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a reader waits for what was recorded just now.
const FLUSH: Duration = Duration::from_secs(3);
/// Live readers that may read from the store at a time; the others wait.
const READS_AT_ONCE: usize = 4;
/// Live readers that fell behind and may catch up at a time; the others are told what they missed.
const CATCHING_UP: usize = 4;

pub(crate) struct Journal {
    clock: Arc<dyn Clock>,
    live: Live,
    queue: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    redaction: Redaction,
    /// Places for live readers that read from the store.
    pub(crate) reads: Arc<Semaphore>,
    /// Places for those that fell behind, each kept until it has caught up.
    pub(crate) catching_up: Arc<Semaphore>,
}

enum Message {
    Entry(Box<LogEntry>),
    Read(Read),
    Flush(oneshot::Sender<()>),
}

/// Entries that were read somewhere, and where reading goes on behind them.
struct Read {
    logged: Vec<Logged>,
    positions: Vec<(String, Vec<u8>)>,
    /// Given back once they are stored.
    room: OwnedSemaphorePermit,
}

impl Message {
    fn entries(&self) -> usize {
        match self {
            Self::Entry(_) => 1,
            Self::Read(read) => read.logged.len(),
            Self::Flush(_) => 0,
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
        let live = Live::new(store.last_sequence());
        let writer = Writer {
            inbox,
            store,
            live: live.clone(),
            lost: Arc::clone(&lost),
            trouble: Arc::clone(&trouble),
            next_at: Instant::now(),
            stop,
        };
        tasks.spawn(writer.run());
        Self {
            clock,
            live,
            queue,
            room: Arc::new(Semaphore::new(READ)),
            lost,
            trouble,
            redaction: Redaction::default(),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            catching_up: Arc::new(Semaphore::new(CATCHING_UP)),
        }
    }

    /// What is taken out of entries. Whoever quotes an app elsewhere asks it too.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Never waits: the platform does not stop because its log cannot be stored.
    pub(crate) fn record(&self, entry: LogEntry) {
        let message = Message::Entry(Box::new(self.take_in(entry)));
        let Err(
            mpsc::error::TrySendError::Full(message) | mpsc::error::TrySendError::Closed(message),
        ) = self.queue.try_send(message)
        else {
            return;
        };
        self.lost.fetch_add(1, Ordering::Relaxed);
        if let Message::Entry(entry) = message {
            self.live
                .tell_unstored(&Arc::new(LogBatch::of(vec![*entry])));
        }
    }

    /// Entries that were read, and the keys and places where reading goes on: all of them are stored
    /// together, or none. Waits for room: what is read stays where it is meanwhile.
    pub(crate) async fn record_read(
        &self,
        mut logged: Vec<Logged>,
        positions: Vec<(String, Vec<u8>)>,
    ) {
        let count = logged.len();
        let room = u32::try_from(count.min(READ)).unwrap_or(u32::MAX);
        // It is never closed.
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(room).await else {
            return;
        };
        let Ok(slot) = self.queue.reserve().await else {
            self.lost.fetch_add(count as u64, Ordering::Relaxed);
            return;
        };
        self.take_in_all(&mut logged);
        slot.send(Message::Read(Read {
            logged,
            positions,
            room,
        }));
    }

    fn take_in(&self, mut entry: LogEntry) -> LogEntry {
        self.redaction.entry(&mut entry);
        entry.limit();
        entry
    }

    /// The same for many, which are of one app as a rule.
    fn take_in_all(&self, all: &mut [Logged]) {
        let mut known: Option<(Redactor, String)> = None;
        for logged in all {
            match &known {
                Some((redactor, of)) if of == logged.app() => redactor.logged(logged),
                _ => {
                    let app = logged.app().to_owned();
                    let redactor = self.redaction.of(&app);
                    redactor.logged(logged);
                    known = Some((redactor, app));
                }
            }
            match logged {
                Logged::Entry(entry) => entry.limit(),
                Logged::Line(line) => {
                    log_entry::limit(&mut line.message, line.stack_trace.as_mut());
                }
            }
        }
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
        self.live.subscribe()
    }

    /// The number of the entry that was stored last.
    pub(crate) fn stored(&self) -> u64 {
        self.live.stored()
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
        self.live.told()
    }
}

/// Takes entries out of the queue, stores them in batches and tells the readers.
struct Writer {
    inbox: mpsc::Receiver<Message>,
    store: Arc<dyn LogStore>,
    live: Live,
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    /// Not before this, unless somebody waits.
    next_at: Instant,
    stop: CancellationToken,
}

impl Writer {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH);
        while self.gather(&mut messages).await {
            let mut waiting = Vec::new();
            let mut logged = Vec::new();
            // The last of each reader counts.
            let mut positions = HashMap::new();
            let mut rooms = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Entry(entry) => logged.push(Logged::Entry(entry)),
                    Message::Read(read) => {
                        positions.extend(read.positions);
                        if logged.is_empty() {
                            logged = read.logged;
                        } else {
                            logged.extend(read.logged);
                        }
                        rooms.push(read.room);
                    }
                    Message::Flush(done) => waiting.push(done),
                }
            }
            if !logged.is_empty() {
                let positions = positions.into_iter().collect();
                self.store(LogBatch::new(logged, positions), &mut waiting)
                    .await;
                self.next_at = Instant::now() + GATHER;
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
            let _ = tokio::time::timeout_at(self.next_at, async {
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
    /// must not be passed by. Who waits is told at once, and live readers get the entries.
    async fn store(&mut self, batch: LogBatch, waiting: &mut Vec<oneshot::Sender<()>>) {
        let batch = Arc::new(batch);
        let mut told = None;
        let first = loop {
            let error = match self.store.append(Arc::clone(&batch)).await {
                Ok(first) => break first,
                Err(error) => error,
            };
            told = told.or_else(|| Some(self.live.tell_unstored(&batch)));
            let why = in_full(&error);
            if self.note(Some(why.clone())) {
                tracing::error!(
                    error = why,
                    entries = batch.logged.len(),
                    "log entries cannot be stored; tried again every second"
                );
            }
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.lost.fetch_add(batch.logged.len() as u64, Ordering::Relaxed);
                    return;
                }
                () = tokio::time::sleep(AGAIN) => {}
            }
        };
        self.live.tell(&batch, first, told);
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
