//! Who wants to listen.

use std::sync::Arc;

use axum::http::{Extensions, HeaderMap};
use flukedeploy_app::origin_of;
use flukedeploy_domain::access::{Actor, Door, Origin};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform, identity};
use tower_sessions::Session;

use crate::doors::auth;
use crate::doors::problem::Problem;
use crate::doors::standing::{Changes, Credential, Standing};

/// What a client brought along, and from where.
pub(super) struct Presented {
    what: What,
    pub(super) origin: Arc<Origin>,
}

enum What {
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
    pub(super) fn of(
        px: &Platform,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Self, Problem> {
        let what = match auth::bearer(headers)? {
            Some(token) => What::Token(token),
            None => match auth::session_actor(extensions) {
                Some(actor) => What::Session {
                    actor,
                    session: extensions.get::<Session>().cloned(),
                },
                None => What::Nothing,
            },
        };
        let origin = origin_of(px, headers, extensions);
        Ok(Self { what, origin })
    }

    /// `None`: nothing was presented.
    pub(super) async fn known(self, px: &Platform) -> Result<Option<(Actor, Standing)>, Error> {
        Ok(match self.what {
            What::Token(token) => Some(by_token(px, token, self.origin).await?),
            What::Session { actor, session } => {
                let (changes, credential) = (Changes::from_now(px), Credential::Session(session));
                Some((actor, Standing::new(px, credential, None, changes)))
            }
            What::Nothing => None,
        })
    }
}

pub(super) async fn by_token(
    px: &Platform,
    token: Secret,
    origin: Arc<Origin>,
) -> Result<(Actor, Standing), Error> {
    let changes = Changes::from_now(px);
    let (actor, until) =
        identity::token_standing(px, token.expose(), Door::Stream, Some(Arc::clone(&origin)))
            .await?;
    let credential = Credential::Token(token, Door::Stream, Some(origin));
    Ok((actor, Standing::new(px, credential, until, changes)))
}
