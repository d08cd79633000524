//! Deploy, roll back, cancel, look.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{EnvVars, Environment, Settings, check_replicas};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, DeploymentSummary, HealthStatus, InitiatedBy, PhaseName, PhaseRecord,
    Source, State, Strategy, ValidationLevel,
};
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid};
use flukedeploy_domain::release::{Release, ReleaseNo};

use crate::apps::{refuse_unavailable, require_environment};
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{LogQuery, Opened};
use crate::secret::{random_u64, sha256_hex};
use crate::views::{DeploymentLogs, DeploymentStats, PhaseLogs};

/// Most entries shown with one deployment.
const MAX_DEPLOYMENT_ENTRIES: u32 = 5_000;

#[derive(Debug, Clone)]
pub struct Deploy {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub image: ImageRef,
    pub version: Option<String>,
    /// Added to the environment's variables; kept there once the release serves.
    pub env_vars: EnvVars,
    pub replicas: Option<u32>,
    pub strategy: Option<Strategy>,
    pub validation_level: ValidationLevel,
    /// On failure, bring the former release back by itself.
    pub auto_rollback: bool,
    /// Make the app if it does not exist.
    pub create: bool,
    /// For an app that is made now.
    pub container_port: Option<u16>,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Rollback {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub to: RollbackTarget,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTarget {
    /// The newest healthy release before the one that serves.
    Previous,
    Release(ReleaseNo),
    /// A version name, or a release number as text; the newest healthy match.
    Version(String),
}

/// What a deploy or rollback call answers at once.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub deployment: DeploymentSummary,
    /// The same request came before; this is its deployment.
    pub replayed: bool,
    /// For a rollback: labels of the release that served and of the one it goes back to.
    pub from_version: Option<String>,
    pub to_version: Option<String>,
}

/// Starts a deployment and returns at once.
pub async fn deploy(px: &Platform, actor: &Actor, cmd: Deploy) -> Result<Accepted, Error> {
    authorise(actor, Action::Deploy, Resource::App(&cmd.app))?;
    check_texts(
        cmd.version.as_deref(),
        cmd.reason.as_deref(),
        cmd.idempotency_key.as_deref(),
    )?;
    if let Some(strategy) = cmd.strategy {
        refuse_unavailable(strategy)?;
    }
    let environment = match require_environment(px, &cmd.app, &cmd.environment).await {
        Err(Error::AppNotFound { .. }) if cmd.create && cmd.environment.is_production() => {
            authorise(actor, Action::CreateApp, Resource::App(&cmd.app))?;
            let settings = settings_of(&Settings::default(), &cmd)?;
            create_for_deployment(px, actor, &cmd.app, settings).await?
        }
        other => other?,
    };
    let settings = settings_of(&environment.settings, &cmd)?;
    let source = Source::Image {
        image: cmd.image.clone(),
    };
    let version = cmd
        .version
        .clone()
        .or_else(|| cmd.image.tag().map(ToOwned::to_owned));
    let request = Request {
        strategy: cmd.strategy.unwrap_or(settings.strategy),
        validation_level: cmd.validation_level,
        auto_rollback: cmd.auto_rollback,
        reason: cmd.reason.clone(),
        action: Action::Deploy,
        summary: format!("deploys {} to {}", cmd.image, cmd.app),
        idempotency: idempotency(
            cmd.idempotency_key.as_deref(),
            &format!("{cmd:?}{:?}", cmd.env_vars.0),
        ),
    };
    let (deployment, replayed) =
        open(px, actor, &environment, source, version, settings, request).await?;
    Ok(Accepted {
        deployment: (&deployment).into(),
        replayed,
        from_version: None,
        to_version: None,
    })
}

/// Starts going back to a kept release, with the image, settings and variables it had.
pub async fn rollback(px: &Platform, actor: &Actor, cmd: Rollback) -> Result<Accepted, Error> {
    authorise(actor, Action::Rollback, Resource::App(&cmd.app))?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    let environment = require_environment(px, &cmd.app, &cmd.environment).await?;
    let releases = px
        .parts()
        .store
        .releases(&cmd.app, &environment.name, 1_000)
        .await?;
    let target = find_target(&environment, &releases, &cmd.to)?;
    let active = releases
        .iter()
        .find(|r| Some(r.number) == environment.active_release);
    let request = Request {
        strategy: target.settings.strategy,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        reason: cmd.reason.clone(),
        action: Action::Rollback,
        summary: format!("rolls {} back to release {}", cmd.app, target.number),
        idempotency: idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}")),
    };
    let source = Source::Release {
        number: target.number,
    };
    // Host names belong to the environment, not to a release: going back must not move them.
    let settings = Settings {
        domains: environment.settings.domains.clone(),
        ..target.settings.clone()
    };
    let (deployment, replayed) = open(
        px,
        actor,
        &environment,
        source,
        target.version.clone(),
        settings,
        request,
    )
    .await?;
    Ok(Accepted {
        deployment: (&deployment).into(),
        replayed,
        from_version: active.map(Release::label),
        to_version: Some(target.label()),
    })
}

/// Asks a running deployment to stop. It ends as failed with the cause `cancelled`, with what
/// served before still (or again) serving.
pub async fn cancel(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
) -> Result<DeploymentSummary, Error> {
    let deployment = require(px, id).await?;
    authorise(
        actor,
        Action::CancelDeployment,
        Resource::App(&deployment.app),
    )?;
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::CancelDeployment,
        format!("app:{}", deployment.app),
        format!("cancels deployment {id}"),
    );
    if !px.parts().store.request_cancel(id, &audit).await? {
        return Err(Error::AlreadyEnded { id: id.clone() });
    }
    px.parts().runner.cancel(px, &deployment).await;
    Ok((&require(px, id).await?).into())
}

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

/// Active first, then ended, newest first. An unknown app has none.
pub async fn history(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    limit: u32,
    include_rollbacks: bool,
) -> Result<Vec<DeploymentSummary>, Error> {
    authorise(actor, Action::ViewDeployment, Resource::App(app))?;
    let limit = limit.clamp(1, 100);
    let wanted = if include_rollbacks { limit } else { 1_000 };
    let found = px.parts().store.deployments_of(app, None, wanted).await?;
    let (active, ended): (Vec<_>, Vec<_>) = found
        .iter()
        .filter(|deployment| include_rollbacks || !deployment.is_rollback())
        .partition(|deployment| !deployment.state.is_final());
    let count = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(active
        .into_iter()
        .chain(ended)
        .take(count)
        .map(Into::into)
        .collect())
}

pub async fn active_deployments(
    px: &Platform,
    actor: &Actor,
) -> Result<Vec<DeploymentSummary>, Error> {
    authorise(actor, Action::ListApps, Resource::System)?;
    let found = px.parts().store.unfinished_deployments().await?;
    Ok(found.iter().rev().map(Into::into).collect())
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
    Ok(found.iter().map(Into::into).collect())
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
    let page = px
        .parts()
        .log_store
        .query(&LogQuery {
            filter: LogFilter {
                deployment_id: Some(id.to_string()),
                ..LogFilter::default()
            },
            limit: MAX_DEPLOYMENT_ENTRIES,
            oldest_first: true,
            ..LogQuery::default()
        })
        .await?;
    let mut phases = PhaseLogs::default();
    let total_logs = page.entries.len();
    for entry in page.entries {
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

struct Request {
    strategy: Strategy,
    validation_level: ValidationLevel,
    auto_rollback: bool,
    reason: Option<String>,
    action: Action,
    summary: String,
    idempotency: Option<(String, String)>,
}

async fn open(
    px: &Platform,
    actor: &Actor,
    environment: &Environment,
    source: Source,
    version: Option<String>,
    settings: Settings,
    request: Request,
) -> Result<(Deployment, bool), Error> {
    if px.stopping().is_cancelled() {
        return Err(Error::ShuttingDown);
    }
    let now = px.now();
    let random = u32::try_from(random_u64() & u64::from(u32::MAX)).unwrap_or_default();
    let deployment = Deployment {
        id: DeploymentId::new(now, random),
        app: environment.app.clone(),
        environment: environment.name.clone(),
        source,
        version,
        strategy: request.strategy,
        replicas: settings.replicas,
        validation_level: request.validation_level,
        auto_rollback: request.auto_rollback,
        reason: request.reason,
        initiated_by: InitiatedBy::of(actor),
        initiated_as: actor.clone(),
        initiated_at: now,
        completed_at: None,
        state: State::Pending,
        phases: [PhaseRecord::PENDING; 5],
        image: None,
        release: None,
        from_release: environment.active_release,
        replicas_ready: 0,
        health_status: HealthStatus::Starting,
        cancel_requested: false,
        settings,
    };
    let audit = AuditEntry::new(
        now,
        actor,
        request.action,
        format!("app:{}", deployment.app),
        format!("{} ({})", request.summary, deployment.id),
    );
    let key = request
        .idempotency
        .as_ref()
        .map(|(key, hash)| (key.as_str(), hash.as_str()));
    match px
        .parts()
        .store
        .open_deployment(&deployment, key, &audit)
        .await?
    {
        Opened::New => {
            px.parts()
                .runner
                .wake(px, &deployment.app, &deployment.environment);
            Ok((deployment, false))
        }
        Opened::Replayed(former) => Ok((*former, true)),
    }
}

async fn create_for_deployment(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    settings: Settings,
) -> Result<Environment, Error> {
    let new = crate::apps::NewApp {
        name: app.clone(),
        settings,
    };
    match crate::apps::create_app(px, actor, new).await {
        // Somebody else made it in between: just as good.
        Ok(_) | Err(Error::Exists { .. }) => {}
        Err(error) => return Err(error),
    }
    require_environment(px, app, &EnvironmentName::production()).await
}

fn settings_of(base: &Settings, cmd: &Deploy) -> Result<Settings, Error> {
    let mut settings = base.clone();
    let mut faults = Vec::new();
    if let Some(replicas) = cmd.replicas {
        faults.extend(check_replicas(replicas).err());
        settings.replicas = replicas;
    }
    if let Some(port) = cmd.container_port {
        settings.container_port = port;
    }
    settings.env_vars.0.extend(cmd.env_vars.0.clone());
    if faults.is_empty() {
        settings.validate().map_err(Error::Invalid)?;
        Ok(settings)
    } else {
        Err(Error::Invalid(faults))
    }
}

fn find_target<'a>(
    environment: &Environment,
    releases: &'a [Release],
    target: &RollbackTarget,
) -> Result<&'a Release, Error> {
    let active = environment.active_release;
    let possible = || {
        releases
            .iter()
            .filter(|release| release.was_healthy && Some(release.number) != active)
    };
    let (found, wanted) = match target {
        RollbackTarget::Previous => (
            possible().find(|release| active.is_none_or(|active| release.number < active)),
            "before the one that serves".to_owned(),
        ),
        RollbackTarget::Release(number) => (
            possible().find(|release| release.number == *number),
            number.to_string(),
        ),
        RollbackTarget::Version(version) => (
            possible()
                .find(|release| release.version.as_ref() == Some(version))
                .or_else(|| possible().find(|release| release.number.to_string() == *version)),
            flukedeploy_domain::names::quoted(version),
        ),
    };
    found.ok_or_else(|| Error::ReleaseNotFound {
        app: environment.app.to_string(),
        release: wanted,
        kept: possible()
            .take(5)
            .map(|release| match &release.version {
                Some(version) => format!("{} ({version})", release.number),
                None => release.number.to_string(),
            })
            .collect(),
    })
}

fn check_texts(
    version: Option<&str>,
    reason: Option<&str>,
    key: Option<&str>,
) -> Result<(), Error> {
    let mut faults = Vec::new();
    let mut check = |field: &str, text: Option<&str>, limit: usize| {
        if let Some(text) = text
            && (text.trim().is_empty() || text.len() > limit || text.chars().any(char::is_control))
        {
            faults.push(Invalid::new(
                field,
                format!("must have 1 to {limit} characters and no control characters"),
            ));
        }
    };
    check("version", version, 128);
    check("reason", reason, 500);
    check("idempotency_key", key, 200);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(faults))
    }
}

fn idempotency(key: Option<&str>, request: &str) -> Option<(String, String)> {
    key.map(|key| (key.to_owned(), sha256_hex(request)))
}

async fn require(px: &Platform, id: &DeploymentId) -> Result<Deployment, Error> {
    px.parts()
        .store
        .deployment(id)
        .await?
        .ok_or_else(|| Error::DeploymentNotFound { id: id.to_string() })
}
