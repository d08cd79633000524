//! How far somebody reaches now: an account by what it was granted, a token by that and by whoever
//! made it. Found out anew each time a credential is checked, so that what is taken back is gone
//! at once, for all that was made with it too.

use std::net::IpAddr;
use std::sync::Arc;

use flukedeploy_domain::access::{Limits, Rights, Subject, Tier};
use time::OffsetDateTime;

use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{Account, StoreError, StoredToken};

/// Tokens that make tokens that make tokens: so many in a row.
pub(crate) const MAX_CHAIN: usize = 8;

/// How far a token reaches with all it was made with.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) tier: Tier,
    pub(crate) rights: Arc<Rights>,
    pub(crate) until: Option<OffsetDateTime>,
    /// The token and those it was made with, it first, each with its limits.
    pub(crate) chain: Vec<(String, Limits)>,
}

pub(crate) async fn of_account(px: &Platform, account: &Account) -> Result<Rights, StoreError> {
    if account.tier == Tier::Admin {
        return Ok(Rights::Everything);
    }
    let subject = Subject::Account(account.id.clone());
    let granted = px.parts().store.rights_of(&subject).await?;
    Ok(Rights::Only(granted))
}

async fn own_rights(px: &Platform, token: &StoredToken) -> Result<Rights, StoreError> {
    if !token.is_narrowed {
        return Ok(Rights::Everything);
    }
    let subject = Subject::Token(token.id.clone());
    let granted = px.parts().store.rights_of(&subject).await?;
    Ok(Rights::Only(granted))
}

/// # Errors
/// [`Error::Unauthenticated`] if the token, or one it was made with, is not good now.
pub(crate) async fn of_token(px: &Platform, token: StoredToken) -> Result<Reach, Error> {
    let mut reach = Reach {
        tier: token.tier,
        rights: Arc::new(Rights::Everything),
        until: None,
        chain: Vec::new(),
    };
    let mut next = Some(token);
    while let Some(token) = next.take() {
        let is_first = reach.chain.is_empty();
        is_good(px, &token, is_first)?;
        if reach.chain.len() == MAX_CHAIN {
            return Err(refused("the token was made with too many others"));
        }
        let rights = own_rights(px, &token).await?;
        reach.narrow(token.tier, &rights);
        reach.until = match (reach.until, token.expires_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        reach.chain.push((token.id, token.limits));
        match token.maker {
            None => {}
            Some(Subject::Account(id)) => {
                let found = px.parts().store.account(&id).await?;
                let account = found.ok_or_else(|| refused("who made the token is gone"))?;
                if account.disabled_at.is_some() {
                    return Err(refused(
                        "the person whose token it is may not come in any more",
                    ));
                }
                let rights = of_account(px, &account).await?;
                reach.narrow(account.tier, &rights);
            }
            Some(Subject::Token(id)) => {
                let found = px.parts().store.token(&id).await?;
                next = Some(found.ok_or_else(|| refused("what made the token is gone"))?);
            }
        }
    }
    Ok(reach)
}

fn is_good(px: &Platform, token: &StoredToken, is_first: bool) -> Result<(), Error> {
    if token.revoked_at.is_some() {
        return Err(refused(if is_first {
            "the token was revoked"
        } else {
            "the token it was made with was revoked"
        }));
    }
    if token.expires_at.is_some_and(|expires| expires <= px.now()) {
        return Err(refused(if is_first {
            "the token has expired"
        } else {
            "the token it was made with has expired"
        }));
    }
    Ok(())
}

fn refused(why: &'static str) -> Error {
    Error::Unauthenticated { why }
}

impl Reach {
    fn narrow(&mut self, tier: Tier, rights: &Rights) {
        self.tier = self.tier.min(tier);
        if !rights.is_everything() {
            self.rights = Arc::new(self.rights.and(rights));
        }
    }

    /// # Errors
    /// [`Error::Unauthenticated`] if it may not be used from there.
    pub(crate) fn allow_address(&self, address: Option<IpAddr>) -> Result<(), Error> {
        let allowed = self.chain.iter().all(|(_, limits)| limits.allow(address));
        if allowed {
            return Ok(());
        }
        Err(refused("the token may not be used from this address"))
    }
}
