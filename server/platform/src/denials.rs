//! What was refused, for the audit trail. A refusal changes nothing, so it has a transaction of its
//! own; and who asks must not wait for it, nor be able to fill the trail.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::{AuditEntry, Outcome};
use tokio::sync::mpsc;

use crate::platform::Platform;

/// Refusals that wait to be written.
const WAITING: usize = 1_024;
/// The same refusal is written once in so long.
const AGAIN: Duration = Duration::from_mins(1);
/// Different refusals that are remembered.
const REMEMBERED: usize = 10_000;

/// Who, what, where, and what was missing.
type Key = (String, Action, String, String);

struct Denied {
    actor: Actor,
    action: Action,
    resource: String,
    /// What is missing, for a sentence that goes on from "needs".
    needed: String,
}

pub(crate) struct Denials {
    sender: mpsc::Sender<Denied>,
    receiver: Mutex<Option<mpsc::Receiver<Denied>>>,
    recent: Mutex<HashMap<Key, Instant>>,
}

impl Default for Denials {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            recent: Mutex::default(),
        }
    }
}

impl Denials {
    pub(crate) fn note(
        &self,
        actor: &Actor,
        action: Action,
        resource: Resource<'_>,
        needed: String,
    ) {
        let resource = match resource {
            Resource::System | Resource::Shown => "system".to_owned(),
            Resource::App(app) | Resource::SomeOf(app) => format!("app:{app}"),
            Resource::Project(name, _) => format!("project:{name}"),
            Resource::Environment(app, environment) => format!("app:{app}/{environment}"),
        };
        let key = (actor.id.clone(), action, resource.clone(), needed.clone());
        if !self.is_new(key) {
            return;
        }
        let denied = Denied {
            actor: actor.clone(),
            action,
            resource,
            needed,
        };
        if self.sender.try_send(denied).is_err() {
            tracing::warn!("more was refused at once than could be put into the audit trail");
        }
    }

    fn is_new(&self, key: Key) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.retain(|_, at| at.elapsed() < AGAIN);
        }
        if recent.len() >= REMEMBERED {
            return false;
        }
        let last = recent.insert(key, Instant::now());
        last.is_none_or(|at| at.elapsed() >= AGAIN)
    }
}

/// Writes them down. Ends when the platform stops, with what waits by then.
pub(crate) async fn run(px: Platform) {
    let receiver = px
        .parts()
        .denials
        .receiver
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(mut receiver) = receiver else {
        return;
    };
    loop {
        let denied = tokio::select! {
            biased;
            denied = receiver.recv() => denied,
            () = px.stopping().cancelled() => receiver.try_recv().ok(),
        };
        let Some(denied) = denied else {
            return;
        };
        let summary = format!(
            "was refused: {} needs {}",
            denied.action.as_str(),
            denied.needed
        );
        let now = px.now();
        let mut entry =
            AuditEntry::new(now, &denied.actor, denied.action, denied.resource, summary);
        entry.outcome = Outcome::Denied;
        if let Err(error) = px.parts().store.note(&entry).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a refusal could not be put into the audit trail"
            );
        }
    }
}
