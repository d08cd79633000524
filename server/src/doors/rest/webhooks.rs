//! `/webhooks`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use flukedeploy_domain::names::AppName;
use flukedeploy_domain::webhook::{
    Delivery, DeliveryId, Events, WebhookId, WebhookUrl, WebhookView,
};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::webhooks::{self, ChangeWebhook, CreateWebhook};
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;

use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::requests::strings;

#[derive(Serialize)]
pub(super) struct WebhookList {
    total: usize,
    webhooks: Vec<WebhookView>,
}

/// The only answer that ever holds a secret.
#[derive(Serialize)]
pub(super) struct WebhookCreated {
    #[serde(flatten)]
    view: WebhookView,
    secret: String,
}

#[derive(Serialize)]
pub(super) struct DeliveryList {
    total: usize,
    deliveries: Vec<Delivery>,
}

/// The id in an address.
type IdPath = Result<Path<String>, axum::extract::rejection::PathRejection>;

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<WebhookList>, Problem> {
    let webhooks = webhooks::list_webhooks(&px, &actor).await?;
    Ok(Json(WebhookList {
        total: webhooks.len(),
        webhooks,
    }))
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<WebhookCreated>), Problem> {
    let new = webhooks::create_webhook(&px, &actor, creation(body)?).await?;
    let secret = new.secret.expose().to_owned();
    Ok((
        StatusCode::CREATED,
        Json(WebhookCreated {
            view: new.view,
            secret,
        }),
    ))
}

pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
    JsonBody(body): JsonBody,
) -> Result<Json<WebhookView>, Problem> {
    let cmd = alteration(body)?;
    let id = webhook(path)?;
    Ok(Json(webhooks::change_webhook(&px, &actor, &id, cmd).await?))
}

pub(super) async fn remove(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
) -> Result<StatusCode, Problem> {
    webhooks::delete_webhook(&px, &actor, &webhook(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn deliveries(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
    mut query: Params,
) -> Result<Json<DeliveryList>, Problem> {
    let limit = query.number("limit").unwrap_or(100);
    query.finish()?;
    let deliveries = webhooks::list_deliveries(&px, &actor, &webhook(path)?, limit).await?;
    Ok(Json(DeliveryList {
        total: deliveries.len(),
        deliveries,
    }))
}

pub(super) async fn test(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    let queued = webhooks::test_webhook(&px, &actor, &webhook(path)?).await?;
    Ok((StatusCode::ACCEPTED, Json(queued)))
}

pub(super) async fn resend(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    let id: DeliveryId = parsed(path, "webhook delivery of that id")?;
    let queued = webhooks::resend(&px, &actor, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(queued)))
}

fn creation(mut fields: Fields) -> Result<CreateWebhook, Error> {
    let url = fields.required::<WebhookUrl>("url");
    let secret = fields.text("secret").map(Secret::new);
    let events = events(&mut fields);
    let app = fields.parsed::<AppName>("app_name");
    let Some(url) = url else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(CreateWebhook {
        url,
        secret,
        events: events.unwrap_or_default(),
        app,
    })
}

fn alteration(mut fields: Fields) -> Result<ChangeWebhook, Error> {
    let active = fields.optional_flag("active");
    let events = events(&mut fields);
    fields.finish()?;
    Ok(ChangeWebhook { active, events })
}

fn events(fields: &mut Fields) -> Option<Events> {
    let names = strings(fields, "events")?;
    match Events::of_names(names.iter().map(String::as_str)) {
        Ok(events) => Some(events),
        Err(fault) => {
            fields.fault("events", fault.problem);
            None
        }
    }
}

fn webhook(path: IdPath) -> Result<WebhookId, Problem> {
    parsed(path, "webhook of that id")
}

/// An id that cannot be is as unknown as one that is not.
fn parsed<T: std::str::FromStr>(path: IdPath, what: &str) -> Result<T, Problem> {
    let Path(text) = path.map_err(|_| Problem::bad_request("the address cannot be read"))?;
    text.parse().map_err(|_| {
        let what = what.to_owned();
        Error::NotFound { what }.into()
    })
}
