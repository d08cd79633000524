//! `/apps/{name}/uploads` and `/apps/{name}/source`: archives to build.

use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::uploads::{Upload, receive_upload};
use flukedeploy_platform::{Platform, deployments};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value, json};

use super::deployments::{idempotency_key, started, wait_of};
use super::path::AppPath;
use crate::doors::auth::Caller;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::requests;

/// How long a sender may pause.
const PAUSE: Duration = Duration::from_secs(30);

/// Keeps an archive, to be named in a deployment.
pub(super) async fn create(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Upload>), Problem> {
    let upload = receive(&px, &actor, (&name, None), &headers, body).await?;
    Ok((StatusCode::CREATED, Json(upload)))
}

/// Keeps an archive and deploys it, in one call. Parameters of the address are the fields of
/// `POST /deployments`.
pub(super) async fn deploy(
    State(px): State<Platform>,
    Caller(actor): Caller,
    AppPath(name): AppPath,
    mut query: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = wait_of(&mut query);
    let mut object = Map::new();
    for field in [
        "environment",
        "version",
        "strategy",
        "validation_level",
        "queue",
        "reason",
        "dockerfile_path",
        "definition_path",
    ] {
        if let Some(text) = query.text(field) {
            object.insert(field.to_owned(), Value::String(text));
        }
    }
    for field in ["create", "auto_rollback"] {
        let default = field == "auto_rollback";
        object.insert(field.to_owned(), Value::Bool(query.flag(field, default)));
    }
    for field in ["replicas", "container_port"] {
        if let Some(number) = query.number::<u32>(field) {
            object.insert(field.to_owned(), json!(number));
        }
    }
    query.finish()?;
    object.insert("app_name".to_owned(), json!(name));
    // What is wrong with the rest shows before anything is sent.
    let unsent = "up-0-00000000";
    object.insert("source".to_owned(), json!({ "upload": unsent }));
    let environment = requests::deploy(Fields::new(object.clone()))?.environment;
    let target = (&name, Some(&environment));
    let upload = receive(&px, &actor, target, &headers, body).await?;
    object.insert("source".to_owned(), json!({ "upload": upload.upload }));
    let mut cmd = requests::deploy(Fields::new(object))?;
    cmd.idempotency_key = idempotency_key(&headers, None)?;
    let accepted = deployments::deploy(&px, &actor, cmd).await?;
    started(&px, &actor, accepted, wait).await
}

async fn receive(
    px: &Platform,
    actor: &Actor,
    (name, environment): (&AppName, Option<&EnvironmentName>),
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, Problem> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    // A form would be kept as it is, and found to be no archive only when it is built.
    if kind.starts_with("multipart/") || kind.starts_with("application/json") {
        return Err(Problem::bad_request(
            "the body must be the archive itself (tar or tar.gz): curl --data-binary @source.tar.gz \
             -H 'Content-Type: application/gzip'",
        ));
    }
    Ok(receive_upload(px, actor, name, environment, paced(body)).await?)
}

/// The body's bytes; a sender that pauses for too long is cut off.
fn paced(body: Body) -> BoxStream<'static, io::Result<Bytes>> {
    let chunks = body.into_data_stream();
    futures_util::stream::unfold(Some(chunks), |chunks| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout(PAUSE, chunks.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the sender paused for too long",
                )),
                None,
            )),
        }
    })
    .boxed()
}
