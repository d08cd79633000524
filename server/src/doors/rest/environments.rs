//! `/apps/{name}/environments`, and promotion from one to another.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use flukedeploy_platform::{Platform, apps, deployments, environments};
use serde::Serialize;
use serde_json::Value;

use super::deployments::{idempotency_key, started, wait_of};
use super::path::{AppPath, EnvironmentPath};
use crate::doors::answers::app_answer;
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::requests;

#[derive(Serialize)]
pub(super) struct EnvironmentList {
    app_name: String,
    total: usize,
    environments: Vec<Value>,
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
) -> Result<Json<EnvironmentList>, Problem> {
    let found = environments::list_environments(&px, &actor, &name).await?;
    Ok(Json(EnvironmentList {
        app_name: name.to_string(),
        total: found.len(),
        environments: found.iter().map(app_answer).collect(),
    }))
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new = requests::new_environment(body, name)?;
    let made = environments::create_environment(&px, &actor, new).await?;
    Ok((StatusCode::CREATED, Json(app_answer(&made))))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    EnvironmentPath(app, environment): EnvironmentPath,
) -> Result<Json<Value>, Problem> {
    let found = apps::get_environment(&px, &actor, &app, &environment).await?;
    Ok(Json(app_answer(&found)))
}

/// Settings as an app takes them, and `ttl_seconds` (`null`: it stays).
pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    EnvironmentPath(app, environment): EnvironmentPath,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let ttl = requests::new_ttl(&mut body);
    let change = requests::change_app(body)?;
    let mut view = apps::change_app(&px, &actor, &app, &environment, change).await?;
    if let Some(ttl) = ttl {
        view = environments::set_ttl(&px, &actor, &app, &environment, ttl).await?;
    }
    Ok(Json(app_answer(&view)))
}

pub(super) async fn remove(
    State(px): State<Platform>,
    Caller(actor): Caller,
    EnvironmentPath(app, environment): EnvironmentPath,
) -> Result<StatusCode, Problem> {
    environments::delete_environment(&px, &actor, &app, &environment).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn promote(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    mut query: Params,
    headers: HeaderMap,
    JsonBody(mut body): JsonBody,
) -> Result<Response, Problem> {
    let wait = wait_of(&mut query);
    query.finish()?;
    let dry_run = requests::dry_run(&mut body);
    let mut cmd = requests::promote(body, name, ["from", "to"])?;
    if dry_run {
        let plan = deployments::plan_promote(&px, &actor, &cmd).await?;
        return Ok(Json(plan).into_response());
    }
    cmd.idempotency_key = idempotency_key(&headers, cmd.idempotency_key)?;
    let accepted = deployments::promote(&px, &actor, cmd).await?;
    started(&px, &actor, accepted, wait).await
}
