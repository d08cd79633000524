//! Looking at deployments.

use flukedeploy_domain::access::{Action, Actor, Resource, Rights, may_know_of};
use flukedeploy_domain::app::Environment;
use flukedeploy_domain::deployment::{Deployment, DeploymentId, DeploymentSummary, PhaseName};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::names::{AppName, EnvironmentName};

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{LogQuery, Order, Paging};
use crate::views::{DeploymentLogs, DeploymentStats, PhaseLogs};

/// Most entries shown with one deployment.
const MAX_DEPLOYMENT_ENTRIES: usize = 5_000;
/// Newest deployments among which those are looked for that are wanted and may be seen.
const MOST_SEARCHED: u32 = 1_000;

pub async fn get_deployment(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
) -> Result<DeploymentSummary, Error> {
    let deployment = require(px, actor, Action::ViewDeployment, id).await?;
    Ok((&deployment).into())
}

/// Waits until the deployment has ended or `wait_seconds` (at most 50) are over, and returns what
/// it is then. Dropping the future ends only the waiting.
pub async fn wait_for_deployment(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
    wait_seconds: u64,
) -> Result<DeploymentSummary, Error> {
    let mut changes = px.parts().runner.changes();
    let deadline =
        tokio::time::Instant::now() + std::time::Duration::from_secs(wait_seconds.min(50));
    loop {
        let summary = get_deployment(px, actor, id).await?;
        if summary.status.is_final() || px.stopping().is_cancelled() {
            return Ok(summary);
        }
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => return Ok(summary),
            () = px.stopping().cancelled() => return Ok(summary),
            _ = changes.recv() => {}
        }
    }
}

/// Active first, then ended, newest first; of all environments unless one is named. An unknown app
/// has none.
pub async fn history(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: Option<&EnvironmentName>,
    limit: u32,
    include_rollbacks: bool,
) -> Result<Vec<DeploymentSummary>, Error> {
    authorise(px, actor, Action::ViewDeployment, Resource::Shown)?;
    let limit = limit.clamp(1, 100);
    // Some of what is read may be left out.
    let takes_all = include_rollbacks && actor.rights.is_everything();
    let wanted = if takes_all { limit } else { MOST_SEARCHED };
    let store = &px.parts().store;
    let found = store.deployments_of(app, environment, wanted).await?;
    let (active, ended): (Vec<_>, Vec<_>) = found
        .iter()
        .filter(|deployment| shows(actor, deployment))
        .filter(|deployment| include_rollbacks || !deployment.is_rollback())
        .partition(|deployment| !deployment.state.is_final());
    let count = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(active
        .into_iter()
        .chain(ended)
        .take(count)
        .map(brief)
        .collect())
}

/// As lists show it: the receipt belongs to the single one.
fn brief(deployment: &Deployment) -> DeploymentSummary {
    let mut summary = DeploymentSummary::from(deployment);
    summary.receipt = None;
    summary
}

pub async fn active_deployments(
    px: &Platform,
    actor: &Actor,
) -> Result<Vec<DeploymentSummary>, Error> {
    authorise(px, actor, Action::ListApps, Resource::Shown)?;
    let found = px.parts().store.unfinished_deployments().await?;
    let shown = found.iter().rev().filter(|one| shows(actor, one));
    Ok(shown.map(brief).collect())
}

/// Newest first, over all apps.
pub async fn recent_deployments(
    px: &Platform,
    actor: &Actor,
    limit: u32,
) -> Result<Vec<DeploymentSummary>, Error> {
    authorise(px, actor, Action::ListApps, Resource::Shown)?;
    let limit = limit.clamp(1, 100);
    let wanted = if actor.rights.is_everything() {
        limit
    } else {
        MOST_SEARCHED
    };
    let found = px.parts().store.recent_deployments(wanted).await?;
    let shown = found.iter().filter(|one| shows(actor, one));
    Ok(shown.take(limit as usize).map(brief).collect())
}

pub async fn deployment_stats(px: &Platform, actor: &Actor) -> Result<DeploymentStats, Error> {
    authorise(px, actor, Action::ListApps, Resource::Shown)?;
    let unfinished = px.parts().store.unfinished_deployments().await?;
    let active = unfinished.iter().filter(|one| shows(actor, one)).count() as u64;
    let store = &px.parts().store;
    let completed = match &*actor.rights {
        Rights::Everything => store.completed_count().await?,
        Rights::Only(_) => {
            let mut count = 0;
            for Environment { app, name, .. } in store.environments().await? {
                if may_know_of(actor, Resource::Environment(&app, &name)) {
                    count += store.completed_count_of(&app, &name).await?;
                }
            }
            count
        }
    };
    Ok(DeploymentStats {
        active_count: active,
        completed_count: completed,
        total_tracked: active + completed,
        timestamp: px.now(),
    })
}

/// A deployment with its entries, oldest first, by phase.
pub async fn deployment_logs(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
) -> Result<DeploymentLogs, Error> {
    let deployment = require(px, actor, Action::ReadLogs, id).await?;
    px.parts().journal.flush().await;
    let query = LogQuery {
        filter: LogFilter {
            deployment_id: Some(id.to_string()),
            ..LogFilter::default()
        },
        ..LogQuery::default()
    };
    let paging = Paging {
        order: Order::OldestFirst,
        limit: MAX_DEPLOYMENT_ENTRIES,
        ..Paging::default()
    };
    let page = px.parts().log_store.page(&query, &paging).await?;
    let mut phases = PhaseLogs::default();
    let total_logs = page.lines.len();
    for line in page.lines {
        let entry = line.entry;
        let phase = entry
            .flukedeploy_metadata
            .phase
            .unwrap_or(PhaseName::Deploy);
        match phase {
            PhaseName::PreBuild => phases.pre_build.push(entry),
            PhaseName::Build => phases.build.push(entry),
            PhaseName::PreDeploy => phases.pre_deploy.push(entry),
            PhaseName::Deploy => phases.deploy.push(entry),
            PhaseName::PostDeploy => phases.post_deploy.push(entry),
        }
    }
    Ok(DeploymentLogs {
        deployment: (&deployment).into(),
        phases,
        total_logs,
    })
}

/// Whether the actor may see that it exists.
fn shows(actor: &Actor, deployment: &Deployment) -> bool {
    let target = Resource::Environment(&deployment.app, &deployment.environment);
    may_know_of(actor, target)
}

/// A deployment that the actor may do this to. One that it may not see does not exist for it.
pub(super) async fn require(
    px: &Platform,
    actor: &Actor,
    action: Action,
    id: &DeploymentId,
) -> Result<Deployment, Error> {
    let found = px.parts().store.deployment(id).await?;
    let deployment = found
        .filter(|deployment| shows(actor, deployment))
        .ok_or_else(|| Error::DeploymentNotFound { id: id.to_string() })?;
    let target = Resource::Environment(&deployment.app, &deployment.environment);
    authorise(px, actor, action, target)?;
    Ok(deployment)
}
