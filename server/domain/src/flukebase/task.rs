//! The task of a deployment, and how what others did to it is kept.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::deployment::Status;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Pending,
    InProgress,
    Completed,
    Blocked,
}

impl TaskStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Blocked => "blocked",
        }
    }

    pub fn of(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Building | Status::Deploying => Self::InProgress,
            Status::Success => Self::Completed,
            // There is no word for a failure.
            Status::Failed | Status::RolledBack => Self::Blocked,
        }
    }

    /// Whether a task that is `self` may become `wanted`: what is completed stays completed, and what
    /// has begun is not put back to waiting.
    fn may_become(self, wanted: Self) -> bool {
        match self {
            Self::Completed => false,
            Self::Pending => wanted != Self::Pending,
            Self::InProgress => matches!(wanted, Self::Completed | Self::Blocked),
            Self::Blocked => wanted == Self::Completed,
        }
    }
}

/// A task as the server has it; what it does not say is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTask {
    pub task_id: String,
    /// `None`: a word that we do not know.
    pub status: Option<TaskStatus>,
    pub version: i64,
    pub tags: BTreeSet<String>,
    /// All notes, a line each.
    pub report: String,
    pub artifact_path: Option<String>,
    pub remote_url: Option<String>,
}

/// What is sent to change a task. What is `None` is not sent, so that it stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskUpdate {
    pub status: Option<TaskStatus>,
    /// All of them: the server knows no other way.
    pub tags: Option<BTreeSet<String>>,
    pub note: Option<String>,
    pub artifact_path: Option<String>,
    pub remote_url: Option<String>,
    /// The version that it was made for.
    pub version: i64,
}

impl TaskUpdate {
    /// What is left to change in a task, with everything kept that others did to it.
    pub fn merged(server: &RemoteTask, wanted: &Self) -> Self {
        let is_new = |ours: &Option<String>, theirs: &Option<String>| {
            ours.clone().filter(|ours| Some(ours) != theirs.as_ref())
        };
        let status = wanted
            .status
            .filter(|wanted| server.status.is_none_or(|is| is.may_become(*wanted)));
        let tags = wanted.tags.as_ref().and_then(|wanted| {
            let all: BTreeSet<String> = server.tags.union(wanted).cloned().collect();
            (all != server.tags).then_some(all)
        });
        let note = wanted.note.clone();
        Self {
            status,
            tags,
            // An attempt whose answer got lost had said it already.
            note: note.filter(|note| !server.report.contains(note.as_str())),
            artifact_path: is_new(&wanted.artifact_path, &server.artifact_path),
            remote_url: is_new(&wanted.remote_url, &server.remote_url),
            version: server.version,
        }
    }

    pub fn is_nothing(&self) -> bool {
        let Self {
            status,
            tags,
            note,
            artifact_path,
            remote_url,
            version: _,
        } = self;
        status.is_none()
            && tags.is_none()
            && note.is_none()
            && artifact_path.is_none()
            && remote_url.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|tag| (*tag).to_owned()).collect()
    }

    fn server(status: TaskStatus) -> RemoteTask {
        RemoteTask {
            task_id: "DEPLOY-dep-1".to_owned(),
            status: Some(status),
            version: 4,
            tags: tags(&["deployment", "by-hand"]),
            report: "- now [ann]: looked at it".to_owned(),
            artifact_path: None,
            remote_url: Some("https://example.com/elsewhere".to_owned()),
        }
    }

    #[test]
    fn what_others_did_is_kept() {
        let wanted = TaskUpdate {
            status: Some(TaskStatus::Blocked),
            tags: Some(tags(&["deployment", "deploy-failed"])),
            note: Some("failed (dep-1)".to_owned()),
            version: 2,
            ..TaskUpdate::default()
        };
        let update = TaskUpdate::merged(&server(TaskStatus::InProgress), &wanted);
        assert_eq!(update.status, Some(TaskStatus::Blocked));
        assert_eq!(
            update.tags,
            Some(tags(&["by-hand", "deploy-failed", "deployment"]))
        );
        assert_eq!((update.version, update.remote_url), (4, None));
    }

    #[test]
    fn a_completed_task_is_never_put_back() {
        let wanted = TaskUpdate {
            status: Some(TaskStatus::Blocked),
            note: Some("failed (dep-1)".to_owned()),
            ..TaskUpdate::default()
        };
        let update = TaskUpdate::merged(&server(TaskStatus::Completed), &wanted);
        assert_eq!(update.status, None);
        assert!(update.note.is_some());
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let mut found = server(TaskStatus::Blocked);
        found.report.push_str("\n- now [fd]: failed (dep-1)");
        let wanted = TaskUpdate {
            status: Some(TaskStatus::Blocked),
            note: Some("failed (dep-1)".to_owned()),
            ..TaskUpdate::default()
        };
        assert!(TaskUpdate::merged(&found, &wanted).is_nothing());
    }

    const ALL: [TaskStatus; 4] = [
        TaskStatus::Pending,
        TaskStatus::InProgress,
        TaskStatus::Completed,
        TaskStatus::Blocked,
    ];

    proptest! {
        #[test]
        fn a_merge_that_was_applied_has_nothing_left(is in 0usize..4, wanted in 0usize..4, tag in "[a-z]{1,3}") {
            let mut server = server(ALL[is]);
            let wanted = TaskUpdate {
                status: Some(ALL[wanted]),
                tags: Some(tags(&[&tag])),
                note: Some("a note".to_owned()),
                artifact_path: Some("image".to_owned()),
                ..TaskUpdate::default()
            };
            let update = TaskUpdate::merged(&server, &wanted);
            server.status = update.status.or(server.status);
            server.tags = update.tags.unwrap_or(server.tags);
            server.report.extend(update.note);
            server.artifact_path = update.artifact_path.or(server.artifact_path);
            prop_assert!(TaskUpdate::merged(&server, &wanted).is_nothing());
        }
    }
}
