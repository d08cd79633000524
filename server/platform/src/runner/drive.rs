//! One deployment from where it is to its end.

use std::time::Duration;

use flukedeploy_domain::deployment::{Deployment, Effect, Event, PhaseName, State};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};

use super::{cleanup, phases, report};
use crate::platform::Platform;
use crate::ports::StoreError;

/// Why a phase did not get done.
pub(super) enum Stop {
    Failed(Box<Diagnosis>),
    /// The platform stops; the next start repeats the phase.
    Interrupted,
}

impl From<Diagnosis> for Stop {
    fn from(diagnosis: Diagnosis) -> Self {
        Self::Failed(Box::new(diagnosis))
    }
}

pub(super) async fn run_deployment(px: &Platform, mut deployment: Deployment) {
    let id = deployment.id.clone();
    loop {
        let event = match deployment.state.pending_effect() {
            None if deployment.state.is_final() => break,
            None => match start(px, &mut deployment).await {
                Some(event) => event,
                None => return,
            },
            Some(Effect::RunPhase(phase)) => match run_phase(px, &mut deployment, phase).await {
                Some(event) => event,
                None => return,
            },
            Some(Effect::Return) => match cleanup::put_back(px, &mut deployment).await {
                Some(event) => event,
                None => return,
            },
            Some(Effect::Announce) => break,
        };
        if !advance(px, &mut deployment, event).await {
            // Deleted with its app: nobody will end it.
            if !px.stopping().is_cancelled() {
                px.parts().runner.ended(&id, px.now());
            }
            return;
        }
    }
    px.parts().runner.ended(&id, px.now());
    px.parts().runner.announce(&id);
}

async fn start(px: &Platform, deployment: &mut Deployment) -> Option<Event> {
    if deployment.cancel_requested || px.parts().runner.token(&deployment.id).is_cancelled() {
        return Some(Event::PhaseFailed(cancelled(PhaseName::PreBuild)));
    }
    // What serves now is what there is to go back to, not what served when it was queued.
    deployment.from_release = cleanup::active(px, deployment).await?;
    Some(Event::Started)
}

async fn run_phase(px: &Platform, deployment: &mut Deployment, phase: PhaseName) -> Option<Event> {
    if px.config().hold_in_phase == Some(phase) {
        tracing::warn!(phase = phase.as_str(), "held in this phase by the settings");
        px.stopping().cancelled().await;
        return None;
    }
    match phases::run(px, deployment, phase).await {
        Ok(()) => Some(Event::PhaseDone),
        Err(Stop::Failed(diagnosis)) => Some(Event::PhaseFailed(*diagnosis)),
        Err(Stop::Interrupted) => None,
    }
}

/// Takes the step, stores it, tells about it. False if the platform stops before it is stored.
async fn advance(px: &Platform, deployment: &mut Deployment, event: Event) -> bool {
    let before = deployment.state.clone();
    if let Err(error) = deployment.apply(event, px.now()) {
        // A fault of ours; the record stays as it was and the deployment must still end.
        tracing::error!(error = %error, deployment.id = %deployment.id, "illegal step");
        return false;
    }
    if !save(px, deployment).await {
        return false;
    }
    report::transition(px, &before, deployment);
    px.parts().runner.announce(&deployment.id);
    true
}

/// Stores the deployment, trying again for as long as the platform runs: going on without the
/// record would make it untrue. False if the platform stops, or the deployment was deleted.
pub(super) async fn save(px: &Platform, deployment: &Deployment) -> bool {
    let mut pause = Duration::from_millis(50);
    loop {
        match px.parts().store.save_deployment(deployment).await {
            Ok(()) => return true,
            Err(StoreError::Missing { .. }) => return false,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error, deployment.id = %deployment.id,
                    "the deployment could not be stored; trying again"
                );
            }
        }
        tokio::select! {
            () = px.stopping().cancelled() => return false,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
        }
    }
}

pub(super) fn cancelled(phase: PhaseName) -> Diagnosis {
    Diagnosis {
        code: Cause::Cancelled,
        phase,
        message: "the deployment was cancelled".to_owned(),
        evidence: Evidence::default(),
        next: vec!["deploy again when you are ready".to_owned()],
    }
}

/// The phase a deployment is in, for messages.
pub(super) fn phase_of(deployment: &Deployment) -> PhaseName {
    match &deployment.state {
        State::Running { phase } => *phase,
        State::Returning { diagnosis }
        | State::Failed { diagnosis }
        | State::RolledBack { diagnosis, .. } => diagnosis.phase,
        State::Pending => PhaseName::PreBuild,
        State::Success => PhaseName::PostDeploy,
    }
}
