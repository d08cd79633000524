//! Moving requests, waiting for the last ones, and counting them.

use std::time::Duration;

use flukedeploy_domain::deployment::{Deployment, PhaseName, SwitchTraffic};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::release::{Release, ReleaseNo, service_name};
use flukedeploy_domain::routing::ServiceTraffic;
use flukedeploy_domain::traffic::Traffic;

use super::drive::Stop;
use crate::platform::Platform;
use crate::ports::TrafficError;
use crate::routes::PublishError;

/// How long to wait for an ingress that is away before the traffic cannot be moved.
const INGRESS_PATIENCE_MS: u64 = 20_000;
/// How long `WebSockets` may take to close once they were asked to.
const CLOSING_MS: u64 = 5_000;
/// How long counting may hold up anything.
const COUNTING: Duration = Duration::from_secs(2);

/// Publishes the routes and waits until the ingresses follow them; waits a while for an ingress
/// that is away.
pub(super) async fn publish(px: &Platform) -> Result<(), Stop> {
    let (mut tries, mut waited) = (0, false);
    loop {
        tries += 1;
        match px.parts().routes.publish(px, true).await {
            Ok(()) => return Ok(()),
            Err(PublishError::Traffic(TrafficError::NoneConnected)) if !waited => {
                (tries, waited) = (0, true);
                tokio::select! {
                    _ = px.parts().traffic.wait_connected(INGRESS_PATIENCE_MS) => {}
                    () = px.stopping().cancelled() => return Err(Stop::Interrupted),
                }
            }
            Err(PublishError::NotKnown) if tries < 100 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(PublishError::Traffic(_)) if tries < 5 => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => {
                return Err(Diagnosis {
                    code: Cause::IngressUnavailable,
                    phase: PhaseName::Deploy,
                    message: format!("the traffic cannot be moved: {error}"),
                    evidence: Evidence::default(),
                    next: vec!["run 'flukedeploy doctor' on the node".to_owned()],
                }
                .into());
            }
        }
        if px.stopping().is_cancelled() {
            return Err(Stop::Interrupted);
        }
    }
}

/// Waits until no request to the release is left, or its drain time is over: `WebSockets` are asked
/// to close when it is. Returns what was left; `None` if the platform stops.
pub(crate) async fn drain(px: &Platform, service: &str, drain_seconds: u32) -> Option<u64> {
    let grace_ms = u64::from(drain_seconds) * 1_000;
    tokio::select! {
        () = px.stopping().cancelled() => None,
        left = drained(px, service, grace_ms + CLOSING_MS, Some(grace_ms)) => Some(left),
    }
}

/// Waits for a moment until the requests in flight have their answers. What switched protocols
/// stays open.
pub(super) async fn breathe(px: &Platform, service: &str, timeout_ms: u64) {
    tokio::select! {
        () = px.stopping().cancelled() => {}
        _ = px.parts().traffic.await_drained(service, timeout_ms, None) => {}
    }
}

async fn drained(
    px: &Platform,
    service: &str,
    timeout_ms: u64,
    close_after_ms: Option<u64>,
) -> u64 {
    let traffic = &px.parts().traffic;
    match traffic
        .await_drained(service, timeout_ms, close_after_ms)
        .await
    {
        Ok(left) => left,
        // It is away for a moment, but may still be answering requests: ask it when it is back.
        Err(TrafficError::NoneConnected | TrafficError::Lost)
            if traffic.wait_connected(15_000).await.is_ok() =>
        {
            traffic
                .await_drained(service, timeout_ms, close_after_ms)
                .await
                .unwrap_or(0)
        }
        Err(TrafficError::NoneConnected) => 0,
        Err(error) => {
            tracing::warn!(error = %error, service, "could not wait for the last requests");
            0
        }
    }
}

/// The two releases of a deployment, as the ingress names them.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) new: String,
    pub(super) old: Option<String>,
}

impl Pair {
    pub(super) fn of(px: &Platform, deployment: &Deployment, release: &Release) -> Self {
        let instance = &px.config().instance;
        let name = |number: ReleaseNo| {
            service_name(instance, &deployment.app, &deployment.environment, number)
        };
        Self {
            new: release.service_name(instance),
            old: deployment
                .from_release
                .filter(|number| *number != release.number)
                .map(name),
        }
    }

    fn names(&self) -> Vec<String> {
        std::iter::once(self.new.clone())
            .chain(self.old.clone())
            .collect()
    }
}

/// Counts of both releases at one moment.
#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) new: Traffic,
    pub(super) old: Traffic,
}

/// Counts now; `None` if the ingresses cannot be asked.
pub(super) async fn count(px: &Platform, pair: &Pair) -> Option<Counts> {
    let names = pair.names();
    let asked = px.parts().traffic.fresh_totals(&names);
    let totals = tokio::time::timeout(COUNTING, asked).await.ok()?.ok()?;
    let of = |name: &str| {
        totals
            .get(name)
            .map(ServiceTraffic::traffic)
            .unwrap_or_default()
    };
    Some(Counts {
        new: of(&pair.new),
        old: pair.old.as_deref().map(of).unwrap_or_default(),
    })
}

impl Counts {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            new: self.new.since(&before.new),
            old: self.old.since(&before.old),
        }
    }

    pub(super) fn switched(&self) -> SwitchTraffic {
        SwitchTraffic {
            served: (self.new.requests + self.old.requests)
                .saturating_sub(self.new.failed + self.old.failed),
            failed: self.new.failed + self.old.failed,
            by_new_release: self.new.requests,
        }
    }
}
