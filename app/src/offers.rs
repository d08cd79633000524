//! What pages offer: only what would not be refused. The one place that asks; the use cases ask
//! again.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::authorise::may;

/// What somebody may do on the pages of an app's environment.
#[derive(Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each thing that is offered"
)]
pub(crate) struct Offers {
    pub(crate) deploy: bool,
    pub(crate) roll_back: bool,
    pub(crate) scale: bool,
    pub(crate) restart: bool,
    pub(crate) stop_start: bool,
    pub(crate) settings: bool,
    pub(crate) delete: bool,
    /// How long this environment stays.
    pub(crate) time: bool,
    pub(crate) new_environment: bool,
    pub(crate) promote: bool,
    pub(crate) permissions: bool,
    pub(crate) cancel: bool,
    pub(crate) steer: bool,
}

impl Offers {
    pub(crate) fn new(actor: &Actor, app: &AppName, environment: &EnvironmentName) -> Self {
        let here = |action| may(actor, action, Resource::Environment(app, environment));
        let whole = |action| may(actor, action, Resource::App(app));
        Self {
            deploy: here(Action::Deploy),
            roll_back: here(Action::Rollback),
            scale: here(Action::Scale),
            restart: here(Action::Restart),
            stop_start: here(Action::StopStart),
            settings: here(Action::ChangeSettings),
            delete: if environment.is_production() {
                whole(Action::DeleteApp)
            } else {
                here(Action::ChangeEnvironments)
            },
            time: here(Action::ChangeEnvironments),
            new_environment: whole(Action::ChangeEnvironments) && whole(Action::ChangeSettings),
            promote: may(actor, Action::Deploy, Resource::SomeOf(app)),
            permissions: whole(Action::ListGrants),
            cancel: here(Action::CancelDeployment),
            steer: here(Action::SteerDeployment),
        }
    }
}
