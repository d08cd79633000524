//! One replica of one release, as a place to connect to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::service::Service;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// How long an endpoint that could not be connected to is only tried after all others.
const SUSPECT_MS: u64 = 1_500;

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
            retired: AtomicBool::new(false),
        }
    }

    /// An address from DNS, for one request: its connection is never pooled.
    pub(crate) fn unlisted(service: Arc<Service>, address: SocketAddr) -> Self {
        let endpoint = Self::new(service, address);
        endpoint.retire();
        endpoint
    }

    pub(crate) fn is_suspect(&self, now_ms: u64) -> bool {
        let until = self.suspect_until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms < until
    }

    pub(crate) fn suspect(&self, now_ms: u64) {
        self.suspect_until_ms
            .store(now_ms + SUSPECT_MS, Ordering::Relaxed);
    }

    pub(crate) fn trust(&self) {
        if self.suspect_until_ms.load(Ordering::Relaxed) != 0 {
            self.suspect_until_ms.store(0, Ordering::Relaxed);
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
