//! After the traffic was moved: the new release still has to be well, and what it brought along is
//! kept.

use std::time::Duration;

use flukedeploy_domain::access::{Action, Actor};
use flukedeploy_domain::app::{Environment, RunMode, Variables};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{Deployment, HealthStatus, PhaseName, Source, Strategy};
use flukedeploy_domain::job::JobKind;
use flukedeploy_domain::release::{Release, ReleaseNo};

use super::drive::{Stop, cancelled, phase_of, save};
use super::{diagnose, jobs, report, rollout, service_spec};
use crate::platform::Platform;
use crate::ports::{StoreError, TaskState};

/// How long Docker's own health check may take to put the new replicas into DNS.
const NAMES_SECONDS: u64 = 120;

/// `post_deploy`: the new release serves. The former one is kept for a while without traffic (or
/// goes at once, as its strategy has it); that is the keeper's work, after the end.
pub(super) async fn post_deploy(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    if !deployment.source.makes_release() {
        return Ok(());
    }
    let release = rollout::release_of(px, deployment).await?;
    still_well(px, deployment, &release).await?;
    wait_for_names(px, deployment, &release).await?;
    if deployment.source.is_new() {
        jobs::run(px, deployment, JobKind::PostDeploy).await?;
    }
    keep_settings(px, deployment).await;
    Ok(())
}

/// The way back is cut only while the new release is all there: one that died of its first real
/// requests is not a success. Nothing else of this phase can fail the deployment, but a cancel.
async fn still_well(
    px: &Platform,
    deployment: &mut Deployment,
    release: &Release,
) -> Result<(), Stop> {
    let wanted = release.settings.replicas;
    match wait_healthy(px, deployment, release, wanted).await {
        Err(Stop::Failed(mut diagnosis)) => {
            diagnosis.phase = PhaseName::PostDeploy;
            Err(Stop::Failed(diagnosis))
        }
        other => other,
    }
}

/// Waits until `needed` replicas are healthy, or it is clear that they will not be.
pub(super) async fn wait_healthy(
    px: &Platform,
    deployment: &mut Deployment,
    release: &Release,
    needed: u32,
) -> Result<(), Stop> {
    let service = release.service_name(&px.config().instance);
    let cancel = px.parts().runner.token(&deployment.id);
    let seconds = u64::from(release.settings.health.deadline_seconds);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut changes = px.parts().fleet.changes();
    loop {
        changes.mark_unchanged();
        let view = px.parts().fleet.service(&service);
        let ready = view.healthy.min(needed);
        if ready != deployment.replicas_ready {
            deployment.replicas_ready = ready;
            deployment.health_status = if ready >= needed {
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
            return Err(cancelled(deployment, phase_of(deployment)).into());
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
            () = cancel.cancelled() => {}
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
        }
    }
}

/// A release with a name of its own in DNS must not be left by the former one before Docker has
/// put its replicas there.
async fn wait_for_names(
    px: &Platform,
    deployment: &Deployment,
    release: &Release,
) -> Result<(), Stop> {
    let spec = service_spec(
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
/// brings the old settings with it. Host names and what is logged stay: they belong to the environment.
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
        match &deployment.source {
            Source::Image { changes, .. } | Source::Build { changes, .. } => {
                changes.apply(&mut settings);
            }
            Source::Release { .. } => {
                settings = deployment.settings.clone();
                // They are the project's.
                settings.shared = Variables::default();
                settings.domains.clone_from(&environment.settings.domains);
                settings.logs.clone_from(&environment.settings.logs);
                settings.return_borrowed();
                settings.keep_marks_of(&environment.settings);
            }
            Source::Promote { .. }
            | Source::Restart { .. }
            | Source::Scale { .. }
            | Source::Mode { .. } => return,
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
    let environment = environment(px, deployment).await?;
    Some(environment.and_then(|found| found.active_release))
}

/// `None` if the platform stops.
pub(super) async fn environment(
    px: &Platform,
    deployment: &Deployment,
) -> Option<Option<Environment>> {
    loop {
        match px
            .parts()
            .store
            .environment(&deployment.app, &deployment.environment)
            .await
        {
            Ok(environment) => return Some(environment),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the environment could not be read"
            ),
        }
        pause(px).await?;
    }
}

/// `None` if the platform stops.
pub(super) async fn set_mode(px: &Platform, deployment: &Deployment, mode: RunMode) -> Option<()> {
    loop {
        match px
            .parts()
            .store
            .set_mode(&deployment.app, &deployment.environment, mode)
            .await
        {
            Ok(()) => return Some(()),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the mode could not be stored"
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
