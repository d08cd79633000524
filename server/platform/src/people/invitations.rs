//! Invitations: a link that makes one account, once.

use flukedeploy_domain::access::{Action, Actor, ActorKind, Resource, Tier};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::names::Invalid;
use time::Duration;

use super::views::InvitationView;
use super::{
    NO_PASSWORD, Origin, check_name, check_new, display_name, hash, require_recent_proof, sign_in,
    signed_in,
};
use crate::authorise::authorise;
use crate::error::Error;
use crate::identity::SignedIn;
use crate::platform::Platform;
use crate::ports::{Account, Identity, Invitation};
use crate::secret::{Secret, random_id, sha256_hex};

/// Hours an invitation is good for where nothing else is said, and at most.
const DEFAULT_HOURS: u32 = 72;
const MAX_HOURS: u32 = 30 * 24;

#[derive(Debug, Clone, Default)]
pub struct Invite {
    /// Of the account; `None`: the person chooses it.
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub is_administrator: bool,
    pub expires_in_hours: Option<u32>,
}

/// An invitation with the only appearance of its link.
pub struct NewInvitation {
    pub view: InvitationView,
    pub link: Secret,
}

pub async fn invite(px: &Platform, actor: &Actor, cmd: Invite) -> Result<NewInvitation, Error> {
    authorise(px, actor, Action::ChangePeople, Resource::System)?;
    require_recent_proof(px, actor, Action::ChangePeople, Resource::System)?;
    let mut faults = Vec::new();
    let name = cmd
        .name
        .as_deref()
        .map(str::trim)
        .filter(|name| !name.is_empty());
    faults.extend(name.and_then(check_name));
    let shown = display_name(cmd.display_name.as_deref()).unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let hours = cmd.expires_in_hours.unwrap_or(DEFAULT_HOURS);
    if !(1..=MAX_HOURS).contains(&hours) {
        faults.push(Invalid::new(
            "expires_in_hours",
            format!("must be 1 to {MAX_HOURS}"),
        ));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    if let Some(name) = name
        && px.parts().store.account_by_name(name).await?.is_some()
    {
        return Err(Error::invalid("name", "is taken"));
    }
    let secret = Secret::random();
    let now = px.now();
    let invitation = Invitation {
        id: random_id(12),
        name: name.map(ToOwned::to_owned),
        display_name: shown,
        is_administrator: cmd.is_administrator,
        created_at: now,
        created_by: actor.name.clone(),
        inviter: (actor.kind == ActorKind::User).then(|| actor.id.clone()),
        expires_at: now + Duration::hours(i64::from(hours)),
        revoked_at: None,
        accepted_at: None,
        accepted_as: None,
    };
    let whom = match (&invitation.name, &invitation.display_name) {
        (Some(name), _) | (None, Some(name)) => name.as_str(),
        (None, None) => "somebody",
    };
    let role = if invitation.is_administrator {
        "an administrator"
    } else {
        "a reader"
    };
    let audit = AuditEntry::new(
        now,
        actor,
        Action::ChangePeople,
        format!("invitation:{}", invitation.id),
        format!("invited {whom} as {role}"),
    );
    let store = &px.parts().store;
    store
        .create_invitation(&invitation, &sha256_hex(secret.expose()), &audit)
        .await?;
    crate::changes::tell(px, &audit);
    let link = format!("{}/invitations/{}", px.config().public_url, secret.expose());
    Ok(NewInvitation {
        view: InvitationView::new(&invitation, now),
        link: Secret::new(link),
    })
}

/// Newest first.
pub async fn list_invitations(px: &Platform, actor: &Actor) -> Result<Vec<InvitationView>, Error> {
    authorise(px, actor, Action::ListPeople, Resource::System)?;
    let now = px.now();
    let invitations = px.parts().store.invitations().await?;
    Ok(invitations
        .iter()
        .map(|invitation| InvitationView::new(invitation, now))
        .collect())
}

pub async fn revoke_invitation(px: &Platform, actor: &Actor, id: &str) -> Result<(), Error> {
    authorise(px, actor, Action::ChangePeople, Resource::System)?;
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::ChangePeople,
        format!("invitation:{id}"),
        format!("revoked the invitation {id}"),
    );
    let store = &px.parts().store;
    if store.revoke_invitation(id, audit.at, &audit).await? {
        crate::changes::tell(px, &audit);
        Ok(())
    } else {
        Err(Error::NotFound {
            what: "invitation of that id that is still good".to_owned(),
        })
    }
}

/// The invitation of a link, if it can be used still. Looking at it uses nothing up: programs that
/// read mail follow links.
pub async fn invitation(px: &Platform, secret: &str) -> Result<Option<InvitationView>, Error> {
    let found = found(px, secret).await?;
    Ok(found.map(|invitation| InvitationView::new(&invitation, px.now())))
}

async fn found(px: &Platform, secret: &str) -> Result<Option<Invitation>, Error> {
    // Found by hash: comparing takes no time that would say anything of the secret.
    open(px, &sha256_hex(secret)).await
}

async fn open(px: &Platform, secret_hash: &str) -> Result<Option<Invitation>, Error> {
    let store = &px.parts().store;
    let found = store.invitation_by_secret(secret_hash).await?;
    Ok(found.filter(|invitation| invitation.is_open(px.now())))
}

/// Makes the account and signs it in; the link is worth nothing then.
pub async fn accept_invitation(
    px: &Platform,
    secret: &str,
    name: &str,
    shown: Option<&str>,
    password: &Secret,
    origin: &Origin,
) -> Result<SignedIn, Error> {
    let Some(invitation) = found(px, secret).await? else {
        return Err(Error::InvitationInvalid);
    };
    let (name, shown, mut faults) = named(&invitation, name, shown);
    let names = [name.as_str(), shown.as_deref().unwrap_or_default()];
    faults.extend(check_new(password, &names));
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let account = account(px, &invitation, name, shown, hash(password).await?);
    accept(px, &invitation, account, None, origin).await
}

/// Whether somebody who comes back from the sign-in provider could accept it so.
pub(super) async fn check_acceptance(
    px: &Platform,
    secret_hash: &str,
    name: &str,
    shown: Option<&str>,
) -> Result<(), Error> {
    let invitation = open(px, secret_hash)
        .await?
        .ok_or(Error::InvitationInvalid)?;
    let (name, _, mut faults) = named(&invitation, name, shown);
    if px.parts().store.account_by_name(&name).await?.is_some() {
        faults.push(Invalid::new("name", "is taken"));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(faults))
    }
}

/// Makes an account without a password, which the provider lets in.
pub(super) async fn accept_with_identity(
    px: &Platform,
    secret_hash: &str,
    name: &str,
    shown: Option<&str>,
    identity: Identity,
    origin: &Origin,
) -> Result<SignedIn, Error> {
    let invitation = open(px, secret_hash)
        .await?
        .ok_or(Error::InvitationInvalid)?;
    let (name, shown, faults) = named(&invitation, name, shown);
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let store = &px.parts().store;
    let known = store.account_by_identity(&identity.issuer, &identity.subject);
    if known.await?.is_some() {
        return Err(Error::NotNow(
            "an account is connected with yours there already; sign in with it".to_owned(),
        ));
    }
    let account = account(px, &invitation, name, shown, NO_PASSWORD.to_owned());
    let identity = Identity {
        account: account.id.clone(),
        ..identity
    };
    accept(px, &invitation, account, Some(identity), origin).await
}

/// What the account is called, and what is wrong with it.
fn named(
    invitation: &Invitation,
    name: &str,
    shown: Option<&str>,
) -> (String, Option<String>, Vec<Invalid>) {
    let name = invitation.name.as_deref().unwrap_or(name.trim());
    let mut faults: Vec<Invalid> = check_name(name).into_iter().collect();
    let shown = display_name(shown).unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let shown = shown.or_else(|| invitation.display_name.clone());
    (name.to_owned(), shown, faults)
}

fn account(
    px: &Platform,
    invitation: &Invitation,
    name: String,
    display_name: Option<String>,
    password_hash: String,
) -> Account {
    let now = px.now();
    Account {
        id: random_id(12),
        name,
        password_hash,
        tier: if invitation.is_administrator {
            Tier::Admin
        } else {
            Tier::Advanced
        },
        created_at: now,
        password_changed_at: now,
        display_name,
        disabled_at: None,
        has_second_factor: false,
    }
}

async fn accept(
    px: &Platform,
    invitation: &Invitation,
    account: Account,
    identity: Option<Identity>,
    origin: &Origin,
) -> Result<SignedIn, Error> {
    let by = match (&identity, &px.config().provider) {
        (Some(_), Some(provider)) => format!(" with {}", provider.name),
        _ => String::new(),
    };
    let audit = AuditEntry::new(
        px.now(),
        &sign_in::claimed(&account),
        Action::SignIn,
        format!("account:{}", account.name),
        format!(
            "accepted the invitation {} of {}{by} from {}",
            invitation.id,
            invitation.created_by,
            origin.shown()
        ),
    );
    let store = &px.parts().store;
    let accepted = store
        .accept_invitation(&invitation.id, &account, identity.as_ref(), &audit)
        .await
        .map_err(|error| match Error::from(error) {
            Error::Exists { .. } => Error::invalid("name", "is taken"),
            other => other,
        })?;
    if !accepted {
        return Err(Error::InvitationInvalid);
    }
    crate::changes::tell(px, &audit);
    Ok(signed_in(px, &account, origin))
}
