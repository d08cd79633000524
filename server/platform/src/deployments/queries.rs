//! Looking at deployments.

use flukedeploy_domain::access::{Action, Actor, Resource, Rights, may_know_of};
use flukedeploy_domain::app::Environment;
use flukedeploy_domain::approval::ApprovalState;
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
    with_approval(px, &deployment).await
}

/// As the single one is shown: with the approval it needs, or needed.
async fn with_approval(px: &Platform, deployment: &Deployment) -> Result<DeploymentSummary, Error> {
    let found = px.parts().store.approval_of(&deployment.id).await?;
    let mut summary = DeploymentSummary::from(deployment);
    summary.approval = found.as_ref().map(Into::into);
    Ok(summary)
}

/// In lists, of those that wait.
async fn mark_waiting(
    px: &Platform,
    mut summaries: Vec<DeploymentSummary>,
) -> Result<Vec<DeploymentSummary>, Error> {
    if summaries.iter().all(|summary| summary.status.is_final()) {
        return Ok(summaries);
    }
    for approval in px.parts().store.waiting_approvals().await? {
        let its = summaries
            .iter_mut()
            .find(|summary| summary.deployment_id == approval.deployment);
        if let Some(summary) = its {
            summary.approval = Some((&approval).into());
        }
    }
    Ok(summaries)
}

fn waits(summary: &DeploymentSummary) -> bool {
    let state = summary.approval.as_ref().map(|approval| approval.state);
    state == Some(ApprovalState::Waiting)
}

/// Waits until the deployment has ended, or it begins to wait for an approval, or that was decided,
/// or `wait_seconds` (at most 50) are over, and returns what it is then. Dropping the future ends only the waiting.
pub async fn wait_for_deployment(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
    wait_seconds: u64,
) -> Result<DeploymentSummary, Error> {
    wait(px, actor, id, wait_seconds, true).await
}

/// The same for who has just begun it and cannot know yet that it waits for an approval: that ends
/// the waiting too.
pub async fn wait_for_begun(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
    wait_seconds: u64,
) -> Result<DeploymentSummary, Error> {
    wait(px, actor, id, wait_seconds, false).await
}

async fn wait(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
    wait_seconds: u64,
    knows: bool,
) -> Result<DeploymentSummary, Error> {
    let mut changes = px.parts().runner.changes();
    let deadline =
        tokio::time::Instant::now() + std::time::Duration::from_secs(wait_seconds.min(50));
    let mut waited_at_first = None;
    loop {
        let summary = get_deployment(px, actor, id).await?;
        let waits = waits(&summary);
        let is_news = waits != *waited_at_first.get_or_insert(waits && knows);
        if is_news || summary.status.is_final() || px.stopping().is_cancelled() {
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
    let shown = active.into_iter().chain(ended).take(count).map(brief);
    mark_waiting(px, shown.collect()).await
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
    mark_waiting(px, shown.map(brief).collect()).await
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
    mark_waiting(px, shown.take(limit as usize).map(brief).collect()).await
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
        deployment: with_approval(px, &deployment).await?,
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
