//! A replica's lines through the engine's API: where its files cannot be read.

use std::sync::Arc;

use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use flukedeploy_platform::ports::{EngineError, RawLine, RawLines};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use time::OffsetDateTime;

use super::lines::{Lines, Piece, lossy};
use super::sources::{Origin, Running};
use crate::client::{CALL, query};
use crate::engine::Inner;
use crate::error::{cut, engine_error};
use crate::services::instant;

/// The engine cuts what is printed into pieces of 16 KiB; this is far above any of them.
const MAX_FRAME: usize = 1024 * 1024;

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

/// Puts one replica's lines together and drops what was seen before.
struct Pieces {
    /// How far stdout and stderr were read, the lines that are given out included.
    read: [Option<OffsetDateTime>; 2],
    lines: Lines,
    ready: Vec<RawLine>,
}

impl Pieces {
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
        let whole = text.strip_suffix(b"\n");
        let piece = Piece {
            at,
            stderr,
            text: whole.unwrap_or(text).into(),
            is_last: whole.is_some(),
            place: None,
        };
        self.lines.add(piece, &mut self.ready);
    }

    /// How far it will have been read once what is ready was given out.
    fn read_to(&self) -> [Option<OffsetDateTime>; 2] {
        let mut read = self.read;
        for line in &self.ready {
            let read = &mut read[usize::from(line.stderr)];
            *read = (*read).max(Some(line.at));
        }
        read
    }
}

/// The log of one replica, from where it was read to until its end.
pub(super) struct Source {
    inner: Arc<Inner>,
    doing: String,
    path: String,
    body: Option<Incoming>,
    buffer: BytesMut,
    pieces: Pieces,
    origin: Origin,
    is_over: bool,
    running: Running,
}

impl Source {
    /// `path` of the container's or the task's logs.
    pub(super) fn new(
        inner: Arc<Inner>,
        doing: &str,
        path: &str,
        origin: Origin,
        read: [Option<OffsetDateTime>; 2],
        running: Running,
    ) -> Self {
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
        Self {
            inner,
            doing: doing.to_owned(),
            path: format!("{path}{}", query(&parameters)),
            body: None,
            buffer: BytesMut::new(),
            pieces: Pieces {
                read,
                lines: Lines::default(),
                ready: Vec::new(),
            },
            origin,
            is_over: false,
            running,
        }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, RawLines> {
        stream::unfold(self, |mut source| async move {
            let lines = source.next().await?;
            Some((lines, source))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<RawLines> {
        while self.pieces.ready.is_empty() && !self.is_over {
            if let Err(error) = self.read().await {
                self.is_over = true;
                match error {
                    // Swarm tidied the container away.
                    EngineError::NotFound { .. } => {}
                    error => self.running.failed(&error, self.pieces.read),
                }
            }
        }
        self.pieces.read = self.pieces.read_to();
        let lines = std::mem::take(&mut self.pieces.ready);
        (!lines.is_empty()).then(|| self.origin.lines(lines))
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
                let Pieces { lines, ready, .. } = &mut self.pieces;
                lines.flush(ready);
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
                Channel::Stdout => self.pieces.take(false, &frame.payload),
                Channel::Stderr => self.pieces.take(true, &frame.payload),
                Channel::System => {
                    let words = cut(&lossy(frame.payload.to_vec()));
                    tracing::debug!(words, "the engine says about a log");
                }
            }
        }
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

    fn pieces(read: Option<OffsetDateTime>) -> Pieces {
        Pieces {
            read: [read; 2],
            lines: Lines::default(),
            ready: Vec::new(),
        }
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
    fn a_line_has_its_time_and_stream() {
        let mut pieces = pieces(None);
        pieces.take(true, &line("a b  c\r\n"));
        let got = &pieces.ready[0];
        assert_eq!(got.text, "a b  c");
        assert!(got.stderr);
        assert_eq!(got.at.nanosecond(), 1);
        assert_eq!(pieces.read_to(), [None, Some(got.at)]);
    }

    #[test]
    fn what_was_seen_is_not_told_again() {
        let since = instant("2024-05-01T10:20:30.000000001Z").unwrap();
        let mut pieces = pieces(Some(since));
        pieces.take(false, &line("old\n"));
        pieces.take(false, b"2024-05-01T10:20:30.000000002Z new\n");
        // Not complete: it would be read again.
        pieces.take(true, b"2024-05-01T10:20:30.000000003Z begun");
        assert_eq!(pieces.ready.len(), 1);
        assert_eq!(pieces.ready[0].text, "new");
        assert_eq!(pieces.read_to(), [Some(pieces.ready[0].at), Some(since)]);
        assert_eq!(after(since), "1714558830.000000002");
    }

    #[test]
    fn garbage_does_no_harm() {
        let mut pieces = pieces(None);
        pieces.take(false, b"no time at all\n");
        pieces.take(false, b"");
        assert!(pieces.ready.is_empty());
    }
}
