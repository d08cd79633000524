//! What people do about themselves.

use flukedeploy_domain::access::{Action, Actor, ActorKind, Resource};
use flukedeploy_domain::audit::AuditEntry;

use super::limits::Attempt;
use super::sign_in::admit;
use super::views::{AccountView, SessionView};
use super::{check_new, display_name, hash, require_recent_proof, verify};
use crate::authorise::authorise;
use crate::error::Error;
use crate::identity::SignedIn;
use crate::platform::Platform;
use crate::ports::Account;
use crate::secret::Secret;

/// The account and the session of whoever acts.
///
/// # Errors
/// A token has neither.
pub(super) async fn own<'a>(px: &Platform, actor: &'a Actor) -> Result<(Account, &'a str), Error> {
    authorise(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    let session = actor
        .session
        .as_ref()
        .filter(|_| actor.kind == ActorKind::User);
    let Some(session) = session else {
        return Err(Error::NotNow(
            "only a person who is signed in has an account of their own".to_owned(),
        ));
    };
    let account = px.parts().store.account(&actor.id).await?;
    let account = account.ok_or(Error::Unauthenticated {
        why: "the session is over",
    })?;
    Ok((account, &session.id))
}

pub(super) fn audit(px: &Platform, actor: &Actor, account: &Account, did: &str) -> AuditEntry {
    AuditEntry::new(
        px.now(),
        actor,
        Action::ChangeOwnAccount,
        format!("account:{}", account.name),
        did,
    )
}

pub async fn account(px: &Platform, actor: &Actor) -> Result<AccountView, Error> {
    let (account, _) = own(px, actor).await?;
    let factor = px.parts().store.second_factor(&account.id).await?;
    let left = factor.map_or(0, |factor| factor.recovery_codes_left);
    Ok(AccountView::new(&account, left))
}

/// Changes the name that others see; `None` takes it away.
pub async fn rename(px: &Platform, actor: &Actor, name: Option<&str>) -> Result<(), Error> {
    let (account, _) = own(px, actor).await?;
    let name = display_name(name)?;
    if name == account.display_name {
        return Ok(());
    }
    let audit = audit(px, actor, &account, "changed the name that is shown").with_change(
        "display_name",
        account.display_name.clone(),
        name.clone(),
    );
    let store = &px.parts().store;
    store
        .set_display_name(&account.id, name.as_deref(), &audit)
        .await?;
    Ok(())
}

/// Changes the password, which takes the present one if there is one. All other sessions are over; what is returned
/// goes into this one, which the door gives a new id.
pub async fn change_password(
    px: &Platform,
    actor: &Actor,
    session: &SignedIn,
    present: &Secret,
    new: &Secret,
) -> Result<SignedIn, Error> {
    let (account, id) = own(px, actor).await?;
    let attempt = Attempt::proof(&account.id, id);
    // The first one of an account takes what every dangerous act does.
    if account.has_password() {
        admit(px, &attempt)?;
    } else {
        require_recent_proof(px, actor, Action::ChangeOwnAccount, Resource::System)?;
    }
    if account.has_password() && !verify(px, Some(&account.password_hash), present).await? {
        let audit = audit(px, actor, &account, "gave a wrong password to change it");
        px.parts().store.note(&audit).await?;
        return Err(Error::invalid("present_password", "is wrong"));
    }
    px.parts().sign_in_limits.succeeded(&attempt);
    let shown = account.display_name.as_deref().unwrap_or_default();
    if let Some(fault) = check_new(new, &[&account.name, shown]) {
        return Err(fault.into());
    }
    let hash = hash(new).await?;
    let audit = audit(px, actor, &account, "changed the password");
    let store = &px.parts().store;
    store
        .change_password(&account.id, &hash, Some(id), &audit)
        .await?;
    px.parts().rechecks.announce();
    let changed = crate::identity::unix_ms(audit.at);
    Ok(SignedIn {
        password_changed_at_ms: changed,
        proved_at_ms: changed,
        ..session.clone()
    })
}

/// Where one is signed in, the last used first.
pub async fn sessions(px: &Platform, actor: &Actor) -> Result<Vec<SessionView>, Error> {
    let (account, id) = own(px, actor).await?;
    let stored = px.parts().store.sessions_of(&account.id, px.now()).await?;
    Ok(stored
        .into_iter()
        .filter(|session| crate::identity::is_within_time(px, &session.signed_in))
        .map(|session| SessionView::new(session, id))
        .collect())
}

pub async fn end_session(px: &Platform, actor: &Actor, session: &str) -> Result<(), Error> {
    let (account, _) = own(px, actor).await?;
    let audit = audit(px, actor, &account, "ended a session");
    let store = &px.parts().store;
    if !store.end_session(&account.id, session, &audit).await? {
        return Err(Error::NotFound {
            what: "session of that id".to_owned(),
        });
    }
    px.parts().rechecks.announce();
    Ok(())
}

/// All but this one; how many there were.
pub async fn end_other_sessions(px: &Platform, actor: &Actor) -> Result<u64, Error> {
    let (account, id) = own(px, actor).await?;
    let audit = audit(px, actor, &account, "ended all other sessions");
    let store = &px.parts().store;
    let ended = store.end_other_sessions(&account.id, id, &audit).await?;
    if ended > 0 {
        px.parts().rechecks.announce();
    }
    Ok(ended)
}

/// Somebody signed out: what the session had opened ends.
pub async fn signed_out(px: &Platform, actor: Option<&Actor>) -> Result<(), Error> {
    px.parts().rechecks.announce();
    if let Some(actor) = actor {
        let audit = AuditEntry::new(
            px.now(),
            actor,
            Action::ChangeOwnAccount,
            format!("account:{}", actor.name),
            "signed out",
        );
        px.parts().store.note(&audit).await?;
    }
    Ok(())
}
