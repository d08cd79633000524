//! Reads a container's log file, and those before it that were put aside when it became too large.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use flukedeploy_platform::ports::{FilePlace, RawLine, ReplicaRead};
use time::OffsetDateTime;

use super::json_line::{JsonLine, Parser};
use super::lines::{Lines, Piece};
use super::place::{Identity, Place};

/// Bytes read at once: a thousand lines and some.
const CHUNK: usize = 128 * 1024;
/// A line of 16 KiB of which every byte is escaped has less; what is longer is none.
const MAX_JSON: usize = 1024 * 1024;
/// Where a file's first line is looked for.
const HEAD: usize = 128 * 1024;
/// Most files that are put aside of one container.
const MAX_FILES: usize = 1_000;
/// How often the files are looked at anew while they are being renamed, and when.
const LOOKS: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How reading went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more.
    More,
    /// There is nothing more at present.
    AtEnd,
    /// The files were removed, and everything in them was read.
    Gone,
}

pub(super) struct Tail {
    place: Place,
    /// The oldest first; the last one is the one that is written to, or was a moment ago.
    files: VecDeque<LogFile>,
    /// What was read of the first file behind its offset.
    pending: Vec<u8>,
    /// What of stdout and stderr was read before.
    skip: [Skip; 2],
    parser: Parser,
    lines: Lines,
    /// What could not be understood.
    damaged: u64,
}

#[derive(Debug, Clone, Copy)]
enum Skip {
    Nothing,
    Before(FilePlace),
    /// With this time.
    UpTo(OffsetDateTime),
}

struct LogFile {
    content: Content,
    identity: Identity,
    /// The time of the first line, once it is known.
    first: Option<i64>,
    /// Before everything that is still to be understood.
    offset: u64,
}

enum Content {
    Plain(File),
    /// With how much was unpacked, and the rest, once reading has begun.
    Packed(File, Option<(u64, Box<MultiGzDecoder<File>>)>),
}

impl Tail {
    /// Begins where the replica was read to: at the very place if the files are still there, else by
    /// the times of lines.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(super) fn open(place: Place, read: ReplicaRead) -> io::Result<Self> {
        let mut files = VecDeque::from(newest_first(&place, |_| false)?.0);
        files.make_contiguous().reverse();
        let mut tail = Self {
            place,
            files,
            pending: Vec::new(),
            skip: [Skip::Nothing; 2],
            parser: Parser::default(),
            lines: Lines::default(),
            damaged: 0,
        };
        tail.skip_to(read);
        Ok(tail)
    }

    fn skip_to(&mut self, read: ReplicaRead) {
        let mut begin = (0, 0);
        if read.places.iter().any(Option::is_some) {
            for file in &mut self.files {
                file.learn_first();
            }
            let found = read.places.map(|place| {
                let place = place?;
                let mut files = self.files.iter();
                let index = files.position(|file| {
                    // A shorter one lost its end when the machine lost its power.
                    file.first == Some(place.file) && !file.is_shorter_than(place.offset)
                })?;
                Some((index, place))
            });
            for (skip, found) in self.skip.iter_mut().zip(&found) {
                if let Some((_, place)) = found {
                    *skip = Skip::Before(*place);
                }
            }
            if let [Some((stdout, out)), Some((stderr, err))] = found {
                begin = (stdout, out.offset).min((stderr, err.offset));
            }
        }
        for (skip, time) in self.skip.iter_mut().zip(read.times) {
            if let (Skip::Nothing, Some(time)) = (&skip, time) {
                *skip = Skip::UpTo(time);
            }
        }
        self.files.drain(..begin.0);
        if let Some(file) = self.files.front_mut() {
            file.offset = begin.1;
        }
    }

    /// Of the directory in which the files lie.
    pub(super) fn directory(&self) -> &std::path::Path {
        self.place.path()
    }

    /// Whether reading would find something; asks the kernel alone, and waits for no disk.
    pub(super) fn has_news(&self) -> bool {
        let Some(file) = self.files.front() else {
            return true;
        };
        let current = self.place.current().ok().flatten();
        self.files.len() > 1
            || current != Some(file.identity)
            || file.length() != Some(file.offset + self.pending.len() as u64)
    }

    /// Reads on, one chunk. Lines that have no end yet stay where they are.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn read(&mut self, ready: &mut Vec<RawLine>) -> io::Result<Progress> {
        // Before the end is reached: what comes behind it then is known to come last.
        let is_there = self.open_newer()?;
        loop {
            let is_last = self.files.len() < 2;
            let Some(file) = self.files.front_mut() else {
                return Ok(if is_there {
                    Progress::AtEnd
                } else {
                    Progress::Gone
                });
            };
            let is_removed = !is_there && is_last && file.is_removed();
            let count = file.fill(&mut self.pending)?;
            if count > 0 {
                self.take_lines(ready);
                return Ok(if count == CHUNK || !is_last || is_removed {
                    Progress::More
                } else {
                    Progress::AtEnd
                });
            }
            if !is_last {
                self.leave_file();
            } else if is_removed {
                return Ok(Progress::Gone);
            } else if file.is_shorter_than(file.offset + self.pending.len() as u64) {
                self.begin_anew();
            } else {
                return Ok(Progress::AtEnd);
            }
        }
    }

    /// Gives back memory, while there is nothing to read.
    pub(super) fn rest(&mut self) {
        self.pending.shrink_to_fit();
    }

    /// Gives out what has no line end, and will get none.
    pub(super) fn flush(&mut self, ready: &mut Vec<RawLine>) {
        self.lines.flush(ready);
    }

    /// Opens what was begun since, so that it can be read even if it is removed before its turn.
    /// Tells whether there is a file that is written to.
    fn open_newer(&mut self) -> io::Result<bool> {
        let current = self.place.current()?;
        let (Some(current), Some(newest)) = (current, self.files.back_mut()) else {
            return Ok(current.is_some());
        };
        let known = newest.identity;
        if current == known {
            return Ok(true);
        }
        let first = newest.learn_first();
        let is_known = |file: &mut LogFile| {
            file.identity == known
                // It was compressed meanwhile.
                || file.is_packed() && first.is_some() && file.learn_first() == first
        };
        let (newer, was_found) = newest_first(&self.place, is_known)?;
        if !was_found {
            tracing::warn!(
                directory = %self.directory().display(),
                "log files were removed before they were read: lines of a replica are missing"
            );
        }
        self.files.extend(newer.into_iter().rev());
        Ok(true)
    }

    fn take_lines(&mut self, ready: &mut Vec<RawLine>) {
        let Some(file) = self.files.front_mut() else {
            return;
        };
        let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else {
            if self.pending.len() > MAX_JSON {
                file.offset += self.pending.len() as u64;
                self.pending.clear();
            }
            return;
        };
        let mut rest = &self.pending[..=end];
        while !rest.is_empty() {
            let (line, length) = self.parser.take(rest);
            rest = &rest[length..];
            let from = file.offset;
            file.offset += length as u64;
            let Some(line) = line else {
                self.damaged += 1;
                continue;
            };
            let first = *file.first.get_or_insert_with(|| nanoseconds(line.at));
            let place = |offset| FilePlace {
                file: first,
                offset,
            };
            let (begin, end) = (place(from), place(file.offset));
            if self.skip[usize::from(line.stderr)].leaves_out(&line, end) {
                continue;
            }
            let piece = Piece {
                at: line.at,
                stderr: line.stderr,
                text: line.text.into(),
                is_last: line.is_whole,
                place: Some((begin, end)),
            };
            self.lines.add(piece, ready);
        }
        self.pending.drain(..=end);
        if self.damaged > 0 {
            tracing::warn!(
                directory = %self.place.path().display(),
                lines = std::mem::take(&mut self.damaged),
                "a replica's log file holds what is no line of a log"
            );
        }
    }

    /// The first file is read, and will not grow any more.
    fn leave_file(&mut self) {
        self.pending.clear();
        let Some(file) = self.files.pop_front() else {
            return;
        };
        for skip in &mut self.skip {
            if matches!(skip, Skip::Before(place) if file.first == Some(place.file)) {
                *skip = Skip::Nothing;
            }
        }
    }

    /// Somebody emptied the file, as an engine does that is to keep one file only.
    fn begin_anew(&mut self) {
        self.pending.clear();
        if let Some(file) = self.files.front_mut() {
            (file.offset, file.first) = (0, None);
        }
        for skip in &mut self.skip {
            if matches!(skip, Skip::Before(_)) {
                *skip = Skip::Nothing;
            }
        }
    }
}

impl Skip {
    /// Piece by piece: a line whose first pieces were read goes on with the others.
    fn leaves_out(&mut self, line: &JsonLine, end: FilePlace) -> bool {
        match *self {
            Self::Nothing => false,
            Self::UpTo(time) => line.at <= time,
            Self::Before(place) => {
                // A file before that one was read as a whole.
                let was_read = end.file != place.file || end.offset <= place.offset;
                if !was_read {
                    *self = Self::Nothing;
                }
                was_read
            }
        }
    }
}

impl LogFile {
    fn new(file: File, identity: Identity, packed: bool) -> Self {
        let content = if packed {
            Content::Packed(file, None)
        } else {
            Content::Plain(file)
        };
        Self {
            content,
            identity,
            first: None,
            offset: 0,
        }
    }

    fn is_packed(&self) -> bool {
        matches!(self.content, Content::Packed(..))
    }

    fn is_removed(&self) -> bool {
        match &self.content {
            Content::Plain(file) => file.metadata().is_ok_and(|about| about.nlink() == 0),
            Content::Packed(..) => true,
        }
    }

    /// `None`: only unpacking would tell.
    fn length(&self) -> Option<u64> {
        match &self.content {
            Content::Plain(file) => file.metadata().ok().map(|about| about.len()),
            Content::Packed(..) => None,
        }
    }

    fn is_shorter_than(&self, length: u64) -> bool {
        self.length().is_some_and(|own| own < length)
    }

    /// Reads behind what is pending; returns how much.
    fn fill(&mut self, pending: &mut Vec<u8>) -> io::Result<usize> {
        let before = pending.len();
        let from = self.offset + before as u64;
        let count = match &mut self.content {
            Content::Plain(file) => {
                let there = file.metadata()?.len().saturating_sub(from);
                let room = CHUNK.min(usize::try_from(there).unwrap_or(CHUNK));
                pending.resize(before + room, 0);
                file.read_at(&mut pending[before..], from)
            }
            Content::Packed(file, unpacked) => {
                let (at, rest) = unpack(file, unpacked, from)?;
                pending.resize(before + CHUNK, 0);
                let count = rest.read(&mut pending[before..]);
                count.inspect(|count| *at += *count as u64)
            }
        };
        pending.truncate(before + *count.as_ref().unwrap_or(&0));
        count
    }

    /// Looks for the first line, if it is not known yet. Only before anything of the file was read.
    fn learn_first(&mut self) -> Option<i64> {
        if self.first.is_none() && self.offset == 0 {
            let mut head = Vec::new();
            let outcome = match &mut self.content {
                Content::Plain(file) => {
                    head.resize(HEAD, 0);
                    file.read_at(&mut head, 0)
                }
                Content::Packed(file, _) => file.rewind().and_then(|()| {
                    MultiGzDecoder::new(&*file)
                        .take(HEAD as u64)
                        .read_to_end(&mut head)
                }),
            };
            head.truncate(outcome.unwrap_or(0));
            let end = head.iter().rposition(|byte| *byte == b'\n')?;
            let (mut parser, mut rest) = (Parser::default(), &head[..=end]);
            while self.first.is_none() && !rest.is_empty() {
                let (line, length) = parser.take(rest);
                self.first = line.map(|line| nanoseconds(line.at));
                rest = &rest[length..];
            }
        }
        self.first
    }
}

/// What is unpacked of a file, from this place on at the earliest.
fn unpack<'a>(
    file: &mut File,
    unpacked: &'a mut Option<(u64, Box<MultiGzDecoder<File>>)>,
    from: u64,
) -> io::Result<&'a mut (u64, Box<MultiGzDecoder<File>>)> {
    if unpacked.is_none() {
        file.rewind()?;
        *unpacked = Some((0, Box::new(MultiGzDecoder::new(file.try_clone()?))));
    }
    let (at, rest) = unpacked
        .as_mut()
        .ok_or_else(|| io::Error::other("nothing to unpack"))?;
    *at += io::copy(&mut rest.take(from.saturating_sub(*at)), &mut io::sink())?;
    unpacked
        .as_mut()
        .ok_or_else(|| io::Error::other("nothing to unpack"))
}

/// The log files, the newest first, up to one that is known; and whether that one was found. While
/// the engine renames them, a look can find a hole in their row: then they are looked at again.
fn newest_first(
    place: &Place,
    mut is_known: impl FnMut(&mut LogFile) -> bool,
) -> io::Result<(Vec<LogFile>, bool)> {
    let mut look = 1;
    loop {
        let mut files: Vec<LogFile> = Vec::new();
        let (mut was_found, mut holes, mut is_whole) = (false, 0, true);
        for age in 0..MAX_FILES {
            let mut found = place.open_file(age, false)?.map(|found| (found, false));
            if found.is_none() && age > 0 {
                found = place.open_file(age, true)?.map(|found| (found, true));
            }
            let Some(((file, identity), packed)) = found else {
                holes += 1;
                if holes == 2 {
                    break;
                }
                continue;
            };
            is_whole &= holes == 0;
            // Files only grow older: what was renamed since the last step was seen already.
            if files.iter().any(|file| file.identity == identity) {
                continue;
            }
            let mut file = LogFile::new(file, identity, packed);
            if is_known(&mut file) {
                was_found = true;
                break;
            }
            files.push(file);
        }
        if is_whole && !files.is_empty() || was_found || look == LOOKS {
            return Ok((files, was_found));
        }
        look += 1;
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn nanoseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
