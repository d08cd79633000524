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
use crate::ports::{StoreError, TrafficError};
use crate::secret::random_id;

const EPOCH: &str = "routing_epoch";
const VERSIONS: &str = "routing_versions_until";
/// So many versions (milliseconds, as they come from the clock) are set aside at a time.
const VERSIONS_AT_ONCE: u64 = 3_600_000;

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
    last: tokio::sync::Mutex<Option<Last>>,
}

/// The newest table.
struct Last {
    snapshot: RoutingSnapshot,
    /// It was handed over. Not so if the caller went away while it was being sent.
    handed_over: bool,
    /// Versions up to this one are set aside for this process.
    versions_until: u64,
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

    /// The app is no more; another one may come under its name.
    pub(crate) fn forget_app(&self, app: &AppName) {
        self.shifts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|(shifted, _), _| shifted != app);
        self.releases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|((of, _), _), _| of != app);
    }

    /// Makes the table anew and publishes it if it differs; failures are logged, since the next
    /// change or the next ingress that connects brings it again.
    pub(crate) async fn refresh(&self, px: &Platform) {
        match self.publish(px, false).await {
            Ok(())
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
                .is_some_and(|last| last.handed_over && last.snapshot.routes == routes)
        {
            return Ok(());
        }
        let next = next_version(px, last.as_ref())
            .await
            .map_err(|error| PublishError::Store(Box::new(error.into())))?;
        let snapshot = RoutingSnapshot {
            version: next.version,
            epoch: next.epoch,
            routes,
        };
        let last = last.insert(Last {
            snapshot: snapshot.clone(),
            handed_over: false,
            versions_until: next.versions_until,
        });
        let published = px.parts().traffic.publish(snapshot).await;
        last.handed_over = true;
        published?;
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
        self.keep_only(&routes);
        routes.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        Ok(routes)
    }

    /// Releases hold their variables: those that are in no table are not kept in memory.
    fn keep_only(&self, routes: &[Route]) {
        self.releases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|((app, environment), number), _| {
                routes.iter().any(|route| {
                    route.app == *app
                        && route.environment == *environment
                        && route.upstreams.iter().any(|u| u.release == number.0)
                })
            });
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

struct NextVersion {
    epoch: String,
    version: u64,
    versions_until: u64,
}

/// Versions come from the clock and rise over restarts. An ingress never goes back to a lower one,
/// so a clock that was set back must not matter: what is set aside is stored first, and the next
/// process begins above it.
async fn next_version(px: &Platform, last: Option<&Last>) -> Result<NextVersion, StoreError> {
    let store = &px.parts().store;
    let now = u64::try_from(timestamp::to_unix_ms(px.now())).unwrap_or(0);
    let (epoch, at_least, versions_until) = if let Some(last) = last {
        let snapshot = &last.snapshot;
        (
            snapshot.epoch.clone(),
            snapshot.version + 1,
            last.versions_until,
        )
    } else {
        let epoch = store.remember_once(EPOCH, &random_id(16)).await?;
        let used = store.remembered(VERSIONS).await?;
        let used = used.and_then(|used| used.parse().ok()).unwrap_or(0);
        (epoch, used + 1, 0)
    };
    let version = now.max(at_least);
    if version <= versions_until {
        return Ok(NextVersion {
            epoch,
            version,
            versions_until,
        });
    }
    let versions_until = version + VERSIONS_AT_ONCE;
    store
        .remember(VERSIONS, &versions_until.to_string())
        .await?;
    Ok(NextVersion {
        epoch,
        version,
        versions_until,
    })
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
