//! The session: who is behind the cookie, and the gate in front of every page.

use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::timestamp::to_unix_ms;
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::people::{Flow, HalfSignedIn};
use flukedeploy_platform::{Error, Platform};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore};

use crate::client::cookie;
use crate::context::{Theme, Visitor};
use crate::forms::{Posted, Typed};
use crate::origin::origin_of;
use crate::router::DashboardSettings;
use crate::{csrf, hosts, paths, render};

const KEY: &str = "signed_in";
/// Of somebody whose password was right and who owes a code: not signed in.
const HALF: &str = "half_signed_in";
/// Of somebody who went to the sign-in provider.
const FLOW: &str = "elsewhere";
/// How often a session in use is written anew: often enough to tell when it was last used, seldom
/// enough that reading pages does not write.
const RENEW_AFTER_MS: i64 = 300_000;
pub(crate) const THEME_COOKIE: &str = "flukedeploy_theme";

#[derive(Serialize, Deserialize)]
struct Stored {
    signed_in: SignedIn,
    renewed_at_ms: i64,
}

/// The cookie: named after the instance, since cookies do not tell ports apart.
pub(crate) fn layer<S: SessionStore>(
    px: &Platform,
    sessions: S,
    settings: &DashboardSettings,
) -> SessionManagerLayer<S> {
    let prefix = if settings.cookie_secure {
        "__Host-"
    } else {
        ""
    };
    SessionManagerLayer::new(sessions)
        .with_name(format!("{prefix}flukedeploy_{}", px.config().instance))
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(settings.cookie_secure)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(px.config().sessions.idle))
}

/// Begins a session under a new id, so that one planted before is worth nothing.
pub(crate) async fn begin(
    px: &Platform,
    session: &Session,
    signed_in: SignedIn,
) -> Result<(), Error> {
    session.cycle_id().await.map_err(failed)?;
    session.remove::<HalfSignedIn>(HALF).await.map_err(failed)?;
    let stored = Stored {
        signed_in,
        renewed_at_ms: to_unix_ms(px.now()),
    };
    session.insert(KEY, stored).await.map_err(failed)
}

/// Keeps that a password was right, under a new id. Whoever was signed in no longer is.
pub(crate) async fn begin_half(session: &Session, half: HalfSignedIn) -> Result<(), Error> {
    session.cycle_id().await.map_err(failed)?;
    session.remove::<Stored>(KEY).await.map_err(failed)?;
    session.insert(HALF, half).await.map_err(failed)
}

/// Who owes a code.
pub(crate) async fn half(session: &Session) -> Result<Option<HalfSignedIn>, Error> {
    session.get::<HalfSignedIn>(HALF).await.map_err(failed)
}

/// Notes in the session, under a new id, that the person just proved who they are.
pub(crate) async fn prove(px: &Platform, session: &Session) -> Result<(), Error> {
    let Some((_, signed_in)) = actor(px, session).await? else {
        return Err(Error::Unauthenticated {
            why: "the session is over",
        });
    };
    let proved = SignedIn {
        proved_at_ms: to_unix_ms(px.now()),
        ..signed_in
    };
    begin(px, session, proved).await
}

/// Keeps what somebody goes to the sign-in provider with; a later one takes its place.
pub(crate) async fn begin_flow(session: &Session, flow: Flow) -> Result<(), Error> {
    session.insert(FLOW, flow).await.map_err(failed)
}

/// Takes it out, and stores that it is gone before it is used.
pub(crate) async fn take_flow(session: &Session) -> Result<Option<Flow>, Error> {
    let flow = session.remove::<Flow>(FLOW).await.map_err(failed)?;
    if flow.is_some() {
        session.save().await.map_err(failed)?;
    }
    Ok(flow)
}

pub(crate) async fn end(session: &Session) -> Result<(), Error> {
    session.flush().await.map_err(failed)
}

/// Who is behind the session, and the session's owner as it is stored.
pub(crate) async fn actor(
    px: &Platform,
    session: &Session,
) -> Result<Option<(Actor, SignedIn)>, Error> {
    let Some(mut stored) = session.get::<Stored>(KEY).await.map_err(failed)? else {
        return Ok(None);
    };
    let Some(actor) = identity::actor_of_session(px, &stored.signed_in).await? else {
        end(session).await?;
        return Ok(None);
    };
    let now = to_unix_ms(px.now());
    let signed_in = stored.signed_in.clone();
    if now - stored.renewed_at_ms > RENEW_AFTER_MS {
        stored.renewed_at_ms = now;
        session.insert(KEY, stored).await.map_err(failed)?;
    }
    Ok(Some((actor, signed_in)))
}

/// Who is behind a session now, whatever was known of it before; `None` if it is over. For those
/// who stay connected after the request that began it.
pub async fn still_signed_in(px: &Platform, session: &Session) -> Result<Option<Actor>, Error> {
    session.load().await.map_err(failed)?;
    Ok(actor(px, session).await?.map(|(actor, _)| actor))
}

/// The session's owner as it is stored, if it is not over.
pub async fn owner_of(px: &Platform, session: &Session) -> Result<Option<SignedIn>, Error> {
    Ok(actor(px, session).await?.map(|(_, signed_in)| signed_in))
}

/// The same person's session goes on under a new id, with what changed.
pub async fn renew(px: &Platform, session: &Session, signed_in: SignedIn) -> Result<(), Error> {
    begin(px, session, signed_in).await
}

/// Notes in the session that the person just proved who they are.
pub async fn note_proof(px: &Platform, session: &Session) -> Result<(), Error> {
    prove(px, session).await
}

fn failed(error: tower_sessions::session::Error) -> Error {
    Error::Internal {
        doing: "reading the session",
        source: Box::new(error),
    }
}

/// For pages: finds out who looks, and asks strangers to sign in. Nothing that was typed into a
/// form is lost on the way.
pub(crate) async fn gate(
    State(px): State<Platform>,
    session: Session,
    mut request: Request,
    next: Next,
) -> Response {
    if is_for_programs(request.uri().path()) {
        return render::problem(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this address",
        );
    }
    let theme = theme_of(request.headers());
    let actor = match actor(&px, &session).await {
        Ok(found) => found.map(|(actor, _)| actor),
        Err(error) => {
            render::note_failure(&error);
            return render::plain_page(
                render::status_of(&error),
                "Your session could not be read",
                &format!("{}. Try again in a moment.", error.public_detail()),
            );
        }
    };
    let mut visitor = Visitor { actor, theme };
    if let Some(actor) = &mut visitor.actor {
        actor.origin = Some(origin_of(&px, request.headers(), request.extensions()));
    }
    if visitor.actor.is_some() || is_open(request.uri().path()) {
        request.extensions_mut().insert(visitor);
        return next.run(request).await;
    }
    let wanted = render::address_of(request.uri()).to_owned();
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return match identity::needs_set_up(&px).await {
            Ok(true) => render::see_other(paths::SET_UP),
            Ok(false) => render::see_other(&paths::sign_in_then(&wanted)),
            Err(error) => {
                render::note_failure(&error);
                render::plain_page(
                    render::status_of(&error),
                    "FlukeDeploy cannot answer",
                    &error.public_detail(),
                )
            }
        };
    }
    if is_upload(request.headers()) {
        let typed = Typed::sent_back(&wanted);
        let unauthorised = StatusCode::UNAUTHORIZED;
        return render::page(&px, visitor, paths::SIGN_IN, typed, unauthorised).await;
    }
    match Posted::from_request(request, &()).await {
        Ok(Posted(form)) => {
            let typed = Typed::carried(&wanted, &form);
            render::page(
                &px,
                visitor,
                paths::SIGN_IN,
                typed,
                StatusCode::UNAUTHORIZED,
            )
            .await
        }
        Err(refusal) => refusal,
    }
}

/// For the API and the stream: a session cookie is as good as a token, if the request comes from
/// our own pages. A request with a token is left to the token.
pub(crate) async fn accept(
    State(px): State<Platform>,
    session: Session,
    mut request: Request,
    next: Next,
) -> Response {
    // Under a name that is not ours the cookie is not for us.
    if request.headers().contains_key(AUTHORIZATION) || !hosts::is_ours(&px, &request) {
        return next.run(request).await;
    }
    match actor(&px, &session).await {
        Ok(Some((actor, _))) => {
            if let Some(refusal) = csrf::refuse_forged(request.headers(), request.method()) {
                return refusal;
            }
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(error) => {
            render::note_failure(&error);
            render::problem(
                render::status_of(&error),
                error.code(),
                &error.public_detail(),
            )
        }
    }
}

/// A file is not read for strangers.
fn is_upload(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"))
}

/// Pages for those who are not signed in.
fn is_open(path: &str) -> bool {
    path == paths::SIGN_IN
        || path == paths::SIGN_IN_CODE
        || path == paths::PROVIDER
        || path == paths::PROVIDER_CALLBACK
        || path == paths::THEME
        || path == paths::SET_UP
        || path
            .strip_prefix(paths::SET_UP)
            .is_some_and(|rest| rest.starts_with('/'))
        || path
            .strip_prefix(paths::INVITATIONS)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Whoever asks there reads JSON, not pages.
fn is_for_programs(path: &str) -> bool {
    path == "/mcp" || path.starts_with("/mcp/") || path == "/api" || path.starts_with("/api/")
}

fn theme_of(headers: &HeaderMap) -> Theme {
    cookie(headers, THEME_COOKIE).map_or(Theme::System, Theme::parse)
}
