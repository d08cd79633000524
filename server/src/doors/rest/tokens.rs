//! `/tokens`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flukedeploy_platform::views::TokenView;
use flukedeploy_platform::{Platform, identity};
use serde::Serialize;

use super::path::TokenPath;
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::requests;

#[derive(Serialize)]
pub(super) struct TokenList {
    total: usize,
    tokens: Vec<TokenView>,
}

/// The only answer that ever holds a token.
#[derive(Serialize)]
pub(super) struct TokenCreated {
    #[serde(flatten)]
    view: TokenView,
    token: String,
}

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<TokenList>, Problem> {
    let tokens = identity::list_tokens(&px, &actor).await?;
    Ok(Json(TokenList {
        total: tokens.len(),
        tokens,
    }))
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<TokenCreated>), Problem> {
    let new = identity::create_token(&px, &actor, requests::create_token(body)?).await?;
    let token = new.secret.expose().to_owned();
    Ok((
        StatusCode::CREATED,
        Json(TokenCreated {
            view: new.view,
            token,
        }),
    ))
}

pub(super) async fn revoke(
    State(px): State<Platform>,
    Caller(actor): Caller,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, Problem> {
    identity::revoke_token(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
