//! The one check. Every use case calls it first; there is no other.

use flukedeploy_domain::access::{Action, Actor, Resource, is_allowed};

use crate::error::Error;

/// # Errors
/// [`Error::Forbidden`] naming the tier that would do.
pub fn authorise(actor: &Actor, action: Action, resource: Resource<'_>) -> Result<(), Error> {
    if is_allowed(actor, action, resource) {
        return Ok(());
    }
    tracing::info!(
        actor.id = %actor.id, actor.door = actor.door.as_str(), action = action.as_str(),
        "refused"
    );
    Err(Error::Forbidden {
        action,
        needed: action.needed_tier(),
    })
}
