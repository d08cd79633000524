//! Connections that have switched protocols: bytes both ways until either side ends, or until the
//! release behind it is wanted no more.
//!
//! `WebSockets` are then closed as their protocol wants it: a Close frame to both sides, put between
//! two frames of what passes, and time for their answers. Everything else can only be cut.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use crate::connection_pool::UpstreamConnection;
use crate::service::{InFlight, TunnelWish};
use crate::websocket::{Frames, close_frame};
use crate::worker::{Open, Worker};

const BUFFER_BYTES: usize = 8 * 1024;

/// Both sides of a switch, and what to.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) client: OnUpgrade,
    pub(crate) upstream: OnUpgrade,
    pub(crate) is_websocket: bool,
}

/// Joins both ends in the background. It counts as in flight until it is closed.
pub(crate) fn join(
    worker: &Rc<Worker>,
    ends: Ends,
    flight: InFlight,
    connection: UpstreamConnection,
    open: Open,
) {
    let worker = worker.clone();
    spawn_local(async move {
        // Held until the end: the worker waits for tunnels when it stops, up to its limit.
        let (_open, _connection) = (open, connection);
        let switched = futures_util::future::try_join(ends.client, ends.upstream).await;
        match switched {
            Ok((client, upstream)) => {
                let tunnel = Tunnel::new(client, upstream, ends.is_websocket, &worker);
                if let Err(error) = tunnel.run(&worker, &flight).await {
                    tracing::debug!(%error, "tunnel broke off");
                }
            }
            Err(error) => tracing::debug!(%error, "protocol switch failed"),
        }
        drop(flight);
    });
}

type Io = TokioIo<Upgraded>;

struct Tunnel {
    client: Io,
    upstream: Io,
    to_client: Flow,
    to_upstream: Flow,
    is_websocket: bool,
    /// Both sides have been told that this is the end.
    told: bool,
}

/// Why [`Tunnel::step`] returned.
enum Step {
    Told,
    Ended,
}

impl Tunnel {
    fn new(client: Upgraded, upstream: Upgraded, is_websocket: bool, worker: &Worker) -> Self {
        Self {
            client: TokioIo::new(client),
            upstream: TokioIo::new(upstream),
            to_client: Flow::new(is_websocket, close_frame(None)),
            to_upstream: Flow::new(is_websocket, close_frame(Some(worker.new_mask()))),
            is_websocket,
            told: false,
        }
    }

    async fn run(mut self, worker: &Worker, flight: &InFlight) -> io::Result<()> {
        let mut closing = flight.service().closing();
        let mut end_at = None;
        loop {
            let wish = flight.wish(*closing.borrow_and_update());
            match wish {
                TunnelWish::Cut => return Ok(()),
                TunnelWish::Close if self.is_websocket => {
                    self.to_client.end();
                    self.to_upstream.end();
                }
                TunnelWish::Close | TunnelWish::Stay => {}
            }
            let never = Instant::now();
            tokio::select! {
                biased;
                step = poll_fn(|cx| self.step(cx)) => match step? {
                    Step::Told => end_at = Some(Instant::now() + worker.limits.close_grace),
                    Step::Ended => return Ok(()),
                },
                // Its sender lives in the service, which the flight holds.
                _ = closing.changed() => {}
                () = sleep_until(end_at.unwrap_or(never)), if end_at.is_some() => return Ok(()),
            }
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let down = self.to_client.poll(cx, upstream, client);
        let up = self.to_upstream.poll(cx, client, upstream);
        for outcome in [&down, &up] {
            if let Poll::Ready(Err(error)) = outcome {
                return Poll::Ready(Err(io::Error::new(error.kind(), error.to_string())));
            }
        }
        if down.is_ready() && up.is_ready() {
            return Poll::Ready(Ok(Step::Ended));
        }
        if !self.told && self.to_client.is_told() && self.to_upstream.is_told() {
            self.told = true;
            return Poll::Ready(Ok(Step::Told));
        }
        if self.told && self.to_client.agrees() && self.to_upstream.agrees() {
            // All has been read, so that what we said is followed by an end, not by a reset.
            let client = Pin::new(&mut self.client).poll_shutdown(cx);
            let upstream = Pin::new(&mut self.upstream).poll_shutdown(cx);
            if client.is_ready() && upstream.is_ready() {
                return Poll::Ready(Ok(Step::Ended));
            }
        }
        Poll::Pending
    }
}

/// One direction.
struct Flow {
    buffer: Box<[u8]>,
    /// What of it has not been written yet.
    start: usize,
    end: usize,
    unflushed: bool,
    frames: Option<Frames>,
    stage: Stage,
    goodbye: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Up to the end of the frame that is passing.
    Ending,
    /// The goodbye is on its way; what still comes from the other side is not passed on.
    Told,
    /// The other side has ended: so do we.
    Shutting,
    Done,
}

impl Flow {
    fn new(is_websocket: bool, goodbye: Vec<u8>) -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            unflushed: false,
            frames: is_websocket.then(Frames::default),
            stage: Stage::Open,
            goodbye,
        }
    }

    fn end(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Ending;
        }
    }

    fn is_told(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Ending => false,
            Stage::Told | Stage::Shutting => self.start == self.end,
            Stage::Done => true,
        }
    }

    /// The side that this reads from has sent its Close frame, or has ended.
    fn agrees(&self) -> bool {
        self.stage == Stage::Done || self.frames.as_ref().is_some_and(Frames::closed)
    }

    /// Ready when it has ended.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<io::Result<()>> {
        let closing = matches!(self.stage, Stage::Ending | Stage::Told);
        match self.advance(cx, from, to) {
            // One side's failure must not keep the other from hearing our goodbye.
            Poll::Ready(Err(error)) if closing => {
                tracing::debug!(%error, "one side of a tunnel broke off");
                (self.start, self.end) = (0, 0);
                self.stage = Stage::Done;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.start < self.end {
                let rest = &self.buffer[self.start..self.end];
                let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += written;
                self.unflushed = true;
            }
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Shutting => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Done;
                }
                Stage::Ending if self.frames.as_ref().is_some_and(Frames::at_boundary) => {
                    self.say_goodbye();
                }
                Stage::Open | Stage::Ending | Stage::Told => {
                    if self.poll_read(cx, from)?.is_pending() {
                        if self.unflushed {
                            ready!(Pin::new(&mut *to).poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn say_goodbye(&mut self) {
        self.stage = Stage::Told;
        let closed = self.frames.as_ref().is_some_and(Frames::closed);
        // If a Close frame has passed, all has been said.
        if !closed {
            self.buffer[..self.goodbye.len()].copy_from_slice(&self.goodbye);
            (self.start, self.end) = (0, self.goodbye.len());
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Io) -> io::Result<Poll<()>> {
        let limit = match (&self.frames, self.stage) {
            (Some(frames), Stage::Ending) => frames.until_end().min(BUFFER_BYTES),
            _ => BUFFER_BYTES,
        };
        let mut room = ReadBuf::new(&mut self.buffer[..limit]);
        match Pin::new(from).poll_read(cx, &mut room) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(outcome) => outcome?,
        }
        let read = room.filled();
        if let Some(frames) = &mut self.frames {
            frames.pass(read);
        }
        let count = read.len();
        match self.stage {
            Stage::Told if count == 0 => self.stage = Stage::Done,
            Stage::Told => {}
            _ if count == 0 => self.stage = Stage::Shutting,
            _ => (self.start, self.end) = (0, count),
        }
        Ok(Poll::Ready(()))
    }
}
