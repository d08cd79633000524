//! Build contexts: an uncompressed tar file, the same bytes for the same tree.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

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
        needed: vec![path],
        inside: None,
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

/// Writes the folder `top` as the archive that is sent to be built: what `.dockerignore` leaves out and
/// `.git` are not in it. `needed` is kept whatever is left out; its first is the Dockerfile. Nothing is
/// written but to `to`, so that no copy of the folder lies around.
///
/// # Errors
/// A link leads out of the folder, a file changes while it is read, or something cannot be read or
/// written.
pub fn pack_folder(top: &Path, needed: &[&str], to: impl Write) -> Result<(), SourceError> {
    let top = top
        .canonicalize()
        .map_err(while_doing("reading the folder"))?;
    let mut context = Context {
        builder: Builder::new(to),
        ignore: ignore_of(&top, needed.first().copied().unwrap_or("Dockerfile"))?,
        needed: needed.to_vec(),
        inside: Some(&top),
        waiting: Vec::new(),
    };
    context.folder(&top, Path::new(""))?;
    context
        .builder
        .into_inner()
        .and_then(|mut to| to.flush())
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

struct Context<'a, W: Write> {
    builder: Builder<W>,
    ignore: Ignore,
    /// Kept whatever is excluded.
    needed: Vec<&'a str>,
    /// Links may not lead out of here; a source that was received was looked through before.
    inside: Option<&'a Path>,
    /// Excluded folders on the way here, written only if something in them is kept.
    waiting: Vec<PathBuf>,
}

impl<W: Write> Context<'_, W> {
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
                let worth_a_look = self.ignore.has_exceptions()
                    || self
                        .needed
                        .iter()
                        .any(|file| Path::new(file).starts_with(&whole));
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
        self.needed.contains(&name)
            || own_ignore().is_some_and(|of| of.is_empty() || self.needed.contains(&of))
    }

    fn write_waiting(&mut self) -> Result<(), SourceError> {
        for folder in self.waiting.drain(..) {
            let mut header = header(EntryType::Directory, 0o755);
            self.builder
                .append_data(&mut header, folder.join(""), io::empty())
                .map_err(while_doing(DOING))?;
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, name: &Path) -> Result<(), SourceError> {
        let target = fs::read_link(path).map_err(while_doing(DOING))?;
        if let Some(top) = self.inside
            && leads_out(top, path, name, &target)
        {
            return Err(refused(
                format!(
                    "the link {} leads out of the folder",
                    shown(name.as_os_str().as_encoded_bytes())
                ),
                "name it in .dockerignore, or put what it points to into the folder",
            ));
        }
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
        let mut exactly = Exactly {
            left: about.len(),
            inner: &mut file,
        };
        self.builder
            .append_data(&mut header, name, &mut exactly)
            .map_err(while_doing(DOING))
    }
}

/// By its words, or by where it really ends.
fn leads_out(top: &Path, link: &Path, name: &Path, target: &Path) -> bool {
    let mut depth = name.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    link.canonicalize().is_ok_and(|end| !end.starts_with(top))
}

/// As many bytes as the header promised: a file that grows is cut, one that shrinks is an error, since
/// what follows would be read in its place.
struct Exactly<R> {
    left: u64,
    inner: R,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        let read = self.inner.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file became shorter while it was read",
            ));
        }
        self.left -= read as u64;
        Ok(read)
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
