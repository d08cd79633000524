//! Archives that callers send to have them built.

use bytes::Bytes;
use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::build::UploadId;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use futures_util::stream::BoxStream;
use serde::Serialize;

use crate::authorise::authorise;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::SourceError;
use crate::secret::random_u64;

/// How long an upload is kept that nobody deploys.
pub(crate) const KEEP: time::Duration = time::Duration::hours(24);

/// An archive that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upload {
    pub upload: UploadId,
    pub bytes: u64,
    /// Hex.
    pub sha256: String,
}

/// Keeps an archive (tar or tar.gz) for a deployment of `app` within a day; `environment`: if it
/// is known already where it will be deployed.
pub async fn receive_upload(
    px: &Platform,
    actor: &Actor,
    app: &AppName,
    environment: Option<&EnvironmentName>,
    archive: BoxStream<'static, std::io::Result<Bytes>>,
) -> Result<Upload, Error> {
    let target = match environment {
        Some(environment) => Resource::Environment(app, environment),
        None => Resource::SomeOf(app),
    };
    authorise(px, actor, Action::Deploy, target)?;
    let random = u32::try_from(random_u64() & u64::from(u32::MAX)).unwrap_or_default();
    let id = UploadId::new(px.now(), random);
    let received = px
        .parts()
        .workshop
        .receive(&id, archive)
        .await
        .map_err(refused)?;
    Ok(Upload {
        upload: id,
        bytes: received.bytes,
        sha256: received.sha256,
    })
}

fn refused(error: SourceError) -> Error {
    match error {
        SourceError::Failed { source, .. } => Error::Internal {
            doing: "keeping an upload",
            source,
        },
        SourceError::NotFound { message, next }
        | SourceError::Denied { message, next }
        | SourceError::Refused { message, next } => {
            Error::invalid("source", format!("is refused: {message}; {next}"))
        }
        SourceError::Unreachable { message } => {
            Error::invalid("source", format!("is refused: {message}"))
        }
    }
}

/// Removes uploads that nobody deployed, and what ended deployments left behind.
pub(crate) async fn tidy(px: &Platform) -> Result<(), Error> {
    let unfinished: Vec<_> = px
        .parts()
        .store
        .unfinished_deployments()
        .await?
        .into_iter()
        .map(|deployment| deployment.id)
        .collect();
    let before = px.now() - KEEP;
    if let Err(error) = px.parts().workshop.tidy(before, &unfinished).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "old sources could not be removed"
        );
    }
    Ok(())
}
