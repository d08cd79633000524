//! An ingress in memory that checks what it is told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::request_record::AccessRule;
use flukedeploy_domain::routing::{ProbeOutcome, Route, RoutingSnapshot, ServiceTraffic, Upstream};
use flukedeploy_domain::traffic::LatencyCounts;
use flukedeploy_platform::ports::{IngressNews, Served, Traffic, TrafficError};
use flukedeploy_platform::secret::Secret;

use tokio::sync::{Notify, broadcast};

use crate::swarm::Swarm;
use crate::tap::{Tap, Trouble};

#[derive(Default)]
struct State {
    connected: bool,
    kept: Option<RoutingSnapshot>,
    applied: Option<RoutingSnapshot>,
    /// Apps that answered once; from then on they have to.
    served: HashSet<String>,
    /// Apps that may be without a replica for a while.
    may_pause: HashSet<String>,
    in_flight: HashMap<String, u64>,
    totals: HashMap<String, ServiceTraffic>,
    faults: Vec<String>,
    /// What it tells by itself.
    news: VecDeque<IngressNews>,
}

/// Outlives every control plane of a test.
pub(crate) struct Ingress {
    swarm: Arc<Swarm>,
    state: Mutex<State>,
    has_news: Notify,
    wanted: broadcast::Sender<(AppName, EnvironmentName)>,
}

fn gets_requests(upstream: &Upstream) -> bool {
    upstream.weight > 0 && !upstream.endpoints.is_empty()
}

/// Which environment of which app it is.
fn key(route: &Route) -> String {
    format!("{}/{}", route.app, route.environment)
}

impl Ingress {
    pub(crate) fn new(swarm: Arc<Swarm>) -> Self {
        Self {
            swarm,
            has_news: Notify::new(),
            wanted: broadcast::channel(16).0,
            state: Mutex::new(State {
                connected: true,
                ..State::default()
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pause is declared (recreate), or the test takes every replica away.
    pub(crate) fn may_pause(&self, app: &str) {
        self.lock().may_pause.insert(app.to_owned());
    }

    pub(crate) fn set_in_flight(&self, service: &str, count: u64) {
        self.lock().in_flight.insert(service.to_owned(), count);
    }

    /// Requests come and are answered, or not, each in so many microseconds.
    pub(crate) fn count(&self, service: &str, requests: u64, failed: u64, micros: u64) {
        let mut state = self.lock();
        let total = state
            .totals
            .entry(service.to_owned())
            .or_insert_with(|| ServiceTraffic {
                service: service.to_owned(),
                requests: 0,
                server_errors: 0,
                failed: 0,
                in_flight: 0,
                latency: LatencyCounts::default(),
            });
        total.requests += requests;
        total.server_errors += failed;
        let mut buckets: Vec<(u8, u64)> = total.latency.clone().into();
        let bucket = u8::try_from(LatencyCounts::bucket_of(micros)).unwrap();
        match buckets.iter_mut().find(|(found, _)| *found == bucket) {
            Some((_, count)) => *count += requests,
            None => buckets.push((bucket, requests)),
        }
        total.latency = buckets.into();
    }

    /// Somebody waits for an app that sleeps.
    pub(crate) fn want(&self, app: &str) {
        let _ = self
            .wanted
            .send((app.parse().unwrap(), EnvironmentName::production()));
    }

    pub(crate) fn tell(&self, news: IngressNews) {
        self.lock().news.push_back(news);
        self.has_news.notify_one();
    }

    /// Which requests to an app it is to tell of.
    pub(crate) fn access(&self, app: &str) -> Option<AccessRule> {
        let state = self.lock();
        let mut routes = state.applied.iter().flat_map(|applied| &applied.routes);
        routes.find(|route| route.app.as_str() == app)?.access
    }

    /// Whether requests to an app wait at this moment, and whether all of them do.
    pub(crate) fn holds(&self, app: &str) -> Option<bool> {
        let state = self.lock();
        let routes = state.applied.iter().flat_map(|applied| &applied.routes);
        routes
            .filter(|route| route.app.as_str() == app)
            .find_map(|route| route.hold.map(|hold| hold.all))
    }

    /// The line breaks; it goes on with the table it has.
    pub(crate) fn disconnect(&self) {
        self.lock().connected = false;
    }

    pub(crate) fn connect(&self) {
        let newest = {
            let mut state = self.lock();
            state.connected = true;
            state.kept.clone()
        };
        if let Some(newest) = newest {
            self.apply(newest);
        }
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// Services that get requests for an app now, with their weights.
    pub(crate) fn routed(&self, app: &str) -> Vec<(String, u32)> {
        let state = self.lock();
        let Some(applied) = &state.applied else {
            return Vec::new();
        };
        let routes = applied
            .routes
            .iter()
            .filter(|route| route.app.as_str() == app);
        routes
            .flat_map(|route| {
                route
                    .upstreams
                    .iter()
                    .filter(|upstream| gets_requests(upstream))
            })
            .map(|upstream| (upstream.service.clone(), upstream.weight))
            .collect()
    }

    pub(crate) fn hosts(&self, app: &str) -> Vec<String> {
        let state = self.lock();
        let routes = state.applied.iter().flat_map(|applied| &applied.routes);
        routes
            .filter(|route| route.app.as_str() == app)
            .flat_map(|route| route.hosts.iter().map(ToString::to_string))
            .collect()
    }

    pub(crate) fn version(&self) -> u64 {
        self.lock()
            .applied
            .as_ref()
            .map_or(0, |applied| applied.version)
    }

    /// A real ingress would send requests into the void from now on.
    pub(crate) fn about_to_be_removed(&self, service: &str) {
        let mut state = self.lock();
        let routed = state
            .applied
            .iter()
            .flat_map(|applied| &applied.routes)
            .any(|route| {
                route
                    .upstreams
                    .iter()
                    .filter(|upstream| gets_requests(upstream))
                    .any(|u| u.service == service)
            });
        if routed && state.connected {
            state
                .faults
                .push(format!("{service} was removed while it got requests"));
        }
    }

    fn apply(&self, snapshot: RoutingSnapshot) {
        let mut faults = Vec::new();
        let mut state = self.lock();
        if let Some(applied) = &state.applied
            && applied.epoch == snapshot.epoch
            && applied.version >= snapshot.version
            && *applied != snapshot
        {
            // It would ignore this one.
            faults.push(format!(
                "version {} after {}",
                snapshot.version, applied.version
            ));
        }
        for route in &snapshot.routes {
            let told = route
                .upstreams
                .iter()
                .map(|u| format!("{}*{}/{}", u.service, u.weight, u.endpoints.len()));
            let waits = match route.hold {
                Some(hold) if hold.all => " (all wait)",
                Some(_) => " (they wait)",
                None => "",
            };
            self.swarm.note(format!(
                "route {}: {}{waits}",
                route.app,
                told.collect::<Vec<_>>().join(", ")
            ));
            let answers = self.check(route, &mut faults);
            // A request that waits (bounded) is not dropped; it must not wait for ever, which
            // the end of each story shows.
            if answers || route.hold.is_some() {
                state.served.insert(key(route));
            } else if state.served.contains(&key(route))
                && !state.may_pause.contains(route.app.as_str())
            {
                faults.push(format!(
                    "{} has nobody to answer: {:?}",
                    route.app, route.upstreams
                ));
            }
        }
        let known: HashSet<String> = snapshot.routes.iter().map(key).collect();
        state.served.retain(|served| known.contains(served));
        state.faults.extend(faults);
        state.applied = Some(snapshot);
    }

    /// Whether somebody can answer. Replicas that ended by themselves may still be listed for a
    /// moment; nobody can know sooner.
    fn check(&self, route: &Route, faults: &mut Vec<String>) -> bool {
        let mut answers = false;
        for upstream in route
            .upstreams
            .iter()
            .filter(|upstream| gets_requests(upstream))
        {
            for endpoint in &upstream.endpoints {
                if self.swarm.is_well(*endpoint) {
                    answers = true;
                } else if !self.swarm.died_by_itself(endpoint.ip()) {
                    faults.push(format!(
                        "{} got {endpoint} of {}, which is not well",
                        route.app, upstream.service
                    ));
                }
            }
        }
        answers
    }
}

/// The port, as one control plane sees it.
pub(crate) struct SimTraffic {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) tap: Arc<Tap>,
}

impl SimTraffic {
    async fn before(&self, call: &'static str, about: &str) -> Result<(), TrafficError> {
        let changes = matches!(call, "publish" | "await_drained" | "request");
        self.tap
            .before(call, about, changes)
            .await
            .map_err(|trouble| match trouble {
                Trouble::Away => TrafficError::Lost,
                Trouble::Refused => TrafficError::TimedOut,
            })?;
        if self.ingress.lock().connected || call == "publish" {
            Ok(())
        } else {
            Err(TrafficError::NoneConnected)
        }
    }
}

#[async_trait]
impl Traffic for SimTraffic {
    async fn listen(&self, _: IpAddr, port: Option<u16>, _: &Secret) -> Result<u16, TrafficError> {
        Ok(port.unwrap_or(7_000))
    }

    async fn publish(&self, snapshot: RoutingSnapshot) -> Result<usize, TrafficError> {
        self.before("publish", "").await?;
        let connected = {
            let mut state = self.ingress.lock();
            state.kept = Some(snapshot.clone());
            state.connected
        };
        if !connected {
            return Err(TrafficError::NoneConnected);
        }
        self.ingress.apply(snapshot);
        self.tap.after(true).await;
        Ok(1)
    }

    async fn probe(
        &self,
        target: SocketAddr,
        probe: &HealthProbe,
        _: u64,
    ) -> Result<ProbeOutcome, TrafficError> {
        self.before("probe", "").await?;
        // Slower than reading a table from the store, as a real one is.
        tokio::time::sleep(Duration::from_millis(8)).await;
        Ok(match (self.swarm.answer(target), probe) {
            (None, _) => ProbeOutcome::Refused,
            (Some((200, _)), HealthProbe::Http { .. }) => {
                ProbeOutcome::Healthy { status: Some(200) }
            }
            (Some((status, _)), HealthProbe::Http { .. }) => ProbeOutcome::WrongAnswer {
                status,
                body_start: String::new(),
            },
            (Some(_), _) => ProbeOutcome::Healthy { status: None },
        })
    }

    async fn fresh_totals(
        &self,
        services: &[String],
    ) -> Result<HashMap<String, ServiceTraffic>, TrafficError> {
        self.before("fresh_totals", "").await?;
        let state = self.ingress.lock();
        let known = services
            .iter()
            .filter_map(|name| Some((name.clone(), state.totals.get(name)?.clone())));
        Ok(known.collect())
    }

    fn wanted(&self) -> broadcast::Receiver<(AppName, EnvironmentName)> {
        self.ingress.wanted.subscribe()
    }

    async fn news(&self) -> IngressNews {
        loop {
            let next = self.ingress.lock().news.pop_front();
            match next {
                Some(news) => return news,
                None => self.ingress.has_news.notified().await,
            }
        }
    }

    async fn await_drained(
        &self,
        service: &str,
        _: u64,
        _: Option<u64>,
    ) -> Result<u64, TrafficError> {
        self.before("await_drained", service).await?;
        self.swarm.note(format!("drained {service}"));
        let left = self
            .ingress
            .lock()
            .in_flight
            .get(service)
            .copied()
            .unwrap_or(0);
        self.tap.after(true).await;
        Ok(left)
    }

    async fn request(&self, host: &Hostname, _: &str, _: u64) -> Result<Vec<Served>, TrafficError> {
        self.before("request", host.as_str()).await?;
        let target = {
            let state = self.ingress.lock();
            let routes = state.applied.iter().flat_map(|applied| &applied.routes);
            routes
                .filter(|route| route.hosts.contains(host))
                .flat_map(|route| {
                    route
                        .upstreams
                        .iter()
                        .filter(|upstream| gets_requests(upstream))
                })
                .find_map(|upstream| upstream.endpoints.first().copied())
        };
        let answer = target.and_then(|target| self.swarm.answer(target));
        Ok(vec![match answer {
            Some((status, service)) => Served {
                status: Some(status),
                service: Some(service),
                error: None,
            },
            None => Served {
                status: Some(503),
                service: None,
                error: None,
            },
        }])
    }

    fn connected(&self) -> usize {
        usize::from(self.ingress.lock().connected)
    }

    async fn wait_connected(&self, timeout_ms: u64) -> Result<(), TrafficError> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms);
        while !self.ingress.lock().connected {
            if tokio::time::Instant::now() >= deadline {
                return Err(TrafficError::NoneConnected);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn totals(&self, _: &str) -> Option<ServiceTraffic> {
        None
    }
}
