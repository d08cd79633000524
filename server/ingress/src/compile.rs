//! From a snapshot to a table: what is checked, and what lives on from table to table.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use flukedeploy_domain::routing::{self, RoutingSnapshot};

use crate::endpoint::Endpoint;
use crate::error::SnapshotError;
use crate::service::Service;
use crate::table::{Route, Target, Upstream, weights};
use crate::testers::Testers;

/// Lists of weights whose turns are remembered for one app.
const MAX_TURN_LISTS: usize = 16;

/// The slow side: touched by snapshots and reports, never by requests.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) seen: Option<Seen>,
    pub(crate) services: HashMap<Arc<str>, Arc<Service>>,
    endpoints: HashMap<(Arc<str>, SocketAddr), Arc<Endpoint>>,
    pub(crate) routed: HashSet<Arc<str>>,
    /// How far the turns have come, by app and list of weights, the latest used last: a table that
    /// began them anew would favour the first.
    turns: HashMap<Arc<Target>, Vec<Turns>>,
}

#[derive(Debug)]
struct Turns {
    weights: Vec<u32>,
    next: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) epoch: String,
    pub(crate) version: u64,
    pub(crate) fingerprint: u64,
}

impl Known {
    pub(crate) fn compile(&mut self, snapshot: &RoutingSnapshot) -> HashMap<Box<str>, Arc<Route>> {
        let mut hosts = HashMap::new();
        for route in &snapshot.routes {
            let compiled = Arc::new(self.compile_route(route));
            for host in &route.hosts {
                hosts.insert(host.as_str().into(), compiled.clone());
            }
        }
        hosts
    }

    fn compile_route(&mut self, route: &routing::Route) -> Route {
        let (mut upstreams, mut for_testers) = (Vec::new(), Vec::new());
        for upstream in &route.upstreams {
            let service = self.service_named(&upstream.service, upstream.release);
            let testers = upstream.testers.as_ref().and_then(Testers::new);
            if upstream.weight == 0 && testers.is_none() {
                continue;
            }
            let addresses = upstream.endpoints.iter();
            let endpoints = addresses.map(|address| self.endpoint(&service, *address));
            let endpoints = endpoints.collect();
            let mut compiled = Upstream::new(service, upstream.port, endpoints);
            compiled.weight = upstream.weight;
            compiled.fallback = upstream.fallback;
            compiled.testers = testers;
            if upstream.weight > 0 {
                upstreams.push(compiled);
            } else {
                for_testers.push(compiled);
            }
        }
        upstreams.append(&mut for_testers);
        let target = Arc::new(Target {
            app: route.app.clone(),
            environment: route.environment.clone(),
        });
        let next_turn = self.next_turn(&target, weights(&upstreams));
        let mut compiled = Route::new(target, upstreams, next_turn);
        compiled.hold = route.hold;
        compiled.closed = route.closed;
        compiled.access = route.access;
        compiled
    }

    fn next_turn(&mut self, target: &Arc<Target>, weights: Vec<u32>) -> Arc<AtomicUsize> {
        if weights.len() < 2 {
            // Nobody to take turns with.
            return Arc::default();
        }
        let lists = self.turns.entry(target.clone()).or_default();
        let turns = match lists.iter().position(|turns| turns.weights == weights) {
            Some(index) => lists.remove(index),
            None => Turns {
                weights,
                next: Arc::default(),
            },
        };
        if lists.len() == MAX_TURN_LISTS {
            lists.remove(0);
        }
        let next = turns.next.clone();
        lists.push(turns);
        next
    }

    fn service_named(&mut self, name: &str, release: u32) -> Arc<Service> {
        if let Some(service) = self.services.get(name) {
            return service.clone();
        }
        let name: Arc<str> = name.into();
        let service = Arc::new(Service::new(name.clone(), release));
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
    pub(crate) fn retire_unlisted(&mut self, snapshot: &RoutingSnapshot) {
        let upstreams = snapshot.routes.iter().flat_map(|route| &route.upstreams);
        self.routed = upstreams
            .clone()
            .map(|upstream| upstream.service.as_str().into())
            .collect();
        let active: HashSet<(&str, SocketAddr)> = upstreams
            .filter(|upstream| upstream.weight > 0 || upstream.testers.is_some())
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
        let apps: HashSet<_> = snapshot
            .routes
            .iter()
            .map(|route| (&route.app, &route.environment))
            .collect();
        self.turns
            .retain(|target, _| apps.contains(&(&target.app, &target.environment)));
    }
}

pub(crate) fn validate(snapshot: &RoutingSnapshot) -> Result<(), SnapshotError> {
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
pub(crate) fn fingerprint(snapshot: &RoutingSnapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    for route in &snapshot.routes {
        route.app.hash(&mut hasher);
        route.environment.hash(&mut hasher);
        route.hosts.hash(&mut hasher);
        let hold = route.hold.map(|h| (h.max_wait_ms, h.all, h.wake));
        hold.hash(&mut hasher);
        route.closed.hash(&mut hasher);
        route.access.hash(&mut hasher);
        route.upstreams.len().hash(&mut hasher);
        for upstream in &route.upstreams {
            upstream.service.hash(&mut hasher);
            upstream.weight.hash(&mut hasher);
            upstream.fallback.hash(&mut hasher);
            upstream.testers.hash(&mut hasher);
            upstream.port.hash(&mut hasher);
            upstream.endpoints.hash(&mut hasher);
        }
    }
    hasher.finish()
}
