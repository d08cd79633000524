use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::build::{Origin, RelativePath, UploadId};
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::deployment::DeploymentId;
use futures_util::stream::BoxStream;
use serde::Serialize;
use thiserror::Error;
use time::OffsetDateTime;

/// Where source files are received, fetched and packed. Owns a directory; every call may be repeated
/// after a crash.
///
/// Nothing that comes from outside is trusted: archives cannot write outside their folder or fill
/// the disk, repositories are asked only at addresses that may be reached, and no secret is ever in
/// an argument list, an address or the tree that is built.
#[async_trait]
pub trait Workshop: Send + Sync + 'static {
    /// Keeps an archive as it comes in (tar or tar.gz). It is looked into when it is opened.
    ///
    /// # Errors
    /// [`SourceError::Refused`] once it has more bytes than allowed; what was written is removed.
    async fn receive(
        &self,
        id: &UploadId,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Received, SourceError>;

    /// Makes the source of a deployment ready as a tree of files; one that is ready is left alone.
    /// `progress` gets one line for people at a time.
    async fn open(
        &self,
        deployment: &DeploymentId,
        origin: &Origin,
        credential: Option<&Credential>,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Opened, SourceError>;

    /// A file of the opened tree, if it is there (and a plain file).
    ///
    /// # Errors
    /// [`SourceError::Refused`] if it has more than `limit` bytes.
    async fn read(
        &self,
        deployment: &DeploymentId,
        path: &RelativePath,
        limit: usize,
    ) -> Result<Option<String>, SourceError>;

    /// Names at the top of the opened tree, sorted; folders end with `/`.
    async fn top(&self, deployment: &DeploymentId) -> Result<Vec<String>, SourceError>;

    /// Packs the opened tree, or one folder of it, as a build context (an uncompressed tar file).
    /// `<Dockerfile>.dockerignore` is heeded, else `.dockerignore`; `.git` is left out.
    async fn pack(
        &self,
        deployment: &DeploymentId,
        folder: Option<&RelativePath>,
        dockerfile: &ContextDockerfile,
    ) -> Result<PathBuf, SourceError>;

    /// Removes everything of a deployment; absent is fine.
    async fn discard(&self, deployment: &DeploymentId) -> Result<(), SourceError>;

    /// Removes uploads that came in before this, and trees of deployments that are not `unfinished`.
    async fn tidy(
        &self,
        before: OffsetDateTime,
        unfinished: &[DeploymentId],
    ) -> Result<(), SourceError>;
}

/// The Dockerfile of a build context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextDockerfile {
    /// Where it is in the context. It stays there, whatever is excluded.
    pub path: String,
    /// `Some`: it is not in the source and is added with this text; a file of that name must not exist.
    pub text: Option<String>,
}

/// An archive that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub bytes: u64,
    /// Hex.
    pub sha256: String,
}

/// A tree that is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// The commit, of a repository.
    pub commit: Option<String>,
    pub files: u64,
    pub bytes: u64,
}

#[derive(Debug, Error)]
pub enum SourceError {
    /// No such upload, repository, branch or folder.
    #[error("{message}")]
    NotFound { message: String, next: String },
    /// The other side wants (other) credentials.
    #[error("{message}")]
    Denied { message: String, next: String },
    /// Unsafe, too large, or at an address that may not be reached.
    #[error("{message}")]
    Refused { message: String, next: String },
    /// The other side does not answer.
    #[error("{message}")]
    Unreachable { message: String },
    /// This machine's disk or programs failed.
    #[error("the sources' directory failed while {doing}")]
    Failed {
        doing: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
