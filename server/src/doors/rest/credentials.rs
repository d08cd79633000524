//! `/credentials`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use flukedeploy_domain::credential::{CredentialKind, CredentialView};
use flukedeploy_platform::{Platform, credentials};
use serde::Serialize;

use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::requests;

#[derive(Serialize)]
pub(super) struct CredentialList {
    total: usize,
    credentials: Vec<CredentialView>,
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<CredentialList>, Problem> {
    let credentials = credentials::list_credentials(&px, &actor).await?;
    Ok(Json(CredentialList {
        total: credentials.len(),
        credentials,
    }))
}

pub(super) async fn put(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<CredentialView>, Problem> {
    let cmd = requests::put_credential(body)?;
    Ok(Json(credentials::put_credential(&px, &actor, cmd).await?))
}

pub(super) async fn remove(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((kind, host)) =
        path.map_err(|_| Problem::bad_request("the address cannot be read"))?;
    let kind: CredentialKind = kind
        .parse()
        .map_err(|fault| Problem::bad_parameters(vec![fault]))?;
    credentials::delete_credential(&px, &actor, kind, &host).await?;
    Ok(StatusCode::NO_CONTENT)
}
