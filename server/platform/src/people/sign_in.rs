//! Signing in: a password, and a code where the account wants one.

use std::sync::Arc;

use flukedeploy_domain::access::{Action, Actor, ActorKind, ActorSession, Door};
use flukedeploy_domain::audit::{AuditEntry, Outcome};
use flukedeploy_domain::timestamp::from_unix_ms;
use time::Duration;

use super::limits::Attempt;
use super::{MAX_NAME, MAX_PASSWORD, Origin, device, second_factor, verify};
use crate::error::Error;
use crate::identity::{SignedIn, unix_ms};
use crate::platform::Platform;
use crate::ports::Account;
use crate::secret::{Secret, random_id};

/// How long the code may take after the password.
const HALF_LASTS: Duration = Duration::minutes(10);

/// What a right password came to.
pub enum Entered {
    SignedIn(Box<SignedIn>),
    /// The account wants a code as well.
    Half(HalfSignedIn),
}

/// Somebody whose password was right and who owes a code. It opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HalfSignedIn {
    account_id: String,
    password_changed_at_ms: i64,
    began_at_ms: i64,
    /// The first step was made at the sign-in provider.
    #[serde(default)]
    elsewhere: bool,
}

const WRONG: Error = Error::Unauthenticated {
    why: "the name or the password is wrong",
};
const OVER: Error = Error::Unauthenticated {
    why: "the first step was too long ago; begin again",
};
const WRONG_CODE: Error = Error::Unauthenticated {
    why: "the code is wrong, or was used before",
};

/// Checks name and password. Whether there is such an account shows neither in the answer nor in
/// the time it takes.
pub async fn sign_in(
    px: &Platform,
    name: &str,
    password: &Secret,
    origin: &Origin,
) -> Result<Entered, Error> {
    if name.len() > MAX_NAME || password.expose().len() > MAX_PASSWORD {
        return Err(WRONG);
    }
    let account = px.parts().store.account_by_name(name).await?;
    let device = device::known(px, origin, account.as_ref()).await?;
    let attempt = Attempt::password(name, &origin.place(), device.as_deref());
    admit(px, &attempt)?;
    let hash = account
        .as_ref()
        .map(|account| account.password_hash.as_str());
    let right = verify(px, hash, password).await?;
    match account {
        Some(account) if right && account.disabled_at.is_none() => {
            px.parts().sign_in_limits.succeeded(&attempt);
            first_step_done(px, &account, origin, "with a password", false).await
        }
        account => {
            let why = match &account {
                Some(account) if account.disabled_at.is_some() => "the account is turned off",
                _ => "the name or the password is wrong",
            };
            refused(px, account.as_ref(), origin, why).await?;
            Err(WRONG)
        }
    }
}

/// It is them, as far as the first step tells.
pub(super) async fn first_step_done(
    px: &Platform,
    account: &Account,
    origin: &Origin,
    how: &str,
    elsewhere: bool,
) -> Result<Entered, Error> {
    if account.has_second_factor {
        return Ok(Entered::Half(HalfSignedIn {
            account_id: account.id.clone(),
            password_changed_at_ms: unix_ms(account.password_changed_at),
            began_at_ms: unix_ms(px.now()),
            elsewhere,
        }));
    }
    let session = enter(px, account, origin, how).await?;
    Ok(Entered::SignedIn(Box::new(session)))
}

/// Whether the page that asks for the code makes sense still.
pub async fn awaits_code(px: &Platform, half: &HalfSignedIn) -> Result<bool, Error> {
    Ok(owed_by(px, half).await?.is_some())
}

/// Checks the code that was owed: of the authenticator, or a recovery code.
pub async fn second_step(
    px: &Platform,
    half: &HalfSignedIn,
    code: &str,
    origin: &Origin,
) -> Result<SignedIn, Error> {
    let Some(account) = owed_by(px, half).await? else {
        return Err(OVER);
    };
    let device = device::known(px, origin, Some(&account)).await?;
    let place = origin.place();
    let attempt = if super::totp::digits(code).is_some() {
        Attempt::code(&account.id, &place, device.as_deref())
    } else {
        Attempt::recovery_code(&account.id, &place, device.as_deref())
    };
    admit(px, &attempt)?;
    let actor = claimed(&account);
    let Some(how) = second_factor::check(px, &account, &actor, code, origin).await? else {
        refused(
            px,
            Some(&account),
            origin,
            "the code is wrong, or was used before",
        )
        .await?;
        return Err(WRONG_CODE);
    };
    px.parts().sign_in_limits.succeeded(&attempt);
    let first = match &px.config().provider {
        Some(provider) if half.elsewhere => provider.name.as_str(),
        _ => "a password",
    };
    enter(px, &account, origin, &format!("with {first} and {how}")).await
}

/// The account that owes a code; `None` if it is too late, or it owes none any more.
async fn owed_by(px: &Platform, half: &HalfSignedIn) -> Result<Option<Account>, Error> {
    let age = px.now() - from_unix_ms(half.began_at_ms);
    if age >= HALF_LASTS {
        return Ok(None);
    }
    let account = px.parts().store.account(&half.account_id).await?;
    Ok(account.filter(|account| {
        account.disabled_at.is_none()
            && account.has_second_factor
            && unix_ms(account.password_changed_at) == half.password_changed_at_ms
    }))
}

pub(super) fn admit(px: &Platform, attempt: &Attempt) -> Result<(), Error> {
    px.parts().sign_in_limits.attempt(attempt).map_err(|wait| {
        tracing::info!("an attempt to sign in was refused before it was looked at");
        Error::TooManyAttempts {
            retry_after_seconds: wait.as_secs() + 1,
        }
    })
}

async fn enter(
    px: &Platform,
    account: &Account,
    origin: &Origin,
    how: &str,
) -> Result<SignedIn, Error> {
    let session = signed_in(px, account, origin);
    let actor = Actor {
        session: Some(ActorSession {
            id: session.session.clone(),
            proved_at: px.now(),
        }),
        ..claimed(account)
    };
    let audit = AuditEntry::new(
        px.now(),
        &actor,
        Action::SignIn,
        format!("account:{}", account.name),
        format!("signed in {how} from {}", origin.shown()),
    );
    px.parts().store.note(&audit).await?;
    Ok(session)
}

/// Who refused is the platform: nobody has proved to be anybody. A name that is no account's is not
/// kept: people type their password there.
pub(super) async fn refused(
    px: &Platform,
    account: Option<&Account>,
    origin: &Origin,
    why: &str,
) -> Result<(), Error> {
    let (resource, name) = match account {
        Some(account) => (format!("account:{}", account.name), account.name.as_str()),
        None => ("account".to_owned(), "somebody unknown"),
    };
    let mut audit = AuditEntry::new(
        px.now(),
        &Actor::system(),
        Action::SignIn,
        resource,
        format!("refused to sign in {name} from {}: {why}", origin.shown()),
    );
    audit.outcome = Outcome::Denied;
    Ok(px.parts().store.note(&audit).await?)
}

pub(super) fn claimed(account: &Account) -> Actor {
    Actor {
        kind: ActorKind::User,
        id: account.id.clone(),
        name: account.name.clone(),
        persona: None,
        tier: account.tier,
        door: Door::Dashboard,
        session: None,
        rights: Arc::default(),
        chain: Arc::default(),
        origin: None,
    }
}

/// A session that begins now. What began it was a proof.
pub(crate) fn signed_in(px: &Platform, account: &Account, origin: &Origin) -> SignedIn {
    let now = unix_ms(px.now());
    SignedIn {
        account_id: account.id.clone(),
        name: account.name.clone(),
        password_changed_at_ms: unix_ms(account.password_changed_at),
        session: random_id(16),
        began_at_ms: now,
        proved_at_ms: now,
        address: origin.shown(),
        browser: origin.browser(),
    }
}
