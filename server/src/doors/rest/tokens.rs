//! `/tokens`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flukedeploy_platform::tokens::NewToken;
use flukedeploy_platform::views::TokenView;
use flukedeploy_platform::{Platform, tokens};
use serde::Serialize;

use super::path::TokenPath;
use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::problem::Problem;
use crate::doors::rights_requests;

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
    let found = tokens::list_tokens(&px, &actor).await?;
    Ok(Json(TokenList {
        total: found.len(),
        tokens: found,
    }))
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<TokenCreated>), Problem> {
    let new = tokens::create_token(&px, &actor, rights_requests::create_token(body)?).await?;
    Ok(shown_once(new))
}

/// A token in the place of an old one.
pub(super) async fn rotate(
    State(px): State<Platform>,
    Caller(actor): Caller,
    TokenPath(id): TokenPath,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<TokenCreated>), Problem> {
    let overlap = rights_requests::rotate_token(body)?;
    let new = tokens::rotate_token(&px, &actor, &id, overlap).await?;
    Ok(shown_once(new))
}

fn shown_once(new: NewToken) -> (StatusCode, Json<TokenCreated>) {
    let token = new.secret.expose().to_owned();
    let created = TokenCreated {
        view: new.view,
        token,
    };
    (StatusCode::CREATED, Json(created))
}

pub(super) async fn revoke(
    State(px): State<Platform>,
    Caller(actor): Caller,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, Problem> {
    tokens::revoke_token(&px, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
