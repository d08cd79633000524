//! Step-up: what is dangerous needs a proof that the person is still there.

use flukedeploy_domain::access::{Action, Actor, Resource, has_recent_proof};
use flukedeploy_domain::audit::AuditEntry;

use super::limits::Attempt;
use super::{Origin, account, second_factor, sign_in, verify};
use crate::error::Error;
use crate::platform::Platform;
use crate::secret::Secret;

/// What a person shows.
pub enum Proof {
    Password(Secret),
    /// Of the authenticator, or a recovery code.
    Code(String),
}

/// Lets through whoever proved within the last minutes who they are; tokens always. A refusal is one
/// like any other, and stands in the audit trail.
///
/// # Errors
/// [`Error::ProofNeeded`].
pub fn require_recent_proof(
    px: &Platform,
    actor: &Actor,
    action: Action,
    resource: Resource<'_>,
) -> Result<(), Error> {
    if has_recent_proof(actor, px.now()) {
        return Ok(());
    }
    let needed = "a proof of who it is within the last ten minutes".to_owned();
    px.parts().denials.note(actor, action, resource, needed);
    Err(Error::ProofNeeded)
}

/// Checks a proof. The door writes its time into the session then, under a new id.
pub async fn confirm(
    px: &Platform,
    actor: &Actor,
    proof: &Proof,
    origin: &Origin,
) -> Result<(), Error> {
    let (account, session) = account::own(px, actor).await?;
    let attempt = Attempt::proof(&account.id, session);
    sign_in::admit(px, &attempt)?;
    let right = match proof {
        Proof::Password(password) => verify(px, Some(&account.password_hash), password).await?,
        Proof::Code(_) if !account.has_second_factor => false,
        Proof::Code(code) => second_factor::check(px, &account, actor, code, origin)
            .await?
            .is_some(),
    };
    let resource = format!("account:{}", account.name);
    let from = origin.shown();
    let done = if right {
        format!("confirmed who it is from {from}")
    } else {
        format!("failed to confirm who it is from {from}")
    };
    let audit = AuditEntry::new(px.now(), actor, Action::ChangeOwnAccount, resource, done);
    px.parts().store.note(&audit).await?;
    if right {
        px.parts().sign_in_limits.succeeded(&attempt);
        return Ok(());
    }
    Err(match proof {
        Proof::Password(_) => Error::invalid("password", "is wrong"),
        Proof::Code(_) => Error::invalid("code", "is wrong, or was used before"),
    })
}
