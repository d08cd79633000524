//! What goes on after a deployment has ended: the former release stands by for a while and then
//! goes; the new one is watched on real traffic; and an app that sleeps is woken by a request.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use flukedeploy_domain::app::{Environment, Probation};
use flukedeploy_domain::deployment::rollout::broken_promise;
use flukedeploy_domain::deployment::{DeploymentId, PhaseName};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::Release;
use flukedeploy_domain::traffic::Traffic;
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;

use crate::deployments::{open_return, wake};
use crate::error::Error;
use crate::platform::Platform;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// What this process has seen of the probations that are under way.
type Watched = HashMap<DeploymentId, (OffsetDateTime, Traffic)>;

/// Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    let mut watched = Watched::new();
    let mut retiring: HashSet<String> = HashSet::new();
    let mut ending: HashSet<(AppName, EnvironmentName)> = HashSet::new();
    let (gone, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let (done, mut retired) = tokio::sync::mpsc::unbounded_channel::<String>();
    loop {
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        while let Ok(service) = retired.try_recv() {
            retiring.remove(&service);
        }
        while let Ok(preview) = ended.try_recv() {
            ending.remove(&preview);
        }
        if let Err(error) = crate::approvals::expire_due(&px).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "approvals could not be looked at"
            );
        }
        let environments = match px.parts().store.environments().await {
            Ok(environments) => environments,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "environments could not be read"
                );
                continue;
            }
        };
        let alive: HashSet<&DeploymentId> = environments
            .iter()
            .filter_map(|environment| Some(&environment.probation.as_ref()?.deployment))
            .collect();
        watched.retain(|id, _| alive.contains(id));
        for environment in &environments {
            // Also those whose time ended while nobody was there to look.
            if environment.expires_at.is_some_and(|end| end <= px.now()) {
                let preview = (environment.app.clone(), environment.name.clone());
                if ending.insert(preview.clone()) {
                    let (px, gone) = (px.clone(), gone.clone());
                    px.clone().parts().tasks.spawn(async move {
                        end_preview(&px, &preview.0, &preview.1).await;
                        // The receiver is gone only when the platform stops.
                        let _ = gone.send(preview);
                    });
                }
                continue;
            }
            if let Some(probation) = &environment.probation
                && let Err(error) = watch(&px, environment, probation, &mut watched).await
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a probation could not be followed"
                );
            }
            // What does not serve at all has nothing standing by.
            let due = environment
                .standby
                .filter(|standby| standby.until <= px.now() || !environment.mode.has_replicas());
            let Some(standby) = due else { continue };
            let Ok(Some(release)) = px
                .parts()
                .store
                .release(&environment.app, &environment.name, standby.release)
                .await
            else {
                continue;
            };
            let service = release.service_name(&px.config().instance);
            if retiring.insert(service.clone()) {
                let (px, done) = (px.clone(), done.clone());
                px.clone().parts().tasks.spawn(async move {
                    retire(&px, &release).await;
                    // The receiver is gone only when the platform stops.
                    let _ = done.send(service);
                });
            }
        }
    }
}

/// What fails now is tried again at the next look.
async fn end_preview(px: &Platform, app: &AppName, environment: &EnvironmentName) {
    if let Err(error) = crate::environments::end_preview(px, app, environment).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            app.name = %app,
            "a preview could not be removed yet"
        );
    }
}

/// Lets the last requests to a former release end, and removes it, unless it is wanted again.
async fn retire(px: &Platform, release: &Release) {
    let service = release.service_name(&px.config().instance);
    let seconds = release.settings.rollout.drain_seconds;
    let Some(left) = crate::runner::drain(px, &service, seconds).await else {
        return;
    };
    match crate::reconcile::end_standby(px, release).await {
        Ok(true) => {
            let mut text = format!(
                "Release {} is stopped; it can be gone back to",
                release.number
            );
            if left > 0 {
                text = format!("{text}. {left} requests to it were still open after {seconds} s");
            }
            note(px, &release.app, &release.environment, Level::Info, text);
        }
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                service,
                "a former release could not be stopped yet"
            );
        }
    }
}

async fn watch(
    px: &Platform,
    environment: &Environment,
    probation: &Probation,
    watched: &mut Watched,
) -> Result<(), Error> {
    let (app, name) = (&environment.app, &environment.name);
    let store = &px.parts().store;
    let over = async |withdrawn: Option<&str>| {
        store
            .end_probation(app, name, &probation.deployment, withdrawn)
            .await
    };
    if environment.active_release != Some(probation.release) || !environment.mode.has_replicas() {
        over(None).await?;
        return Ok(());
    }
    let Some(release) = store.release(app, name, probation.release).await? else {
        over(None).await?;
        return Ok(());
    };
    let service = release.service_name(&px.config().instance);
    let names = [service.clone()];
    let Ok(mut totals) = px.parts().traffic.fresh_totals(&names).await else {
        // No ingress to ask. The time goes by all the same: what is not seen is not judged.
        if probation.until <= px.now() {
            over(None).await?;
        }
        return Ok(());
    };
    let now = totals
        .remove(&service)
        .map(|found| found.traffic())
        .unwrap_or_default();
    let (since, before) = watched
        .entry(probation.deployment.clone())
        .or_insert_with(|| (px.now(), now.clone()));
    let seen = now.since(before);
    let objective = &release.settings.objective;
    let broken = broken_promise(objective, probation.former_errors_permille, &seen);
    let Some(how) = broken else {
        if probation.until <= px.now() {
            over(None).await?;
            let text = format!(
                "Release {} passed its probation: {} of {} requests failed",
                release.number, seen.failed, seen.requests
            );
            note(px, app, name, Level::Info, text);
        }
        return Ok(());
    };
    let seconds = (px.now() - *since).whole_seconds();
    let how = format!("{how}, seen within {seconds} s");
    go_back(px, environment, probation, &release, how).await
}

/// Goes back to the newest stable release. Before anything else the release is withdrawn, so that
/// no return ever leads to it, and this one is asked for once.
async fn go_back(
    px: &Platform,
    environment: &Environment,
    probation: &Probation,
    release: &Release,
    how: String,
) -> Result<(), Error> {
    let (app, name) = (&environment.app, &environment.name);
    let store = &px.parts().store;
    let because = Diagnosis {
        code: Cause::ObjectiveBroken,
        phase: PhaseName::PostDeploy,
        message: format!(
            "release {} broke the app's objective on real traffic",
            release.number
        ),
        evidence: Evidence {
            traffic: Some(how.clone()),
            ..Evidence::default()
        },
        next: vec![
            "read what the release printed while it served".to_owned(),
            "change the objective if it asks too much".to_owned(),
        ],
    };
    let target = store
        .releases(app, name, 1_000)
        .await?
        .into_iter()
        .find(|kept| kept.is_stable() && kept.number != release.number);
    let text = match &target {
        Some(target) => format!(
            "{}: {how}; going back to release {}",
            because.message, target.number
        ),
        None => format!(
            "{}: {how}; there is no release to go back to",
            because.message
        ),
    };
    if let Some(target) = &target {
        // Opened before the probation ends: a crash in between opens it again, which is once.
        open_return(px, environment, target, because, &probation.deployment).await?;
    }
    store
        .end_probation(app, name, &probation.deployment, Some(&how))
        .await?;
    note(px, app, name, Level::Error, text);
    Ok(())
}

/// Wakes apps that sleep. Ends when the platform stops.
pub(crate) async fn run_wake_ups(px: Platform) {
    let mut wanted = px.parts().traffic.wanted();
    loop {
        let (app, environment) = tokio::select! {
            () = px.stopping().cancelled() => return,
            wanted = wanted.recv() => match wanted {
                Ok(wanted) => wanted,
                // It is told again as long as somebody waits.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
        };
        if let Err(error) = wake(&px, &app, &environment).await {
            tracing::warn!(error = &error as &dyn std::error::Error, app.name = %app, "an app could not be woken");
        }
    }
}

fn note(px: &Platform, app: &AppName, environment: &EnvironmentName, level: Level, text: String) {
    tracing::info!(app.name = %app, "{text}");
    let metadata = LogMetadata {
        environment: Some(environment.to_string()),
        ..LogMetadata::new(EventType::PostDeploy, app.as_str())
    };
    px.parts().journal.note(level, text, metadata);
}
