//! Who wants to listen.

use axum::http::{Extensions, HeaderMap};
use flukedeploy_domain::access::{Actor, Door};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform, identity};
use tower_sessions::Session;

use crate::doors::auth;
use crate::doors::problem::Problem;
use crate::doors::standing::{Changes, Credential, Standing};

/// What a client brought along.
pub(super) enum Presented {
    Token(Secret),
    Session {
        actor: Actor,
        session: Option<Session>,
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
                    session: extensions.get::<Session>().cloned(),
                },
                None => Self::Nothing,
            },
        })
    }

    /// `None`: nothing was presented.
    pub(super) async fn known(self, px: &Platform) -> Result<Option<(Actor, Standing)>, Error> {
        Ok(match self {
            Self::Token(token) => Some(by_token(px, token).await?),
            Self::Session { actor, session } => {
                let (changes, credential) = (Changes::from_now(px), Credential::Session(session));
                Some((actor, Standing::new(px, credential, None, changes)))
            }
            Self::Nothing => None,
        })
    }
}

pub(super) async fn by_token(px: &Platform, token: Secret) -> Result<(Actor, Standing), Error> {
    let changes = Changes::from_now(px);
    let (actor, until) = identity::token_standing(px, token.expose(), Door::Stream).await?;
    let credential = Credential::Token(token, Door::Stream);
    Ok((actor, Standing::new(px, credential, until, changes)))
}
