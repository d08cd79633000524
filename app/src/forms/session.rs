//! Sign in, sign out, and the first account.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{ConnectInfo, Path, State};
use axum::response::{IntoResponse, Response};
use flukedeploy_platform::identity;
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use tower_sessions::Session;

use super::{Sent, Typed};
use crate::context::Visitor;
use crate::{paths, render, session};

pub(crate) async fn sign_in(
    connection: Option<Extension<ConnectInfo<SocketAddr>>>,
    session: Session,
    form: Sent,
) -> Response {
    let (px, typed) = (&form.px, &form.typed);
    let address = connection.map_or_else(String::new, |Extension(ConnectInfo(from))| {
        from.ip().to_string()
    });
    let name = typed.text("name").unwrap_or_default();
    let password = Secret::new(typed.get("password").unwrap_or_default());
    let signed_in = match identity::sign_in(px, name, password, &address).await {
        Ok(signed_in) => session::begin(px, &session, signed_in).await,
        Err(error) => Err(error),
    };
    if let Err(error) = signed_in {
        return form.answer(Err(error)).await;
    }
    if let Some((address, typed)) = typed.unpacked() {
        return resume(px, &session, &form.visitor, &address, typed).await;
    }
    render::see_other(
        typed
            .text("next")
            .and_then(paths::local)
            .unwrap_or(paths::OVERVIEW),
    )
}

/// Draws the form that met the ended session, as it was typed. It is not sent: what was meant an
/// hour ago may no longer be.
async fn resume(
    px: &Platform,
    session: &Session,
    visitor: &Visitor,
    address: &str,
    typed: Typed,
) -> Response {
    match session::actor(px, session).await {
        Ok(found) => {
            let actor = found.map(|(actor, _)| actor);
            let visitor = Visitor {
                actor,
                theme: visitor.theme,
            };
            let page = paths::page_of(address);
            render::page(px, visitor, &page, typed, StatusCode::OK).await
        }
        Err(error) => {
            render::note_failure(&error);
            render::see_other(address)
        }
    }
}

pub(crate) async fn sign_out(State(px): State<Platform>, session: Session) -> Response {
    if let Err(error) = session::end(&session).await {
        render::note_failure(&error);
        return render::plain_page(
            render::status_of(&error),
            "You are still signed in",
            "The session could not be ended. Try again in a moment.",
        );
    }
    identity::signed_out(&px);
    // Pages seen before must not come back from the browser's memory.
    (
        [("clear-site-data", "\"cache\"")],
        render::see_other(paths::SIGN_IN),
    )
        .into_response()
}

pub(crate) async fn set_up(Path(token): Path<String>, session: Session, form: Sent) -> Response {
    let result = make_first_account(&form, &session, &token).await;
    let mut response = form.answer(result).await;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

async fn make_first_account(form: &Sent, session: &Session, token: &str) -> Result<String, Error> {
    let (px, typed) = (&form.px, &form.typed);
    let name = typed.text("name").unwrap_or_default();
    let password = typed.get("password").unwrap_or_default();
    if typed.get("password_again") != Some(password) {
        return Err(Error::invalid(
            "password_again",
            "must be the same as the password above",
        ));
    }
    let signed_in = identity::set_up(px, token, name, Secret::new(password)).await?;
    session::begin(px, session, signed_in).await?;
    Ok(paths::OVERVIEW.to_owned())
}
