//! Sign in, sign out, and how an account begins.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::people::{self, Entered};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform};
use http::StatusCode;
use tower_sessions::Session;

use super::{CODE, Sent, Typed};
use crate::context::Visitor;
use crate::{client, paths, render, session};

pub(crate) async fn sign_in(session: Session, form: Sent) -> Response {
    let (px, typed) = (&form.px, &form.typed);
    let name = typed.text("name").unwrap_or_default();
    let password = Secret::new(typed.get("password").unwrap_or_default());
    match people::sign_in(px, name, &password, &form.origin).await {
        Ok(Entered::SignedIn(signed_in)) => enter(&session, form, *signed_in).await,
        Ok(Entered::Half(half)) => match session::begin_half(&session, half).await {
            Ok(()) => ask_for_code(form).await,
            Err(error) => form.answer(Err(error)).await,
        },
        Err(error) => form.answer(Err(error)).await,
    }
}

/// The second page of the sign-in. What is carried goes along.
pub(super) async fn ask_for_code(form: Sent) -> Response {
    let mut carried = form.typed.hidden();
    let next = form.typed.text("next").and_then(paths::local);
    if carried.is_empty() {
        return render::see_other(&match next {
            Some(next) => format!("{}?next={}", paths::SIGN_IN_CODE, paths::encoded(next)),
            None => paths::SIGN_IN_CODE.to_owned(),
        });
    }
    carried.extend(next.map(|next| ("next".to_owned(), next.to_owned())));
    let typed = Typed::new(carried);
    let stranger = Visitor {
        actor: None,
        ..form.visitor
    };
    render::page(
        &form.px,
        stranger,
        paths::SIGN_IN_CODE,
        typed,
        StatusCode::OK,
    )
    .await
}

pub(crate) async fn second_step(session: Session, form: Sent) -> Response {
    match take_code(&session, &form).await {
        Ok(signed_in) => enter(&session, form, signed_in).await,
        Err(error) => form.answer(Err(error)).await,
    }
}

async fn take_code(session: &Session, form: &Sent) -> Result<SignedIn, Error> {
    let Some(half) = session::half(session).await? else {
        return Err(Error::Unauthenticated {
            why: "begin with your name and password",
        });
    };
    let code = form.typed.text(CODE).unwrap_or_default();
    people::second_step(&form.px, &half, code, &form.origin).await
}

/// Begins the session, and leads to where the person wanted to go.
pub(super) async fn enter(session: &Session, form: Sent, signed_in: SignedIn) -> Response {
    if let Err(error) = session::begin(&form.px, session, signed_in.clone()).await {
        return form.answer(Err(error)).await;
    }
    let px = &form.px;
    let response = match form.typed.unpacked("You are signed in again") {
        Some((address, typed)) => resume(px, session, &form.visitor, &address, typed).await,
        None => render::see_other(
            form.typed
                .text("next")
                .and_then(paths::local)
                .unwrap_or(paths::OVERVIEW),
        ),
    };
    match client::remember(px, &signed_in, form.is_secure, response).await {
        Ok(response) => response,
        Err(error) => {
            render::note_failure(&error);
            render::see_other(paths::OVERVIEW)
        }
    }
}

/// Draws the form that was interrupted, as it was typed. It is not sent: what was meant an hour ago
/// may no longer be.
pub(super) async fn resume(
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

pub(crate) async fn sign_out(
    State(px): State<Platform>,
    visitor: Option<Extension<Visitor>>,
    session: Session,
) -> Response {
    if let Err(error) = session::end(&session).await {
        render::note_failure(&error);
        return render::plain_page(
            render::status_of(&error),
            "You are still signed in",
            "The session could not be ended. Try again in a moment.",
        );
    }
    let actor = visitor.and_then(|Extension(visitor)| visitor.actor);
    if let Err(error) = people::signed_out(&px, actor.as_ref()).await {
        render::note_failure(&error);
    }
    // Pages seen before must not come back from the browser's memory.
    (
        [("clear-site-data", "\"cache\"")],
        render::see_other(paths::SIGN_IN),
    )
        .into_response()
}

pub(crate) async fn set_up(Path(token): Path<String>, session: Session, form: Sent) -> Response {
    match make_first_account(&form, &token).await {
        Ok(signed_in) => enter(&session, form, signed_in).await,
        Err(error) => form.answer(Err(error)).await,
    }
}

async fn make_first_account(form: &Sent, token: &str) -> Result<SignedIn, Error> {
    let name = form.typed.text("name").unwrap_or_default();
    let password = new_password(form)?;
    identity::set_up(&form.px, token, name, password, &form.origin).await
}

pub(crate) async fn accept(Path(secret): Path<String>, session: Session, form: Sent) -> Response {
    match accept_invitation(&form, &secret).await {
        Ok(signed_in) => enter(&session, form, signed_in).await,
        Err(error) => form.answer(Err(error)).await,
    }
}

async fn accept_invitation(form: &Sent, secret: &str) -> Result<SignedIn, Error> {
    let name = form.typed.text("name").unwrap_or_default();
    let shown = form.typed.text("display_name");
    let password = new_password(form)?;
    people::accept_invitation(&form.px, secret, name, shown, &password, &form.origin).await
}

/// A new password, typed twice.
pub(super) fn new_password(form: &Sent) -> Result<Secret, Error> {
    let password = form.typed.get("password").unwrap_or_default();
    if form.typed.get("password_again") == Some(password) {
        Ok(Secret::new(password))
    } else {
        Err(Error::invalid(
            "password_again",
            "must be the same as the password above",
        ))
    }
}
