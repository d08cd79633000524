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
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::tests::Dir;
    use super::*;

    const ID: &str = "ab12";

    /// A container's log as an engine writes it.
    struct Log {
        dir: Dir,
        file: File,
        /// Lines so far; their numbers are what they say.
        lines: usize,
        rotations: usize,
    }

    impl Log {
        fn new() -> Self {
            let dir = Dir::new("tail");
            let parent = dir.path().join("containers").join(ID);
            fs::create_dir_all(&parent).unwrap();
            let file = append(&parent.join("ab12-json.log"));
            Self {
                dir,
                file,
                lines: 0,
                rotations: 0,
            }
        }

        fn path(&self, ending: &str) -> PathBuf {
            let name = format!("{ID}-json.log{ending}");
            self.dir.path().join("containers").join(ID).join(name)
        }

        /// Ten lines have one time, since times are not what tells them apart.
        fn raw(&mut self, text: &str, stream: &str) {
            let line = format!(
                r#"{{"log":"{text}","stream":"{stream}","time":"2024-05-01T10:20:30.{:09}Z"}}"#,
                self.rotations * 1_000_000 + self.lines / 10
            );
            self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }

        fn print(&mut self, count: usize) {
            for _ in 0..count {
                self.lines += 1;
                let stream = if self.lines.is_multiple_of(3) {
                    "stderr"
                } else {
                    "stdout"
                };
                self.raw(&format!("{}\\n", self.lines), stream);
            }
        }

        /// As the engine does it, keeping `keep` files.
        fn rotate(&mut self, keep: usize, packed: bool) {
            let ending = if packed { ".gz" } else { "" };
            let _ = fs::remove_file(self.path(&format!(".{}{ending}", keep - 1)));
            for age in (1..keep - 1).rev() {
                let from = self.path(&format!(".{age}{ending}"));
                let _ = fs::rename(from, self.path(&format!(".{}{ending}", age + 1)));
            }
            fs::rename(self.path(""), self.path(".1")).unwrap();
            self.file = append(&self.path(""));
            self.rotations += 1;
            if packed {
                let plain = self.path(".1");
                let mut gz = GzEncoder::new(
                    File::create(self.path(".1.gz")).unwrap(),
                    Compression::fast(),
                );
                gz.write_all(&fs::read(&plain).unwrap()).unwrap();
                gz.finish().unwrap();
                fs::remove_file(plain).unwrap();
            }
        }

        fn tail(&self, read: ReplicaRead) -> Tail {
            let place = Place::open(self.dir.path(), &self.path(""), ID).unwrap();
            Tail::open(place, read).unwrap()
        }
    }

    fn append(path: &std::path::Path) -> File {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(path).unwrap()
    }

    /// Everything there is.
    fn rest(tail: &mut Tail) -> (Vec<RawLine>, Progress) {
        let mut lines = Vec::new();
        loop {
            let progress = tail.read(&mut lines).unwrap();
            if progress != Progress::More {
                return (lines, progress);
            }
        }
    }

    fn numbers(tail: &mut Tail) -> Vec<usize> {
        let lines = rest(tail).0;
        lines
            .iter()
            .map(|line| line.text.parse().unwrap())
            .collect()
    }

    fn range(from: usize, to: usize) -> Vec<usize> {
        (from..=to).collect()
    }

    /// Both streams up to and with this line.
    fn behind(line: &RawLine) -> ReplicaRead {
        let span = line.span.unwrap();
        let mut places = [Some(span.other); 2];
        places[usize::from(line.stderr)] = Some(span.end);
        ReplicaRead {
            times: [Some(line.at); 2],
            places,
        }
    }

    #[test]
    fn what_is_appended_is_read_once() {
        let mut log = Log::new();
        let mut tail = log.tail(ReplicaRead::default());
        assert_eq!(rest(&mut tail), (Vec::new(), Progress::AtEnd));
        log.print(2);
        let (lines, progress) = rest(&mut tail);
        assert_eq!(progress, Progress::AtEnd);
        assert_eq!((lines[0].text.as_str(), lines[1].text.as_str()), ("1", "2"));
        assert!(numbers(&mut tail).is_empty());
        // Half a line waits for its other half.
        let half = r#"{"log":"3\n","stream":"st"#;
        log.file.write_all(half.as_bytes()).unwrap();
        assert!(numbers(&mut tail).is_empty());
        let half = "dout\",\"time\":\"2024-05-01T10:20:30.5Z\"}\n";
        log.file.write_all(half.as_bytes()).unwrap();
        assert_eq!(numbers(&mut tail), [3]);
        // Much at once.
        log.lines = 3;
        log.print(20_000);
        assert_eq!(numbers(&mut tail), range(4, 20_003));
        tail.rest();
        log.print(1);
        assert_eq!(numbers(&mut tail), [20_004]);
    }

    #[test]
    fn what_the_engine_cut_is_one_line_also_over_a_rotation() {
        let mut log = Log::new();
        let mut tail = log.tail(ReplicaRead::default());
        log.raw("a", "stdout");
        log.raw("other\\n", "stderr");
        let (lines, _) = rest(&mut tail);
        assert_eq!(lines.len(), 1);
        let read = behind(&lines[0]);
        log.rotate(3, false);
        log.raw("b", "stdout");
        log.raw("c\\n", "stdout");
        log.raw("d", "stdout");
        let (lines, _) = rest(&mut tail);
        assert_eq!(lines[0].text, "abc");
        tail.flush(&mut Vec::new());
        // What was begun when the other line came is read again, and only that.
        let (lines, _) = rest(&mut log.tail(read));
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["abc"]);
    }

    #[test]
    fn rotated_files_are_finished_first_however_many_there_are() {
        for packed in [false, true] {
            let mut log = Log::new();
            let mut tail = log.tail(ReplicaRead::default());
            log.print(100);
            assert_eq!(numbers(&mut tail), range(1, 100));
            log.print(50);
            log.rotate(5, packed);
            assert_eq!(
                numbers(&mut tail),
                range(101, 150),
                "nothing was printed since"
            );
            for _ in 0..3 {
                log.print(50);
                log.rotate(5, packed);
            }
            log.print(7);
            assert_eq!(numbers(&mut tail), range(151, 307));
            // What is open stays readable, though it is removed before its turn.
            log.print(10);
            let mut some = Vec::new();
            tail.open_newer().unwrap();
            for _ in 0..6 {
                log.rotate(3, packed);
                log.print(10);
                tail.open_newer().unwrap();
            }
            while tail.read(&mut some).unwrap() == Progress::More {}
            assert_eq!(some.len(), 70);
        }
    }

    #[test]
    fn a_tail_that_comes_too_late_goes_on_with_what_is_left() {
        let mut log = Log::new();
        let mut tail = log.tail(ReplicaRead::default());
        log.print(10);
        assert_eq!(numbers(&mut tail), range(1, 10));
        for _ in 0..5 {
            log.rotate(3, false);
            log.print(10);
        }
        assert_eq!(numbers(&mut tail), range(31, 60));
    }

    #[test]
    fn reading_goes_on_at_the_very_line() {
        for packed in [false, true] {
            let mut log = Log::new();
            for _ in 0..3 {
                log.print(40);
                log.rotate(9, packed);
            }
            log.print(40);
            let (lines, _) = rest(&mut log.tail(ReplicaRead::default()));
            assert_eq!(lines.len(), 160);
            for (n, line) in lines.iter().enumerate() {
                let next = numbers(&mut log.tail(behind(line)));
                assert_eq!(
                    next,
                    range(n + 2, 160),
                    "behind line {}, packed: {packed}",
                    n + 1
                );
            }
            // Meanwhile the files were put aside further.
            let read = behind(&lines[134]);
            log.print(5);
            log.rotate(9, packed);
            log.print(5);
            assert_eq!(numbers(&mut log.tail(read)), range(136, 170));
        }
    }

    #[test]
    fn each_stream_goes_on_where_it_was_read_to() {
        let mut log = Log::new();
        log.print(30);
        let (lines, _) = rest(&mut log.tail(ReplicaRead::default()));
        // Stdout was read up to line 20, stderr up to line 12.
        let read = ReplicaRead {
            times: [None; 2],
            places: [&lines[19], &lines[11]].map(|line| Some(line.span.unwrap().end)),
        };
        let next = numbers(&mut log.tail(read));
        assert_eq!(next[..4], [15, 18, 21, 22]);
        assert_eq!(next.last(), Some(&30));
    }

    #[test]
    fn without_its_file_a_place_is_as_good_as_its_time() {
        let mut log = Log::new();
        log.print(35);
        let (lines, _) = rest(&mut log.tail(ReplicaRead::default()));
        let mut read = behind(&lines[24]);
        for place in read.places.iter_mut().flatten() {
            place.file += 1;
        }
        // Lines 20 to 29 have one time.
        assert_eq!(numbers(&mut log.tail(read)), range(30, 35));
        // A file that lost its end.
        let read = behind(&lines[29]);
        let kept = lines[24].span.unwrap().end.offset;
        log.file.set_len(kept).unwrap();
        log.lines = 39;
        log.print(3);
        assert_eq!(numbers(&mut log.tail(read)), range(40, 42));
    }

    #[test]
    fn an_emptied_file_is_read_from_its_beginning() {
        let mut log = Log::new();
        log.print(30);
        let mut tail = log.tail(ReplicaRead::default());
        assert_eq!(numbers(&mut tail).len(), 30);
        log.file.set_len(0).unwrap();
        assert!(numbers(&mut tail).is_empty());
        log.print(3);
        assert_eq!(numbers(&mut tail), range(31, 33));
    }

    #[test]
    fn a_removed_container_is_read_to_its_end() {
        let mut log = Log::new();
        log.print(5);
        let mut tail = log.tail(ReplicaRead::default());
        assert_eq!(numbers(&mut tail), range(1, 5));
        log.print(9_000);
        log.rotate(3, false);
        log.print(5);
        tail.open_newer().unwrap();
        log.print(9_000);
        fs::remove_dir_all(log.path("").parent().unwrap()).unwrap();
        let (lines, progress) = rest(&mut tail);
        assert_eq!((lines.len(), progress), (18_005, Progress::Gone));
    }

    #[test]
    fn garbage_between_lines_is_passed_by() {
        let mut log = Log::new();
        log.print(1);
        log.file.write_all(&[0; 300]).unwrap();
        log.file.write_all(b"\nhalf a li").unwrap();
        log.print(2);
        log.file.write_all(&vec![b'x'; 3 * MAX_JSON]).unwrap();
        log.file.write_all(b"\n").unwrap();
        log.print(1);
        assert_eq!(numbers(&mut log.tail(ReplicaRead::default())), range(1, 4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Whatever happens in whatever order, each line is read once.
        #[test]
        fn no_line_is_lost_or_doubled(steps in proptest::collection::vec(0_usize..5, 1..40)) {
            let mut log = Log::new();
            let mut tail = log.tail(ReplicaRead::default());
            let (mut read, mut seen) = (ReplicaRead::default(), Vec::new());
            for step in steps {
                match step {
                    0 => log.print(1),
                    1 => log.print(7),
                    // After the one, nothing is read before the next step.
                    2 | 3 => log.rotate(60, false),
                    // The reader dies, and another one goes on.
                    _ => tail = log.tail(read),
                }
                if step != 2 {
                    let (lines, _) = rest(&mut tail);
                    for line in lines {
                        read = behind(&line);
                        seen.push(line.text.parse::<usize>().unwrap());
                    }
                }
            }
            seen.extend(numbers(&mut tail));
            prop_assert_eq!(seen, range(1, log.lines));
        }
    }
}
