//! Who listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use time::OffsetDateTime;

/// Most connections at a time; each costs some tens of kilobytes.
const MAX_LISTENERS: usize = 2_000;

/// The connections of all log streams of this process.
pub(crate) struct Listeners {
    count: AtomicUsize,
    started: Instant,
    pub(super) started_at: OffsetDateTime,
}

/// A place on the stream, given back when it is dropped.
pub(super) struct Seat(Arc<Listeners>);

impl Listeners {
    pub(crate) fn new(started_at: OffsetDateTime) -> Self {
        Self {
            count: AtomicUsize::new(0),
            started: Instant::now(),
            started_at,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// `None` if all places are taken.
    pub(super) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let one_more = |count: usize| (count < MAX_LISTENERS).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Seat(Arc::clone(self)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let listeners = Arc::new(Listeners::new(OffsetDateTime::UNIX_EPOCH));
        let seats: Vec<_> = (0..MAX_LISTENERS)
            .map(|_| listeners.sit().unwrap())
            .collect();
        assert!(listeners.sit().is_none());
        assert_eq!(listeners.count(), MAX_LISTENERS);
        drop(seats);
        assert_eq!(listeners.count(), 0);
        assert!(listeners.sit().is_some());
    }
}
