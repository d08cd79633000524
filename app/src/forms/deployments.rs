//! Deploy, roll back, cancel.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::MAX_REPLICAS;
use flukedeploy_domain::deployment::{DeploymentId, ValidationLevel};
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::deployments::{self, Deploy, Rollback, RollbackTarget};
use flukedeploy_platform::{Error, Platform};
use http::Uri;

use super::parse::Reader;
use super::{Posted, Typed, addressed, answer};
use crate::context::Visitor;
use crate::paths;

pub(crate) async fn deploy(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => start(&px, actor, app, &typed).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

async fn start(px: &Platform, actor: &Actor, app: AppName, typed: &Typed) -> Result<String, Error> {
    let mut reader = Reader::new(typed);
    let image: Option<ImageRef> = reader.required("image");
    let replicas = reader.number("replicas", 1, MAX_REPLICAS);
    let strategy = reader.optional("strategy");
    let env_vars = reader.variables("env_vars");
    reader.finish()?;
    let Some(image) = image else {
        return Err(Error::invalid("image", "must be given"));
    };
    let cmd = Deploy {
        app,
        environment: EnvironmentName::production(),
        image,
        version: typed.text("version").map(ToOwned::to_owned),
        env_vars,
        replicas,
        strategy,
        validation_level: ValidationLevel::default(),
        auto_rollback: typed.has("auto_rollback", "true"),
        create: false,
        container_port: None,
        reason: typed.text("reason").map(ToOwned::to_owned),
        idempotency_key: None,
    };
    let accepted = deployments::deploy(px, actor, cmd).await?;
    Ok(paths::deployment(&accepted.deployment.deployment_id))
}

pub(crate) async fn rollback(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed::<AppName>(&visitor, &name) {
        Ok((actor, app)) => go_back(&px, actor, app, &typed).await,
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

async fn go_back(
    px: &Platform,
    actor: &Actor,
    app: AppName,
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
        environment: EnvironmentName::production(),
        to: RollbackTarget::Release(ReleaseNo(release)),
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
    // There is no page at the address of the button; failures show on the deployment's.
    let page = uri
        .path()
        .strip_suffix("/cancel")
        .and_then(|path| path.parse().ok())
        .unwrap_or(uri);
    answer(&px, visitor, &page, typed, result).await
}
