//! What a deployment tells: log entries in the words of the contract.

use flukedeploy_domain::deployment::{Deployment, HealthStatus, PhaseName, PhaseStatus, State};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};

use super::drive::phase_of;
use crate::platform::Platform;

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
            note(
                px,
                Level::Info,
                format!("Release {release} serves all traffic"),
                metadata,
            );
        }
        State::Pending | State::Returning { .. } | State::Failed { .. } => {}
    }
}

/// A line about what the running phase does.
pub(super) fn progress(
    px: &Platform,
    deployment: &Deployment,
    level: Level,
    message: impl Into<String>,
) {
    let phase = phase_of(deployment);
    let message = flukedeploy_domain::diagnosis::tame(&message.into(), 2_000);
    note(
        px,
        level,
        message,
        metadata(deployment, EventType::of_phase_start(phase), phase),
    );
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

fn note(px: &Platform, level: Level, message: String, metadata: LogMetadata) {
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
