//! How the platform itself is, answered from memory.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::issue::{IssueKind, Severity};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata, SYSTEM};

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::EngineInfo;
use crate::views::SystemView;

/// What the last look at the engine saw.
#[derive(Default)]
pub(crate) struct EngineStatus {
    last: Mutex<Seen>,
    /// Swarm, network and ingress were made sure of once.
    prepared: AtomicBool,
    /// Nodes that were not ready when it was last looked.
    down: Mutex<BTreeSet<String>>,
}

#[derive(Default, Clone)]
struct Seen {
    info: Option<EngineInfo>,
    problem: Option<String>,
}

impl EngineStatus {
    pub(crate) fn saw(&self, result: &Result<EngineInfo, crate::ports::EngineError>) {
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok(info) => {
                *last = Seen {
                    info: Some(info.clone()),
                    problem: None,
                }
            }
            Err(error) => last.problem = Some(error.to_string()),
        }
    }

    /// Nodes that went down and that came back since the last call.
    fn node_changes(&self, info: &EngineInfo) -> (Vec<String>, Vec<String>) {
        let now: BTreeSet<String> = info.down_nodes.iter().cloned().collect();
        let mut before = self
            .down
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let gone = now.difference(&before).cloned().collect();
        let back = before.difference(&now).cloned().collect();
        *before = now;
        (gone, back)
    }

    pub(crate) fn is_prepared(&self) {
        self.prepared.store(true, Ordering::Release);
    }

    fn get(&self) -> Seen {
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// An entry about the platform itself.
pub(crate) fn note(px: &Platform, level: Level, text: String) {
    let metadata = LogMetadata::new(EventType::PostDeploy, SYSTEM);
    px.parts().journal.note(level, text, metadata);
}

/// Tells of nodes that are not as they were at the last look.
pub(crate) fn tell_nodes(px: &Platform, info: &EngineInfo) {
    let (gone, back) = px.parts().engine_status.node_changes(info);
    for node in gone {
        let text = format!("Node {node} is not ready: Swarm starts its replicas elsewhere");
        note(px, Level::Warn, text);
    }
    for node in back {
        note(
            px,
            Level::Info,
            format!("Node {node} is ready again, or has left"),
        );
    }
}

/// Nothing but yes or no: the database answers, the engine is a Swarm manager, network and ingress
/// were made sure of. (Whether the ingress is connected this moment is told by [`system_view`]: it
/// serves without us.) Needs no token.
pub async fn is_ready(px: &Platform) -> bool {
    let seen = px.parts().engine_status.get();
    seen.problem.is_none()
        && seen
            .info
            .is_some_and(|info| info.swarm_active && info.is_manager)
        && px.parts().engine_status.prepared.load(Ordering::Acquire)
        && !px.stopping().is_cancelled()
        && px.parts().store.ping().await.is_ok()
}

pub async fn system_view(px: &Platform, actor: &Actor) -> Result<SystemView, Error> {
    authorise(px, actor, Action::ViewSystem, Resource::System)?;
    let seen = px.parts().engine_status.get();
    let ingresses = px.parts().traffic.connected();
    let mut problems = Vec::new();
    match (&seen.info, &seen.problem) {
        (_, Some(problem)) => problems.push(problem.clone()),
        (None, None) => problems.push("the Docker engine was not looked at yet".to_owned()),
        (Some(info), None) if !info.swarm_active => {
            problems.push("Swarm is not initialised on this engine".to_owned());
        }
        (Some(_), None) => {}
    }
    problems.extend(px.parts().drift.all());
    if ingresses == 0 {
        problems.push("no ingress is connected: routes cannot be changed now".to_owned());
    }
    if let Some(trouble) = px.parts().journal.trouble() {
        problems.push(format!(
            "log entries cannot be stored now, and are tried again: {trouble}"
        ));
    }
    if let Err(error) = px.parts().store.ping().await {
        problems.push(error.to_string());
    }
    // Grave ones that are not told above; the rest is told by `health::issues`.
    let untold = [
        IssueKind::DiskFull,
        IssueKind::MemoryHigh,
        IssueKind::ManagerQuorum,
    ];
    let issues = px.parts().watch.issues();
    let grave = issues
        .iter()
        .filter(|issue| issue.severity == Severity::Critical && untold.contains(&issue.kind));
    problems.extend(grave.map(|issue| issue.message.clone()));
    Ok(SystemView {
        version: px.config().version.to_owned(),
        instance: px.config().instance.to_string(),
        engine_answers: seen.problem.is_none() && seen.info.is_some(),
        engine_version: seen.info.as_ref().map(|info| info.version.clone()),
        engine_api_version: seen.info.as_ref().map(|info| info.api_version.clone()),
        nodes: seen.info.as_ref().map_or(0, |info| info.nodes),
        ingresses: u32::try_from(ingresses).unwrap_or(u32::MAX),
        apps: px.parts().store.app_names().await?.len() as u64,
        deployments_active: px.parts().store.unfinished_deployments().await?.len() as u64,
        started_at: px.parts().started_at,
        problems,
    })
}

/// Entries sent to live readers since the start.
pub fn entries_broadcast(px: &Platform) -> u64 {
    px.parts().journal.broadcast_count()
}
