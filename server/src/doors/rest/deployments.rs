//! `/deployments`, and what an app's address says about its deployments.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::RunMode;
use flukedeploy_domain::deployment::{DeploymentSummary, Receipt};
use flukedeploy_domain::names::Invalid;
use flukedeploy_platform::deployments::{self, Accepted, Steer};
use flukedeploy_platform::views::{DeploymentLogs, DeploymentStats};
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;

use super::path::{AppPath, DeploymentPath};
use crate::doors::answers::{DeploymentAccepted, RollbackAccepted};
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::linked_data;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::requests::{self, set_mode};

#[derive(Serialize)]
pub(super) struct DeploymentList {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<String>,
    total: usize,
    deployments: Vec<DeploymentSummary>,
}

impl DeploymentList {
    fn new(app_name: Option<String>, deployments: Vec<DeploymentSummary>) -> Json<Self> {
        Json(Self {
            app_name,
            total: deployments.len(),
            deployments,
        })
    }
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    query: Params,
    headers: HeaderMap,
    JsonBody(mut body): JsonBody,
) -> Result<Response, Problem> {
    let wait = wait_seconds(query)?;
    let dry_run = requests::dry_run(&mut body);
    let mut cmd = requests::deploy(body)?;
    if dry_run {
        let plan = deployments::plan_deploy(&px, &actor, &cmd).await?;
        return Ok(Json(plan).into_response());
    }
    cmd.idempotency_key = idempotency_key(&headers, cmd.idempotency_key)?;
    let accepted = deployments::deploy(&px, &actor, cmd).await?;
    started(&px, &actor, accepted, wait).await
}

/// The answer to an act that is recorded like a deployment.
pub(super) async fn started(
    px: &Platform,
    actor: &Actor,
    accepted: Accepted,
    wait: u64,
) -> Result<Response, Problem> {
    let (status, summary) = waited(px, actor, &accepted, wait).await?;
    let answer = DeploymentAccepted::new(px.config(), summary, accepted.replayed);
    Ok((status, Json(answer)).into_response())
}

/// One handler for each address of an everyday act: they differ in what is read from the body.
macro_rules! everyday_handler {
    ($name:ident, $read:expr) => {
        pub(super) async fn $name(
            State(px): State<Platform>,
            Caller(actor): Caller,
            AppPath(name): AppPath,
            query: Params,
            headers: HeaderMap,
            JsonBody(body): JsonBody,
        ) -> Result<Response, Problem> {
            let wait = wait_seconds(query)?;
            let mut cmd = $read(body, Some(name))?;
            cmd.idempotency_key = idempotency_key(&headers, cmd.idempotency_key)?;
            let accepted = deployments::act(&px, &actor, cmd).await?;
            started(&px, &actor, accepted, wait).await
        }
    };
}

everyday_handler!(scale, requests::scale);
everyday_handler!(restart, requests::restart);
everyday_handler!(stop, |body, app| set_mode(
    body,
    app,
    Some(RunMode::Stopped)
));
everyday_handler!(sleep, |body, app| set_mode(
    body,
    app,
    Some(RunMode::Asleep)
));
everyday_handler!(start, |body, app| set_mode(
    body,
    app,
    Some(RunMode::Running)
));
everyday_handler!(maintenance, |body, app| set_mode(
    body,
    app,
    Some(RunMode::Maintenance)
));

/// One handler for each way to steer a rollout.
macro_rules! steer_handler {
    ($name:ident, $how:expr) => {
        pub(super) async fn $name(
            State(px): State<Platform>,
            Caller(actor): Caller,
            DeploymentPath(id): DeploymentPath,
        ) -> Result<(StatusCode, Json<DeploymentSummary>), Problem> {
            let summary = deployments::steer(&px, &actor, &id, $how).await?;
            Ok((StatusCode::ACCEPTED, Json(summary)))
        }
    };
}

steer_handler!(pause, Steer::Pause);
steer_handler!(resume, Steer::Resume);
steer_handler!(promote, Steer::Promote);

pub(super) async fn receipt(
    State(px): State<Platform>,
    Caller(actor): Caller,
    DeploymentPath(id): DeploymentPath,
) -> Result<Json<Receipt>, Problem> {
    let summary = deployments::get_deployment(&px, &actor, &id).await?;
    let missing = Error::NotFound {
        what: format!("receipt of deployment '{id}' yet: it is written when the deployment ends"),
    };
    Ok(Json(summary.receipt.ok_or(missing)?))
}

pub(super) async fn roll_back(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    query: Params,
    headers: HeaderMap,
    JsonBody(mut body): JsonBody,
) -> Result<Response, Problem> {
    let wait = wait_seconds(query)?;
    let dry_run = requests::dry_run(&mut body);
    let mut cmd = requests::rollback(body, Some(name))?;
    if dry_run {
        let plan = deployments::plan_rollback(&px, &actor, &cmd).await?;
        return Ok(Json(plan).into_response());
    }
    cmd.idempotency_key = idempotency_key(&headers, cmd.idempotency_key)?;
    let accepted = deployments::rollback(&px, &actor, cmd).await?;
    let (status, summary) = waited(&px, &actor, &accepted, wait).await?;
    let answer = RollbackAccepted::new(px.config(), accepted, summary);
    Ok((status, Json(answer)).into_response())
}

pub(super) async fn recent(
    State(px): State<Platform>,
    Caller(actor): Caller,
    mut query: Params,
) -> Result<Json<DeploymentList>, Problem> {
    let limit = query.number("limit").unwrap_or(10);
    query.finish()?;
    let found = deployments::recent_deployments(&px, &actor, limit).await?;
    Ok(DeploymentList::new(None, found))
}

pub(super) async fn active(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<DeploymentList>, Problem> {
    Ok(DeploymentList::new(
        None,
        deployments::active_deployments(&px, &actor).await?,
    ))
}

pub(super) async fn stats(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<DeploymentStats>, Problem> {
    Ok(Json(deployments::deployment_stats(&px, &actor).await?))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    DeploymentPath(id): DeploymentPath,
    headers: HeaderMap,
    query: Params,
) -> Result<Response, Problem> {
    let wait = wait_seconds(query)?;
    let found = deployments::wait_for_deployment(&px, &actor, &id, wait).await?;
    Ok(linked_data::deployment(&headers, found))
}

pub(super) async fn logs(
    State(px): State<Platform>,
    Caller(actor): Caller,
    DeploymentPath(id): DeploymentPath,
) -> Result<Json<DeploymentLogs>, Problem> {
    Ok(Json(deployments::deployment_logs(&px, &actor, &id).await?))
}

pub(super) async fn cancel(
    State(px): State<Platform>,
    Caller(actor): Caller,
    DeploymentPath(id): DeploymentPath,
) -> Result<(StatusCode, Json<DeploymentSummary>), Problem> {
    let summary = deployments::cancel(&px, &actor, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(summary)))
}

pub(super) async fn of_app(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    mut query: Params,
) -> Result<Json<DeploymentList>, Problem> {
    let limit = query.number("limit").unwrap_or(10);
    let include_rollbacks = query.flag("include_rollbacks", true);
    let environment = requests::environment_of(&mut query);
    query.finish()?;
    let of = environment.as_ref();
    let found = deployments::history(&px, &actor, &name, of, limit, include_rollbacks).await?;
    Ok(DeploymentList::new(Some(name.to_string()), found))
}

/// `?wait=<seconds>`: how long the answer may be held back until the deployment has ended.
fn wait_seconds(mut query: Params) -> Result<u64, Problem> {
    let wait = wait_of(&mut query);
    query.finish()?;
    Ok(wait)
}

/// A fault is noted in `query`.
pub(super) fn wait_of(query: &mut Params) -> u64 {
    let wait = query.number("wait").unwrap_or(0);
    if let Some(fault) = requests::wait_fault("wait", wait) {
        query.fault(fault);
    }
    wait
}

/// 202 with what was accepted, or 200 with what became of it in the meantime.
async fn waited(
    px: &Platform,
    actor: &Actor,
    accepted: &Accepted,
    wait: u64,
) -> Result<(StatusCode, DeploymentSummary), Problem> {
    if wait == 0 {
        return Ok((StatusCode::ACCEPTED, accepted.deployment.clone()));
    }
    let id = &accepted.deployment.deployment_id;
    let summary = deployments::wait_for_begun(px, actor, id, wait).await?;
    Ok((StatusCode::OK, summary))
}

/// The key may come as a header or in the body; two different ones are a mistake.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    body: Option<String>,
) -> Result<Option<String>, Error> {
    let Some(header) = headers.get("idempotency-key") else {
        return Ok(body);
    };
    let header = header.to_str().map_err(|_| {
        Error::invalid(
            "idempotency_key",
            "must consist of visible ASCII characters",
        )
    })?;
    match body {
        Some(body) if body != header => {
            Err(Invalid::new("idempotency_key", "differs between header and body").into())
        }
        _ => Ok(Some(header.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idempotency_key_comes_from_header_or_body() {
        let mut headers = HeaderMap::new();
        let key = |headers: &HeaderMap, body: Option<&str>| {
            idempotency_key(headers, body.map(ToOwned::to_owned))
        };
        assert_eq!(key(&headers, Some("b")).unwrap().as_deref(), Some("b"));
        headers.insert("Idempotency-Key", "h".parse().unwrap());
        assert_eq!(key(&headers, None).unwrap().as_deref(), Some("h"));
        assert_eq!(key(&headers, Some("h")).unwrap().as_deref(), Some("h"));
        assert!(key(&headers, Some("b")).is_err());
    }

    #[test]
    fn nobody_waits_longer_than_proxies_do() {
        let wait = |query: &str| {
            wait_seconds(Params::of(&format!("/deployments{query}").parse().unwrap()).unwrap())
        };
        assert_eq!(wait("").unwrap(), 0);
        assert_eq!(wait("?wait=50").unwrap(), 50);
        for bad in ["?wait=51", "?wait=soon", "?wait=-1"] {
            assert_eq!(wait(bad).unwrap_err().code(), "bad_request", "{bad}");
        }
    }
}
