//! Who asks: a bearer token, or the dashboard session that a middleware before us has checked.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flukedeploy_app::origin_of;
use flukedeploy_domain::access::{Actor, Door};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Platform, budgets, identity};

use futures_util::{StreamExt as _, stream};
use tower_sessions::Session;

use super::problem::Problem;
use super::standing::{Changes, Credential, Standing};

/// The authenticated caller of a request; only routes behind [`require`] have one.
pub struct Caller(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let actor = parts.extensions.get::<Actor>().cloned();
        actor
            .map(Self)
            .ok_or_else(|| Problem::unauthorized("no credentials were sent"))
    }
}

/// What [`require`] needs to know about the door it stands at.
#[derive(Clone)]
pub struct Gate {
    pub px: Platform,
    pub door: Door,
    /// Whether a dashboard session will do.
    pub sessions: bool,
}

/// Middleware: lets only authenticated requests through and puts their [`Actor`] into the
/// request's extensions.
pub async fn require(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let session = if gate.sessions {
        session_actor(request.extensions())
    } else {
        None
    };
    let changes = Changes::from_now(&gate.px);
    let origin = origin_of(&gate.px, request.headers(), request.extensions());
    let (mut actor, credential, until) = match bearer(request.headers()) {
        Err(problem) => return problem.into_response(),
        Ok(Some(token)) => {
            let from = Some(Arc::clone(&origin));
            match identity::token_standing(&gate.px, token.expose(), gate.door, from.clone()).await
            {
                Ok((actor, until)) => (actor, Credential::Token(token, gate.door, from), until),
                Err(error) => return Problem::from(error).into_response(),
            }
        }
        Ok(None) => match session {
            // A cross-site form cannot send JSON without the browser asking us first.
            Some(_) if !request.method().is_safe() && !is_json(request.headers()) => {
                return Problem::unsupported_media_type().into_response();
            }
            Some(actor) => {
                let session = request.extensions().get::<Session>().cloned();
                (actor, Credential::Session(session), None)
            }
            None => return Problem::unauthorized("no credentials were sent").into_response(),
        },
    };
    if let Err(error) = budgets::admit(&gate.px, &actor) {
        return Problem::from(error).into_response();
    }
    actor.origin = Some(origin);
    if matches!(credential, Credential::Session(_)) && changes_its_session(request.extensions()) {
        request.extensions_mut().insert(actor);
        return next.run(request).await;
    }
    let began = actor.clone();
    request.extensions_mut().insert(actor);
    let mut standing = Standing::new(&gate.px, credential, until, changes);
    let mut answer = std::pin::pin!(next.run(request));
    // Some answers are waited for long, and rights may be withdrawn meanwhile.
    loop {
        tokio::select! {
            biased;
            response = &mut answer => return guarded(gate.px, standing, began, response),
            () = standing.due() => {}
        }
        match standing.look(&gate.px).await {
            Ok(Some(now)) if may_less(&now, &began) => {
                // It may be this very request that took them: whoever stops being an administrator
                // is told that it is so.
                return match tokio::time::timeout(OWN_DOING, &mut answer).await {
                    Ok(response) => guarded(gate.px, standing, began, response),
                    Err(_) => Problem::unauthorized(MAY_LESS).into_response(),
                };
            }
            Ok(_) => {}
            Err(why) => return Problem::unauthorized(why).into_response(),
        }
    }
}

/// These give the session that they come with a new id: looking it up meanwhile would take it out
/// of their hands, and what they announce is their own doing.
fn changes_its_session(extensions: &Extensions) -> bool {
    let path = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    path.is_some_and(|path| {
        path.ends_with("/account/password") || path.ends_with("/account/confirm")
    })
}

/// How long a request that was under way may take to end once its rights are fewer.
const OWN_DOING: Duration = Duration::from_millis(500);

const MAY_LESS: &str = "fewer rights are left than when the request began";

/// Whether something may have been taken back since then.
fn may_less(now: &Actor, then: &Actor) -> bool {
    now.tier < then.tier || (now.rights != then.rights && !now.rights.is_everything())
}

/// An answer that is still being made while it is sent, an export say, breaks off when rights are
/// withdrawn. The log stream looks for itself, and says why.
fn guarded(px: Platform, standing: Standing, began: Actor, response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream || response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let data = body.into_data_stream();
        let state = Some((px, standing, began, data));
        Body::from_stream(stream::unfold(state, async |state| {
            let (px, mut standing, began, mut data) = state?;
            loop {
                tokio::select! {
                    biased;
                    () = standing.due() => {
                        let why = match standing.look(&px).await {
                            Err(why) => why,
                            Ok(Some(now)) if may_less(&now, &began) => MAY_LESS.to_owned(),
                            Ok(_) => continue,
                        };
                        return Some((Err(axum::Error::new(Withdrawn(why))), None));
                    },
                    piece = data.next() => {
                        return Some((piece?, Some((px, standing, began, data))));
                    }
                }
            }
        }))
    })
}

#[derive(Debug, thiserror::Error)]
#[error("access was withdrawn: {0}")]
struct Withdrawn(String);

pub(super) async fn from_token(
    px: &Platform,
    token: &Secret,
    door: Door,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Actor, Problem> {
    let origin = Some(origin_of(px, headers, extensions));
    Ok(identity::authenticate_token(px, token.expose(), door, origin).await?)
}

/// Where somebody who proves who they are sends this from.
pub(super) fn origin(px: &Platform, parts: &Parts) -> flukedeploy_platform::people::Origin {
    flukedeploy_app::person_origin(px, &parts.extensions, &parts.headers)
}

pub(super) fn session_actor(extensions: &Extensions) -> Option<Actor> {
    extensions.get::<Actor>().cloned()
}

/// The bearer token of a request; `None` if there is no `Authorization` header.
///
/// # Errors
/// The header is there, but is not one bearer token.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::unauthorized(
            "more than one 'Authorization' header was sent",
        ));
    }
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match token {
        Some(token) => Ok(Some(Secret::new(token))),
        None => Err(Problem::unauthorized(
            "the 'Authorization' header holds no bearer token",
        )),
    }
}

/// Whether a body is declared as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value
                .split(';')
                .next()
                .unwrap_or(value)
                .trim()
                .to_ascii_lowercase();
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_bearer_token_is_found_and_anything_else_refused() {
        assert!(bearer(&HeaderMap::new()).unwrap().is_none());
        for good in ["Bearer fd_a_b", "bearer  fd_a_b "] {
            let token = bearer(&with("authorization", good)).unwrap().unwrap();
            assert_eq!(token.expose(), "fd_a_b");
        }
        for bad in ["Bearer", "Bearer ", "Basic YTpi", "fd_a_b"] {
            assert!(bearer(&with("authorization", bad)).is_err(), "{bad}");
        }
        let mut twice = with("authorization", "Bearer a");
        twice.append("authorization", "Bearer b".parse().unwrap());
        assert!(bearer(&twice).is_err());
    }

    #[test]
    fn json_is_known_by_its_type() {
        assert!(is_json(&with(
            "content-type",
            "application/json; charset=utf-8"
        )));
        assert!(is_json(&with(
            "content-type",
            "application/merge-patch+json"
        )));
        assert!(!is_json(&with("content-type", "text/plain")));
        assert!(!is_json(&with(
            "content-type",
            "application/x-www-form-urlencoded"
        )));
        assert!(!is_json(&HeaderMap::new()));
    }
}
