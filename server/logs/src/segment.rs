//! A segment: a file of blocks of one app.
//!
//! It begins with the app's name. Once full it gets an index of all headers at its end, so that
//! opening reads that alone; before, opening goes from header to header.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::bloom::{line_may_have, line_offset};
use crate::codec::{Malformed, Reader, put_bytes, to_u32};
use crate::disk::{Disk, open_file};
use crate::encoding::{HEADER_BYTES, Header};

const MAGIC: &[u8; 8] = b"FLKLOGS1";
const END_MAGIC: &[u8; 8] = b"FLKLOGE1";
/// Of the part after the index: where it begins, its checksum, how many blocks, the magic.
const TRAILER_BYTES: usize = 24;
const MAX_START_BYTES: usize = 4096;

/// A block's place in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    pub(crate) header: Header,
}

/// What is known of a segment without reading it. No file is kept open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    /// In bytes, up to the end of the last block or of the index.
    pub(crate) length: u64,
    /// Nothing is added any more.
    pub(crate) finished: bool,
    pub(crate) blocks: Vec<Stored>,
}

impl Segment {
    /// Makes the file.
    pub(crate) fn create(
        directory: &Path,
        number: u64,
        app: &str,
        disk: &Disk,
    ) -> io::Result<Self> {
        let path = directory.join(format!("{number:010}.seg"));
        let mut start = MAGIC.to_vec();
        let mut name = Vec::new();
        put_bytes(&mut name, app.as_bytes());
        start.extend(crc32fast::hash(&name).to_le_bytes());
        start.extend(to_u32(name.len()).to_le_bytes());
        start.extend(name);
        // Left over from an attempt that failed.
        crate::disk::remove_if_there(&path)?;
        let file = open_file(&path, true)?;
        disk.write_at(&file, &start, 0)?;
        Ok(Self {
            path,
            number,
            length: start.len() as u64,
            finished: false,
            blocks: Vec::new(),
        })
    }

    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        let min = self.blocks.iter().map(|b| b.header.min_time).min()?;
        let max = self.blocks.iter().map(|b| b.header.max_time).max()?;
        Some((min, max))
    }

    pub(crate) fn sequences(&self) -> Option<(u64, u64)> {
        let min = self.blocks.iter().map(|b| b.header.min_sequence).min()?;
        let max = self.blocks.iter().map(|b| b.header.max_sequence).max()?;
        Some((min, max))
    }

    pub(crate) fn rows(&self) -> u64 {
        self.blocks.iter().map(|b| u64::from(b.header.rows)).sum()
    }

    /// Adds a block. If this fails, what it left behind is overwritten by the next.
    pub(crate) fn push(&mut self, header: Header, bytes: &[u8], disk: &Disk) -> io::Result<()> {
        let file = open_file(&self.path, false)?;
        disk.write_at(&file, bytes, self.length)?;
        self.blocks.push(Stored {
            offset: self.length,
            header,
        });
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Adds the index, and makes the file last.
    pub(crate) fn finish(&mut self, disk: &Disk) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.blocks.len() * (HEADER_BYTES + 8) + TRAILER_BYTES);
        for block in &self.blocks {
            bytes.extend(block.offset.to_le_bytes());
            bytes.extend(block.header.to_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(checksum.to_le_bytes());
        bytes.extend(to_u32(self.blocks.len()).to_le_bytes());
        bytes.extend(END_MAGIC);
        let file = open_file(&self.path, false)?;
        file.set_len(self.length)?;
        disk.write_at(&file, &bytes, self.length)?;
        file.sync_data()?;
        self.length += bytes.len() as u64;
        self.finished = true;
        Ok(())
    }

    /// Reads what is known of a segment, and its app. Blocks with sequence numbers from `doubtful`
    /// on are read whole: they may have been under way when the machine stopped. The file is cut
    /// behind the last sound block; its lines are then still in the write-ahead log.
    pub(crate) fn open(
        path: &Path,
        number: u64,
        doubtful: impl Fn(&str) -> u64,
    ) -> io::Result<(String, Self)> {
        let file = open_file(path, false)?;
        let length = file.metadata()?.len();
        let (app, start) = read_start(&file, length)?;
        let doubtful = doubtful(&app);
        let mut segment = Self {
            path: path.to_owned(),
            number,
            length,
            finished: true,
            blocks: Vec::new(),
        };
        match read_index(&file, length) {
            Ok(blocks) if sound_tail(&file, &blocks, doubtful)? => segment.blocks = blocks,
            _ => {
                segment.finished = false;
                segment.blocks = walk(&file, start, length, doubtful)?;
                let last = segment.blocks.last();
                let end = last.map_or(start, |b| b.offset + u64::from(b.header.length));
                if end < length {
                    file.set_len(end)?;
                }
                segment.length = end;
            }
        }
        Ok((app, segment))
    }
}

fn read_exactly(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn read_start(file: &File, length: u64) -> io::Result<(String, u64)> {
    let available = usize::try_from(length).map_or(MAX_START_BYTES, |l| l.min(MAX_START_BYTES));
    let bytes = read_exactly(file, 0, available)?;
    let mut reader = Reader::new(&bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Malformed.into());
    }
    let (checksum, name_bytes) = (reader.u32()?, reader.u32()?);
    let name = reader.take(name_bytes as usize)?;
    if crc32fast::hash(name) != checksum {
        return Err(Malformed.into());
    }
    let app = Reader::new(name).text()?.to_owned();
    Ok((app, (MAGIC.len() + 8 + name.len()) as u64))
}

fn read_index(file: &File, length: u64) -> io::Result<Vec<Stored>> {
    let trailer_at = length.checked_sub(TRAILER_BYTES as u64).ok_or(Malformed)?;
    let trailer = read_exactly(file, trailer_at, TRAILER_BYTES)?;
    let mut reader = Reader::new(&trailer);
    let (start, checksum, count) = (reader.u64()?, reader.u32()?, reader.u32()?);
    let index_bytes = (count as usize)
        .checked_mul(HEADER_BYTES + 8)
        .ok_or(Malformed)?;
    if reader.take(8)? != END_MAGIC || start.checked_add(index_bytes as u64) != Some(trailer_at) {
        return Err(Malformed.into());
    }
    let index = read_exactly(file, start, index_bytes)?;
    if crc32fast::hash(&index) != checksum {
        return Err(Malformed.into());
    }
    let mut reader = Reader::new(&index);
    let mut blocks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        blocks.push(Stored {
            offset: reader.u64()?,
            header: Header::from_bytes(reader.take(HEADER_BYTES)?)?,
        });
    }
    Ok(blocks)
}

fn sound_tail(file: &File, blocks: &[Stored], doubtful: u64) -> io::Result<bool> {
    for block in blocks.iter().rev() {
        if block.header.max_sequence < doubtful {
            break;
        }
        let bytes = read_exactly(file, block.offset, block.header.length as usize)?;
        if !block.header.is_whole(&bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The blocks from `start` on, up to the first that is not sound.
fn walk(file: &File, start: u64, length: u64, doubtful: u64) -> io::Result<Vec<Stored>> {
    let mut blocks = Vec::new();
    let mut offset = start;
    while offset + HEADER_BYTES as u64 <= length {
        let header = read_exactly(file, offset, HEADER_BYTES)?;
        let Ok(header) = Header::from_bytes(&header) else {
            break;
        };
        let end = offset + u64::from(header.length);
        if end > length {
            break;
        }
        if header.max_sequence >= doubtful {
            let bytes = read_exactly(file, offset, header.length as usize)?;
            if !header.is_whole(&bytes) {
                break;
            }
        }
        blocks.push(Stored { offset, header });
        offset = end;
    }
    Ok(blocks)
}

/// Whether a block may have all of these words and features.
pub(crate) fn may_have(file: &File, block: &Stored, hashes: &[u64]) -> io::Result<bool> {
    let filter_at = block.offset + HEADER_BYTES as u64;
    for hash in hashes {
        let mut line = [0; 64];
        let place = line_offset(*hash, block.header.filter_bytes as usize) as u64;
        file.read_exact_at(&mut line, filter_at + place)?;
        if !line_may_have(&line, *hash) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Some of a block's bytes, into a buffer.
pub(crate) fn read_part(
    file: &File,
    block: &Stored,
    start: u64,
    length: u32,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    into.resize(length as usize, 0);
    file.read_exact_at(into, block.offset + start)
}
