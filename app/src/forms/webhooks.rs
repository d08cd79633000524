//! Create, test, switch and remove webhooks; send a delivery again.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::names::AppName;
use flukedeploy_domain::webhook::{DeliveryId, Events, WebhookId, WebhookUrl};
use flukedeploy_platform::Error;
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::webhooks::{
    self, ChangeWebhook, CreateWebhook, NewWebhook, change_webhook, create_webhook, test_webhook,
};

use super::parse::Reader;
use super::{Sent, with_form_names};
use crate::paths;

/// Fields in which the page gets the one appearance of a new webhook's secret.
pub(crate) const NEW_SECRET: &str = "new_secret";
pub(crate) const NEW_ID: &str = "new_id";
/// The typed secret.
pub(crate) const SECRET: &str = "webhook_password";

pub(crate) async fn create(form: Sent) -> Response {
    match make(&form).await {
        Err(error) => form.answer(Err(error)).await,
        Ok(NewWebhook { view, secret }) => {
            let shown = vec![
                (NEW_SECRET.to_owned(), secret.expose().to_owned()),
                (NEW_ID.to_owned(), view.id.to_string()),
            ];
            form.show_once(shown).await
        }
    }
}

async fn make(form: &Sent) -> Result<NewWebhook, Error> {
    let actor = form.actor()?;
    let mut reader = Reader::new(&form.typed);
    let url = reader.required::<WebhookUrl>("url");
    let app = reader.optional::<AppName>("app_name");
    let mut chosen = form.typed.all("events").peekable();
    let events = if chosen.peek().is_none() {
        Events::All
    } else {
        match Events::of_names(chosen) {
            Ok(events) => events,
            Err(fault) => {
                reader.fault("events", fault.problem);
                Events::All
            }
        }
    };
    reader.finish()?;
    let Some(url) = url else {
        return Err(Error::invalid("url", "must be given"));
    };
    let cmd = CreateWebhook {
        url,
        secret: form.typed.text(SECRET).map(Secret::new),
        events,
        app,
    };
    create_webhook(&form.px, actor, cmd)
        .await
        .map_err(|error| with_form_names(error, |field| (field == "secret").then_some(SECRET)))
}

pub(crate) async fn test(Path(id): Path<String>, form: Sent) -> Response {
    let result = send_test(&form, &id).await;
    form.answer(result).await
}

async fn send_test(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = addressed(form, id)?;
    test_webhook(&form.px, actor, &id).await?;
    Ok(paths::webhook(&id))
}

pub(crate) async fn switch(Path(id): Path<String>, form: Sent) -> Response {
    let result = turn(&form, &id).await;
    form.answer(result).await
}

async fn turn(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = addressed(form, id)?;
    let cmd = ChangeWebhook {
        active: Some(form.typed.has("active", "true")),
        events: None,
    };
    change_webhook(&form.px, actor, &id, cmd).await?;
    Ok(paths::webhook(&id))
}

pub(crate) async fn delete(Path(id): Path<String>, form: Sent) -> Response {
    let result = remove(&form, &id).await;
    form.answer(result).await
}

async fn remove(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = addressed(form, id)?;
    webhooks::delete_webhook(&form.px, actor, &id).await?;
    Ok(paths::WEBHOOKS.to_owned())
}

pub(crate) async fn resend(Path(id): Path<String>, form: Sent) -> Response {
    let result = again(&form, &id).await;
    form.answer(result).await
}

async fn again(form: &Sent, id: &str) -> Result<String, Error> {
    let actor = form.actor()?;
    let id: DeliveryId = id.parse().map_err(|_| Error::NotFound {
        what: "webhook delivery of that id".to_owned(),
    })?;
    let delivery = webhooks::resend(&form.px, actor, &id).await?;
    Ok(paths::webhook(&delivery.webhook))
}

/// Who acts, and on which webhook. An id that cannot be one is the id of no webhook.
fn addressed<'f>(form: &'f Sent, id: &str) -> Result<(&'f Actor, WebhookId), Error> {
    let actor = form.actor()?;
    let id = id.parse().map_err(|_| Error::NotFound {
        what: "webhook of that id".to_owned(),
    })?;
    Ok((actor, id))
}
