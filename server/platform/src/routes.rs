//! The routing table: what the store wants, with the replicas the fleet knows to be well.

use std::collections::HashMap;
use std::sync::Mutex;

use flukedeploy_domain::app::Environment;
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::routing::{Route, RoutingSnapshot, Upstream};
use flukedeploy_domain::timestamp;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::TrafficError;
use crate::secret::random_id;

const EPOCH: &str = "routing_epoch";

type Key = (AppName, EnvironmentName);

/// Who gets traffic while a deployment moves it. Not stored: after a crash the active release
/// gets all of it again, and the deployment goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Weights per release.
    Split(Vec<(ReleaseNo, u32)>),
    /// Nobody: the old release is about to stop and the new one does not run yet.
    Nobody,
}

#[derive(Default)]
pub(crate) struct Routes {
    shifts: Mutex<HashMap<Key, Shift>>,
    /// Releases never change, so they are read once.
    releases: Mutex<HashMap<(Key, ReleaseNo), Release>>,
    /// Held while a table is made and sent, so that tables arrive in order.
    last: tokio::sync::Mutex<Option<RoutingSnapshot>>,
}

impl Routes {
    pub(crate) fn set_shift(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        shift: Option<Shift>,
    ) {
        let mut shifts = self
            .shifts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (app.clone(), environment.clone());
        match shift {
            Some(shift) => shifts.insert(key, shift),
            None => shifts.remove(&key),
        };
    }

    fn shift(&self, environment: &Environment) -> Option<Shift> {
        self.shifts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&(environment.app.clone(), environment.name.clone()))
            .cloned()
    }

    /// Makes the table anew and publishes it if it differs; failures are logged, since the next
    /// change or the next ingress that connects brings it again.
    pub(crate) async fn refresh(&self, px: &Platform) {
        match self.publish(px, false).await {
            Ok(_)
            | Err(PublishError::NotKnown | PublishError::Traffic(TrafficError::NoneConnected)) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "routes were not published"
                );
            }
        }
    }

    /// Publishes the table and returns once every connected ingress uses it.
    pub(crate) async fn publish(
        &self,
        px: &Platform,
        must_confirm: bool,
    ) -> Result<(), PublishError> {
        let mut last = self.last.lock().await;
        if !px.parts().fleet.is_known() {
            return Err(PublishError::NotKnown);
        }
        let routes = self
            .routes(px)
            .await
            .map_err(|error| PublishError::Store(Box::new(error)))?;
        if !must_confirm
            && last
                .as_ref()
                .is_some_and(|snapshot| snapshot.routes == routes)
        {
            return Ok(());
        }
        let epoch = match last.as_ref() {
            Some(snapshot) => snapshot.epoch.clone(),
            None => px
                .parts()
                .store
                .remember_once(EPOCH, &random_id(16))
                .await
                .map_err(|error| PublishError::Store(Box::new(error.into())))?,
        };
        // Taken from the clock, so that it rises over restarts without being stored.
        let now = u64::try_from(timestamp::to_unix_ms(px.now())).unwrap_or(0);
        let version = last
            .as_ref()
            .map_or(now, |snapshot| now.max(snapshot.version + 1));
        let snapshot = RoutingSnapshot {
            version,
            epoch,
            routes,
        };
        *last = Some(snapshot.clone());
        px.parts().traffic.publish(snapshot).await?;
        Ok(())
    }

    async fn routes(&self, px: &Platform) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        for environment in px.parts().store.environments().await? {
            let weights: Vec<(ReleaseNo, u32)> = match self.shift(&environment) {
                Some(Shift::Split(weights)) => weights,
                Some(Shift::Nobody) => Vec::new(),
                None => environment
                    .active_release
                    .map(|number| (number, 1))
                    .into_iter()
                    .collect(),
            };
            let mut upstreams = Vec::new();
            for (number, weight) in weights {
                let Some(release) = self.release(px, &environment, number).await? else {
                    continue;
                };
                let service = release.service_name(&px.config().instance);
                upstreams.push(Upstream {
                    endpoints: px.parts().fleet.endpoints(&service),
                    service,
                    release: number.0,
                    weight,
                    port: release.settings.container_port,
                });
            }
            let own: Option<Hostname> = px.config().host_of(&environment.app, &environment.name);
            routes.push(Route {
                hosts: own
                    .into_iter()
                    .chain(environment.settings.domains.iter().cloned())
                    .collect(),
                app: environment.app,
                environment: environment.name,
                upstreams,
            });
        }
        routes.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        Ok(routes)
    }

    async fn release(
        &self,
        px: &Platform,
        environment: &Environment,
        number: ReleaseNo,
    ) -> Result<Option<Release>, Error> {
        let key = ((environment.app.clone(), environment.name.clone()), number);
        let known = self
            .releases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&key)
            .filter(|release| release.created_at >= environment.created_at)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = px
            .parts()
            .store
            .release(&environment.app, &environment.name, number)
            .await?;
        if let Some(release) = &found {
            self.releases
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(key, release.clone());
        }
        Ok(found)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the engine was not seen yet")]
    NotKnown,
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    #[error("the routes could not be read")]
    Store(#[source] Box<Error>),
}
