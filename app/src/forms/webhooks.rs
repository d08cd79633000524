//! Create, test, switch and remove webhooks; send a delivery again.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::names::{AppName, Invalid};
use flukedeploy_domain::webhook::{DeliveryId, Events, WebhookId, WebhookUrl};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::webhooks::{
    self, ChangeWebhook, CreateWebhook, NewWebhook, change_webhook, create_webhook, test_webhook,
};
use flukedeploy_platform::{Error, Platform};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode, Uri};

use super::parse::Reader;
use super::{Posted, Typed, actor, answer};
use crate::context::Visitor;
use crate::{paths, render};

/// Fields in which the page gets the one appearance of a new webhook's secret.
pub(crate) const NEW_SECRET: &str = "new_secret";
pub(crate) const NEW_ID: &str = "new_id";
/// The typed secret; named as a password is, so that it is carried nowhere.
pub(crate) const SECRET: &str = "webhook_password";

pub(crate) async fn create(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let made = match actor(&visitor) {
        Ok(actor) => make(&px, actor, &typed).await,
        Err(error) => Err(error),
    };
    match made {
        Err(error) => answer(&px, visitor, &uri, typed, Err(error)).await,
        // Shown in the answer itself: a redirect would have to keep the secret somewhere.
        Ok(NewWebhook { view, secret }) => {
            let shown = Typed::new(vec![
                (NEW_SECRET.to_owned(), secret.expose().to_owned()),
                (NEW_ID.to_owned(), view.id.to_string()),
            ]);
            let mut response =
                render::page(&px, visitor, paths::WEBHOOKS, shown, StatusCode::CREATED).await;
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
    }
}

async fn make(px: &Platform, actor: &Actor, typed: &Typed) -> Result<NewWebhook, Error> {
    let mut reader = Reader::new(typed);
    let url = reader.required::<WebhookUrl>("url");
    let app = reader.optional::<AppName>("app_name");
    let mut chosen = typed.all("events").peekable();
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
        secret: typed.text(SECRET).map(Secret::new),
        events,
        app,
    };
    create_webhook(px, actor, cmd).await.map_err(of_form)
}

/// What the use case calls the secret has another name in this form.
fn of_form(error: Error) -> Error {
    match error {
        Error::Invalid(faults) => Error::Invalid(
            faults
                .into_iter()
                .map(|fault| match fault.field.as_str() {
                    "secret" => Invalid::new(SECRET, fault.problem),
                    _ => fault,
                })
                .collect(),
        ),
        other => other,
    }
}

pub(crate) async fn test(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed(&visitor, &id) {
        Ok((actor, id)) => test_webhook(&px, actor, &id).await.map(|_| id),
        Err(error) => Err(error),
    };
    lead_on(&px, visitor, &id, typed, result).await
}

pub(crate) async fn switch(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Posted(typed): Posted,
) -> Response {
    let cmd = ChangeWebhook {
        active: Some(typed.has("active", "true")),
        events: None,
    };
    let result = match addressed(&visitor, &id) {
        Ok((actor, id)) => change_webhook(&px, actor, &id, cmd).await.map(|_| id),
        Err(error) => Err(error),
    };
    lead_on(&px, visitor, &id, typed, result).await
}

pub(crate) async fn delete(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    uri: Uri,
    Posted(typed): Posted,
) -> Response {
    let result = match addressed(&visitor, &id) {
        Ok((actor, id)) => webhooks::delete_webhook(&px, actor, &id)
            .await
            .map(|()| paths::WEBHOOKS.to_owned()),
        Err(error) => Err(error),
    };
    answer(&px, visitor, &uri, typed, result).await
}

pub(crate) async fn resend(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Posted(typed): Posted,
) -> Response {
    // Its webhook's page is where the button stands.
    let page = id.rsplit_once('-').map_or("", |(webhook, _)| webhook);
    let result = again(&px, &visitor, &id).await;
    lead_on(&px, visitor, page, typed, result).await
}

async fn again(px: &Platform, visitor: &Visitor, id: &str) -> Result<WebhookId, Error> {
    let actor = actor(visitor)?;
    let id: DeliveryId = id.parse().map_err(|_| Error::NotFound {
        what: "webhook delivery of that id".to_owned(),
    })?;
    Ok(webhooks::resend(px, actor, &id).await?.webhook)
}

/// Who acts, and on which webhook. An id that cannot be one is the id of no webhook.
fn addressed<'v>(visitor: &'v Visitor, id: &str) -> Result<(&'v Actor, WebhookId), Error> {
    let actor = actor(visitor)?;
    let id = id.parse().map_err(|_| Error::NotFound {
        what: "webhook of that id".to_owned(),
    })?;
    Ok((actor, id))
}

/// On to the webhook's page; failures show on it too, since a button has none.
async fn lead_on(
    px: &Platform,
    visitor: Visitor,
    id: &str,
    typed: Typed,
    result: Result<WebhookId, Error>,
) -> Response {
    let page = format!("{}/{}", paths::WEBHOOKS, paths::encoded(id))
        .parse()
        .unwrap_or_else(|_| Uri::from_static(paths::WEBHOOKS));
    let result = result.map(|id| paths::webhook(&id));
    answer(px, visitor, &page, typed, result).await
}
