//! Writing a tree of files whose names, links and sizes somebody else chose.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flukedeploy_domain::names::quoted;
use flukedeploy_platform::ports::{OpenedSource as Opened, SourceError};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::fault::{failed, refused, while_doing};
use crate::places::Scratch;
use crate::uploads::{LOOK_EVERY, room};

/// Longest name within a tree, in bytes, and its longest part.
const MAX_NAME: usize = 2_000;
const MAX_PART: usize = 255;
/// Folders within folders.
const MAX_DEPTH: usize = 100;
/// Longest target of a symbolic link, in bytes.
const MAX_TARGET: usize = 2_000;
/// Links followed from one link, as in the kernel.
const MAX_HOPS: usize = 40;
const AT_ONCE: usize = 64 * 1024;

const UNSAFE_NEXT: &str = "remove the entry from the source and send it again";
const LARGE_NEXT: &str = "leave out what the build does not need (dependencies, data, build output), or let an \
     administrator raise --max-source-mb";

/// How much a tree may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeLimits {
    pub(crate) bytes: u64,
    /// Files, folders and links together.
    pub(crate) entries: u64,
}

/// Writes below one directory and nowhere else.
///
/// Each folder on the way to an entry is opened by its own name with `O_NOFOLLOW`, and symbolic
/// links are made last, so there is never a link to follow while files are written.
#[derive(Debug)]
pub(crate) struct TreeWriter {
    top: OwnedFd,
    _scratch: Arc<Scratch>,
    path: PathBuf,
    limits: TreeLimits,
    entries: u64,
    files: u64,
    bytes: u64,
    /// Made in the end.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    cancelled: Arc<AtomicBool>,
}

impl TreeWriter {
    /// Makes the directory `files` in `scratch`, which stays as long as this writes. Writing stops
    /// soon after `cancelled` is set.
    pub(crate) fn new(
        scratch: &Arc<Scratch>,
        limits: TreeLimits,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Self, SourceError> {
        let path = scratch.path().join("files");
        let doing = while_doing("making a folder for the source");
        let top = std::fs::create_dir(&path)
            .and_then(|()| Ok(File::open(&path)?.into()))
            .map_err(doing)?;
        Ok(Self {
            top,
            _scratch: Arc::clone(scratch),
            path,
            limits,
            entries: 0,
            files: 0,
            bytes: 0,
            links: BTreeMap::new(),
            cancelled,
        })
    }

    /// A folder; one that is there stays.
    pub(crate) fn folder(&mut self, name: &[u8]) -> Result<(), SourceError> {
        let parts = parts(name)?;
        self.count()?;
        self.no_link_at(&parts)?;
        self.open_folder(&parts)?;
        Ok(())
    }

    /// A file of `size` bytes; it replaces one of the same name.
    pub(crate) fn file(
        &mut self,
        name: &[u8],
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), SourceError> {
        if size > self.limits.bytes.saturating_sub(self.bytes) {
            return Err(self.too_large());
        }
        let parts = parts(name)?;
        self.count()?;
        self.no_link_at(&parts)?;
        let Some((last, parents)) = parts.split_last() else {
            return Err(odd(name, "is no name of a file"));
        };
        let folder = self.open_folder(parents)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let doing = while_doing("writing a file of the source");
        let create = || {
            rustix::fs::openat(
                &folder,
                *last,
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::from_raw_mode(mode),
            )
        };
        let mut opened = create();
        if matches!(opened, Err(rustix::io::Errno::EXIST)) {
            if rustix::fs::unlinkat(&folder, *last, AtFlags::empty()).is_err() {
                return Err(odd(name, "is a folder and a file at once"));
            }
            self.files -= 1;
            opened = create();
        }
        let file = File::from(opened.map_err(doing)?);
        // Whatever the process's umask is.
        rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode))
            .map_err(while_doing("writing a file of the source"))?;
        self.copy_bytes(content, &file)?;
        self.files += 1;
        Ok(())
    }

    fn copy_bytes(&mut self, content: &mut dyn Read, mut file: &File) -> Result<(), SourceError> {
        let mut buffer = vec![0; AT_ONCE];
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(failed("unpacking", "it was cancelled"));
            }
            let read = content.read(&mut buffer).map_err(damaged)?;
            if read == 0 {
                return Ok(());
            }
            let before = self.bytes / LOOK_EVERY;
            self.bytes += read as u64;
            if self.bytes > self.limits.bytes {
                return Err(self.too_large());
            }
            if self.bytes / LOOK_EVERY != before {
                room(&self.path)?;
            }
            file.write_all(&buffer[..read])
                .map_err(while_doing("writing a file of the source"))?;
        }
    }

    /// A symbolic link. Where it leads is looked at in the end.
    pub(crate) fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), SourceError> {
        let parts = parts(name)?;
        self.count()?;
        if parts.is_empty() {
            return Err(odd(name, "is no name of a link"));
        }
        if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
            return Err(odd(name, "is a link to something that is no name"));
        }
        self.no_link_at(&parts[..parts.len() - 1])?;
        self.open_folder(&parts[..parts.len() - 1])?;
        self.links.insert(parts.join(&b'/'), target.to_vec());
        Ok(())
    }

    /// What a hard link stands for: a copy, counted like any file, so that many links to one large
    /// file cannot grow into a large context.
    pub(crate) fn copy(&mut self, name: &[u8], of: &[u8]) -> Result<(), SourceError> {
        let unknown = || {
            odd(
                name,
                &format!(
                    "is a hard link to {}, which is no file that came before it",
                    quoted(&String::from_utf8_lossy(of))
                ),
            )
        };
        let from = parts(of).map_err(|_| unknown())?;
        self.no_link_at(&from).map_err(|_| unknown())?;
        let Some((last, parents)) = from.split_last() else {
            return Err(unknown());
        };
        let mut folder = self.reopen_top()?;
        for part in parents {
            folder = open_folder_at(&folder, part).map_err(|_| unknown())?;
        }
        let file = rustix::fs::openat(
            &folder,
            *last,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|_| unknown())?;
        let mut file = File::from(file);
        let about = file
            .metadata()
            .map_err(while_doing("reading a file of the source"))?;
        if !about.is_file() || parts(name)? == from {
            return Err(unknown());
        }
        let executable = std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111 != 0;
        self.file(name, executable, about.len(), &mut file)
    }

    /// Makes the links, and refuses those that lead out of the tree.
    pub(crate) fn finish(mut self) -> Result<Opened, SourceError> {
        let links = std::mem::take(&mut self.links);
        for (name, target) in &links {
            let parts: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
            let Some((last, parents)) = parts.split_last() else {
                continue;
            };
            let folder = self.open_folder(parents)?;
            match rustix::fs::unlinkat(&folder, *last, AtFlags::empty()) {
                Ok(()) => self.files -= 1,
                Err(rustix::io::Errno::NOENT) => {}
                Err(_) => return Err(odd(name, "is a folder and a link at once")),
            }
            rustix::fs::symlinkat(target.as_slice(), &folder, *last)
                .map_err(while_doing("writing a link of the source"))?;
        }
        for (name, target) in &links {
            if !stays_inside(&links, name, target) {
                return Err(refused(
                    format!(
                        "the source's link {} leads out of the source, to {}",
                        shown(name),
                        shown(target)
                    ),
                    "link to files within the source only, with relative targets, or leave the link out",
                ));
            }
        }
        tracing::debug!(path = %self.path.display(), files = self.files, bytes = self.bytes, "a tree is written");
        Ok(Opened {
            commit: None,
            files: self.files,
            bytes: self.bytes,
        })
    }

    fn count(&mut self) -> Result<(), SourceError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(failed("unpacking", "it was cancelled"));
        }
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(refused(
                format!(
                    "the source has more than {} files, folders and links",
                    self.limits.entries
                ),
                LARGE_NEXT,
            ));
        }
        Ok(())
    }

    fn too_large(&self) -> SourceError {
        refused(
            format!(
                "the source has more than {} MiB when unpacked",
                self.limits.bytes / 1024 / 1024
            ),
            LARGE_NEXT,
        )
    }

    /// Neither the entry nor a folder on the way to it is a link of this tree.
    fn no_link_at(&self, parts: &[&[u8]]) -> Result<(), SourceError> {
        if self.links.is_empty() {
            return Ok(());
        }
        for end in 1..=parts.len() {
            if self.links.contains_key(&parts[..end].join(&b'/')) {
                return Err(odd(
                    &parts.join(&b'/'),
                    "is at or below a name that is a link in the same source",
                ));
            }
        }
        Ok(())
    }

    fn reopen_top(&self) -> Result<OwnedFd, SourceError> {
        self.top
            .try_clone()
            .map_err(while_doing("writing the source"))
    }

    fn open_folder(&mut self, parts: &[&[u8]]) -> Result<OwnedFd, SourceError> {
        let mut folder = self.reopen_top()?;
        for part in parts {
            folder = match open_folder_at(&folder, part) {
                Err(rustix::io::Errno::NOENT) => {
                    self.count()?;
                    rustix::fs::mkdirat(&folder, *part, Mode::from_raw_mode(0o755))
                        .map_err(while_doing("making a folder of the source"))?;
                    open_folder_at(&folder, part)
                        .map_err(while_doing("making a folder of the source"))?
                }
                Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                    return Err(odd(&parts.join(&b'/'), "is below a file"));
                }
                opened => opened.map_err(while_doing("opening a folder of the source"))?,
            };
        }
        Ok(folder)
    }
}

/// Walks the way the kernel would go, with all links that there are.
fn stays_inside(links: &BTreeMap<Vec<u8>, Vec<u8>>, name: &[u8], target: &[u8]) -> bool {
    let mut here: Vec<Vec<u8>> = name.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
    here.pop();
    let mut ahead: Vec<Vec<u8>> = Vec::new();
    let mut hops = 0;
    let mut follow = Some(target);
    loop {
        if let Some(target) = follow.take() {
            hops += 1;
            if target.starts_with(b"/") || hops > MAX_HOPS {
                return false;
            }
            ahead.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
        }
        let Some(part) = ahead.pop() else {
            return true;
        };
        match part.as_slice() {
            b"" | b"." => {}
            b".." => {
                if here.pop().is_none() {
                    return false;
                }
            }
            _ => {
                here.push(part);
                if let Some(target) = links.get(&here.join(&b'/')) {
                    here.pop();
                    follow = Some(target);
                }
            }
        }
    }
}

fn open_folder_at(folder: &OwnedFd, part: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        folder,
        part,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The parts of a name, checked; `.` and empty parts are left out.
fn parts(name: &[u8]) -> Result<Vec<&[u8]>, SourceError> {
    if name.starts_with(b"/") {
        return Err(odd(name, "has an absolute name"));
    }
    if name.contains(&0) {
        return Err(odd(name, "has a NUL byte in its name"));
    }
    if name.len() > MAX_NAME {
        return Err(odd(name, "has a name that is too long"));
    }
    let parts: Vec<&[u8]> = name
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(odd(name, "would be written outside its folder ('..')"));
    }
    if parts.iter().any(|part| part.len() > MAX_PART) {
        return Err(odd(name, "has a name that is too long"));
    }
    if parts.len() > MAX_DEPTH {
        return Err(odd(name, "is in too many folders"));
    }
    Ok(parts)
}

/// A name out of a source, for people.
pub(crate) fn shown(name: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(name))
}

/// The refusal of one entry: "the source's entry 'x' is below a file".
pub(crate) fn odd(name: &[u8], problem: &str) -> SourceError {
    refused(
        format!("the source's entry {} {problem}", shown(name)),
        UNSAFE_NEXT,
    )
}

/// The archive itself ends early or makes no sense.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(crate) fn damaged(error: io::Error) -> SourceError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return refused(error.to_string(), LARGE_NEXT);
    }
    refused(
        format!(
            "the archive is damaged: {}",
            flukedeploy_domain::diagnosis::tame(&error.to_string(), 200)
        ),
        "pack it again, for example with 'tar -czf source.tar.gz .', and send it as binary data",
    )
}

/// Where `relative` is in the tree, every link resolved; `None` if it is not there.
///
/// # Errors
/// It leads out of the tree. Nobody else writes to the tree, so what was seen stays true.
pub(crate) fn locate(top: &Path, relative: &str) -> Result<Option<PathBuf>, SourceError> {
    let doing = || while_doing("looking into the source");
    let top = top.canonicalize().map_err(doing())?;
    match top.join(relative).canonicalize() {
        Ok(path) if path.starts_with(&top) => Ok(Some(path)),
        Ok(_) => Err(odd(relative.as_bytes(), "leads out of the source")),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(doing()(error)),
    }
}
