use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::flukebase::{
    Binding, Capability, Ending, FlukebaseUrl, Lesson, Message, MessageStatus, PlannedRoute,
    ProjectId, RemoteEnvironment, RemoteTask, RemoteVariable, TaskNews, TaskUpdate, Waiting,
};
use flukedeploy_domain::names::AppName;
use serde_json::Value;
use thiserror::Error;
use time::OffsetDateTime;

use super::store::StoreError;
use crate::secret::Secret;

/// Where it is, and as whom it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub url: FlukebaseUrl,
    pub token: Secret,
}

/// What a token is good for, as the server says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFacts {
    pub prefix: String,
    pub name: String,
    pub scopes: BTreeSet<String>,
    pub expires_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteProject {
    pub id: ProjectId,
    pub name: String,
}

/// How this server introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCard {
    pub agent_id: String,
    pub version: String,
}

/// The API of `FlukeBase`. Every call is bounded in time (10 s) and in what is read of the answer.
/// Nothing that a server answers makes a call panic, wait longer, or connect elsewhere; redirects are
/// never followed.
#[async_trait]
pub trait Flukebase: Send + Sync + 'static {
    async fn validate(&self, access: &Access) -> Result<TokenFacts, FlukebaseError>;
    async fn project(
        &self,
        access: &Access,
        project: ProjectId,
    ) -> Result<RemoteProject, FlukebaseError>;
    /// `repository`: `owner/repo`.
    async fn find_project(
        &self,
        access: &Access,
        repository: &str,
    ) -> Result<Option<RemoteProject>, FlukebaseError>;

    /// `None`: there is no such task.
    async fn task(
        &self,
        access: &Access,
        project: ProjectId,
        task_id: &str,
    ) -> Result<Option<RemoteTask>, FlukebaseError>;
    async fn create_task(
        &self,
        access: &Access,
        project: ProjectId,
        news: &TaskNews,
        page: &str,
    ) -> Result<RemoteTask, FlukebaseError>;
    /// # Errors
    /// [`FlukebaseError::Conflict`] if somebody else changed it since `update.version`.
    async fn update_task(
        &self,
        access: &Access,
        project: ProjectId,
        task_id: &str,
        update: &TaskUpdate,
    ) -> Result<RemoteTask, FlukebaseError>;

    async fn variables(
        &self,
        access: &Access,
        project: ProjectId,
        environment: RemoteEnvironment,
    ) -> Result<Vec<RemoteVariable>, FlukebaseError>;
    /// Records that the variables were applied.
    async fn note_sync(
        &self,
        access: &Access,
        project: ProjectId,
        environment: RemoteEnvironment,
    ) -> Result<(), FlukebaseError>;

    async fn remember(
        &self,
        access: &Access,
        project: ProjectId,
        lesson: &Lesson,
    ) -> Result<(), FlukebaseError>;

    /// Answers the id under which its heart beats.
    async fn register_agent(
        &self,
        access: &Access,
        project: ProjectId,
        card: &AgentCard,
    ) -> Result<String, FlukebaseError>;
    async fn heart_beat(
        &self,
        access: &Access,
        project: ProjectId,
        id: &str,
    ) -> Result<(), FlukebaseError>;

    /// Whether the server has a planned route; asked with an empty object, which changes nothing.
    async fn probe(
        &self,
        access: &Access,
        route: PlannedRoute,
    ) -> Result<Capability, FlukebaseError>;
    /// The planned route for the end of a deployment.
    async fn tell_end(&self, access: &Access, summary: &Value) -> Result<(), FlukebaseError>;

    /// Listens to what changes in these projects until the connection ends.
    async fn listen(
        &self,
        access: &Access,
        projects: &[ProjectId],
        heard: &(dyn Fn(LiveEvent) + Send + Sync),
    ) -> LiveEnd;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveEvent {
    /// The server accepted us.
    Joined { project: ProjectId },
    /// A task was made or changed, by whomever.
    TaskChanged { project: ProjectId },
}

/// Why live news ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveEnd {
    /// It wants none of us: not worth asking again soon.
    Rejected(String),
    /// It was there and went, or could not be reached.
    Broken(String),
}

/// What the server said is shortened and has no control characters; no token is ever in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlukebaseError {
    /// Not now: it is away, slow, busy, or asks for a pause.
    #[error("{why}")]
    NotNow { why: String, wait: Option<Duration> },
    #[error("the token is invalid or has expired")]
    TokenRefused,
    #[error("it refused: {why}")]
    Forbidden { why: String },
    #[error("it knows nothing of that")]
    NotFound,
    #[error("the task was changed by somebody else")]
    Conflict(Box<RemoteTask>),
    /// It will never take this.
    #[error("it answered {status}: {why}")]
    Refused { status: u16, why: String },
    /// It failed, or what it answered makes no sense.
    #[error("{why}")]
    Faulty { why: String },
}

/// What was set by hand; `None`: as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlukebaseSettings {
    pub active: Option<bool>,
    pub url: Option<FlukebaseUrl>,
    pub token: Option<Secret>,
    pub default_project: Option<ProjectId>,
}

/// What follows from settings and configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlukebaseEffect {
    pub is_on: bool,
    /// The project of apps that are bound to none.
    pub other_apps: Option<ProjectId>,
}

/// How many messages there are of each kind, and the oldest that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    pub by_status: BTreeMap<MessageStatus, u64>,
    pub oldest_waiting_at: Option<OffsetDateTime>,
    /// Of the oldest that waits, or else of the newest that was refused.
    pub last_error: Option<String>,
}

/// A project's variables, and when it said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedVariables {
    pub variables: Vec<RemoteVariable>,
    pub fetched_at: OffsetDateTime,
}

/// What the store keeps of `FlukeBase`. Steps of deployments are queued by the methods of
/// [`Store`](super::Store) that store them, in the same transaction.
#[async_trait]
pub trait FlukebaseMemory: Send + Sync + 'static {
    async fn flukebase_settings(&self) -> Result<FlukebaseSettings, StoreError>;
    /// At a start, without an audit entry: nobody changed anything.
    async fn put_flukebase(
        &self,
        settings: &FlukebaseSettings,
        effect: FlukebaseEffect,
        bindings: &BTreeMap<AppName, Option<Binding>>,
        audit: Option<&AuditEntry>,
    ) -> Result<(), StoreError>;
    async fn flukebase_bindings(&self) -> Result<BTreeMap<AppName, Binding>, StoreError>;

    /// Puts a message at the end of a project's queue, unless it is there already.
    async fn queue_flukebase(
        &self,
        project: ProjectId,
        message: &Message,
        at: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// The first of each project's queue, due or not: no other may be sent before it.
    async fn flukebase_waiting(&self) -> Result<Vec<Waiting>, StoreError>;
    async fn end_flukebase(
        &self,
        sequence: i64,
        ending: &Ending,
        at: OffsetDateTime,
    ) -> Result<(), StoreError>;
    async fn flukebase_counts(&self) -> Result<OutboxCounts, StoreError>;
    /// Removes messages that are over and were queued before this.
    async fn expire_flukebase(&self, before: OffsetDateTime) -> Result<u64, StoreError>;

    async fn keep_flukebase_variables(
        &self,
        project: ProjectId,
        environment: RemoteEnvironment,
        variables: &[RemoteVariable],
        at: OffsetDateTime,
    ) -> Result<(), StoreError>;
    async fn flukebase_variables(
        &self,
        project: ProjectId,
        environment: RemoteEnvironment,
    ) -> Result<Option<CachedVariables>, StoreError>;
    async fn forget_flukebase_variables(&self) -> Result<(), StoreError>;
}
