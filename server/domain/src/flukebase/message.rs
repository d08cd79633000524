//! What is told `FlukeBase`: what waits for it in the store, in the order in which it happened.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::{Feature, ProjectId, RemoteEnvironment, TaskStatus, TaskUpdate};
use crate::deployment::{Deployment, DeploymentId, DeploymentSummary, State, changes_between};
use crate::diagnosis::{Cause, Diagnosis, tame};
use crate::names::{AppName, EnvironmentName};
use crate::webhook::pause_after;

/// Messages that may wait; what comes on top is dropped, and shown as that.
pub const MAX_WAITING: u32 = 10_000;
/// How long a message is tried.
const GIVE_UP_AFTER: Duration = Duration::days(7);
/// How often a message is tried that the server fails on although it is well otherwise.
const MAX_FAULTS: u32 = 10;
/// Longest text of a note or lesson, in characters.
const MAX_TEXT: usize = 2_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// A deployment has come to another status.
    Task(TaskNews),
    Lesson(Lesson),
    /// A deployment has taken the project's variables.
    Synced {
        deployment: DeploymentId,
        environment: RemoteEnvironment,
    },
    /// The end of a deployment, for servers that have the planned route.
    Ended {
        summary: Value,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskNews {
    pub deployment: DeploymentId,
    pub app: AppName,
    pub environment: EnvironmentName,
    pub version: Option<String>,
    pub image: Option<String>,
    pub status: TaskStatus,
    /// What happened, ending in a mark by which it is known again.
    pub note: Option<String>,
}

impl TaskNews {
    pub fn task_id(&self) -> String {
        format!("DEPLOY-{}", self.deployment)
    }

    pub fn description(&self) -> String {
        let what = self.version.as_deref().or(self.image.as_deref());
        let app = &self.app;
        let mut text = match what {
            Some(version) => format!("Deploy {app} {version}"),
            None => format!("Deploy {app}"),
        };
        if !self.environment.is_production() {
            // Writing to a String cannot fail.
            let _ = write!(text, " to {}", self.environment);
        }
        tame(&text, 300)
    }

    /// `page`: where people see the deployment.
    pub fn update(&self, page: &str) -> TaskUpdate {
        let app = self.app.to_string();
        let mut tags = vec!["deployment", "flukedeploy", app.as_str()];
        if self.status == TaskStatus::Blocked {
            tags.push("deploy-failed");
        }
        TaskUpdate {
            status: Some(self.status),
            tags: Some(tags.into_iter().map(str::to_owned).collect()),
            note: self.note.clone(),
            artifact_path: self.image.clone(),
            remote_url: Some(page.to_owned()),
            version: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LessonKind {
    Fact,
    Gotcha,
}

/// What a deployment taught.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    pub memory_type: LessonKind,
    pub deployment: DeploymentId,
    pub app: AppName,
    pub key: String,
    pub content: String,
}

impl Lesson {
    /// A failure is one, and so is what came after a failure and went well.
    pub fn of(deployment: &Deployment, before: Option<&Deployment>) -> Option<Self> {
        let (app, environment) = (&deployment.app, &deployment.environment);
        let what = what(deployment);
        let (memory_type, code, content) = match (&deployment.state, before.map(|it| &it.state)) {
            (State::Failed { diagnosis } | State::RolledBack { diagnosis, .. }, _) => {
                if matches!(diagnosis.code, Cause::Cancelled | Cause::Superseded) {
                    return None;
                }
                let mut content = format!(
                    "Deploying {what} to {environment} failed in {}: {} ({}).",
                    diagnosis.phase.as_str(),
                    diagnosis.message,
                    diagnosis.code.code()
                );
                if !diagnosis.next.is_empty() {
                    let _ = write!(content, " What to try: {}.", diagnosis.next.join("; "));
                }
                (LessonKind::Gotcha, diagnosis.code, content)
            }
            (
                State::Success,
                Some(State::Failed { diagnosis } | State::RolledBack { diagnosis, .. }),
            ) => {
                let failed = before?;
                let mut changed: Vec<String> =
                    changes_between(&failed.settings, &deployment.settings)
                        .into_iter()
                        .map(|change| change.name)
                        .collect();
                if failed.image != deployment.image {
                    changed.insert(0, "image".to_owned());
                }
                let changed = if changed.is_empty() {
                    "nothing of its settings".to_owned()
                } else {
                    changed.join(", ")
                };
                let content = format!(
                    "Deploying {what} to {environment} went well after a failure ({}). What was \
                     different: {changed}.",
                    diagnosis.code.code()
                );
                (LessonKind::Fact, diagnosis.code, content)
            }
            _ => return None,
        };
        Some(Self {
            memory_type,
            deployment: deployment.id.clone(),
            app: app.clone(),
            key: format!("flukedeploy:{app}:{environment}:{}", code.code()),
            content: tame(&content, MAX_TEXT),
        })
    }
}

fn what(deployment: &Deployment) -> String {
    let app = &deployment.app;
    match &deployment.version {
        Some(version) => format!("{app} {version}"),
        None => app.to_string(),
    }
}

impl Message {
    /// What is told of a deployment that was just made.
    pub fn of_opened(deployment: &Deployment) -> Self {
        Self::Task(news(deployment, None))
    }

    /// What is told of a step, in order. `previous`: the deployment that ended in this environment
    /// before.
    pub fn of_step(
        before: &State,
        deployment: &Deployment,
        previous: Option<&Deployment>,
    ) -> Vec<Self> {
        let state = &deployment.state;
        if TaskStatus::of(before.status()) == TaskStatus::of(state.status()) {
            return Vec::new();
        }
        let mut told = vec![Self::Task(news(deployment, note(deployment)))];
        if state.is_final() {
            told.extend(Lesson::of(deployment, previous).map(Self::Lesson));
            let summary = serde_json::to_value(DeploymentSummary::from(deployment));
            told.extend(summary.ok().map(|summary| Self::Ended { summary }));
        }
        told
    }

    /// Each message has one, so that none is queued twice.
    pub fn key(&self) -> String {
        match self {
            Self::Task(news) => format!("task/{}/{}", news.deployment, news.status.as_str()),
            Self::Lesson(lesson) => format!("lesson/{}", lesson.deployment),
            Self::Synced { deployment, .. } => format!("synced/{deployment}"),
            Self::Ended { summary } => {
                let id = summary["deployment_id"].as_str().unwrap_or_default();
                format!("ended/{id}")
            }
        }
    }

    /// What it needs; `None`: the planned route.
    pub fn feature(&self) -> Option<Feature> {
        match self {
            Self::Task(_) => Some(Feature::Tasks),
            Self::Lesson(_) => Some(Feature::Memories),
            Self::Synced { .. } => Some(Feature::Variables),
            Self::Ended { .. } => None,
        }
    }

    /// Passes all text that people or programs wrote through this.
    pub fn redact(&mut self, redact: impl Fn(&mut String)) {
        match self {
            Self::Task(news) => {
                for text in [&mut news.version, &mut news.image, &mut news.note] {
                    text.iter_mut().for_each(&redact);
                }
            }
            Self::Lesson(lesson) => redact(&mut lesson.content),
            Self::Synced { .. } => {}
            Self::Ended { summary } => redact_all(summary, &redact),
        }
    }
}

fn redact_all(value: &mut Value, redact: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => redact(text),
        Value::Array(all) => all.iter_mut().for_each(|one| redact_all(one, redact)),
        Value::Object(all) => all.values_mut().for_each(|one| redact_all(one, redact)),
        _ => {}
    }
}

fn news(deployment: &Deployment, note: Option<String>) -> TaskNews {
    let image = deployment.image.as_ref();
    TaskNews {
        deployment: deployment.id.clone(),
        app: deployment.app.clone(),
        environment: deployment.environment.clone(),
        version: deployment.version.clone(),
        image: image.map(|image| image.pinned.clone()),
        status: TaskStatus::of(deployment.state.status()),
        note,
    }
}

fn note(deployment: &Deployment) -> Option<String> {
    let failed = |diagnosis: &Diagnosis| {
        format!(
            "failed in {}: {} ({})",
            diagnosis.phase.as_str(),
            diagnosis.message,
            diagnosis.code.code()
        )
    };
    let text = match &deployment.state {
        State::Success => match deployment.release {
            Some(release) => format!("release {release} serves"),
            None => "it is done".to_owned(),
        },
        State::Failed { diagnosis } => failed(diagnosis),
        State::RolledBack { diagnosis, to } => {
            format!("{}; release {to} serves again", failed(diagnosis))
        }
        _ => return None,
    };
    // One line: the server keeps a line for each note.
    let text = tame(&text, MAX_TEXT).replace(['\n', '\r'], " ");
    Some(format!("{text} [{}]", deployment.id))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    Waiting,
    Delivered,
    /// The server will never take it, or it was tried for too long.
    Refused,
    /// The token or the server has no place for it.
    Skipped,
    /// Too many waited.
    Dropped,
}

impl MessageStatus {
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Delivered,
        Self::Refused,
        Self::Skipped,
        Self::Dropped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Dropped => "dropped",
        }
    }
}

/// The first of a project's queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub sequence: i64,
    pub project: ProjectId,
    pub message: Message,
    /// Attempts that failed although the server was well.
    pub attempts: u32,
    pub due_at: OffsetDateTime,
    pub queued_at: OffsetDateTime,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    Delivered,
    Skipped {
        why: String,
    },
    /// It will never be taken.
    Refused {
        why: String,
    },
    /// The server is well otherwise, and fails on this.
    Faulty {
        why: String,
    },
    /// The server is not well, which says nothing about the message.
    Unreached {
        why: String,
    },
}

/// How a message goes on after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub status: MessageStatus,
    pub attempts: u32,
    pub next_attempt_at: Option<OffsetDateTime>,
    pub last_error: Option<String>,
}

impl Waiting {
    pub fn tried(&self, attempt: Attempt, now: OffsetDateTime, random: u64) -> Ending {
        let over = |status, why: Option<String>| Ending {
            status,
            attempts: self.attempts,
            next_attempt_at: None,
            last_error: why,
        };
        match attempt {
            Attempt::Delivered => over(MessageStatus::Delivered, None),
            Attempt::Skipped { why } => over(MessageStatus::Skipped, Some(why)),
            Attempt::Refused { why } => over(MessageStatus::Refused, Some(why)),
            Attempt::Faulty { why } => {
                let attempts = self.attempts.saturating_add(1);
                if attempts >= MAX_FAULTS {
                    return over(MessageStatus::Refused, Some(why));
                }
                Ending {
                    status: MessageStatus::Waiting,
                    attempts,
                    next_attempt_at: Some(now + pause_after(attempts, random)),
                    last_error: Some(why),
                }
            }
            Attempt::Unreached { why } => {
                if now - self.queued_at >= GIVE_UP_AFTER {
                    return over(MessageStatus::Refused, Some(why));
                }
                // The pause is the breaker's.
                Ending {
                    status: MessageStatus::Waiting,
                    attempts: self.attempts,
                    next_attempt_at: Some(now),
                    last_error: Some(why),
                }
            }
        }
    }
}
