//! The write-ahead log: what was appended and is in no segment yet.
//!
//! A file of frames, each with its length and a checksum over its place, its content and a number
//! drawn for the file, so that no message can pass for a frame. The first frames of a file are a
//! checkpoint (the next sequence number, all reader positions) and the lines that were carried
//! over; the file gets its name when these are on disk. Reading stops at the first frame that is
//! not whole: only the last one can be torn, and its `append` never returned.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use crate::batch::{Batch, Item};
use crate::block::{Block, Id, Line};
use crate::codec::{Malformed, Reader, put_bytes, put_varint, to_u32, unzigzag, zigzag};
use crate::disk::{Disk, open_file, remove_if_there, sync_directory};
use crate::encoding::read_origins;
use crate::origin::Origins;

const MAGIC: &[u8; 8] = b"FLKWAL01";
const START_BYTES: usize = 20;
const FRAME_START: usize = 8;
/// What a new file is called until its start is on disk.
pub(crate) const TEMPORARY: &str = "wal.tmp";
/// A file that is not needed any more and is written over by the next: that spares the file system
/// its own journal for every `append`, which is most of what waiting for the disk costs. The old
/// frames behind the new ones do not count, since their checksums have another file's number.
const SPARE: &str = "wal.spare";
/// Most that one `append` may bring, in bytes.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

const LINES: u8 = 1;
const CHECKPOINT: u8 = 2;
const CARRIED: u8 = 3;
const FORGET_LINES: u8 = 4;
const FORGET_POSITIONS: u8 = 5;

const HAS_ODD_ID: u8 = 4;
const HAS_DURATION: u8 = 8;
const HAS_TRACE: u8 = 16;
const HAS_FIELDS: u8 = 32;

/// One frame being written, with room for its start.
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8) -> Self {
        Self::within(Vec::new(), kind)
    }

    fn within(mut bytes: Vec<u8>, kind: u8) -> Self {
        bytes.clear();
        bytes.resize(FRAME_START, 0);
        bytes.push(kind);
        Self(bytes)
    }

    /// Lines without their sequence number, which [`number`](Self::number) sets; in a buffer that
    /// may have been used before, as [`into_buffer`](Self::into_buffer) gives it back.
    pub(crate) fn lines(
        batch: &Batch<'_, impl Item>,
        positions: &[(String, Vec<u8>)],
        buffer: Vec<u8>,
    ) -> Self {
        let mut frame = Self::within(buffer, LINES);
        frame
            .0
            .reserve(batch.message_bytes() + batch.items.len() * 24);
        frame.0.extend([0; 8]);
        frame.put_positions(positions.iter().map(|(key, value)| (key, value)));
        frame.put_origins(&batch.origins);
        put_varint(&mut frame.0, batch.items.len() as u64);
        let mut before = 0;
        for (origin, line) in batch.lines() {
            put_line(&mut frame.0, &mut before, origin, line);
        }
        frame
    }

    pub(crate) fn number(&mut self, first: u64) {
        self.0[FRAME_START + 1..FRAME_START + 9].copy_from_slice(&first.to_le_bytes());
    }

    pub(crate) fn checkpoint<'a>(
        next: u64,
        positions: impl ExactSizeIterator<Item = (&'a String, &'a Vec<u8>)>,
    ) -> Self {
        let mut frame = Self::new(CHECKPOINT);
        put_varint(&mut frame.0, next);
        frame.put_positions(positions);
        frame
    }

    pub(crate) fn carried(block: &Block) -> Self {
        let mut frame = Self::new(CARRIED);
        frame.put_origins(&block.columns.dictionary);
        put_varint(&mut frame.0, block.rows() as u64);
        let mut before = 0;
        for row in 0..block.rows() {
            put_varint(&mut frame.0, block.columns.sequences[row]);
            let origin = block.columns.origins[row];
            put_line(&mut frame.0, &mut before, origin, block.line(row));
        }
        frame
    }

    /// Lines of an app with sequence numbers from `first` to `last` are no more.
    pub(crate) fn forget_lines(app: &str, first: u64, last: u64) -> Self {
        let mut frame = Self::new(FORGET_LINES);
        put_bytes(&mut frame.0, app.as_bytes());
        put_varint(&mut frame.0, first);
        put_varint(&mut frame.0, last);
        frame
    }

    pub(crate) fn forget_positions(keys: &[String]) -> Self {
        let mut frame = Self::new(FORGET_POSITIONS);
        put_varint(&mut frame.0, keys.len() as u64);
        for key in keys {
            put_bytes(&mut frame.0, key.as_bytes());
        }
        frame
    }

    fn put_positions<'a>(
        &mut self,
        positions: impl ExactSizeIterator<Item = (&'a String, &'a Vec<u8>)>,
    ) {
        put_varint(&mut self.0, positions.len() as u64);
        for (key, value) in positions {
            put_bytes(&mut self.0, key.as_bytes());
            put_bytes(&mut self.0, value);
        }
    }

    fn put_origins(&mut self, origins: &Origins) {
        put_varint(&mut self.0, origins.list().len() as u64);
        for origin in origins.list() {
            put_bytes(&mut self.0, &origin.json);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.0
    }

    fn seal(&mut self, salt: u64, offset: u64) -> &[u8] {
        let length = to_u32(self.0.len() - FRAME_START);
        let checksum = checksum(salt, offset, &self.0[FRAME_START..]);
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0[4..8].copy_from_slice(&checksum.to_le_bytes());
        &self.0
    }
}

fn checksum(salt: u64, offset: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&to_u32(payload.len()).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn put_line(out: &mut Vec<u8>, before: &mut i64, origin: u32, line: Line<'_>) {
    let mut flags = line.level & 3;
    for (flag, set) in [
        (HAS_ODD_ID, matches!(line.id, Id::Odd(_))),
        (HAS_DURATION, line.duration.is_some()),
        (HAS_TRACE, line.trace.is_some()),
        (HAS_FIELDS, line.fields.is_some()),
    ] {
        flags |= if set { flag } else { 0 };
    }
    out.push(flags);
    put_varint(out, zigzag(line.time.wrapping_sub(*before)));
    *before = line.time;
    put_varint(out, u64::from(origin));
    match line.id {
        Id::Usual(number) => put_varint(out, number),
        Id::Odd(text) => put_bytes(out, text.as_bytes()),
    }
    if let Some(duration) = line.duration {
        put_varint(out, duration);
    }
    for part in [line.trace, line.fields].into_iter().flatten() {
        put_bytes(out, part.as_bytes());
    }
    put_bytes(out, line.message.as_bytes());
}

fn read_line<'a>(reader: &mut Reader<'a>, before: &mut i64) -> Result<(u32, Line<'a>), Malformed> {
    let flags = reader.byte()?;
    *before = before.wrapping_add(unzigzag(reader.varint()?));
    let origin = reader.small()?;
    let id = if flags & HAS_ODD_ID == 0 {
        Id::Usual(reader.varint()?)
    } else {
        Id::Odd(reader.text()?)
    };
    let duration = (flags & HAS_DURATION != 0)
        .then(|| reader.varint())
        .transpose()?;
    let trace = (flags & HAS_TRACE != 0)
        .then(|| reader.text())
        .transpose()?;
    let fields = (flags & HAS_FIELDS != 0)
        .then(|| reader.text())
        .transpose()?;
    let line = Line {
        time: *before,
        level: flags & 3,
        id,
        duration,
        message: reader.text()?,
        trace,
        fields,
    };
    Ok((origin, line))
}

/// What a frame says, while it is read.
pub(crate) trait Replay {
    fn next_sequence(&mut self, next: u64);
    fn position(&mut self, key: &str, value: &[u8]);
    fn forget_position(&mut self, key: &str);
    fn line(&mut self, sequence: u64, origins: &Origins, origin: u32, line: Line<'_>);
    fn forget_lines(&mut self, app: &str, first: u64, last: u64);
}

fn replay_frame(payload: &[u8], to: &mut impl Replay) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    let kind = reader.byte()?;
    match kind {
        LINES => {
            let first = reader.u64()?;
            replay_positions(&mut reader, to)?;
            let origins = read_origins(&mut reader)?;
            let count = reader.varint()?;
            let mut before = 0;
            for sequence in first..first.saturating_add(count) {
                let (origin, line) = read_line(&mut reader, &mut before)?;
                known(&origins, origin)?;
                to.line(sequence, &origins, origin, line);
            }
            to.next_sequence(first.saturating_add(count));
        }
        CHECKPOINT => {
            to.next_sequence(reader.varint()?);
            replay_positions(&mut reader, to)?;
        }
        CARRIED => {
            let origins = read_origins(&mut reader)?;
            let mut before = 0;
            for _ in 0..reader.count()? {
                let sequence = reader.varint()?;
                let (origin, line) = read_line(&mut reader, &mut before)?;
                known(&origins, origin)?;
                to.line(sequence, &origins, origin, line);
            }
        }
        FORGET_LINES => {
            let app = reader.text()?;
            to.forget_lines(app, reader.varint()?, reader.varint()?);
        }
        FORGET_POSITIONS => {
            for _ in 0..reader.count()? {
                to.forget_position(reader.text()?);
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

fn known(origins: &Origins, origin: u32) -> Result<(), Malformed> {
    let known = origins.list().len() > origin as usize;
    known.then_some(()).ok_or(Malformed)
}

fn replay_positions(reader: &mut Reader<'_>, to: &mut impl Replay) -> Result<(), Malformed> {
    for _ in 0..reader.count()? {
        let key = reader.text()?;
        to.position(key, reader.bytes()?);
    }
    Ok(())
}

/// The file that is written to.
pub(crate) struct Wal {
    file: File,
    pub(crate) generation: u64,
    salt: u64,
    /// End of the last frame that is on disk.
    pub(crate) length: u64,
    /// Something behind the end must be cut off before the next frame.
    soiled: bool,
    disk: Disk,
}

pub(crate) fn path_of(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("wal-{generation:010}.log"))
}

impl Wal {
    /// Makes a new file that begins with these frames.
    pub(crate) fn create(
        directory: &Path,
        generation: u64,
        frames: Vec<Frame>,
        disk: Disk,
    ) -> io::Result<Self> {
        let temporary = directory.join(TEMPORARY);
        remove_if_there(&temporary)?;
        let is_new = fs::rename(directory.join(SPARE), &temporary).is_err();
        let file = open_file(&temporary, is_new)?;
        let wal = Self::begin(file, generation, frames, disk);
        let wal = wal.and_then(|wal| {
            fs::rename(&temporary, path_of(directory, generation))?;
            sync_directory(directory)?;
            Ok(wal)
        });
        if wal.is_err() {
            // The one before goes on, so this one's checkpoint must not be found later.
            remove_if_there(&temporary)?;
            remove_if_there(&path_of(directory, generation))?;
        }
        wal
    }

    fn begin(file: File, generation: u64, frames: Vec<Frame>, disk: Disk) -> io::Result<Self> {
        let salt = RandomState::new().hash_one(generation);
        let mut start = MAGIC.to_vec();
        start.extend(salt.to_le_bytes());
        start.extend(crc32fast::hash(&start).to_le_bytes());
        let mut wal = Self {
            file,
            generation,
            salt,
            length: start.len() as u64,
            soiled: false,
            disk,
        };
        wal.disk.write_at(&wal.file, &start, 0)?;
        for mut frame in frames {
            let bytes = frame.seal(salt, wal.length);
            wal.disk.write_at(&wal.file, bytes, wal.length)?;
            wal.length += bytes.len() as u64;
        }
        wal.file.sync_data()?;
        Ok(wal)
    }

    /// Goes on with the file of an earlier run behind its last sound frame: that needs no space.
    pub(crate) fn resume(directory: &Path, generation: u64, disk: Disk) -> io::Result<Self> {
        let path = path_of(directory, generation);
        let old = OldWal::read(&path)?;
        Ok(Self {
            file: open_file(&path, false)?,
            generation,
            salt: old.salt,
            length: old.end() as u64,
            soiled: true,
            disk,
        })
    }

    /// Writes a frame and waits until it is on disk. After a failure the file is as it was before.
    pub(crate) fn append(&mut self, frame: &mut Frame) -> io::Result<()> {
        if self.soiled {
            self.clean()?;
        }
        let bytes = frame.seal(self.salt, self.length);
        let written = self
            .disk
            .write_at(&self.file, bytes, self.length)
            .and_then(|()| self.file.sync_data());
        if let Err(cause) = written {
            // Cut off, so that a frame whose append failed is not found after a crash.
            self.soiled = true;
            if let Err(cause) = self.clean() {
                tracing::warn!(error = %cause, "half a batch of log lines is left behind for now");
            }
            return Err(cause);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn clean(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_data()?;
        self.soiled = false;
        Ok(())
    }
}

/// Puts a file that is not needed any more by for the next, or removes it if it is too large.
pub(crate) fn retire(directory: &Path, generation: u64, most_bytes: u64) -> io::Result<()> {
    let path = path_of(directory, generation);
    match fs::metadata(&path) {
        Ok(found) if found.len() <= most_bytes => fs::rename(&path, directory.join(SPARE)),
        _ => remove_if_there(&path),
    }
}

/// A file of an earlier run.
pub(crate) struct OldWal {
    pub(crate) bytes: Vec<u8>,
    salt: u64,
}

impl OldWal {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut reader = Reader::new(&bytes);
        let magic = reader.take(MAGIC.len())?;
        let (salt, checksum) = (reader.u64()?, reader.u32()?);
        if magic != MAGIC || checksum != crc32fast::hash(&bytes[..START_BYTES - 4]) {
            return Err(Malformed.into());
        }
        Ok(Self { bytes, salt })
    }

    /// Hands on what the sound frames say.
    pub(crate) fn replay(&self, to: &mut impl Replay, only_start: bool) {
        let mut offset = START_BYTES;
        while let Some((payload, end)) = self.frame(offset) {
            let first = payload.first().copied();
            if only_start && !matches!(first, Some(CHECKPOINT | CARRIED)) {
                break;
            }
            if replay_frame(payload, to).is_err() {
                tracing::warn!(offset, "a sound frame of the log store cannot be read");
            }
            offset = end;
        }
    }

    /// Where its last sound frame ends.
    fn end(&self) -> usize {
        let mut offset = START_BYTES;
        while let Some((_, end)) = self.frame(offset) {
            offset = end;
        }
        offset
    }

    fn frame(&self, offset: usize) -> Option<(&[u8], usize)> {
        let mut reader = Reader::new(self.bytes.get(offset..)?);
        let (length, sum) = (reader.u32().ok()? as usize, reader.u32().ok()?);
        let payload = reader.take(length).ok()?;
        let whole = length > 0 && checksum(self.salt, offset as u64, payload) == sum;
        whole.then_some((payload, offset + FRAME_START + length))
    }
}
