//! The routing table, compiled from a snapshot for quick answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::endpoint::Endpoint;
use crate::service::Service;

/// More turns than this in one cycle are rounded.
const MAX_TURNS: u64 = 1_000;

/// Every route of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Which swap made it; the version and epoch are the control plane's, this is ours.
    pub(crate) generation: u64,
    pub(crate) hosts: HashMap<Box<str>, Arc<Route>>,
}

/// Where requests to a host may go now.
#[derive(Debug)]
pub(crate) struct Route {
    /// Only those that get requests: weight above 0 and at least one endpoint.
    upstreams: Box<[Upstream]>,
    /// Indexes of `upstreams`, in the order of a smooth weighted round robin.
    turns: Box<[u16]>,
    next_turn: AtomicUsize,
    /// Who is to blame if there is no upstream: the wanted service with the greatest weight.
    pub(crate) wanted: Option<Arc<Service>>,
}

/// One release and its replicas.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) service: Arc<Service>,
    pub(crate) weight: u32,
    pub(crate) port: u16,
    endpoints: Box<[Arc<Endpoint>]>,
    next: AtomicUsize,
}

impl Upstream {
    pub(crate) fn new(
        service: Arc<Service>,
        weight: u32,
        port: u16,
        endpoints: Vec<Arc<Endpoint>>,
    ) -> Self {
        Self {
            service,
            weight,
            port,
            endpoints: endpoints.into(),
            next: AtomicUsize::new(0),
        }
    }

    /// The endpoint with the fewest requests in flight; the next in turn among equals.
    fn least_busy(
        &self,
        tried: &[SocketAddr],
        suspects: Suspects,
        now_ms: u64,
    ) -> Option<&Arc<Endpoint>> {
        let usable = |endpoint: &Endpoint| {
            !tried.contains(&endpoint.address)
                && (suspects == Suspects::Allowed || !endpoint.is_suspect(now_ms))
        };
        if let [only] = &*self.endpoints {
            return usable(only).then_some(only);
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.endpoints.len().max(1);
        let (before, from) = self.endpoints.split_at(start);
        from.iter()
            .chain(before)
            .filter(|endpoint| usable(endpoint))
            .min_by_key(|endpoint| endpoint.in_flight.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspects {
    Excluded,
    Allowed,
}

impl Route {
    /// `upstreams` with weight 0 or without endpoints must have been left out.
    pub(crate) fn new(upstreams: Vec<Upstream>, wanted: Option<Arc<Service>>) -> Self {
        let weights: Vec<u32> = upstreams.iter().map(|upstream| upstream.weight).collect();
        Self {
            upstreams: upstreams.into(),
            turns: smooth_turns(&weights).into(),
            next_turn: AtomicUsize::new(0),
            wanted,
        }
    }

    pub(crate) fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// The endpoint for the next request, or for another attempt at one that was `tried`
    /// elsewhere: first the upstream whose turn it is, then the others, and last the endpoints
    /// that recently refused.
    pub(crate) fn choose(&self, tried: &[SocketAddr], now_ms: u64) -> Option<&Arc<Endpoint>> {
        let first = match &*self.turns {
            [] => return None,
            [only] => usize::from(*only),
            turns => {
                let turn = self.next_turn.fetch_add(1, Ordering::Relaxed);
                usize::from(turns[turn % turns.len()])
            }
        };
        let (before, from) = self.upstreams.split_at(first);
        [Suspects::Excluded, Suspects::Allowed]
            .into_iter()
            .find_map(|suspects| {
                from.iter()
                    .chain(before)
                    .find_map(|upstream| upstream.least_busy(tried, suspects, now_ms))
            })
    }
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
        let service = Arc::new(Service::new(name.into()));
        let endpoints = ports.iter().map(|port| endpoint(&service, *port)).collect();
        Upstream::new(service, weight, 80, endpoints)
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
        let route = Route::new(vec![upstream("a", 1, &[1, 2, 3])], None);
        let ports: Vec<u16> = (0..6)
            .map(|_| route.choose(&[], 0).unwrap().address.port())
            .collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);

        let _busy = crate::service::InFlight::begin(route.choose(&[], 0).unwrap().clone());
        assert!((0..6).all(|_| route.choose(&[], 0).unwrap().address.port() != 1));
    }

    #[test]
    fn a_suspect_is_tried_last_and_a_tried_one_never() {
        let route = Route::new(vec![upstream("a", 1, &[1]), upstream("b", 1, &[2])], None);
        let first = route.choose(&[], 0).unwrap().clone();
        first.suspect(1_000);
        for _ in 0..4 {
            assert_ne!(route.choose(&[], 1_001).unwrap().address, first.address);
        }
        let other = route.choose(&[], 1_001).unwrap().address;
        assert_eq!(
            route.choose(&[other], 1_001).unwrap().address,
            first.address
        );
        assert!(route.choose(&[other, first.address], 1_001).is_none());
        assert!((0..4).any(|_| route.choose(&[], 9_000).unwrap().address == first.address));
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
