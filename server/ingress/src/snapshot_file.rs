//! The last good snapshot on disk, for a start without the control plane.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use flukedeploy_domain::routing::RoutingSnapshot;

/// A snapshot of ten thousand routes takes about 4 MB.
pub(crate) const LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// `Ok(None)` if there is none yet.
pub(crate) fn load(path: &Path) -> io::Result<Option<RoutingSnapshot>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LIMIT_BYTES).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Replaces the file at once: a reader, or a crash, finds the old or the new one whole.
pub(crate) fn save(path: &Path, snapshot: &RoutingSnapshot) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let written = write_whole(&temporary, &serde_json::to_vec(snapshot)?)
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: the failure that matters is the one being returned.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}
