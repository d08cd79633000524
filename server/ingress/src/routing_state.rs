//! What all threads share: the current table, and the counters of every service.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use flukedeploy_domain::request_record::AccessRule;
use flukedeploy_domain::routing::{Closed, Hold, RoutingSnapshot, ServiceTraffic};
use tokio::sync::watch;

use crate::access::Outbox;
use crate::compile::{Known, Seen, fingerprint, validate};
use crate::config::millis;
use crate::error::SnapshotError;
use crate::holds::Holds;
use crate::service::{InFlight, Service};
use crate::table::{Route, Seeker, Table, Target};

/// What became of a snapshot that was acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Every request that is routed from now on follows it.
    Swapped,
    /// Nothing changed: it was the one in use.
    Unchanged,
    /// It was older than the one in use, whose version this is.
    Superseded { version: u64 },
}

/// The answer to "where does this request go".
#[derive(Debug)]
pub(crate) enum Pick {
    /// No snapshot has ever been seen.
    NotReady,
    UnknownHost,
    /// The route has no replica for this request at all.
    Unavailable(Unavailable),
    /// The request has to wait for another table.
    Held {
        hold: Hold,
        target: Arc<Target>,
        otherwise: Unavailable,
    },
    /// Every replica was tried; these names may know newer ones.
    Exhausted(Vec<(Arc<Service>, u16)>),
    Chosen(InFlight),
}

/// Why nobody answers, and whose fault it is.
#[derive(Debug)]
pub(crate) struct Unavailable {
    pub(crate) closed: Option<Closed>,
    pub(crate) service: Option<Arc<Service>>,
}

#[derive(Debug)]
pub(crate) struct RoutingState {
    started: Instant,
    table: ArcSwap<Table>,
    /// Generation of `table`, written after it.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    holds: Holds,
    outbox: Outbox,
    known: Mutex<Known>,
}

impl RoutingState {
    /// At most `max_held` requests wait at once.
    pub(crate) fn new(max_held: usize) -> Self {
        Self {
            started: Instant::now(),
            table: ArcSwap::from_pointee(Table::default()),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            holds: Holds::new(max_held),
            outbox: Outbox::default(),
            known: Mutex::default(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Notes of requests that wait for the link.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Which requests to `host` are to be told, if any.
    pub(crate) fn access_rule(&self, host: &str) -> Option<AccessRule> {
        self.table.load().hosts.get(host)?.access
    }

    /// The app behind `host`.
    pub(crate) fn target(&self, host: &str) -> Option<Arc<Target>> {
        Some(self.table.load().hosts.get(host)?.target.clone())
    }

    /// Resolves `changed()` after every swap.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Epoch and version in use.
    pub(crate) fn version(&self) -> Option<(String, u64)> {
        self.known()
            .seen
            .as_ref()
            .map(|seen| (seen.epoch.clone(), seen.version))
    }

    pub(crate) fn service(&self, name: &str) -> Option<Arc<Service>> {
        self.known().services.get(name).cloned()
    }

    /// Chooses where a request to `host` goes and counts it there.
    pub(crate) fn pick(&self, host: &str, seeker: &mut Seeker<'_>) -> Pick {
        loop {
            let table = self.table.load();
            if table.generation == 0 {
                return Pick::NotReady;
            }
            let Some(route) = table.hosts.get(host) else {
                return Pick::UnknownHost;
            };
            if let Some(hold) = route.hold.filter(|hold| hold.all && !seeker.passes_hold) {
                return held(route, hold, None);
            }
            let chosen = match route.choose(seeker) {
                Ok(chosen) => chosen,
                Err(nobody) if nobody.have_no_endpoints() => {
                    let service = nobody.own.map(|upstream| upstream.service.clone());
                    return match route.hold {
                        Some(hold) => held(route, hold, service),
                        None => Pick::Unavailable(unavailable(route, service)),
                    };
                }
                Err(nobody) => return Pick::Exhausted(nobody.names()),
            };
            let flight = InFlight::begin(chosen.endpoint.clone(), chosen.trial);
            // A swap between the choice and the count could let a drained service be stopped
            // under this request. Both sides are sequentially consistent: either the swapper
            // sees this count, or we see its generation and choose again.
            if self.generation.load(Ordering::SeqCst) == table.generation {
                return Pick::Chosen(flight);
            }
        }
    }

    /// Swaps the routing table. When this returns [`Applied::Swapped`], no request on any thread
    /// is routed by the old one any more.
    pub(crate) fn apply(&self, snapshot: &RoutingSnapshot) -> Result<Applied, SnapshotError> {
        validate(snapshot)?;
        let fingerprint = fingerprint(snapshot);
        let mut known = self.known();
        if let Some(seen) = known
            .seen
            .as_ref()
            .filter(|seen| seen.epoch == snapshot.epoch)
        {
            if seen.version > snapshot.version {
                return Ok(Applied::Superseded {
                    version: seen.version,
                });
            }
            if seen.version == snapshot.version && seen.fingerprint == fingerprint {
                return Ok(Applied::Unchanged);
            }
        }
        let generation = self.generation.load(Ordering::SeqCst) + 1;
        let hosts = known.compile(snapshot);
        let old = self.table.swap(Arc::new(Table { generation, hosts }));
        self.generation.store(generation, Ordering::SeqCst);
        known.retire_unlisted(snapshot);
        known.seen = Some(Seen {
            epoch: snapshot.epoch.clone(),
            version: snapshot.version,
            fingerprint,
        });
        drop(known);
        self.changes.send_replace(generation);
        // Freed here: no request holds a table across a wait, so no worker pays for it.
        drop(old);
        Ok(Applied::Swapped)
    }

    /// Totals of all known services.
    pub(crate) fn traffic(&self) -> Vec<ServiceTraffic> {
        self.known()
            .services
            .values()
            .map(|service| service.traffic())
            .collect()
    }

    /// Totals of those of these services that are known.
    pub(crate) fn traffic_of(&self, names: &[String]) -> Vec<ServiceTraffic> {
        let known = self.known();
        let found = names
            .iter()
            .filter_map(|name| known.services.get(name.as_str()));
        found.map(|service| service.traffic()).collect()
    }

    /// Forgets services that have left the table and have nothing in flight.
    pub(crate) fn forget_drained(&self) {
        let mut known = self.known();
        let Known {
            services, routed, ..
        } = &mut *known;
        services.retain(|name, service| routed.contains(name) || service.in_flight() > 0);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn held(route: &Route, hold: Hold, service: Option<Arc<Service>>) -> Pick {
    Pick::Held {
        hold,
        target: route.target.clone(),
        otherwise: unavailable(route, service),
    }
}

fn unavailable(route: &Route, service: Option<Arc<Service>>) -> Unavailable {
    Unavailable {
        closed: route.closed,
        service: service.or_else(|| route.wanted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(version: u64, epoch: &str, weight: u32, endpoints: &[&str]) -> RoutingSnapshot {
        serde_json::from_value(json!({
            "version": version, "epoch": epoch,
            "routes": [{
                "app": "shop", "environment": "production", "hosts": ["shop.localhost"],
                "upstreams": [{ "service": "fd-shop-r1", "release": 1, "weight": weight,
                                "port": 80, "endpoints": endpoints }],
            }],
        }))
        .unwrap()
    }

    fn pick(state: &RoutingState, host: &str) -> Pick {
        let mut seeker = Seeker {
            headers: &http::HeaderMap::new(),
            tried: &[],
            turn: &mut None,
            now_ms: 0,
            passes_hold: false,
        };
        state.pick(host, &mut seeker)
    }

    fn chosen(state: &RoutingState) -> InFlight {
        match pick(state, "shop.localhost") {
            Pick::Chosen(flight) => flight,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn versions_rise_within_an_epoch_only() {
        let state = RoutingState::new(10);
        assert!(matches!(pick(&state, "shop.localhost"), Pick::NotReady));
        let one = snapshot(5, "a", 1, &["127.0.0.1:1"]);
        assert_eq!(state.apply(&one).unwrap(), Applied::Swapped);
        assert_eq!(state.apply(&one).unwrap(), Applied::Unchanged);
        let older = snapshot(4, "a", 1, &["127.0.0.1:2"]);
        assert_eq!(
            state.apply(&older).unwrap(),
            Applied::Superseded { version: 5 }
        );
        assert_eq!(chosen(&state).endpoint.address.port(), 1);
        assert_eq!(
            state.apply(&snapshot(1, "b", 1, &["127.0.0.1:3"])).unwrap(),
            Applied::Swapped
        );
        assert_eq!(chosen(&state).endpoint.address.port(), 3);
        assert_eq!(state.version(), Some(("b".into(), 1)));
    }

    #[test]
    fn a_bad_snapshot_changes_nothing() {
        let state = RoutingState::new(10);
        state.apply(&snapshot(1, "a", 1, &["127.0.0.1:1"])).unwrap();
        for bad in ["0.0.0.0:1", "127.0.0.1:0", "224.0.0.1:80"] {
            assert!(state.apply(&snapshot(2, "a", 1, &[bad])).is_err(), "{bad}");
        }
        let mut twice = snapshot(2, "a", 1, &["127.0.0.1:2"]);
        twice.routes.push(twice.routes[0].clone());
        assert_eq!(
            state.apply(&twice).unwrap_err(),
            SnapshotError::DuplicateHost("shop.localhost".into())
        );
        assert!(state.apply(&snapshot(2, "", 1, &[])).is_err());
        assert_eq!(chosen(&state).endpoint.address.port(), 1);
    }

    #[test]
    fn counters_outlive_swaps_and_end_with_the_last_request() {
        let state = RoutingState::new(10);
        state.apply(&snapshot(1, "a", 1, &["127.0.0.1:1"])).unwrap();
        let flight = chosen(&state);
        flight
            .service()
            .count_answer(http::StatusCode::BAD_GATEWAY, std::time::Duration::ZERO);
        state.apply(&snapshot(2, "a", 1, &["127.0.0.1:2"])).unwrap();
        assert!(flight.endpoint.is_retired());
        assert!(!chosen(&state).endpoint.is_retired());
        assert_eq!(state.traffic()[0].server_errors, 1);
        assert_eq!(state.traffic()[0].in_flight, 1);

        let mut empty = snapshot(3, "a", 1, &[]);
        empty.routes.clear();
        state.apply(&empty).unwrap();
        state.forget_drained();
        assert_eq!(state.traffic().len(), 1, "a request is still in flight");
        drop(flight);
        state.forget_drained();
        assert!(state.traffic().is_empty());
    }

    #[test]
    fn weight_zero_retires_and_no_replica_is_unavailable() {
        let state = RoutingState::new(10);
        state.apply(&snapshot(1, "a", 1, &["127.0.0.1:1"])).unwrap();
        let endpoint = chosen(&state).endpoint.clone();
        state.apply(&snapshot(2, "a", 0, &["127.0.0.1:1"])).unwrap();
        assert!(endpoint.is_retired());
        assert!(matches!(
            pick(&state, "shop.localhost"),
            Pick::Unavailable(Unavailable { service: None, .. })
        ));
        state.apply(&snapshot(3, "a", 1, &[])).unwrap();
        assert!(matches!(
            pick(&state, "shop.localhost"),
            Pick::Unavailable(Unavailable {
                service: Some(_),
                ..
            })
        ));
        assert!(matches!(pick(&state, "blog.localhost"), Pick::UnknownHost));
        state.apply(&snapshot(4, "a", 1, &["127.0.0.1:1"])).unwrap();
        assert!(!chosen(&state).endpoint.is_retired());
    }
}
