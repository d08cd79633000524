//! The lines of many replicas, stack traces put together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::keys::KeyWatch;
use super::line::Meaning;
use super::trace::{self, Fit, Trace};
use crate::ports::RawLine;

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
/// Streams that are remembered; those of replicas that are gone are forgotten beyond that.
const MAX_STREAMS: usize = 256;

/// What a replica printed, as one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) task_id: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) stderr: bool,
    /// When its first line was printed.
    pub(crate) at: OffsetDateTime,
    /// When its last was: whoever stores the entry may go on reading after this, and must not
    /// earlier. What comes out of one stream comes in order and holds every line once, so that this
    /// is a position; lines that are still held have a later one and are read again.
    pub(crate) last_at: OffsetDateTime,
    /// The first line that is held of the same replica's other stream.
    pub(crate) beside: Option<OffsetDateTime>,
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
    streams: HashMap<(Option<String>, bool), Stream>,
}

impl Streams {
    /// Takes a line; `give` gets what is complete.
    pub(crate) fn feed(&mut self, line: RawLine, now: Instant, give: &mut dyn FnMut(Printed)) {
        let key = (line.task_id, line.stderr);
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&key) {
            self.streams.retain(|_, stream| !stream.held.is_empty());
        }
        let beside = match &key.0 {
            // With one stream only there is nothing to be looked up, and no key to be made for it.
            Some(_) if self.streams.len() > 1 => self.held_from(&(key.0.clone(), !key.1)),
            _ => None,
        };
        let give = &mut |at, last_at, meaning| {
            give(Printed {
                task_id: key.0.clone(),
                node_id: line.node_id.clone(),
                stderr: line.stderr,
                at,
                last_at,
                beside,
                meaning,
            });
        };
        // Looked up by reference first: a key of its own would cost a copy for each line.
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.feed(line.at, line.text, now, give);
        } else {
            let mut stream = Stream::new(line.node_id.clone(), now);
            stream.feed(line.at, line.text, now, give);
            self.streams.insert(key.clone(), stream);
        }
    }

    fn held_from(&self, key: &(Option<String>, bool)) -> Option<OffsetDateTime> {
        let held = &self.streams.get(key)?.held;
        held.first().map(|line| line.at)
    }

    /// When something that is held has waited long enough.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.streams.values().filter_map(Stream::due).min()
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
        let due: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.held.is_empty() && which(stream))
            .map(|(key, _)| key.clone())
            .collect();
        for (task_id, stderr) in due {
            let beside = self.held_from(&(task_id.clone(), !stderr));
            let Some(stream) = self.streams.get_mut(&(task_id.clone(), stderr)) else {
                continue;
            };
            let node_id = stream.node_id.clone();
            stream.flush(&mut |at, last_at, meaning| {
                give(Printed {
                    task_id: task_id.clone(),
                    node_id: node_id.clone(),
                    stderr,
                    at,
                    last_at,
                    beside,
                    meaning,
                });
            });
        }
    }
}

/// Gets times of the first and last line, and what they mean.
type Give<'a> = &'a mut dyn FnMut(OffsetDateTime, OffsetDateTime, Meaning);

#[derive(Debug)]
struct Stream {
    node_id: Option<String>,
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
    text: String,
}

impl Stream {
    fn new(node_id: Option<String>, now: Instant) -> Self {
        Self {
            node_id,
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

    fn feed(&mut self, at: OffsetDateTime, text: String, now: Instant, give: Give<'_>) {
        let text = self.keys.mask(super::clean::clean_owned(text));
        self.take(Held { at, text }, now, give);
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
        let meaning = Meaning::of_line(line.text);
        if !trace::may_begin(&meaning) {
            give(line.at, line.at, meaning);
            return;
        }
        let text = meaning.message.clone();
        self.first = Some((meaning, Trace::beginning(&text)));
        self.since = now;
        self.hold(Held { at: line.at, text }, now, true);
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
        let (at, last_at) = (begin.at, last.at);
        let meaning = if lines.len() == 1 {
            first
        } else {
            let texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
            trace::meaning_of(first, &texts)
        };
        give(at, last_at, meaning);
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

    fn line(n: usize, text: &str) -> RawLine {
        RawLine {
            at: OffsetDateTime::UNIX_EPOCH + Duration::from_millis(n as u64),
            task_id: Some("t1".to_owned()),
            node_id: Some("n1".to_owned()),
            stderr: false,
            text: text.to_owned(),
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
        assert_eq!(out[1].at, line(1, "").at);
        assert_eq!(out[1].last_at, line(lines, "").at);
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
                let line = RawLine {
                    task_id: Some(task.to_owned()),
                    stderr,
                    ..line(n, text)
                };
                streams.feed(line, now, &mut |p| out.push(p));
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
            let line = RawLine {
                task_id: Some(format!("t{n}")),
                ..line(n, "plain")
            };
            streams.feed(line, now, &mut |_| {});
        }
        assert!(streams.streams.len() <= MAX_STREAMS);
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
                prop_assert_eq!(printed.at, line(next, "").at);
                next += lines;
                prop_assert_eq!(printed.last_at, line(next - 1, "").at);
            }
        }
    }
}
