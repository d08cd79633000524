//! Everyday acts on the release that serves: more or fewer replicas, stopped, asleep, started,
//! in maintenance. Each may be repeated from its beginning after a crash.

use std::time::Duration;

use flukedeploy_domain::app::RunMode;
use flukedeploy_domain::deployment::{Deployment, Event, HealthStatus, PhaseName, Source};
use flukedeploy_domain::release::Release;
use tokio::time::Instant;

use super::back::{pause, stored_release};
use super::drive::{Stop, cancelled, save};
use super::phases::{internal, with_patience};
use super::traffic::{self, Pair};
use super::{cleanup, diagnose, report, rollout, services};
use crate::platform::Platform;
use crate::ports::{EngineError, Scale};
use crate::routes::Shift;

const PHASE: PhaseName = PhaseName::Deploy;
/// How long the requests in flight may take while it is not known yet which replicas stop.
const BREATHE_MS: u64 = 2_000;
/// How long Swarm may take to choose which replicas stop.
const CHOOSING: Duration = Duration::from_secs(5);

pub(super) async fn run(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    let release = rollout::release_of(px, deployment).await?;
    let cancel = px.parts().runner.token(&deployment.id);
    if cancel.is_cancelled() {
        return Err(cancelled(deployment, PHASE).into());
    }
    if !deployment.progress.touched {
        let pair = Pair::of(px, deployment, &release);
        if let Some(counts) = traffic::count(px, &pair).await {
            px.parts().runner.began(&deployment.id, counts);
        }
        deployment.progress.touched = true;
        if !save(px, deployment).await {
            return Err(Stop::Interrupted);
        }
    }
    match deployment.source {
        Source::Scale { from, to } => scale(px, deployment, release, from, to).await,
        Source::Mode { to } => change_mode(px, deployment, release, to).await,
        Source::Image { .. }
        | Source::Build { .. }
        | Source::Promote { .. }
        | Source::Release { .. }
        | Source::Restart { .. } => Ok(()),
    }
}

/// After a failure or a cancel: as it was.
pub(super) async fn undo(px: &Platform, deployment: &mut Deployment) -> Option<Event> {
    let serving = deployment.from_release;
    if !deployment.progress.touched {
        return Some(Event::Returned { serving: None });
    }
    let Some(number) = serving else {
        return Some(Event::Returned { serving: None });
    };
    let Some(mut release) = stored_release(px, deployment, number).await? else {
        return Some(Event::Returned { serving: None });
    };
    let replicas = if let Source::Scale { from, .. } = deployment.source {
        release.settings.replicas = from;
        while let Err(error) = store_scale(px, &release, from).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the scale could not be stored"
            );
            pause(px, Duration::from_secs(1)).await?;
        }
        from
    } else {
        let mode = deployment.progress.former_mode;
        cleanup::set_mode(px, deployment, mode).await?;
        if mode.has_replicas() {
            release.settings.replicas
        } else {
            0
        }
    };
    let routes = &px.parts().routes;
    routes.pause(&deployment.app, &deployment.environment, false);
    routes.set_shift(&deployment.app, &deployment.environment, None);
    let service = release.service_name(&px.config().instance);
    if let Err(error) = services::set_replicas(px, &release, replicas, deployment).await {
        // The reconciler makes it so.
        tracing::warn!(error = %error, "the former scale could not be restored now");
    }
    px.parts().fleet.calm_down(&service);
    if let Err(Stop::Interrupted) = traffic::publish(px).await {
        return None;
    }
    Some(Event::Returned {
        serving: serving.filter(|_| replicas > 0),
    })
}

async fn scale(
    px: &Platform,
    deployment: &mut Deployment,
    mut release: Release,
    from: u32,
    to: u32,
) -> Result<(), Stop> {
    // What is wanted is stored first: a reconciler that looks in between helps, and does not undo.
    store_scale(px, &release, to)
        .await
        .map_err(|error| internal(PHASE, &error))?;
    release.settings.replicas = to;
    if to < from {
        shrink(px, &release, to).await?;
    } else {
        with_patience(px, PHASE, || {
            services::set_replicas(px, &release, to, deployment)
        })
        .await?;
        px.parts().fleet.look_now();
    }
    healthy(px, deployment, &release, to).await?;
    report::scaled(px, deployment, from, to);
    Ok(())
}

async fn store_scale(
    px: &Platform,
    release: &Release,
    replicas: u32,
) -> Result<(), crate::ports::StoreError> {
    let scale = Scale {
        release: release.number,
        replicas,
    };
    px.parts()
        .store
        .scale(&release.app, &release.environment, scale)
        .await
}

/// Takes replicas away without a lost request. Swarm chooses which ones stop, and tells them at
/// once. So for the moment until the choice is known, new requests wait and those in flight get
/// their answers.
pub(super) async fn shrink(px: &Platform, release: &Release, to: u32) -> Result<(), Stop> {
    let service = release.service_name(&px.config().instance);
    let routes = &px.parts().routes;
    routes.pause(&release.app, &release.environment, true);
    let shrunk = async {
        traffic::publish(px).await?;
        traffic::breathe(px, &service, BREATHE_MS).await;
        with_patience(px, PHASE, || async {
            let _turn = px.parts().runner.service_changes.read().await;
            match px.parts().engine.scale_service(&service, to).await {
                // Gone is less than that; the reconciler brings back what is missing.
                Err(EngineError::NotFound { .. }) => Ok(()),
                result => result,
            }
        })
        .await?;
        let deadline = Instant::now() + CHOOSING;
        let mut changes = px.parts().fleet.changes();
        while px.parts().fleet.wanted_count(&service) > to && Instant::now() < deadline {
            px.parts().fleet.look_now();
            tokio::select! {
                () = px.stopping().cancelled() => return Err(Stop::Interrupted),
                _ = changes.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
        Ok(())
    }
    .await;
    // Whatever came of it, nobody waits on.
    routes.pause(&release.app, &release.environment, false);
    traffic::publish(px).await?;
    shrunk
}

async fn change_mode(
    px: &Platform,
    deployment: &mut Deployment,
    release: Release,
    to: RunMode,
) -> Result<(), Stop> {
    let (app, environment) = (deployment.app.clone(), deployment.environment.clone());
    let service = release.service_name(&px.config().instance);
    let routes = &px.parts().routes;
    let interrupted = || Stop::Interrupted;
    if to.has_replicas() {
        if !deployment.progress.former_mode.has_replicas() {
            // Those who wait for it go on waiting: the mode changes when it can answer.
            let replicas = release.settings.replicas;
            diagnose::volumes_are_free(px, &release).await?;
            with_patience(px, PHASE, || {
                services::set_replicas(px, &release, replicas, deployment)
            })
            .await?;
            px.parts().fleet.look_now();
            healthy(px, deployment, &release, replicas).await?;
        }
        cleanup::set_mode(px, deployment, to)
            .await
            .ok_or_else(interrupted)?;
        return traffic::publish(px).await;
    }
    let shift = if to == RunMode::Asleep {
        Shift::Hold
    } else {
        Shift::Closed
    };
    routes.set_shift(&app, &environment, Some(shift));
    traffic::publish(px).await?;
    traffic::drain(px, &service, release.settings.rollout.drain_seconds)
        .await
        .ok_or_else(interrupted)?;
    cleanup::set_mode(px, deployment, to)
        .await
        .ok_or_else(interrupted)?;
    with_patience(px, PHASE, || async {
        let _turn = px.parts().runner.service_changes.read().await;
        match px.parts().engine.scale_service(&service, 0).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            result => result,
        }
    })
    .await?;
    routes.set_shift(&app, &environment, None);
    px.parts().fleet.look_now();
    deployment.replicas_ready = 0;
    traffic::publish(px).await
}

/// Waits until the release has so many healthy replicas, or it is clear that it will not.
async fn healthy(
    px: &Platform,
    deployment: &mut Deployment,
    release: &Release,
    wanted: u32,
) -> Result<(), Stop> {
    let service = release.service_name(&px.config().instance);
    cleanup::wait_healthy(px, deployment, release, wanted).await?;
    px.parts().fleet.calm_down(&service);
    report::health(px, deployment, HealthStatus::Healthy, wanted);
    Ok(())
}
