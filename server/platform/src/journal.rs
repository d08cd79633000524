//! The log bus: every entry goes to the store in batches, and from there to the live readers.
//!
//! Readers get what is stored, with the numbers under which it is stored: where somebody read last is
//! a place that holds after a crash too, and a reader that fell behind reads on from the store. While
//! nothing can be stored (a full disk), readers get entries all the same, and are not told of them
//! again once they are stored.
//!
//! The platform never waits for it: while the store is slow or full, its own entries queue up and
//! beyond that are lost, counted and told of, and deployments go on. What is read from replicas waits
//! where it is.
//!
//! Secrets are taken out of every entry before it goes anywhere: this is the only way in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flukedeploy_domain::log_entry::{
    self, EventType, Level, LogEntry, LogMetadata, LogSource, SYSTEM, SourceType,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::journal_batch::{Batch, join_small};
use crate::live::{Live, Subscription};
use crate::ports::{Clock, LogBatch, LogStore, Logged};
use crate::redaction::{Redaction, Redactor};
use crate::secret::random_u64;

/// Entries that may wait for the store.
const QUEUE: usize = 65_536;
/// Entries that were read and may wait for the store. More are read when there is room again.
const READ: usize = 16_384;
/// Entries that are worth a transaction without waiting for more.
pub(crate) const BATCH: usize = 2_000;
/// Writes are so far apart at least, unless they are full or somebody waits: entries come in bursts,
/// and what is stored together costs one write and wakes every reader once. The first entry after a
/// pause waits for nothing.
const GATHER: Duration = Duration::from_millis(40);
/// When entries that could not be stored are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often who waits for room asks whether anything is stored.
const LOOK: Duration = Duration::from_millis(100);
/// Between what is told to live readers while nothing can be stored.
const TELL: Duration = Duration::from_millis(2);
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
    /// For what cannot wait.
    more_room: Arc<Semaphore>,
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    redaction: Redaction,
    /// Places for live readers that read from the store.
    pub(crate) reads: Arc<Semaphore>,
    /// Places for those that fell behind, each kept until it has caught up.
    pub(crate) catching_up: Arc<Semaphore>,
}

pub(crate) enum Message {
    Entry(Box<LogEntry>),
    Read(Read),
    Flush(oneshot::Sender<()>),
}

/// Entries that were read somewhere, and where reading goes on behind them.
pub(crate) struct Read {
    pub(crate) logged: Vec<Logged>,
    pub(crate) positions: Vec<(String, Vec<u8>)>,
    /// They were told already, the first of them under this number.
    pub(crate) told: Option<u64>,
    /// Given back once they are stored.
    pub(crate) room: OwnedSemaphorePermit,
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
            clock: Arc::clone(&clock),
            next_at: Instant::now(),
            stop,
        };
        tasks.spawn(writer.run());
        Self {
            clock,
            live,
            queue,
            room: Arc::new(Semaphore::new(READ)),
            more_room: Arc::new(Semaphore::new(READ)),
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
            self.tell_unstored(vec![Logged::Entry(entry)]);
        }
    }

    fn tell_unstored(&self, logged: Vec<Logged>) -> u64 {
        let range = 0..logged.len();
        let batch = Arc::new(LogBatch::new(logged, Vec::new()));
        self.live.tell_unstored(&batch, range)
    }

    /// Room for entries that were read: what is read stays where it is meanwhile.
    pub(crate) async fn room(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        let room = u32::try_from(count.min(READ)).unwrap_or(u32::MAX);
        // It is never closed.
        Arc::clone(&self.room).acquire_many_owned(room).await.ok()
    }

    /// The same for what cannot wait while nothing can be stored. `None`: there is none.
    pub(crate) async fn room_at_once(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            room = self.room(count) => room,
            () = self.stands_still(|| true) => {
                let room = u32::try_from(count).unwrap_or(u32::MAX);
                Arc::clone(&self.more_room).try_acquire_many_owned(room).ok()
            }
        }
    }

    /// Entries that were read, and the keys and places where reading goes on: all of them are stored
    /// together, or none. `told`: what [`tell_ahead`](Self::tell_ahead) said, if they were told.
    pub(crate) async fn record_read(
        &self,
        room: OwnedSemaphorePermit,
        mut logged: Vec<Logged>,
        positions: Vec<(String, Vec<u8>)>,
        told: Option<u64>,
    ) {
        let Ok(slot) = self.queue.reserve().await else {
            self.lost.fetch_add(logged.len() as u64, Ordering::Relaxed);
            return;
        };
        self.take_in_all(&mut logged);
        slot.send(Message::Read(Read {
            logged,
            positions,
            told,
            room,
        }));
    }

    /// Comes when live readers are ready for more, or are too slow to wait for them.
    pub(crate) async fn may_tell_ahead(&self) {
        let patience = Instant::now() + LOOK;
        while self.live.is_ahead() && Instant::now() < patience {
            tokio::time::sleep(TELL).await;
        }
    }

    /// Entries for which there is no room now, to live readers; they are recorded later.
    pub(crate) fn tell_ahead(&self, mut logged: Vec<Logged>) -> u64 {
        self.take_in_all(&mut logged);
        self.tell_unstored(logged)
    }

    /// Entries that nobody reads again and for which there is no room: they are lost.
    pub(crate) fn lose(&self, logged: Vec<Logged>) {
        self.lost.fetch_add(logged.len() as u64, Ordering::Relaxed);
        self.tell_ahead(logged);
    }

    /// Comes when nothing can be stored and live readers would miss what is printed.
    pub(crate) async fn must_tell_ahead(&self) {
        self.stands_still(|| self.live.has_readers()).await;
    }

    /// Comes when nothing can be stored, and more.
    pub(crate) async fn stands_still(&self, and: impl Fn() -> bool) {
        while self.trouble().is_none() || !and() {
            tokio::time::sleep(LOOK).await;
        }
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
        self.record(own_entry(&*self.clock, level, message.into(), metadata));
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

fn own_entry(clock: &dyn Clock, level: Level, message: String, metadata: LogMetadata) -> LogEntry {
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
    LogEntry::new(clock.now(), random_u64(), level, message, source, metadata)
}

/// Takes entries out of the queue, stores them in batches and tells the readers.
struct Writer {
    inbox: mpsc::Receiver<Message>,
    store: Arc<dyn LogStore>,
    live: Live,
    lost: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    clock: Arc<dyn Clock>,
    /// Not before this, unless somebody waits.
    next_at: Instant,
    stop: CancellationToken,
}

impl Writer {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH);
        while self.gather(&mut messages).await {
            let mut waiting = Vec::new();
            let batches = Batch::all_of(&mut messages, &mut waiting);
            if !batches.is_empty() {
                let is_stored = self.store(batches, &mut waiting).await;
                self.next_at = Instant::now() + GATHER;
                if !is_stored {
                    // What comes behind must not be stored either: it would be a gap.
                    self.lose_rest();
                }
            }
            answer(&mut waiting);
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
    /// must not be passed by. Who waits is told at once, and live readers get the entries; so they
    /// do of what comes meanwhile, which is stored afterwards. `false`: the platform stops.
    async fn store(
        &mut self,
        mut batches: VecDeque<Batch>,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        while let Some(batch) = batches.front() {
            let error = match self.store.append(Arc::clone(&batch.shared)).await {
                Ok(first) => {
                    self.live.tell(&batch.shared, first, &batch.told);
                    batches.pop_front();
                    join_small(&mut batches);
                    if batches.is_empty() && self.note(None) {
                        tracing::info!("log entries are stored again");
                        batches.push_back(self.own(Level::Info, "Log entries are stored again"));
                    }
                    continue;
                }
                Err(error) => error,
            };
            let why = in_full(&error);
            if self.note(Some(why.clone())) {
                tracing::error!(
                    error = why,
                    entries = batch.len(),
                    "log entries cannot be stored; tried again every second"
                );
                let text = format!(
                    "Log entries cannot be stored now ({why}). Deployments and live readers go on, \
                     and storing does by itself once it works again"
                );
                batches.push_back(self.own(Level::Warn, &text));
            }
            for batch in &mut batches {
                batch.tell_unstored(&self.live);
            }
            answer(waiting);
            if !self.wait(&mut batches, waiting).await {
                let own = batches.iter().map(|batch| batch.own).sum();
                self.lost.fetch_add(own, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    fn lose_rest(&mut self) {
        self.inbox.close();
        while let Ok(message) = self.inbox.try_recv() {
            let own = u64::from(matches!(message, Message::Entry(_)));
            self.lost.fetch_add(own, Ordering::Relaxed);
        }
    }

    /// Until it is to be tried again; takes in what comes meanwhile. `false`: the platform stops.
    async fn wait(
        &mut self,
        batches: &mut VecDeque<Batch>,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let again = Instant::now() + AGAIN;
        let mut messages = Vec::new();
        loop {
            let entries: usize = batches.iter().map(Batch::len).sum();
            let has_room = entries < QUEUE;
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep_until(again) => return true,
                count = self.inbox.recv_many(&mut messages, BATCH), if has_room => {
                    if count == 0 {
                        return false;
                    }
                    for mut batch in Batch::all_of(&mut messages, waiting) {
                        batch.tell_unstored(&self.live);
                        batches.push_back(batch);
                    }
                    answer(waiting);
                    tokio::time::sleep(TELL).await;
                }
            }
        }
    }

    /// An entry of the journal about itself.
    fn own(&self, level: Level, text: &str) -> Batch {
        let metadata = LogMetadata::new(EventType::PostDeploy, SYSTEM);
        let mut entry = own_entry(&*self.clock, level, text.to_owned(), metadata);
        entry.limit();
        Batch::of_own(entry)
    }

    /// Whether that is new.
    fn note(&self, trouble: Option<String>) -> bool {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = noted.is_some() != trouble.is_some();
        *noted = trouble;
        is_new
    }
}

fn answer(waiting: &mut Vec<oneshot::Sender<()>>) {
    for done in waiting.drain(..) {
        let _ = done.send(());
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
