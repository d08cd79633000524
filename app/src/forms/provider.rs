//! To the sign-in provider and back.

use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use flukedeploy_platform::people::{self, Answer, Arrived, Entered, Flow, Wanted};
use flukedeploy_platform::{Error, Platform};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tower_sessions::Session;

use super::session::{ask_for_code, enter};
use super::{Sent, Typed};
use crate::{paths, render, session};

pub(crate) async fn sign_in(session: Session, form: Sent) -> Response {
    go(session, form, Wanted::SignIn).await
}

pub(crate) async fn accept(Path(secret): Path<String>, session: Session, form: Sent) -> Response {
    let name = form.typed.text("name").unwrap_or_default();
    let wanted = Wanted::accept(&secret, name, form.typed.text("display_name"));
    go(session, form, wanted).await
}

pub(crate) async fn connect(session: Session, form: Sent) -> Response {
    go(session, form, Wanted::Bind).await
}

pub(crate) async fn confirm(session: Session, form: Sent) -> Response {
    go(session, form, Wanted::Confirm).await
}

pub(crate) async fn disconnect(form: Sent) -> Response {
    let result = async {
        people::unbind(&form.px, form.actor()?).await?;
        Ok(paths::ACCOUNT.to_owned())
    };
    let result = result.await;
    form.answer(result).await
}

async fn go(session: Session, form: Sent, wanted: Wanted) -> Response {
    let next = form.typed.text("next").and_then(paths::local);
    let next = next.map(ToOwned::to_owned);
    let actor = form.visitor.actor.as_ref();
    let begun = people::begin_elsewhere(&form.px, wanted, next, actor, &form.origin).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => return form.answer(Err(error)).await,
    };
    match session::begin_flow(&session, begun.flow).await {
        Ok(()) => on_to(&begun.address),
        Err(error) => form.answer(Err(error)).await,
    }
}

/// Not a redirect: a form may lead to our own addresses only (`form-action`), redirects included.
fn on_to(address: &str) -> Response {
    const REFRESH: HeaderName = HeaderName::from_static("refresh");
    let mut response = render::way_on(address);
    if let Ok(value) = HeaderValue::from_str(&format!("0; url={address}")) {
        response.headers_mut().insert(REFRESH, value);
    }
    response
}

/// The browser is back from the provider.
pub(crate) async fn callback(
    State(px): State<Platform>,
    session: Session,
    Query(pairs): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    // Some programs look at a link before a person follows it; that must not use it up.
    if *request.method() != Method::GET {
        return StatusCode::NO_CONTENT.into_response();
    }
    let form = match Sent::from_request(request, &px).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let flow = match session::take_flow(&session).await {
        Ok(flow) => flow,
        Err(error) => return failed(form, None, &error).await,
    };
    let value = |name: &str| {
        let mut all = pairs.iter().filter(|(known, _)| known == name);
        let first = all.next().map(|(_, value)| value.clone());
        // Said twice is said unclearly.
        first.filter(|_| all.next().is_none())
    };
    let answer = Answer {
        state: value("state"),
        code: value("code"),
        error: value("error"),
        iss: value("iss"),
    };
    let actor = form.visitor.actor.as_ref();
    let arrived = people::finish_elsewhere(&px, flow.clone(), &answer, actor, &form.origin).await;
    match arrived {
        Ok(arrived) => land(&session, form, flow, arrived).await,
        Err(error) => failed(form, flow.as_ref(), &error).await,
    }
}

async fn land(session: &Session, mut form: Sent, flow: Option<Flow>, arrived: Arrived) -> Response {
    let next = flow.and_then(|flow| flow.next);
    let pairs = next.iter().map(|next| ("next".to_owned(), next.clone()));
    form.typed = Typed::new(pairs.collect());
    match arrived {
        Arrived::Entered(Entered::SignedIn(signed_in)) => enter(session, form, *signed_in).await,
        Arrived::Entered(Entered::Half(half)) => match session::begin_half(session, half).await {
            Ok(()) => ask_for_code(form).await,
            Err(error) => failed(form, None, &error).await,
        },
        Arrived::Bound => render::see_other(paths::ACCOUNT),
        Arrived::Confirmed => match session::prove(&form.px, session).await {
            Ok(()) => render::see_other(next.as_deref().unwrap_or(paths::ACCOUNT)),
            Err(error) => failed(form, None, &error).await,
        },
    }
}

/// Draws the page on which it began, with what went wrong. An invitation's link is not kept, so
/// that leads to the sign-in.
async fn failed(form: Sent, flow: Option<&Flow>, error: &Error) -> Response {
    render::note_failure(error);
    let page = match flow.map(|flow| &flow.wanted) {
        Some(Wanted::Bind) if form.visitor.actor.is_some() => paths::ACCOUNT,
        Some(Wanted::Confirm) if form.visitor.actor.is_some() => paths::CONFIRM,
        _ => paths::SIGN_IN,
    };
    let typed = Typed::default().with_error(error);
    render::page(
        &form.px,
        form.visitor,
        page,
        typed,
        render::status_of(error),
    )
    .await
}
