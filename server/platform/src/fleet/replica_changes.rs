//! What is to be told of single replicas: each change once, whatever the probes say in between.

use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::{Release, ReleaseNo};

use super::Life;
use crate::ports::{Task, TaskState};

/// Whose service it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Of {
    pub(crate) app: AppName,
    pub(crate) environment: EnvironmentName,
    pub(crate) release: ReleaseNo,
}

impl Of {
    pub(super) fn release(release: &Release) -> Self {
        Self {
            app: release.app.clone(),
            environment: release.environment.clone(),
            release: release.number,
        }
    }
}

/// What became of one replica of a watched service.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) service: String,
    pub(crate) of: Of,
    pub(crate) slot: u32,
    pub(crate) task_id: String,
    pub(crate) node_id: Option<String>,
    /// Replicas of the service that are well now.
    pub(crate) healthy: u32,
    pub(crate) what: ReplicaChange,
}

#[derive(Debug)]
pub(crate) enum ReplicaChange {
    /// It was well, and is not any more.
    Unwell { why: String },
    /// The one in its place is well again.
    Well,
    /// Nobody told it to.
    Ended { exit_code: Option<i64>, why: String },
}

impl Life {
    /// What is to be told of the replicas, now that the tasks are others than `before`.
    pub(super) fn what_became(
        &mut self,
        service: &str,
        before: &[Task],
        were_healthy: &[String],
    ) -> Vec<Change> {
        let awaited = self.watched.as_ref().is_some_and(|watched| watched.awaited);
        let mut changes = Vec::new();
        for task in &self.tasks {
            let former = before.iter().find(|former| former.id == task.id);
            // What was told to stop may end as it likes.
            let is_new = former.is_none_or(|former| former.wanted && former.state.may_run());
            let was_well = were_healthy.contains(&task.id);
            if is_new && self.ended_by_itself(task) && (was_well || !awaited) {
                let what = ReplicaChange::Ended {
                    exit_code: task.exit_code,
                    why: why_ended(task),
                };
                changes.extend(self.change(service, task, what));
            }
        }
        let lost: Vec<Task> = before
            .iter()
            .filter(|task| were_healthy.contains(&task.id) && !self.healthy.contains_key(&task.id))
            .cloned()
            .collect();
        for task in lost {
            let now = self.tasks.iter().find(|now| now.id == task.id);
            let why = match now.filter(|now| self.ended_by_itself(now)) {
                Some(ended) => why_ended(ended),
                None if self.is_replaced(&task) => {
                    "Swarm has put another one in its place".to_owned()
                }
                // It was told to stop: there are to be fewer.
                None => continue,
            };
            if self.unwell.insert(task.slot) {
                let what = ReplicaChange::Unwell { why };
                changes.extend(self.change(service, &task, what));
            }
        }
        changes
    }

    fn is_replaced(&self, task: &Task) -> bool {
        let mut others = self.tasks.iter().filter(|other| other.id != task.id);
        others.any(|other| other.slot == task.slot && other.wanted)
    }

    /// How a container ends that was told to stop says nothing: Swarm calls that failed too where its
    /// exit code is not 0. In the place of one that ended by itself there is to be another.
    fn ended_by_itself(&self, task: &Task) -> bool {
        matches!(
            task.state,
            TaskState::Completed | TaskState::Failed | TaskState::Rejected
        ) && (task.wanted || self.is_replaced(task))
    }

    /// A replica that was well has failed its probe.
    pub(super) fn unwell(&mut self, service: &str, task: &str, why: String) -> Option<Change> {
        let task = self.tasks.iter().find(|found| found.id == task)?.clone();
        let is_new = self.unwell.insert(task.slot);
        let change = self.change(service, &task, ReplicaChange::Unwell { why });
        change.filter(|_| is_new)
    }

    /// A replica is well.
    pub(super) fn well(&mut self, service: &str, task: &str) -> Option<Change> {
        let task = self.tasks.iter().find(|found| found.id == task)?.clone();
        let was_unwell = self.unwell.remove(&task.slot);
        let change = self.change(service, &task, ReplicaChange::Well);
        change.filter(|_| was_unwell)
    }

    fn change(&self, service: &str, task: &Task, what: ReplicaChange) -> Option<Change> {
        Some(Change {
            service: service.to_owned(),
            of: self.watched.as_ref()?.of.clone(),
            slot: task.slot,
            task_id: task.id.clone(),
            node_id: task.node_id.clone(),
            healthy: u32::try_from(self.healthy.len()).unwrap_or(u32::MAX),
            what,
        })
    }
}

fn why_ended(task: &Task) -> String {
    let words = task.message.as_deref().map(|words| tame(words, 200));
    match (task.exit_code, words) {
        (Some(code), Some(words)) => format!("exit code {code} ({words})"),
        (Some(code), None) => format!("exit code {code}"),
        (None, Some(words)) => words,
        (None, None) => "the engine does not say why".to_owned(),
    }
}
