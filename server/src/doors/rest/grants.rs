//! `/grants` and `/apps/{name}/grants`: who may do what; `/apps/{name}/project`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flukedeploy_platform::views::GrantView;
use flukedeploy_platform::{Platform, grants};
use serde::Serialize;

use super::path::{AppPath, TokenPath};
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::rights_requests;

#[derive(Serialize)]
pub(super) struct GrantList {
    total: usize,
    grants: Vec<GrantView>,
}

impl From<Vec<GrantView>> for GrantList {
    fn from(grants: Vec<GrantView>) -> Self {
        Self {
            total: grants.len(),
            grants,
        }
    }
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<GrantList>, Problem> {
    let grants = grants::list_grants(&px, &actor, None).await?;
    Ok(Json(grants.into()))
}

pub(super) async fn of_app(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(app): AppPath,
) -> Result<Json<GrantList>, Problem> {
    let grants = grants::list_grants(&px, &actor, Some(&app)).await?;
    Ok(Json(grants.into()))
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<GrantView>), Problem> {
    let new = rights_requests::new_grant(body)?;
    let made = grants::grant(&px, &actor, new).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// An id is an id, whatever it is of.
pub(super) async fn withdraw(
    State(px): State<Platform>,
    Caller(actor): Caller,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, Problem> {
    grants::withdraw(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn set_project(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(app): AppPath,
    JsonBody(body): JsonBody,
) -> Result<StatusCode, Problem> {
    let project = rights_requests::project(body)?;
    grants::set_project(&px, &actor, &app, project.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
