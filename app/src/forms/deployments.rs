//! Deploy, roll back, steer, cancel.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::MAX_REPLICAS;
use flukedeploy_domain::deployment::{DeploymentId, Queue, ValidationLevel};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::deployments::{
    self, Deploy, DeploymentPlan, Rollback, RollbackTarget, Steer,
};
use flukedeploy_platform::{Error, Platform};
use http::{StatusCode, Uri};

use super::parse::Reader;
use super::{Posted, Typed, addressed, answer, environment_of};
use crate::context::Visitor;
use crate::{paths, render};

pub(crate) async fn deploy(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => start_or_plan(&px, actor, app, &uri, &typed).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(Answer::Plan(plan)) => {
            // The same page, with everything typed as it was.
            let address = uri.path_and_query().map_or("/", |address| address.as_str());
            render::page(
                &px,
                visitor,
                address,
                typed.with_plan(*plan),
                StatusCode::OK,
            )
            .await
        }
        Ok(Answer::Started(to)) => answer(&px, visitor, &uri, typed, Ok(to)).await,
        Err(error) => answer(&px, visitor, &uri, typed, Err(error)).await,
    }
}

enum Answer {
    Started(String),
    Plan(Box<DeploymentPlan>),
}

async fn start_or_plan(
    px: &Platform,
    actor: &Actor,
    app: AppName,
    uri: &Uri,
    typed: &Typed,
) -> Result<Answer, Error> {
    let cmd = deploy_command(app, environment_of(uri)?, typed)?;
    if typed.has("do", "plan") {
        let plan = deployments::plan_deploy(px, actor, &cmd).await?;
        return Ok(Answer::Plan(Box::new(plan)));
    }
    let accepted = deployments::deploy(px, actor, cmd).await?;
    Ok(Answer::Started(paths::deployment(
        &accepted.deployment.deployment_id,
    )))
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
    let env_vars = reader.variables("env_vars");
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

pub(crate) async fn rollback(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => go_back(&px, actor, app, &uri, &typed).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

async fn go_back(
    px: &Platform,
    actor: &Actor,
    app: AppName,
    uri: &Uri,
    typed: &Typed,
) -> Result<String, Error> {
    let mut reader = Reader::new(typed);
    let release = reader.number("release", 1, u32::MAX);
    reader.finish()?;
    let Some(release) = release else {
        return Err(Error::invalid("release", "must be chosen"));
    };
    let cmd = Rollback {
        app,
        environment: environment_of(uri)?,
        to: RollbackTarget::Release(ReleaseNo(release)),
        queue: Queue::Wait,
        reason: typed.text("reason").map(ToOwned::to_owned),
        idempotency_key: None,
    };
    let accepted = deployments::rollback(px, actor, cmd).await?;
    Ok(paths::deployment(&accepted.deployment.deployment_id))
}

pub(crate) async fn cancel(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<DeploymentId>(&visitor, &id) {
        Ok((actor, id)) => match deployments::cancel(&px, actor, &id).await {
            // It ended in between: its page says how, which is the answer.
            Ok(_) | Err(Error::AlreadyEnded { .. }) => Ok(paths::deployment(&id)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    answer(&px, visitor, &page_of(uri, "/cancel"), typed, result).await
}

pub(crate) async fn steer(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<DeploymentId>(&visitor, &id) {
        Ok((actor, id)) => steer_as(&px, actor, &id, &typed).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &page_of(uri, "/steer"), typed, result).await
}

async fn steer_as(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
    typed: &Typed,
) -> Result<String, Error> {
    let wanted = typed.text("how").unwrap_or_default();
    let all = [Steer::Pause, Steer::Resume, Steer::Promote];
    let Some(how) = all.into_iter().find(|how| how.as_str() == wanted) else {
        return Err(Error::invalid("how", "must be pause, resume or promote"));
    };
    match deployments::steer(px, actor, id, how).await {
        Ok(_) | Err(Error::AlreadyEnded { .. }) => Ok(paths::deployment(id)),
        Err(error) => Err(error),
    }
}

/// There is no page at the address of a button; failures show on the deployment's.
fn page_of(uri: Uri, button: &str) -> Uri {
    uri.path()
        .strip_suffix(button)
        .and_then(|path| path.parse().ok())
        .unwrap_or(uri)
}
