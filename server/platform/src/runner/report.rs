//! What a deployment tells: log entries in the words of the contract.

use flukedeploy_domain::deployment::{
    Deployment, HealthStatus, PhaseName, PhaseStatus, PhaseTime, Receipt, SettingsChange, Source,
    State, changes_between,
};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::release::{Release, ReleaseNo};

use super::drive::phase_of;
use super::traffic;
use crate::platform::Platform;
use crate::redaction::Redactor;

/// Entries for one step: the phase that ended and the one that began.
pub(super) fn transition(px: &Platform, before: &State, deployment: &Deployment) {
    if let State::Running { phase } = before {
        let record = deployment.phase(*phase);
        let duration_ms = record.duration_ms().unwrap_or(0);
        if record.status == PhaseStatus::Success {
            let metadata = LogMetadata {
                duration_ms: Some(duration_ms),
                ..metadata(deployment, EventType::of_phase_success(*phase), *phase)
            };
            note(
                px,
                Level::Info,
                format!("Phase {} completed in {duration_ms}ms", phase.as_str()),
                metadata,
            );
        } else if let Some(diagnosis) = deployment.state.diagnosis() {
            let metadata = LogMetadata {
                duration_ms: Some(duration_ms),
                error_code: Some(diagnosis.code.code().to_owned()),
                stack_trace: Some(evidence_text(diagnosis)),
                ..metadata(deployment, EventType::of_phase_failure(*phase), *phase)
            };
            note(
                px,
                Level::Error,
                format!("Phase {} failed: {}", phase.as_str(), diagnosis.message),
                metadata,
            );
        }
    }
    match &deployment.state {
        State::Running { phase } => {
            let metadata = LogMetadata {
                strategy: Some(deployment.strategy),
                ..metadata(deployment, EventType::of_phase_start(*phase), *phase)
            };
            note(
                px,
                Level::Info,
                format!("Phase {} started", phase.as_str()),
                metadata,
            );
        }
        State::RolledBack { to, diagnosis } => {
            let metadata = metadata(deployment, EventType::DeployError, diagnosis.phase);
            note(
                px,
                Level::Warn,
                format!("Release {to} serves again"),
                metadata,
            );
        }
        State::Failed { diagnosis } if matches!(before, State::Pending) => {
            let metadata = LogMetadata {
                error_code: Some(diagnosis.code.code().to_owned()),
                ..metadata(deployment, EventType::DeployError, diagnosis.phase)
            };
            note(
                px,
                Level::Error,
                format!("Deployment failed: {}", diagnosis.message),
                metadata,
            );
        }
        State::Success => {
            let release = deployment
                .release
                .map(|number| number.to_string())
                .unwrap_or_default();
            let metadata = LogMetadata {
                health_status: Some(HealthStatus::Healthy),
                ..metadata(deployment, EventType::PostDeploy, PhaseName::PostDeploy)
            };
            let text = match &deployment.source {
                Source::Mode { to } => format!("The app is {} now", to.as_str()),
                _ => format!("Release {release} serves all traffic"),
            };
            note(px, Level::Info, text, metadata);
        }
        State::Pending | State::Returning { .. } | State::Failed { .. } => {}
    }
}

/// What the deployment did, in figures. Nothing of it can fail the deployment: what cannot be found
/// out is left out.
pub(super) async fn receipt(px: &Platform, deployment: &Deployment) -> Receipt {
    let made = match deployment.release {
        Some(number) => release(px, deployment, number).await,
        None => None,
    };
    let former = match deployment.from_release {
        Some(number) => release(px, deployment, number).await,
        None => None,
    };
    let requests = match (&made, px.parts().runner.counted_before(&deployment.id)) {
        (Some(release), Some(before)) => {
            let pair = traffic::Pair::of(px, deployment, release);
            let now = traffic::count(px, &pair).await;
            now.map(|now| now.since(&before).switched())
        }
        _ => None,
    };
    let mut changes = match (&former, &made) {
        (Some(former), Some(release)) if former.number != release.number => {
            changes_between(&former.settings, &release.settings)
        }
        _ => Vec::new(),
    };
    if let (Some(former), Some(image)) = (&former, &deployment.image)
        && former.image.pinned != image.pinned
    {
        changes.insert(
            0,
            SettingsChange {
                name: "image".to_owned(),
                before: Some(former.image.requested.to_string()),
                after: Some(image.requested.to_string()),
            },
        );
    }
    match deployment.source {
        Source::Scale { from, to } => changes.push(SettingsChange {
            name: "replicas".to_owned(),
            before: Some(from.to_string()),
            after: Some(to.to_string()),
        }),
        Source::Mode { to } => changes.push(SettingsChange {
            name: "mode".to_owned(),
            before: Some(deployment.progress.former_mode.as_str().to_owned()),
            after: Some(to.as_str().to_owned()),
        }),
        Source::Image { .. }
        | Source::Build { .. }
        | Source::Promote { .. }
        | Source::Release { .. }
        | Source::Restart { .. } => {}
    }
    let actor = &deployment.initiated_as;
    Receipt {
        outcome: deployment.state.status(),
        started_at: deployment.initiated_at,
        ended_at: deployment.completed_at.unwrap_or_else(|| px.now()),
        by: actor.name.clone(),
        persona: actor.persona.clone(),
        door: actor.door,
        old_release: deployment.from_release,
        new_release: deployment.release,
        pinned_image: deployment.image.as_ref().map(|image| image.pinned.clone()),
        phases: PhaseName::ALL
            .into_iter()
            .map(|phase| {
                let record = deployment.phase(phase);
                PhaseTime {
                    phase,
                    status: record.status,
                    duration_ms: record.duration_ms(),
                }
            })
            .collect(),
        requests,
        changes,
    }
}

async fn release(px: &Platform, deployment: &Deployment, number: ReleaseNo) -> Option<Release> {
    px.parts()
        .store
        .release(&deployment.app, &deployment.environment, number)
        .await
        .ok()
        .flatten()
}

/// A line about what the running phase does.
pub(super) fn progress(
    px: &Platform,
    deployment: &Deployment,
    level: Level,
    message: impl Into<String>,
) {
    let phase = phase_of(deployment);
    // Before anything is cut: half a secret is not known again.
    let message = redactor(px, deployment.app.as_str())
        .text(&message.into())
        .into_owned();
    let message = flukedeploy_domain::diagnosis::tame(&message, 2_000);
    note(
        px,
        level,
        message,
        metadata(deployment, EventType::of_phase_start(phase), phase),
    );
}

/// A line that a command of a build printed. What it says is its own: it is not told twice in the
/// server's log.
pub(super) fn build_output(px: &Platform, deployment: &Deployment, level: Level, text: &str) {
    let phase = phase_of(deployment);
    let message = flukedeploy_domain::diagnosis::tame(text, 4_000);
    let metadata = LogMetadata {
        build_id: Some(deployment.id.to_string()),
        ..metadata(deployment, EventType::of_phase_start(phase), phase)
    };
    px.parts().journal.note(level, message, metadata);
}

/// The contract's scale event.
pub(super) fn scaled(px: &Platform, deployment: &Deployment, from: u32, to: u32) {
    let metadata = LogMetadata {
        replicas: Some(to),
        ..metadata(deployment, EventType::ScaleEvent, phase_of(deployment))
    };
    note(
        px,
        Level::Info,
        format!("Scaled from {from} to {to} replicas"),
        metadata,
    );
}

/// The same where a release came with another number of replicas than the one before had. Scaling has
/// told it by then.
pub(super) fn other_scale(px: &Platform, deployment: &Deployment) {
    if matches!(deployment.source, Source::Scale { .. }) {
        return;
    }
    let changes = deployment
        .receipt
        .iter()
        .flat_map(|receipt| &receipt.changes);
    let count = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    for change in changes.filter(|change| change.name == "replicas") {
        if let (Some(from), Some(to)) = (count(&change.before), count(&change.after)) {
            scaled(px, deployment, from, to);
        }
    }
}

pub(super) fn health(px: &Platform, deployment: &Deployment, status: HealthStatus, ready: u32) {
    let level = if status == HealthStatus::Healthy {
        Level::Info
    } else {
        Level::Warn
    };
    let metadata = LogMetadata {
        health_status: Some(status),
        replicas: Some(ready),
        ..metadata(deployment, EventType::HealthCheck, phase_of(deployment))
    };
    note(
        px,
        level,
        format!("Health check: {}", status.as_str()),
        metadata,
    );
}

fn metadata(deployment: &Deployment, event: EventType, phase: PhaseName) -> LogMetadata {
    LogMetadata {
        deployment_id: Some(deployment.id.to_string()),
        version: deployment.version.clone(),
        environment: Some(deployment.environment.to_string()),
        phase: Some(phase),
        release: deployment.release.map(|number| number.0),
        ..LogMetadata::new(event, deployment.app.as_str())
    }
}

fn redactor(px: &Platform, app: &str) -> Redactor {
    px.parts().journal.redaction().of(app)
}

fn note(px: &Platform, level: Level, mut message: String, metadata: LogMetadata) {
    redactor(px, &metadata.app_name).in_place(&mut message);
    tracing::info!(
        app.name = %metadata.app_name, deployment.id = metadata.deployment_id.as_deref().unwrap_or(""),
        "{message}"
    );
    px.parts().journal.note(level, message, metadata);
}

fn evidence_text(diagnosis: &flukedeploy_domain::diagnosis::Diagnosis) -> String {
    let mut lines = vec![format!("{}: {}", diagnosis.code.code(), diagnosis.message)];
    lines.extend(
        diagnosis
            .evidence
            .engine_message
            .iter()
            .map(|text| format!("engine: {text}")),
    );
    lines.extend(
        diagnosis
            .evidence
            .health_answer
            .iter()
            .map(|text| format!("health: {text}")),
    );
    lines.join("\n")
}
