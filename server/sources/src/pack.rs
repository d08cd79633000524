//! Build contexts: an uncompressed tar file, the same bytes for the same tree.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flukedeploy_platform::ports::{ContextDockerfile, SourceError};
use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use crate::fault::{refused, while_doing};
use crate::ignore::{Ignore, MAX_BYTES};
use crate::tree::shown;

/// When everything in a context was changed last: 2 January 1980, which zip can express everywhere.
const MODIFIED: u64 = 315_619_200;
const DOING: &str = "packing the build context";

/// Writes the context of the folder `top`.
pub(crate) fn pack(
    top: &Path,
    dockerfile: &ContextDockerfile,
    to: &Path,
) -> Result<(), SourceError> {
    let path = &dockerfile.path;
    let ignore = ignore_of(top, path)?;
    if dockerfile.text.is_some() && top.join(path).symlink_metadata().is_ok() {
        return Err(refused(
            format!(
                "the source has a file {} of its own",
                shown(path.as_bytes())
            ),
            "rename that file, or use the Dockerfile that is in the source",
        ));
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(while_doing(DOING))?;
    let mut context = Context {
        builder: Builder::new(BufWriter::with_capacity(256 * 1024, file)),
        ignore,
        dockerfile: path,
        waiting: Vec::new(),
    };
    if let Some(text) = &dockerfile.text {
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(text.len() as u64);
        context
            .builder
            .append_data(&mut header, path, text.as_bytes())
            .map_err(while_doing(DOING))?;
    }
    context.folder(top, Path::new(""))?;
    context
        .builder
        .into_inner()
        .and_then(|mut buffer| buffer.flush())
        .map_err(while_doing(DOING))
}

/// What the Dockerfile has of its own (as `BuildKit` reads it), else what the folder has.
fn ignore_of(top: &Path, dockerfile: &str) -> Result<Ignore, SourceError> {
    let own = format!("{dockerfile}.dockerignore");
    for name in [own.as_str(), ".dockerignore"] {
        if let Some(path) = crate::tree::locate(top, name)?
            && path.is_file()
        {
            return read_ignore(&path, name);
        }
    }
    Ok(Ignore::default())
}

fn read_ignore(path: &Path, name: &str) -> Result<Ignore, SourceError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text))
        .map_err(while_doing(DOING))?;
    let name = shown(name.as_bytes());
    let next = "correct that file";
    if text.len() > MAX_BYTES {
        let message = format!("the source's {name} has more than {MAX_BYTES} bytes");
        return Err(refused(message, next));
    }
    Ignore::parse(&String::from_utf8_lossy(&text)).map_err(|problem| {
        let message = format!("the source's {name} is not understood: {problem}");
        refused(message, next)
    })
}

struct Context<'a> {
    builder: Builder<BufWriter<File>>,
    ignore: Ignore,
    dockerfile: &'a str,
    /// Excluded folders on the way here, written only if something in them is kept.
    waiting: Vec<PathBuf>,
}

impl Context<'_> {
    /// `name`: of the folder within the context, empty at the top.
    fn folder(&mut self, path: &Path, name: &Path) -> Result<(), SourceError> {
        let mut entries: Vec<fs::DirEntry> = fs::read_dir(path)
            .and_then(Iterator::collect)
            .map_err(while_doing(DOING))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let own = entry.file_name();
            if own == ".git" {
                continue;
            }
            let whole = name.join(&own);
            let text = whole.to_string_lossy();
            let excluded = self.ignore.excludes(&text) && !self.is_needed(&text);
            let kind = entry.file_type().map_err(while_doing(DOING))?;
            if kind.is_dir() {
                let worth_a_look =
                    self.ignore.has_exceptions() || Path::new(self.dockerfile).starts_with(&whole);
                if excluded && !worth_a_look {
                    continue;
                }
                let before = self.waiting.len();
                self.waiting.push(whole.clone());
                if !excluded {
                    self.write_waiting()?;
                }
                self.folder(&entry.path(), &whole)?;
                self.waiting.truncate(before);
            } else if !excluded {
                self.write_waiting()?;
                if kind.is_symlink() {
                    self.link(&entry.path(), &whole)?;
                } else if kind.is_file() {
                    self.file(&entry.path(), &whole)?;
                }
            }
        }
        Ok(())
    }

    /// Docker keeps what it needs itself, whatever is excluded.
    fn is_needed(&self, name: &str) -> bool {
        let own_ignore = || name.strip_suffix(".dockerignore");
        name == self.dockerfile
            || own_ignore().is_some_and(|of| of.is_empty() || of == self.dockerfile)
    }

    fn write_waiting(&mut self) -> Result<(), SourceError> {
        for folder in self.waiting.drain(..) {
            let mut header = header(EntryType::Directory, 0o755);
            self.builder
                .append_data(&mut header, folder.join(""), std::io::empty())
                .map_err(while_doing(DOING))?;
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, name: &Path) -> Result<(), SourceError> {
        let target = fs::read_link(path).map_err(while_doing(DOING))?;
        let mut header = header(EntryType::Symlink, 0o777);
        self.builder
            .append_link(&mut header, name, target)
            .map_err(while_doing(DOING))
    }

    fn file(&mut self, path: &Path, name: &Path) -> Result<(), SourceError> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
            .open(path)
            .map_err(while_doing(DOING))?;
        let about = file.metadata().map_err(while_doing(DOING))?;
        let executable = about.permissions().mode() & 0o111 != 0;
        let mut header = header(EntryType::Regular, if executable { 0o755 } else { 0o644 });
        header.set_size(about.len());
        self.builder
            .append_data(&mut header, name, &mut file)
            .map_err(while_doing(DOING))
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(MODIFIED);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}
