//! One deployment from where it is to its end.

use std::time::Duration;

use flukedeploy_domain::deployment::{Deployment, Effect, Event, PhaseName, State, Wishes};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};

use super::{back, cleanup, jobs, phases, report, source};
use crate::platform::Platform;
use crate::ports::StoreError;

/// Why a phase did not get done.
pub(super) enum Stop {
    Failed(Box<Diagnosis>),
    /// The platform stops; the next start repeats the phase.
    Interrupted,
    /// Somebody has to answer first; the phase is repeated then.
    Waiting,
}

impl From<Diagnosis> for Stop {
    fn from(diagnosis: Diagnosis) -> Self {
        Self::Failed(Box::new(diagnosis))
    }
}

pub(super) async fn run_deployment(px: &Platform, mut deployment: Deployment) {
    let id = deployment.id.clone();
    // Nothing of it may print before its secrets are known.
    let redaction = px.parts().journal.redaction();
    redaction.learn(deployment.app.as_str(), &deployment.settings);
    if let Err(error) = crate::collector::learn_marked_with(px, &deployment).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "former values of newly marked variables are not known before the next start"
        );
    }
    let steering = px.parts().runner.steering(&id);
    // What was wished before this process began; what came since is there already.
    steering.wishes.send_if_modified(|wishes| {
        let is_new = *wishes == Wishes::default() && deployment.wishes != *wishes;
        if is_new {
            *wishes = deployment.wishes.clone();
        }
        is_new
    });
    if deployment.cancel_requested {
        steering.cancel.cancel();
    }
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
            Some(Effect::Return) => match back::put_back(px, &mut deployment).await {
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
        return Some(Event::PhaseFailed(cancelled(
            deployment,
            PhaseName::PreBuild,
        )));
    }
    // What serves now is what there is to go back to, not what served when it was queued.
    let environment = cleanup::environment(px, deployment).await?;
    deployment.from_release = environment.as_ref().and_then(|found| found.active_release);
    let mode = environment.map(|found| found.mode).unwrap_or_default();
    deployment.progress.former_mode = mode;
    deployment.progress.former = match deployment.from_release.filter(|_| mode.has_replicas()) {
        Some(number) => back::stored_release(px, deployment, number)
            .await?
            .map(|release| release.settings.replicas),
        None => None,
    };
    Some(Event::Started)
}

async fn run_phase(px: &Platform, deployment: &mut Deployment, phase: PhaseName) -> Option<Event> {
    if px.config().hold_in_phase == Some(phase) {
        tracing::warn!(phase = phase.as_str(), "held in this phase by the settings");
        let cancel = px.parts().runner.token(&deployment.id);
        tokio::select! {
            () = px.stopping().cancelled() => return None,
            // Goes on as it would have, and sees it.
            () = cancel.cancelled() => {}
        }
    }
    match phases::run(px, deployment, phase).await {
        Ok(()) => Some(Event::PhaseDone),
        Err(Stop::Failed(diagnosis)) => Some(Event::PhaseFailed(*diagnosis)),
        Err(Stop::Interrupted | Stop::Waiting) => None,
    }
}

/// Takes the step, stores it, tells about it. False if the platform stops before it is stored.
async fn advance(px: &Platform, deployment: &mut Deployment, mut event: Event) -> bool {
    if let Event::PhaseFailed(diagnosis) = &mut event {
        // It quotes what the app printed, and is stored.
        let redaction = px.parts().journal.redaction();
        redaction.diagnosis(deployment.app.as_str(), diagnosis);
    }
    let before = deployment.state.clone();
    let unstepped = deployment.clone();
    if let Err(error) = deployment.apply(event, px.now()) {
        // A fault of ours; the record stays as it was and the deployment must still end.
        tracing::error!(error = %error, deployment.id = %deployment.id, "illegal step");
        return false;
    }
    if deployment.state.is_final() {
        jobs::clear(px, deployment).await;
        source::clear(px, deployment).await;
        deployment.receipt = Some(report::receipt(px, deployment).await);
    }
    match store(px, deployment).await {
        Stored::Yes => {}
        Stored::No => return false,
        // Somebody was told that it will be cancelled, a moment before it would have succeeded.
        Stored::CancelFirst => {
            *deployment = unstepped;
            let phase = phase_of(deployment);
            let diagnosis = cancelled(deployment, phase);
            if deployment
                .apply(Event::PhaseFailed(diagnosis), px.now())
                .is_err()
                || !save(px, deployment).await
            {
                return false;
            }
        }
    }
    if deployment.state == State::Success {
        report::other_scale(px, deployment);
    }
    report::transition(px, &before, deployment);
    px.parts().runner.announce(&deployment.id);
    true
}

enum Stored {
    Yes,
    /// The platform stops, or the deployment was deleted.
    No,
    /// It was to succeed, and a cancel had been promised before.
    CancelFirst,
}

/// Stores the deployment, trying again for as long as the platform runs: going on without the
/// record would make it untrue.
async fn store(px: &Platform, deployment: &Deployment) -> Stored {
    let mut pause = Duration::from_millis(50);
    loop {
        match px.parts().store.save_deployment(deployment).await {
            Ok(()) => return Stored::Yes,
            Err(StoreError::Missing { .. }) => return Stored::No,
            Err(StoreError::CancelRequested) => return Stored::CancelFirst,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error, deployment.id = %deployment.id,
                    "the deployment could not be stored; trying again"
                );
            }
        }
        tokio::select! {
            () = px.stopping().cancelled() => return Stored::No,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
        }
    }
}

/// Stores a step that does not end the deployment. False if the platform stops, or the deployment
/// was deleted.
pub(super) async fn save(px: &Platform, deployment: &Deployment) -> bool {
    matches!(store(px, deployment).await, Stored::Yes)
}

/// It was asked to stop, by a person or by a newer deployment.
pub(super) fn cancelled(deployment: &Deployment, phase: PhaseName) -> Diagnosis {
    let (code, message) = match &deployment.wishes.superseded_by {
        Some(by) => (
            Cause::Superseded,
            format!("the newer deployment {by} took its place"),
        ),
        None => (Cause::Cancelled, "the deployment was cancelled".to_owned()),
    };
    let next = match code {
        Cause::Superseded => "look at the newer deployment",
        _ => "deploy again when you are ready",
    };
    Diagnosis {
        code,
        phase,
        message,
        evidence: Evidence::default(),
        next: vec![next.to_owned()],
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
