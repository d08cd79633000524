//! The routing table, compiled from a snapshot for quick answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::request_record::AccessRule;
use flukedeploy_domain::routing::{Closed, Hold};
use http::HeaderMap;

use crate::endpoint::Endpoint;
use crate::service::Service;
use crate::testers::Testers;

/// More turns than this in one cycle are rounded.
const MAX_TURNS: u64 = 1_000;

/// Every route of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Which swap made it; the version and epoch are the control plane's, this is ours.
    pub(crate) generation: u64,
    pub(crate) hosts: HashMap<Box<str>, Arc<Route>>,
}

/// The app that a route belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) app: AppName,
    pub(crate) environment: EnvironmentName,
}

/// Where requests to a host may go now.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) target: Arc<Target>,
    pub(crate) hold: Option<Hold>,
    pub(crate) closed: Option<Closed>,
    /// Which requests are told, if any.
    pub(crate) access: Option<AccessRule>,
    /// Those with a weight above 0, whether they have endpoints or not, then those that only
    /// testers get.
    upstreams: Box<[Upstream]>,
    /// Indexes of `upstreams`, in the order of a smooth weighted round robin.
    turns: Box<[u16]>,
    /// Outlives the table, so that swaps favour nobody.
    next_turn: Arc<AtomicUsize>,
    has_testers: bool,
}

/// One release and its replicas.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) service: Arc<Service>,
    pub(crate) weight: u32,
    pub(crate) port: u16,
    /// It may answer what another could not.
    pub(crate) fallback: bool,
    pub(crate) testers: Option<Testers>,
    pub(crate) endpoints: Box<[Arc<Endpoint>]>,
    next: AtomicUsize,
}

/// What the choice of an endpoint depends on.
#[derive(Debug)]
pub(crate) struct Seeker<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// Endpoints that did not work out.
    pub(crate) tried: &'a [SocketAddr],
    /// Whose turn this request was; it stays so however often it is tried.
    pub(crate) turn: &'a mut Option<Arc<Service>>,
    pub(crate) now_ms: u64,
    /// It need not wait where all others do: an app in maintenance can be proved to serve.
    pub(crate) passes_hold: bool,
}

/// The endpoint for a request. `trial`: it has failed before, and this request is the only one
/// that tries it now.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    pub(crate) endpoint: &'a Arc<Endpoint>,
    pub(crate) trial: bool,
}

/// Who may answer a request, and has not been able to.
#[derive(Debug)]
pub(crate) struct Nobody<'a> {
    /// The one whose turn it was.
    pub(crate) own: Option<&'a Upstream>,
    pub(crate) others: Vec<&'a Upstream>,
}

impl Nobody<'_> {
    pub(crate) fn have_no_endpoints(&self) -> bool {
        let mut all = self.own.iter().chain(&self.others);
        all.all(|upstream| upstream.endpoints.is_empty())
    }

    /// Names that may know newer replicas than the table.
    pub(crate) fn names(&self) -> Vec<(Arc<Service>, u16)> {
        let all = self.own.iter().chain(&self.others);
        all.filter(|upstream| !upstream.endpoints.is_empty())
            .map(|upstream| (upstream.service.clone(), upstream.port))
            .collect()
    }
}

impl Upstream {
    pub(crate) fn new(service: Arc<Service>, port: u16, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self {
            service,
            weight: 1,
            port,
            fallback: true,
            testers: None,
            endpoints: endpoints.into(),
            next: AtomicUsize::new(0),
        }
    }

    /// The endpoint with the fewest requests in flight; the next in turn among equals. One whose
    /// suspicion has run out gets the first request that comes by.
    fn least_busy(&self, seeker: &Seeker<'_>, suspects: Suspects) -> Option<Chosen<'_>> {
        let untried = |endpoint: &Endpoint| !seeker.tried.contains(&endpoint.address);
        let start = match self.endpoints.len() {
            0 => return None,
            1 => 0,
            count => self.next.fetch_add(1, Ordering::Relaxed) % count,
        };
        let (before, from) = self.endpoints.split_at(start);
        let mut best: Option<(u64, &Arc<Endpoint>)> = None;
        for endpoint in from.iter().chain(before).filter(|e| untried(e)) {
            if suspects == Suspects::Excluded && !endpoint.is_trusted() {
                if endpoint.begin_trial(seeker.now_ms) {
                    let trial = true;
                    return Some(Chosen { endpoint, trial });
                }
                continue;
            }
            let busy = endpoint.in_flight.load(Ordering::Relaxed);
            if best.is_none_or(|(least, _)| busy < least) {
                best = Some((busy, endpoint));
            }
        }
        best.map(|(_, endpoint)| Chosen {
            endpoint,
            trial: false,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspects {
    Excluded,
    Allowed,
}

impl Route {
    /// `upstreams` with weight 0 and no testers must have been left out, and those with weight 0
    /// must come last.
    pub(crate) fn new(
        target: Arc<Target>,
        upstreams: Vec<Upstream>,
        next_turn: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            target,
            hold: None,
            closed: None,
            access: None,
            turns: smooth_turns(&weights(&upstreams)).into(),
            has_testers: upstreams.iter().any(|u| u.testers.is_some()),
            upstreams: upstreams.into(),
            next_turn,
        }
    }

    /// Whose fault it is if nobody answers: the wanted service with the greatest weight.
    pub(crate) fn wanted(&self) -> Option<Arc<Service>> {
        let weighted = self.upstreams.iter().filter(|u| u.weight > 0);
        // The first of equals.
        let most = weighted.rev().max_by_key(|upstream| upstream.weight);
        most.map(|upstream| upstream.service.clone())
    }

    /// The endpoint for the next request, or for another attempt at one that was tried elsewhere:
    /// first the upstream whose turn it is, then the others that may stand in for it, and last
    /// the endpoints that recently refused.
    pub(crate) fn choose(&self, seeker: &mut Seeker<'_>) -> Result<Chosen<'_>, Nobody<'_>> {
        if self.has_testers
            && let Some(chosen) = self.choose_for_tester(seeker)
        {
            return Ok(chosen);
        }
        let Some(first) = self.turn_of(seeker) else {
            let (own, others) = (None, Vec::new());
            return Err(Nobody { own, others });
        };
        let (before, from) = self.upstreams.split_at(first);
        for suspects in [Suspects::Excluded, Suspects::Allowed] {
            let mut able = from.iter().chain(before).enumerate();
            let chosen = able.find_map(|(distance, upstream)| {
                let may = distance == 0 || upstream.may_stand_in();
                may.then(|| upstream.least_busy(seeker, suspects)).flatten()
            });
            if let Some(chosen) = chosen {
                return Ok(chosen);
            }
        }
        let others = from.iter().skip(1).chain(before);
        Err(Nobody {
            own: from.first(),
            others: others.filter(|other| other.may_stand_in()).collect(),
        })
    }

    fn choose_for_tester(&self, seeker: &Seeker<'_>) -> Option<Chosen<'_>> {
        let wanted = |upstream: &&Upstream| {
            let rule = upstream.testers.as_ref();
            rule.is_some_and(|testers| testers.include(seeker.headers))
        };
        let for_testers = self.upstreams.iter().find(wanted)?;
        for_testers
            .least_busy(seeker, Suspects::Excluded)
            .or_else(|| for_testers.least_busy(seeker, Suspects::Allowed))
    }

    /// Index of the upstream whose turn a request is. A request takes a turn once; only if that
    /// upstream has left the table it takes another.
    fn turn_of(&self, seeker: &mut Seeker<'_>) -> Option<usize> {
        match &*self.turns {
            [] => return None,
            [only] => return Some(usize::from(*only)),
            _ => {}
        }
        let kept = seeker.turn.as_ref().and_then(|service| {
            let same = |u: &Upstream| u.weight > 0 && u.service.name == service.name;
            self.upstreams.iter().position(same)
        });
        let index = kept.unwrap_or_else(|| {
            let turn = self.next_turn.fetch_add(1, Ordering::Relaxed);
            usize::from(self.turns[turn % self.turns.len()])
        });
        if kept.is_none() {
            *seeker.turn = Some(self.upstreams[index].service.clone());
        }
        Some(index)
    }
}

impl Upstream {
    fn may_stand_in(&self) -> bool {
        self.fallback && self.weight > 0
    }
}

/// The weights that take turns, in their order.
pub(crate) fn weights(upstreams: &[Upstream]) -> Vec<u32> {
    let weights = upstreams.iter().map(|upstream| upstream.weight);
    weights.filter(|weight| *weight > 0).collect()
}

/// One cycle of a smooth weighted round robin over `weights` (all above 0): each index appears in
/// proportion to its weight, and as evenly spread as can be.
fn smooth_turns(weights: &[u32]) -> Vec<u16> {
    let divisor = weights
        .iter()
        .fold(0, |divisor, weight| gcd(divisor, *weight))
        .max(1);
    let mut shares: Vec<u64> = weights
        .iter()
        .map(|weight| u64::from(weight / divisor))
        .collect();
    let sum: u64 = shares.iter().sum();
    if sum > MAX_TURNS {
        for share in &mut shares {
            // A weight above 0 always gets a turn, however small.
            *share = ((*share * MAX_TURNS + sum / 2) / sum).max(1);
        }
    }
    let total: u64 = shares.iter().sum();
    let mut credit = vec![0i64; shares.len()];
    let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        for (credit, share) in credit.iter_mut().zip(&shares) {
            *credit += i64::try_from(*share).unwrap_or(i64::MAX);
        }
        // The first of equals, so that a cycle starts with the first upstream.
        let mut best = 0;
        for index in 1..credit.len() {
            if credit[index] > credit[best] {
                best = index;
            }
        }
        credit[best] -= i64::try_from(total).unwrap_or(i64::MAX);
        turns.push(u16::try_from(best).unwrap_or(u16::MAX));
    }
    turns
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(service: &Arc<Service>, port: u16) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(
            service.clone(),
            ([127, 0, 0, 1], port).into(),
        ))
    }

    fn upstream(name: &str, weight: u32, ports: &[u16]) -> Upstream {
        let service = Arc::new(Service::new(name.into(), 1));
        let endpoints = ports.iter().map(|port| endpoint(&service, *port)).collect();
        let mut upstream = Upstream::new(service, 80, endpoints);
        upstream.weight = weight;
        upstream
    }

    fn canary(weight: u32, ports: &[u16]) -> Upstream {
        let mut upstream = upstream("canary", weight, ports);
        upstream.fallback = false;
        upstream
    }

    fn route(upstreams: Vec<Upstream>) -> Route {
        let target = Target {
            app: "shop".parse().unwrap(),
            environment: "production".parse().unwrap(),
        };
        Route::new(Arc::new(target), upstreams, Arc::default())
    }

    /// The port that a request of its own gets.
    fn choose(route: &Route, tried: &[SocketAddr], now_ms: u64) -> Option<u16> {
        choose_as(route, &mut None, tried, now_ms)
    }

    fn choose_as(
        route: &Route,
        turn: &mut Option<Arc<Service>>,
        tried: &[SocketAddr],
        now_ms: u64,
    ) -> Option<u16> {
        let headers = &HeaderMap::new();
        let mut seeker = Seeker {
            headers,
            tried,
            turn,
            now_ms,
            passes_hold: false,
        };
        let chosen = route.choose(&mut seeker).ok()?;
        Some(chosen.endpoint.address.port())
    }

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn turns_are_smooth_and_exact() {
        assert_eq!(smooth_turns(&[1]), [0]);
        assert_eq!(smooth_turns(&[5]), [0]);
        assert_eq!(smooth_turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(smooth_turns(&[50, 50]), [0, 1]);
        assert!(smooth_turns(&[]).is_empty());
        let huge = smooth_turns(&[u32::MAX, 1]);
        assert_eq!(huge.iter().filter(|turn| **turn == 1).count(), 1);
    }

    #[test]
    fn replicas_take_turns_and_the_busy_one_is_spared() {
        let route = route(vec![upstream("a", 1, &[1, 2, 3])]);
        let ports: Vec<_> = (0..6).filter_map(|_| choose(&route, &[], 0)).collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);

        let busy = route.upstreams[0].endpoints[0].clone();
        let _busy = crate::service::InFlight::begin(busy, false);
        assert!((0..6).all(|_| choose(&route, &[], 0) != Some(1)));
    }

    #[test]
    fn a_suspect_is_tried_last_and_a_tried_one_never() {
        let route = route(vec![upstream("a", 1, &[1]), upstream("b", 1, &[2])]);
        let first = route.upstreams[0].endpoints[0].clone();
        first.suspect(1_000);
        assert!((0..4).all(|_| choose(&route, &[], 1_001) == Some(2)));
        assert_eq!(choose(&route, &[at(2)], 1_001), Some(1));
        assert_eq!(choose(&route, &[at(2), at(1)], 1_001), None);
    }

    #[test]
    fn one_request_at_a_time_tries_a_suspect_again() {
        let route = route(vec![upstream("a", 1, &[1, 2])]);
        let first = route.upstreams[0].endpoints[0].clone();
        first.suspect(1_000);
        let ports: Vec<_> = (0..6).filter_map(|_| choose(&route, &[], 9_000)).collect();
        assert_eq!(ports.iter().filter(|port| **port == 1).count(), 1);
        // It failed: longer now.
        first.suspect(9_000);
        first.end_trial();
        assert!((0..6).all(|_| choose(&route, &[], 11_999) == Some(2)));
        assert!((0..2).any(|_| choose(&route, &[], 12_000) == Some(1)));
        first.trust();
        first.end_trial();
        let ports: Vec<_> = (0..6).filter_map(|_| choose(&route, &[], 12_000)).collect();
        assert_eq!(ports.iter().filter(|port| **port == 1).count(), 3);
    }

    #[test]
    fn a_canary_never_stands_in_for_another() {
        let route = route(vec![upstream("stable", 3, &[1, 2]), canary(1, &[3])]);
        let mut seen = Vec::new();
        for _ in 0..8 {
            let mut turn = None;
            let port = choose_as(&route, &mut turn, &[], 0).unwrap();
            if port == 3 {
                seen.push(port);
                assert_eq!(
                    choose_as(&route, &mut turn, &[at(3)], 0).map(|p| p < 3),
                    Some(true)
                );
            } else {
                // The turn is kept: neither another attempt nor the last resort is the canary.
                assert!(choose_as(&route, &mut turn, &[at(port)], 0).unwrap() < 3);
                assert_eq!(choose_as(&route, &mut turn, &[at(1), at(2)], 0), None);
            }
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_canary_gets_no_more_while_the_others_have_no_replicas() {
        let route = route(vec![upstream("stable", 3, &[]), canary(1, &[3])]);
        let answered = (0..8).filter(|_| choose(&route, &[], 0).is_some()).count();
        assert_eq!(answered, 2);
        let alone = self::route(vec![canary(1, &[3])]);
        assert!((0..8).all(|_| choose(&alone, &[], 0) == Some(3)));
    }

    #[test]
    fn a_turn_is_taken_anew_if_its_service_has_left() {
        let gone = Some(Arc::new(Service::new("gone".into(), 1)));
        let route = route(vec![upstream("a", 1, &[1]), upstream("b", 1, &[2])]);
        let ports = (0..4).filter_map(|_| choose_as(&route, &mut gone.clone(), &[], 0));
        assert_eq!(ports.collect::<Vec<_>>(), [1, 2, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_weight_gets_its_share(weights in proptest::collection::vec(1u32..200, 1..5)) {
            let turns = smooth_turns(&weights);
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for (index, weight) in weights.iter().enumerate() {
                let got = turns.iter().filter(|turn| usize::from(**turn) == index).count() as u64;
                let total = turns.len() as u64;
                prop_assert!((got * sum).abs_diff(u64::from(*weight) * total) <= sum + total);
            }
        }
    }
}
