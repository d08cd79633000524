//! Signing in with an account elsewhere: `OpenID` Connect, the authorization code flow with PKCE.
//!
//! One provider, named by the settings. An account here is bound to issuer and subject, never to an
//! e-mail address, which providers hand on to others; and only by its owner: from their own page,
//! or by accepting an invitation. Nobody gets an account by signing in. What the provider vouches
//! for takes the place of the password; a second factor of the account is asked for all the same.

mod discovery;
mod flow;
mod token;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use flow::{Answer, Arrived, Begun, Flow, Wanted, begin, finish};

use super::views::IdentityView;
use super::{account, require_recent_proof};
use crate::config::ProviderConfig;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::OutgoingError;
use flukedeploy_domain::access::{Action, Actor, Resource};

/// Flows that are remembered as used.
const REMEMBERED: usize = 10_000;

/// What is kept of the provider while the platform runs.
#[derive(Default)]
pub(crate) struct Provider {
    known: discovery::Known,
    /// States that came back, until they would be too old: each counts once.
    used: Mutex<HashMap<String, Instant>>,
}

impl Provider {
    /// False if it came back before.
    fn use_up(&self, state: &str, lasts: Duration) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= REMEMBERED {
            used.retain(|_, at| at.elapsed() < lasts);
        }
        used.len() < REMEMBERED && used.insert(state.to_owned(), Instant::now()).is_none()
    }
}

/// Why nothing came of asking the provider.
#[derive(Debug)]
enum Failure {
    Unreachable(OutgoingError),
    /// It answered what no provider should: it, or the settings, are at fault.
    Odd(&'static str),
}

impl From<OutgoingError> for Failure {
    fn from(error: OutgoingError) -> Self {
        Self::Unreachable(error)
    }
}

impl Failure {
    fn told(self, config: &ProviderConfig) -> Error {
        let why = match &self {
            Self::Unreachable(error) => error.to_string(),
            Self::Odd(why) => (*why).to_owned(),
        };
        tracing::warn!(issuer = %config.issuer, why, "the sign-in provider is of no use");
        Error::ProviderUnavailable {
            name: config.name.clone(),
            why,
        }
    }
}

/// The provider's name as people know it; `None`: there is none.
pub fn provider_name(px: &Platform) -> Option<&str> {
    px.config()
        .provider
        .as_ref()
        .map(|config| config.name.as_str())
}

fn config(px: &Platform) -> Result<&ProviderConfig, Error> {
    px.config()
        .provider
        .as_ref()
        .ok_or_else(|| Error::NotFound {
            what: "sign-in provider".to_owned(),
        })
}

/// What one's account is bound to; `None`: nothing, or there is no provider.
pub async fn identity(px: &Platform, actor: &Actor) -> Result<Option<IdentityView>, Error> {
    let (account, _) = account::own(px, actor).await?;
    let Some(config) = px.config().provider.as_ref() else {
        return Ok(None);
    };
    let found = px
        .parts()
        .store
        .identity_of(&account.id, &config.issuer)
        .await?;
    Ok(found.map(|identity| IdentityView::new(identity, &config.name)))
}

/// Takes the binding away; all other sessions are over. An account keeps one way in.
pub async fn unbind(px: &Platform, actor: &Actor) -> Result<(), Error> {
    let (account, session) = account::own(px, actor).await?;
    require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    let config = config(px)?;
    if !account.has_password() {
        return Err(Error::NotNow(
            "this is the only way into your account; set a password first".to_owned(),
        ));
    }
    let did = format!("disconnected the account from {}", config.name);
    let audit = account::audit(px, actor, &account, &did);
    let store = &px.parts().store;
    if !store
        .unbind_identity(&account.id, &config.issuer, session, &audit)
        .await?
    {
        return Err(Error::NotNow("your account is not connected".to_owned()));
    }
    px.parts().rechecks.announce();
    Ok(())
}
