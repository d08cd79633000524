//! `/health` and `/diagnose`: whether the platform works, answered from what was seen last.

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flukedeploy_domain::access::{Action, Door, Resource, lacks};
use flukedeploy_domain::timestamp;
use flukedeploy_platform::Platform;
use flukedeploy_platform::health::{
    self, ContainersView, DockerView, HealthStatus, IssueList, MachineView, ReportStatus,
};
use serde_json::{Value, json};

use crate::doors::auth::{self, Caller};
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::state::AppState;

fn code_of(status: HealthStatus) -> StatusCode {
    match status {
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(super) async fn show(
    State(state): State<AppState>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let px = &state.px;
    let actor = match auth::bearer(&headers)? {
        Some(token) => Some(auth::from_token(px, &token, Door::Rest, &headers, &extensions).await?),
        None => auth::session_actor(&extensions),
    };
    // The one word is for everybody; what stands behind it only for those who may see it.
    let allowed =
        actor.filter(|actor| lacks(actor, Action::ViewSystem, Resource::System).is_none());
    let Some(actor) = allowed else {
        let status = health::status(px);
        let body = json!({
            "status": status, "version": px.config().version,
            "timestamp": timestamp::to_wire(px.now()),
        });
        return Ok((code_of(status), Json(body)).into_response());
    };
    let mut health = health::health(px, &actor)?;
    health.flukedeploy.websocket_clients = state.listeners.count() as u64;
    Ok((code_of(health.status), Json(health)).into_response())
}

pub(super) async fn system(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<MachineView>, Problem> {
    Ok(Json(health::system(&px, &actor)?))
}

pub(super) async fn docker(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<DockerView>, Problem> {
    Ok(Json(health::docker(&px, &actor)?))
}

pub(super) async fn issues(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<IssueList>, Problem> {
    Ok(Json(health::issues(&px, &actor)?))
}

pub(super) async fn containers(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut params: Params,
) -> Result<Json<ContainersView>, Problem> {
    let detailed = params.text("detailed").as_deref() != Some("false");
    let refresh = params.text("refresh").as_deref() == Some("true");
    params.finish()?;
    Ok(Json(
        health::containers(&px, &actor, detailed, refresh).await?,
    ))
}

pub(super) async fn diagnose(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Response, Problem> {
    let report = health::diagnose(&px, &actor, false)?;
    let code = match report.overall_status {
        ReportStatus::Pass | ReportStatus::Warning => StatusCode::OK,
        ReportStatus::Fail => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((code, Json(report)).into_response())
}

/// Anything but a pass is a failure here.
pub(super) async fn diagnose_quick(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<Value>, Problem> {
    let report = health::diagnose(&px, &actor, true)?;
    let status = match report.overall_status {
        ReportStatus::Pass => ReportStatus::Pass,
        ReportStatus::Warning | ReportStatus::Fail => ReportStatus::Fail,
    };
    Ok(Json(json!({"status": status, "checks": report.checks})))
}
