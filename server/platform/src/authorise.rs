//! The one check. Every use case calls it first; there is no other.

use flukedeploy_domain::access::{Action, Actor, Resource, lacks, may_know_of};

use crate::error::Error;
use crate::platform::Platform;

/// Whether it would be let through: for pages, which offer only what is. Nothing is written down, and
/// the use case asks again.
pub fn may(actor: &Actor, action: Action, resource: Resource<'_>) -> bool {
    lacks(actor, action, resource).is_none()
}

/// # Errors
/// [`Error::Forbidden`] naming what would do; for what the actor may not know of, the error of
/// something that does not exist.
pub fn authorise(
    px: &Platform,
    actor: &Actor,
    action: Action,
    resource: Resource<'_>,
) -> Result<(), Error> {
    let Some(needed) = lacks(actor, action, resource) else {
        return Ok(());
    };
    tracing::info!(
        actor.id = %actor.id, actor.door = actor.door.as_str(), action = action.as_str(),
        "refused"
    );
    let words = crate::error::words_of(needed);
    px.parts().denials.note(actor, action, resource, words);
    if may_know_of(actor, resource) {
        return Err(Error::Forbidden { action, needed });
    }
    Err(match resource {
        Resource::Environment(app, environment) if actor.rights.shows_app(app.as_str()) => {
            Error::EnvironmentNotFound {
                app: app.to_string(),
                name: environment.to_string(),
                known: Vec::new(),
            }
        }
        Resource::App(app) | Resource::SomeOf(app) | Resource::Environment(app, _) => {
            Error::AppNotFound {
                name: app.to_string(),
                near: Vec::new(),
            }
        }
        Resource::Project(name, _) => crate::projects::no_such_project(name),
        Resource::System | Resource::Shown => Error::Forbidden { action, needed },
    })
}
