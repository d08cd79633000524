//! What replicas print, from all nodes, through Swarm's log broker.
//!
//! Service logs rather than each container's: they come from every node, they take in tasks that
//! start later, and they say which task a line is from.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use flukedeploy_platform::ports::{EngineError, RawLine};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::client::{CALL, encode, query};
use crate::engine::Inner;
use crate::error::{cut, engine_error};
use crate::labels::{SWARM_NODE_ID, SWARM_TASK_ID};
use crate::services::instant;

/// Longest line passed on, in bytes; the rest of it is dropped.
const MAX_LINE: usize = 64 * 1024;
/// The engine cuts what is printed into pieces of 16 KiB; this is far above any of them.
const MAX_FRAME: usize = 1024 * 1024;
/// Lines that are being put together at once.
const MAX_PARTS: usize = 64;
/// A followed stream does not end by itself when its service is removed, so we look.
const LOOK: Duration = Duration::from_secs(3);
/// What a removed service's tasks said last is still under way.
const LAST_WORDS: Duration = Duration::from_secs(1);

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

/// Puts lines together and drops what was seen before.
struct Lines {
    since: Option<OffsetDateTime>,
    /// Begun lines, by task and channel.
    parts: HashMap<(Option<String>, bool), Part>,
    ready: VecDeque<RawLine>,
}

struct Part {
    at: OffsetDateTime,
    node_id: Option<String>,
    text: Vec<u8>,
}

impl Lines {
    fn new(since: Option<OffsetDateTime>) -> Self {
        Self {
            since,
            parts: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// `<time> <details> <text>`; the text has no line end when the engine cut it.
    fn take(&mut self, stderr: bool, payload: &[u8]) {
        let mut fields = payload.splitn(3, |byte| *byte == b' ');
        let (at, details, text) = (fields.next(), fields.next(), fields.next());
        let (Some(at), Some(details), Some(text)) = (at, details, text) else {
            return;
        };
        let Some(at) = std::str::from_utf8(at).ok().and_then(instant) else {
            return;
        };
        let (mut task_id, mut node_id) = (None, None);
        for (name, value) in std::str::from_utf8(details)
            .unwrap_or_default()
            .split(',')
            .filter_map(|detail| detail.split_once('='))
        {
            match name {
                SWARM_TASK_ID => task_id = Some(value.to_owned()),
                SWARM_NODE_ID => node_id = Some(value.to_owned()),
                _ => {}
            }
        }
        let is_whole = text.last() == Some(&b'\n');
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let key = (task_id, stderr);
        if self.parts.len() >= MAX_PARTS && !self.parts.contains_key(&key) {
            self.flush();
        }
        let part = self.parts.entry(key.clone()).or_insert_with(|| Part {
            at,
            node_id,
            text: Vec::new(),
        });
        let room = MAX_LINE.saturating_sub(part.text.len());
        part.text.extend_from_slice(&text[..text.len().min(room)]);
        if is_whole && let Some(part) = self.parts.remove(&key) {
            self.finish(key, &part);
        }
    }

    /// Gives out what has no line end, and will get none.
    fn flush(&mut self) {
        for (key, part) in std::mem::take(&mut self.parts) {
            self.finish(key, &part);
        }
    }

    fn finish(&mut self, (task_id, stderr): (Option<String>, bool), part: &Part) {
        if self.since.is_some_and(|since| part.at <= since) {
            return;
        }
        let text = part.text.strip_suffix(b"\r").unwrap_or(&part.text);
        for text in text.split(|byte| *byte == b'\n') {
            self.ready.push_back(RawLine {
                at: part.at,
                task_id: task_id.clone(),
                node_id: part.node_id.clone(),
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

struct Follow {
    inner: Arc<Inner>,
    service: String,
    body: Option<Incoming>,
    buffer: BytesMut,
    lines: Lines,
    look_at: Instant,
    /// The service is gone; the stream ends then.
    end_at: Option<Instant>,
    is_over: bool,
}

enum Step {
    Data(Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>),
    Look,
    End,
}

pub(crate) fn follow(
    inner: Arc<Inner>,
    service: &str,
    since: Option<OffsetDateTime>,
) -> BoxStream<'static, Result<RawLine, EngineError>> {
    let follow = Follow {
        inner,
        service: service.to_owned(),
        body: None,
        buffer: BytesMut::new(),
        lines: Lines::new(since),
        look_at: Instant::now() + LOOK,
        end_at: None,
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
        loop {
            if let Some(line) = self.lines.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.is_over {
                return None;
            }
            if let Err(error) = self.step().await {
                self.is_over = true;
                self.lines.flush();
                match error {
                    EngineError::NotFound { .. } => {}
                    error => return Some(Err(error)),
                }
            }
        }
    }

    /// One thing that happens: data, the end, or a look whether the service is still there.
    async fn step(&mut self) -> Result<(), EngineError> {
        let Some(body) = &mut self.body else {
            self.body = Some(
                self.inner
                    .open_logs(&self.service, self.lines.since)
                    .await?,
            );
            return Ok(());
        };
        let end_at = self.end_at;
        let step = tokio::select! {
            data = body.frame() => Step::Data(data),
            () = tokio::time::sleep_until(self.look_at), if end_at.is_none() => Step::Look,
            () = tokio::time::sleep_until(end_at.unwrap_or(self.look_at)), if end_at.is_some() => Step::End,
        };
        match step {
            Step::Data(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                self.take_frames()
            }
            Step::Data(Some(Err(error))) => {
                let doing = format!("following the logs of {}", self.service);
                Err(engine_error(
                    &doing,
                    CALL,
                    Error::HyperResponseError { err: error },
                ))
            }
            Step::Data(None) | Step::End => {
                self.lines.flush();
                self.is_over = true;
                Ok(())
            }
            Step::Look => {
                self.look_at = Instant::now() + LOOK;
                if !self.inner.service_exists(&self.service).await? {
                    self.end_at = Some(Instant::now() + LAST_WORDS);
                }
                Ok(())
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), EngineError> {
        let refused = |message: String| EngineError::Refused {
            doing: format!("following the logs of {}", self.service),
            message,
        };
        while let Some(frame) = take_frame(&mut self.buffer).map_err(refused)? {
            match frame.channel {
                Channel::Stdout => self.lines.take(false, &frame.payload),
                Channel::Stderr => self.lines.take(true, &frame.payload),
                // One node that cannot be asked is no reason to lose the others.
                Channel::System => {
                    let words = cut(&lossy(&frame.payload));
                    tracing::debug!(
                        service = self.service,
                        words,
                        "the engine about a log stream"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    async fn open_logs(
        &self,
        service: &str,
        since: Option<OffsetDateTime>,
    ) -> Result<Incoming, EngineError> {
        let since = since.map_or_else(|| "0".to_owned(), after);
        let parameters = [
            ("follow", "1"),
            ("stdout", "1"),
            ("stderr", "1"),
            ("timestamps", "1"),
            ("details", "1"),
            ("since", &since),
        ];
        let path = format!("/services/{}/logs{}", encode(service), query(&parameters));
        let doing = format!("following the logs of {service}");
        self.client.call(&doing, self.client.stream(&path)).await
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

    const PREFIX: &str = "2024-05-01T10:20:30.000000001Z com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1 ";

    fn line(text: &str) -> Vec<u8> {
        format!("{PREFIX}{text}").into_bytes()
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
        let mut lines = Lines::new(None);
        lines.take(true, &line("a b  c\r\n"));
        let got = lines.ready.pop_front().unwrap();
        assert_eq!(got.text, "a b  c");
        assert!(got.stderr);
        assert_eq!(
            (got.task_id.as_deref(), got.node_id.as_deref()),
            (Some("t1"), Some("n1"))
        );
        assert_eq!(got.at.nanosecond(), 1);
    }

    #[test]
    fn pieces_become_one_line_of_limited_length() {
        let mut lines = Lines::new(None);
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
        let mut lines = Lines::new(Some(since));
        lines.take(false, &line("old\n"));
        lines.take(false, b"2024-05-01T10:20:30.000000002Z  new\n");
        assert_eq!(lines.ready.len(), 1);
        assert_eq!(lines.ready[0].text, "new");
        assert_eq!(lines.ready[0].task_id, None);
        assert_eq!(after(since), "1714558830.000000002");
    }

    #[test]
    fn invalid_utf8_and_garbage_do_no_harm() {
        let mut lines = Lines::new(None);
        lines.take(false, &[line("").as_slice(), b"\xff\xfe\n"].concat());
        assert_eq!(lines.ready.pop_front().unwrap().text, "\u{fffd}\u{fffd}");
        lines.take(false, b"no time at all\n");
        lines.take(false, b"");
        assert!(lines.ready.is_empty());
    }

    #[test]
    fn begun_lines_are_limited_in_number() {
        let mut lines = Lines::new(None);
        for task in 0..200 {
            let text = format!("2024-05-01T10:20:30Z com.docker.swarm.task.id=t{task} begun");
            lines.take(false, text.as_bytes());
            assert!(lines.parts.len() <= MAX_PARTS);
        }
        lines.flush();
        assert_eq!(lines.ready.len(), 200);
    }
}
