//! `/account`: whoever is signed in. A token has no account of its own.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flukedeploy_platform::people::{self, AccountView, SessionView};
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;

use super::path::PlainId;
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;

#[derive(Serialize)]
pub(super) struct SessionList {
    total: usize,
    sessions: Vec<SessionView>,
}

#[derive(Serialize)]
pub(super) struct Ended {
    ended: u64,
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<AccountView>, Problem> {
    Ok(Json(people::account(&px, &actor).await?))
}

pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<AccountView>, Problem> {
    let name = display_name(body)?;
    people::rename(&px, &actor, Some(&name)).await?;
    Ok(Json(people::account(&px, &actor).await?))
}

pub(super) async fn sessions(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<SessionList>, Problem> {
    let sessions = people::sessions(&px, &actor).await?;
    Ok(Json(SessionList {
        total: sessions.len(),
        sessions,
    }))
}

pub(super) async fn end(
    State(px): State<Platform>,
    Caller(actor): Caller,
    PlainId(id): PlainId,
) -> Result<StatusCode, Problem> {
    people::end_session(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All but the one that asks.
pub(super) async fn end_others(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<Ended>, Problem> {
    let ended = people::end_other_sessions(&px, &actor).await?;
    Ok(Json(Ended { ended }))
}

/// An empty one takes it away.
fn display_name(mut fields: Fields) -> Result<String, Error> {
    let name = fields.text("display_name");
    if name.is_none() && !fields.has_fault("display_name") {
        fields.fault("display_name", "must be given");
    }
    fields.finish()?;
    Ok(name.unwrap_or_default())
}
