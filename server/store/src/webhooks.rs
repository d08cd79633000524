//! Webhooks and their deliveries.

use flukedeploy_domain::names::AppName;
use flukedeploy_domain::timestamp::{from_unix_ms, to_unix_ms};
use flukedeploy_domain::webhook::{
    Delivery, DeliveryId, DeliveryStatus, Events, MAX_WEBHOOKS, Webhook, WebhookId,
};
use flukedeploy_platform::ports::{Outbound, StoreError, WaitingDelivery};
use sqlx::SqliteConnection;
use time::OffsetDateTime;

use crate::columns::{Cause, from_json, from_word, to_json};
use crate::error::{Doing, corrupt, exists};
use crate::outbox;
use crate::sealing::{Place, Sealer};

/// Why deliveries are dropped when their webhook is turned off.
const TURNED_OFF: &str = "the webhook was turned off";

struct Row {
    id: String,
    url: String,
    secret: String,
    events: String,
    app: Option<String>,
    active: bool,
    created_at: i64,
}

/// Where the secret of a webhook stands, or its address, whose path may be one.
fn place<'a>(column: &'static str, id: &'a str) -> Place<'a> {
    Place {
        table: "webhooks",
        column,
        row: id,
    }
}

impl Row {
    fn read(&self, seal: &Sealer) -> Result<Webhook, StoreError> {
        self.opened(seal)
            .map_err(|cause| corrupt("webhooks", &self.id, cause))
    }

    fn opened(&self, seal: &Sealer) -> Result<Webhook, Cause> {
        Ok(Webhook {
            id: self.id.parse()?,
            url: seal.open(place("url", &self.id), &self.url)?.parse()?,
            secret: seal
                .open(place("secret", &self.id), &self.secret)?
                .to_string(),
            events: from_json(&self.events)?,
            app: self.app.as_deref().map(str::parse::<AppName>).transpose()?,
            active: self.active,
            created_at: from_unix_ms(self.created_at),
        })
    }
}

struct DeliveryRow {
    id: String,
    webhook: String,
    sequence: i64,
    event: String,
    status: String,
    attempts: i64,
    next_attempt_at: Option<i64>,
    last_status: Option<i64>,
    last_error: Option<String>,
    created_at: i64,
    queued_at: i64,
    delivered_at: Option<i64>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = StoreError;
    fn try_from(row: DeliveryRow) -> Result<Self, StoreError> {
        row.read()
            .map_err(|cause| corrupt("webhook_deliveries", &row.id, cause))
    }
}

impl DeliveryRow {
    fn read(&self) -> Result<Delivery, Cause> {
        Ok(Delivery {
            id: self.id.parse()?,
            webhook: self.webhook.parse()?,
            sequence: self.sequence,
            event: self.event.parse()?,
            status: from_word(&self.status)?,
            attempts: self.attempts.try_into()?,
            next_attempt_at: self.next_attempt_at.map(from_unix_ms),
            last_status: self.last_status.map(u16::try_from).transpose()?,
            last_error: self.last_error.clone(),
            created_at: from_unix_ms(self.created_at),
            queued_at: from_unix_ms(self.queued_at),
            delivered_at: self.delivered_at.map(from_unix_ms),
        })
    }
}

macro_rules! select {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, url, secret, events, app, active AS "active: bool", created_at
               FROM webhooks "# + $rest
            $(, $arg)*
        )
    };
}

macro_rules! select_deliveries {
    ($rest:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            DeliveryRow,
            r#"SELECT id, webhook, sequence, event, status, attempts, next_attempt_at,
                 last_status, last_error, created_at, queued_at, delivered_at
               FROM webhook_deliveries "# + $rest
            $(, $arg)*
        )
    };
}

/// Oldest first.
pub(crate) async fn all(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Webhook>, StoreError> {
    let mut webhooks = select!("ORDER BY id")
        .fetch_all(db)
        .await
        .doing("reading the webhooks")?
        .into_iter()
        .map(|row| row.read(seal))
        .collect::<Result<Vec<_>, _>>()?;
    webhooks.sort_by_key(|webhook| webhook.created_at);
    Ok(webhooks)
}

pub(crate) async fn active(
    db: &mut SqliteConnection,
    seal: &Sealer,
) -> Result<Vec<Webhook>, StoreError> {
    select!("WHERE active = 1 ORDER BY id")
        .fetch_all(db)
        .await
        .doing("reading the webhooks")?
        .into_iter()
        .map(|row| row.read(seal))
        .collect()
}

pub(crate) async fn get(
    db: &mut SqliteConnection,
    seal: &Sealer,
    id: &WebhookId,
) -> Result<Option<Webhook>, StoreError> {
    let id = id.as_str();
    select!("WHERE id = ?", id)
        .fetch_optional(db)
        .await
        .doing("reading a webhook")?
        .map(|row| row.read(seal))
        .transpose()
}

/// There may be only so many: each is a row and a request for everything that happens.
pub(crate) async fn create(
    db: &mut SqliteConnection,
    seal: &Sealer,
    webhook: &Webhook,
) -> Result<(), StoreError> {
    const DOING: &str = "creating a webhook";
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!: i64" FROM webhooks"#)
        .fetch_one(&mut *db)
        .await
        .doing(DOING)?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= MAX_WEBHOOKS {
        return Err(exists(format!(
            "the largest number of webhooks ({MAX_WEBHOOKS})"
        )));
    }
    let id = webhook.id.as_str();
    let app = webhook.app.as_ref().map(AppName::as_str);
    let url = seal.seal(place("url", id), webhook.url.as_str())?;
    let secret = seal.seal(place("secret", id), &webhook.secret)?;
    let events = to_json(&webhook.events)?;
    let created_at = to_unix_ms(webhook.created_at);
    sqlx::query!(
        "INSERT INTO webhooks (id, url, secret, events, app, active, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        id,
        url,
        secret,
        events,
        app,
        webhook.active,
        created_at
    )
    .execute(db)
    .await
    .doing(DOING)?;
    Ok(())
}

/// False if there is none. What waits for one that is turned off is dropped.
pub(crate) async fn change(
    db: &mut SqliteConnection,
    id: &WebhookId,
    active: bool,
    events: &Events,
) -> Result<bool, StoreError> {
    const DOING: &str = "changing a webhook";
    let id = id.as_str();
    let events = to_json(events)?;
    let changed = sqlx::query!(
        "UPDATE webhooks SET active = ?, events = ? WHERE id = ?",
        active,
        events,
        id
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    if !active {
        sqlx::query!(
            "UPDATE webhook_deliveries
             SET status = 'dropped', next_attempt_at = NULL, last_error = ?
             WHERE webhook = ? AND status = 'pending'",
            TURNED_OFF,
            id
        )
        .execute(db)
        .await
        .doing(DOING)?;
    }
    Ok(changed.rows_affected() > 0)
}

/// False if there was none. Its deliveries go with it.
pub(crate) async fn delete(db: &mut SqliteConnection, id: &WebhookId) -> Result<bool, StoreError> {
    let id = id.as_str();
    let gone = sqlx::query!("DELETE FROM webhooks WHERE id = ?", id)
        .execute(db)
        .await
        .doing("removing a webhook")?;
    Ok(gone.rows_affected() > 0)
}

/// Newest place first.
pub(crate) async fn deliveries(
    db: &mut SqliteConnection,
    webhook: &WebhookId,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let webhook = webhook.as_str();
    select_deliveries!(
        "WHERE webhook = ? ORDER BY sequence DESC LIMIT ?",
        webhook,
        limit
    )
    .fetch_all(db)
    .await
    .doing("reading webhook deliveries")?
    .into_iter()
    .map(Delivery::try_from)
    .collect()
}

pub(crate) async fn delivery(
    db: &mut SqliteConnection,
    id: &DeliveryId,
) -> Result<Option<Delivery>, StoreError> {
    let id = id.as_str();
    select_deliveries!("WHERE id = ?", id)
        .fetch_optional(db)
        .await
        .doing("reading a webhook delivery")?
        .map(Delivery::try_from)
        .transpose()
}

/// The first of each webhook's queue: no other may be sent before it.
pub(crate) async fn waiting(db: &mut SqliteConnection) -> Result<Vec<WaitingDelivery>, StoreError> {
    const DOING: &str = "looking for webhook deliveries to send";
    let rows = sqlx::query!(
        r#"SELECT d.id, d.webhook, d.next_attempt_at
           FROM webhooks w JOIN webhook_deliveries d ON d.webhook = w.id AND d.sequence =
             (SELECT min(sequence) FROM webhook_deliveries
              WHERE webhook = w.id AND status = 'pending')
           WHERE w.active = 1"#
    )
    .fetch_all(db)
    .await
    .doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let read = || -> Result<WaitingDelivery, Cause> {
                Ok(WaitingDelivery {
                    delivery: row.id.parse()?,
                    webhook: row.webhook.parse()?,
                    due_at: from_unix_ms(row.next_attempt_at.unwrap_or(0)),
                })
            };
            read().map_err(|cause| corrupt("webhook_deliveries", &row.id, cause))
        })
        .collect()
}

/// All that is needed to send it, if it still waits.
pub(crate) async fn outbound(
    db: &mut SqliteConnection,
    seal: &Sealer,
    id: &DeliveryId,
) -> Result<Option<Outbound>, StoreError> {
    let Some(delivery) = delivery(&mut *db, id).await? else {
        return Ok(None);
    };
    let Some(webhook) = get(&mut *db, seal, &delivery.webhook).await? else {
        return Ok(None);
    };
    if delivery.status != DeliveryStatus::Pending || !webhook.active {
        return Ok(None);
    }
    let id = id.as_str();
    let body = sqlx::query_scalar!("SELECT body FROM webhook_deliveries WHERE id = ?", id)
        .fetch_one(db)
        .await
        .doing("reading a webhook delivery")?;
    Ok(Some(Outbound {
        webhook,
        delivery,
        body,
    }))
}

/// Stores what an attempt came to, unless the delivery was dropped or queued anew meanwhile.
pub(crate) async fn save(db: &mut SqliteConnection, delivery: &Delivery) -> Result<(), StoreError> {
    let (id, status) = (delivery.id.as_str(), delivery.status.as_str());
    let next_attempt_at = delivery.next_attempt_at.map(to_unix_ms);
    let delivered_at = delivery.delivered_at.map(to_unix_ms);
    sqlx::query!(
        "UPDATE webhook_deliveries
         SET status = ?, attempts = ?, next_attempt_at = ?, last_status = ?, last_error = ?,
             delivered_at = ?
         WHERE id = ? AND sequence = ? AND status = 'pending'",
        status,
        delivery.attempts,
        next_attempt_at,
        delivery.last_status,
        delivery.last_error,
        delivered_at,
        id,
        delivery.sequence
    )
    .execute(db)
    .await
    .doing("storing an attempt of a webhook delivery")?;
    Ok(())
}

/// What waits is due now; what does not goes to the end of the queue once more. `None` if there is
/// no such delivery.
pub(crate) async fn resend(
    db: &mut SqliteConnection,
    id: &DeliveryId,
    at: OffsetDateTime,
) -> Result<Option<Delivery>, StoreError> {
    const DOING: &str = "queueing a webhook delivery again";
    let Some(found) = delivery(&mut *db, id).await? else {
        return Ok(None);
    };
    let (text, at) = (id.as_str(), to_unix_ms(at));
    if found.status == DeliveryStatus::Pending {
        sqlx::query!(
            "UPDATE webhook_deliveries SET next_attempt_at = ? WHERE id = ?",
            at,
            text
        )
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    } else {
        let sequence = outbox::next_number(&mut *db, &found.webhook).await?;
        sqlx::query!(
            "UPDATE webhook_deliveries
             SET sequence = ?, status = 'pending', attempts = 0, next_attempt_at = ?,
                 queued_at = ?, delivered_at = NULL
             WHERE id = ?",
            sequence,
            at,
            at,
            text
        )
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    }
    delivery(db, id).await
}

/// Removes what is over and older than this; returns how many.
pub(crate) async fn expire(
    db: &mut SqliteConnection,
    before: OffsetDateTime,
) -> Result<u64, StoreError> {
    let before = to_unix_ms(before);
    let gone = sqlx::query!(
        "DELETE FROM webhook_deliveries WHERE queued_at < ? AND status <> 'pending'",
        before
    )
    .execute(db)
    .await
    .doing("removing old webhook deliveries")?;
    Ok(gone.rows_affected())
}
