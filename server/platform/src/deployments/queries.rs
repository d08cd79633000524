//! Looking at deployments.

use flukedeploy_domain::access::{Action, Actor, Resource};
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

pub async fn get_deployment(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
) -> Result<DeploymentSummary, Error> {
    let deployment = require(px, id).await?;
    authorise(
        actor,
        Action::ViewDeployment,
        Resource::App(&deployment.app),
    )?;
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
    authorise(actor, Action::ViewDeployment, Resource::App(app))?;
    let limit = limit.clamp(1, 100);
    let wanted = if include_rollbacks { limit } else { 1_000 };
    let store = &px.parts().store;
    let found = store.deployments_of(app, environment, wanted).await?;
    let (active, ended): (Vec<_>, Vec<_>) = found
        .iter()
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
    authorise(actor, Action::ListApps, Resource::System)?;
    let found = px.parts().store.unfinished_deployments().await?;
    Ok(found.iter().rev().map(brief).collect())
}

/// Newest first, over all apps.
pub async fn recent_deployments(
    px: &Platform,
    actor: &Actor,
    limit: u32,
) -> Result<Vec<DeploymentSummary>, Error> {
    authorise(actor, Action::ListApps, Resource::System)?;
    let found = px
        .parts()
        .store
        .recent_deployments(limit.clamp(1, 100))
        .await?;
    Ok(found.iter().map(brief).collect())
}

pub async fn deployment_stats(px: &Platform, actor: &Actor) -> Result<DeploymentStats, Error> {
    authorise(actor, Action::ListApps, Resource::System)?;
    let active = px.parts().store.unfinished_deployments().await?.len() as u64;
    let completed = px.parts().store.completed_count().await?;
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
    let deployment = require(px, id).await?;
    authorise(actor, Action::ReadLogs, Resource::App(&deployment.app))?;
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

pub(super) async fn require(px: &Platform, id: &DeploymentId) -> Result<Deployment, Error> {
    px.parts()
        .store
        .deployment(id)
        .await?
        .ok_or_else(|| Error::DeploymentNotFound { id: id.to_string() })
}
