//! Who listens, and whether they still may: streams live longer than rights do.

use axum::http::{Extensions, HeaderMap};
use flukedeploy_domain::access::{Actor, Door};
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform};

use crate::doors::auth;
use crate::doors::problem::Problem;

/// How the client is known, so that it can be looked up again.
pub(super) enum Credential {
    Token(Secret),
    Session(Option<SignedIn>),
}

/// What a client brought along.
pub(super) enum Presented {
    Token(Secret),
    Session {
        actor: Actor,
        signed_in: Option<SignedIn>,
    },
    Nothing,
}

impl Presented {
    /// # Errors
    /// There is an `Authorization` header that cannot be read.
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions) -> Result<Self, Problem> {
        Ok(match auth::bearer(headers)? {
            Some(token) => Self::Token(token),
            None => match auth::session_actor(extensions) {
                Some(actor) => Self::Session {
                    actor,
                    signed_in: extensions.get::<SignedIn>().cloned(),
                },
                None => Self::Nothing,
            },
        })
    }

    /// `None`: nothing was presented.
    pub(super) async fn known(self, px: &Platform) -> Result<Option<(Actor, Credential)>, Error> {
        Ok(match self {
            Self::Token(token) => Some(by_token(px, token).await?),
            Self::Session { actor, signed_in } => Some((actor, Credential::Session(signed_in))),
            Self::Nothing => None,
        })
    }
}

pub(super) async fn by_token(px: &Platform, token: Secret) -> Result<(Actor, Credential), Error> {
    let actor = identity::authenticate_token(px, token.expose(), Door::Stream).await?;
    Ok((actor, Credential::Token(token)))
}

impl Credential {
    /// Whether the client may still listen: tokens are revoked and run out, passwords are changed.
    ///
    /// # Errors
    /// Why not, in words for the client.
    pub(super) async fn check(&self, px: &Platform) -> Result<(), String> {
        match self {
            Self::Token(token) => match auth::from_token(px, token, Door::Stream).await {
                Err(problem) if problem.code() == "unauthorized" => {
                    Err(problem.detail().to_owned())
                }
                // A store that does not answer now is no reason to send everybody away.
                Ok(_) | Err(_) => Ok(()),
            },
            Self::Session(Some(signed_in)) => {
                match identity::actor_of_session(px, signed_in).await {
                    Ok(None) => Err("the session is over".to_owned()),
                    Ok(Some(_)) | Err(_) => Ok(()),
                }
            }
            Self::Session(None) => Ok(()),
        }
    }
}
