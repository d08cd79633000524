//! The `Store` port: each method one transaction, put together from the functions beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use flukedeploy_domain::access::{Grant, GrantRecord, Subject};
use flukedeploy_domain::app::{App, Environment, Project, RunMode, Settings, Variables};
use flukedeploy_domain::audit::{AuditEntry, AuditFilter};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::deployment::{Deployment, DeploymentId, Queue, Wishes};
use flukedeploy_domain::forwarder::{ForwardProgress, Forwarder, ForwarderId};
use flukedeploy_domain::names::{AppName, EnvironmentName, ProjectName};
use flukedeploy_domain::release::{Release, ReleaseNo};
use flukedeploy_domain::webhook::{
    Delivery, DeliveryId, Events, Told, Webhook, WebhookEvent, WebhookId,
};
use flukedeploy_platform::ports::Clock;
use flukedeploy_platform::ports::{
    Account, AppOverview, AuditOrder, AuditRow, LeftoverVolume, NewRelease, Opened, Outbound,
    Scale, Store, StoreError, StoredToken, Switch, WaitingDelivery,
};
use sqlx::sqlite::SqliteSynchronous;
use time::{Duration, OffsetDateTime};

use crate::audit::{self, AuditVerdict};
use crate::database::Database;
use crate::deployments::Cancel;
use crate::error::{Doing, missing};
use crate::rotation::{self, Rotated};
use crate::sessions::SessionStore;
use crate::{
    accounts, approvals, apps, credentials, deployments, environments, flukebase_outbox,
    forwarders, grants, idempotency, memory, outbox, projects, releases, schema, tokens, webhooks,
};

const READERS: u32 = 4;
/// The last use of a token is kept to this precision: a write for each request would cost a flush
/// of the disk each.
const TOUCH_EVERY: Duration = Duration::seconds(60);

/// The control plane's memory in one `SQLite` file. Clones share the connections.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// Opens the file, or makes it (mode 0600), and brings its schema up to date. The directory
    /// must exist. Secrets are sealed with a key from the file `secret.key` (mode 0600) beside it, which
    /// is made along with the database; without it, a database that has sealed values does not open.
    ///
    /// A commit is on the disk when it returns (`synchronous=FULL`): a step is stored before its
    /// effect is started, and that must hold through a power cut. It costs one flush per step,
    /// and there are few steps.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, was written by a newer version, or its key is not there.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let database =
            Database::open(path, &schema::CONTROL, SqliteSynchronous::Full, READERS).await?;
        Ok(Self { database })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The dashboard's sessions, kept in the same file.
    pub fn sessions(&self, clock: Arc<dyn Clock>) -> SessionStore {
        SessionStore::new(self.database.clone(), clock)
    }

    /// Changes the key that secrets in the file are sealed with: makes a new one, seals everything anew
    /// and takes the old one out of the key file. Cut off at any moment, it has happened or not; the
    /// next start puts the key file in order. Nobody else may have the file open meanwhile.
    ///
    /// # Errors
    /// There is no such file, its key is not there, or a row does not open: then nothing has changed.
    pub async fn rotate_key(path: &Path) -> Result<Rotated, StoreError> {
        rotation::rotate_at(path).await
    }

    /// Reads the whole audit trail and finds the first row that is not as it was written.
    ///
    /// # Errors
    /// The database failed.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, StoreError> {
        let mut db = self.database.snapshot("checking the audit trail").await?;
        audit::verify(&mut db).await
    }

    /// Waits for what is under way and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn changes(&self) -> u64 {
        self.database.changes()
    }

    async fn app_overviews(&self) -> Result<Vec<AppOverview>, StoreError> {
        let mut db = self.database.snapshot("reading the apps").await?;
        apps::overviews(&mut db, self.database.sealer()).await
    }

    async fn app_overview(&self, app: &AppName) -> Result<Option<AppOverview>, StoreError> {
        let mut db = self.database.snapshot("reading an app").await?;
        apps::overview(&mut db, self.database.sealer(), app).await
    }

    async fn app_names(&self) -> Result<Vec<AppName>, StoreError> {
        let mut db = self.database.read("reading the names of apps").await?;
        apps::names(&mut db).await
    }

    async fn environment(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Option<Environment>, StoreError> {
        let mut db = self.database.read("reading an environment").await?;
        apps::environment(&mut db, self.database.sealer(), app, environment).await
    }

    async fn environments(&self) -> Result<Vec<Environment>, StoreError> {
        let mut db = self.database.read("reading the environments").await?;
        apps::environments(&mut db, self.database.sealer()).await
    }

    async fn create_app(
        &self,
        app: &App,
        environment: &Environment,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "creating an app";
        let mut db = self.database.write(DOING).await?;
        apps::create(&mut db, self.database.sealer(), app, environment).await?;
        outbox::note(
            &mut db,
            self.database.sealer(),
            WebhookEvent::AppCreated,
            &app.name,
            Told::App,
            audit.at,
        )
        .await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn change_settings(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        seen_version: u64,
        settings: &Settings,
        audit: &AuditEntry,
    ) -> Result<Environment, StoreError> {
        const DOING: &str = "changing settings";
        let mut db = self.database.write(DOING).await?;
        let changed = apps::change_settings(
            &mut db,
            self.database.sealer(),
            app,
            environment,
            seen_version,
            settings,
        )
        .await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(changed)
    }

    async fn delete_app(&self, app: &AppName, audit: &AuditEntry) -> Result<(), StoreError> {
        const DOING: &str = "deleting an app";
        let mut db = self.database.write(DOING).await?;
        apps::delete(&mut db, app).await?;
        grants::remove_empty(&mut db).await?;
        outbox::note(
            &mut db,
            self.database.sealer(),
            WebhookEvent::AppDeleted,
            app,
            Told::App,
            audit.at,
        )
        .await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn create_environment(
        &self,
        environment: &Environment,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "creating an environment";
        let mut db = self.database.write(DOING).await?;
        environments::create(&mut db, self.database.sealer(), environment).await?;
        let told = Told::Environment(&environment.name);
        let (event, app) = (WebhookEvent::EnvironmentCreated, &environment.app);
        outbox::note(&mut db, self.database.sealer(), event, app, told, audit.at).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn set_expiry(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        expires_at: Option<OffsetDateTime>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing the time of an environment";
        let mut db = self.database.write(DOING).await?;
        environments::set_expiry(&mut db, app, environment, expires_at).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn delete_environment(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        over_at: Option<OffsetDateTime>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "deleting an environment";
        let mut db = self.database.write(DOING).await?;
        if !environments::delete(&mut db, app, environment, over_at).await? {
            return Ok(false);
        }
        let told = Told::Environment(environment);
        let event = WebhookEvent::EnvironmentDeleted;
        outbox::note(&mut db, self.database.sealer(), event, app, told, audit.at).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn leftover_volumes(&self) -> Result<Vec<LeftoverVolume>, StoreError> {
        let mut db = self.database.read("reading leftover volumes").await?;
        environments::leftovers(&mut db).await
    }

    async fn forget_leftover_volume(&self, volume: &LeftoverVolume) -> Result<(), StoreError> {
        const DOING: &str = "forgetting a leftover volume";
        let mut db = self.database.write(DOING).await?;
        environments::forget_leftover(&mut db, volume).await?;
        db.commit().await.doing(DOING)
    }

    async fn open_deployment(
        &self,
        deployment: &Deployment,
        queue: Queue,
        idempotency: Option<(&str, &str)>,
        audit: &AuditEntry,
    ) -> Result<Opened, StoreError> {
        const DOING: &str = "opening a deployment";
        let mut db = self.database.write(DOING).await?;
        if let Some((key, request_hash)) = idempotency {
            let actor = &deployment.initiated_as.id;
            let now = deployment.initiated_at;
            if let Some(id) = idempotency::find(
                &mut db,
                self.database.sealer(),
                actor,
                key,
                request_hash,
                now,
            )
            .await?
                && let Some(made) = deployments::get(&mut db, self.database.sealer(), &id).await?
            {
                return Ok(Opened::Replayed(Box::new(made)));
            }
        }
        deployments::insert(&mut db, self.database.sealer(), deployment).await?;
        flukebase_outbox::note_opened(&mut db, deployment).await?;
        if let Some((key, request_hash)) = idempotency {
            idempotency::keep(
                &mut db,
                self.database.sealer(),
                deployment,
                key,
                request_hash,
            )
            .await?;
        }
        let superseded = match queue {
            Queue::Wait if deployment.source.makes_release() => {
                deployments::supersede_parked(&mut db, self.database.sealer(), deployment).await?
            }
            Queue::Wait => Vec::new(),
            Queue::Supersede => {
                deployments::supersede(&mut db, self.database.sealer(), deployment).await?
            }
        };
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(Opened::New { superseded })
    }

    async fn replayed(
        &self,
        actor_id: &str,
        (key, request_hash): (&str, &str),
        now: OffsetDateTime,
    ) -> Result<Option<Deployment>, StoreError> {
        let mut db = self
            .database
            .snapshot("looking up an idempotency key")
            .await?;
        match idempotency::find(
            &mut db,
            self.database.sealer(),
            actor_id,
            key,
            request_hash,
            now,
        )
        .await?
        {
            Some(id) => deployments::get(&mut db, self.database.sealer(), &id).await,
            None => Ok(None),
        }
    }

    async fn set_wishes(
        &self,
        id: &DeploymentId,
        wishes: &Wishes,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "steering a deployment";
        let mut db = self.database.write(DOING).await?;
        if !deployments::set_wishes(&mut db, self.database.sealer(), id, wishes).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn deployment(&self, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let mut db = self.database.read("reading a deployment").await?;
        deployments::get(&mut db, self.database.sealer(), id).await
    }

    async fn save_deployment(&self, deployment: &Deployment) -> Result<(), StoreError> {
        const DOING: &str = "storing a step of a deployment";
        let mut db = self.database.write(DOING).await?;
        let before = outbox::state_before(&mut db, self.database.sealer(), &deployment.id).await?;
        deployments::save(&mut db, self.database.sealer(), deployment).await?;
        if let Some(before) = before {
            let seal = self.database.sealer();
            outbox::note_step(&mut db, seal, &before, deployment).await?;
            flukebase_outbox::note_step(&mut db, seal, &before, deployment).await?;
        }
        if let Some(at) = deployment.completed_at {
            approvals::withdraw(&mut db, &deployment.id, at).await?;
        }
        db.commit().await.doing(DOING)
    }

    async fn request_cancel(
        &self,
        id: &DeploymentId,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "asking a deployment to stop";
        let mut db = self.database.write(DOING).await?;
        match deployments::request_cancel(&mut db, id).await? {
            Cancel::Requested => {
                audit::append(&mut db, audit).await?;
                db.commit().await.doing(DOING)?;
                Ok(true)
            }
            // Nothing changed, so there is nothing to write down.
            Cancel::Already => Ok(true),
            Cancel::TooLate => Ok(false),
        }
    }

    async fn deployments_of(
        &self,
        app: &AppName,
        environment: Option<&EnvironmentName>,
        limit: u32,
    ) -> Result<Vec<Deployment>, StoreError> {
        let mut db = self
            .database
            .read("reading the deployments of an app")
            .await?;
        deployments::of_app(&mut db, self.database.sealer(), app, environment, limit).await
    }

    async fn unfinished_deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        let mut db = self
            .database
            .read("reading the unfinished deployments")
            .await?;
        deployments::unfinished(&mut db, self.database.sealer()).await
    }

    async fn recent_deployments(&self, limit: u32) -> Result<Vec<Deployment>, StoreError> {
        let mut db = self.database.read("reading the recent deployments").await?;
        deployments::recent(&mut db, self.database.sealer(), limit).await
    }

    async fn completed_count_of(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<u64, StoreError> {
        let mut db = self.database.read("counting deployments").await?;
        deployments::completed_count_of(&mut db, app, environment).await
    }

    async fn completed_count(&self) -> Result<u64, StoreError> {
        let mut db = self.database.read("counting deployments").await?;
        deployments::completed_count(&mut db).await
    }

    async fn create_release(&self, release: &NewRelease) -> Result<Release, StoreError> {
        const DOING: &str = "creating a release";
        let mut db = self.database.write(DOING).await?;
        let made = releases::create(&mut db, self.database.sealer(), release).await?;
        db.commit().await.doing(DOING)?;
        Ok(made)
    }

    async fn release(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        number: ReleaseNo,
    ) -> Result<Option<Release>, StoreError> {
        let mut db = self.database.read("reading a release").await?;
        releases::get(&mut db, self.database.sealer(), app, environment, number).await
    }

    async fn releases(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        limit: u32,
    ) -> Result<Vec<Release>, StoreError> {
        let mut db = self.database.read("reading releases").await?;
        releases::newest(&mut db, self.database.sealer(), app, environment, limit).await
    }

    async fn switch_release(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        switch: &Switch,
    ) -> Result<(), StoreError> {
        const DOING: &str = "activating a release";
        let mut db = self.database.write(DOING).await?;
        releases::switch(&mut db, app, environment, switch).await?;
        db.commit().await.doing(DOING)
    }

    async fn end_standby(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        release: ReleaseNo,
    ) -> Result<(), StoreError> {
        const DOING: &str = "ending a standby";
        let mut db = self.database.write(DOING).await?;
        apps::end_standby(&mut db, app, environment, release).await?;
        db.commit().await.doing(DOING)
    }

    async fn end_probation(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        deployment: &DeploymentId,
        withdrawn: Option<&str>,
    ) -> Result<(), StoreError> {
        const DOING: &str = "ending a probation";
        let mut db = self.database.write(DOING).await?;
        let release = apps::end_probation(
            &mut db,
            self.database.sealer(),
            app,
            environment,
            deployment,
        )
        .await?;
        if let (Some(release), Some(reason)) = (release, withdrawn) {
            releases::withdraw(&mut db, app, environment, release, reason).await?;
            outbox::note_withdrawal(
                &mut db,
                self.database.sealer(),
                app,
                environment,
                release,
                reason,
            )
            .await?;
        }
        db.commit().await.doing(DOING)
    }

    async fn set_mode(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        mode: RunMode,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing the mode of an environment";
        let mut db = self.database.write(DOING).await?;
        apps::set_mode(&mut db, app, environment, mode).await?;
        db.commit().await.doing(DOING)
    }

    async fn scale(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        scale: Scale,
    ) -> Result<(), StoreError> {
        const DOING: &str = "scaling a release";
        let mut db = self.database.write(DOING).await?;
        releases::scale(&mut db, app, environment, scale).await?;
        apps::keep_replicas(&mut db, app, environment, scale.replicas).await?;
        db.commit().await.doing(DOING)
    }

    async fn has_accounts(&self) -> Result<bool, StoreError> {
        let mut db = self.database.read("looking for accounts").await?;
        accounts::any(&mut db).await
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let mut db = self.database.read("reading an account").await?;
        accounts::by_name(&mut db, name).await
    }

    async fn account(&self, id: &str) -> Result<Option<Account>, StoreError> {
        let mut db = self.database.read("reading an account").await?;
        accounts::get(&mut db, id).await
    }

    async fn create_account(
        &self,
        account: &Account,
        first: bool,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "creating an account";
        let mut db = self.database.write(DOING).await?;
        accounts::create(&mut db, account, first).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn set_password(
        &self,
        account_id: &str,
        password_hash: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing a password";
        let mut db = self.database.write(DOING).await?;
        accounts::set_password(&mut db, account_id, password_hash, audit.at).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        let mut db = self.database.read("reading a token").await?;
        tokens::get(&mut db, id).await
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError> {
        let mut db = self.database.read("reading the tokens").await?;
        tokens::newest(&mut db).await
    }

    async fn create_token(
        &self,
        token: &StoredToken,
        granted: &[GrantRecord],
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "creating a token";
        let mut db = self.database.write(DOING).await?;
        tokens::create(&mut db, token).await?;
        for grant in granted {
            grants::put(&mut db, grant).await?;
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn revoke_token(
        &self,
        id: &str,
        at: OffsetDateTime,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "revoking a token";
        let mut db = self.database.write(DOING).await?;
        if !tokens::revoke(&mut db, id, at).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn replace_token(
        &self,
        new: &StoredToken,
        granted: &[GrantRecord],
        old: &str,
        until: OffsetDateTime,
        audit: [&AuditEntry; 2],
    ) -> Result<(), StoreError> {
        const DOING: &str = "replacing a token";
        let mut db = self.database.write(DOING).await?;
        tokens::create(&mut db, new).await?;
        for grant in granted {
            grants::put(&mut db, grant).await?;
        }
        tokens::shorten(&mut db, old, until).await?;
        for entry in audit {
            audit::append(&mut db, entry).await?;
        }
        db.commit().await.doing(DOING)
    }

    async fn deployments_begun(
        &self,
        tokens: &[String],
        since: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let mut db = self.database.read("counting deployments").await?;
        let mut count = 0;
        for token in tokens {
            count += deployments::begun_by(&mut db, token, since).await?;
        }
        Ok(count)
    }

    async fn rights_of(&self, subject: &Subject) -> Result<Vec<Grant>, StoreError> {
        let mut db = self.database.read("reading what was granted").await?;
        grants::of(&mut db, subject).await
    }

    async fn grants(&self) -> Result<Vec<GrantRecord>, StoreError> {
        let mut db = self.database.read("reading the grants").await?;
        grants::all(&mut db).await
    }

    async fn put_grant(&self, grant: &GrantRecord, audit: &AuditEntry) -> Result<(), StoreError> {
        const DOING: &str = "storing a grant";
        let mut db = self.database.write(DOING).await?;
        grants::put(&mut db, grant).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn delete_grant(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const DOING: &str = "withdrawing a grant";
        let mut db = self.database.write(DOING).await?;
        if !grants::delete(&mut db, id).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn projects(&self) -> Result<Vec<ProjectName>, StoreError> {
        let mut db = self.database.read("reading the projects").await?;
        grants::projects(&mut db).await
    }

    async fn set_project(
        &self,
        app: &AppName,
        project: Option<&ProjectName>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "putting an app into a project";
        let mut db = self.database.write(DOING).await?;
        grants::set_project(&mut db, app, project, audit.at).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn project_list(&self) -> Result<Vec<Project>, StoreError> {
        let mut db = self.database.read("reading the projects").await?;
        projects::all(&mut db, self.database.sealer()).await
    }

    async fn project(&self, name: &ProjectName) -> Result<Option<Project>, StoreError> {
        let mut db = self.database.read("reading a project").await?;
        projects::get(&mut db, self.database.sealer(), name).await
    }

    async fn project_of(&self, app: &AppName) -> Result<Option<Project>, StoreError> {
        let mut db = self.database.read("reading the project of an app").await?;
        projects::of_app(&mut db, self.database.sealer(), app).await
    }

    async fn share_variables(
        &self,
        name: &ProjectName,
        seen_version: u64,
        variables: &Variables,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing what a project shares";
        let mut db = self.database.write(DOING).await?;
        projects::share(
            &mut db,
            self.database.sealer(),
            name,
            seen_version,
            variables,
        )
        .await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn project_members(&self) -> Result<BTreeMap<AppName, ProjectName>, StoreError> {
        let mut db = self
            .database
            .read("reading what is in the projects")
            .await?;
        grants::members(&mut db).await
    }

    async fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        let mut db = self.database.read("reading the credentials").await?;
        credentials::all(&mut db, self.database.sealer()).await
    }

    async fn put_credential(
        &self,
        credential: &Credential,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing a credential";
        let mut db = self.database.write(DOING).await?;
        credentials::put(&mut db, self.database.sealer(), credential).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn delete_credential(
        &self,
        kind: CredentialKind,
        host: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "removing a credential";
        let mut db = self.database.write(DOING).await?;
        let found = credentials::delete(&mut db, kind, host).await?;
        if found {
            audit::append(&mut db, audit).await?;
        }
        db.commit().await.doing(DOING)?;
        Ok(found)
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let mut db = self.database.read("reading the webhooks").await?;
        webhooks::all(&mut db, self.database.sealer()).await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Webhook>, StoreError> {
        let mut db = self.database.read("reading a webhook").await?;
        webhooks::get(&mut db, self.database.sealer(), id).await
    }

    async fn create_webhook(
        &self,
        webhook: &Webhook,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "creating a webhook";
        let mut db = self.database.write(DOING).await?;
        webhooks::create(&mut db, self.database.sealer(), webhook).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn change_webhook(
        &self,
        id: &WebhookId,
        active: bool,
        events: &Events,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "changing a webhook";
        let mut db = self.database.write(DOING).await?;
        if !webhooks::change(&mut db, id, active, events).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn delete_webhook(&self, id: &WebhookId, audit: &AuditEntry) -> Result<bool, StoreError> {
        const DOING: &str = "removing a webhook";
        let mut db = self.database.write(DOING).await?;
        if !webhooks::delete(&mut db, id).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn deliveries(
        &self,
        webhook: &WebhookId,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut db = self.database.read("reading webhook deliveries").await?;
        webhooks::deliveries(&mut db, webhook, limit).await
    }

    async fn queue_test(
        &self,
        webhook: &WebhookId,
        audit: &AuditEntry,
    ) -> Result<Delivery, StoreError> {
        const DOING: &str = "queueing a webhook test";
        let mut db = self.database.write(DOING).await?;
        let data = Told::Test.data(None);
        let id = outbox::queue(&mut db, webhook, WebhookEvent::Test, &data, audit.at).await?;
        let queued = webhooks::delivery(&mut db, &id).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        queued.ok_or_else(|| missing(format!("the delivery {id}")))
    }

    async fn resend_delivery(
        &self,
        id: &DeliveryId,
        audit: &AuditEntry,
    ) -> Result<Option<Delivery>, StoreError> {
        const DOING: &str = "queueing a webhook delivery again";
        let mut db = self.database.write(DOING).await?;
        let Some(queued) = webhooks::resend(&mut db, id, audit.at).await? else {
            return Ok(None);
        };
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(Some(queued))
    }

    async fn waiting_deliveries(&self) -> Result<Vec<WaitingDelivery>, StoreError> {
        let mut db = self
            .database
            .read("looking for webhook deliveries to send")
            .await?;
        webhooks::waiting(&mut db).await
    }

    async fn outbound(&self, id: &DeliveryId) -> Result<Option<Outbound>, StoreError> {
        let mut db = self.database.snapshot("reading a webhook delivery").await?;
        webhooks::outbound(&mut db, self.database.sealer(), id).await
    }

    async fn save_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        const DOING: &str = "storing an attempt of a webhook delivery";
        let mut db = self.database.write(DOING).await?;
        webhooks::save(&mut db, delivery).await?;
        db.commit().await.doing(DOING)
    }

    async fn expire_deliveries(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        const DOING: &str = "removing old webhook deliveries";
        let mut db = self.database.write(DOING).await?;
        let gone = webhooks::expire(&mut db, before).await?;
        db.commit().await.doing(DOING)?;
        Ok(gone)
    }

    async fn touch_token(&self, id: &str, at: OffsetDateTime) -> Result<(), StoreError> {
        const DOING: &str = "noting the use of a token";
        let mut db = self.database.read(DOING).await?;
        let is_due = tokens::is_touch_due(&mut db, id, at - TOUCH_EVERY).await?;
        drop(db);
        if !is_due {
            return Ok(());
        }
        let mut db = self.database.write(DOING).await?;
        tokens::touch(&mut db, id, at).await?;
        db.commit().await.doing(DOING)
    }

    async fn forwarders(&self) -> Result<Vec<Forwarder>, StoreError> {
        let mut db = self.database.read("reading the log forwarders").await?;
        forwarders::all(&mut db, self.database.sealer()).await
    }

    async fn forwarder(&self, id: &ForwarderId) -> Result<Option<Forwarder>, StoreError> {
        let mut db = self.database.read("reading a log forwarder").await?;
        forwarders::get(&mut db, self.database.sealer(), id).await
    }

    async fn create_forwarder(
        &self,
        forwarder: &Forwarder,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "making a log forwarder";
        let mut db = self.database.write(DOING).await?;
        forwarders::create(&mut db, self.database.sealer(), forwarder).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn change_forwarder(
        &self,
        forwarder: &Forwarder,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "changing a log forwarder";
        let mut db = self.database.write(DOING).await?;
        if !forwarders::change(&mut db, self.database.sealer(), forwarder).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn delete_forwarder(
        &self,
        id: &ForwarderId,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "removing a log forwarder";
        let mut db = self.database.write(DOING).await?;
        if !forwarders::delete(&mut db, id).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn note_forwarder_test(
        &self,
        id: &ForwarderId,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "noting a test of a log forwarder";
        let mut db = self.database.write(DOING).await?;
        let seal = self.database.sealer();
        if forwarders::get(&mut db, seal, id).await?.is_none() {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn save_forwarder(
        &self,
        id: &ForwarderId,
        progress: &ForwardProgress,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing how far log entries were forwarded";
        let mut db = self.database.write(DOING).await?;
        forwarders::save(&mut db, id, progress).await?;
        db.commit().await.doing(DOING)
    }

    async fn audit_entries(
        &self,
        filter: &AuditFilter,
        order: AuditOrder,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut db = self.database.read("reading the audit trail").await?;
        audit::entries(&mut db, filter, order, limit).await
    }

    fn digest(&self, texts: &[&str]) -> String {
        self.database.digests().of(texts)
    }

    async fn remembered(&self, key: &str) -> Result<Option<String>, StoreError> {
        let mut db = self.database.read("reading a remembered value").await?;
        memory::get(&mut db, self.database.sealer(), key).await
    }

    async fn remember(&self, key: &str, value: &str) -> Result<(), StoreError> {
        const DOING: &str = "remembering a value";
        let mut db = self.database.write(DOING).await?;
        memory::put(&mut db, self.database.sealer(), key, value).await?;
        db.commit().await.doing(DOING)
    }

    async fn remember_once(&self, key: &str, value: &str) -> Result<String, StoreError> {
        const DOING: &str = "remembering a value once";
        let mut db = self.database.write(DOING).await?;
        let stored = memory::put_once(&mut db, self.database.sealer(), key, value).await?;
        db.commit().await.doing(DOING)?;
        Ok(stored)
    }

    async fn forget(&self, key: &str) -> Result<(), StoreError> {
        const DOING: &str = "forgetting a value";
        let mut db = self.database.write(DOING).await?;
        memory::forget(&mut db, key).await?;
        db.commit().await.doing(DOING)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        const DOING: &str = "answering a ping";
        let mut db = self.database.read(DOING).await?;
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!: i64" FROM audit_head"#)
            .fetch_one(&mut *db)
            .await
            .doing(DOING)?;
        Ok(())
    }
}
