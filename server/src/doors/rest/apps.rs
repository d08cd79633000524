//! `/apps`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use flukedeploy_domain::app::MERGED_PARTS;
use flukedeploy_platform::views::{ReleaseView, ValidationReport};
use flukedeploy_platform::{Platform, apps, validate as validation};
use serde::Serialize;
use serde_json::Value;

use super::path::AppPath;
use crate::doors::answers::{app_answer, to_value};
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::requests;
use crate::doors::state::AppState;

#[derive(Serialize)]
pub(super) struct AppList {
    total: usize,
    apps: Vec<Value>,
}

#[derive(Serialize)]
pub(super) struct ReleaseList {
    app_name: String,
    total: usize,
    releases: Vec<ReleaseView>,
}

/// Without the parts of the settings that only the single app shows.
pub(super) async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Result<Response, Problem> {
    let apps = apps::list_apps(&state.px, &actor).await?;
    let body = state.rendered.of(&apps, || {
        let answers: Vec<Value> = apps
            .iter()
            .map(|app| {
                let mut answer = app_answer(app);
                if let Value::Object(object) = &mut answer {
                    object.retain(|part, _| !MERGED_PARTS.contains(&part.as_str()));
                }
                answer
            })
            .collect();
        to_value(&AppList {
            total: answers.len(),
            apps: answers,
        })
        .to_string()
    });
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let app = apps::create_app(&px, &actor, requests::new_app(body)?).await?;
    Ok((StatusCode::CREATED, Json(app_answer(&app))))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    mut query: Params,
) -> Result<Json<Value>, Problem> {
    let environment = requests::environment_or_production(&mut query);
    query.finish()?;
    let found = apps::get_environment(&px, &actor, &name, &environment).await?;
    Ok(Json(app_answer(&found)))
}

pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    mut query: Params,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let environment = requests::environment_or_production(&mut query);
    query.finish()?;
    let change = requests::change_app(body)?;
    Ok(Json(app_answer(
        &apps::change_app(&px, &actor, &name, &environment, change).await?,
    )))
}

pub(super) async fn remove(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
) -> Result<StatusCode, Problem> {
    apps::delete_app(&px, &actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn releases(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    mut query: Params,
) -> Result<Json<ReleaseList>, Problem> {
    let limit = query.number("limit").unwrap_or(20);
    let environment = requests::environment_or_production(&mut query);
    query.finish()?;
    let releases = apps::list_releases(&px, &actor, &name, &environment, limit).await?;
    Ok(Json(ReleaseList {
        app_name: name.to_string(),
        total: releases.len(),
        releases,
    }))
}

pub(super) async fn validate(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    JsonBody(body): JsonBody,
) -> Result<Json<ValidationReport>, Problem> {
    let cmd = requests::validate(body, Some(name))?;
    Ok(Json(validation::validate(&px, &actor, cmd).await?))
}
