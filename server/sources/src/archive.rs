//! Reading tar, as it is or in gzip, into a [`TreeWriter`].
//!
//! Entries are read raw: the long names of other entries would otherwise be read into memory
//! whatever their size, and a gzip of zeros makes that any size.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flukedeploy_platform::ports::SourceError;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use crate::fault::{refused, while_doing};
use crate::tree::{TreeLimits, TreeWriter, damaged, odd};

/// Longest description of an entry (long names, pax records), in bytes.
const MAX_DESCRIPTION: u64 = 64 * 1024;
const NOT_SUPPORTED_NEXT: &str =
    "pack the folder with 'tar -czf source.tar.gz .' and send that (tar or tar.gz)";

/// Unpacks an archive that was received; tar or gzip is told by what is in it.
pub(crate) fn unpack_file(
    path: &Path,
    writer: &mut TreeWriter,
    limits: TreeLimits,
) -> Result<(), SourceError> {
    let doing = || while_doing("reading the upload");
    let mut file = File::open(path).map_err(doing())?;
    let mut start = [0; 512];
    let known = read_start(&mut file, &mut start).map_err(doing())?;
    let head = &start[..known];
    let whole = io::Cursor::new(start).take(known as u64).chain(file);
    let whole = BufReader::with_capacity(128 * 1024, whole);
    // What lies around the files: a block a header and one of padding, long names, the end.
    let most = limits.bytes + limits.entries.saturating_mul(4_096) + 1024 * 1024;
    if head.starts_with(&[0x1f, 0x8b]) {
        let inner = Measured {
            inner: MultiGzDecoder::new(whole),
            left: most,
        };
        return unpack(inner, b"", writer);
    }
    if let Some(kind) = other_kind(head) {
        return Err(refused(
            format!("the upload is {kind}, and only tar and tar.gz are read"),
            NOT_SUPPORTED_NEXT,
        ));
    }
    let inner = Measured {
        inner: whole,
        left: most,
    };
    unpack(inner, b"", writer)
}

/// Unpacks a tar stream below the folder `below` (empty: the top).
pub(crate) fn unpack(
    stream: impl Read,
    below: &[u8],
    writer: &mut TreeWriter,
) -> Result<(), SourceError> {
    let mut archive = Archive::new(stream);
    let mut pending = Pending::default();
    let mut any = false;
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        any = true;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            // A comment, or defaults that nothing here needs.
            small(&entry)?;
        } else if kind.is_gnu_longname() {
            pending.name = Some(text_of(&mut entry)?);
        } else if kind.is_gnu_longlink() {
            pending.target = Some(text_of(&mut entry)?);
        } else if kind.is_pax_local_extensions() {
            pending.read_pax(&mut entry)?;
        } else {
            take(&mut entry, std::mem::take(&mut pending), below, writer)?;
        }
    }
    if any {
        return Ok(());
    }
    Err(refused("the archive is empty", NOT_SUPPORTED_NEXT))
}

/// What the entries before said about the next one.
#[derive(Debug, Default)]
struct Pending {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Pending {
    fn read_pax(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), SourceError> {
        let text = description(entry)?;
        for record in PaxExtensions::new(&text) {
            let record = record.map_err(damaged)?;
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.target = Some(record.value_bytes().to_vec()),
                b"size" => self.size = record.value().ok().and_then(|size| size.parse().ok()),
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn take(
    entry: &mut Entry<'_, impl Read>,
    pending: Pending,
    below: &[u8],
    writer: &mut TreeWriter,
) -> Result<(), SourceError> {
    let header = entry.header().clone();
    let own = pending
        .name
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let size = entry.size();
    let kind = header.entry_type();
    if own.starts_with(b"/") {
        return Err(odd(&own, "has an absolute name"));
    }
    let name = if below.is_empty() {
        own
    } else {
        [below, b"/", &own].concat()
    };
    if pending.sparse || kind.is_gnu_sparse() {
        return Err(odd(&name, "is a sparse file: pack it without --sparse"));
    }
    if pending.size.is_some_and(|told| told != size) {
        return Err(odd(&name, "tells two different sizes"));
    }
    let target = || {
        pending
            .target
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default()
    };
    match kind {
        EntryType::Directory => writer.folder(&name),
        // In the oldest form of tar a folder is a file whose name ends so.
        EntryType::Regular if size == 0 && name.ends_with(b"/") => writer.folder(&name),
        EntryType::Regular | EntryType::Continuous => {
            let executable = header.mode().map_err(damaged)? & 0o111 != 0;
            let mut counted = Counted {
                inner: entry,
                left: size,
            };
            writer.file(&name, executable, size, &mut counted)
        }
        EntryType::Symlink => writer.link(&name, &target()),
        EntryType::Link => {
            let of = target();
            let of = if below.is_empty() {
                of
            } else {
                [below, b"/", &of].concat()
            };
            writer.copy(&name, &of)
        }
        EntryType::Char | EntryType::Block => Err(odd(&name, "is a device")),
        EntryType::Fifo => Err(odd(&name, "is a named pipe")),
        _ => Err(odd(&name, "is neither a file nor a folder nor a link")),
    }
}

fn small(entry: &Entry<'_, impl Read>) -> Result<(), SourceError> {
    if entry.size() > MAX_DESCRIPTION {
        return Err(refused(
            format!("an entry of the archive is described by more than {MAX_DESCRIPTION} bytes"),
            "pack the source again with a common tar program",
        ));
    }
    Ok(())
}

fn description(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, SourceError> {
    small(entry)?;
    let mut text = Vec::new();
    entry
        .take(MAX_DESCRIPTION)
        .read_to_end(&mut text)
        .map_err(damaged)?;
    Ok(text)
}

/// GNU's long names end with a NUL.
fn text_of(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, SourceError> {
    let mut text = description(entry)?;
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut known = 0;
    while known < start.len() {
        match file.read(&mut start[known..])? {
            0 => break,
            read => known += read,
        }
    }
    Ok(known)
}

/// A kind of archive that people send by mistake.
fn other_kind(head: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", "a zip archive"),
        (b"BZh", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"7z\xbc\xaf", "a 7z archive"),
        (b"Rar!", "a rar archive"),
        (
            b"--",
            "a form (multipart); send the archive itself as the body",
        ),
    ];
    kinds
        .into_iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, kind)| kind)
        .or_else(|| (head.len() < 512).then_some("no archive"))
}

/// Ends with an error once more was read than an archive within the limits can have.
struct Measured<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the source is larger than allowed when unpacked",
            )
        })?;
        Ok(read)
    }
}

/// An archive that ends within a file is damaged; tar's own reader just stops.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}
