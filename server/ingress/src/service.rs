//! Traffic of one release's service, counted across snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flukedeploy_domain::routing::ServiceTraffic;
use flukedeploy_domain::traffic::{LATENCY_BUCKETS, LatencyCounts};
use tokio::sync::{Notify, watch};

use crate::endpoint::Endpoint;

/// How often the tunnels of a service were asked to close, and which of these requests have run
/// out of time. What began after a request is not meant by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Closing {
    asked: u64,
    cut: u64,
}

/// What is wanted of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelWish {
    Stay,
    Close,
    Cut,
}

/// Counters of one service. One object for as long as the service is routed or has requests in
/// flight, however many snapshots come and go.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    /// Number of the release that it runs.
    pub(crate) release: u32,
    requests: AtomicU64,
    server_errors: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU64,
    /// Counted by [`LatencyCounts::bucket_of`].
    latency: [AtomicU64; LATENCY_BUCKETS],
    drain_waiters: AtomicU64,
    drained: Notify,
    /// `closing.asked`, for the way of a request.
    closings: AtomicU64,
    closing: watch::Sender<Closing>,
}

impl Service {
    pub(crate) fn new(name: Arc<str>, release: u32) -> Self {
        Self {
            name,
            release,
            requests: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; LATENCY_BUCKETS],
            drain_waiters: AtomicU64::new(0),
            drained: Notify::new(),
            closings: AtomicU64::new(0),
            closing: watch::Sender::new(Closing::default()),
        }
    }

    /// `took` is the time until the answer's head.
    pub(crate) fn count_answer(&self, status: http::StatusCode, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency[LatencyCounts::bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        if status.is_server_error() {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_failure(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn traffic(&self) -> ServiceTraffic {
        ServiceTraffic {
            service: self.name.to_string(),
            requests: self.requests.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            in_flight: self.in_flight(),
            latency: LatencyCounts::from_buckets(std::array::from_fn(|bucket| {
                self.latency[bucket].load(Ordering::Relaxed)
            })),
        }
    }

    pub(crate) fn closing(&self) -> watch::Receiver<Closing> {
        self.closing.subscribe()
    }

    /// Asks every tunnel there is to close.
    fn ask_to_close(&self) -> u64 {
        let asked = self.closings.fetch_add(1, Ordering::SeqCst) + 1;
        self.closing
            .send_modify(|closing| closing.asked = closing.asked.max(asked));
        asked
    }

    /// Waits until nothing is in flight, asks tunnels to close after `close_after` and cuts them
    /// after `limit`; answers what was left then.
    pub(crate) async fn drained_closing(&self, limit: Duration, close_after: Duration) -> u64 {
        let close_after = close_after.min(limit);
        if self.drained(close_after).await == 0 {
            return 0;
        }
        let asked = self.ask_to_close();
        let left = self.drained(limit.saturating_sub(close_after)).await;
        if left > 0 {
            self.closing
                .send_modify(|closing| closing.cut = closing.cut.max(asked));
        }
        left
    }

    /// Waits until nothing is in flight; answers what is left after `limit`.
    pub(crate) async fn drained(&self, limit: Duration) -> u64 {
        let _waiting = Waiting::new(self);
        let wait = async {
            loop {
                let mut notified = std::pin::pin!(self.drained.notified());
                notified.as_mut().enable();
                if self.in_flight() == 0 {
                    return;
                }
                notified.await;
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(()) => 0,
            Err(_) => self.in_flight(),
        }
    }
}

struct Waiting<'a>(&'a Service);

impl<'a> Waiting<'a> {
    fn new(service: &'a Service) -> Self {
        service.drain_waiters.fetch_add(1, Ordering::SeqCst);
        Self(service)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.drain_waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One request on its way to one endpoint, from the routing choice to the end of the answer.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) endpoint: Arc<Endpoint>,
    /// It is the one request that tries an endpoint which has failed before.
    trial: bool,
    /// How often the service's tunnels had been asked to close when this began.
    closings: u64,
}

impl InFlight {
    pub(crate) fn begin(endpoint: Arc<Endpoint>, trial: bool) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        let service = &endpoint.service;
        // Ordered against the table's generation: see `RoutingState::pick`.
        service.in_flight.fetch_add(1, Ordering::SeqCst);
        let closings = service.closings.load(Ordering::Relaxed);
        Self {
            endpoint,
            trial,
            closings,
        }
    }

    /// The endpoint answered.
    pub(crate) fn succeeded(&mut self) {
        self.endpoint.trust();
        if std::mem::take(&mut self.trial) {
            self.endpoint.end_trial();
        }
    }

    /// What the tunnel that this became is asked to do.
    pub(crate) fn wish(&self, closing: Closing) -> TunnelWish {
        if closing.cut > self.closings {
            TunnelWish::Cut
        } else if closing.asked > self.closings {
            TunnelWish::Close
        } else {
            TunnelWish::Stay
        }
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.endpoint.service
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.trial {
            self.endpoint.end_trial();
        }
        let service = &self.endpoint.service;
        if service.in_flight.fetch_sub(1, Ordering::SeqCst) == 1
            && service.drain_waiters.load(Ordering::SeqCst) > 0
        {
            service.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_ends_with_the_last_request() {
        let service = Arc::new(Service::new("s".into(), 1));
        let endpoint = Arc::new(Endpoint::new(service.clone(), ([127, 0, 0, 1], 1).into()));
        let (one, two) = (
            InFlight::begin(endpoint.clone(), false),
            InFlight::begin(endpoint.clone(), false),
        );
        assert_eq!(service.drained(Duration::from_millis(1)).await, 2);

        let waiting = tokio::spawn({
            let service = service.clone();
            async move { service.drained(Duration::from_secs(30)).await }
        });
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        assert_eq!(waiting.await.unwrap(), 0);
        assert_eq!(endpoint.in_flight.load(Ordering::Relaxed), 0);
    }
}
