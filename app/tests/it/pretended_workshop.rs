//! A workshop that keeps uploads and opens none.

use std::path::PathBuf;

use async_trait::async_trait;
use axum::body::Bytes;
use flukedeploy_domain::build::{Origin, RelativePath, UploadId};
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_platform::ports::{
    Absent, ContextDockerfile, OpenedSource, Received, SourceError, Workshop,
};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use time::OffsetDateTime;

/// More than a form may have, so that a test can tell the two limits apart.
const MOST_BYTES: usize = 3 * 1024 * 1024;

/// Each upload is a file of its id in this directory.
pub(crate) struct PretendedWorkshop(pub(crate) PathBuf);

#[async_trait]
impl Workshop for PretendedWorkshop {
    async fn receive(
        &self,
        id: &UploadId,
        mut archive: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Received, SourceError> {
        let failed = |source: std::io::Error| SourceError::Failed {
            doing: "keeping an upload".to_owned(),
            source: Box::new(source),
        };
        let mut kept = Vec::new();
        while let Some(chunk) = archive.next().await {
            kept.extend_from_slice(&chunk.map_err(failed)?);
            if kept.len() > MOST_BYTES {
                return Err(SourceError::Refused {
                    message: "the archive has more than 3 MiB".to_owned(),
                    next: "leave out what the build does not need".to_owned(),
                });
            }
        }
        std::fs::write(self.0.join(id.as_str()), &kept).map_err(failed)?;
        Ok(Received {
            bytes: kept.len() as u64,
            sha256: String::new(),
        })
    }

    async fn open(
        &self,
        deployment: &DeploymentId,
        origin: &Origin,
        credential: Option<&Credential>,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OpenedSource, SourceError> {
        Absent.open(deployment, origin, credential, progress).await
    }
    async fn read(
        &self,
        _: &DeploymentId,
        _: &RelativePath,
        _: usize,
    ) -> Result<Option<String>, SourceError> {
        Ok(None)
    }
    async fn top(&self, _: &DeploymentId) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }
    async fn pack(
        &self,
        deployment: &DeploymentId,
        folder: Option<&RelativePath>,
        dockerfile: &ContextDockerfile,
    ) -> Result<PathBuf, SourceError> {
        Absent.pack(deployment, folder, dockerfile).await
    }
    async fn discard(&self, _: &DeploymentId) -> Result<(), SourceError> {
        Ok(())
    }
    async fn tidy(&self, _: OffsetDateTime, _: &[DeploymentId]) -> Result<(), SourceError> {
        Ok(())
    }
}
