//! What a builder prints, as lines for people.

use std::collections::{HashMap, HashSet};

use flukedeploy_platform::ports::BuildLine;

use crate::protobuf::{Fields, Value};

/// Longest line passed on, in characters; the rest of it is dropped.
const MAX_CHARACTERS: usize = 4_000;
/// The same in bytes: no character takes more than four.
const MAX_BYTES: usize = 4 * MAX_CHARACTERS;
/// More steps than any build has; what comes beyond is not told.
const MAX_STEPS: usize = 10_000;

pub(crate) type Tell<'a> = &'a (dyn Fn(BuildLine) + Send + Sync);

/// Puts pieces together to lines. What a progress bar overwrites is not told.
#[derive(Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    is_overwritten: bool,
}

impl Lines {
    pub(crate) fn take(&mut self, piece: &[u8], mut tell: impl FnMut(String)) {
        for byte in piece {
            match byte {
                b'\n' => {
                    tell(self.line());
                    self.begun.clear();
                    self.is_overwritten = false;
                }
                b'\r' => self.is_overwritten = true,
                byte => {
                    if self.is_overwritten {
                        self.begun.clear();
                        self.is_overwritten = false;
                    }
                    if self.begun.len() < MAX_BYTES {
                        self.begun.push(*byte);
                    }
                }
            }
        }
    }

    /// What has no line end, and will get none.
    pub(crate) fn finish(self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.line())
    }

    fn line(&self) -> String {
        shortened(&String::from_utf8_lossy(&self.begun))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

/// Reads `moby.buildkit.v1.StatusResponse`.
#[derive(Default)]
pub(crate) struct Trace {
    told: HashSet<String>,
    /// Begun lines by step and stream.
    lines: HashMap<(String, u64), Lines>,
}

#[derive(Default)]
struct Vertex {
    digest: String,
    name: String,
    has_started: bool,
    has_completed: bool,
}

#[derive(Default)]
struct Log<'a> {
    vertex: String,
    stream: u64,
    message: &'a [u8],
}

impl Trace {
    pub(crate) fn take(&mut self, response: &[u8], tell: Tell<'_>) {
        let mut completed = Vec::new();
        for (field, value) in Fields(response) {
            match field {
                1 => {
                    let vertex = vertex(value);
                    let is_known = self.told.contains(&vertex.digest);
                    if vertex.has_started && !is_known && self.told.len() < MAX_STEPS {
                        tell(BuildLine::Step(shortened(&vertex.name)));
                        self.told.insert(vertex.digest.clone());
                    }
                    if vertex.has_completed {
                        completed.push(vertex.digest);
                    }
                }
                3 => self.log(&log(value), tell),
                _ => {}
            }
        }
        if !completed.is_empty() {
            self.finish(tell, |digest| completed.iter().any(|it| it == digest));
        }
    }

    /// Tells what was begun, when nothing more comes.
    pub(crate) fn end(&mut self, tell: Tell<'_>) {
        self.finish(tell, |_| true);
    }

    fn log(&mut self, log: &Log<'_>, tell: Tell<'_>) {
        let key = (log.vertex.clone(), log.stream);
        if self.lines.len() >= MAX_STEPS && !self.lines.contains_key(&key) {
            return;
        }
        let lines = self.lines.entry(key).or_default();
        lines.take(log.message, |line| tell(BuildLine::Output(line)));
    }

    fn finish(&mut self, tell: Tell<'_>, is_over: impl Fn(&str) -> bool) {
        let over: Vec<_> = self
            .lines
            .extract_if(|(digest, _), _| is_over(digest))
            .collect();
        for (_, lines) in over {
            if let Some(line) = lines.finish() {
                tell(BuildLine::Output(line));
            }
        }
    }
}

fn vertex(message: Value<'_>) -> Vertex {
    let mut vertex = Vertex::default();
    for (field, value) in Fields(message.bytes()) {
        match field {
            1 => vertex.digest = value.text(),
            3 => vertex.name = value.text(),
            5 => vertex.has_started = true,
            6 => vertex.has_completed = true,
            _ => {}
        }
    }
    vertex
}

fn log(message: Value<'_>) -> Log<'_> {
    let mut log = Log::default();
    for (field, value) in Fields(message.bytes()) {
        match (field, value) {
            (1, value) => log.vertex = value.text(),
            (3, Value::Number(stream)) => log.stream = stream,
            (4, value) => log.message = value.bytes(),
            _ => {}
        }
    }
    log
}

/// Of the command that failed: `BuildKit` ends its words with "exit code: 3", the classic builder
/// with "returned a non-zero code: 3".
pub(crate) fn exit_code(message: &str) -> Option<i64> {
    ["exit code: ", "non-zero code: "]
        .iter()
        .find_map(|phrase| {
            let (_, rest) = message.rsplit_once(phrase)?;
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{put_bytes, put_varint};
    use std::sync::Mutex;

    fn message(fields: &[(u64, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for (field, value) in fields {
            put_bytes(&mut message, *field, value);
        }
        message
    }

    fn told(responses: &[Vec<u8>]) -> Vec<BuildLine> {
        let told = Mutex::new(Vec::new());
        let tell = |line| told.lock().unwrap().push(line);
        let mut trace = Trace::default();
        for response in responses {
            trace.take(response, &tell);
        }
        trace.end(&tell);
        told.into_inner().unwrap()
    }

    fn printed(vertex: &[u8], stream: u64, text: &[u8]) -> Vec<u8> {
        let mut log = message(&[(1, vertex), (4, text)]);
        put_varint(&mut log, 3, stream);
        message(&[(3, &log)])
    }

    #[test]
    fn steps_are_told_once_and_lines_are_put_together() {
        let waiting = message(&[(1, b"a"), (3, b"[1/2] RUN make")]);
        let started = message(&[(1, b"a"), (3, b"[1/2] RUN make"), (5, b"")]);
        let completed = message(&[(1, b"a"), (3, b"[1/2] RUN make"), (5, b""), (6, b"")]);
        let lines = told(&[
            message(&[(1, &waiting)]),
            message(&[(1, &started)]),
            printed(b"a", 1, b"one\r\nt"),
            printed(b"a", 2, b"err\xff"),
            printed(b"a", 1, b"wo\n10 %\r20 %\r\nthr"),
            message(&[(1, &completed)]),
            printed(b"b", 1, b"open"),
        ]);
        let step = BuildLine::Step("[1/2] RUN make".to_owned());
        assert_eq!(lines[0], step);
        let output = |text: &str| BuildLine::Output(text.to_owned());
        assert_eq!(
            lines[1..4],
            [output("one"), output("two"), output("20 %")],
            "{lines:?}"
        );
        assert!(
            lines[4..6].contains(&output("thr")) && lines[4..6].contains(&output("err\u{fffd}"))
        );
        assert_eq!(lines[6..], [output("open")]);
    }

    #[test]
    fn long_lines_are_cut() {
        let endless = vec![b'x'; 1_000_000];
        let lines = told(&[
            printed(b"a", 1, &endless),
            printed(b"a", 1, &endless),
            printed(b"a", 1, b"\nnext\n"),
        ]);
        assert_eq!(lines.len(), 2);
        let BuildLine::Output(first) = &lines[0] else {
            panic!("{lines:?}");
        };
        assert_eq!(first.len(), 4_000);
    }

    #[test]
    fn the_exit_code_is_found() {
        for (words, code) in [
            (
                "executor failed running [/bin/sh -c exit 3]: exit code: 3",
                Some(3),
            ),
            (
                "process \"x\" did not complete successfully: exit code: 137: killed",
                Some(137),
            ),
            (
                "The command '/bin/false' returned a non-zero code: 1",
                Some(1),
            ),
            ("failed to solve: exit code: unknown", None),
            ("no such file", None),
        ] {
            assert_eq!(exit_code(words), code, "{words}");
        }
    }
}
