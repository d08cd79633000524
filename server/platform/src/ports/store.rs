use std::collections::BTreeMap;

use async_trait::async_trait;
use flukedeploy_domain::access::{Grant, GrantRecord, Limits, Subject, Tier};
use flukedeploy_domain::app::{
    App, Environment, Probation, Project, RunMode, Settings, Standby, Variables,
};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::deployment::{Deployment, DeploymentId, Queue, Wishes};
use flukedeploy_domain::forwarder::{ForwardProgress, Forwarder, ForwarderId};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::names::{AppName, EnvironmentName, ProjectName};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::webhook::{Delivery, DeliveryId, Events, Webhook, WebhookId};
use thiserror::Error;
use time::OffsetDateTime;

use super::approvals::Approvals;
use super::flukebase::FlukebaseMemory;
use super::people::People;

/// The control plane's memory, in intentions: each method is one transaction, and a change of
/// state carries its audit entry.
#[async_trait]
pub trait Store: People + Approvals + FlukebaseMemory {
    /// A number that rises with every change, so that what was read can be kept until then.
    fn changes(&self) -> u64;

    // Apps and environments.

    /// All apps by name, each with its environments and newest deployment per environment.
    async fn app_overviews(&self) -> Result<Vec<AppOverview>, StoreError>;
    async fn app_overview(&self, app: &AppName) -> Result<Option<AppOverview>, StoreError>;
    async fn app_names(&self) -> Result<Vec<AppName>, StoreError>;
    async fn environment(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Option<Environment>, StoreError>;
    async fn environments(&self) -> Result<Vec<Environment>, StoreError>;
    /// # Errors
    /// [`StoreError::Exists`] if the name, or one of the domains, is taken.
    async fn create_app(
        &self,
        app: &App,
        environment: &Environment,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// # Errors
    /// [`StoreError::Stale`] if the settings are no longer at `seen_version`;
    /// [`StoreError::Exists`] if a domain belongs to another app.
    async fn change_settings(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        seen_version: u64,
        settings: &Settings,
        audit: &AuditEntry,
    ) -> Result<Environment, StoreError>;
    /// Removes the app with its environments, releases and deployments (logs stay until they
    /// expire). Absent is [`StoreError::Missing`].
    async fn delete_app(&self, app: &AppName, audit: &AuditEntry) -> Result<(), StoreError>;

    /// # Errors
    /// [`StoreError::Missing`] without the app; [`StoreError::Exists`] if the name, its address or
    /// a domain is taken, or a former one of that name has left volumes that are not gone yet.
    async fn create_environment(
        &self,
        environment: &Environment,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// When it goes by itself; `None`: never.
    async fn set_expiry(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        expires_at: Option<OffsetDateTime>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// Removes an environment with its releases and deployments; its volumes are
    /// [`Store::leftover_volumes`] from the same moment on. With `over_at`, only if its time is
    /// over by then. False if nothing was removed; production never is.
    async fn delete_environment(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        over_at: Option<OffsetDateTime>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Volumes of environments that are no more.
    async fn leftover_volumes(&self) -> Result<Vec<LeftoverVolume>, StoreError>;
    /// The volume is gone.
    async fn forget_leftover_volume(&self, volume: &LeftoverVolume) -> Result<(), StoreError>;

    // Deployments.

    /// Stores a new deployment in state pending. With an idempotency key of the same actor that
    /// was seen within 24 h: the deployment of that time, if `request_hash` is the same. With
    /// [`Queue::Supersede`], unfinished ones of the environment are asked to stop in its favour.
    ///
    /// # Errors
    /// [`StoreError::KeyReused`] if the key came with another request.
    async fn open_deployment(
        &self,
        deployment: &Deployment,
        queue: Queue,
        idempotency: Option<(&str, &str)>,
        audit: &AuditEntry,
    ) -> Result<Opened, StoreError>;
    /// What an idempotency key of this actor made within 24 h before `now`, if anything.
    ///
    /// # Errors
    /// [`StoreError::KeyReused`] if the key came with another request.
    async fn replayed(
        &self,
        actor_id: &str,
        idempotency: (&str, &str),
        now: OffsetDateTime,
    ) -> Result<Option<Deployment>, StoreError>;
    async fn deployment(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError>;
    /// Stores what a step changed. `cancel_requested` and `wishes` are left as the store has them.
    ///
    /// # Errors
    /// [`StoreError::CancelRequested`] for a success after [`Store::request_cancel`] said yes: one
    /// of the two must be true.
    async fn save_deployment(&self, deployment: &Deployment) -> Result<(), StoreError>;
    /// Sets the flag; false if the deployment is final already.
    async fn request_cancel(
        &self,
        id: &DeploymentId,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Replaces the wishes; false if the deployment is final already.
    async fn set_wishes(
        &self,
        id: &DeploymentId,
        wishes: &Wishes,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Newest first.
    async fn deployments_of(
        &self,
        app: &AppName,
        environment: Option<&EnvironmentName>,
        limit: u32,
    ) -> Result<Vec<Deployment>, StoreError>;
    /// Not final, oldest first, over all apps.
    async fn unfinished_deployments(&self) -> Result<Vec<Deployment>, StoreError>;
    /// Newest first, over all apps.
    async fn recent_deployments(&self, limit: u32) -> Result<Vec<Deployment>, StoreError>;
    /// Number of final deployments.
    async fn completed_count(&self) -> Result<u64, StoreError>;
    async fn completed_count_of(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<u64, StoreError>;

    // Releases.

    /// Gives the release of this deployment its number. Called twice for the same deployment it
    /// returns the same release.
    async fn create_release(&self, release: &NewRelease) -> Result<Release, StoreError>;
    async fn release(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        number: ReleaseNo,
    ) -> Result<Option<Release>, StoreError>;
    /// Newest first.
    async fn releases(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        limit: u32,
    ) -> Result<Vec<Release>, StoreError>;
    /// Makes a release the one that serves (and marks it healthy), or none, together with what
    /// follows from that.
    async fn switch_release(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        switch: &Switch,
    ) -> Result<(), StoreError>;
    /// The standby is over, if it still is this release.
    async fn end_standby(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        release: ReleaseNo,
    ) -> Result<(), StoreError>;
    /// The probation of this deployment is over; with a reason, its release is withdrawn.
    async fn end_probation(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        deployment: &DeploymentId,
        withdrawn: Option<&str>,
    ) -> Result<(), StoreError>;
    async fn set_mode(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        mode: RunMode,
    ) -> Result<(), StoreError>;
    /// Changes the number of replicas of a release, and of the settings for those that come.
    async fn scale(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        scale: Scale,
    ) -> Result<(), StoreError>;

    // People and tokens.

    async fn has_accounts(&self) -> Result<bool, StoreError>;
    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError>;
    async fn account(&self, id: &str) -> Result<Option<Account>, StoreError>;
    /// # Errors
    /// [`StoreError::Exists`] if there is an account already (of that name, or any if `first`).
    async fn create_account(
        &self,
        account: &Account,
        first: bool,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    async fn set_password(
        &self,
        account_id: &str,
        password_hash: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError>;
    /// Newest first, revoked ones included.
    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError>;
    /// With what it is granted.
    async fn create_token(
        &self,
        token: &StoredToken,
        grants: &[GrantRecord],
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// False if there is no such token or it was revoked before.
    async fn revoke_token(
        &self,
        id: &str,
        at: OffsetDateTime,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// By kind and host.
    async fn credentials(&self) -> Result<Vec<Credential>, StoreError>;
    /// Takes the place of one of the same kind and host.
    async fn put_credential(
        &self,
        credential: &Credential,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// False if there was none.
    async fn delete_credential(
        &self,
        kind: CredentialKind,
        host: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Stores a token with what it is granted in the place of another, which is good until then at
    /// most; an entry for each.
    async fn replace_token(
        &self,
        new: &StoredToken,
        grants: &[GrantRecord],
        old: &str,
        until: OffsetDateTime,
        audit: [&AuditEntry; 2],
    ) -> Result<(), StoreError>;
    /// Deployments that were begun by any of these tokens since then.
    async fn deployments_begun(
        &self,
        tokens: &[String],
        since: OffsetDateTime,
    ) -> Result<u64, StoreError>;

    // Rights.

    /// What somebody was granted, projects taken apart into the apps that are in them now.
    async fn rights_of(&self, subject: &Subject) -> Result<Vec<Grant>, StoreError>;
    /// Everything that was granted, the newest first.
    async fn grants(&self) -> Result<Vec<GrantRecord>, StoreError>;
    /// Takes the place of what the subject had there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no such app, project or subject.
    async fn put_grant(&self, grant: &GrantRecord, audit: &AuditEntry) -> Result<(), StoreError>;
    /// False if there is none of that id.
    async fn delete_grant(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError>;
    /// By name.
    async fn projects(&self) -> Result<Vec<ProjectName>, StoreError>;
    /// Puts an app into a project, which is made if there is none of that name, or (`None`) into
    /// none. A project without apps goes.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no such app.
    async fn set_project(
        &self,
        app: &AppName,
        project: Option<&ProjectName>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// By name, with what they share.
    async fn project_list(&self) -> Result<Vec<Project>, StoreError>;
    async fn project(&self, name: &ProjectName) -> Result<Option<Project>, StoreError>;
    /// The one that an app is in.
    async fn project_of(&self, app: &AppName) -> Result<Option<Project>, StoreError>;
    /// # Errors
    /// [`StoreError::Missing`] without the project; [`StoreError::Stale`] if what it shares is no
    /// longer at `seen_version`.
    async fn share_variables(
        &self,
        name: &ProjectName,
        seen_version: u64,
        variables: &Variables,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// The project of each app that is in one.
    async fn project_members(&self) -> Result<BTreeMap<AppName, ProjectName>, StoreError>;

    async fn touch_token(&self, id: &str, at: OffsetDateTime) -> Result<(), StoreError>;

    // Webhooks. Events are queued by the methods above, in the transaction of what they tell about.

    /// Oldest first.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;
    async fn webhook(&self, id: &WebhookId) -> Result<Option<Webhook>, StoreError>;
    /// # Errors
    /// [`StoreError::Exists`] if there are as many as there may be.
    async fn create_webhook(&self, webhook: &Webhook, audit: &AuditEntry)
    -> Result<(), StoreError>;
    /// False if there is none. What waits for one that is turned off is dropped.
    async fn change_webhook(
        &self,
        id: &WebhookId,
        active: bool,
        events: &Events,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// False if there was none. Its deliveries go with it.
    async fn delete_webhook(&self, id: &WebhookId, audit: &AuditEntry) -> Result<bool, StoreError>;
    /// Newest place in the queue first.
    async fn deliveries(
        &self,
        webhook: &WebhookId,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError>;
    /// Puts a test at the end of a webhook's queue.
    async fn queue_test(
        &self,
        webhook: &WebhookId,
        audit: &AuditEntry,
    ) -> Result<Delivery, StoreError>;
    /// What waits is due at once; what does not goes to the end of the queue once more. `None` if
    /// there is no such delivery.
    async fn resend_delivery(
        &self,
        id: &DeliveryId,
        audit: &AuditEntry,
    ) -> Result<Option<Delivery>, StoreError>;
    /// The first of each active webhook's queue, due or not: no other may be sent before it.
    async fn waiting_deliveries(&self) -> Result<Vec<WaitingDelivery>, StoreError>;
    /// All that is needed to send it, if it still waits.
    async fn outbound(&self, id: &DeliveryId) -> Result<Option<Outbound>, StoreError>;
    /// Stores what an attempt came to, unless the delivery was dropped or queued anew meanwhile.
    async fn save_delivery(&self, delivery: &Delivery) -> Result<(), StoreError>;
    /// Removes deliveries that are over and were queued before this; returns how many.
    async fn expire_deliveries(&self, before: OffsetDateTime) -> Result<u64, StoreError>;

    // Log forwarders.

    /// Oldest first.
    async fn forwarders(&self) -> Result<Vec<Forwarder>, StoreError>;
    async fn forwarder(&self, id: &ForwarderId) -> Result<Option<Forwarder>, StoreError>;
    /// # Errors
    /// [`StoreError::Exists`] if there are as many as there may be.
    async fn create_forwarder(
        &self,
        forwarder: &Forwarder,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// Everything but its progress, except that a try that was put off is made now; false if there
    /// is none.
    async fn change_forwarder(
        &self,
        forwarder: &Forwarder,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// False if there was none.
    async fn delete_forwarder(
        &self,
        id: &ForwarderId,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Notes that it was tried out; false if there is none.
    async fn note_forwarder_test(
        &self,
        id: &ForwarderId,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// How far it has got, if it is still there.
    async fn save_forwarder(
        &self,
        id: &ForwarderId,
        progress: &ForwardProgress,
    ) -> Result<(), StoreError>;

    // The rest.

    /// At most `limit` entries of those that fit.
    async fn audit_entries(
        &self,
        filter: &AuditFilter,
        order: AuditOrder,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError>;
    /// What stands for these texts where they must not be told: hex of a keyed hash, the same as long as
    /// this database lives. The key leaves the store in no other form.
    fn digest(&self, texts: &[&str]) -> String;
    /// A value the platform remembers for itself (keys are ours, never a caller's).
    async fn remembered(&self, key: &str) -> Result<Option<String>, StoreError>;
    async fn remember(&self, key: &str, value: &str) -> Result<(), StoreError>;
    /// Stores `value` unless there is one; returns what is stored.
    async fn remember_once(&self, key: &str, value: &str) -> Result<String, StoreError>;
    async fn forget(&self, key: &str) -> Result<(), StoreError>;
    /// Answers if the database does.
    async fn ping(&self) -> Result<(), StoreError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppOverview {
    pub app: App,
    pub environments: Vec<Environment>,
    /// Newest deployment per environment, in the order of `environments`.
    pub latest: Vec<Option<Deployment>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub deployment: DeploymentId,
    pub image: PinnedImage,
    pub settings: Settings,
    pub version: Option<String>,
    pub created_at: OffsetDateTime,
}

/// A volume whose environment was deleted; [`Volume::name`](flukedeploy_domain::app::Volume) and
/// where it belonged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftoverVolume {
    pub app: AppName,
    pub environment: EnvironmentName,
    pub volume: String,
}

/// What serves from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub active: Option<ReleaseNo>,
    pub standby: Option<Standby>,
    pub probation: Option<Probation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    pub release: ReleaseNo,
    pub replicas: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    New {
        /// Deployments that were asked to stop in favour of this one.
        superseded: Vec<DeploymentId>,
    },
    /// The same request came before: here is what it made.
    Replayed(Box<Deployment>),
}

/// A person.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    pub name: String,
    /// PHC string (argon2id).
    pub password_hash: String,
    pub tier: Tier,
    pub created_at: OffsetDateTime,
    /// Changes with the password: sessions made under an older one are over.
    pub password_changed_at: OffsetDateTime,
    /// As others see it, where it is not the name.
    pub display_name: Option<String>,
    /// Since when it is turned off.
    pub disabled_at: Option<OffsetDateTime>,
    /// Signing in takes a code as well. Read only: see [`People::confirm_second_factor`].
    pub has_second_factor: bool,
}

impl Account {
    /// Without one, only an identity at the sign-in provider lets the person in.
    pub fn has_password(&self) -> bool {
        self.password_hash != crate::people::NO_PASSWORD
    }
}

/// An API token without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredToken {
    pub id: String,
    pub name: String,
    pub persona: Option<String>,
    pub tier: Tier,
    /// SHA-256 of the secret part, hex.
    pub secret_hash: String,
    pub created_at: OffsetDateTime,
    pub created_by: String,
    /// The account it belongs to: it stops with that.
    pub owner: Option<String>,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
    pub last_used_at: Option<OffsetDateTime>,
    /// Who made it: it never reaches farther than that one does. `None`: the platform itself.
    pub maker: Option<Subject>,
    /// It may act only where grants say so.
    pub is_narrowed: bool,
    pub limits: Limits,
}

/// The delivery that is a webhook's next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDelivery {
    pub delivery: DeliveryId,
    pub webhook: WebhookId,
    pub due_at: OffsetDateTime,
}

/// A delivery with all that is needed to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    pub webhook: Webhook,
    pub delivery: Delivery,
    /// The very bytes to sign and send.
    pub body: String,
}

/// From which end the audit trail is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOrder {
    /// Newest first, of those before this sequence number; `None`: of all.
    NewestBefore(Option<i64>),
    /// Oldest first, of those after this sequence number.
    OldestAfter(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub sequence: i64,
    pub entry: AuditEntry,
    /// The entry as the very text that is hashed.
    pub stored: String,
    /// SHA-256 over the former row's hash and this row, hex.
    pub hash: String,
}

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{what} exists already")]
    Exists { what: String },
    #[error("{what} does not exist")]
    Missing { what: String },
    #[error("the settings were changed by someone else; they are at version {current}")]
    Stale { current: u64 },
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Nobody would be left who may do everything.
    #[error("this is the last administrator who can sign in")]
    LastAdministrator,
    /// A deployment was to be stored as successful, and its cancel had been accepted before.
    #[error("the deployment was asked to stop in between")]
    CancelRequested,
    /// A row does not fit the types any more: a fault of ours or an edited file.
    #[error("the stored {table} {id} cannot be read")]
    Corrupt {
        table: &'static str,
        id: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the database failed while {doing}")]
    Failed {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
