//! The deploy phase: start the new release beside the old one, prove it, move the traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use flukedeploy_domain::deployment::{
    Deployment, HealthStatus, PhaseName, Strategy, rolling_batches, shift_for,
};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::release::{Release, ReleaseNo};
use tokio_util::sync::CancellationToken;

use super::drive::{Stop, cancelled, save};
use super::phases::{internal, with_patience};
use super::{cleanup, diagnose, report};
use crate::platform::Platform;
use crate::ports::{EngineError, ServiceSpec, TrafficError};
use crate::routes::{PublishError, Shift};

/// Time between SIGTERM and SIGKILL.
const STOP_GRACE_SECONDS: u32 = 10;
/// How long to wait for an ingress that is away before the traffic cannot be moved.
const INGRESS_PATIENCE_MS: u64 = 20_000;

const PHASE: PhaseName = PhaseName::Deploy;

pub(super) async fn deploy(
    px: &Platform,
    deployment: &mut Deployment,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let release = release_of(px, deployment).await?;
    let former = deployment
        .from_release
        .filter(|number| *number != release.number);
    // Repeated after a crash, the traffic may have been moved already: it is not moved back.
    let switched = cleanup::active(px, deployment)
        .await
        .ok_or(Stop::Interrupted)?
        == Some(release.number);
    let former = former.filter(|_| !switched);
    if deployment.strategy == Strategy::Recreate && former.is_some() {
        stop_former(px, deployment, former).await?;
    }
    start_and_prove(px, deployment, &release, former, cancel).await?;
    // From here on the new release is what the environment is; a cancel comes too late.
    switch(px, deployment, &release).await?;
    prove_served(px, deployment, &release).await
}

/// What the release's Swarm service has to be.
pub(crate) fn service_spec(
    px: &Platform,
    release: &Release,
    replicas: u32,
    deployment: &str,
) -> ServiceSpec {
    let (app, environment) = (&release.app, &release.environment);
    let mut labels = BTreeMap::new();
    labels.insert("com.flukedeploy.app".to_owned(), app.to_string());
    labels.insert(
        "com.flukedeploy.environment".to_owned(),
        environment.to_string(),
    );
    labels.insert(
        "com.flukedeploy.release".to_owned(),
        release.number.to_string(),
    );
    labels.insert(
        "com.flukedeploy.deployment".to_owned(),
        deployment.to_owned(),
    );
    // A name shared by two releases resolves to the replicas of both, healthy or not. So only
    // releases that Docker itself keeps out of DNS until they are healthy, or that never run
    // beside another one, carry the app's name. ARCHITECTURE.md has the whole story.
    let named = release.image.has_healthcheck || release.settings.strategy == Strategy::Recreate;
    let aliases = match (named, environment.is_production()) {
        (false, _) => Vec::new(),
        (true, true) => vec![app.to_string(), format!("srv-captain--{app}")],
        (true, false) => vec![format!("{app}-{environment}")],
    };
    ServiceSpec {
        name: release.service_name(&px.config().instance),
        image: release.image.clone(),
        replicas,
        env: release.settings.env_vars.clone(),
        aliases,
        labels,
        stop_grace_seconds: STOP_GRACE_SECONDS,
    }
}

pub(super) async fn release_of(px: &Platform, deployment: &Deployment) -> Result<Release, Stop> {
    let Some(number) = deployment.release else {
        return Err(internal(PHASE, &"the deployment has no release").into());
    };
    match px
        .parts()
        .store
        .release(&deployment.app, &deployment.environment, number)
        .await
    {
        Ok(Some(release)) => Ok(release),
        Ok(None) => Err(internal(PHASE, &"the release is not stored").into()),
        Err(error) => Err(internal(PHASE, &error).into()),
    }
}

/// `recreate`: the old release is gone before the new one starts.
async fn stop_former(
    px: &Platform,
    deployment: &Deployment,
    former: Option<ReleaseNo>,
) -> Result<(), Stop> {
    let Some(former) = former else { return Ok(()) };
    let Some(old) = px
        .parts()
        .store
        .release(&deployment.app, &deployment.environment, former)
        .await
        .map_err(|error| internal(PHASE, &error))?
    else {
        return Ok(());
    };
    let service = old.service_name(&px.config().instance);
    report::progress(
        px,
        deployment,
        Level::Info,
        format!("Release {former} is stopped first (recreate)"),
    );
    px.parts().routes.set_shift(
        &deployment.app,
        &deployment.environment,
        Some(Shift::Nobody),
    );
    publish(px).await?;
    cleanup::drain(px, &service)
        .await
        .ok_or(Stop::Interrupted)?;
    with_patience(px, PHASE, || remove_service(px, &service)).await?;
    px.parts().fleet.forget(&service);
    let deadline =
        tokio::time::Instant::now() + Duration::from_secs(u64::from(STOP_GRACE_SECONDS) + 30);
    loop {
        let tasks = with_patience(px, PHASE, || px.parts().engine.tasks(&service)).await?;
        if tasks.iter().all(|task| !task.state.may_run()) || tokio::time::Instant::now() >= deadline
        {
            return Ok(());
        }
        tokio::select! {
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

async fn start_and_prove(
    px: &Platform,
    deployment: &mut Deployment,
    release: &Release,
    former: Option<ReleaseNo>,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let service = release.service_name(&px.config().instance);
    let settings = &release.settings;
    let wanted = settings.replicas;
    let batches = match deployment.strategy {
        Strategy::Rolling => rolling_batches(wanted),
        Strategy::BlueGreen | Strategy::Canary | Strategy::Recreate => vec![wanted],
    };
    // After a crash some replicas may run already; they are never taken away again.
    let running = with_patience(px, PHASE, || px.parts().engine.services())
        .await?
        .into_iter()
        .find(|found| found.name == service)
        .map_or(0, |found| found.wanted_replicas);
    for batch in batches {
        let replicas = batch.max(running).min(wanted);
        let spec = service_spec(px, release, replicas, deployment.id.as_str());
        with_patience(px, PHASE, || ensure_service(px, release, &spec)).await?;
        px.parts().fleet.look_now();
        wait_healthy(px, deployment, release, batch, cancel).await?;
        if batch < wanted
            && let Some(former) = former
        {
            let shift = shift_for(batch, wanted);
            let split = vec![(former, shift.old), (release.number, shift.new)];
            px.parts().routes.set_shift(
                &deployment.app,
                &deployment.environment,
                Some(Shift::Split(split)),
            );
            publish(px).await?;
            let text = format!(
                "{batch} of {wanted} replicas healthy; they get {batch} of {wanted} requests"
            );
            report::progress(px, deployment, Level::Info, text);
        }
    }
    report::health(px, deployment, HealthStatus::Healthy, wanted);
    Ok(())
}

/// Makes a release's service and watches it.
pub(super) async fn ensure_service(
    px: &Platform,
    release: &Release,
    spec: &ServiceSpec,
) -> Result<(), EngineError> {
    let _turn = px.parts().runner.service_changes.read().await;
    // Each time: the reconciler forgets what it took for a leftover a moment ago.
    let settings = &release.settings;
    px.parts()
        .fleet
        .watch(&spec.name, settings.container_port, &settings.health, true);
    px.parts().engine.ensure_service(spec).await
}

pub(super) async fn remove_service(px: &Platform, service: &str) -> Result<(), EngineError> {
    let _turn = px.parts().runner.service_changes.read().await;
    px.parts().engine.remove_service(service).await
}

/// Waits until `needed` replicas are healthy, or it is clear that they will not be.
pub(super) async fn wait_healthy(
    px: &Platform,
    deployment: &mut Deployment,
    release: &Release,
    needed: u32,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let service = release.service_name(&px.config().instance);
    let seconds = u64::from(release.settings.health.deadline_seconds);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut changes = px.parts().fleet.changes();
    loop {
        changes.mark_unchanged();
        let view = px.parts().fleet.service(&service);
        if view.healthy.min(release.settings.replicas) != deployment.replicas_ready {
            deployment.replicas_ready = view.healthy.min(release.settings.replicas);
            deployment.health_status = if view.healthy >= release.settings.replicas {
                HealthStatus::Healthy
            } else {
                HealthStatus::Starting
            };
            if !save(px, deployment).await {
                return Err(Stop::Interrupted);
            }
            px.parts().runner.announce(&deployment.id);
        }
        if cancel.is_cancelled() {
            return Err(cancelled(PHASE).into());
        }
        if view.healthy >= needed {
            return Ok(());
        }
        let late = tokio::time::Instant::now() >= deadline;
        if let Some(diagnosis) = diagnose::hopeless(px, release, &view, late).await {
            deployment.health_status = HealthStatus::Unhealthy;
            report::health(px, deployment, HealthStatus::Unhealthy, view.healthy);
            return Err(diagnosis.into());
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
            // Some verdicts ripen with time alone.
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = cancel.cancelled() => return Err(cancelled(PHASE).into()),
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
        }
    }
}

async fn switch(px: &Platform, deployment: &Deployment, release: &Release) -> Result<(), Stop> {
    // The store first: whatever happens next, the new release is what the environment is.
    px.parts()
        .store
        .activate_release(
            &deployment.app,
            &deployment.environment,
            Some(release.number),
        )
        .await
        .map_err(|error| internal(PHASE, &error))?;
    px.parts()
        .routes
        .set_shift(&deployment.app, &deployment.environment, None);
    publish(px).await?;
    px.parts()
        .fleet
        .calm_down(&release.service_name(&px.config().instance));
    report::progress(
        px,
        deployment,
        Level::Info,
        format!("All new requests go to release {}", release.number),
    );
    Ok(())
}

/// `success` is said only when the ingress has answered a request through the new release. What
/// speaks no HTTP is proved by its health gate alone.
async fn prove_served(
    px: &Platform,
    deployment: &Deployment,
    release: &Release,
) -> Result<(), Stop> {
    let HealthProbe::Http {
        path,
        expect_status,
    } = &release.settings.health.probe
    else {
        return Ok(());
    };
    let Some(host) = px
        .config()
        .host_of(&deployment.app, &deployment.environment)
    else {
        return Ok(());
    };
    let service = release.service_name(&px.config().instance);
    let mut last = String::new();
    for _ in 0..3 {
        let timeout_ms = release.settings.health.timeout_ms.max(2_000);
        let answers = tokio::select! {
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
            answers = px.parts().traffic.request(&host, path, timeout_ms) => answers,
        };
        match answers {
            // An answer of nobody proves nothing.
            Ok(answers)
                if !answers.is_empty()
                    && answers.iter().all(|served| {
                        served.service.as_deref() == Some(&service)
                            && served.status.is_some_and(|status| {
                                status < 500 || Some(status) == *expect_status
                            })
                    }) =>
            {
                return Ok(());
            }
            Ok(answers) => last = format!("{answers:?}"),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Err(Diagnosis {
        code: Cause::NotServedByIngress,
        phase: PHASE,
        message: format!("the replicas are healthy, but a request for {host} through the ingress did not reach them"),
        evidence: Evidence { health_answer: Some(last), ..Evidence::default() },
        next: vec!["run 'flukedeploy doctor' on the node".to_owned()],
    }
    .into())
}

/// Publishes the routes; waits a while for an ingress that is away.
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
                    phase: PHASE,
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
