//! Promote: the very image of one environment's release into another, without a rebuild.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::Environment;
use flukedeploy_domain::deployment::{Queue, Source, Strategy, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::{Release, ReleaseNo};

use super::commands::{Accepted, Request, check_texts, idempotency, open, replayed, strategy_of};
use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::environments::called;
use crate::error::Error;
use crate::platform::Platform;

#[derive(Debug, Clone)]
pub struct Promote {
    pub app: AppName,
    pub from: EnvironmentName,
    /// It keeps its own settings; only the image comes over.
    pub to: EnvironmentName,
    /// Else the one that serves in `from`.
    pub release: Option<ReleaseNo>,
    pub strategy: Option<Strategy>,
    pub validation_level: ValidationLevel,
    /// On failure, bring the former release back by itself.
    pub auto_rollback: bool,
    pub queue: Queue,
    pub reason: Option<String>,
    pub idempotency_key: Option<String>,
}

/// Starts the deployment and returns at once.
///
/// # Errors
/// [`Error::NotNow`] if nothing serves in `from`, or the release was never healthy there.
pub async fn promote(px: &Platform, actor: &Actor, cmd: Promote) -> Result<Accepted, Error> {
    authorise_promote(px, actor, &cmd)?;
    check_texts(None, cmd.reason.as_deref(), cmd.idempotency_key.as_deref())?;
    let key = idempotency(cmd.idempotency_key.as_deref(), &format!("{cmd:?}"));
    // First of all: what it took the image from may have gone since.
    if let Some(replayed) = replayed(px, actor, key.as_ref()).await? {
        return Ok(replayed);
    }
    let (target, release) = what_and_where(px, actor, &cmd).await?;
    let settings = target.settings.clone();
    let request = Request {
        strategy: strategy_of(&settings, cmd.strategy)?,
        queue: cmd.queue,
        validation_level: cmd.validation_level,
        auto_rollback: cmd.auto_rollback,
        reason: cmd.reason.clone(),
        action: Action::Deploy,
        summary: format!(
            "promotes release {} of {} to {}",
            release.number,
            called(&cmd.app, &cmd.from),
            cmd.to
        ),
        idempotency: key,
    };
    let source = Source::Promote {
        from: cmd.from,
        number: release.number,
    };
    open(
        px,
        actor,
        &target,
        source,
        release.version,
        settings,
        request,
    )
    .await
    .map(Accepted::from)
}

/// Whoever promotes deploys to the one environment, and sees the other.
pub(super) fn authorise_promote(px: &Platform, actor: &Actor, cmd: &Promote) -> Result<(), Error> {
    let (from, to) = (
        Resource::Environment(&cmd.app, &cmd.from),
        Resource::Environment(&cmd.app, &cmd.to),
    );
    authorise(px, actor, Action::ViewApp, from)?;
    authorise(px, actor, Action::Deploy, to)
}

/// The environment that gets it, and the release it gets.
pub(super) async fn what_and_where(
    px: &Platform,
    actor: &Actor,
    cmd: &Promote,
) -> Result<(Environment, Release), Error> {
    if cmd.from == cmd.to {
        return Err(Error::invalid(
            "to",
            "must be another environment than from",
        ));
    }
    let source = require_environment(px, actor, &cmd.app, &cmd.from).await?;
    let target = require_environment(px, actor, &cmd.app, &cmd.to).await?;
    let of = called(&cmd.app, &cmd.from);
    let Some(number) = cmd.release.or(source.active_release) else {
        return Err(Error::NotNow(format!(
            "nothing serves in {of}: deploy to it first, or name a release"
        )));
    };
    let store = &px.parts().store;
    let found = store.release(&cmd.app, &cmd.from, number).await?;
    let release = found.ok_or_else(|| Error::NotFound {
        what: format!("release {number} of {of}"),
    })?;
    if !release.was_healthy {
        return Err(Error::NotNow(format!(
            "release {number} of {of} was never healthy: it has proved nothing that could be promoted"
        )));
    }
    Ok((target, release))
}
