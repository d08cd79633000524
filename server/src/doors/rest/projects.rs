//! `/projects`: which apps are in them, and the variables they share.

use axum::Json;
use axum::extract::State;
use flukedeploy_platform::views::ProjectView;
use flukedeploy_platform::{Platform, projects};
use serde::Serialize;

use super::path::ProjectPath;
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::requests;

#[derive(Serialize)]
pub(super) struct ProjectList {
    total: usize,
    projects: Vec<ProjectView>,
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<ProjectList>, Problem> {
    let projects = projects::list_projects(&px, &actor).await?;
    Ok(Json(ProjectList {
        total: projects.len(),
        projects,
    }))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    ProjectPath(name): ProjectPath,
) -> Result<Json<ProjectView>, Problem> {
    Ok(Json(projects::get_project(&px, &actor, &name).await?))
}

/// Variables that are not named stay.
pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    ProjectPath(name): ProjectPath,
    JsonBody(body): JsonBody,
) -> Result<Json<ProjectView>, Problem> {
    let change = requests::share_variables(body, false)?;
    let view = projects::share_variables(&px, &actor, &name, change).await?;
    Ok(Json(view))
}

/// Variables that are not named go. One that is named without a value keeps what it has.
pub(super) async fn replace(
    State(px): State<Platform>,
    Caller(actor): Caller,
    ProjectPath(name): ProjectPath,
    JsonBody(body): JsonBody,
) -> Result<Json<ProjectView>, Problem> {
    let change = requests::share_variables(body, true)?;
    let view = projects::share_variables(&px, &actor, &name, change).await?;
    Ok(Json(view))
}
