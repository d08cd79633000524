//! Scale, restart, stop, start: everyday acts, recorded like deployments.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{Environment, RunMode, Settings, check_replicas};
use flukedeploy_domain::deployment::{Queue, Source, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::Release;

use super::commands::{Accepted, Request, check_texts, idempotency, open};
use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;

/// An act on the release that serves.
#[derive(Debug, Clone)]
pub struct Everyday {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub what: What,
    pub queue: Queue,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Another number of replicas. It is kept for the releases that come.
    Scale(u32),
    /// The same image anew, with the settings as they are now: changed settings take effect.
    Restart,
    /// Stopped, asleep, running again, or held for maintenance.
    Mode(RunMode),
}

impl What {
    fn action(self) -> Action {
        match self {
            Self::Scale(_) => Action::Scale,
            Self::Restart => Action::Restart,
            Self::Mode(_) => Action::StopStart,
        }
    }

    fn summary(self, app: &AppName) -> String {
        match self {
            Self::Scale(replicas) => format!("scales {app} to {replicas} replicas"),
            Self::Restart => format!("restarts {app}"),
            Self::Mode(mode) => format!("sets {app} to {}", mode.as_str()),
        }
    }
}

/// Starts the act and returns at once.
pub async fn act(px: &Platform, actor: &Actor, cmd: Everyday) -> Result<Accepted, Error> {
    authorise(
        px,
        actor,
        cmd.what.action(),
        Resource::Environment(&cmd.app, &cmd.environment),
    )?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    if let What::Scale(replicas) = cmd.what {
        check_replicas(replicas).map_err(Error::from)?;
    }
    let (environment, release) = serving(px, actor, &cmd.app, &cmd.environment).await?;
    let (source, settings) = what_it_takes(cmd.what, &environment, &release)?;
    let request = Request {
        strategy: settings.usual_strategy(),
        queue: cmd.queue,
        validation_level: ValidationLevel::None,
        auto_rollback: true,
        action: cmd.what.action(),
        summary: cmd.what.summary(&cmd.app),
        idempotency: idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}")),
        reason: cmd.reason,
    };
    let version = release.version.clone();
    open(px, actor, &environment, source, version, settings, request)
        .await
        .map(Accepted::from)
}

fn what_it_takes(
    what: What,
    environment: &Environment,
    release: &Release,
) -> Result<(Source, Settings), Error> {
    let mut settings = release.settings.clone();
    let source = match what {
        What::Scale(replicas) => {
            if !environment.mode.has_replicas() {
                return Err(Error::NotNow(format!(
                    "app '{}' is {}: start it first, or change its replicas in the settings",
                    environment.app,
                    environment.mode.as_str()
                )));
            }
            settings.replicas = replicas;
            settings.validate().map_err(Error::Invalid)?;
            Source::Scale {
                from: release.settings.replicas,
                to: replicas,
            }
        }
        What::Restart => {
            settings = environment.settings.clone();
            Source::Restart { of: release.number }
        }
        What::Mode(RunMode::Asleep) if !environment.settings.expose_http => {
            return Err(Error::invalid(
                "mode",
                "cannot be asleep for an app without HTTP: no request could wake it",
            ));
        }
        What::Mode(to) => Source::Mode { to },
    };
    Ok((source, settings))
}

/// A request waits for an app that sleeps.
pub(crate) async fn wake(
    px: &Platform,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<(), Error> {
    let system = Actor::system();
    let (environment, _) = serving(px, &system, app, environment).await?;
    let busy = crate::runner::busy_deployments(px).await?;
    let is_busy = busy
        .iter()
        .any(|d| d.app == environment.app && d.environment == environment.name);
    if environment.mode != RunMode::Asleep || is_busy {
        return Ok(());
    }
    let cmd = Everyday {
        app: app.clone(),
        environment: environment.name,
        what: What::Mode(RunMode::Running),
        queue: Queue::Wait,
        reason: Some("a request came".to_owned()),
        idempotency_key: None,
    };
    act(px, &system, cmd).await.map(|_| ())
}

async fn serving(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<(Environment, Release), Error> {
    let environment = require_environment(px, actor, app, environment).await?;
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
