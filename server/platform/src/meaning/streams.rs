//! The lines of many replicas, stack traces put together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::keys::KeyWatch;
use super::line::Meaning;
use super::trace::{self, Fit, Trace};
use crate::ports::{FilePlace, LineSpan, RawLine, RawLines};

/// How long a line that may begin a trace waits for the next, and a trace for its end. A trace is
/// printed at once, so its lines come within a millisecond or two.
const WAIT: Duration = Duration::from_millis(40);
/// How long the first line of a trace waits at most.
const WAIT_IN_ALL: Duration = Duration::from_millis(300);
/// Most lines and bytes of one entry; a longer trace goes on in the next, so that nothing is lost.
const MAX_LINES: usize = 400;
const MAX_BYTES: usize = flukedeploy_domain::log_entry::MAX_TRACE_BYTES;
/// Lines that perhaps belong to a trace.
const MAX_UNSURE: usize = 8;
/// Replicas that are remembered; those that are gone are forgotten beyond that.
const MAX_REPLICAS: usize = 128;

/// What a replica printed, as one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) task_id: Option<Arc<str>>,
    pub(crate) node_id: Option<Arc<str>>,
    pub(crate) stderr: bool,
    /// When its first line was printed.
    pub(crate) at: OffsetDateTime,
    /// When its last was: whoever stores the entry may go on reading after this, and must not
    /// earlier. What comes out of one stream comes in order and holds every line once, so that this
    /// is a position; lines that are still held have a later one and are read again.
    pub(crate) last_at: OffsetDateTime,
    /// The first line that is held of the same replica's other stream.
    pub(crate) beside: Option<OffsetDateTime>,
    /// Of lines from a file: how far stdout and stderr were read behind this, but for what is held.
    pub(crate) read: Option<[FilePlace; 2]>,
    pub(crate) meaning: Meaning,
}

/// Puts lines together, for each replica's stdout and stderr by itself.
///
/// A line that cannot begin a stack trace goes out within the call that brought it. One that can (a
/// warning, an error, a panic) waits 40 ms for the next line, a trace for its end, 300 ms at most:
/// the caller calls [`Streams::tick`] by the time of [`Streams::due`], and [`Streams::flush`] when it
/// stops reading.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    replicas: HashMap<Option<Arc<str>>, Replica>,
}

impl Streams {
    /// Takes lines; `give` gets what is complete.
    pub(crate) fn feed(&mut self, lines: RawLines, now: Instant, give: &mut dyn FnMut(Printed)) {
        let task_id = lines.task_id.map(Arc::from);
        if self.replicas.len() >= MAX_REPLICAS && !self.replicas.contains_key(&task_id) {
            self.replicas.retain(|_, replica| replica.is_holding());
        }
        let replica = self
            .replicas
            .entry(task_id)
            .or_insert_with_key(|task_id| Replica {
                task_id: task_id.clone(),
                node_id: lines.node_id.map(Arc::from),
                streams: [Stream::new(now), Stream::new(now)],
                read: [None; 2],
            });
        for line in lines.lines {
            replica.feed(line, now, give);
        }
    }

    /// When something that is held has waited long enough.
    pub(crate) fn due(&self) -> Option<Instant> {
        let streams = self.replicas.values().flat_map(|replica| &replica.streams);
        streams.filter_map(Stream::due).min()
    }

    /// Gives out what has waited long enough.
    pub(crate) fn tick(&mut self, now: Instant, give: &mut dyn FnMut(Printed)) {
        self.give_out(give, |stream| stream.due().is_some_and(|due| due <= now));
    }

    /// Gives out everything.
    pub(crate) fn flush(&mut self, give: &mut dyn FnMut(Printed)) {
        self.give_out(give, |_| true);
    }

    fn give_out(&mut self, give: &mut dyn FnMut(Printed), which: impl Fn(&Stream) -> bool) {
        for replica in self.replicas.values_mut() {
            for stderr in [false, true] {
                let stream = &replica.streams[usize::from(stderr)];
                if !stream.held.is_empty() && which(stream) {
                    replica.flush(stderr, give);
                }
            }
        }
    }
}

/// What one replica prints.
#[derive(Debug)]
struct Replica {
    task_id: Option<Arc<str>>,
    node_id: Option<Arc<str>>,
    /// Stdout and stderr.
    streams: [Stream; 2],
    /// How far they were read, with what is held.
    read: [Option<FilePlace>; 2],
}

impl Replica {
    fn is_holding(&self) -> bool {
        self.streams.iter().any(|stream| !stream.held.is_empty())
    }

    fn feed(&mut self, line: RawLine, now: Instant, give: &mut dyn FnMut(Printed)) {
        let stderr = line.stderr;
        if let Some(span) = line.span {
            self.read[usize::from(stderr)] = Some(span.end);
            self.read[usize::from(!stderr)] = Some(span.other);
        }
        let (stream, give) = &mut self.giving(stderr, give);
        stream.feed(line, now, give);
    }

    fn flush(&mut self, stderr: bool, give: &mut dyn FnMut(Printed)) {
        let (stream, give) = &mut self.giving(stderr, give);
        stream.flush(give);
    }

    /// One of the streams, and how what comes out of it is told.
    fn giving<'a>(
        &'a mut self,
        stderr: bool,
        give: &'a mut dyn FnMut(Printed),
    ) -> (
        &'a mut Stream,
        impl FnMut(OffsetDateTime, Last, Meaning) + 'a,
    ) {
        let [stdout, errors] = &mut self.streams;
        let (own, other) = if stderr {
            (errors, stdout)
        } else {
            (stdout, errors)
        };
        let held = other.held.first();
        let beside = held.map(|line| line.at);
        let place_beside = match held {
            Some(line) => line.span.map(|span| span.begin),
            None => self.read[usize::from(!stderr)],
        };
        let (task_id, node_id) = (&self.task_id, &self.node_id);
        let give = move |at, last: Last, meaning| {
            let read = last.span.zip(place_beside).map(|(own, beside)| {
                if stderr {
                    [beside, own.end]
                } else {
                    [own.end, beside]
                }
            });
            give(Printed {
                task_id: task_id.clone(),
                node_id: node_id.clone(),
                stderr,
                at,
                last_at: last.at,
                beside,
                read,
                meaning,
            });
        };
        (own, give)
    }
}

/// The last of the lines that make an entry.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: OffsetDateTime,
    span: Option<LineSpan>,
}

/// Gets the time of the first line, the last line, and what they mean.
type Give<'a> = &'a mut dyn FnMut(OffsetDateTime, Last, Meaning);

#[derive(Debug)]
struct Stream {
    keys: KeyWatch,
    /// What the first of the held lines means by itself.
    first: Option<(Meaning, Trace)>,
    held: Vec<Held>,
    /// So many of them belong together; those after perhaps.
    sure: usize,
    bytes: usize,
    since: Instant,
    latest: Instant,
}

#[derive(Debug)]
struct Held {
    at: OffsetDateTime,
    span: Option<LineSpan>,
    text: String,
}

impl Held {
    fn as_last(&self) -> Last {
        Last {
            at: self.at,
            span: self.span,
        }
    }
}

impl Stream {
    fn new(now: Instant) -> Self {
        Self {
            keys: KeyWatch::default(),
            first: None,
            held: Vec::new(),
            sure: 0,
            bytes: 0,
            since: now,
            latest: now,
        }
    }

    fn due(&self) -> Option<Instant> {
        let due = (self.latest + WAIT).min(self.since + WAIT_IN_ALL);
        self.first.is_some().then_some(due)
    }

    fn feed(&mut self, line: RawLine, now: Instant, give: Give<'_>) {
        let (at, span) = (line.at, line.span);
        let text = self.keys.mask(super::clean::clean_owned(line.text));
        self.take(Held { at, span, text }, now, give);
    }

    fn take(&mut self, line: Held, now: Instant, give: Give<'_>) {
        if self.first.is_none() {
            return self.begin(line, now, give);
        }
        let mut lines = vec![line];
        // Lines that did not belong to a trace after all begin anew.
        while let Some(line) = lines.pop() {
            let Some((_, trace)) = &mut self.first else {
                self.begin(line, now, give);
                continue;
            };
            let has_room = self.held.len() < MAX_LINES && self.bytes + line.text.len() < MAX_BYTES;
            let fit = if has_room {
                trace.fit(&line.text)
            } else {
                Fit::No
            };
            let is_unsure = self.held.len() - self.sure < MAX_UNSURE;
            match fit {
                Fit::Yes => self.hold(line, now, true),
                Fit::Perhaps if is_unsure => self.hold(line, now, false),
                Fit::Perhaps | Fit::No => {
                    lines.push(line);
                    lines.extend(self.end(give).into_iter().rev());
                }
            }
        }
    }

    fn begin(&mut self, line: Held, now: Instant, give: Give<'_>) {
        let last = line.as_last();
        let meaning = Meaning::of_line(line.text);
        if !trace::may_begin(&meaning) {
            give(last.at, last, meaning);
            return;
        }
        let text = meaning.message.clone();
        self.first = Some((meaning, Trace::beginning(&text)));
        self.since = now;
        let Last { at, span } = last;
        self.hold(Held { at, span, text }, now, true);
    }

    fn hold(&mut self, line: Held, now: Instant, sure: bool) {
        self.bytes += line.text.len() + 1;
        self.latest = now;
        self.held.push(line);
        if sure {
            self.sure = self.held.len();
        }
    }

    /// Gives out the lines that belong together; returns those that perhaps did.
    fn end(&mut self, give: Give<'_>) -> Vec<Held> {
        let Some((first, _)) = self.first.take() else {
            return Vec::new();
        };
        let rest = self.held.split_off(self.sure);
        let lines = std::mem::take(&mut self.held);
        (self.sure, self.bytes) = (0, 0);
        let (Some(begin), Some(last)) = (lines.first(), lines.last()) else {
            return rest;
        };
        let (at, last) = (begin.at, last.as_last());
        let meaning = if lines.len() == 1 {
            first
        } else {
            let texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
            trace::meaning_of(first, &texts)
        };
        give(at, last, meaning);
        rest
    }

    fn flush(&mut self, give: Give<'_>) {
        let mut rest = self.end(give);
        // What was not sure has nothing to wait for any more.
        while !rest.is_empty() {
            for line in rest {
                self.take(line, self.latest, give);
            }
            rest = self.end(give);
        }
    }
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::log_entry::Level;
    use proptest::prelude::*;

    use super::*;

    fn at(n: usize) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_millis(n as u64)
    }

    /// A line that stands in a file, behind as many bytes as it has number.
    fn line(n: usize, text: &str) -> RawLines {
        line_of("t1", false, n, text)
    }

    fn line_of(task: &str, stderr: bool, n: usize, text: &str) -> RawLines {
        let place = |offset: usize| FilePlace {
            file: 7,
            offset: offset as u64,
        };
        RawLines {
            task_id: Some(task.to_owned()),
            node_id: Some("n1".to_owned()),
            lines: vec![RawLine {
                at: at(n),
                stderr,
                text: text.to_owned(),
                span: Some(LineSpan {
                    begin: place(n),
                    end: place(n + 1),
                    other: place(n + 1),
                }),
            }],
        }
    }

    /// Everything that comes out, in order.
    fn run(text: &str) -> Vec<Printed> {
        let (mut streams, mut out) = (Streams::default(), Vec::new());
        let now = Instant::now();
        for (n, text) in text.lines().enumerate() {
            streams.feed(line(n, text), now, &mut |printed| out.push(printed));
        }
        streams.flush(&mut |printed| out.push(printed));
        out
    }

    /// All raw lines again.
    fn unfolded(out: &[Printed]) -> Vec<String> {
        out.iter()
            .flat_map(|printed| {
                let text = printed.meaning.stack_trace.as_ref();
                let text = text.unwrap_or(&printed.meaning.message);
                text.split('\n').map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }

    #[track_caller]
    fn one_trace(trace: &str, message: &str, code: &str) {
        let text = format!("before\n{trace}\nafter\n");
        let out = run(&text);
        let messages: Vec<_> = out.iter().map(|p| p.meaning.message.as_str()).collect();
        assert_eq!(messages, ["before", message, "after"], "{trace}");
        let meaning = &out[1].meaning;
        assert_eq!(meaning.level, Level::Error);
        assert_eq!(meaning.error_code.as_deref(), Some(code));
        assert_eq!(meaning.stack_trace.as_deref(), Some(trace));
        let lines = trace.lines().count();
        assert_eq!(out[1].at, at(1));
        assert_eq!(out[1].last_at, at(lines));
    }

    #[test]
    fn traces_of_many_languages_are_one_entry() {
        one_trace(
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    f()\n  File \"a.py\", line 2, in f\n    raise ValueError(\"no\")\nValueError: no",
            "ValueError: no",
            "ValueError",
        );
        one_trace(
            "ERROR:root:it failed\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    f()\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 5, in <module>\n    g()\nValueError: no",
            "ERROR:root:it failed",
            "ValueError",
        );
        one_trace(
            "2026-01-01 12:00:00 ERROR [main] c.s.Web - request failed\njava.lang.IllegalStateException: no\n\tat com.shop.Web.get(Web.java:12)\n\tat com.shop.Main.main(Main.java:3)\nCaused by: java.io.IOException: gone\n\tat com.shop.Db.read(Db.java:7)\n\t... 2 more",
            "2026-01-01 12:00:00 ERROR [main] c.s.Web - request failed",
            "java.lang.IllegalStateException",
        );
        one_trace(
            "Exception in thread \"main\" java.lang.RuntimeException: boom\n\tat Main.main(Main.java:3)",
            "Exception in thread \"main\" java.lang.RuntimeException: boom",
            "java.lang.RuntimeException",
        );
        one_trace(
            "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.f(...)\n\t/app/main.go:8\nmain.main()\n\t/app/main.go:4 +0x1d\nexit status 2",
            "panic: runtime error: index out of range [5] with length 3",
            "panic",
        );
        one_trace(
            "thread 'main' panicked at src/main.rs:2:5:\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "thread 'main' panicked at src/main.rs:2:5: boom",
            "panic",
        );
        one_trace(
            "thread 'main' (7) panicked at src/main.rs:2:5:\nboom\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/x/library/std/src/panicking.rs:1:5\n   1: app::main",
            "thread 'main' (7) panicked at src/main.rs:2:5: boom",
            "panic",
        );
        one_trace(
            "TypeError: Cannot read properties of undefined (reading 'x')\n    at f (/app/a.js:1:2)\n    at Object.<anonymous> (/app/a.js:3:1) {\n  code: 'E1',\n  cause: [1]\n}",
            "TypeError: Cannot read properties of undefined (reading 'x')",
            "TypeError",
        );
        one_trace(
            "Unhandled exception. System.InvalidOperationException: no\n   at Shop.Web.Get() in /src/Web.cs:line 3\n--- End of stack trace from previous location ---\n   at Shop.Main()",
            "Unhandled exception. System.InvalidOperationException: no",
            "System.InvalidOperationException",
        );
        one_trace(
            "PHP Fatal error:  Uncaught Exception: no in /x.php:3\nStack trace:\n#0 /x.php(5): f()\n#1 {main}\n  thrown in /x.php on line 3",
            "PHP Fatal error:  Uncaught Exception: no in /x.php:3",
            "Exception",
        );
        one_trace(
            "app.rb:1:in `f': no (RuntimeError)\n\tfrom app.rb:2:in `<main>'",
            "app.rb:1:in `f': no (RuntimeError)",
            "RuntimeError",
        );
    }

    #[test]
    fn errors_without_a_trace_stay_single() {
        for text in [
            "ERROR one\nERROR two\nplain\n",
            "ERROR one\njava.io.IOException: no\nplain\n",
            "ERROR one\n\nERROR two",
            "panic: a thought\nof mine\nand so on",
            "thread 'x' panicked at a.rs:1:1\nplain",
            "a\n\nb\n  indented\n}\n",
        ] {
            let out = run(text);
            let lines: Vec<&str> = text.lines().collect();
            let messages: Vec<_> = out.iter().map(|p| p.meaning.message.as_str()).collect();
            assert_eq!(messages, lines, "{text}");
        }
    }

    #[test]
    fn a_plain_line_does_not_wait_and_a_trace_not_long() {
        let (mut streams, mut out) = (Streams::default(), Vec::new());
        let now = Instant::now();
        streams.feed(line(0, "plain"), now, &mut |p| out.push(p));
        assert_eq!((out.len(), streams.due()), (1, None));
        streams.feed(line(1, "ERROR x"), now, &mut |p| out.push(p));
        let due = streams.due().unwrap();
        assert!(out.len() == 1 && due <= now + WAIT);
        streams.tick(now, &mut |p| out.push(p));
        assert_eq!(out.len(), 1);
        streams.tick(due, &mut |p| out.push(p));
        assert_eq!((out.len(), streams.due()), (2, None));
        // A trace that drips is given out in parts.
        for n in 0..200_u32 {
            let at = due + Duration::from_millis(10) * n;
            streams.tick(at, &mut |p| out.push(p));
            streams.feed(line(2, "    at f (a.js:1:2)"), at, &mut |p| out.push(p));
            assert!(streams.due().unwrap() <= at + WAIT_IN_ALL);
        }
        assert!(out.len() > 5);
    }

    #[test]
    fn replicas_and_streams_do_not_mix() {
        let (mut streams, mut out) = (Streams::default(), Vec::new());
        let now = Instant::now();
        for n in 0..3 {
            for (task, stderr) in [("a", true), ("a", false), ("b", true)] {
                let text = ["Error: x", "    at f (a.js:1:2)", "plain"][n];
                streams.feed(line_of(task, stderr, n, text), now, &mut |p| out.push(p));
            }
        }
        let traces = out.iter().filter(|p| p.meaning.stack_trace.is_some());
        let from: Vec<_> = traces.map(|p| (p.task_id.as_deref(), p.stderr)).collect();
        assert_eq!(
            from,
            [(Some("a"), true), (Some("a"), false), (Some("b"), true)]
        );
        assert_eq!(out.len(), 6);
    }

    #[test]
    fn what_is_held_of_the_other_stream_was_not_read() {
        let (mut streams, mut out) = (Streams::default(), Vec::new());
        let now = Instant::now();
        for (n, stderr, text) in [
            (0, false, "a"),
            (1, true, "Error: x"),
            (2, true, "    at f (a.js:1:2)"),
            (3, false, "b"),
            (4, true, "plain"),
            (5, false, "c"),
        ] {
            streams.feed(line_of("t1", stderr, n, text), now, &mut |p| out.push(p));
        }
        let read: Vec<_> = out
            .iter()
            .map(|p| p.read.unwrap().map(|place| place.offset))
            .collect();
        assert_eq!(read, [[1, 1], [4, 1], [5, 3], [5, 5], [6, 6]]);
    }

    #[test]
    fn a_trace_without_an_end_is_cut_into_entries_and_loses_nothing() {
        let mut lines = vec!["java.lang.StackOverflowError".to_owned()];
        lines.extend((0..5_000).map(|n| format!("\tat com.shop.Deep.down(Deep.java:{n})")));
        let text = lines.join("\n");
        let out = run(&text);
        assert!(out.len() > 5);
        assert_eq!(unfolded(&out).len(), 5_001);
        for printed in &out {
            assert!(
                printed
                    .meaning
                    .stack_trace
                    .as_ref()
                    .is_none_or(|text| text.len() <= MAX_BYTES)
            );
        }
    }

    #[test]
    fn streams_that_are_gone_are_forgotten() {
        let mut streams = Streams::default();
        let now = Instant::now();
        for n in 0..10_000 {
            let line = line_of(&format!("t{n}"), false, n, "plain");
            streams.feed(line, now, &mut |_| {});
        }
        assert!(streams.replicas.len() <= MAX_REPLICAS);
    }

    proptest! {
        /// Whatever comes, each line comes out once and in order, and times never go back: an entry's
        /// last time is a position to go on from.
        #[test]
        fn no_line_is_lost_or_doubled(picks in proptest::collection::vec((0_usize..22, 0_u64..60), 0..60)) {
            const LINES: [&str; 22] = [
                "plain", "", "ERROR x", "WARN y", "java.io.IOException: no", "\tat a.B.c(B.java:1)",
                "Caused by: a.BError: no", "Traceback (most recent call last):", "  File \"a.py\", line 1",
                "ValueError: no", "During handling of the above exception, another exception occurred:",
                "panic: no", "goroutine 1 [running]:", "main.main()", "\t/a.go:1 +0x1",
                "thread 'm' panicked at a.rs:1:1:", "note: run with `RUST_BACKTRACE=1`", "   0: f",
                "    at f (a.js:1:2) {", "}", "  code: 1", "exit status 2",
            ];
            let (mut streams, mut out) = (Streams::default(), Vec::new());
            let mut now = Instant::now();
            for (n, (pick, pause)) in picks.iter().enumerate() {
                now += Duration::from_millis(*pause);
                streams.tick(now, &mut |p| out.push(p));
                streams.feed(line(n, LINES[*pick]), now, &mut |p| out.push(p));
            }
            streams.flush(&mut |p| out.push(p));
            let expected: Vec<&str> = picks.iter().map(|(pick, _)| LINES[*pick]).collect();
            prop_assert_eq!(unfolded(&out), expected);
            let mut next = 0_usize;
            for printed in &out {
                let text = printed.meaning.stack_trace.as_ref().unwrap_or(&printed.meaning.message);
                let lines = text.split('\n').count();
                prop_assert_eq!(printed.at, at(next));
                next += lines;
                prop_assert_eq!(printed.last_at, at(next - 1));
                let read = printed.read.unwrap().map(|place| place.offset);
                prop_assert_eq!(read[0], next as u64);
            }
        }
    }
}
