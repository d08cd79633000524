//! Looking for what must not be anywhere.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use flukedeploy_end2end::source_files::Scratch;
use futures_util::TryStreamExt as _;

/// Which of the texts are in an image: in a layer (deleted files included), in the history, or in the
/// configuration. The whole image is unpacked through the engine's own `save`.
pub(crate) async fn image_holds(
    docker: &Docker,
    image: &str,
    texts: &[&str],
) -> Result<Vec<String>> {
    let mut whole = Vec::new();
    let mut chunks = docker.export_image(image);
    while let Some(chunk) = chunks.try_next().await.context("saving an image")? {
        whole.extend_from_slice(&chunk);
    }
    ensure!(whole.len() > 1 << 20, "{image} was not saved");
    Ok(held(&whole, texts))
}

/// Which files below `directory` hold one of the texts. `skipped` are ends of names.
pub(crate) fn files_with(
    directory: &Path,
    texts: &[&str],
    skipped: &[&str],
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path)? {
            let path = entry?.path();
            let name = path.display().to_string();
            if path.is_symlink() || skipped.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(content) = std::fs::read(&path)
                && !held(&content, texts).is_empty()
            {
                found.push(name);
            }
        }
    }
    Ok(found)
}

fn held(content: &[u8], texts: &[&str]) -> Vec<String> {
    let is_in = |text: &&&str| {
        let text = text.as_bytes();
        holds(content, text)
    };
    texts
        .iter()
        .filter(is_in)
        .map(ToString::to_string)
        .collect()
}

fn holds(content: &[u8], text: &[u8]) -> bool {
    let Some((first, _)) = text.split_first() else {
        return true;
    };
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// How many processes of this machine have `text` in their command line.
pub(crate) fn processes_with(text: &str) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            holds(&line, text.as_bytes())
        })
        .count()
}

/// Bytes of everything below a directory, as the disk counts them.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

/// Resident memory of a process in MiB: now, and the most it ever was.
pub(crate) fn memory_mb(pid: u32) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.context("a process has a size")?.parse::<u64>()? / 1024)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// A file that appears if something was executed or written where it must not be.
pub(crate) struct Canary {
    scratch: Scratch,
}

impl Canary {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            scratch: Scratch::new("canary")?,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The file's path.
    pub(crate) fn shown(&self) -> String {
        self.folder().join("bird").display().to_string()
    }

    pub(crate) fn expect_absent(&self) -> Result<()> {
        let left: Vec<_> = std::fs::read_dir(self.scratch.path())?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        ensure!(left.is_empty(), "something was made: {left:?}");
        Ok(())
    }
}
