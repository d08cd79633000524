//! Scale, restart, stop, start: everyday acts, recorded like deployments.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{Environment, RunMode, check_replicas};
use flukedeploy_domain::deployment::{Queue, Source, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid};
use flukedeploy_domain::release::Release;

use super::commands::{Accepted, Request, check_texts, idempotency, open};
use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;

/// Another number of replicas for the release that serves. It is kept for those that come.
#[derive(Debug, Clone)]
pub struct Scale {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub replicas: u32,
    pub queue: Queue,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

/// The same image anew, with the settings as they are now: changed settings take effect.
#[derive(Debug, Clone)]
pub struct Restart {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub queue: Queue,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

/// Stop, put to sleep, start, or hold for maintenance.
#[derive(Debug, Clone)]
pub struct SetMode {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub mode: RunMode,
    pub queue: Queue,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

pub async fn scale(px: &Platform, actor: &Actor, cmd: Scale) -> Result<Accepted, Error> {
    authorise(actor, Action::Scale, Resource::App(&cmd.app))?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    check_replicas(cmd.replicas).map_err(Error::from)?;
    let (environment, release) = serving(px, &cmd.app, &cmd.environment).await?;
    if !environment.mode.has_replicas() {
        return Err(Error::NotNow(format!(
            "app '{}' is {}: start it first, or change its replicas in the settings",
            cmd.app,
            environment.mode.as_str()
        )));
    }
    let mut settings = release.settings.clone();
    settings.replicas = cmd.replicas;
    settings.validate().map_err(Error::Invalid)?;
    let source = Source::Scale {
        from: release.settings.replicas,
        to: cmd.replicas,
    };
    let key = idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}"));
    let request = Request {
        strategy: release.settings.usual_strategy(),
        queue: cmd.queue,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        reason: cmd.reason,
        action: Action::Scale,
        summary: format!("scales {} to {} replicas", cmd.app, cmd.replicas),
        idempotency: key,
    };
    accepted(px, actor, &environment, source, &release, settings, request).await
}

pub async fn restart(px: &Platform, actor: &Actor, cmd: Restart) -> Result<Accepted, Error> {
    authorise(actor, Action::Restart, Resource::App(&cmd.app))?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    let (environment, release) = serving(px, &cmd.app, &cmd.environment).await?;
    let source = Source::Restart { of: release.number };
    let settings = environment.settings.clone();
    let key = idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}"));
    let request = Request {
        strategy: settings.usual_strategy(),
        queue: cmd.queue,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        reason: cmd.reason,
        action: Action::Restart,
        summary: format!("restarts {}", cmd.app),
        idempotency: key,
    };
    accepted(px, actor, &environment, source, &release, settings, request).await
}

pub async fn set_mode(px: &Platform, actor: &Actor, cmd: SetMode) -> Result<Accepted, Error> {
    authorise(actor, Action::StopStart, Resource::App(&cmd.app))?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    let (environment, release) = serving(px, &cmd.app, &cmd.environment).await?;
    if cmd.mode == RunMode::Asleep && !environment.settings.expose_http {
        return Err(Invalid::new(
            "mode",
            "cannot be asleep for an app without HTTP: no request could wake it",
        )
        .into());
    }
    let source = Source::Mode { to: cmd.mode };
    let settings = release.settings.clone();
    let key = idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}"));
    let request = Request {
        strategy: settings.usual_strategy(),
        queue: cmd.queue,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        reason: cmd.reason,
        action: Action::StopStart,
        summary: format!("sets {} to {}", cmd.app, cmd.mode.as_str()),
        idempotency: key,
    };
    accepted(px, actor, &environment, source, &release, settings, request).await
}

/// A request waits for an app that sleeps.
pub(crate) async fn wake(
    px: &Platform,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<(), Error> {
    let (environment, _) = serving(px, app, environment).await?;
    let unfinished = px.parts().store.unfinished_deployments().await?;
    let is_busy = unfinished
        .iter()
        .any(|d| d.app == environment.app && d.environment == environment.name);
    if environment.mode != RunMode::Asleep || is_busy {
        return Ok(());
    }
    let cmd = SetMode {
        app: app.clone(),
        environment: environment.name,
        mode: RunMode::Running,
        queue: Queue::Wait,
        reason: Some("a request came".to_owned()),
        idempotency_key: None,
    };
    set_mode(px, &Actor::system(), cmd).await.map(|_| ())
}

async fn serving(
    px: &Platform,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<(Environment, Release), Error> {
    let environment = require_environment(px, app, environment).await?;
    let release = match environment.active_release {
        Some(number) => {
            px.parts()
                .store
                .release(app, &environment.name, number)
                .await?
        }
        None => None,
    };
    match release {
        Some(release) => Ok((environment, release)),
        None => Err(Error::NotNow(format!(
            "app '{app}' has no release that serves; deploy it first"
        ))),
    }
}

async fn accepted(
    px: &Platform,
    actor: &Actor,
    environment: &Environment,
    source: Source,
    release: &Release,
    settings: flukedeploy_domain::app::Settings,
    request: Request,
) -> Result<Accepted, Error> {
    let version = release.version.clone();
    let (deployment, replayed) =
        open(px, actor, environment, source, version, settings, request).await?;
    Ok(Accepted {
        deployment: (&deployment).into(),
        replayed,
        from_version: None,
        to_version: None,
    })
}
