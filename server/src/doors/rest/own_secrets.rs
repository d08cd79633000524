//! What lets one in oneself: password and second factor. Only a dashboard session of the person may
//! change it; a bearer token, however much it may do, is told that it has no account: whoever steals
//! one must not be able to take the account over with it.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use flukedeploy_app::{note_proof, owner_of, renew};
use flukedeploy_domain::access::Actor;
use flukedeploy_platform::identity::SignedIn;
use flukedeploy_platform::people::{self, Proof};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;
use tower_sessions::Session;

use crate::doors::auth::{Caller, origin};
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;

/// The only answer that ever holds the secret.
#[derive(Serialize)]
pub(super) struct Offered {
    secret: String,
    address: String,
}

/// The only answer that ever holds them.
#[derive(Serialize)]
pub(super) struct Codes {
    recovery_codes: Vec<String>,
}

impl From<Vec<Secret>> for Codes {
    fn from(codes: Vec<Secret>) -> Self {
        let recovery_codes = codes.iter().map(|code| code.expose().to_owned()).collect();
        Self { recovery_codes }
    }
}

/// The dashboard session that a request came with, and where from.
pub(super) struct Own {
    session: Option<Session>,
    origin: people::Origin,
}

impl FromRequestParts<crate::doors::state::AppState> for Own {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &crate::doors::state::AppState,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self {
            session: parts.extensions.get::<Session>().cloned(),
            origin: origin(&state.px, parts),
        })
    }
}

impl Own {
    /// `actor` is who was let in: whoever came with a token has no session, whatever cookies came
    /// along.
    async fn session(&self, px: &Platform, actor: &Actor) -> Result<(&Session, SignedIn), Error> {
        let none = || {
            Error::NotNow("only a person who is signed in has an account of their own".to_owned())
        };
        let id = actor.session.as_ref().map(|session| session.id.as_str());
        let session = self.session.as_ref().ok_or_else(none)?;
        let owner = owner_of(px, session).await?;
        let signed_in = owner.filter(|signed_in| Some(signed_in.session.as_str()) == id);
        Ok((session, signed_in.ok_or_else(none)?))
    }
}

pub(super) async fn confirm(
    State(px): State<Platform>,
    Caller(actor): Caller,
    own: Own,
    JsonBody(body): JsonBody,
) -> Result<StatusCode, Problem> {
    let (session, _) = own.session(&px, &actor).await?;
    let proof = proof(body)?;
    people::confirm(&px, &actor, &proof, &own.origin).await?;
    note_proof(&px, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn change_password(
    State(px): State<Platform>,
    Caller(actor): Caller,
    own: Own,
    JsonBody(mut body): JsonBody,
) -> Result<StatusCode, Problem> {
    let (session, signed_in) = own.session(&px, &actor).await?;
    let present = Secret::new(body.text("present_password").unwrap_or_default());
    let new = Secret::new(required(&mut body, "password"));
    body.finish()?;
    let changed = people::change_password(&px, &actor, &signed_in, &present, &new).await?;
    renew(&px, session, changed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A secret for an authenticator, which counts for nothing before a code of it was shown.
pub(super) async fn offer(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<Offered>, Problem> {
    let offer = people::offer_second_factor(&px, &actor).await?;
    Ok(Json(Offered {
        secret: offer.secret.expose().to_owned(),
        address: offer.address.expose().to_owned(),
    }))
}

pub(super) async fn turn_on(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Codes>, Problem> {
    let code = required(&mut body, "code");
    body.finish()?;
    let codes = people::confirm_second_factor(&px, &actor, &code).await?;
    Ok(Json(codes.into()))
}

pub(super) async fn turn_off(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<StatusCode, Problem> {
    people::turn_off_second_factor(&px, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn new_codes(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<Codes>, Problem> {
    let codes = people::new_recovery_codes(&px, &actor).await?;
    Ok(Json(codes.into()))
}

fn required(fields: &mut Fields, name: &'static str) -> String {
    let text = fields.text(name);
    if text.is_none() && !fields.has_fault(name) {
        fields.fault(name, "must be given");
    }
    text.unwrap_or_default()
}

fn proof(mut fields: Fields) -> Result<Proof, Error> {
    let (password, code) = (fields.text("password"), fields.text("code"));
    if !fields.has_faults() && password.is_some() == code.is_some() {
        fields.fault("password", "or code must be given, and not both");
    }
    fields.finish()?;
    Ok(match (password, code) {
        (Some(password), _) => Proof::Password(Secret::new(password)),
        (None, code) => Proof::Code(code.unwrap_or_default()),
    })
}
