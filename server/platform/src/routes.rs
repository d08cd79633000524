//! The routing table: what the store wants, with the replicas the fleet knows to be well.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use flukedeploy_domain::app::{Environment, RunMode, TesterRule};
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::request_record::AccessRule;
use flukedeploy_domain::routing::{Closed, Hold, Route, RoutingSnapshot, Upstream};
use flukedeploy_domain::timestamp;

use time::OffsetDateTime;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{StoreError, TrafficError};
use crate::secret::random_id;

const EPOCH: &str = "routing_epoch";
const VERSIONS: &str = "routing_versions_until";
/// So many versions (milliseconds, as they come from the clock) are set aside at a time.
const VERSIONS_AT_ONCE: u64 = 3_600_000;

/// How long a request waits at least while replicas are being told to stop.
const PAUSE_MS: u64 = 10_000;

type Key = (AppName, EnvironmentName);

/// Who gets traffic while a deployment moves it. Not stored as such: after a crash it is made anew
/// from the deployment's progress, before the first table is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Weights per release. `on_trial` is judged: it gets its weight and nothing more.
    Split {
        weights: Vec<(ReleaseNo, u32)>,
        on_trial: Option<ReleaseNo>,
        testers: Option<TesterRule>,
    },
    /// Nobody; requests wait: the old release stops before the new one starts.
    Hold,
    /// Nobody, and nobody will soon: it is being stopped.
    Closed,
}

impl Shift {
    /// Those that get a share.
    pub(crate) fn releases(&self) -> Vec<ReleaseNo> {
        match self {
            Self::Split { weights, .. } => weights.iter().map(|(number, _)| *number).collect(),
            Self::Hold | Self::Closed => Vec::new(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Routes {
    shifts: Mutex<HashMap<Key, Shift>>,
    /// Environments whose new requests all wait for a moment, whoever could answer them: it is
    /// not known yet which replicas are about to stop.
    paused: Mutex<HashSet<Key>>,
    /// Releases never change, so they are read once.
    releases: Mutex<HashMap<(Key, ReleaseNo), Release>>,
    /// Held while a table is made and sent, so that tables arrive in order.
    last: tokio::sync::Mutex<Option<Last>>,
    /// Since when connected ingresses have not confirmed the newest table, and why.
    unconfirmed: Mutex<Option<(OffsetDateTime, String)>>,
}

/// What deployments do to the traffic, at one moment.
struct Moving {
    shifts: HashMap<Key, Shift>,
    paused: HashSet<Key>,
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

    /// Lets every new request of an environment wait, from the next table on, or no longer.
    pub(crate) fn pause(&self, app: &AppName, environment: &EnvironmentName, paused: bool) {
        let mut all = self
            .paused
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (app.clone(), environment.clone());
        if paused {
            all.insert(key);
        } else {
            all.remove(&key);
        }
    }

    fn moving(&self) -> Moving {
        Moving {
            shifts: self
                .shifts
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
            paused: self
                .paused
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        }
    }

    /// The app, or one environment of it, is no more; another one may come under its name.
    pub(crate) fn forget_app(&self, app: &AppName, environment: Option<&EnvironmentName>) {
        let is_gone = |(of, name): &Key| of == app && environment.is_none_or(|gone| name == gone);
        self.shifts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|shifted, _| !is_gone(shifted));
        self.paused
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|paused| !is_gone(paused));
        self.releases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .retain(|(of, _), _| !is_gone(of));
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

    /// Since when connected ingresses have not confirmed the newest table, and why.
    pub(crate) fn unconfirmed(&self) -> Option<(OffsetDateTime, String)> {
        self.unconfirmed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// One that is not connected takes the newest when it comes.
    fn note_confirmation(&self, px: &Platform, published: &Result<usize, TrafficError>) {
        let mut noted = self
            .unconfirmed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *noted = match published {
            Ok(_) | Err(TrafficError::NoneConnected) => None,
            Err(error) => {
                let since = noted.as_ref().map_or_else(|| px.now(), |(since, _)| *since);
                Some((since, error.to_string()))
            }
        };
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
        self.note_confirmation(px, &published);
        published?;
        Ok(())
    }

    async fn routes(&self, px: &Platform) -> Result<Vec<Route>, Error> {
        // Before the environments: a deployment first stores who serves, then takes back its shift.
        // The other way round, the release of before would get the requests in between.
        let moving = self.moving();
        let mut routes = Vec::new();
        for environment in px.parts().store.environments().await? {
            routes.push(self.route(px, environment, &moving).await?);
        }
        self.keep_only(&routes);
        routes.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        Ok(routes)
    }

    async fn route(
        &self,
        px: &Platform,
        environment: Environment,
        moving: &Moving,
    ) -> Result<Route, Error> {
        let key = (environment.app.clone(), environment.name.clone());
        let traffic = wanted_traffic(&environment, moving.shifts.get(&key));
        let mut upstreams = Vec::new();
        for (number, weight) in traffic.weights {
            let Some(release) = self.release(px, &environment, number).await? else {
                continue;
            };
            let service = release.service_name(&px.config().instance);
            let on_trial = traffic.on_trial == Some(number);
            upstreams.push(Upstream {
                endpoints: px.parts().fleet.endpoints(&service),
                service,
                release: number.0,
                weight,
                fallback: !on_trial,
                testers: traffic.testers.clone().filter(|_| on_trial),
                port: release.settings.container_port,
            });
        }
        let settings = &environment.settings;
        let max_wait_ms = u64::from(settings.rollout.hold_seconds) * 1_000;
        let hold = if moving.paused.contains(&key) {
            Some(Hold {
                max_wait_ms: max_wait_ms.max(PAUSE_MS),
                all: true,
                wake: false,
            })
        } else {
            traffic.hold.map(|hold| Hold {
                max_wait_ms,
                ..hold
            })
        };
        let own: Option<Hostname> = px.config().host_of(&environment.app, &environment.name);
        let hosts = own.into_iter().chain(settings.domains.iter().cloned());
        Ok(Route {
            // What speaks no HTTP has no business here.
            hosts: hosts.filter(|_| settings.expose_http).collect(),
            app: environment.app,
            environment: environment.name,
            upstreams,
            hold: hold.filter(|hold| hold.max_wait_ms > 0),
            closed: traffic.closed,
            access: AccessRule::of(&settings.logs.access),
        })
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

/// Who is to get the requests of one environment, and what becomes of those that nobody can answer.
struct WantedTraffic {
    weights: Vec<(ReleaseNo, u32)>,
    on_trial: Option<ReleaseNo>,
    testers: Option<TesterRule>,
    hold: Option<Hold>,
    closed: Option<Closed>,
}

fn wanted_traffic(environment: &Environment, shift: Option<&Shift>) -> WantedTraffic {
    const WAIT: Hold = Hold {
        max_wait_ms: 0,
        all: false,
        wake: false,
    };
    let nobody = WantedTraffic {
        weights: Vec::new(),
        on_trial: None,
        testers: None,
        hold: None,
        closed: None,
    };
    // The standby is listed without a share, so that its replicas are known when it gets one.
    let standby = environment.standby.map(|standby| (standby.release, 0));
    let serving = || {
        let active = environment.active_release.map(|number| (number, 1));
        active
            .into_iter()
            .chain(standby.filter(|(number, _)| Some(*number) != environment.active_release))
            .collect()
    };
    match (shift, environment.mode) {
        (Some(Shift::Hold), _) => WantedTraffic {
            hold: Some(WAIT),
            ..nobody
        },
        (Some(Shift::Closed), _) | (None, RunMode::Stopped) => WantedTraffic {
            closed: Some(Closed::Stopped),
            ..nobody
        },
        (
            Some(Shift::Split {
                weights,
                on_trial,
                testers,
            }),
            _,
        ) => WantedTraffic {
            weights: weights.clone(),
            on_trial: *on_trial,
            testers: testers.clone(),
            ..nobody
        },
        (None, RunMode::Running) => WantedTraffic {
            weights: serving(),
            ..nobody
        },
        (None, RunMode::Asleep) => WantedTraffic {
            hold: Some(Hold { wake: true, ..WAIT }),
            ..nobody
        },
        (None, RunMode::Maintenance) => WantedTraffic {
            weights: serving(),
            hold: Some(Hold { all: true, ..WAIT }),
            closed: Some(Closed::Maintenance),
            ..nobody
        },
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
