//! Deploy and roll back.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{EnvVars, Environment, Marks, Settings};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::build::BuildSource;
use flukedeploy_domain::deployment::rollout::Progress;
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, DeploymentSummary, HealthStatus, InitiatedBy, PhaseRecord,
    Preparation, Queue, SettingsPatch, Source, State, Strategy, ValidationLevel, Wishes,
};
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid};
use flukedeploy_domain::release::{Release, ReleaseNo};

use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::Opened;
use crate::secret::{random_u64, sha256_hex};

#[derive(Debug, Clone)]
pub struct Deploy {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub what: Wanted,
    pub version: Option<String>,
    /// Added to the environment's variables; kept there once the release serves.
    pub env_vars: EnvVars,
    /// Which of them, or of those that are there, are secret, or no longer.
    pub marks: Marks,
    pub replicas: Option<u32>,
    pub strategy: Option<Strategy>,
    pub validation_level: ValidationLevel,
    /// On failure, bring the former release back by itself.
    pub auto_rollback: bool,
    /// What to do about a deployment of the same environment that is under way.
    pub queue: Queue,
    /// Make the app if it does not exist.
    pub create: bool,
    /// Kept in the environment once the release serves.
    pub container_port: Option<u16>,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

/// What a deployment brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Image(ImageRef),
    /// To be built here first.
    Build(BuildSource),
}

impl Wanted {
    /// For people: the image, or where the source is.
    pub fn describe(&self) -> String {
        match self {
            Self::Image(image) => image.to_string(),
            Self::Build(build) => build.describe(),
        }
    }

    fn source(&self, changes: SettingsPatch) -> Source {
        match self.clone() {
            Self::Image(image) => Source::Image { image, changes },
            Self::Build(build) => Source::Build { build, changes },
        }
    }

    /// What the version is called if the caller does not say it.
    fn version(&self) -> Option<String> {
        match self {
            Self::Image(image) => image.tag().map(ToOwned::to_owned),
            // A branch is no version: the commit becomes it once it is known.
            Self::Build(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Rollback {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub to: RollbackTarget,
    pub queue: Queue,
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

/// What [`open`] answers, of an act that goes back to nothing.
impl From<(Deployment, bool)> for Accepted {
    fn from((deployment, replayed): (Deployment, bool)) -> Self {
        Self {
            deployment: (&deployment).into(),
            replayed,
            from_version: None,
            to_version: None,
        }
    }
}

/// Starts a deployment and returns at once.
pub async fn deploy(px: &Platform, actor: &Actor, cmd: Deploy) -> Result<Accepted, Error> {
    authorise_deploy(px, actor, &cmd)?;
    check_texts(
        cmd.version.as_deref(),
        cmd.reason.as_deref(),
        cmd.idempotency_key.as_deref(),
    )?;
    let environment = match require_environment(px, actor, &cmd.app, &cmd.environment).await {
        Err(Error::AppNotFound { .. }) if cmd.create && cmd.environment.is_production() => {
            authorise(px, actor, Action::CreateApp, Resource::System)?;
            let settings = settings_of(&Settings::default(), &cmd)?;
            create_for_deployment(px, actor, &cmd.app, settings).await?
        }
        other => other?,
    };
    let settings = settings_of(&environment.settings, &cmd)?;
    let source = cmd.what.source(changes_of(&cmd));
    let version = cmd.version.clone().or_else(|| cmd.what.version());
    let request = Request {
        strategy: strategy_of(&settings, cmd.strategy)?,
        queue: cmd.queue,
        validation_level: cmd.validation_level,
        auto_rollback: cmd.auto_rollback,
        reason: cmd.reason.clone(),
        action: Action::Deploy,
        summary: format!("deploys {} to {}", cmd.what.describe(), cmd.app),
        idempotency: idempotency(
            cmd.idempotency_key.as_deref(),
            &format!("{cmd:?}{:?}", cmd.env_vars.0),
        ),
    };
    open(px, actor, &environment, source, version, settings, request)
        .await
        .map(Accepted::from)
}

/// A deployment that also changes settings takes the right to do that.
pub(super) fn authorise_deploy(px: &Platform, actor: &Actor, cmd: &Deploy) -> Result<(), Error> {
    let target = Resource::Environment(&cmd.app, &cmd.environment);
    authorise(px, actor, Action::Deploy, target)?;
    let changes_settings =
        !cmd.env_vars.0.is_empty() || cmd.marks != Marks::default() || cmd.container_port.is_some();
    if changes_settings {
        authorise(px, actor, Action::ChangeSettings, target)?;
    }
    Ok(())
}

/// Starts going back to a kept release, with the image, settings and variables it had.
pub async fn rollback(px: &Platform, actor: &Actor, cmd: Rollback) -> Result<Accepted, Error> {
    authorise(
        px,
        actor,
        Action::Rollback,
        Resource::Environment(&cmd.app, &cmd.environment),
    )?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    let environment = require_environment(px, actor, &cmd.app, &cmd.environment).await?;
    let key = idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}"));
    // First of all: once it has succeeded, its target is what serves, and nothing to go back to.
    if let Some(replayed) = replayed(px, actor, key.as_ref()).await? {
        return Ok(replayed);
    }
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
        strategy: way_back(&environment, target),
        queue: cmd.queue,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        reason: cmd.reason.clone(),
        action: Action::Rollback,
        summary: format!("rolls {} back to release {}", cmd.app, target.number),
        idempotency: key,
    };
    let source = Source::Release {
        number: target.number,
        because: None,
    };
    let settings = settings_of_return(&environment, target);
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

pub(super) struct Request {
    pub(super) strategy: Strategy,
    pub(super) queue: Queue,
    pub(super) validation_level: ValidationLevel,
    pub(super) auto_rollback: bool,
    pub(super) reason: Option<String>,
    pub(super) action: Action,
    pub(super) summary: String,
    pub(super) idempotency: Option<(String, String)>,
}

pub(super) async fn open(
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
    let (app, name) = (&environment.app, &environment.name);
    crate::approvals::refuse_denied(px, actor, app, name, &source).await?;
    let settings = crate::projects::with_shared(px, &environment.app, &source, settings).await?;
    let key = request.idempotency.as_ref();
    let _turn = crate::budgets::allow_deployment(px, actor, key).await?;
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
        wishes: Wishes::default(),
        preparation: Preparation::default(),
        progress: Progress::default(),
        receipt: None,
        settings,
    };
    let audit = AuditEntry::new(
        now,
        actor,
        request.action,
        format!("app:{}", deployment.app),
        format!("{} ({})", request.summary, deployment.id),
    );
    let audit = before_and_wanted(audit, environment, &deployment.source);
    let key = request
        .idempotency
        .as_ref()
        .map(|(key, hash)| (key.as_str(), hash.as_str()));
    match px
        .parts()
        .store
        .open_deployment(&deployment, request.queue, key, &audit)
        .await?
    {
        Opened::New { superseded } => {
            for id in superseded {
                px.parts().runner.superseded(px, &id, &deployment).await;
            }
            crate::flukebase::wanted_soon(px, &deployment.app, &deployment.environment);
            px.parts()
                .runner
                .wake(px, &deployment.app, &deployment.environment);
            Ok((deployment, false))
        }
        Opened::Replayed(former) => Ok((*former, true)),
    }
}

/// What is there and what is asked for; what came of it stands in the deployment's receipt.
fn before_and_wanted(entry: AuditEntry, environment: &Environment, source: &Source) -> AuditEntry {
    let serving = environment.active_release.map(|number| number.to_string());
    match source {
        Source::Scale { from, to } => {
            entry.with_change("replicas", Some(from.to_string()), Some(to.to_string()))
        }
        Source::Mode { to } => entry.with_change(
            "mode",
            Some(environment.mode.as_str().to_owned()),
            Some(to.as_str().to_owned()),
        ),
        Source::Release { number, .. } => {
            entry.with_change("release", serving, Some(number.to_string()))
        }
        Source::Restart { of } => {
            entry.with_change("release", serving, Some(format!("release {of} anew")))
        }
        Source::Image { image, .. } => {
            entry.with_change("release", serving, Some(image.to_string()))
        }
        Source::Promote { from, number } => entry.with_change(
            "release",
            serving,
            Some(format!("release {number} of {from}")),
        ),
        Source::Build { .. } => {
            entry.with_change("release", serving, Some("a new build".to_owned()))
        }
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
    require_environment(px, actor, app, &EnvironmentName::production()).await
}

pub(super) fn settings_of(base: &Settings, cmd: &Deploy) -> Result<Settings, Error> {
    let mut settings = base.clone();
    settings
        .check_marks(&cmd.env_vars, &cmd.marks)
        .map_err(Error::Invalid)?;
    changes_of(cmd).apply(&mut settings);
    settings.validate().map_err(Error::Invalid)?;
    Ok(settings)
}

fn changes_of(cmd: &Deploy) -> SettingsPatch {
    SettingsPatch {
        env_vars: cmd.env_vars.clone(),
        marks: cmd.marks.clone(),
        replicas: cmd.replicas,
        container_port: cmd.container_port,
    }
}

/// What was asked for, if the app can be deployed so.
pub(super) fn strategy_of(settings: &Settings, asked: Option<Strategy>) -> Result<Strategy, Error> {
    match asked {
        Some(strategy) if strategy != Strategy::Recreate && settings.must_run_alone() => {
            Err(Error::invalid(
                "strategy",
                format!(
                    "must be recreate, not {}: the app has a volume that is not shared, or a \
                     port of the node, and two releases cannot use it at once",
                    strategy.as_str()
                ),
            ))
        }
        Some(strategy) => Ok(strategy),
        None => Ok(settings.usual_strategy()),
    }
}

/// How to go back: at once, since what is gone back to has proved itself. Step by step only where
/// there is no room for both releases.
pub(super) fn way_back(environment: &Environment, target: &Release) -> Strategy {
    let settings = &target.settings;
    let stands_by = environment
        .standby
        .is_some_and(|standby| standby.release == target.number);
    let has_room = settings.rollout.max_surge.of(settings.replicas) >= settings.replicas;
    match settings.usual_strategy() {
        Strategy::Recreate => Strategy::Recreate,
        _ if stands_by || has_room => Strategy::BlueGreen,
        Strategy::Rolling | Strategy::BlueGreen | Strategy::Canary => Strategy::Rolling,
    }
}

/// Host names and what is logged belong to the environment, not to a release: going back must not
/// move them.
fn settings_of_return(environment: &Environment, target: &Release) -> Settings {
    let mut settings = Settings {
        domains: environment.settings.domains.clone(),
        logs: environment.settings.logs.clone(),
        ..target.settings.clone()
    };
    settings.keep_marks_of(&environment.settings);
    settings
}

/// What the same request made before, if it did.
pub(super) async fn replayed(
    px: &Platform,
    actor: &Actor,
    key: Option<&(String, String)>,
) -> Result<Option<Accepted>, Error> {
    let Some((key, hash)) = key else {
        return Ok(None);
    };
    let found = px
        .parts()
        .store
        .replayed(&actor.id, (key, hash), px.now())
        .await?;
    let Some(deployment) = found else {
        return Ok(None);
    };
    Ok(Some(accepted(px, &deployment).await?))
}

/// A rollback as its first answer told it.
async fn accepted(px: &Platform, deployment: &Deployment) -> Result<Accepted, Error> {
    let store = &px.parts().store;
    let label = async |number: Option<ReleaseNo>| -> Result<Option<String>, Error> {
        Ok(match number {
            Some(number) => store
                .release(&deployment.app, &deployment.environment, number)
                .await?
                .map(|release| release.label()),
            None => None,
        })
    };
    let to = match deployment.source {
        Source::Release { number, .. } => Some(number),
        _ => None,
    };
    Ok(Accepted {
        deployment: deployment.into(),
        replayed: true,
        from_version: label(deployment.from_release).await?,
        to_version: label(to).await?,
    })
}

pub(super) fn find_target<'a>(
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

pub(crate) fn check_texts(
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

pub(super) fn idempotency(key: Option<&str>, request: &str) -> Option<(String, String)> {
    key.map(|key| (key.to_owned(), sha256_hex(request)))
}

/// The platform goes back by itself: the release that serves broke its app's objective. Asked for
/// twice, it is done once.
pub(crate) async fn open_return(
    px: &Platform,
    environment: &Environment,
    target: &Release,
    because: flukedeploy_domain::diagnosis::Diagnosis,
    of: &DeploymentId,
) -> Result<Deployment, Error> {
    let settings = settings_of_return(environment, target);
    let reason = because.message.clone();
    let request = Request {
        strategy: way_back(environment, target),
        queue: Queue::Wait,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        reason: Some(reason.clone()),
        action: Action::Rollback,
        summary: format!("goes back to release {}: {reason}", target.number),
        idempotency: Some((format!("return-of-{of}"), target.number.to_string())),
    };
    let source = Source::Release {
        number: target.number,
        because: Some(Box::new(because)),
    };
    let version = target.version.clone();
    let (deployment, _) = open(
        px,
        &Actor::system(),
        environment,
        source,
        version,
        settings,
        request,
    )
    .await?;
    Ok(deployment)
}
