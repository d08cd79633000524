//! Approvals and the rules that ask for them. One that waits ends with its deployment.

use async_trait::async_trait;
use flukedeploy_domain::approval::{Approval, ApprovalId, ApprovalPolicy, ApprovalState, Decision};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_domain::webhook::{Told, WebhookEvent};
use flukedeploy_platform::ports::{Approvals, StoreError};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::apps::called;
use crate::columns::{Cause, from_json, from_word, to_json, to_word};
use crate::error::{Doing, corrupt, missing};
use crate::store::SqliteStore;
use crate::{audit, outbox};

struct Row {
    id: String,
    deployment: String,
    app: String,
    environment: String,
    asked_by: String,
    family: String,
    maker_may_answer: bool,
    intent: Option<String>,
    plan: String,
    digest: String,
    asked_at: i64,
    expires_at: i64,
    state: String,
    decision: Option<String>,
}

impl Row {
    fn read(self) -> Result<Approval, StoreError> {
        let id = self.id.clone();
        self.opened()
            .map_err(|cause| corrupt("approvals", id, cause))
    }

    fn opened(self) -> Result<Approval, Cause> {
        Ok(Approval {
            id: self.id.parse()?,
            deployment: self.deployment.parse()?,
            app: self.app.parse()?,
            environment: self.environment.parse()?,
            asked_by: from_json(&self.asked_by)?,
            family: from_json(&self.family)?,
            maker_may_answer: self.maker_may_answer,
            intent: self.intent,
            plan: from_json(&self.plan)?,
            digest: self.digest,
            asked_at: from_unix_ms(self.asked_at),
            expires_at: from_unix_ms(self.expires_at),
            state: from_word(&self.state)?,
            decision: self.decision.as_deref().map(from_json).transpose()?,
        })
    }
}

/// `SELECT` all columns of an approval, with what comes after `FROM approvals`.
macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, deployment, app, environment, asked_by, family,
                 maker_may_answer AS "maker_may_answer: bool", intent, plan, digest,
                 asked_at, expires_at, state, decision
               FROM approvals "# + $rest
            $(, $arg)*
        )
    };
}

async fn policy(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<ApprovalPolicy, StoreError> {
    let (app, environment) = (app.as_str(), environment.as_str());
    let row = sqlx::query!(
        "SELECT person, agent FROM approval_policies WHERE app = ? AND environment = ?",
        app,
        environment
    )
    .fetch_optional(db)
    .await
    .doing("reading who needs an approval")?;
    let Some(row) = row else {
        return Ok(ApprovalPolicy::default());
    };
    let read = || -> Result<ApprovalPolicy, Cause> {
        Ok(ApprovalPolicy {
            person: from_word(&row.person)?,
            agent: from_word(&row.agent)?,
        })
    };
    let id = format!("{app}/{environment}");
    read().map_err(|cause| corrupt("approval_policies", id, cause))
}

async fn put_policy(
    db: &mut SqliteConnection,
    app: &AppName,
    environment: &EnvironmentName,
    policy: ApprovalPolicy,
) -> Result<(), StoreError> {
    let of = called(app, environment);
    let (app, environment) = (app.as_str(), environment.as_str());
    let (person, agent) = (policy.person.as_str(), policy.agent.as_str());
    let put = sqlx::query!(
        "INSERT INTO approval_policies (app, environment, person, agent)
         SELECT app, name, ?, ? FROM environments WHERE app = ? AND name = ?
         ON CONFLICT (app, environment) DO UPDATE SET person = excluded.person, agent = excluded.agent",
        person,
        agent,
        app,
        environment
    )
    .execute(db)
    .await
    .doing("changing who needs an approval")?;
    if put.rows_affected() == 0 {
        return Err(missing(of));
    }
    Ok(())
}

async fn insert(db: &mut SqliteConnection, approval: &Approval) -> Result<bool, StoreError> {
    let (id, deployment) = (approval.id.as_str(), approval.deployment.as_str());
    let (app, environment) = (approval.app.as_str(), approval.environment.as_str());
    let asked_by = to_json(&approval.asked_by)?;
    let family = to_json(&approval.family)?;
    let plan = to_json(&approval.plan)?;
    let (asked_at, expires_at) = (
        to_unix_ms(approval.asked_at),
        to_unix_ms(approval.expires_at),
    );
    let state = to_word(&approval.state)?;
    let made = sqlx::query!(
        "INSERT INTO approvals
           (id, deployment, app, environment, asked_by, family, maker_may_answer, intent, plan,
            digest, asked_at, expires_at, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (deployment) DO NOTHING",
        id,
        deployment,
        app,
        environment,
        asked_by,
        family,
        approval.maker_may_answer,
        approval.intent,
        plan,
        approval.digest,
        asked_at,
        expires_at,
        state
    )
    .execute(db)
    .await
    .doing("asking for an approval")?;
    Ok(made.rows_affected() > 0)
}

/// Only one that waits, and whose deployment is not on its way out.
async fn decide(db: &mut SqliteConnection, approval: &Approval) -> Result<bool, StoreError> {
    let id = approval.id.as_str();
    let state = to_word(&approval.state)?;
    let decision = approval.decision.as_ref().map(to_json).transpose()?;
    let decided = sqlx::query!(
        "UPDATE approvals SET state = ?, decision = ?
         WHERE id = ? AND state = 'waiting' AND EXISTS (
           SELECT 1 FROM deployments d
           WHERE d.id = approvals.deployment AND d.is_final = 0 AND d.cancel_requested = 0)",
        state,
        decision,
        id
    )
    .execute(db)
    .await
    .doing("deciding an approval")?;
    Ok(decided.rows_affected() > 0)
}

/// Nobody has to answer any more: the deployment has ended.
pub(crate) async fn withdraw(
    db: &mut SqliteConnection,
    deployment: &DeploymentId,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let deployment = deployment.as_str();
    let state = to_word(&ApprovalState::Withdrawn)?;
    let decision = to_json(&Decision {
        by: None,
        at,
        reason: None,
    })?;
    sqlx::query!(
        "UPDATE approvals SET state = ?, decision = ? WHERE deployment = ? AND state = 'waiting'",
        state,
        decision,
        deployment
    )
    .execute(db)
    .await
    .doing("withdrawing an approval")?;
    Ok(())
}

pub(crate) async fn parked(db: &mut SqliteConnection) -> Result<Vec<DeploymentId>, StoreError> {
    sqlx::query_scalar!(
        "SELECT a.deployment FROM approvals a JOIN deployments d ON d.id = a.deployment
         WHERE a.state = 'waiting' AND d.is_final = 0 AND d.cancel_requested = 0"
    )
    .fetch_all(db)
    .await
    .doing("reading what waits for an approval")?
    .into_iter()
    .map(|id| id.parse().map_err(|cause| corrupt("approvals", &id, cause)))
    .collect()
}

#[async_trait]
impl Approvals for SqliteStore {
    async fn approval_policy(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<ApprovalPolicy, StoreError> {
        let mut db = self
            .database()
            .read("reading who needs an approval")
            .await?;
        policy(&mut db, app, environment).await
    }

    async fn set_approval_policy(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        seen: ApprovalPolicy,
        new: ApprovalPolicy,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing who needs an approval";
        let mut db = self.database().write(DOING).await?;
        if policy(&mut db, app, environment).await? != seen {
            return Err(StoreError::Stale { current: 0 });
        }
        put_policy(&mut db, app, environment, new).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn ask_approval(
        &self,
        approval: &Approval,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "asking for an approval";
        let mut db = self.database().write(DOING).await?;
        if !insert(&mut db, approval).await? {
            return Ok(false);
        }
        tell(self, &mut db, approval, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn approval(&self, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
        const DOING: &str = "reading an approval";
        let mut db = self.database().read(DOING).await?;
        let id = id.as_str();
        let row = select!("WHERE id = ?", id).fetch_optional(&mut *db).await;
        row.doing(DOING)?.map(Row::read).transpose()
    }

    async fn approval_of(&self, deployment: &DeploymentId) -> Result<Option<Approval>, StoreError> {
        const DOING: &str = "reading an approval";
        let mut db = self.database().read(DOING).await?;
        let id = deployment.as_str();
        let row = select!("WHERE deployment = ?", id)
            .fetch_optional(&mut *db)
            .await;
        row.doing(DOING)?.map(Row::read).transpose()
    }

    async fn waiting_approvals(&self) -> Result<Vec<Approval>, StoreError> {
        const DOING: &str = "reading approvals";
        let mut db = self.database().read(DOING).await?;
        let rows = select!("WHERE state = 'waiting' ORDER BY sequence")
            .fetch_all(&mut *db)
            .await;
        rows.doing(DOING)?.into_iter().map(Row::read).collect()
    }

    async fn decided_approvals(&self, limit: u32) -> Result<Vec<Approval>, StoreError> {
        const DOING: &str = "reading approvals";
        let mut db = self.database().read(DOING).await?;
        let rows = select!(
            "WHERE state <> 'waiting' ORDER BY sequence DESC LIMIT ?",
            limit
        )
        .fetch_all(&mut *db)
        .await;
        rows.doing(DOING)?.into_iter().map(Row::read).collect()
    }

    async fn decide_approval(
        &self,
        approval: &Approval,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "deciding an approval";
        let mut db = self.database().write(DOING).await?;
        if !decide(&mut db, approval).await? {
            return Ok(false);
        }
        tell(self, &mut db, approval, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn parked_deployments(&self) -> Result<Vec<DeploymentId>, StoreError> {
        let mut db = self
            .database()
            .read("reading what waits for an approval")
            .await?;
        parked(&mut db).await
    }
}

async fn tell(
    store: &SqliteStore,
    db: &mut SqliteConnection,
    approval: &Approval,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    if let Some(event) = WebhookEvent::of_approval(approval.state) {
        let seal = store.database().sealer();
        let told = Told::Approval(approval);
        outbox::note(&mut *db, seal, event, &approval.app, told, entry.at).await?;
    }
    audit::append(db, entry).await?;
    Ok(())
}
