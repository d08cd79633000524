//! An archive from the browser, written where builds take it from while it comes in.

use std::io;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{Multipart, Path, State};
use axum::response::Response;
use flukedeploy_domain::names::AppName;
use flukedeploy_platform::people::Origin;
use flukedeploy_platform::uploads::receive_upload;
use flukedeploy_platform::{Error, Platform};
use futures_util::{StreamExt, stream};
use http::Uri;
use tokio::sync::mpsc;

use super::{Sent, Typed, with_form_names};
use crate::context::Visitor;
use crate::paths;

/// The form's only field.
pub(crate) const ARCHIVE: &str = "archive";
/// How long a sender may pause.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a refused archive is still read: a browser shows an answer only once it has sent all.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn receive(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    uri: Uri,
    form: Result<Multipart, MultipartRejection>,
) -> Response {
    let sent = Sent {
        px,
        visitor,
        uri,
        origin: Origin::default(),
        is_secure: false,
        typed: Typed::default(),
    };
    let result = keep(&sent, &name, form).await;
    sent.answer(result).await
}

async fn keep(
    sent: &Sent,
    app: &str,
    form: Result<Multipart, MultipartRejection>,
) -> Result<String, Error> {
    let (actor, app) = sent.addressed::<AppName>(app)?;
    let environment = sent.environment()?;
    let refused = |problem: &str| Error::invalid(ARCHIVE, problem);
    let cut = || refused("did not arrive whole: send it again");
    let mut form = form.map_err(|_| refused("must be sent by this page's form"))?;
    let first = tokio::time::timeout(PAUSE, form.next_field()).await;
    let field = first.map_err(|_| cut())?.map_err(|_| cut())?;
    let is_archive = |field: &Field<'_>| {
        field.name() == Some(ARCHIVE) && field.file_name().is_some_and(|name| !name.is_empty())
    };
    let Some(field) = field.filter(is_archive) else {
        return Err(refused("must be chosen"));
    };
    let (sender, receiver) = mpsc::channel(4);
    let archive = stream::unfold(receiver, |mut receiver| async move {
        let chunk: io::Result<Bytes> = receiver.recv().await?;
        Some((chunk, receiver))
    });
    let (kept, whole) = tokio::join!(
        receive_upload(&sent.px, actor, &app, Some(&environment), archive.boxed()),
        pass_on(field, sender)
    );
    if !whole {
        return Err(cut());
    }
    // What builds call their source is the archive in this form.
    let kept = kept.map_err(|error| with_form_names(error, |_| Some(ARCHIVE)))?;
    if kept.bytes == 0 {
        return Err(refused("must not be empty"));
    }
    let to = paths::deploy_upload(&app, &kept.upload);
    Ok(paths::within(&to, &environment))
}

/// Hands the field's bytes on as they come. False if the browser went away or paused for too long.
async fn pass_on(mut field: Field<'_>, sender: mpsc::Sender<io::Result<Bytes>>) -> bool {
    let mut refused_at = None;
    loop {
        let chunk = match tokio::time::timeout(PAUSE, field.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return true,
            Ok(Err(error)) => {
                // Nobody waits for it if the archive was refused.
                let _ = sender.send(Err(io::Error::other(error))).await;
                return refused_at.is_some();
            }
            Err(_) => {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the browser paused");
                let _ = sender.send(Err(late)).await;
                return refused_at.is_some();
            }
        };
        match refused_at {
            Some(since) if Instant::elapsed(&since) > PATIENCE => return true,
            None if sender.send(Ok(chunk)).await.is_err() => refused_at = Some(Instant::now()),
            Some(_) | None => {}
        }
    }
}
