//! Compares what should be (the store) with what is (the engine): at the start, and every so
//! often. Finishes or undoes what was interrupted, starts what is missing, removes what nobody
//! wants, and says what it did.

use std::collections::HashSet;
use std::time::Duration;

use flukedeploy_domain::app::Environment;
use flukedeploy_domain::deployment::Source;
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::{Release, service_name};
use flukedeploy_domain::timestamp;
use time::OffsetDateTime;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{EngineError, IngressSpec, ServiceState};
use crate::secret::Secret;

const INGRESS_TOKEN: &str = "ingress_token";
const INGRESS_PORT: &str = "ingress_control_port";
const INGRESS_SEEN: &str = "ingress_seen";
const BORN_AT: &str = "born_at";
/// How long the first ingress may take to come up before another try.
const FIRST_INGRESS_MS: u64 = 60_000;
/// Between two comparisons when nothing is going on.
const EVERY: Duration = Duration::from_secs(30);
/// How long connections to a leftover may stay open, in seconds.
const STRAY_DRAIN_SECONDS: u32 = 5;
/// How long the first look at the engine may take before leftovers are left to the next comparison.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Between two tries while the engine is away.
const RETRY: Duration = Duration::from_secs(2);

impl Platform {
    /// Starts the background work: engine, ingress, live view, reconciler, log collection. Returns
    /// at once; [`crate::system::is_ready`] tells when all of it stands.
    pub fn start(&self) {
        let tasks = &self.parts().tasks;
        tasks.spawn(crate::fleet::run(self.clone()));
        tasks.spawn(crate::health_entries::run(self.clone()));
        tasks.spawn(crate::collector::run(self.clone()));
        tasks.spawn(crate::keeper::run(self.clone()));
        tasks.spawn(crate::keeper::run_wake_ups(self.clone()));
        tasks.spawn(crate::webhooks::run(self.clone()));
        tasks.spawn(crate::forwarders::run(self.clone()));
        crate::flukebase::start(self);
        tasks.spawn(crate::retention::run(self.clone()));
        tasks.spawn(crate::denials::run(self.clone()));
        tasks.spawn(crate::health::run(self.clone()));
        tasks.spawn(supervise(self.clone()));
    }
}

async fn supervise(px: Platform) {
    let mut woken = false;
    loop {
        let result = tokio::select! {
            () = px.stopping().cancelled() => return,
            result = pass(&px, !woken) => result,
        };
        let pause = match result {
            Ok(()) => {
                woken = true;
                EVERY
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the engine is not as wanted yet"
                );
                RETRY
            }
        };
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One comparison, start to end. `first`: nothing was made sure of yet.
async fn pass(px: &Platform, first: bool) -> Result<(), Error> {
    if first {
        // Before anything else may need them.
        crate::credentials::hand_to_engine(px).await;
    }
    let seen = px.parts().engine.info().await;
    px.parts().engine_status.saw(&seen);
    let info = seen?;
    crate::system::tell_nodes(px, &info);
    if first || !info.swarm_active {
        prepare(px).await?;
        let seen = px.parts().engine.info().await;
        px.parts().engine_status.saw(&seen);
    }
    let services = px.parts().engine.services().await?;
    // What one app's service is refused must not keep the others from what they need.
    let started = start_missing(px, &services).await;
    px.parts().fleet.look_now();
    // Each time: a caller may have gone away between storing a deployment and waking its worker.
    for deployment in px.parts().store.unfinished_deployments().await? {
        px.parts()
            .runner
            .wake(px, &deployment.app, &deployment.environment);
    }
    if !first {
        prepare(px).await?;
    }
    // For the same reason; it does nothing if the ingress was told already.
    let again = px.parts().routes.unconfirmed().is_some();
    if again && let Err(error) = px.parts().routes.publish(px, true).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "routes were not confirmed again"
        );
    }
    px.parts().routes.refresh(px).await;
    let removed = remove_unwanted(px, &services).await;
    let jobs = remove_stray_jobs(px).await;
    // After the services: only then nothing uses them.
    let secrets = remove_stray_secrets(px).await;
    let volumes = crate::environments::remove_leftovers(px).await.map(|_| ());
    let compared = compare_serving(px).await;
    crate::uploads::tidy(px).await?;
    started
        .and(removed)
        .and(jobs)
        .and(secrets)
        .and(volumes)
        .and(compared)
}

/// Swarm, network, ingress. What is there already is left alone.
async fn prepare(px: &Platform) -> Result<(), Error> {
    born_at(px).await?;
    let network = px.parts().engine.prepare().await?;
    let token = Secret::random();
    let token = Secret::new(
        px.parts()
            .store
            .remember_once(INGRESS_TOKEN, token.expose())
            .await?,
    );
    let port = px
        .parts()
        .store
        .remembered(INGRESS_PORT)
        .await?
        .and_then(|port| port.parse().ok());
    let got = px
        .parts()
        .traffic
        .listen(network.host_address, port, &token)
        .await?;
    if Some(got) != port {
        px.parts()
            .store
            .remember(INGRESS_PORT, &got.to_string())
            .await?;
    }
    let mut hosts = vec![network.host_address];
    hosts.extend(
        network
            .node_address
            .filter(|address| *address != network.host_address),
    );
    let control_urls = hosts
        .into_iter()
        .map(|host| format!("ws://{}/ingress", std::net::SocketAddr::new(host, got)))
        .collect();
    let spec = IngressSpec {
        http_port: px.config().http_port,
        control_urls,
        token: token.expose().to_owned(),
    };
    px.parts().engine.ensure_ingress(&spec).await?;
    // The very first ingress takes a moment to come up, and nothing is ready before it serves.
    // Later it serves without us, and there is nothing to wait for.
    if px.parts().store.remembered(INGRESS_SEEN).await?.is_none() {
        px.parts().traffic.wait_connected(FIRST_INGRESS_MS).await?;
        px.parts().store.remember(INGRESS_SEEN, "yes").await?;
    }
    px.parts().engine_status.is_prepared();
    Ok(())
}

/// Every active release has its service. Returns the last failure that may pass by itself.
async fn start_missing(px: &Platform, services: &[ServiceState]) -> Result<(), Error> {
    let mut result = Ok(());
    for environment in px.parts().store.environments().await? {
        let looks_well = |release: &Release| {
            let name = release.service_name(&px.config().instance);
            services.iter().any(|service| {
                service.name == name
                    && service.wanted_replicas == wanted_replicas(&environment, release)
            }) || wanted_replicas(&environment, release) == 0
                && services.iter().all(|service| service.name != name)
        };
        let Some(release) = active_release(px, &environment).await? else {
            continue;
        };
        if !looks_well(&release)
            && let Err(error) = start_again(px, &environment.app, &environment.name).await
        {
            result = later(error, "a service could not be started again");
        }
    }
    result
}

/// Jobs whose deployment has ended: it was cancelled, or its control plane died.
async fn remove_stray_jobs(px: &Platform) -> Result<(), Error> {
    let jobs = px.parts().engine.jobs().await?;
    if jobs.is_empty() {
        return Ok(());
    }
    let unfinished = px.parts().store.unfinished_deployments().await?;
    let mut result = Ok(());
    for job in jobs {
        let of = job.labels.get("com.flukedeploy.deployment");
        if unfinished
            .iter()
            .any(|d| Some(d.id.as_str()) == of.map(String::as_str))
        {
            continue;
        }
        if let Err(error) = px.parts().engine.remove_service(&job.name).await {
            result = later(error.into(), "a leftover job could not be removed");
        }
    }
    result
}

/// Secrets of releases and jobs that are gone: Swarm holds what services need, and nothing else. A
/// release that comes back brings its own, as it was.
async fn remove_stray_secrets(px: &Platform) -> Result<(), Error> {
    // A secret is made before its service, and both in one turn.
    let _turn = px.parts().runner.service_changes.write().await;
    match px.parts().engine.remove_unused_secrets().await {
        Ok(removed) => {
            if !removed.is_empty() {
                tracing::info!(
                    count = removed.len(),
                    "secrets that nothing uses were removed"
                );
            }
            Ok(())
        }
        Err(error) => later(error.into(), "leftover secrets could not be removed"),
    }
}

/// Compares what serves with what it should be. A service that somebody changed is not changed back
/// by itself, since that would restart its replicas: it is told, and a restart puts it right.
async fn compare_serving(px: &Platform) -> Result<(), Error> {
    let busy = crate::runner::busy_deployments(px).await?;
    for environment in px.parts().store.environments().await? {
        let (app, name) = (&environment.app, &environment.name);
        if busy.iter().any(|d| d.app == *app && d.environment == *name) {
            continue;
        }
        let Some(release) = active_release(px, &environment).await? else {
            px.parts().drift.note(app, name, Vec::new());
            continue;
        };
        let replicas = wanted_replicas(&environment, &release);
        let spec = crate::runner::service_spec(px, &release, replicas, "");
        // The deployment's name differs where a release was gone back to; replicas are put right.
        let found: Vec<String> = px
            .parts()
            .engine
            .differences(&spec)
            .await?
            .unwrap_or_default()
            .into_iter()
            .filter(|what| what != "labels" && what != "replicas")
            .collect();
        let words = found.join(", ");
        if px.parts().drift.note(app, name, found) {
            drift(
                px,
                app.as_str(),
                format!(
                    "the service of release {} was changed behind our back ({words}); restart the app to put it right",
                    release.number
                ),
            );
        }
    }
    Ok(())
}

/// Replicas the release that serves is meant to have now.
fn wanted_replicas(environment: &Environment, release: &Release) -> u32 {
    if environment.mode.has_replicas() {
        release.settings.replicas
    } else {
        0
    }
}

async fn active_release(
    px: &Platform,
    environment: &Environment,
) -> Result<Option<Release>, Error> {
    let Some(number) = environment.active_release else {
        return Ok(None);
    };
    let store = &px.parts().store;
    Ok(store
        .release(&environment.app, &environment.name, number)
        .await?)
}

/// Failures that time may cure make the next comparison come sooner; the others are only told.
fn later(error: Error, what: &str) -> Result<(), Error> {
    tracing::warn!(error = &error as &dyn std::error::Error, "{what}");
    if error.is_retryable() {
        Err(error)
    } else {
        Ok(())
    }
}

/// Makes the active release's service as it has to be, if it still is not: all that was seen
/// before may have changed in between.
async fn start_again(px: &Platform, app: &AppName, name: &EnvironmentName) -> Result<(), Error> {
    let _turn = px.parts().runner.service_changes.write().await;
    // A running deployment decides itself what runs.
    let busy = crate::runner::busy_deployments(px).await?;
    if busy.iter().any(|d| d.app == *app && d.environment == *name) {
        return Ok(());
    }
    let Some(environment) = px.parts().store.environment(app, name).await? else {
        return Ok(());
    };
    if let Some(release) = active_release(px, &environment).await? {
        let services = px.parts().engine.services().await?;
        let number = release.number;
        let name = release.service_name(&px.config().instance);
        let replicas = wanted_replicas(&environment, &release);
        let found = services.iter().find(|service| service.name == name);
        if found.map_or(replicas == 0, |service| service.wanted_replicas == replicas) {
            return Ok(());
        }
        let what = match found {
            None => format!("the service of release {number} was missing; it is started again"),
            Some(service) => format!(
                "release {number} had {} replicas instead of {replicas}; corrected",
                service.wanted_replicas
            ),
        };
        px.parts().fleet.watch(&name, &release, false);
        let label = found
            .and_then(|service| service.labels.get("com.flukedeploy.deployment").cloned())
            .unwrap_or_default();
        let spec = crate::runner::service_spec(px, &release, replicas, &label);
        px.parts().engine.ensure_secrets(&spec.secrets).await?;
        px.parts().engine.ensure_service(&spec).await?;
        drift(px, environment.app.as_str(), what);
        if let Some(found) = found {
            let metadata = LogMetadata {
                replicas: Some(replicas),
                environment: Some(environment.name.to_string()),
                release: Some(number.0),
                ..LogMetadata::new(EventType::ScaleEvent, environment.app.as_str())
            };
            let text = format!(
                "Scaled from {} to {replicas} replicas",
                found.wanted_replicas
            );
            px.parts().journal.note(Level::Info, text, metadata);
        }
    }
    Ok(())
}

/// Removes what nobody wants, now; failures are left to the next comparison.
pub(crate) async fn remove_strays(px: &Platform) {
    let result = async {
        let services = px.parts().engine.services().await?;
        remove_unwanted(px, &services).await?;
        remove_stray_secrets(px).await
    };
    if let Err(error) = result.await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "leftovers could not be removed now"
        );
    }
}

async fn remove_unwanted(px: &Platform, services: &[ServiceState]) -> Result<(), Error> {
    let wanted = wanted(px).await?;
    let born = born_at(px).await?;
    let mut result = Ok(());
    let is_stray = |service: &&ServiceState| !wanted.contains(&service.name);
    if services.iter().any(|service| is_stray(&service)) {
        // After a start the ingress may still have routes of before to what belongs to nothing now.
        // They are known once the engine was seen.
        let mut changes = px.parts().fleet.changes();
        let seen = changes.wait_for(|_| px.parts().fleet.is_known());
        if tokio::time::timeout(FIRST_LOOK, seen).await.is_err() {
            return Err(Error::Engine(EngineError::TimedOut {
                doing: "looking at the engine for the first time".to_owned(),
                seconds: FIRST_LOOK.as_secs(),
            }));
        }
        px.parts().routes.refresh(px).await;
    }
    for service in services.iter().filter(is_stray) {
        // A new data directory under the name of an older instance: what that one left running is
        // not ours to stop.
        if service.created_at.is_some_and(|at| at < born) {
            tracing::warn!(
                service = service.name,
                "this service is older than the data directory; it is left alone"
            );
            continue;
        }
        // Long-lived connections from before it lost its traffic are closed properly.
        if crate::runner::drain(px, &service.name, STRAY_DRAIN_SECONDS)
            .await
            .is_none()
        {
            return result;
        }
        if let Err(error) = remove_if_unwanted(px, service).await {
            result = later(error, "a leftover could not be removed");
        }
    }
    result
}

async fn remove_if_unwanted(px: &Platform, service: &ServiceState) -> Result<(), Error> {
    let _turn = px.parts().runner.service_changes.write().await;
    // Again, now that nothing can change: a deployment may just have gone back to this release.
    if wanted(px).await?.contains(&service.name) {
        return Ok(());
    }
    px.parts().fleet.forget(&service.name);
    px.parts().engine.remove_service(&service.name).await?;
    let app = service
        .labels
        .get("com.flukedeploy.app")
        .map_or("", String::as_str);
    drift(
        px,
        app,
        format!("the service {} belonged to nothing; removed", service.name),
    );
    Ok(())
}

/// The time of a former release is over: it goes, unless something wants it again. Returns whether
/// it is gone.
pub(crate) async fn end_standby(px: &Platform, release: &Release) -> Result<bool, Error> {
    let _turn = px.parts().runner.service_changes.write().await;
    let (app, name, number) = (&release.app, &release.environment, release.number);
    let store = &px.parts().store;
    let Some(environment) = store.environment(app, name).await? else {
        return Ok(false);
    };
    let is_over = |until| until <= px.now() || !environment.mode.has_replicas();
    let is_due = environment
        .standby
        .is_some_and(|standby| standby.release == number && is_over(standby.until));
    let in_use = store.unfinished_deployments().await?.iter().any(|d| {
        let goes_there = matches!(d.source, Source::Release { number: to, .. } if to == number);
        d.app == *app
            && d.environment == *name
            && (goes_there || d.release == Some(number) || d.from_release == Some(number))
    });
    if !is_due || in_use || environment.active_release == Some(number) {
        return Ok(false);
    }
    let service = release.service_name(&px.config().instance);
    px.parts().fleet.forget(&service);
    px.parts().engine.remove_service(&service).await?;
    store.end_standby(app, name, number).await?;
    px.parts().routes.refresh(px).await;
    Ok(true)
}

/// When this data directory was first used.
async fn born_at(px: &Platform) -> Result<OffsetDateTime, Error> {
    let now = timestamp::to_unix_ms(px.now()).to_string();
    let stored = px.parts().store.remember_once(BORN_AT, &now).await?;
    // An unreadable value protects nothing, and removes nothing that is wanted.
    Ok(timestamp::from_unix_ms(stored.parse().unwrap_or(0)))
}

/// Services of this instance that belong to nothing and are left alone, see [`remove_unwanted`].
pub(crate) async fn orphans(
    px: &Platform,
    services: &[ServiceState],
) -> Result<HashSet<String>, Error> {
    let wanted = wanted(px).await?;
    let born = born_at(px).await?;
    let is_orphan = |service: &&ServiceState| {
        !wanted.contains(&service.name) && service.created_at.is_some_and(|at| at < born)
    };
    let orphans = services.iter().filter(is_orphan);
    Ok(orphans.map(|service| service.name.clone()).collect())
}

/// Removes one of [`orphans`], if it still is one. Volumes stay.
pub(crate) async fn remove_orphan(px: &Platform, name: &str) -> Result<bool, Error> {
    let _turn = px.parts().runner.service_changes.write().await;
    let services = px.parts().engine.services().await?;
    if !orphans(px, &services).await?.contains(name) {
        return Ok(false);
    }
    px.parts().fleet.forget(name);
    px.parts().engine.remove_service(name).await?;
    Ok(true)
}

/// Names of the services that [`converge`] would make or put right.
pub(crate) async fn to_converge(px: &Platform) -> Result<Vec<String>, Error> {
    let services = px.parts().engine.services().await?;
    let busy = px.parts().store.unfinished_deployments().await?;
    let mut names = Vec::new();
    for environment in px.parts().store.environments().await? {
        let (app, name) = (&environment.app, &environment.name);
        if busy.iter().any(|d| d.app == *app && d.environment == *name) {
            continue;
        }
        let Some(release) = active_release(px, &environment).await? else {
            continue;
        };
        let service = release.service_name(&px.config().instance);
        let wanted = wanted_replicas(&environment, &release);
        let found = services.iter().find(|one| one.name == service);
        if found.map_or(0, |found| found.wanted_replicas) != wanted {
            names.push(service);
        }
    }
    Ok(names)
}

/// Starts what is missing now, instead of at the next comparison.
pub(crate) async fn converge(px: &Platform) -> Result<(), Error> {
    let services = px.parts().engine.services().await?;
    start_missing(px, &services).await
}

/// Names of all services that may run.
async fn wanted(px: &Platform) -> Result<HashSet<String>, Error> {
    let instance = &px.config().instance;
    let mut wanted = HashSet::new();
    // Deployments before environments: a deployment that ends in between has made its release
    // the active one first.
    for deployment in px.parts().store.unfinished_deployments().await? {
        let goes_back_to = match deployment.source {
            Source::Release { number, .. } => Some(number),
            _ => None,
        };
        for number in [deployment.release, deployment.from_release, goes_back_to]
            .into_iter()
            .flatten()
        {
            wanted.insert(service_name(
                instance,
                &deployment.app,
                &deployment.environment,
                number,
            ));
        }
    }
    for environment in px.parts().store.environments().await? {
        let standby = environment.standby.map(|standby| standby.release);
        for number in environment.active_release.into_iter().chain(standby) {
            wanted.insert(service_name(
                instance,
                &environment.app,
                &environment.name,
                number,
            ));
        }
    }
    Ok(wanted)
}

fn drift(px: &Platform, app: &str, message: String) {
    tracing::warn!(app.name = app, "{message}");
    px.parts().journal.note(
        Level::Warn,
        message,
        LogMetadata::new(EventType::ConfigChange, app),
    );
}
