//! One replica of one release, as a place to connect to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::service::Service;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// How long an endpoint that could not be connected to is only tried after all others; doubled
/// with every further failure, up to the longest.
const SUSPECT_MS: u64 = 1_500;
const LONGEST_SUSPECT_MS: u64 = 30_000;

/// A replica. It keeps its identity while it stays in the routing table; an address that comes
/// back later, perhaps for another service, is another endpoint, so that no pooled connection
/// can reach the wrong app.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: u64,
    pub(crate) service: Arc<Service>,
    pub(crate) address: SocketAddr,
    pub(crate) in_flight: AtomicU64,
    /// On the clock of `RoutingState::now_ms`; 0 for never.
    suspect_until_ms: AtomicU64,
    /// How often in a row it was suspected.
    failures: AtomicU32,
    /// One request is finding out whether it is well again.
    on_trial: AtomicBool,
    retired: AtomicBool,
}

impl Endpoint {
    pub(crate) fn new(service: Arc<Service>, address: SocketAddr) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            service,
            address,
            in_flight: AtomicU64::new(0),
            suspect_until_ms: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            on_trial: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// An address from DNS, for one request: its connection is never pooled.
    pub(crate) fn unlisted(service: Arc<Service>, address: SocketAddr) -> Self {
        let endpoint = Self::new(service, address);
        endpoint.retire();
        endpoint
    }

    /// Nothing has failed since the last success.
    pub(crate) fn is_trusted(&self) -> bool {
        self.suspect_until_ms.load(Ordering::Relaxed) == 0
    }

    /// Whether the caller is the one request that may try it, now that its suspicion has run out.
    /// The trial lasts until [`end_trial`](Self::end_trial).
    pub(crate) fn begin_trial(&self, now_ms: u64) -> bool {
        now_ms >= self.suspect_until_ms.load(Ordering::Relaxed)
            && !self.on_trial.load(Ordering::Relaxed)
            && !self.on_trial.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_trial(&self) {
        self.on_trial.store(false, Ordering::Release);
    }

    /// Many requests may fail at the same moment: that counts once.
    pub(crate) fn suspect(&self, now_ms: u64) {
        let until = self.suspect_until_ms.load(Ordering::Relaxed);
        if now_ms < until {
            return;
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let longer = SUSPECT_MS << failures.min(16);
        let next = now_ms + longer.min(LONGEST_SUSPECT_MS);
        let claimed = self.suspect_until_ms.compare_exchange(
            until,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if claimed.is_ok() {
            self.failures
                .store(failures.saturating_add(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn trust(&self) {
        if !self.is_trusted() {
            self.suspect_until_ms.store(0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It gets no new requests any more, and its connections are not kept.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_grows_and_a_success_ends_it() {
        let service = Arc::new(Service::new("s".into(), 1));
        let endpoint = Endpoint::new(service, ([127, 0, 0, 1], 1).into());
        let mut now_ms = 1_000;
        for expected_ms in [1_500, 3_000, 6_000, 12_000, 24_000, 30_000, 30_000] {
            endpoint.suspect(now_ms);
            // A second failure at the same moment adds nothing.
            endpoint.suspect(now_ms);
            assert!(!endpoint.begin_trial(now_ms + expected_ms - 1));
            now_ms += expected_ms;
            assert!(endpoint.begin_trial(now_ms), "{expected_ms}");
            assert!(!endpoint.begin_trial(now_ms), "one at a time");
            endpoint.end_trial();
        }
        endpoint.trust();
        assert!(endpoint.is_trusted());
        endpoint.suspect(now_ms);
        assert!(endpoint.begin_trial(now_ms + 1_500), "from the start again");
    }
}
