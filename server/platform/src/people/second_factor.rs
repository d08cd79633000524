//! The second factor: one-time codes of an authenticator app, and recovery codes.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditEntry;

use super::account::{audit, own};
use super::limits::Attempt;
use super::{Origin, require_recent_proof, sign_in, totp};
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::Account;
use crate::secret::Secret;

/// What an authenticator app is given.
pub struct Offer {
    /// In base32, for typing.
    pub secret: Secret,
    /// `otpauth:`, for a QR code.
    pub address: Secret,
}

/// Makes a secret for an authenticator app, or returns the one that waits to be confirmed. It
/// counts for nothing until then.
pub async fn offer_second_factor(px: &Platform, actor: &Actor) -> Result<Offer, Error> {
    let (account, _) = own(px, actor).await?;
    require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    let store = &px.parts().store;
    let secret = match store.second_factor(&account.id).await? {
        Some(factor) if factor.confirmed_at.is_some() => return Err(there_is_one()),
        // The page may be loaded again, and was scanned before.
        Some(factor) => factor.secret,
        None => {
            let secret = totp::new_secret();
            if !store.offer_second_factor(&account.id, &secret).await? {
                return Err(there_is_one());
            }
            secret
        }
    };
    let instance = px.config().instance.as_str();
    Ok(Offer {
        address: totp::address(&secret, &account.name, instance),
        secret,
    })
}

fn there_is_one() -> Error {
    Error::NotNow("the account has a second factor already".to_owned())
}

/// Takes the first code of the authenticator: from now on signing in takes one. Returns the recovery
/// codes, which are not shown again.
pub async fn confirm_second_factor(
    px: &Platform,
    actor: &Actor,
    code: &str,
) -> Result<Vec<Secret>, Error> {
    let (account, session) = own(px, actor).await?;
    require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    let store = &px.parts().store;
    let Some(factor) = store.second_factor(&account.id).await? else {
        return Err(Error::NotNow(
            "there is no second factor to confirm; begin anew".to_owned(),
        ));
    };
    if factor.confirmed_at.is_some() {
        return Err(there_is_one());
    }
    let attempt = Attempt::proof(&account.id, session);
    sign_in::admit(px, &attempt)?;
    let step = totp::digits(code)
        .and_then(|code| totp::step_of(&factor.secret, &code, px.now().unix_timestamp()));
    let Some(step) = step else {
        return Err(Error::invalid(
            "code",
            "is not the one of this moment; check the clock of the device",
        ));
    };
    px.parts().sign_in_limits.succeeded(&attempt);
    let (codes, hashes) = totp::recovery_codes();
    let audit = audit(px, actor, &account, "turned the second factor on");
    if !store
        .confirm_second_factor(&account.id, step, &hashes, &audit)
        .await?
    {
        return Err(there_is_one());
    }
    Ok(codes)
}

/// New recovery codes; the old ones are worth nothing any more.
pub async fn new_recovery_codes(px: &Platform, actor: &Actor) -> Result<Vec<Secret>, Error> {
    let (account, _) = own(px, actor).await?;
    require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    let (codes, hashes) = totp::recovery_codes();
    let audit = audit(px, actor, &account, "made new recovery codes");
    let store = &px.parts().store;
    if store
        .replace_recovery_codes(&account.id, &hashes, &audit)
        .await?
    {
        Ok(codes)
    } else {
        Err(none_there())
    }
}

pub async fn turn_off_second_factor(px: &Platform, actor: &Actor) -> Result<(), Error> {
    let (account, _) = own(px, actor).await?;
    require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    let audit = audit(px, actor, &account, "turned the second factor off");
    let store = &px.parts().store;
    if store
        .remove_second_factor(&account.id, false, &audit)
        .await?
    {
        Ok(())
    } else {
        Err(none_there())
    }
}

fn none_there() -> Error {
    Error::NotNow("the account has no second factor".to_owned())
}

/// Takes a code of a confirmed factor and uses it up; says how it was proved, or `None` if it is
/// wrong or was used before.
pub(super) async fn check(
    px: &Platform,
    account: &Account,
    actor: &Actor,
    code: &str,
    origin: &Origin,
) -> Result<Option<&'static str>, Error> {
    let store = &px.parts().store;
    if let Some(digits) = totp::digits(code) {
        let factor = store.second_factor(&account.id).await?;
        let Some(factor) = factor.filter(|factor| factor.confirmed_at.is_some()) else {
            return Ok(None);
        };
        let now = px.now().unix_timestamp();
        let Some(step) = totp::step_of(&factor.secret, &digits, now) else {
            return Ok(None);
        };
        let is_new = store.use_step(&account.id, step).await?;
        return Ok(is_new.then_some("a code"));
    }
    let Some(hash) = totp::recovery_hash(code) else {
        return Ok(None);
    };
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::ChangeOwnAccount,
        format!("account:{}", account.name),
        format!("used a recovery code up, from {}", origin.shown()),
    );
    let used = store.use_recovery_code(&account.id, &hash, &audit).await?;
    Ok(used.then_some("a recovery code"))
}
