//! `/log-forwarders`.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use flukedeploy_domain::forwarder::{
    ForwardFilter, ForwardKind, ForwarderId, ForwarderView, Target,
};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid};
use flukedeploy_platform::forwarders::{self, ChangeForwarder, CreateForwarder, TestResult};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform};
use serde::Serialize;
use serde_json::Value;

use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;

#[derive(Serialize)]
pub(super) struct ForwarderList {
    total: usize,
    log_forwarders: Vec<ForwarderView>,
}

/// The only answer that ever holds a signing key.
#[derive(Serialize)]
pub(super) struct ForwarderCreated {
    #[serde(flatten)]
    view: ForwarderView,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// The id in an address.
type IdPath = Result<Path<String>, axum::extract::rejection::PathRejection>;

pub(super) async fn list(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<ForwarderList>, Problem> {
    let log_forwarders = forwarders::list_forwarders(&px, &actor).await?;
    Ok(Json(ForwarderList {
        total: log_forwarders.len(),
        log_forwarders,
    }))
}

pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<ForwarderCreated>), Problem> {
    let new = forwarders::create_forwarder(&px, &actor, creation(body)?).await?;
    let secret = new.secret.map(|secret| secret.expose().to_owned());
    let view = new.view;
    Ok((StatusCode::CREATED, Json(ForwarderCreated { view, secret })))
}

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
) -> Result<Json<ForwarderView>, Problem> {
    let id = forwarder(path)?;
    Ok(Json(forwarders::get_forwarder(&px, &actor, &id).await?))
}

pub(super) async fn change(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
    JsonBody(body): JsonBody,
) -> Result<Json<ForwarderView>, Problem> {
    let id = forwarder(path)?;
    let before = forwarders::get_forwarder(&px, &actor, &id).await?;
    let cmd = alteration(body, before.filter)?;
    let after = forwarders::change_forwarder(&px, &actor, &id, cmd).await?;
    Ok(Json(after))
}

pub(super) async fn remove(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
) -> Result<StatusCode, Problem> {
    forwarders::delete_forwarder(&px, &actor, &forwarder(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn test(
    State(px): State<Platform>,
    Caller(actor): Caller,
    path: IdPath,
) -> Result<Json<TestResult>, Problem> {
    let id = forwarder(path)?;
    Ok(Json(forwarders::test_forwarder(&px, &actor, &id).await?))
}

fn creation(mut fields: Fields) -> Result<CreateForwarder, Error> {
    let kind = fields.required::<ForwardKind>("kind");
    let url = fields.text("url");
    if url.is_none() && !fields.has_fault("url") {
        fields.fault("url", "must be given");
    }
    let secret = fields.text("secret").map(Secret::new);
    let headers = headers(&mut fields).unwrap_or_default();
    let filter = filter(&mut fields, ForwardFilter::default());
    let from_beginning = fields.flag("from_beginning", false);
    let target = match (kind, &url) {
        (Some(kind), Some(url)) => Target::new(kind, url)
            .map_err(|fault| fields.fault("url", fault.problem))
            .ok(),
        _ => None,
    };
    let Some(target) = target else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(CreateForwarder {
        target,
        secret,
        headers,
        filter,
        from_beginning,
    })
}

/// Parts of the filter that are not named stay; `null` takes one away.
fn alteration(mut fields: Fields, before: ForwardFilter) -> Result<ChangeForwarder, Error> {
    let cmd = ChangeForwarder {
        active: fields.optional_flag("active"),
        url: fields.text("url"),
        secret: fields.text("secret").map(Secret::new),
        headers: headers(&mut fields),
        filter: Some(filter(&mut fields, before)),
    };
    fields.finish()?;
    Ok(cmd)
}

fn filter(fields: &mut Fields, before: ForwardFilter) -> ForwardFilter {
    ForwardFilter {
        app_name: part::<AppName>(fields, "app_name", before.app_name),
        environment: part::<EnvironmentName>(fields, "environment", before.environment),
        min_level: part::<Level>(fields, "min_level", before.min_level),
    }
}

fn part<T: FromStr<Err = Invalid>>(
    fields: &mut Fields,
    name: &'static str,
    before: Option<T>,
) -> Option<T> {
    match fields.take_nullable(name) {
        None => before,
        Some(Value::Null) => None,
        Some(Value::String(text)) => match text.parse() {
            Ok(value) => Some(value),
            Err(fault) => {
                fields.fault(name, fault.problem);
                None
            }
        },
        Some(_) => {
            fields.fault(name, "must be a string");
            None
        }
    }
}

/// An object of strings; values never show in a fault.
fn headers(fields: &mut Fields) -> Option<BTreeMap<String, Secret>> {
    let Value::Object(object) = fields.take("headers")? else {
        fields.fault("headers", "must be an object of strings");
        return None;
    };
    let mut headers = BTreeMap::new();
    for (name, value) in object {
        let Value::String(value) = value else {
            fields.fault("headers", "must be an object of strings");
            return None;
        };
        headers.insert(name, Secret::new(value));
    }
    Some(headers)
}

/// An id that cannot be is as unknown as one that is not.
fn forwarder(path: IdPath) -> Result<ForwarderId, Problem> {
    let Path(text) = path.map_err(|_| Problem::bad_request("the address cannot be read"))?;
    text.parse().map_err(|_| {
        let what = "log forwarder of that id".to_owned();
        Error::NotFound { what }.into()
    })
}
