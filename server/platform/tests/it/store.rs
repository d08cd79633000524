//! The real store, with a tap on its line.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use flukedeploy_domain::access::{Grant, GrantRecord, Subject, Tier};
use flukedeploy_domain::app::{App, Environment, Project, RunMode, Settings, Variables};
use flukedeploy_domain::approval::{Approval, ApprovalId, ApprovalPolicy};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::deployment::{Deployment, DeploymentId, Queue, Wishes};
use flukedeploy_domain::flukebase::{
    Binding, Ending, Message, ProjectId, RemoteEnvironment, RemoteVariable, Waiting,
};
use flukedeploy_domain::forwarder::{ForwardProgress, Forwarder, ForwarderId};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::names::{AppName, EnvironmentName, ProjectName};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::webhook::{Delivery, DeliveryId, Events, Webhook, WebhookId};
use flukedeploy_logs::Logs;
use flukedeploy_platform::ports::{
    Account, AppOverview, Approvals, AuditOrder, AuditRow, CachedVariables, Context, Feed,
    FeedQuery, FlukebaseEffect, FlukebaseMemory, FlukebaseSettings, Histogram, Identity,
    Invitation, LeftoverVolume, LogBatch, LogPage, LogQuery, LogStore, LogUsage, NewRelease,
    Opened, Outbound, OutboxCounts, Paging, People, Retention, Scale, SecondFactor, Store,
    StoreError, StoredSession, StoredToken, Switch, WaitingDelivery,
};
use flukedeploy_platform::secret::Secret;
use flukedeploy_store::SqliteStore;
use time::OffsetDateTime;

use crate::tap::{Tap, Trouble};

pub(crate) struct TappedStore {
    pub(crate) inner: SqliteStore,
    pub(crate) tap: Arc<Tap>,
}

pub(crate) struct TappedLogStore {
    pub(crate) inner: Logs,
    pub(crate) tap: Arc<Tap>,
}

fn failed(_: Trouble) -> StoreError {
    StoreError::Failed {
        doing: "doing as the test says",
        source: "the disk is full".into(),
    }
}

/// Each method passes the tap, does it, and passes the tap again.
macro_rules! tapped {
    ($port:ident for $type:ident { $(sync fn $plain:ident($($plain_arg:ident: $plain_ty:ty),*) -> $plain_ret:ty;)* $($changes:literal $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)* }) => {
        #[async_trait]
        impl $port for $type {
            $(fn $plain(&self, $($plain_arg: $plain_ty),*) -> $plain_ret {
                self.inner.$plain($($plain_arg),*)
            })*
            $(async fn $name(&self, $($arg: $ty),*) -> Result<$ret, StoreError> {
                self.tap.before("store", stringify!($name), false).await.map_err(failed)?;
                self.tap.before(stringify!($name), "", $changes).await.map_err(failed)?;
                let result = self.inner.$name($($arg),*).await;
                self.tap.after($changes).await;
                result
            })*
        }
    };
}

tapped! { Store for TappedStore {
    sync fn changes() -> u64;
    sync fn digest(texts: &[&str]) -> String;
    false app_overviews() -> Vec<AppOverview>;
    false app_overview(app: &AppName) -> Option<AppOverview>;
    false app_names() -> Vec<AppName>;
    false environment(app: &AppName, environment: &EnvironmentName) -> Option<Environment>;
    false environments() -> Vec<Environment>;
    true create_app(app: &App, environment: &Environment, audit: &AuditEntry) -> ();
    true change_settings(
        app: &AppName, environment: &EnvironmentName, seen_version: u64, settings: &Settings,
        audit: &AuditEntry) -> Environment;
    true delete_app(app: &AppName, audit: &AuditEntry) -> ();
    true create_environment(environment: &Environment, audit: &AuditEntry) -> ();
    true set_expiry(
        app: &AppName, environment: &EnvironmentName, expires_at: Option<OffsetDateTime>,
        audit: &AuditEntry) -> ();
    true delete_environment(
        app: &AppName, environment: &EnvironmentName, over_at: Option<OffsetDateTime>,
        audit: &AuditEntry) -> bool;
    false leftover_volumes() -> Vec<LeftoverVolume>;
    true forget_leftover_volume(volume: &LeftoverVolume) -> ();
    true open_deployment(
        deployment: &Deployment, queue: Queue, idempotency: Option<(&str, &str)>,
        audit: &AuditEntry) -> Opened;
    false replayed(
        actor_id: &str, idempotency: (&str, &str), now: OffsetDateTime) -> Option<Deployment>;
    true set_wishes(id: &DeploymentId, wishes: &Wishes, audit: &AuditEntry) -> bool;
    false deployment(id: &DeploymentId) -> Option<Deployment>;
    true save_deployment(deployment: &Deployment) -> ();
    true request_cancel(id: &DeploymentId, audit: &AuditEntry) -> bool;
    false deployments_of(
        app: &AppName, environment: Option<&EnvironmentName>, limit: u32) -> Vec<Deployment>;
    false unfinished_deployments() -> Vec<Deployment>;
    false recent_deployments(limit: u32) -> Vec<Deployment>;
    false completed_count() -> u64;
    false completed_count_of(app: &AppName, environment: &EnvironmentName) -> u64;
    true create_release(release: &NewRelease) -> Release;
    false release(
        app: &AppName, environment: &EnvironmentName, number: ReleaseNo) -> Option<Release>;
    false releases(app: &AppName, environment: &EnvironmentName, limit: u32) -> Vec<Release>;
    true switch_release(app: &AppName, environment: &EnvironmentName, switch: &Switch) -> ();
    true end_standby(app: &AppName, environment: &EnvironmentName, release: ReleaseNo) -> ();
    true end_probation(
        app: &AppName, environment: &EnvironmentName, deployment: &DeploymentId,
        withdrawn: Option<&str>) -> ();
    true set_mode(app: &AppName, environment: &EnvironmentName, mode: RunMode) -> ();
    true scale(app: &AppName, environment: &EnvironmentName, scale: Scale) -> ();
    false has_accounts() -> bool;
    false account_by_name(name: &str) -> Option<Account>;
    false account(id: &str) -> Option<Account>;
    true create_account(account: &Account, first: bool, audit: &AuditEntry) -> ();
    true set_password(account_id: &str, password_hash: &str, audit: &AuditEntry) -> ();
    false token(id: &str) -> Option<StoredToken>;
    false tokens() -> Vec<StoredToken>;
    true create_token(
        token: &StoredToken, grants: &[GrantRecord], audit: &AuditEntry) -> ();
    true replace_token(
        new: &StoredToken, grants: &[GrantRecord], old: &str, until: OffsetDateTime,
        audit: [&AuditEntry; 2]) -> ();
    false deployments_begun(tokens: &[String], since: OffsetDateTime) -> u64;
    false rights_of(subject: &Subject) -> Vec<Grant>;
    false grants() -> Vec<GrantRecord>;
    true put_grant(grant: &GrantRecord, audit: &AuditEntry) -> ();
    true delete_grant(id: &str, audit: &AuditEntry) -> bool;
    false projects() -> Vec<ProjectName>;
    true set_project(app: &AppName, project: Option<&ProjectName>, audit: &AuditEntry) -> ();
    false project_list() -> Vec<Project>;
    false project(name: &ProjectName) -> Option<Project>;
    false project_of(app: &AppName) -> Option<Project>;
    true share_variables(
        name: &ProjectName, seen_version: u64, variables: &Variables, audit: &AuditEntry) -> ();
    false project_members() -> BTreeMap<AppName, ProjectName>;
    true revoke_token(id: &str, at: OffsetDateTime, audit: &AuditEntry) -> bool;
    false credentials() -> Vec<Credential>;
    true put_credential(credential: &Credential, audit: &AuditEntry) -> ();
    true delete_credential(kind: CredentialKind, host: &str, audit: &AuditEntry) -> bool;
    false touch_token(id: &str, at: OffsetDateTime) -> ();
    false webhooks() -> Vec<Webhook>;
    false webhook(id: &WebhookId) -> Option<Webhook>;
    true create_webhook(webhook: &Webhook, audit: &AuditEntry) -> ();
    true change_webhook(
        id: &WebhookId, active: bool, events: &Events, audit: &AuditEntry) -> bool;
    true delete_webhook(id: &WebhookId, audit: &AuditEntry) -> bool;
    false deliveries(webhook: &WebhookId, limit: u32) -> Vec<Delivery>;
    true queue_test(webhook: &WebhookId, audit: &AuditEntry) -> Delivery;
    true resend_delivery(id: &DeliveryId, audit: &AuditEntry) -> Option<Delivery>;
    false waiting_deliveries() -> Vec<WaitingDelivery>;
    false outbound(id: &DeliveryId) -> Option<Outbound>;
    true save_delivery(delivery: &Delivery) -> ();
    false expire_deliveries(before: OffsetDateTime) -> u64;
    false forwarders() -> Vec<Forwarder>;
    false forwarder(id: &ForwarderId) -> Option<Forwarder>;
    true create_forwarder(forwarder: &Forwarder, audit: &AuditEntry) -> ();
    true change_forwarder(forwarder: &Forwarder, audit: &AuditEntry) -> bool;
    true delete_forwarder(id: &ForwarderId, audit: &AuditEntry) -> bool;
    true note_forwarder_test(id: &ForwarderId, audit: &AuditEntry) -> bool;
    true save_forwarder(id: &ForwarderId, progress: &ForwardProgress) -> ();
    false audit_entries(filter: &AuditFilter, order: AuditOrder, limit: u32) -> Vec<AuditRow>;
    false remembered(key: &str) -> Option<String>;
    false remember(key: &str, value: &str) -> ();
    false remember_once(key: &str, value: &str) -> String;
    false forget(key: &str) -> ();
    false ping() -> ();
} }

tapped! { People for TappedStore {
    false accounts() -> Vec<Account>;
    true set_display_name(
        account: &str, display_name: Option<&str>, audit: &AuditEntry) -> bool;
    true change_password(
        account: &str, password_hash: &str, keep_session: Option<&str>,
        audit: &AuditEntry) -> ();
    true switch_account(
        account: &str, disabled_at: Option<OffsetDateTime>, audit: &AuditEntry) -> bool;
    true delete_account(account: &str, audit: &AuditEntry) -> bool;
    false invitations() -> Vec<Invitation>;
    true create_invitation(
        invitation: &Invitation, secret_hash: &str, audit: &AuditEntry) -> ();
    false invitation_by_secret(secret_hash: &str) -> Option<Invitation>;
    true revoke_invitation(id: &str, at: OffsetDateTime, audit: &AuditEntry) -> bool;
    true accept_invitation(id: &str, account: &Account, identity: Option<&Identity>, audit: &AuditEntry) -> bool;
    false account_by_identity(issuer: &str, subject: &str) -> Option<Account>;
    false identity_of(account: &str, issuer: &str) -> Option<Identity>;
    true bind_identity(identity: &Identity, audit: &AuditEntry) -> bool;
    true unbind_identity(account: &str, issuer: &str, keep_session: &str, audit: &AuditEntry) -> bool;
    true set_tier(account: &str, tier: Tier, audit: &AuditEntry) -> bool;
    false second_factor(account: &str) -> Option<SecondFactor>;
    true offer_second_factor(account: &str, secret: &Secret) -> bool;
    true confirm_second_factor(
        account: &str, step: u64, recovery_hashes: &[String], audit: &AuditEntry) -> bool;
    true use_step(account: &str, step: u64) -> bool;
    true use_recovery_code(account: &str, hash: &str, audit: &AuditEntry) -> bool;
    true replace_recovery_codes(
        account: &str, hashes: &[String], audit: &AuditEntry) -> bool;
    true remove_second_factor(
        account: &str, end_sessions: bool, audit: &AuditEntry) -> bool;
    false sessions_of(account: &str, now: OffsetDateTime) -> Vec<StoredSession>;
    true end_session(account: &str, session: &str, audit: &AuditEntry) -> bool;
    true end_other_sessions(account: &str, keep: &str, audit: &AuditEntry) -> u64;
    true note(audit: &AuditEntry) -> ();
} }

tapped! { Approvals for TappedStore {
    false approval_policy(app: &AppName, environment: &EnvironmentName) -> ApprovalPolicy;
    true set_approval_policy(
        app: &AppName, environment: &EnvironmentName, seen: ApprovalPolicy,
        policy: ApprovalPolicy, audit: &AuditEntry) -> ();
    true ask_approval(approval: &Approval, audit: &AuditEntry) -> bool;
    false approval(id: &ApprovalId) -> Option<Approval>;
    false approval_of(deployment: &DeploymentId) -> Option<Approval>;
    false waiting_approvals() -> Vec<Approval>;
    false decided_approvals(limit: u32) -> Vec<Approval>;
    true decide_approval(approval: &Approval, audit: &AuditEntry) -> bool;
    false parked_deployments() -> Vec<DeploymentId>;
} }

tapped! { LogStore for TappedLogStore {
    sync fn last_sequence() -> u64;
    false append(batch: Arc<LogBatch>) -> u64;
    false page(query: &LogQuery, paging: &Paging) -> LogPage;
    false histogram(query: &LogQuery, buckets: usize) -> Histogram;
    false context(query: &LogQuery, id: &str, count: usize) -> Option<Context>;
    false positions(prefix: &str) -> HashMap<String, Vec<u8>>;
    false forget_positions(prefix: &str) -> ();
    false feed(query: &FeedQuery) -> Feed;
    false backlog(filter: &LogFilter, after: u64) -> u64;
    false newest() -> u64;
    false expire(retention: &Retention) -> u64;
    false usage() -> Vec<LogUsage>;
} }

tapped! { FlukebaseMemory for TappedStore {
    false flukebase_settings() -> FlukebaseSettings;
    true put_flukebase(
        settings: &FlukebaseSettings, effect: FlukebaseEffect,
        bindings: &BTreeMap<AppName, Option<Binding>>, audit: Option<&AuditEntry>) -> ();
    false flukebase_bindings() -> BTreeMap<AppName, Binding>;
    true queue_flukebase(project: ProjectId, message: &Message, at: OffsetDateTime) -> ();
    false flukebase_waiting() -> Vec<Waiting>;
    true end_flukebase(sequence: i64, ending: &Ending, at: OffsetDateTime) -> ();
    false flukebase_counts() -> OutboxCounts;
    true expire_flukebase(before: OffsetDateTime) -> u64;
    true keep_flukebase_variables(
        project: ProjectId, environment: RemoteEnvironment, variables: &[RemoteVariable],
        at: OffsetDateTime) -> ();
    false flukebase_variables(
        project: ProjectId, environment: RemoteEnvironment) -> Option<CachedVariables>;
    true forget_flukebase_variables() -> ();
}}
