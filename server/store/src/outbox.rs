//! What is to be told outside: rows written in the transaction of the change they tell about, so
//! that neither can be without the other.

use flukedeploy_domain::deployment::{Deployment, DeploymentId, PhaseName, State};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_domain::webhook::{
    self, DeliveryId, DeliveryStatus, MAX_WAITING, Told, Webhook, WebhookEvent, WebhookId,
};
use flukedeploy_platform::ports::StoreError;
use serde_json::Value;
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::error::{Doing, missing};
use crate::sealing::Sealer;
use crate::{deployments, flukebase, webhooks};

const DOING: &str = "queueing a webhook delivery";

/// Queues an event for every active webhook that listens to it.
pub(crate) async fn note(
    db: &mut SqliteConnection,
    seal: &Sealer,
    event: WebhookEvent,
    app: &AppName,
    told: Told<'_>,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let listening: Vec<Webhook> = webhooks::active(&mut *db, seal)
        .await?
        .into_iter()
        .filter(|webhook| webhook.wants(event, app))
        .collect();
    if listening.is_empty() {
        return Ok(());
    }
    let data = told.data(Some(app));
    for webhook in &listening {
        queue(&mut *db, &webhook.id, event, &data, at).await?;
    }
    Ok(())
}

/// What a deployment was before a step, if anybody would be told of it: webhooks, or `FlukeBase`.
pub(crate) async fn state_before(
    db: &mut SqliteConnection,
    seal: &Sealer,
    id: &DeploymentId,
) -> Result<Option<State>, StoreError> {
    if !is_listened(&mut *db).await? && !flukebase::is_on(&mut *db).await? {
        return Ok(None);
    }
    let found = deployments::get(db, seal, id).await?;
    Ok(found.map(|deployment| deployment.state))
}

/// Tells of a step of a deployment, if it is one that is told.
pub(crate) async fn note_step(
    db: &mut SqliteConnection,
    seal: &Sealer,
    before: &State,
    deployment: &Deployment,
) -> Result<(), StoreError> {
    let Some(event) = WebhookEvent::of_step(before, &deployment.state) else {
        return Ok(());
    };
    let began = deployment.phase(PhaseName::PreBuild).started_at;
    let at = deployment.completed_at.or(began);
    let at = at.unwrap_or(deployment.initiated_at);
    let told = Told::Deployment(deployment);
    note(db, seal, event, &deployment.app, told, at).await
}

/// Tells that a release was withdrawn.
pub(crate) async fn note_withdrawal(
    db: &mut SqliteConnection,
    seal: &Sealer,
    app: &AppName,
    environment: &EnvironmentName,
    release: ReleaseNo,
    why: &str,
) -> Result<(), StoreError> {
    if !is_listened(&mut *db).await? {
        return Ok(());
    }
    // The caller brings no time along, and this one has no consequences.
    let now =
        sqlx::query_scalar!(r#"SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS "now!: i64""#)
            .fetch_one(&mut *db)
            .await
            .doing(DOING)?;
    let told = Told::Withdrawn {
        environment,
        release,
        why,
    };
    note(
        db,
        seal,
        WebhookEvent::ReleaseWithdrawn,
        app,
        told,
        from_unix_ms(now),
    )
    .await
}

async fn is_listened(db: &mut SqliteConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM webhooks WHERE active = 1) AS "any!: bool""#
    )
    .fetch_one(db)
    .await
    .doing(DOING)
}

/// Puts one delivery at the end of a webhook's queue.
pub(crate) async fn queue(
    db: &mut SqliteConnection,
    webhook: &WebhookId,
    event: WebhookEvent,
    data: &Value,
    at: OffsetDateTime,
) -> Result<DeliveryId, StoreError> {
    let sequence = next_number(&mut *db, webhook).await?;
    let id = DeliveryId::new(webhook, sequence);
    let body = webhook::body(event, at, &id, data);
    let crowded = waiting(&mut *db, webhook).await? >= i64::from(MAX_WAITING);
    let (status, next_attempt_at, error) = if crowded {
        let why = format!("{MAX_WAITING} deliveries waited already");
        (DeliveryStatus::Dropped, None, Some(why))
    } else {
        (DeliveryStatus::Pending, Some(to_unix_ms(at)), None)
    };
    let (delivery, webhook) = (id.as_str(), webhook.as_str());
    let (event, status, at) = (event.as_str(), status.as_str(), to_unix_ms(at));
    sqlx::query!(
        "INSERT INTO webhook_deliveries
           (id, webhook, sequence, event, body, status, attempts, next_attempt_at, last_error,
            created_at, queued_at)
         VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
        delivery,
        webhook,
        sequence,
        event,
        body,
        status,
        next_attempt_at,
        error,
        at,
        at
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(id)
}

/// The next place in a webhook's queue.
pub(crate) async fn next_number(
    db: &mut SqliteConnection,
    webhook: &WebhookId,
) -> Result<i64, StoreError> {
    let id = webhook.as_str();
    sqlx::query_scalar!(
        "UPDATE webhooks SET last_number = last_number + 1 WHERE id = ? RETURNING last_number",
        id
    )
    .fetch_optional(db)
    .await
    .doing(DOING)?
    .ok_or_else(|| missing(format!("the webhook {webhook}")))
}

async fn waiting(db: &mut SqliteConnection, webhook: &WebhookId) -> Result<i64, StoreError> {
    let id = webhook.as_str();
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!: i64" FROM webhook_deliveries
           WHERE webhook = ? AND status = 'pending'"#,
        id
    )
    .fetch_one(db)
    .await
    .doing(DOING)
}
