//! One worker per environment, so that deployments of one environment follow each other while
//! different apps run side by side.

use std::collections::HashMap;
use std::sync::Mutex;

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::{Deployment, DeploymentId, Wishes};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::drive::run_deployment;
use super::traffic::Counts;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::StoreError;

type Key = (AppName, EnvironmentName);

/// How long after a deployment's end the lines of before may still arrive.
const LINES_MAY_COME: time::Duration = time::Duration::minutes(1);

pub(crate) struct Runner {
    /// Environments with a worker; `true`: something new came while it worked.
    workers: Mutex<HashMap<Key, bool>>,
    steering: Mutex<HashMap<DeploymentId, Steering>>,
    /// When deployments ended that did so a moment ago: their last lines may still be on the way.
    recent: Mutex<HashMap<DeploymentId, OffsetDateTime>>,
    changes: broadcast::Sender<DeploymentId>,
    /// What had been counted when deployments began to move traffic, for their receipts.
    counts: Mutex<HashMap<DeploymentId, Counts>>,
    /// Held (many at a time) while a deployment changes a service, and (alone) while the
    /// reconciler decides about one and changes it: what was a leftover when the reconciler looked
    /// may be what a deployment has just started.
    pub(crate) service_changes: tokio::sync::RwLock<()>,
}

/// What callers want of a deployment that is under way; the store has it too.
#[derive(Clone)]
pub(super) struct Steering {
    pub(super) cancel: CancellationToken,
    pub(super) wishes: watch::Sender<Wishes>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            workers: Mutex::default(),
            steering: Mutex::default(),
            recent: Mutex::default(),
            changes: broadcast::channel(256).0,
            counts: Mutex::default(),
            service_changes: tokio::sync::RwLock::default(),
        }
    }
}

impl Runner {
    /// Makes sure that the environment's waiting deployments get run.
    pub(crate) fn wake(&self, px: &Platform, app: &AppName, environment: &EnvironmentName) {
        let key = (app.clone(), environment.clone());
        {
            let mut workers = lock(&self.workers);
            if let Some(dirty) = workers.get_mut(&key) {
                *dirty = true;
                return;
            }
            workers.insert(key.clone(), false);
        }
        let px = px.clone();
        px.clone()
            .parts()
            .tasks
            // Boxed: a deployment holds much, and most workers wait.
            .spawn(async move { Box::pin(px.parts().runner.work(&px, key)).await });
    }

    /// Tells a running or waiting deployment that it was asked to stop.
    pub(crate) async fn cancel(&self, px: &Platform, deployment: &Deployment) {
        self.token(&deployment.id).cancel();
        self.wake(px, &deployment.app, &deployment.environment);
        // It may have ended in between; then nobody else takes its token away.
        let found = px.parts().store.deployment(&deployment.id).await;
        if found.is_ok_and(|found| found.is_none_or(|found| found.state.is_final())) {
            self.ended(&deployment.id, px.now());
        }
    }

    /// Tells a deployment that a newer one takes its place; the store knows already.
    pub(crate) async fn superseded(&self, px: &Platform, id: &DeploymentId, by: &Deployment) {
        let steering = self.steering(id);
        steering
            .wishes
            .send_modify(|wishes| wishes.superseded_by = Some(by.id.clone()));
        if let Ok(Some(former)) = px.parts().store.deployment(id).await {
            self.cancel(px, &former).await;
        } else {
            steering.cancel.cancel();
        }
    }

    /// Cancels everything unfinished of an app (of one environment, if one is named) and waits
    /// (bounded) until it has ended.
    pub(crate) async fn stop_app(
        &self,
        px: &Platform,
        actor: &Actor,
        app: &AppName,
        environment: Option<&EnvironmentName>,
    ) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        let mut changes = self.changes();
        loop {
            let unfinished: Vec<_> = px
                .parts()
                .store
                .unfinished_deployments()
                .await?
                .into_iter()
                .filter(|deployment| {
                    deployment.app == *app
                        && environment.is_none_or(|name| deployment.environment == *name)
                })
                .collect();
            if unfinished.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(());
            }
            for deployment in unfinished {
                if !self.is_cancelled(&deployment.id) {
                    // A second caller may have been quicker; both want the same.
                    let _ = crate::deployments::cancel(px, actor, &deployment.id).await;
                }
            }
            let _ = tokio::time::timeout_at(deadline, changes.recv()).await;
        }
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<DeploymentId> {
        self.changes.subscribe()
    }

    /// Lines printed up to this time belong to this deployment: its end, or for ever while it has
    /// not ended. `None`: it ended long ago.
    pub(crate) fn runs_until(&self, id: &str) -> Option<OffsetDateTime> {
        let running = lock(&self.steering);
        if running.keys().any(|running| running.as_str() == id) {
            return Some(PrimitiveDateTime::MAX.assume_utc());
        }
        lock(&self.recent)
            .iter()
            .find_map(|(ended, end)| (ended.as_str() == id).then_some(*end))
    }

    pub(crate) fn announce(&self, id: &DeploymentId) {
        // No listener is fine.
        let _ = self.changes.send(id.clone());
    }

    pub(super) fn token(&self, id: &DeploymentId) -> CancellationToken {
        self.steering(id).cancel
    }

    pub(super) fn steering(&self, id: &DeploymentId) -> Steering {
        let mut steering = lock(&self.steering);
        let one = steering.entry(id.clone()).or_insert_with(|| Steering {
            cancel: CancellationToken::new(),
            wishes: watch::channel(Wishes::default()).0,
        });
        one.clone()
    }

    /// Hands on what a caller has just stored.
    pub(crate) fn steer(&self, id: &DeploymentId, wishes: Wishes) {
        if let Some(steering) = lock(&self.steering).get(id) {
            steering.wishes.send_replace(wishes);
        }
        self.announce(id);
    }

    fn is_cancelled(&self, id: &DeploymentId) -> bool {
        lock(&self.steering)
            .get(id)
            .is_some_and(|steering| steering.cancel.is_cancelled())
    }

    /// Notes what had been counted when a deployment began to move traffic.
    pub(super) fn began(&self, id: &DeploymentId, counts: Counts) {
        lock(&self.counts).insert(id.clone(), counts);
    }

    pub(super) fn counted_before(&self, id: &DeploymentId) -> Option<Counts> {
        lock(&self.counts).get(id).cloned()
    }

    pub(super) fn ended(&self, id: &DeploymentId, now: OffsetDateTime) {
        let mut recent = lock(&self.recent);
        recent.retain(|_, end| now - *end < LINES_MAY_COME);
        recent.insert(id.clone(), now);
        lock(&self.counts).remove(id);
        lock(&self.steering).remove(id);
    }

    async fn work(&self, px: &Platform, key: Key) {
        let place = Place {
            runner: self,
            key: &key,
        };
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = px.parts().fleet.shares_put_back() => {}
        }
        loop {
            match next(px, &key).await {
                Ok(Some(deployment)) => Box::pin(run_deployment(px, deployment)).await,
                Ok(None) => {
                    let mut workers = lock(&self.workers);
                    if workers.insert(key.clone(), false) != Some(true) {
                        workers.remove(&key);
                        // Under the lock: from here on the place may be somebody else's.
                        std::mem::forget(place);
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "deployments could not be read"
                    );
                    tokio::select! {
                        () = px.stopping().cancelled() => {}
                        () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                    }
                }
            }
            if px.stopping().is_cancelled() {
                return;
            }
        }
    }
}

/// A worker's place in the list. Given up also if the worker panics, so that the next wake-up finds
/// no ghost at work.
struct Place<'a> {
    runner: &'a Runner,
    key: &'a Key,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.runner.workers).remove(self.key);
    }
}

async fn next(px: &Platform, key: &Key) -> Result<Option<Deployment>, Error> {
    Ok(busy_deployments(px)
        .await?
        .into_iter()
        .find(|deployment| deployment.app == key.0 && deployment.environment == key.1))
}

/// Unfinished ones that do something or are about to, oldest first: those that wait for an approval
/// change nothing, and nothing waits for them.
pub(crate) async fn busy_deployments(px: &Platform) -> Result<Vec<Deployment>, StoreError> {
    let store = &px.parts().store;
    // In this order: one that begins to wait in between is still told of.
    let parked = store.parked_deployments().await?;
    let mut unfinished = store.unfinished_deployments().await?;
    unfinished.retain(|deployment| !parked.contains(&deployment.id));
    Ok(unfinished)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
