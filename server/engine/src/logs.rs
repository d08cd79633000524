//! What replicas print.
//!
//! Container by container, found through the engine's events. Swarm's own logs of a service come
//! from one place and from all nodes, but on Docker 20.10 their stream stalls for good when
//! several replicas print much at once (three times 20,000 lines are enough), so they serve only
//! for tasks on other nodes, one by one, where there is nothing else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use flukedeploy_platform::ports::{EngineError, RawLine, ReadTo, TaskState};
use futures_util::StreamExt;
use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::client::{CALL, encode, query};
use crate::engine::Inner;
use crate::error::{cut, engine_error};
use crate::events::{Event, Events};
use crate::labels::{SWARM_NODE_ID, SWARM_SERVICE, SWARM_TASK_ID};
use crate::services::instant;

/// Longest line passed on, in bytes; the rest of it is dropped.
const MAX_LINE: usize = 64 * 1024;
/// The engine cuts what is printed into pieces of 16 KiB; this is far above any of them.
const MAX_FRAME: usize = 1024 * 1024;
/// When to look for what no event told, while there is something to read; nodes other than this
/// one tell no events at all.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_AT_OTHER_NODES: Duration = Duration::from_secs(3);
/// When to look whether the service is still there, while there is nothing to read.
const LOOK_WHEN_QUIET: Duration = Duration::from_secs(2);

/// One piece of the engine's multiplexed stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) channel: Channel,
    pub(crate) payload: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
    /// The engine's own words about the stream.
    System,
}

/// Takes frames out of `buffer`; `Err` if it holds something else.
pub(crate) fn take_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, String> {
    let Some(header) = buffer.first_chunk::<8>() else {
        return Ok(None);
    };
    let channel = match header[0] {
        0 | 1 => Channel::Stdout,
        2 => Channel::Stderr,
        3 => Channel::System,
        other => return Err(format!("a log frame of the unknown kind {other}")),
    };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(format!("a log frame of {length} bytes"));
    }
    if buffer.len() < 8 + length {
        buffer.reserve(8 + length - buffer.len());
        return Ok(None);
    }
    let payload = buffer.split_to(8 + length).freeze().slice(8..);
    Ok(Some(Frame { channel, payload }))
}

/// Where lines are from.
#[derive(Debug, Clone)]
struct Origin {
    task_id: Option<String>,
    node_id: Option<String>,
}

/// Puts one replica's lines together and drops what was seen before.
struct Lines {
    origin: Origin,
    /// How far stdout and stderr were read before.
    read: [Option<OffsetDateTime>; 2],
    /// Begun lines of stdout and stderr.
    parts: [Option<Part>; 2],
    ready: VecDeque<RawLine>,
}

struct Part {
    at: OffsetDateTime,
    text: Vec<u8>,
}

impl Lines {
    fn new(origin: Origin, read: [Option<OffsetDateTime>; 2]) -> Self {
        Self {
            origin,
            read,
            parts: [None, None],
            ready: VecDeque::new(),
        }
    }

    /// `<time> <text>`; the text has no line end when the engine cut it.
    fn take(&mut self, stderr: bool, payload: &[u8]) {
        let Some(space) = payload.iter().position(|byte| *byte == b' ') else {
            return;
        };
        let Some(at) = std::str::from_utf8(&payload[..space])
            .ok()
            .and_then(instant)
        else {
            return;
        };
        // What was read before is left out piece by piece: the engine begins in the middle of a line
        // whose first pieces are older.
        if self.read[usize::from(stderr)].is_some_and(|read| at <= read) {
            return;
        }
        let text = &payload[space + 1..];
        let is_whole = text.last() == Some(&b'\n');
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let slot = &mut self.parts[usize::from(stderr)];
        let part = slot.get_or_insert_with(|| Part {
            at,
            text: Vec::new(),
        });
        part.at = at;
        let room = MAX_LINE.saturating_sub(part.text.len());
        part.text.extend_from_slice(&text[..text.len().min(room)]);
        if is_whole {
            self.finish(stderr);
        }
    }

    /// Gives out what has no line end, and will get none.
    fn flush(&mut self) {
        self.finish(false);
        self.finish(true);
    }

    fn finish(&mut self, stderr: bool) {
        let Some(part) = self.parts[usize::from(stderr)].take() else {
            return;
        };
        let text = part.text.strip_suffix(b"\r").unwrap_or(&part.text);
        for text in text.split(|byte| *byte == b'\n') {
            self.ready.push_back(RawLine {
                at: part.at,
                task_id: self.origin.task_id.clone(),
                node_id: self.origin.node_id.clone(),
                stderr,
                text: lossy(text),
            });
        }
    }
}

/// Replaces invalid UTF-8, and a character that the limit cut in two.
fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// The log of one replica, from its first line to its end.
struct Source {
    inner: Arc<Inner>,
    doing: String,
    path: String,
    body: Option<Incoming>,
    buffer: BytesMut,
    lines: Lines,
    is_over: bool,
}

impl Source {
    fn into_stream(self) -> BoxStream<'static, Result<RawLine, EngineError>> {
        stream::unfold(self, |mut source| async move {
            let line = source.next().await?;
            Some((line, source))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<RawLine, EngineError>> {
        loop {
            if let Some(line) = self.lines.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.read().await {
                self.is_over = true;
                match error {
                    // Swarm tidied the container away.
                    EngineError::NotFound { .. } => {}
                    error => return Some(Err(error)),
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), EngineError> {
        let Some(body) = &mut self.body else {
            let opening = self.inner.client.stream(&self.path);
            self.body = Some(self.inner.client.call(&self.doing, opening).await?);
            return Ok(());
        };
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                self.take_frames()
            }
            Some(Err(err)) => Err(engine_error(
                &self.doing,
                CALL,
                Error::HyperResponseError { err },
            )),
            None => {
                self.lines.flush();
                self.is_over = true;
                Ok(())
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), EngineError> {
        loop {
            let frame = match take_frame(&mut self.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(message) => {
                    let doing = self.doing.clone();
                    return Err(EngineError::Refused { doing, message });
                }
            };
            match frame.channel {
                Channel::Stdout => self.lines.take(false, &frame.payload),
                Channel::Stderr => self.lines.take(true, &frame.payload),
                Channel::System => {
                    let words = cut(&lossy(&frame.payload));
                    tracing::debug!(words, "the engine says about a log");
                }
            }
        }
    }
}

struct Follow {
    inner: Arc<Inner>,
    service: String,
    read: ReadTo,
    doing: String,
    /// Tells of containers that start from now on.
    events: Option<Events>,
    sources: SelectAll<BoxStream<'static, Result<RawLine, EngineError>>>,
    /// Containers of this node whose log is or was read.
    containers: HashSet<String>,
    /// Tasks of other nodes whose log is read; such a stream does not end by itself.
    tasks: HashMap<String, AbortHandle>,
    own_node: Option<String>,
    look_at: Instant,
    is_over: bool,
}

enum Step {
    Line(Option<Result<RawLine, EngineError>>),
    Event(Result<Event, String>),
    Look,
}

pub(crate) fn follow(
    inner: Arc<Inner>,
    service: &str,
    read: &ReadTo,
) -> BoxStream<'static, Result<RawLine, EngineError>> {
    let follow = Follow {
        inner,
        service: service.to_owned(),
        read: read.clone(),
        doing: format!("following the logs of {service}"),
        events: None,
        sources: SelectAll::new(),
        containers: HashSet::new(),
        tasks: HashMap::new(),
        own_node: None,
        look_at: Instant::now(),
        is_over: false,
    };
    stream::unfold(follow, |mut follow| async move {
        let line = follow.next().await?;
        Some((line, follow))
    })
    .boxed()
}

impl Follow {
    async fn next(&mut self) -> Option<Result<RawLine, EngineError>> {
        while !self.is_over {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<RawLine>, EngineError> {
        let Some(events) = &mut self.events else {
            let label = format!("{SWARM_SERVICE}={}", self.service);
            let filters = json!({"type": ["container"], "event": ["start"], "label": [label]});
            // Before the first look, so that no container falls in between.
            self.events = Some(self.inner.events(&filters).await?);
            self.own_node = self.inner.membership().await?.node_id;
            self.look().await?;
            return Ok(None);
        };
        let has_sources = !self.sources.is_empty();
        let step = tokio::select! {
            line = self.sources.next(), if has_sources => Step::Line(line),
            event = events.next() => Step::Event(event),
            () = tokio::time::sleep_until(self.look_at) => Step::Look,
        };
        match step {
            Step::Line(Some(line)) => line.map(Some),
            Step::Line(None) => {
                self.look_at = Instant::now() + LOOK_WHEN_QUIET;
                Ok(None)
            }
            Step::Event(Ok(Event { actor, .. })) => {
                let mut labels = actor.attributes;
                self.read_container(
                    actor.id,
                    labels.remove(SWARM_TASK_ID),
                    labels.remove(SWARM_NODE_ID),
                );
                Ok(None)
            }
            Step::Event(Err(why)) => Err(EngineError::Unreachable {
                doing: self.doing.clone(),
                source: why.into(),
            }),
            Step::Look => {
                self.look().await?;
                Ok(None)
            }
        }
    }

    /// Reads what is there and not read yet; notices when there will be nothing more.
    async fn look(&mut self) -> Result<(), EngineError> {
        let found = self.inner.containers_of(&self.service).await?;
        let ids: HashSet<String> = found.iter().filter_map(|found| found.id.clone()).collect();
        self.containers.retain(|id| ids.contains(id));
        for container in found {
            let mut labels = container.labels.unwrap_or_default();
            let (task, node) = (labels.remove(SWARM_TASK_ID), labels.remove(SWARM_NODE_ID));
            self.read_container(container.id.unwrap_or_default(), task, node);
        }
        self.look_at_other_nodes().await?;
        if self.sources.is_empty() {
            self.is_over = !self.inner.service_exists(&self.service).await?;
        }
        let pause = match (self.sources.is_empty(), self.tasks.is_empty()) {
            (true, _) => LOOK_WHEN_QUIET,
            (false, false) => LOOK_AT_OTHER_NODES,
            (false, true) => LOOK,
        };
        self.look_at = Instant::now() + pause;
        Ok(())
    }

    async fn look_at_other_nodes(&mut self) -> Result<(), EngineError> {
        let mut there = HashSet::new();
        for task in self.inner.tasks(&self.service).await? {
            let has_begun = !matches!(task.state, TaskState::Waiting | TaskState::Rejected);
            if task.node_id.is_none() || task.node_id == self.own_node || !has_begun {
                continue;
            }
            there.insert(task.id.clone());
            if !self.tasks.contains_key(&task.id) {
                let path = format!("/tasks/{}/logs", encode(&task.id));
                let source = self.source(&path, Some(task.id.clone()), task.node_id);
                let (source, handle) = stream::abortable(source);
                self.sources.push(source.boxed());
                self.tasks.insert(task.id, handle);
            }
        }
        self.tasks.retain(|id, handle| {
            let stays = there.contains(id);
            if !stays {
                handle.abort();
            }
            stays
        });
        Ok(())
    }

    fn read_container(&mut self, id: String, task_id: Option<String>, node_id: Option<String>) {
        if !self.containers.contains(&id) {
            let source = self.source(
                &format!("/containers/{}/logs", encode(&id)),
                task_id,
                node_id,
            );
            self.sources.push(source);
            self.containers.insert(id);
        }
    }

    fn source(
        &self,
        path: &str,
        task_id: Option<String>,
        node_id: Option<String>,
    ) -> BoxStream<'static, Result<RawLine, EngineError>> {
        let read = self.read.of(task_id.as_deref());
        // From the older of both; what the other has more is left out again.
        let since = match read {
            [Some(stdout), Some(stderr)] => after(stdout.min(stderr)),
            _ => "0".to_owned(),
        };
        let parameters = [
            ("follow", "1"),
            ("stdout", "1"),
            ("stderr", "1"),
            ("timestamps", "1"),
            ("since", &since),
        ];
        let source = Source {
            inner: self.inner.clone(),
            doing: self.doing.clone(),
            path: format!("{path}{}", query(&parameters)),
            body: None,
            buffer: BytesMut::new(),
            lines: Lines::new(Origin { task_id, node_id }, read),
            is_over: false,
        };
        source.into_stream()
    }
}

/// The instant right after `since`, as Docker reads it: seconds, a point, nanoseconds.
fn after(since: OffsetDateTime) -> String {
    let next = since + time::Duration::nanoseconds(1);
    format!("{}.{:09}", next.unix_timestamp().max(0), next.nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(channel: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = vec![channel, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text);
        frame
    }

    fn line(text: &str) -> Vec<u8> {
        format!("2024-05-01T10:20:30.000000001Z {text}").into_bytes()
    }

    fn lines(read: Option<OffsetDateTime>) -> Lines {
        let origin = Origin {
            task_id: Some("t1".to_owned()),
            node_id: None,
        };
        Lines::new(origin, [read; 2])
    }

    #[test]
    fn frames_come_apart_wherever_they_are_cut() {
        let mut whole = frame(1, b"hello\n");
        whole.extend(frame(2, b""));
        whole.extend(frame(3, b"warning"));
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            let mut found = Vec::new();
            while let Some(frame) = take_frame(&mut buffer).unwrap() {
                found.push(frame);
            }
            buffer.extend_from_slice(&whole[cut..]);
            while let Some(frame) = take_frame(&mut buffer).unwrap() {
                found.push(frame);
            }
            let channels: Vec<Channel> = found.iter().map(|frame| frame.channel).collect();
            assert_eq!(
                channels,
                [Channel::Stdout, Channel::Stderr, Channel::System]
            );
            assert_eq!(found[0].payload, "hello\n");
        }
    }

    #[test]
    fn nonsense_is_no_frame() {
        assert!(take_frame(&mut BytesMut::from(&b"HTTP/1.1 "[..])).is_err());
        assert!(take_frame(&mut BytesMut::from(&[1, 0, 0, 0, 255, 255, 255, 255][..])).is_err());
        assert_eq!(
            take_frame(&mut BytesMut::from(&[1, 0, 0][..])).unwrap(),
            None
        );
    }

    #[test]
    fn a_line_knows_where_it_is_from() {
        let mut lines = lines(None);
        lines.take(true, &line("a b  c\r\n"));
        let got = lines.ready.pop_front().unwrap();
        assert_eq!(got.text, "a b  c");
        assert!(got.stderr);
        assert_eq!(
            (got.task_id.as_deref(), got.node_id.as_deref()),
            (Some("t1"), None)
        );
        assert_eq!(got.at.nanosecond(), 1);
    }

    #[test]
    fn pieces_become_one_line_of_limited_length() {
        let mut lines = lines(None);
        let piece = "x".repeat(16 * 1024);
        for _ in 0..10 {
            lines.take(false, &line(&piece));
            assert!(lines.ready.is_empty());
        }
        lines.take(false, &line("end\n"));
        assert_eq!(lines.ready.pop_front().unwrap().text.len(), MAX_LINE);
        lines.take(false, &line("next\n"));
        assert_eq!(lines.ready.pop_front().unwrap().text, "next");
    }

    #[test]
    fn what_was_seen_is_not_told_again() {
        let since = instant("2024-05-01T10:20:30.000000001Z").unwrap();
        let mut lines = lines(Some(since));
        lines.take(false, &line("old\n"));
        lines.take(false, b"2024-05-01T10:20:30.000000002Z new\n");
        assert_eq!(lines.ready.len(), 1);
        assert_eq!(lines.ready[0].text, "new");
        assert_eq!(after(since), "1714558830.000000002");
    }

    #[test]
    fn invalid_utf8_and_garbage_do_no_harm() {
        let mut lines = lines(None);
        lines.take(false, &[line("").as_slice(), b"\xff\xfe\n"].concat());
        assert_eq!(lines.ready.pop_front().unwrap().text, "\u{fffd}\u{fffd}");
        lines.take(false, b"no time at all\n");
        lines.take(false, b"");
        assert!(lines.ready.is_empty());
    }

    #[test]
    fn stdout_and_stderr_do_not_mix() {
        let mut lines = lines(None);
        lines.take(false, &line("begun"));
        lines.take(true, &line("other\n"));
        lines.take(false, &line(" and ended\n"));
        lines.take(true, &line("no end"));
        lines.flush();
        let got: Vec<(bool, String)> = lines
            .ready
            .into_iter()
            .map(|line| (line.stderr, line.text))
            .collect();
        let wanted = [
            (true, "other"),
            (false, "begun and ended"),
            (true, "no end"),
        ];
        assert_eq!(got, wanted.map(|(stderr, text)| (stderr, text.to_owned())));
    }
}
