//! Create and revoke API tokens.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::{Actor, Tier};
use flukedeploy_platform::identity::{CreateToken, NewToken, create_token, revoke_token};
use flukedeploy_platform::{Error, Platform};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode, Uri};

use super::{Posted, Typed, actor, answer};
use crate::context::Visitor;
use crate::{paths, render};

/// Field in which the page gets the one appearance of a new token's secret.
pub(crate) const NEW_SECRET: &str = "new_secret";
pub(crate) const NEW_NAME: &str = "new_name";

pub(crate) async fn create(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let made = match actor(&visitor) {
        Ok(actor) => make(&px, actor, &typed).await,
        Err(error) => Err(error),
    };
    match made {
        Err(error) => answer(&px, visitor, &uri, typed, Err(error)).await,
        // Shown in the answer itself: a redirect would have to keep the secret somewhere.
        Ok(NewToken { view, secret }) => {
            let shown = Typed::new(vec![
                (NEW_SECRET.to_owned(), secret.expose().to_owned()),
                (NEW_NAME.to_owned(), view.name),
            ]);
            let mut response =
                render::page(&px, visitor, paths::TOKENS, shown, StatusCode::CREATED).await;
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
    }
}

async fn make(px: &Platform, actor: &Actor, typed: &Typed) -> Result<NewToken, Error> {
    let tier = match typed.text("tier") {
        Some("extended") => Tier::Extended,
        Some("advanced") => Tier::Advanced,
        Some("admin") => Tier::Admin,
        _ => {
            return Err(Error::invalid(
                "tier",
                "must be extended, advanced or admin",
            ));
        }
    };
    let days = match typed.text("expires_in_days") {
        None | Some("never") => None,
        Some(text) => match text.parse::<i64>() {
            Ok(days @ 1..=3650) => Some(days),
            _ => {
                return Err(Error::invalid(
                    "expires_in_days",
                    "must be 1 to 3650, or never",
                ));
            }
        },
    };
    let cmd = CreateToken {
        name: typed.text("name").unwrap_or_default().to_owned(),
        persona: typed.text("persona").map(ToOwned::to_owned),
        tier,
        expires_at: days.map(|days| px.now() + time::Duration::days(days)),
    };
    create_token(px, actor, cmd).await
}

pub(crate) async fn revoke(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match actor(&visitor) {
        Ok(actor) => revoke_token(&px, actor, &id)
            .await
            .map(|()| paths::TOKENS.to_owned()),
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}
