//! An archive from the browser, written where builds take it from while it comes in.

use std::io;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{Multipart, Path, State};
use axum::response::Response;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::build::UploadId;
use flukedeploy_domain::names::{AppName, Invalid};
use flukedeploy_platform::uploads::receive_upload;
use flukedeploy_platform::{Error, Platform};
use futures_util::{StreamExt, stream};
use http::Uri;
use tokio::sync::mpsc;

use super::{Typed, addressed, answer, environment_of};
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
    let result = match (addressed::<AppName>(&visitor, &name), form) {
        (Ok((actor, app)), Ok(form)) => keep(&px, actor, &app, form).await.and_then(|id| {
            let to = paths::deploy_upload(&app, &id);
            Ok(paths::within(&to, &environment_of(&uri)?))
        }),
        (Ok(_), Err(_)) => Err(Error::invalid(ARCHIVE, "must be sent by this page's form")),
        (Err(error), _) => Err(error),
    };
    answer(&px, visitor, &uri, Typed::default(), result).await
}

async fn keep(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    mut form: Multipart,
) -> Result<UploadId, Error> {
    let cut = || Error::invalid(ARCHIVE, "did not arrive whole: send it again");
    while let Some(field) = form.next_field().await.map_err(|_| cut())? {
        if field.name() != Some(ARCHIVE) || field.file_name().is_none_or(str::is_empty) {
            continue;
        }
        let (sender, receiver) = mpsc::channel(4);
        let archive = stream::unfold(receiver, |mut receiver| async move {
            let chunk: io::Result<Bytes> = receiver.recv().await?;
            Some((chunk, receiver))
        });
        let (kept, whole) = tokio::join!(
            receive_upload(px, actor, app, archive.boxed()),
            pass_on(field, sender)
        );
        if !whole {
            return Err(cut());
        }
        let kept = kept.map_err(of_archive)?;
        if kept.bytes == 0 {
            return Err(Error::invalid(ARCHIVE, "must not be empty"));
        }
        return Ok(kept.upload);
    }
    Err(Error::invalid(ARCHIVE, "must be chosen"))
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

/// What builds call their source is the archive in this form.
fn of_archive(error: Error) -> Error {
    match error {
        Error::Invalid(faults) => Error::Invalid(
            faults
                .into_iter()
                .map(|fault| Invalid::new(ARCHIVE, fault.problem))
                .collect(),
        ),
        other => other,
    }
}
