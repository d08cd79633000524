//! Entries about how replicas are: that one is not well any more, that it is well again, that one ended
//! by itself. Once a change, not for each probe.

use std::collections::{BTreeMap, HashMap};

use flukedeploy_domain::deployment::{Deployment, HealthStatus, PhaseName, State};
use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::fleet::{Change, ReplicaChange};
use crate::platform::Platform;
use crate::secret::random_u64;

/// Entries about one service within [`WINDOW`]; the rest is counted.
const MAX_IN_WINDOW: u32 = 60;
const WINDOW: Duration = Duration::minutes(1);

/// What was told of each service lately.
type Told = HashMap<String, Lately>;

struct Lately {
    since: OffsetDateTime,
    told: u32,
    left_out: u64,
}

/// Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    let Some(mut changes) = px.parts().fleet.replica_changes() else {
        return;
    };
    let mut told = Told::new();
    loop {
        let change = tokio::select! {
            () = px.stopping().cancelled() => return,
            change = changes.recv() => change,
        };
        let Some(change) = change else { return };
        if let Some(left_out) = may_tell(&mut told, &change.service, px.now()) {
            tell(&px, change, left_out).await;
        }
    }
}

/// How many entries were left out since the last; `None`: this one is too.
fn may_tell(told: &mut Told, service: &str, now: OffsetDateTime) -> Option<u64> {
    told.retain(|_, lately| now - lately.since < WINDOW || lately.left_out > 0);
    let lately = told.entry(service.to_owned()).or_insert(Lately {
        since: now,
        told: 0,
        left_out: 0,
    });
    if now - lately.since >= WINDOW {
        lately.since = now;
        lately.told = 0;
    }
    if lately.told >= MAX_IN_WINDOW {
        lately.left_out += 1;
        return None;
    }
    lately.told += 1;
    Some(std::mem::take(&mut lately.left_out))
}

async fn tell(px: &Platform, change: Change, left_out: u64) {
    let of = &change.of;
    let underway = match px.parts().store.unfinished_deployments().await {
        Ok(all) => all,
        // It is told all the same, as if nothing were under way.
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "deployments under way could not be read");
            Vec::new()
        }
    };
    let deployment = underway.iter().find_map(|deployment| {
        let here = deployment.app == of.app && deployment.environment == of.environment;
        Some((deployment, story_of(deployment, &change)?)).filter(|_| here)
    });
    let phase = deployment.map(|(_, phase)| phase);
    let mut fields = BTreeMap::from([("replica".to_owned(), Value::from(change.slot))]);
    if left_out > 0 {
        fields.insert("left_out".to_owned(), left_out.into());
    }
    let status = match &change.what {
        ReplicaChange::Well => Some(HealthStatus::Healthy),
        ReplicaChange::Unwell { .. } => Some(HealthStatus::Unhealthy),
        ReplicaChange::Ended { .. } => None,
    };
    let message = match &change.what {
        ReplicaChange::Ended { exit_code, why } => {
            fields.extend(exit_code.map(|code| ("exit_code".to_owned(), code.into())));
            format!(
                "Replica {} of release {} ended by itself: {why}",
                change.slot, of.release
            )
        }
        ReplicaChange::Unwell { why } => {
            fields.insert("reason".to_owned(), why.as_str().into());
            "Health check: unhealthy".to_owned()
        }
        ReplicaChange::Well => "Health check: healthy".to_owned(),
    };
    let event = match (status, phase) {
        (Some(_), _) => EventType::HealthCheck,
        (None, Some(phase)) => EventType::of_phase_start(phase),
        (None, None) => EventType::PostDeploy,
    };
    let level = match status {
        Some(HealthStatus::Healthy) => Level::Info,
        _ => Level::Warn,
    };
    tracing::info!(app.name = %of.app, service = change.service, replica = change.slot, "{message}");
    let source = LogSource {
        kind: match deployment {
            Some(_) => SourceType::Deployment,
            None => SourceType::System,
        },
        container_name: of.app.to_string(),
        service_id: Some(change.service),
        node_id: change.node_id,
        task_id: Some(change.task_id),
        stream: None,
    };
    let metadata = LogMetadata {
        deployment_id: deployment.map(|(deployment, _)| deployment.id.to_string()),
        phase,
        environment: Some(of.environment.to_string()),
        release: Some(of.release.0),
        health_status: status,
        replicas: status.map(|_| change.healthy),
        fields,
        ..LogMetadata::new(event, of.app.as_str())
    };
    let entry = LogEntry::new(px.now(), random_u64(), level, message, source, metadata);
    px.parts().journal.record(entry);
}

/// The phase of a deployment that a change belongs to, if it does: those of the new release do, and all
/// while traffic moves.
fn story_of(deployment: &Deployment, change: &Change) -> Option<PhaseName> {
    let phase = match &deployment.state {
        State::Running { phase } => *phase,
        State::Returning { .. } => PhaseName::Deploy,
        _ => return None,
    };
    let moves = matches!(phase, PhaseName::Deploy | PhaseName::PostDeploy);
    let is_new = deployment.release == Some(change.of.release);
    (moves || is_new).then_some(if moves { phase } else { PhaseName::Deploy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_keeps_changing_is_told_of_in_part() {
        let mut told = Told::new();
        let at = OffsetDateTime::UNIX_EPOCH;
        for _ in 0..MAX_IN_WINDOW {
            assert_eq!(may_tell(&mut told, "a", at), Some(0));
        }
        assert_eq!(may_tell(&mut told, "a", at), None);
        assert_eq!(may_tell(&mut told, "a", at + Duration::SECOND), None);
        assert_eq!(may_tell(&mut told, "b", at), Some(0));
        assert_eq!(may_tell(&mut told, "a", at + WINDOW), Some(2));
        assert_eq!(may_tell(&mut told, "a", at + WINDOW * 3), Some(0));
    }
}
