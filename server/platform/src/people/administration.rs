//! What administrators do about others.

use flukedeploy_domain::access::{Action, Actor, ActorKind, Resource, Tier};
use flukedeploy_domain::audit::AuditEntry;

use super::require_recent_proof;
use super::views::PersonView;
use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::Account;

/// By name.
pub async fn list_people(px: &Platform, actor: &Actor) -> Result<Vec<PersonView>, Error> {
    authorise(px, actor, Action::ListPeople, Resource::System)?;
    let accounts = px.parts().store.accounts().await?;
    Ok(accounts
        .iter()
        .map(|account| PersonView::new(account, is_own(actor, &account.id)))
        .collect())
}

pub async fn person(px: &Platform, actor: &Actor, id: &str) -> Result<PersonView, Error> {
    authorise(px, actor, Action::ListPeople, Resource::System)?;
    let account = account(px, id).await?;
    Ok(PersonView::new(&account, is_own(actor, id)))
}

/// Turns an account off, or on again. Its sessions end at once, and its tokens are refused until it
/// is on again. Turning one on takes a recent proof as well: it is a way in.
pub async fn switch_person(
    px: &Platform,
    actor: &Actor,
    id: &str,
    disabled: bool,
) -> Result<PersonView, Error> {
    authorise(px, actor, Action::ChangePeople, Resource::System)?;
    require_recent_proof(px, actor, Action::ChangePeople, Resource::System)?;
    let account = account(px, id).await?;
    if disabled {
        not_oneself(actor, id)?;
    }
    let done = if disabled { "turned off" } else { "turned on" };
    let audit = audit(
        px,
        actor,
        &account,
        format!("{done} the account {}", account.name),
    )
    .with_change(
        "state",
        Some(on_or_off(account.disabled_at.is_some())),
        Some(on_or_off(disabled)),
    );
    let at = disabled.then_some(audit.at);
    if px.parts().store.switch_account(id, at, &audit).await? {
        told(px, &audit);
    }
    person(px, actor, id).await
}

/// Makes somebody an administrator, or takes that away: also one's own, unless nobody would be left.
/// What they may do changes at once, for their sessions, streams and tokens.
pub async fn set_administrator(
    px: &Platform,
    actor: &Actor,
    id: &str,
    is_administrator: bool,
) -> Result<PersonView, Error> {
    authorise(px, actor, Action::ChangePeople, Resource::System)?;
    require_recent_proof(px, actor, Action::ChangePeople, Resource::System)?;
    let account = account(px, id).await?;
    let (tier, done) = if is_administrator {
        (Tier::Admin, "made {} an administrator")
    } else {
        (Tier::Advanced, "made {} an administrator no longer")
    };
    let audit = audit(px, actor, &account, done.replace("{}", &account.name));
    if px.parts().store.set_tier(id, tier, &audit).await? {
        told(px, &audit);
    }
    let account = self::account(px, id).await?;
    Ok(PersonView::new(&account, is_own(actor, id)))
}

/// Removes an account for good: its sessions end at once, its tokens and unused invitations are
/// revoked.
pub async fn delete_person(px: &Platform, actor: &Actor, id: &str) -> Result<(), Error> {
    authorise(px, actor, Action::ChangePeople, Resource::System)?;
    require_recent_proof(px, actor, Action::ChangePeople, Resource::System)?;
    let account = account(px, id).await?;
    not_oneself(actor, id)?;
    let audit = audit(
        px,
        actor,
        &account,
        format!("deleted the account {}", account.name),
    );
    if !px.parts().store.delete_account(id, &audit).await? {
        return Err(no_such_person());
    }
    told(px, &audit);
    Ok(())
}

/// Takes a person's second factor away, who lost it. Whoever is signed in as them is signed out.
pub async fn reset_second_factor(px: &Platform, actor: &Actor, id: &str) -> Result<(), Error> {
    authorise(px, actor, Action::ChangePeople, Resource::System)?;
    require_recent_proof(px, actor, Action::ChangePeople, Resource::System)?;
    let account = account(px, id).await?;
    // One's own is turned off on one's own page.
    not_oneself(actor, id)?;
    let did = format!("took the second factor of {} away", account.name);
    let audit = audit(px, actor, &account, did);
    let store = &px.parts().store;
    if !store.remove_second_factor(id, true, &audit).await? {
        return Err(Error::NotNow(format!(
            "{} has no second factor",
            account.name
        )));
    }
    told(px, &audit);
    Ok(())
}

fn on_or_off(disabled: bool) -> String {
    if disabled { "off" } else { "on" }.to_owned()
}

fn audit(px: &Platform, actor: &Actor, account: &Account, did: String) -> AuditEntry {
    AuditEntry::new(
        px.now(),
        actor,
        Action::ChangePeople,
        format!("account:{}", account.name),
        did,
    )
}

fn told(px: &Platform, audit: &AuditEntry) {
    crate::changes::tell(px, audit);
    px.parts().rechecks.announce();
}

async fn account(px: &Platform, id: &str) -> Result<Account, Error> {
    let found = px.parts().store.account(id).await?;
    found.ok_or_else(no_such_person)
}

fn no_such_person() -> Error {
    Error::NotFound {
        what: "person of that id".to_owned(),
    }
}

fn is_own(actor: &Actor, id: &str) -> bool {
    actor.kind == ActorKind::User && actor.id == id
}

fn not_oneself(actor: &Actor, id: &str) -> Result<(), Error> {
    if is_own(actor, id) {
        return Err(Error::NotNow(
            "this is your own account; ask another administrator".to_owned(),
        ));
    }
    Ok(())
}
