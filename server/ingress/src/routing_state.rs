//! What all threads share: the current table, and the counters of every service.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use flukedeploy_domain::routing::{RoutingSnapshot, ServiceTraffic};
use tokio::sync::watch;

use crate::config::millis;
use crate::endpoint::Endpoint;
use crate::error::SnapshotError;
use crate::service::{InFlight, Service};
use crate::table::{Route, Table, Upstream};

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
    /// The route has no replica at all.
    Unavailable(Option<Arc<Service>>),
    /// Every replica was tried; these names may know newer ones.
    Exhausted(Vec<(Arc<Service>, u16)>),
    Chosen(InFlight),
}

#[derive(Debug)]
pub(crate) struct RoutingState {
    started: Instant,
    table: ArcSwap<Table>,
    /// Generation of `table`, written after it.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    known: Mutex<Known>,
}

/// The slow side: touched by snapshots and reports, never by requests.
#[derive(Debug, Default)]
struct Known {
    seen: Option<Seen>,
    services: HashMap<Arc<str>, Arc<Service>>,
    endpoints: HashMap<(Arc<str>, SocketAddr), Arc<Endpoint>>,
    routed: HashSet<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Seen {
    epoch: String,
    version: u64,
    fingerprint: u64,
}

impl RoutingState {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            table: ArcSwap::from_pointee(Table::default()),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            known: Mutex::default(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
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
    pub(crate) fn pick(&self, host: &str, tried: &[SocketAddr], now_ms: u64) -> Pick {
        loop {
            let table = self.table.load();
            if table.generation == 0 {
                return Pick::NotReady;
            }
            let Some(route) = table.hosts.get(host) else {
                return Pick::UnknownHost;
            };
            let Some(endpoint) = route.choose(tried, now_ms) else {
                if route.upstreams().is_empty() {
                    return Pick::Unavailable(route.wanted.clone());
                }
                let names = route.upstreams().iter();
                return Pick::Exhausted(names.map(|u| (u.service.clone(), u.port)).collect());
            };
            let flight = InFlight::begin(endpoint.clone());
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

impl Known {
    fn compile(&mut self, snapshot: &RoutingSnapshot) -> HashMap<Box<str>, Arc<Route>> {
        let mut hosts = HashMap::new();
        for route in &snapshot.routes {
            let mut upstreams = Vec::new();
            let mut wanted: Option<(u32, Arc<Service>)> = None;
            for upstream in &route.upstreams {
                let service = self.service_named(&upstream.service);
                if upstream.weight == 0 {
                    continue;
                }
                if wanted
                    .as_ref()
                    .is_none_or(|(weight, _)| *weight < upstream.weight)
                {
                    wanted = Some((upstream.weight, service.clone()));
                }
                if upstream.endpoints.is_empty() {
                    continue;
                }
                let addresses = upstream.endpoints.iter();
                let endpoints = addresses.map(|address| self.endpoint(&service, *address));
                let endpoints = endpoints.collect();
                upstreams.push(Upstream::new(
                    service,
                    upstream.weight,
                    upstream.port,
                    endpoints,
                ));
            }
            let compiled = Arc::new(Route::new(upstreams, wanted.map(|(_, service)| service)));
            for host in &route.hosts {
                hosts.insert(host.as_str().into(), compiled.clone());
            }
        }
        hosts
    }

    fn service_named(&mut self, name: &str) -> Arc<Service> {
        if let Some(service) = self.services.get(name) {
            return service.clone();
        }
        let name: Arc<str> = name.into();
        let service = Arc::new(Service::new(name.clone()));
        self.services.insert(name, service.clone());
        service
    }

    fn endpoint(&mut self, service: &Arc<Service>, address: SocketAddr) -> Arc<Endpoint> {
        self.endpoints
            .entry((service.name.clone(), address))
            .or_insert_with(|| Arc::new(Endpoint::new(service.clone(), address)))
            .clone()
    }

    /// After the swap, so that no pooled connection of a table still in use is thrown away.
    fn retire_unlisted(&mut self, snapshot: &RoutingSnapshot) {
        let upstreams = snapshot.routes.iter().flat_map(|route| &route.upstreams);
        self.routed = upstreams
            .clone()
            .map(|upstream| upstream.service.as_str().into())
            .collect();
        let active: HashSet<(&str, SocketAddr)> = upstreams
            .filter(|upstream| upstream.weight > 0)
            .flat_map(|u| {
                u.endpoints
                    .iter()
                    .map(|address| (u.service.as_str(), *address))
            })
            .collect();
        self.endpoints.retain(|(service, address), endpoint| {
            let keep = active.contains(&(&**service, *address));
            if !keep {
                endpoint.retire();
            }
            keep
        });
    }
}

fn validate(snapshot: &RoutingSnapshot) -> Result<(), SnapshotError> {
    if snapshot.epoch.is_empty() || snapshot.epoch.len() > 128 {
        return Err(SnapshotError::Epoch);
    }
    let mut hosts = HashSet::new();
    for route in &snapshot.routes {
        for host in &route.hosts {
            if !hosts.insert(host.as_str()) {
                return Err(SnapshotError::DuplicateHost(host.as_str().to_owned()));
            }
        }
        for upstream in &route.upstreams {
            let name = &upstream.service;
            if !(1..=255).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(SnapshotError::ServiceName);
            }
            let mut endpoints = upstream.endpoints.iter();
            if endpoints.any(|e| e.port() == 0 || e.ip().is_unspecified() || e.ip().is_multicast())
            {
                return Err(SnapshotError::Endpoint(name.clone()));
            }
        }
    }
    Ok(())
}

/// Tells two snapshots of the same version apart (a control plane restored from a backup).
fn fingerprint(snapshot: &RoutingSnapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    for route in &snapshot.routes {
        route.app.hash(&mut hasher);
        route.environment.hash(&mut hasher);
        route.hosts.hash(&mut hasher);
        route.upstreams.len().hash(&mut hasher);
        for upstream in &route.upstreams {
            upstream.service.hash(&mut hasher);
            upstream.weight.hash(&mut hasher);
            upstream.port.hash(&mut hasher);
            upstream.endpoints.hash(&mut hasher);
        }
    }
    hasher.finish()
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

    fn chosen(state: &RoutingState) -> InFlight {
        match state.pick("shop.localhost", &[], 0) {
            Pick::Chosen(flight) => flight,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn versions_rise_within_an_epoch_only() {
        let state = RoutingState::new();
        assert!(matches!(
            state.pick("shop.localhost", &[], 0),
            Pick::NotReady
        ));
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
        let state = RoutingState::new();
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
        let state = RoutingState::new();
        state.apply(&snapshot(1, "a", 1, &["127.0.0.1:1"])).unwrap();
        let flight = chosen(&state);
        flight.service().count_answer(http::StatusCode::BAD_GATEWAY);
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
        let state = RoutingState::new();
        state.apply(&snapshot(1, "a", 1, &["127.0.0.1:1"])).unwrap();
        let endpoint = chosen(&state).endpoint.clone();
        state.apply(&snapshot(2, "a", 0, &["127.0.0.1:1"])).unwrap();
        assert!(endpoint.is_retired());
        assert!(matches!(
            state.pick("shop.localhost", &[], 0),
            Pick::Unavailable(None)
        ));
        state.apply(&snapshot(3, "a", 1, &[])).unwrap();
        assert!(matches!(
            state.pick("shop.localhost", &[], 0),
            Pick::Unavailable(Some(_))
        ));
        assert!(matches!(
            state.pick("blog.localhost", &[], 0),
            Pick::UnknownHost
        ));
        state.apply(&snapshot(4, "a", 1, &["127.0.0.1:1"])).unwrap();
        assert!(!chosen(&state).endpoint.is_retired());
    }
}
