//! Where notes of all workers wait for the link.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use flukedeploy_domain::request_record::LeftOut;
use flukedeploy_domain::routing::IngressFrame;
use tokio::sync::Notify;

use super::Note;
use super::notebook::Page;
use crate::table::Target;

/// Notes that wait; the oldest go when more come.
const MAX_WAITING: usize = 20_000;
/// Notes of one batch: with the longest paths still well below the longest frame.
const BATCH: usize = 250;

#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Note>,
    left_out: HashMap<Arc<Target>, u64>,
    /// The batch that was not taken yet, ready to be sent.
    underway: Option<(u64, Arc<str>)>,
    next_id: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        // An ingress that is started again must not use a number twice.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let next_id = since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        Self {
            inner: Mutex::new(Inner {
                waiting: VecDeque::new(),
                left_out: HashMap::new(),
                underway: None,
                next_id,
            }),
            news: Notify::new(),
        }
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a worker's page, and leaves it empty.
    pub(super) fn take(&self, page: &mut Page) {
        let mut inner = self.lock();
        let Inner {
            waiting, left_out, ..
        } = &mut *inner;
        for (target, count) in page.left_out.drain() {
            *left_out.entry(target).or_default() += count;
        }
        waiting.extend(page.notes.drain(..));
        let too_many = waiting.len().saturating_sub(MAX_WAITING);
        for note in waiting.drain(..too_many) {
            *left_out.entry(note.target).or_default() += 1;
        }
        drop(inner);
        self.news.notify_one();
    }

    /// Waits until there may be a batch to send. May be dropped and called again.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// The batch that is to be sent now, with its number: the same until it is taken.
    pub(crate) fn batch(&self) -> Option<(u64, Arc<str>)> {
        let (id, notes, left_out) = {
            let mut inner = self.lock();
            if let Some(underway) = &inner.underway {
                return Some(underway.clone());
            }
            if inner.waiting.is_empty() && inner.left_out.is_empty() {
                return None;
            }
            let id = inner.next_id;
            inner.next_id += 1;
            let count = inner.waiting.len().min(BATCH);
            let notes: Vec<Note> = inner.waiting.drain(..count).collect();
            (id, notes, std::mem::take(&mut inner.left_out))
        };
        // Not under the lock: a worker might want to hand over meanwhile.
        let frame = IngressFrame::Requests {
            id,
            requests: notes.iter().map(Note::record).collect(),
            left_out: left_out
                .iter()
                .map(|(target, count)| LeftOut {
                    app: target.app.clone(),
                    environment: target.environment.clone(),
                    count: *count,
                })
                .collect(),
        };
        // Plain structs with string keys cannot fail to become JSON.
        let text: Arc<str> = serde_json::to_string(&frame).unwrap_or_default().into();
        self.lock().underway = Some((id, text.clone()));
        Some((id, text))
    }

    /// The control plane has this batch.
    pub(crate) fn taken(&self, id: u64) {
        let mut inner = self.lock();
        if inner.underway.as_ref().is_some_and(|(sent, _)| *sent == id) {
            inner.underway = None;
        }
    }
}
