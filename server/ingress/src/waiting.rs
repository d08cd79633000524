//! What a request does while nobody can answer it: it asks DNS, tries again, or is held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::routing::Closed;
use http::HeaderMap;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::Refusal;
use crate::client::Held;
use crate::endpoint::Endpoint;
use crate::forward::Failure;
use crate::holds::Want;
use crate::journey::Journey;
use crate::routing_state::{Pick, Unavailable};
use crate::service::{InFlight, Service};
use crate::table::Seeker;

/// Pauses while no replica can be reached.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How long and how often a request has tried in vain.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Endpoints that did not work out in this round.
    pub(crate) tried: Vec<SocketAddr>,
    /// Set with the first failure.
    give_up_at: Option<Instant>,
    pause: Duration,
    /// When it was first held.
    held_since: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tried: Vec::new(),
            give_up_at: None,
            pause: FIRST_PAUSE,
            held_since: None,
        }
    }
}

enum Next {
    Flight(InFlight),
    /// These names may know newer replicas.
    AllTried(Vec<(Arc<Service>, u16)>),
}

impl Journey<'_> {
    /// The next endpoint to try, from the newest table. Every listed one may have failed. Perhaps
    /// the cluster has replaced a replica and nobody could tell us: ask DNS. If that does not
    /// help, wait a little for a new table or a replica that comes back, and start over.
    pub(crate) async fn next_flight(&mut self, headers: &HeaderMap) -> Result<InFlight, Failure> {
        match self.next(headers).await? {
            Next::Flight(flight) => Ok(flight),
            // Rare, and large.
            Next::AllTried(_) => Box::pin(self.last_resorts(headers)).await,
        }
    }

    async fn last_resorts(&mut self, headers: &HeaderMap) -> Result<InFlight, Failure> {
        loop {
            let names = match self.next(headers).await? {
                Next::Flight(flight) => return Ok(flight),
                Next::AllTried(names) => names,
            };
            let window = self.worker.limits.retry_window;
            let give_up_at = *self
                .patience
                .give_up_at
                .get_or_insert_with(|| Instant::now() + window);
            for (service, port) in names {
                let addresses = self.worker.resolve(&service.name, port).await;
                let fresh = addresses
                    .into_iter()
                    .find(|address| !self.patience.tried.contains(address));
                if let Some(address) = fresh {
                    let endpoint = Arc::new(Endpoint::unlisted(service, address));
                    return Ok(self.chosen(InFlight::begin(endpoint, false)));
                }
            }
            let pause = self.patience.pause;
            if Instant::now() + pause > give_up_at {
                return Err(self.failed(Refusal::Unreachable));
            }
            let mut changes = self.worker.routing.changes();
            let _ = timeout(pause, changes.changed()).await;
            self.patience.pause = (pause * 2).min(LONGEST_PAUSE);
            self.patience.tried.clear();
        }
    }

    async fn next(&mut self, headers: &HeaderMap) -> Result<Next, Failure> {
        let mut pick = self.pick(headers);
        if matches!(pick, Pick::Held { .. }) {
            pick = Box::pin(self.hold(headers)).await?;
        }
        match pick {
            Pick::Chosen(flight) => Ok(Next::Flight(self.chosen(flight))),
            Pick::Exhausted(names) => Ok(Next::AllTried(names)),
            Pick::NotReady => Err(Refusal::Starting.into()),
            Pick::UnknownHost => Err(Refusal::UnknownHost.into()),
            Pick::Unavailable(why) | Pick::Held { otherwise: why, .. } => {
                Err(self.unavailable(why, Refusal::NoReplica))
            }
        }
    }

    fn pick(&mut self, headers: &HeaderMap) -> Pick {
        let mut seeker = Seeker {
            headers,
            tried: &self.patience.tried,
            turn: &mut self.turn,
            now_ms: self.worker.now_ms(),
            passes_hold: self.client.is_ourselves(),
        };
        self.worker.routing.pick(self.host, &mut seeker)
    }

    fn chosen(&mut self, flight: InFlight) -> InFlight {
        self.trace.goes_to(flight.endpoint.address);
        let service = flight.service();
        match &self.last {
            Some(last) if Arc::ptr_eq(last, service) => {}
            Some(_) => {
                // The one before must not make this one look slow.
                self.started = Instant::now();
                self.last = Some(service.clone());
            }
            None => self.last = Some(service.clone()),
        }
        flight
    }

    fn unavailable(&mut self, why: Unavailable, open: Refusal) -> Failure {
        Failure {
            refusal: match why.closed {
                Some(Closed::Stopped) => Refusal::Stopped,
                Some(Closed::Maintenance) => Refusal::InMaintenance,
                None => open,
            },
            service: why.service.or_else(|| self.last.take()),
        }
    }

    /// Waits for a table in which the request is not held, without having read its body.
    async fn hold(&mut self, headers: &HeaderMap) -> Result<Pick, Failure> {
        let routing = self.worker.routing.clone();
        let holds = routing.holds();
        let place = holds.enter();
        let _held = Held::begin(self.client);
        let since = *self.patience.held_since.get_or_insert_with(Instant::now);
        let mut want: Option<Want<'_>> = None;
        // Before the choice, so that no table can come between.
        let mut changes = routing.changes();
        loop {
            let (hold, target, otherwise) = match self.pick(headers) {
                Pick::Held {
                    hold,
                    target,
                    otherwise,
                } => (hold, target, otherwise),
                free => {
                    // As if it came only now.
                    let held_since = Some(since);
                    self.patience = Patience {
                        held_since,
                        ..Patience::default()
                    };
                    self.started = Instant::now();
                    return Ok(free);
                }
            };
            if place.is_none() {
                return Err(self.unavailable(otherwise, Refusal::TooManyWaiting));
            }
            let same = |want: &Want<'_>| want.target == target;
            if !hold.wake {
                want = None;
            } else if !want.as_ref().is_some_and(same) {
                want = Some(holds.want(&target));
            }
            let until = since + Duration::from_millis(hold.max_wait_ms).min(LONGEST_HOLD);
            let over = async {
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = self.worker.stopping() => {}
                }
            };
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = over => return Err(self.unavailable(otherwise, Refusal::NoReplica)),
            }
        }
    }
}

/// Whatever the snapshot says.
const LONGEST_HOLD: Duration = Duration::from_hours(1);
