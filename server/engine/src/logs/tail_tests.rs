//! Of tails: what a container printed is read once, whatever its files go through.

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
