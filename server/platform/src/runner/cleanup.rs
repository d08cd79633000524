//! What comes after the traffic was moved: the former release goes, or comes back.

use std::time::Duration;

use flukedeploy_domain::access::{Action, Actor};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{Deployment, Event, PhaseName, Source, Strategy};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::release::{Release, ReleaseNo, service_name};
use tokio_util::sync::CancellationToken;

use super::drive::Stop;
use super::{report, rollout};
use crate::platform::Platform;
use crate::ports::{StoreError, TaskState, TrafficError};

/// How long requests in flight may take before their replica is stopped.
const DRAIN_MS: u64 = 30_000;
/// How long Docker's own health check may take to put the new replicas into DNS.
const NAMES_SECONDS: u64 = 120;
/// How often the engine may say no (not: be away) before that is taken for its last word.
const REFUSALS: u32 = 5;

/// `post_deploy`: the new release serves; the old one is drained and removed.
///
/// Retiring cannot fail the deployment: what cannot be removed now (the engine is away) is
/// removed by the reconciler, because nobody wants it any more.
pub(super) async fn retire_former(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    let release = rollout::release_of(px, deployment).await?;
    still_well(px, deployment, &release).await?;
    let deployment: &Deployment = deployment;
    keep_settings(px, deployment).await;
    let Some(former) = deployment
        .from_release
        .filter(|number| *number != release.number)
    else {
        return Ok(());
    };
    wait_for_names(px, deployment, &release).await?;
    let service = service_name(
        &px.config().instance,
        &deployment.app,
        &deployment.environment,
        former,
    );
    let left = drain(px, &service).await.ok_or(Stop::Interrupted)?;
    if left > 0 {
        let text = format!(
            "{left} requests to release {former} were still open after {} s",
            DRAIN_MS / 1000
        );
        report::progress(px, deployment, Level::Warn, text);
    }
    px.parts().fleet.forget(&service);
    match rollout::remove_service(px, &service).await {
        Ok(()) => report::progress(
            px,
            deployment,
            Level::Info,
            format!("Release {former} is stopped; it can be gone back to"),
        ),
        Err(error) => {
            let text =
                format!("release {former} could not be stopped now ({error}); it will be later");
            report::progress(px, deployment, Level::Warn, text);
        }
    }
    Ok(())
}

/// The way back is cut only while the new release is all there: one that died of its first real
/// requests is not a success. Nothing else of this phase can fail the deployment.
async fn still_well(
    px: &Platform,
    deployment: &mut Deployment,
    release: &Release,
) -> Result<(), Stop> {
    let never = CancellationToken::new();
    let wanted = release.settings.replicas;
    match rollout::wait_healthy(px, deployment, release, wanted, &never).await {
        Err(Stop::Failed(mut diagnosis)) => {
            diagnosis.phase = PhaseName::PostDeploy;
            Err(Stop::Failed(diagnosis))
        }
        other => other,
    }
}

/// Waits until no request to the service is left, or the time for that is over. Returns what was
/// left; `None` if the platform stops.
pub(super) async fn drain(px: &Platform, service: &str) -> Option<u64> {
    tokio::select! {
        () = px.stopping().cancelled() => None,
        left = drained(px, service) => Some(left),
    }
}

async fn drained(px: &Platform, service: &str) -> u64 {
    match px.parts().traffic.await_drained(service, DRAIN_MS).await {
        Ok(left) => left,
        // It is away for a moment, but may still be answering requests: ask it when it is back.
        Err(TrafficError::NoneConnected | TrafficError::Lost)
            if px.parts().traffic.wait_connected(15_000).await.is_ok() =>
        {
            px.parts()
                .traffic
                .await_drained(service, DRAIN_MS)
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

/// After a failure in the deploy phase: the traffic goes (or stays) where it was, and the new
/// release's service is removed.
pub(super) async fn put_back(px: &Platform, deployment: &mut Deployment) -> Option<Event> {
    let former = deployment.from_release;
    let Some(new) = stored_release(px, deployment, deployment.release).await? else {
        return Some(Event::Returned { serving: None });
    };
    let new_service = new.service_name(&px.config().instance);
    if former == Some(new.number) {
        px.parts().fleet.calm_down(&new_service);
        return Some(Event::Returned { serving: None });
    }
    let was_touched = was_touched(px, deployment, new.number, former).await?;
    let mut serving = None;
    if let Some(number) = former.filter(|_| was_touched && wants_return(deployment))
        && bring_back(px, deployment, number).await?
    {
        serving = Some(number);
    }
    px.parts()
        .routes
        .set_shift(&deployment.app, &deployment.environment, None);
    settle_active(px, deployment, former, new.number, serving).await?;
    if was_touched {
        // It is removed only when no ingress sends it requests any more, or none can be asked.
        if let Err(Stop::Interrupted) = rollout::publish(px).await {
            return None;
        }
    } else {
        px.parts().routes.refresh(px).await;
    }
    px.parts().fleet.forget(&new_service);
    drain(px, &new_service).await?;
    if let Err(error) = rollout::remove_service(px, &new_service).await {
        tracing::warn!(error = %error, service = new_service, "a failed release could not be removed now");
    }
    Some(Event::Returned { serving })
}

fn wants_return(deployment: &Deployment) -> bool {
    // Only `recreate` leaves a choice: otherwise the former release still runs, and taking its
    // traffic away would help nobody.
    deployment.auto_rollback || deployment.strategy != Strategy::Recreate
}

/// Whether anything that serves was changed: the former release was stopped, or the new one got
/// requests.
async fn was_touched(
    px: &Platform,
    deployment: &Deployment,
    new: ReleaseNo,
    former: Option<ReleaseNo>,
) -> Option<bool> {
    if former.is_none() {
        return Some(false);
    }
    if deployment.strategy == Strategy::Recreate {
        return Some(true);
    }
    let had_a_share = deployment.strategy == Strategy::Rolling
        && deployment.replicas > 1
        && deployment.replicas_ready > 0;
    Some(had_a_share || active(px, deployment).await? == Some(new))
}

async fn settle_active(
    px: &Platform,
    deployment: &Deployment,
    former: Option<ReleaseNo>,
    new: ReleaseNo,
    serving: Option<ReleaseNo>,
) -> Option<()> {
    let now_active = active(px, deployment).await?;
    let wanted = match serving {
        Some(_) => serving,
        None if wants_return(deployment) => former,
        // It was stopped, and is to stay so: the reconciler must not start it again.
        None => None,
    };
    if now_active == Some(new)
        || (deployment.strategy == Strategy::Recreate && now_active != wanted)
    {
        activate(px, deployment, wanted).await?;
    }
    Some(())
}

/// What the store knows of a release, however long it takes. `None` if the platform stops.
async fn stored_release(
    px: &Platform,
    deployment: &Deployment,
    number: Option<ReleaseNo>,
) -> Option<Option<Release>> {
    let Some(number) = number else {
        return Some(None);
    };
    loop {
        match px
            .parts()
            .store
            .release(&deployment.app, &deployment.environment, number)
            .await
        {
            Ok(found) => return Some(found),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "a release could not be read"
            ),
        }
        pause(px).await?;
    }
}

/// Starts the former release again if it was stopped, and waits until it is healthy: without it
/// the app is down. False if it does not become so; then the reconciler and Swarm go on trying.
/// `None` if the platform stops.
async fn bring_back(px: &Platform, deployment: &Deployment, number: ReleaseNo) -> Option<bool> {
    let Some(old) = stored_release(px, deployment, Some(number)).await? else {
        return Some(false);
    };
    let service = old.service_name(&px.config().instance);
    let settings = &old.settings;
    let recreate = deployment.strategy == Strategy::Recreate;
    if recreate {
        // It must not run beside the one that failed.
        remove_and_wait(px, deployment).await?;
    }
    let mut refusals = 0;
    loop {
        let spec = rollout::service_spec(px, &old, settings.replicas, deployment.id.as_str());
        match rollout::ensure_service(px, &old, &spec).await {
            Ok(()) => break,
            Err(error) => {
                let text = format!("release {number} could not be started again yet: {error}");
                report::progress(px, deployment, Level::Error, text);
                refusals += u32::from(!error.is_transient());
                if refusals >= REFUSALS {
                    px.parts().fleet.calm_down(&service);
                    return Some(false);
                }
            }
        }
        pause(px).await?;
    }
    px.parts().fleet.look_now();
    let seconds = u64::from(settings.health.deadline_seconds);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut healthy = true;
    while px.parts().fleet.ready_count(&service) == 0 {
        if tokio::time::Instant::now() >= deadline {
            let text = format!("release {number} was started again but is not healthy yet");
            report::progress(px, deployment, Level::Error, text);
            healthy = false;
            break;
        }
        tokio::select! {
            () = px.stopping().cancelled() => return None,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    px.parts().fleet.calm_down(&service);
    Some(healthy)
}

async fn remove_and_wait(px: &Platform, deployment: &Deployment) -> Option<()> {
    let Some(number) = deployment.release else {
        return Some(());
    };
    let service = service_name(
        &px.config().instance,
        &deployment.app,
        &deployment.environment,
        number,
    );
    let mut refusals = 0;
    loop {
        match rollout::remove_service(px, &service).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(error = %error, service, "a failed release could not be removed yet");
                refusals += u32::from(!error.is_transient());
                if refusals >= REFUSALS {
                    break;
                }
            }
        }
        pause(px).await?;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
    while tokio::time::Instant::now() < deadline {
        match px.parts().engine.tasks(&service).await {
            Ok(tasks) if tasks.iter().all(|task| !task.state.may_run()) => break,
            Ok(_) | Err(_) => tokio::select! {
                () = px.stopping().cancelled() => return None,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            },
        }
    }
    Some(())
}

/// A release with a name of its own in DNS must not be left by the former one before Docker has
/// put its replicas there.
async fn wait_for_names(
    px: &Platform,
    deployment: &Deployment,
    release: &Release,
) -> Result<(), Stop> {
    let spec = rollout::service_spec(
        px,
        release,
        release.settings.replicas,
        deployment.id.as_str(),
    );
    if spec.aliases.is_empty() || deployment.strategy == Strategy::Recreate {
        return Ok(());
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(NAMES_SECONDS);
    let wanted = usize::try_from(release.settings.replicas).unwrap_or(usize::MAX);
    loop {
        let view = px.parts().fleet.service(&spec.name);
        let named = view
            .tasks
            .iter()
            .filter(|task| task.wanted && task.state == TaskState::Running)
            .count();
        if named >= wanted || tokio::time::Instant::now() >= deadline {
            return Ok(());
        }
        tokio::select! {
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
            () = tokio::time::sleep(Duration::from_millis(200)) => px.parts().fleet.look_now(),
        }
    }
}

/// What a deployment brought along becomes the environment's own, now that it serves; going back
/// brings the old settings with it. Host names stay: they belong to the environment.
async fn keep_settings(px: &Platform, deployment: &Deployment) {
    for _ in 0..5 {
        let Ok(Some(environment)) = px
            .parts()
            .store
            .environment(&deployment.app, &deployment.environment)
            .await
        else {
            return;
        };
        let mut settings = environment.settings.clone();
        match deployment.source {
            Source::Image { .. } => {
                settings
                    .env_vars
                    .0
                    .extend(deployment.settings.env_vars.0.clone());
                settings.replicas = deployment.settings.replicas;
            }
            Source::Release { .. } => {
                settings = deployment.settings.clone();
                settings.domains.clone_from(&environment.settings.domains);
            }
        }
        if settings == environment.settings {
            return;
        }
        let audit = AuditEntry::new(
            px.now(),
            &Actor::system(),
            Action::ChangeSettings,
            format!("app:{}", deployment.app),
            format!("settings of deployment {} kept", deployment.id),
        );
        match px
            .parts()
            .store
            .change_settings(
                &environment.app,
                &environment.name,
                environment.settings_version,
                &settings,
                &audit,
            )
            .await
        {
            Err(StoreError::Stale { .. }) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "settings could not be kept"
                );
                return;
            }
        }
    }
}

/// The release that serves. `None` if the platform stops.
pub(super) async fn active(px: &Platform, deployment: &Deployment) -> Option<Option<ReleaseNo>> {
    loop {
        match px
            .parts()
            .store
            .environment(&deployment.app, &deployment.environment)
            .await
        {
            Ok(environment) => return Some(environment.and_then(|found| found.active_release)),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the environment could not be read"
            ),
        }
        pause(px).await?;
    }
}

async fn activate(
    px: &Platform,
    deployment: &Deployment,
    release: Option<ReleaseNo>,
) -> Option<()> {
    loop {
        match px
            .parts()
            .store
            .activate_release(&deployment.app, &deployment.environment, release)
            .await
        {
            Ok(()) => return Some(()),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                phase = PhaseName::Deploy.as_str(),
                "the active release could not be stored"
            ),
        }
        pause(px).await?;
    }
}

async fn pause(px: &Platform) -> Option<()> {
    tokio::select! {
        () = px.stopping().cancelled() => None,
        () = tokio::time::sleep(Duration::from_secs(1)) => Some(()),
    }
}
