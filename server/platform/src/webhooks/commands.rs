use std::fmt::Write as _;

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::names::{AppName, Invalid};
use flukedeploy_domain::webhook::{
    Delivery, DeliveryId, Events, Webhook, WebhookId, WebhookUrl, WebhookView,
};

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::secret::{Secret, random_u64};

/// Shortest and longest secret that a caller may bring along, in characters.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

#[derive(Debug, Clone)]
pub struct CreateWebhook {
    pub url: WebhookUrl,
    /// Key of the signatures; one is made if none is given.
    pub secret: Option<Secret>,
    pub events: Events,
    /// Only what is about this app.
    pub app: Option<AppName>,
}

/// A new webhook with the only appearance of its secret.
pub struct NewWebhook {
    pub view: WebhookView,
    pub secret: Secret,
}

#[derive(Debug, Clone, Default)]
pub struct ChangeWebhook {
    pub active: Option<bool>,
    pub events: Option<Events>,
}

/// Oldest first.
pub async fn list_webhooks(px: &Platform, actor: &Actor) -> Result<Vec<WebhookView>, Error> {
    authorise(px, actor, Action::ListWebhooks, Resource::System)?;
    let webhooks = px.parts().store.webhooks().await?;
    Ok(webhooks.iter().map(WebhookView::from).collect())
}

pub async fn get_webhook(
    px: &Platform,
    actor: &Actor,
    id: &WebhookId,
) -> Result<WebhookView, Error> {
    authorise(px, actor, Action::ListWebhooks, Resource::System)?;
    Ok((&require(px, id).await?).into())
}

pub async fn create_webhook(
    px: &Platform,
    actor: &Actor,
    cmd: CreateWebhook,
) -> Result<NewWebhook, Error> {
    authorise(px, actor, Action::ChangeWebhooks, Resource::System)?;
    let secret = cmd.secret.unwrap_or_else(new_signing_secret);
    check_signing_secret(&secret)?;
    if let Some(app) = &cmd.app
        && px.parts().store.app_overview(app).await?.is_none()
    {
        return Err(Invalid::new(
            "app_name",
            format!("must name an app, and there is no '{app}'"),
        )
        .into());
    }
    let webhook = Webhook {
        id: WebhookId::new(random_u64()),
        url: cmd.url,
        secret: secret.expose().to_owned(),
        events: cmd.events,
        app: cmd.app,
        active: true,
        created_at: px.now(),
    };
    let summary = format!("created a webhook to {}", webhook.url.authority());
    let audit = audit(px, actor, &webhook.id, summary);
    px.parts().store.create_webhook(&webhook, &audit).await?;
    crate::changes::tell(px, &audit);
    Ok(NewWebhook {
        view: (&webhook).into(),
        secret,
    })
}

/// A key for signatures.
pub(crate) fn new_signing_secret() -> Secret {
    Secret::new(hex(&[
        random_u64(),
        random_u64(),
        random_u64(),
        random_u64(),
    ]))
}

pub(crate) fn check_signing_secret(secret: &Secret) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_graphic() || b == b' ';
    if SECRET_LENGTH.contains(&secret.expose().len()) && secret.expose().bytes().all(plain) {
        return Ok(());
    }
    Err(Error::invalid(
        "secret",
        format!(
            "must have {} to {} plain characters",
            SECRET_LENGTH.start(),
            SECRET_LENGTH.end()
        ),
    ))
}

/// Turned off, it drops what waits for it.
pub async fn change_webhook(
    px: &Platform,
    actor: &Actor,
    id: &WebhookId,
    cmd: ChangeWebhook,
) -> Result<WebhookView, Error> {
    authorise(px, actor, Action::ChangeWebhooks, Resource::System)?;
    let webhook = require(px, id).await?;
    let active = cmd.active.unwrap_or(webhook.active);
    let events = cmd.events.unwrap_or_else(|| webhook.events.clone());
    if active == webhook.active && events == webhook.events {
        return Ok((&webhook).into());
    }
    let summary = match (webhook.active, active) {
        (false, true) => format!("turned the webhook {id} on"),
        (true, false) => format!("turned the webhook {id} off"),
        _ => format!("changed the events of the webhook {id}"),
    };
    let audit = audit(px, actor, id, summary)
        .with_change(
            "active",
            Some(webhook.active.to_string()),
            Some(active.to_string()),
        )
        .with_change(
            "events",
            Some(webhook.events.names().join(", ")),
            Some(events.names().join(", ")),
        );
    let store = &px.parts().store;
    if !store.change_webhook(id, active, &events, &audit).await? {
        return Err(not_found());
    }
    crate::changes::tell(px, &audit);
    Ok((&require(px, id).await?).into())
}

/// Its deliveries go with it.
pub async fn delete_webhook(px: &Platform, actor: &Actor, id: &WebhookId) -> Result<(), Error> {
    authorise(px, actor, Action::ChangeWebhooks, Resource::System)?;
    let audit = audit(px, actor, id, format!("removed the webhook {id}"));
    if px.parts().store.delete_webhook(id, &audit).await? {
        crate::changes::tell(px, &audit);
        Ok(())
    } else {
        Err(not_found())
    }
}

/// Newest first, at most 500.
pub async fn list_deliveries(
    px: &Platform,
    actor: &Actor,
    id: &WebhookId,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    authorise(px, actor, Action::ListWebhooks, Resource::System)?;
    require(px, id).await?;
    Ok(px.parts().store.deliveries(id, limit.clamp(1, 500)).await?)
}

/// Queues a `webhook.test`, behind what waits already.
pub async fn test_webhook(px: &Platform, actor: &Actor, id: &WebhookId) -> Result<Delivery, Error> {
    authorise(px, actor, Action::ChangeWebhooks, Resource::System)?;
    require_active(px, id).await?;
    let audit = audit(px, actor, id, format!("tested the webhook {id}"));
    Ok(px.parts().store.queue_test(id, &audit).await?)
}

/// Sends a delivery once more, with the same id and body; one that waits is tried now.
pub async fn resend(px: &Platform, actor: &Actor, id: &DeliveryId) -> Result<Delivery, Error> {
    authorise(px, actor, Action::ChangeWebhooks, Resource::System)?;
    let unknown = || Error::NotFound {
        what: "webhook delivery of that id".to_owned(),
    };
    let webhook = webhook_of(id).ok_or_else(unknown)?;
    match require_active(px, &webhook).await {
        Err(Error::NotFound { .. }) => return Err(unknown()),
        other => other?,
    }
    let audit = audit(px, actor, &webhook, format!("sent the delivery {id} again"));
    let queued = px.parts().store.resend_delivery(id, &audit).await?;
    queued.ok_or_else(unknown)
}

/// A delivery's id begins with its webhook's.
fn webhook_of(id: &DeliveryId) -> Option<WebhookId> {
    id.as_str().rsplit_once('-')?.0.parse().ok()
}

async fn require(px: &Platform, id: &WebhookId) -> Result<Webhook, Error> {
    px.parts().store.webhook(id).await?.ok_or_else(not_found)
}

async fn require_active(px: &Platform, id: &WebhookId) -> Result<(), Error> {
    if require(px, id).await?.active {
        return Ok(());
    }
    Err(Error::NotNow(
        "the webhook is turned off; turn it on first".to_owned(),
    ))
}

fn not_found() -> Error {
    Error::NotFound {
        what: "webhook of that id".to_owned(),
    }
}

fn audit(px: &Platform, actor: &Actor, id: &WebhookId, summary: String) -> AuditEntry {
    let resource = format!("webhook:{id}");
    AuditEntry::new(px.now(), actor, Action::ChangeWebhooks, resource, summary)
}

fn hex(words: &[u64]) -> String {
    words.iter().fold(String::new(), |mut text, word| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{word:016x}");
        text
    })
}
