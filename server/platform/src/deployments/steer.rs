//! Cancel, pause, resume, promote: a hand on a deployment that is under way.

use flukedeploy_domain::access::{Action, Actor};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, DeploymentSummary, PhaseName, State, Wishes,
};

use super::queries::require;
use crate::error::Error;
use crate::platform::Platform;

/// What to do with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Stay at the step it is at.
    Pause,
    /// Go on, each step judged as before.
    Resume,
    /// Take the step it is at without (further) judgement, and go on.
    Promote,
}

impl Steer {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
        }
    }
}

/// Asks a running deployment to stop. It ends as failed with the cause `cancelled`, with what
/// served before still (or again) serving.
pub async fn cancel(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
) -> Result<DeploymentSummary, Error> {
    let deployment = require(px, actor, Action::CancelDeployment, id).await?;
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::CancelDeployment,
        format!("app:{}", deployment.app),
        format!("cancels deployment {id}"),
    );
    if !px.parts().store.request_cancel(id, &audit).await? {
        return Err(Error::AlreadyEnded { id: id.clone() });
    }
    px.parts().runner.cancel(px, &deployment).await;
    super::queries::get_deployment(px, actor, id).await
}

/// Steers a rollout that is waiting for its turn or in its deploy phase.
///
/// # Errors
/// [`Error::AlreadyEnded`]; [`Error::NotNow`] where there is no rollout to steer.
pub async fn steer(
    px: &Platform,
    actor: &Actor,
    id: &DeploymentId,
    how: Steer,
) -> Result<DeploymentSummary, Error> {
    let deployment = require(px, actor, Action::SteerDeployment, id).await?;
    if deployment.state.is_final() {
        return Err(Error::AlreadyEnded { id: id.clone() });
    }
    if !deployment.source.makes_release() {
        return Err(Error::NotNow(format!(
            "a {} has no steps that could be paused or promoted",
            deployment.act()
        )));
    }
    if matches!(deployment.state, State::Returning { .. }) {
        return Err(Error::NotNow(
            "the deployment is going back to the former release already".to_owned(),
        ));
    }
    let in_rollout = matches!(
        deployment.state,
        State::Running {
            phase: PhaseName::Deploy
        }
    );
    if how == Steer::Promote && !in_rollout {
        return Err(Error::NotNow(
            "there is no step to promote yet: the deployment has not reached its deploy phase"
                .to_owned(),
        ));
    }
    let wishes = match how {
        Steer::Pause => Wishes {
            paused: true,
            ..deployment.wishes.clone()
        },
        Steer::Resume => Wishes {
            paused: false,
            ..deployment.wishes.clone()
        },
        Steer::Promote => Wishes {
            paused: false,
            promoted_step: Some(deployment.progress.step),
            ..deployment.wishes.clone()
        },
    };
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::SteerDeployment,
        format!("app:{}", deployment.app),
        format!("{}s deployment {id}", how.as_str()),
    );
    wish(px, &deployment, wishes, &audit).await?;
    super::queries::get_deployment(px, actor, id).await
}

/// The platform pauses a canary by itself: too few requests came to judge it.
pub(crate) async fn pause_for_quiet(px: &Platform, deployment: &Deployment) {
    let wishes = Wishes {
        paused: true,
        ..deployment.wishes.clone()
    };
    let audit = AuditEntry::new(
        px.now(),
        &Actor::system(),
        Action::SteerDeployment,
        format!("app:{}", deployment.app),
        format!(
            "pauses deployment {}: too little traffic to judge it",
            deployment.id
        ),
    );
    if let Err(error) = wish(px, deployment, wishes, &audit).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the pause could not be stored"
        );
    }
}

async fn wish(
    px: &Platform,
    deployment: &Deployment,
    wishes: Wishes,
    audit: &AuditEntry,
) -> Result<(), Error> {
    let id = &deployment.id;
    if !px.parts().store.set_wishes(id, &wishes, audit).await? {
        return Err(Error::AlreadyEnded { id: id.clone() });
    }
    px.parts().runner.steer(id, wishes);
    Ok(())
}
