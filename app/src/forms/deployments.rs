//! Deploy, roll back, steer, cancel.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::app::MAX_REPLICAS;
use flukedeploy_domain::deployment::{DeploymentId, Queue, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::Error;
use flukedeploy_platform::deployments::{self, Deploy, Rollback, RollbackTarget, Steer};

use super::parse::Reader;
use super::{Outcome, Sent, Typed};
use crate::paths;

pub(crate) async fn deploy(Path(name): Path<String>, form: Sent) -> Response {
    let result = deploy_or_plan(&form, &name).await;
    form.answer_or_plan(result).await
}

async fn deploy_or_plan(form: &Sent, app: &str) -> Result<Outcome, Error> {
    let (actor, app) = form.addressed(app)?;
    let cmd = deploy_command(app, form.environment()?, &form.typed)?;
    if form.typed.has("do", "plan") {
        let plan = deployments::plan_deploy(&form.px, actor, &cmd).await?;
        return Ok(Outcome::Plan(Box::new(plan)));
    }
    let accepted = deployments::deploy(&form.px, actor, cmd).await?;
    Ok(Outcome::Started(Box::new(accepted)))
}

fn deploy_command(
    app: AppName,
    environment: EnvironmentName,
    typed: &Typed,
) -> Result<Deploy, Error> {
    let mut reader = Reader::new(typed);
    let what = reader.wanted();
    let replicas = reader.number("replicas", 1, MAX_REPLICAS);
    let strategy = reader.optional("strategy");
    let (env_vars, marks) = reader.all_variables();
    let queue = match typed.text("queue") {
        None | Some("wait") => Queue::Wait,
        Some("supersede") => Queue::Supersede,
        Some(_) => {
            reader.fault("queue", "must be wait or supersede");
            Queue::Wait
        }
    };
    let validation_level = match typed.text("validation_level") {
        None | Some("basic") => ValidationLevel::Basic,
        Some("none") => ValidationLevel::None,
        Some("strict") => ValidationLevel::Strict,
        Some(_) => {
            reader.fault("validation_level", "must be none, basic or strict");
            ValidationLevel::default()
        }
    };
    reader.finish()?;
    let Some(what) = what else {
        return Err(Error::invalid("source", "must be given"));
    };
    Ok(Deploy {
        app,
        environment,
        what,
        version: typed.text("version").map(ToOwned::to_owned),
        env_vars,
        marks,
        replicas,
        strategy,
        validation_level,
        auto_rollback: typed.has("auto_rollback", "true"),
        queue,
        create: false,
        container_port: None,
        reason: typed.text("reason").map(ToOwned::to_owned),
        idempotency_key: None,
    })
}

pub(crate) async fn rollback(Path(name): Path<String>, form: Sent) -> Response {
    let result = go_back(&form, &name).await;
    form.answer(result).await
}

async fn go_back(form: &Sent, app: &str) -> Result<String, Error> {
    let (actor, app) = form.addressed(app)?;
    let mut reader = Reader::new(&form.typed);
    let release = reader.number("release", 1, u32::MAX);
    reader.finish()?;
    let Some(release) = release else {
        return Err(Error::invalid("release", "must be chosen"));
    };
    let cmd = Rollback {
        app,
        environment: form.environment()?,
        to: RollbackTarget::Release(ReleaseNo(release)),
        queue: Queue::Wait,
        reason: form.typed.text("reason").map(ToOwned::to_owned),
        idempotency_key: None,
    };
    let accepted = deployments::rollback(&form.px, actor, cmd).await?;
    Ok(paths::deployment(&accepted.deployment.deployment_id))
}

pub(crate) async fn cancel(Path(id): Path<String>, form: Sent) -> Response {
    let result = stop(&form, &id).await;
    form.answer(result).await
}

async fn stop(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = form.addressed::<DeploymentId>(id)?;
    match deployments::cancel(&form.px, actor, &id).await {
        // It ended in between: its page says how, which is the answer.
        Ok(_) | Err(Error::AlreadyEnded { .. }) => Ok(paths::deployment(&id)),
        Err(error) => Err(error),
    }
}

pub(crate) async fn steer(Path(id): Path<String>, form: Sent) -> Response {
    let result = steer_as(&form, &id).await;
    form.answer(result).await
}

async fn steer_as(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = form.addressed::<DeploymentId>(id)?;
    let wanted = form.typed.text("how").unwrap_or_default();
    let all = [Steer::Pause, Steer::Resume, Steer::Promote];
    let Some(how) = all.into_iter().find(|how| how.as_str() == wanted) else {
        return Err(Error::invalid("how", "must be pause, resume or promote"));
    };
    match deployments::steer(&form.px, actor, &id, how).await {
        Ok(_) | Err(Error::AlreadyEnded { .. }) => Ok(paths::deployment(&id)),
        Err(error) => Err(error),
    }
}
