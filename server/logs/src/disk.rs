//! Files and directories nobody else may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use crate::bloom::hash_bytes;

/// Longest part of an app's name that is written as it is.
const MAX_PLAIN_NAME: usize = 100;

/// Where bytes go; tests take its space away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) space: Option<std::sync::Arc<std::sync::atomic::AtomicU64>>,
}

impl Disk {
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "only tests have disks that fill up")
    )]
    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(space) = &self.space {
            use std::sync::atomic::Ordering;
            let left = space.load(Ordering::SeqCst);
            let fits = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            space.fetch_sub(fits as u64, Ordering::SeqCst);
            file.write_all_at(&bytes[..fits], offset)?;
            if fits < bytes.len() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            return Ok(());
        }
        file.write_all_at(bytes, offset)
    }
}

pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens for reading and writing; makes the file if asked to, and then it must be new.
pub(crate) fn open_file(path: &Path, new: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(new)
        .mode(0o600)
        .open(path)
}

/// Makes created, renamed and removed names in a directory last.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

/// Files named `<prefix><number>.<ending>`, by number.
pub(crate) fn numbered_files(
    directory: &Path,
    prefix: &str,
    ending: &str,
) -> io::Result<Vec<(u64, std::path::PathBuf)>> {
    let mut files = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(ending))
            .and_then(|number| number.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files)
}

/// A directory's name for an app: the app's own, as far as that is a harmless one. The app's true
/// name is in its segments.
pub(crate) fn directory_name(app: &str) -> String {
    let mut name = String::from("app-");
    for byte in app.bytes().take(MAX_PLAIN_NAME) {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name = format!("{name}%{other:02x}"),
        }
    }
    if app.len() > MAX_PLAIN_NAME || name.len() > 2 * MAX_PLAIN_NAME {
        name.truncate(MAX_PLAIN_NAME);
        name = format!("{name}~{:016x}", hash_bytes(0, app.as_bytes()));
    }
    name
}
