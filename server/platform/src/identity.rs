//! Who is it? Sessions, the first account, API tokens. [`people`] has the rest.

use std::sync::Arc;

use flukedeploy_domain::access::{
    Action, Actor, ActorKind, ActorSession, Door, Origin as RequestOrigin, Rights, Tier,
};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::names::Invalid;
use flukedeploy_domain::timestamp::from_unix_ms;
use time::OffsetDateTime;

use crate::error::Error;
use crate::people::{self, Origin};
use crate::platform::Platform;
use crate::ports::{Account, StoreError};
use crate::secret::{Secret, matches_hash, random_id, sha256_hex};

const SET_UP_TOKEN: &str = "set_up_token_hash";

/// A session's owner, as the session stores it. Fields that came later have defaults: a session
/// without them began too long ago.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedIn {
    pub account_id: String,
    pub name: String,
    /// The password's age when the session began: a newer password ends it.
    pub password_changed_at_ms: i64,
    /// A name for the session that may be shown; not what the cookie holds.
    #[serde(default)]
    pub session: String,
    #[serde(default)]
    pub began_at_ms: i64,
    /// When the person last proved who they are.
    #[serde(default)]
    pub proved_at_ms: i64,
    /// Where it began.
    #[serde(default)]
    pub address: String,
    /// As the browser called itself then.
    #[serde(default)]
    pub browser: String,
}

/// Finds out whom a bearer token belongs to.
///
/// # Errors
/// [`Error::Unauthenticated`]; the reason is only named to those who hold a real secret.
pub async fn authenticate_token(
    px: &Platform,
    presented: &str,
    door: Door,
    origin: Option<Arc<RequestOrigin>>,
) -> Result<Actor, Error> {
    Ok(token_standing(px, presented, door, origin).await?.0)
}

/// [`authenticate_token`] for those who stay connected: also when the token runs out.
pub async fn token_standing(
    px: &Platform,
    presented: &str,
    door: Door,
    origin: Option<Arc<RequestOrigin>>,
) -> Result<(Actor, Option<OffsetDateTime>), Error> {
    const UNKNOWN: Error = Error::Unauthenticated {
        why: "the token is not known",
    };
    if let Some(bootstrap) = &px.config().bootstrap_token
        && bootstrap.matches(presented)
    {
        let actor = Actor {
            kind: ActorKind::Token,
            id: "bootstrap".to_owned(),
            name: "bootstrap token".to_owned(),
            persona: None,
            tier: Tier::Admin,
            door,
            rights: Arc::new(Rights::Everything),
            chain: Arc::default(),
            origin,
            session: None,
        };
        return Ok((actor, None));
    }
    let Some((id, secret)) = presented
        .strip_prefix("fd_")
        .and_then(|rest| rest.split_once('_'))
    else {
        return Err(UNKNOWN);
    };
    if id.len() > 32 || secret.len() > 128 {
        return Err(UNKNOWN);
    }
    let Some(token) = px.parts().store.token(id).await? else {
        return Err(UNKNOWN);
    };
    if !matches_hash(secret, &token.secret_hash) {
        return Err(UNKNOWN);
    }
    let now = px.now();
    let stale = token
        .last_used_at
        .is_none_or(|last| now - last > time::Duration::minutes(1));
    let (name, persona) = (token.name.clone(), token.persona.clone());
    let reach = crate::reach::of_token(px, token).await?;
    let address = origin.as_ref().and_then(|origin| origin.address.as_deref());
    reach.allow_address(address.and_then(|text| text.parse().ok()))?;
    if stale && let Err(error) = px.parts().store.touch_token(id, now).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "last use could not be stored"
        );
    }
    let actor = Actor {
        kind: ActorKind::Token,
        id: id.to_owned(),
        name,
        persona,
        tier: reach.tier,
        door,
        rights: reach.rights,
        chain: reach.chain.into(),
        origin,
        session: None,
    };
    Ok((actor, reach.until))
}

/// Finds out whom a session belongs to; `None` if it is over.
pub async fn actor_of_session(px: &Platform, session: &SignedIn) -> Result<Option<Actor>, Error> {
    let Some(account) = px.parts().store.account(&session.account_id).await? else {
        return Ok(None);
    };
    if unix_ms(account.password_changed_at) != session.password_changed_at_ms
        || account.disabled_at.is_some()
        || !is_within_time(px, session)
    {
        return Ok(None);
    }
    let rights = crate::reach::of_account(px, &account).await?;
    Ok(Some(Actor {
        rights: Arc::new(rights),
        chain: Arc::default(),
        origin: None,
        kind: ActorKind::User,
        id: account.id,
        name: account.name,
        persona: None,
        tier: account.tier,
        door: Door::Dashboard,
        session: Some(ActorSession {
            id: session.session.clone(),
            proved_at: from_unix_ms(session.proved_at_ms),
        }),
    }))
}

/// However much it is used, a session ends some time after it began.
pub(crate) fn is_within_time(px: &Platform, session: &SignedIn) -> bool {
    let age = px.now() - from_unix_ms(session.began_at_ms);
    age < px.config().sessions.longest
}

/// Whether the first account has yet to be made.
pub async fn needs_set_up(px: &Platform) -> Result<bool, Error> {
    Ok(!px.parts().store.has_accounts().await?)
}

/// Makes a new one-time set-up token (the former one is void), if there is no account yet.
pub async fn new_set_up_token(px: &Platform) -> Result<Option<Secret>, Error> {
    if !needs_set_up(px).await? {
        return Ok(None);
    }
    let token = Secret::random();
    px.parts()
        .store
        .remember(SET_UP_TOKEN, &sha256_hex(token.expose()))
        .await?;
    Ok(Some(token))
}

/// Whether a set-up link is good, so that the page can say so before anybody types.
pub async fn set_up_link_is_valid(px: &Platform, token: &str) -> Result<bool, Error> {
    let stored = px.parts().store.remembered(SET_UP_TOKEN).await?;
    Ok(stored.is_some_and(|stored| matches_hash(token, &stored)) && needs_set_up(px).await?)
}

/// Makes the first administrator with the one-time token.
pub async fn set_up(
    px: &Platform,
    token: &str,
    name: &str,
    password: Secret,
    origin: &Origin,
) -> Result<SignedIn, Error> {
    if !set_up_link_is_valid(px, token).await? {
        return Err(Error::SetUpLinkInvalid);
    }
    check_account(name, &password)?;
    let account = new_account(px, name, &password).await?;
    match create_first(px, &account).await {
        Err(Error::Exists { .. }) => Err(Error::SetUpLinkInvalid),
        Err(error) => Err(error),
        Ok(()) => {
            px.parts().store.forget(SET_UP_TOKEN).await?;
            Ok(people::signed_in(px, &account, origin))
        }
    }
}

/// Makes the account `admin` with a password from the settings, or gives it that password.
pub async fn ensure_admin(px: &Platform, password: Secret) -> Result<(), Error> {
    if let Some(account) = px.parts().store.account_by_name("admin").await? {
        // It may be older than today's rules.
        if people::verify(px, Some(&account.password_hash), &password).await? {
            return Ok(());
        }
        check_account("admin", &password)?;
        let hash = people::hash(&password).await?;
        let audit = AuditEntry::new(
            px.now(),
            &Actor::system(),
            Action::CreateToken,
            "account:admin",
            "set the password of admin from the settings",
        );
        px.parts()
            .store
            .set_password(&account.id, &hash, &audit)
            .await?;
        px.parts().rechecks.announce();
        return Ok(());
    }
    check_account("admin", &password)?;
    let account = new_account(px, "admin", &password).await?;
    let audit = account_audit(px, &account);
    px.parts()
        .store
        .create_account(&account, false, &audit)
        .await?;
    px.parts().store.forget(SET_UP_TOKEN).await?;
    Ok(())
}

pub(crate) fn unix_ms(at: OffsetDateTime) -> i64 {
    flukedeploy_domain::timestamp::to_unix_ms(at)
}

fn check_account(name: &str, password: &Secret) -> Result<(), Error> {
    let faults: Vec<Invalid> = people::check_name(name)
        .into_iter()
        .chain(people::check_new(password, &[name]))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(faults))
    }
}

async fn new_account(px: &Platform, name: &str, password: &Secret) -> Result<Account, Error> {
    let now = px.now();
    Ok(Account {
        id: random_id(12),
        name: name.to_owned(),
        password_hash: people::hash(password).await?,
        tier: Tier::Admin,
        created_at: now,
        password_changed_at: now,
        display_name: None,
        disabled_at: None,
        has_second_factor: false,
    })
}

async fn create_first(px: &Platform, account: &Account) -> Result<(), Error> {
    let audit = account_audit(px, account);
    px.parts()
        .store
        .create_account(account, true, &audit)
        .await
        .map_err(|error| match error {
            StoreError::Exists { what } => Error::Exists { what },
            other => other.into(),
        })
}

fn account_audit(px: &Platform, account: &Account) -> AuditEntry {
    AuditEntry::new(
        px.now(),
        &Actor::system(),
        Action::CreateToken,
        format!("account:{}", account.name),
        format!("created the administrator {}", account.name),
    )
}
