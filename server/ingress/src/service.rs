//! Traffic of one release's service, counted across snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flukedeploy_domain::routing::ServiceTraffic;
use tokio::sync::Notify;

use crate::endpoint::Endpoint;

/// Counters of one service. One object for as long as the service is routed or has requests in
/// flight, however many snapshots come and go.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    requests: AtomicU64,
    server_errors: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU64,
    drain_waiters: AtomicU64,
    drained: Notify,
}

impl Service {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            requests: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            drain_waiters: AtomicU64::new(0),
            drained: Notify::new(),
        }
    }

    pub(crate) fn count_answer(&self, status: http::StatusCode) {
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
        }
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
}

impl InFlight {
    pub(crate) fn begin(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        // Ordered against the table's generation: see `RoutingState::pick`.
        endpoint.service.in_flight.fetch_add(1, Ordering::SeqCst);
        Self { endpoint }
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.endpoint.service
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
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
        let service = Arc::new(Service::new("s".into()));
        let endpoint = Arc::new(Endpoint::new(service.clone(), ([127, 0, 0, 1], 1).into()));
        let (one, two) = (
            InFlight::begin(endpoint.clone()),
            InFlight::begin(endpoint.clone()),
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
