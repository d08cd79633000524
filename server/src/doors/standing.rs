//! Whether somebody who stays connected still may: streams and long waits outlive rights.

use std::sync::Arc;
use std::time::Duration;

use flukedeploy_app::still_signed_in;
use flukedeploy_domain::access::{Actor, Door, Origin};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Kind, Platform, identity, rechecks};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tower_sessions::Session;

/// Looked at anew even if nothing was announced.
const RECHECK_EVERY: Duration = Duration::from_mins(1);
/// Looked at again soon, since the store did not answer.
const RECHECK_AGAIN: Duration = Duration::from_secs(1);
/// Changes that come this soon one after the other are looked at once.
const GATHER: Duration = Duration::from_millis(200);

/// How a client is known, so that it can be looked up again.
pub(super) enum Credential {
    Token(Secret, Door, Option<Arc<Origin>>),
    /// `None`: whoever vouched for it keeps no session.
    Session(Option<Session>),
}

/// Taken before the credential is checked for the first time: no change from then on is missed.
pub(super) struct Changes(watch::Receiver<u64>);

impl Changes {
    pub(super) fn from_now(px: &Platform) -> Self {
        Self(rechecks::announced(px))
    }
}

/// A client's credential, and when to look at it again.
pub(super) struct Standing {
    credential: Credential,
    changes: watch::Receiver<u64>,
    is_announced: bool,
    not_before: Instant,
    next_at: Instant,
}

impl Standing {
    /// Of a credential that was checked just now and holds until then.
    pub(super) fn new(
        px: &Platform,
        credential: Credential,
        until: Option<OffsetDateTime>,
        changes: Changes,
    ) -> Self {
        let mut standing = Self {
            credential,
            changes: changes.0,
            is_announced: false,
            not_before: Instant::now(),
            next_at: Instant::now(),
        };
        standing.holds_until(px, until);
        standing
    }

    fn holds_until(&mut self, px: &Platform, until: Option<OffsetDateTime>) {
        let now = Instant::now();
        let left = until.map(|until| Duration::try_from(until - px.now()).unwrap_or_default());
        self.next_at = now + left.map_or(RECHECK_EVERY, |left| left.min(RECHECK_EVERY));
    }

    /// Comes when [`look`](Self::look) has to be called. Cancel safe.
    pub(super) async fn due(&mut self) {
        if !self.is_announced {
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() {
                    // The platform is gone; whoever asks notices otherwise.
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep_until(self.next_at) => return,
            }
            self.is_announced = true;
        }
        tokio::time::sleep_until(self.not_before).await;
    }

    /// Who it is now; `None` if that cannot be found out at present: a store that does not answer
    /// is no reason to send everybody away.
    ///
    /// # Errors
    /// It may not stay: why, in words for the client.
    pub(super) async fn look(&mut self, px: &Platform) -> Result<Option<Actor>, String> {
        self.is_announced = false;
        self.not_before = Instant::now() + GATHER;
        let found = match &self.credential {
            Credential::Token(token, door, origin) => {
                identity::token_standing(px, token.expose(), *door, origin.clone()).await
            }
            Credential::Session(Some(session)) => match still_signed_in(px, session).await {
                Ok(Some(actor)) => Ok((actor, None)),
                Ok(None) => Err(Error::Unauthenticated {
                    why: "the session is over",
                }),
                Err(error) => Err(error),
            },
            Credential::Session(None) => {
                self.holds_until(px, None);
                return Ok(None);
            }
        };
        match found {
            Ok((actor, until)) => {
                self.holds_until(px, until);
                Ok(Some(actor))
            }
            Err(error) if error.kind() == Kind::Unauthenticated => Err(error.public_detail()),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the rights of a client could not be looked up"
                );
                self.next_at = Instant::now() + RECHECK_AGAIN;
                Ok(None)
            }
        }
    }
}
