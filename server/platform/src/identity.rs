//! Who is it? Accounts, the first sign-in, API tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use flukedeploy_domain::access::{Action, Actor, ActorKind, Door, Origin, Resource, Rights, Tier};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::names::Invalid;
use time::OffsetDateTime;

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{Account, AuditRow, StoreError};
use crate::secret::{Secret, matches_hash, random_id, sha256_hex};

const SET_UP_TOKEN: &str = "set_up_token_hash";
/// Shortest password (NIST SP 800-63B asks for 8 at least; 10 costs nobody anything).
pub const MIN_PASSWORD: usize = 10;
/// Longest password, in bytes; hashing has a price.
pub const MAX_PASSWORD: usize = 256;

/// A session's owner, as the session stores it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedIn {
    pub account_id: String,
    pub name: String,
    /// The password's age when the session began: a newer password ends it.
    pub password_changed_at_ms: i64,
}

/// Slows down guessing, per account and address together, so that nobody else is locked out.
#[derive(Default)]
pub(crate) struct SignInLimits {
    failures: Mutex<HashMap<(String, String), (u32, Instant)>>,
}

impl SignInLimits {
    const FREE: u32 = 5;
    const MAX_TRACKED: usize = 10_000;

    /// Counts an attempt as failed before it is made, since many made at once must not all be
    /// let through. Returns how long to wait if it may not be made now.
    fn attempt(&self, key: &(String, String)) -> Result<(), Duration> {
        let mut failures = self
            .failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((count, last)) = failures.get_mut(key) {
            if let Some(over) = count.checked_sub(Self::FREE) {
                let delay = Duration::from_secs(1u64 << over.min(6));
                if let Some(wait) = delay.checked_sub(last.elapsed()) {
                    return Err(wait);
                }
            }
            *count = count.saturating_add(1);
            *last = Instant::now();
            return Ok(());
        }
        if failures.len() >= Self::MAX_TRACKED {
            failures.retain(|_, (_, last)| last.elapsed() < Duration::from_mins(10));
        }
        if failures.len() >= Self::MAX_TRACKED
            && let Some(oldest) = failures
                .iter()
                .min_by_key(|(_, (_, last))| *last)
                .map(|(key, _)| key.clone())
        {
            failures.remove(&oldest);
        }
        failures.insert(key.clone(), (1, Instant::now()));
        Ok(())
    }

    fn succeeded(&self, key: &(String, String)) {
        self.failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(key);
    }
}

/// Finds out whom a bearer token belongs to.
///
/// # Errors
/// [`Error::Unauthenticated`]; the reason is only named to those who hold a real secret.
pub async fn authenticate_token(
    px: &Platform,
    presented: &str,
    door: Door,
    origin: Option<Arc<Origin>>,
) -> Result<Actor, Error> {
    Ok(token_standing(px, presented, door, origin).await?.0)
}

/// [`authenticate_token`] for those who stay connected: also when the token runs out.
pub async fn token_standing(
    px: &Platform,
    presented: &str,
    door: Door,
    origin: Option<Arc<Origin>>,
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
    };
    Ok((actor, reach.until))
}

/// Somebody signed out: what the session had opened ends.
pub fn signed_out(px: &Platform) {
    px.parts().rechecks.announce();
}

/// Finds out whom a session belongs to; `None` if it is over.
pub async fn actor_of_session(px: &Platform, session: &SignedIn) -> Result<Option<Actor>, Error> {
    let Some(account) = px.parts().store.account(&session.account_id).await? else {
        return Ok(None);
    };
    if unix_ms(account.password_changed_at) != session.password_changed_at_ms {
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
    }))
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
) -> Result<SignedIn, Error> {
    if !set_up_link_is_valid(px, token).await? {
        return Err(Error::SetUpLinkInvalid);
    }
    check_account(name, &password)?;
    let account = new_account(px, name, password).await?;
    match create_first(px, &account).await {
        Err(Error::Exists { .. }) => Err(Error::SetUpLinkInvalid),
        Err(error) => Err(error),
        Ok(()) => {
            px.parts().store.forget(SET_UP_TOKEN).await?;
            Ok(signed_in(&account))
        }
    }
}

/// Makes the account `admin` with a password from the settings, or gives it that password.
pub async fn ensure_admin(px: &Platform, password: Secret) -> Result<(), Error> {
    check_account("admin", &password)?;
    if let Some(account) = px.parts().store.account_by_name("admin").await? {
        if verify(account.password_hash.clone(), password.clone()).await? {
            return Ok(());
        }
        let hash = hash_password(password).await?;
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
    let account = new_account(px, "admin", password).await?;
    let audit = account_audit(px, &account);
    px.parts()
        .store
        .create_account(&account, false, &audit)
        .await?;
    px.parts().store.forget(SET_UP_TOKEN).await?;
    Ok(())
}

/// Checks name and password. `address` is where the request came from.
pub async fn sign_in(
    px: &Platform,
    name: &str,
    password: Secret,
    address: &str,
) -> Result<SignedIn, Error> {
    const WRONG: Error = Error::Unauthenticated {
        why: "the name or the password is wrong",
    };
    if name.len() > 64 || password.expose().len() > MAX_PASSWORD {
        return Err(WRONG);
    }
    let key = (name.to_owned(), address.to_owned());
    if let Err(wait) = px.parts().sign_in_limits.attempt(&key) {
        return Err(Error::TooManyAttempts {
            retry_after_seconds: wait.as_secs() + 1,
        });
    }
    let account = px.parts().store.account_by_name(name).await?;
    // An unknown name costs as much time as a wrong password.
    let hash = match &account {
        Some(account) => account.password_hash.clone(),
        None => decoy_hash().await?,
    };
    let right = verify(hash, password).await?;
    match account {
        Some(account) if right => {
            px.parts().sign_in_limits.succeeded(&key);
            Ok(signed_in(&account))
        }
        _ => Err(WRONG),
    }
}

/// Newest first.
pub async fn audit_trail(
    px: &Platform,
    actor: &Actor,
    limit: u32,
    before: Option<i64>,
) -> Result<Vec<AuditRow>, Error> {
    authorise(px, actor, Action::ViewAudit, Resource::System)?;
    Ok(px
        .parts()
        .store
        .audit_entries(limit.clamp(1, 500), before)
        .await?)
}

fn signed_in(account: &Account) -> SignedIn {
    SignedIn {
        account_id: account.id.clone(),
        name: account.name.clone(),
        password_changed_at_ms: unix_ms(account.password_changed_at),
    }
}

fn unix_ms(at: OffsetDateTime) -> i64 {
    flukedeploy_domain::timestamp::to_unix_ms(at)
}

fn check_account(name: &str, password: &Secret) -> Result<(), Error> {
    let mut faults = Vec::new();
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        faults.push(Invalid::new(
            "name",
            "must have 1 to 64 letters, digits or . _ - @",
        ));
    }
    let password = password.expose();
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        faults.push(Invalid::new(
            "password",
            format!("must have {MIN_PASSWORD} to {MAX_PASSWORD} characters"),
        ));
    } else if password.eq_ignore_ascii_case(name) {
        faults.push(Invalid::new("password", "must differ from the name"));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(faults))
    }
}

async fn new_account(px: &Platform, name: &str, password: Secret) -> Result<Account, Error> {
    let now = px.now();
    Ok(Account {
        id: random_id(12),
        name: name.to_owned(),
        password_hash: hash_password(password).await?,
        tier: Tier::Admin,
        created_at: now,
        password_changed_at: now,
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

async fn hash_password(password: Secret) -> Result<String, Error> {
    blocking("hashing a password", move || {
        Argon2::default()
            .hash_password(password.expose().as_bytes())
            .map(|hash| hash.to_string())
            .map_err(|error| error.to_string())
    })
    .await
}

async fn verify(hash: String, password: Secret) -> Result<bool, Error> {
    blocking("checking a password", move || {
        let parsed = PasswordHash::new(&hash).map_err(|error| error.to_string())?;
        Ok(Argon2::default()
            .verify_password(password.expose().as_bytes(), &parsed)
            .is_ok())
    })
    .await
}

/// A real hash of a random password, made once.
async fn decoy_hash() -> Result<String, Error> {
    static DECOY: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    DECOY
        .get_or_try_init(|| hash_password(Secret::random()))
        .await
        .cloned()
}

/// Argon2 takes tens of milliseconds and 19 MiB on purpose; requests must not wait behind it.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Error> {
    // Few at a time: a flood of sign-ins must not take the machine's memory.
    static SLOTS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
    let internal =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Internal { doing, source };
    let _slot = SLOTS
        .acquire()
        .await
        .map_err(|error| internal(error.into()))?;
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| internal(error.into()))?
        .map_err(|error| internal(error.into()))
}
