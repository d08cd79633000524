//! Keeping an archive as it comes in.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use flukedeploy_domain::build::UploadId;
use flukedeploy_platform::ports::{Received, SourceError};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::fault::{refused, while_doing};
use crate::places::Places;

/// Room that is left on the disk whatever comes in, in bytes: the control plane's own data is there.
const KEEP_FREE: u64 = 256 * 1024 * 1024;
/// How often the disk's room is looked at, in bytes written.
pub(crate) const LOOK_EVERY: u64 = 32 * 1024 * 1024;

pub(crate) async fn receive(
    places: &Places,
    id: &UploadId,
    mut archive: BoxStream<'static, std::io::Result<Bytes>>,
    limit: u64,
) -> Result<Received, SourceError> {
    let doing = || while_doing("keeping an upload");
    let whole = places.upload(id);
    let part = Part(whole.with_extension("part"));
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part.0)
        .await
        .map_err(doing())?;
    let mut digest = Sha256::new();
    let (mut bytes, mut looked_at) = (0_u64, None);
    while let Some(chunk) = archive.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an upload ended early"
            );
            refused(
                "the upload ended before it was complete",
                "send it again; nothing of it was kept",
            )
        })?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(refused(
                format!("the upload has more than {} MiB", limit / 1024 / 1024),
                "leave out what the build does not need, or let an administrator raise \
                 --max-source-mb",
            ));
        }
        if looked_at.is_none_or(|at| bytes - at >= LOOK_EVERY) {
            room(&part.0)?;
            looked_at = Some(bytes);
        }
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(doing())?;
    }
    if bytes == 0 {
        return Err(refused(
            "the upload is empty",
            "send a tar or tar.gz archive as the request's body",
        ));
    }
    file.flush().await.map_err(doing())?;
    drop(file);
    tokio::fs::rename(&part.0, &whole).await.map_err(doing())?;
    Ok(Received {
        bytes,
        sha256: hex(&digest.finalize()),
    })
}

/// Refuses when the disk is nearly full.
pub(crate) fn room(at: &Path) -> Result<(), SourceError> {
    let about = rustix::fs::statvfs(at).map_err(while_doing("looking at the disk's room"))?;
    if about.f_bavail.saturating_mul(about.f_frsize) < KEEP_FREE {
        return Err(refused(
            "the disk of the control plane is nearly full",
            "free some room in the data directory, then send the source again",
        ));
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What was written of an upload; gone unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
