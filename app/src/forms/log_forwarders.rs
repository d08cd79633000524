//! Create, test, switch and remove log forwarders.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::forwarder::{ForwardFilter, ForwardKind, ForwarderId, Target};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::forwarders::{
    ChangeForwarder, CreateForwarder, NewForwarder, change_forwarder, create_forwarder,
    delete_forwarder, test_forwarder,
};
use flukedeploy_platform::secret::Secret;

use super::parse::Reader;
use super::webhooks::{NEW_SECRET, SECRET};
use super::{Sent, with_form_names};
use crate::paths;

/// The typed value of the header.
pub(crate) const AUTHORIZATION: &str = "authorization_password";

pub(crate) async fn create(form: Sent) -> Response {
    match make(&form).await {
        Err(error) => form.answer(Err(error)).await,
        Ok(NewForwarder {
            secret: Some(secret),
            ..
        }) => {
            let shown = vec![(NEW_SECRET.to_owned(), secret.expose().to_owned())];
            form.show_once(shown).await
        }
        Ok(NewForwarder { view, .. }) => form.answer(Ok(paths::log_forwarder(&view.id))).await,
    }
}

async fn make(form: &Sent) -> Result<NewForwarder, Error> {
    let actor = form.actor()?;
    let mut reader = Reader::new(&form.typed);
    let kind = reader.required::<ForwardKind>("forward_kind");
    let filter = ForwardFilter {
        app_name: reader.optional::<AppName>("app_name"),
        environment: reader.optional::<EnvironmentName>("environment"),
        min_level: reader
            .optional::<Level>("min_level")
            .filter(|level| *level != Level::Debug),
    };
    let url = form.typed.text("url").unwrap_or_default();
    let target = kind.and_then(|kind| match Target::new(kind, url) {
        Ok(target) => Some(target),
        Err(fault) => {
            reader.fault("url", fault.problem);
            None
        }
    });
    reader.finish()?;
    let Some(target) = target else {
        return Err(Error::invalid("url", "must be given"));
    };
    let header = form.typed.text(AUTHORIZATION);
    let cmd = CreateForwarder {
        target,
        secret: form.typed.text(SECRET).map(Secret::new),
        headers: header
            .map(|value| ("Authorization".to_owned(), Secret::new(value)))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        filter,
        from_beginning: false,
    };
    create_forwarder(&form.px, actor, cmd)
        .await
        .map_err(|error| {
            with_form_names(error, |field| match field {
                "secret" => Some(SECRET),
                "headers" => Some(AUTHORIZATION),
                _ => field.starts_with("headers.").then_some(AUTHORIZATION),
            })
        })
}

pub(crate) async fn test(Path(id): Path<String>, form: Sent) -> Response {
    let result = send_test(&form, &id).await;
    form.answer(result).await
}

async fn send_test(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = addressed(form, id)?;
    let result = test_forwarder(&form.px, actor, &id).await?;
    match result.why {
        None => Ok(paths::log_forwarder(&id)),
        Some(why) => Err(Error::NotNow(format!("the test did not arrive: {why}"))),
    }
}

pub(crate) async fn switch(Path(id): Path<String>, form: Sent) -> Response {
    let result = turn(&form, &id).await;
    form.answer(result).await
}

async fn turn(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = addressed(form, id)?;
    let cmd = ChangeForwarder {
        active: Some(form.typed.has("active", "true")),
        ..ChangeForwarder::default()
    };
    change_forwarder(&form.px, actor, &id, cmd).await?;
    Ok(paths::log_forwarder(&id))
}

pub(crate) async fn delete(Path(id): Path<String>, form: Sent) -> Response {
    let result = remove(&form, &id).await;
    form.answer(result).await
}

async fn remove(form: &Sent, id: &str) -> Result<String, Error> {
    let (actor, id) = addressed(form, id)?;
    delete_forwarder(&form.px, actor, &id).await?;
    Ok(paths::LOG_FORWARDERS.to_owned())
}

/// Who acts, and on which forwarder. An id that cannot be one is the id of none.
fn addressed<'f>(form: &'f Sent, id: &str) -> Result<(&'f Actor, ForwarderId), Error> {
    let actor = form.actor()?;
    let id = id.parse().map_err(|_| Error::NotFound {
        what: "log forwarder of that id".to_owned(),
    })?;
    Ok((actor, id))
}
