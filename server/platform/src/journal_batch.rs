//! What the journal stores in one write.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use flukedeploy_domain::log_entry::LogEntry;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::journal::{BATCH, Message};
use crate::live::{Live, Told};
use crate::ports::{LogBatch, Logged};

/// Text of entries that is written at once; the store takes several times as much.
const BATCH_BYTES: usize = 8 << 20;

/// Entries that are stored together.
pub(crate) struct Batch {
    pub(crate) shared: Arc<LogBatch>,
    pub(crate) told: Vec<Told>,
    rooms: Vec<OwnedSemaphorePermit>,
    /// Those that nobody reads again.
    pub(crate) own: u64,
}

/// A batch as it comes together.
#[derive(Default)]
struct Gathering {
    logged: Vec<Logged>,
    bytes: usize,
    /// The last of each reader counts.
    positions: HashMap<String, Vec<u8>>,
    told: Vec<Told>,
    rooms: Vec<OwnedSemaphorePermit>,
    own: u64,
}

impl Gathering {
    fn add(&mut self, logged: Vec<Logged>, number: Option<u64>) {
        self.bytes += logged.iter().map(Logged::text_bytes).sum::<usize>();
        if self.logged.is_empty() {
            self.logged = logged;
        } else {
            self.logged.extend(logged);
        }
        let end = self.logged.len();
        add_told(&mut self.told, Told { end, number });
    }

    fn done(self) -> Option<Batch> {
        if self.logged.is_empty() {
            return None;
        }
        let positions = self.positions.into_iter().collect();
        let batch = LogBatch::new(self.logged, positions);
        Some(Batch {
            shared: Arc::new(batch),
            told: self.told,
            rooms: self.rooms,
            own: self.own,
        })
    }
}

impl Batch {
    /// One of the platform's own.
    pub(crate) fn of_own(entry: LogEntry) -> Self {
        let batch = LogBatch::of(vec![entry]);
        let (end, number) = (1, None);
        Self {
            shared: Arc::new(batch),
            told: vec![Told { end, number }],
            rooms: Vec::new(),
            own: 1,
        }
    }

    /// Of what was recorded; who waits for it is put aside.
    pub(crate) fn all_of(
        messages: &mut Vec<Message>,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> VecDeque<Self> {
        let mut batches = VecDeque::new();
        let mut next = Gathering::default();
        for message in messages.drain(..) {
            match message {
                Message::Entry(entry) => {
                    next.own += 1;
                    next.add(vec![Logged::Entry(entry)], None);
                }
                Message::Read(read) => {
                    next.positions.extend(read.positions);
                    next.rooms.push(read.room);
                    next.add(read.logged, read.told);
                }
                Message::Flush(done) => waiting.push(done),
            }
            if next.bytes >= BATCH_BYTES {
                batches.extend(std::mem::take(&mut next).done());
            }
        }
        batches.extend(next.done());
        batches
    }

    pub(crate) fn len(&self) -> usize {
        self.shared.logged.len()
    }

    /// To live readers, what they have not heard yet.
    pub(crate) fn tell_unstored(&mut self, live: &Live) {
        let mut from = 0;
        for part in &mut self.told {
            if part.number.is_none() {
                part.number = Some(live.tell_unstored(&self.shared, from..part.end));
            }
            from = part.end;
        }
    }

    /// Takes in what came after it.
    fn join(&mut self, later: Self) {
        let earlier = Arc::unwrap_or_clone(std::mem::take(&mut self.shared));
        let later_ones = Arc::unwrap_or_clone(later.shared);
        let before = earlier.logged.len();
        let mut logged = earlier.logged;
        logged.extend(later_ones.logged);
        let mut positions: HashMap<_, _> = earlier.positions.into_iter().collect();
        positions.extend(later_ones.positions);
        self.shared = Arc::new(LogBatch::new(logged, positions.into_iter().collect()));
        for part in later.told {
            let end = before + part.end;
            add_told(&mut self.told, Told { end, ..part });
        }
        self.rooms.extend(later.rooms);
        self.own += later.own;
    }
}

fn add_told(told: &mut Vec<Told>, part: Told) {
    match told.last_mut() {
        Some(last) if last.number == part.number => last.end = part.end,
        _ => told.push(part),
    }
}

/// What came in bit by bit is not written so.
pub(crate) fn join_small(batches: &mut VecDeque<Batch>) {
    while let [first, second, ..] = batches.make_contiguous()
        && first.len() + second.len() <= BATCH
        && let Some(second) = batches.remove(1)
        && let Some(first) = batches.front_mut()
    {
        first.join(second);
    }
}
