//! Bodies on their way through: never gathered, passed on frame by frame as the receiver takes them.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::access::Watched;
use crate::client::Turn;
use crate::connection_pool::UpstreamConnection;
use crate::service::InFlight;
use crate::worker::Worker;

/// The last moment a request's body moved, on the worker's clock.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) worker: Rc<Worker>,
    pub(crate) at_ms: Cell<u64>,
    pub(crate) broken: Cell<bool>,
}

/// What a client sends to an app.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Stream {
        incoming: Incoming,
        progress: Rc<Progress>,
    },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Stream { incoming, progress } => {
                let frame = Pin::new(incoming).poll_frame(cx);
                if let Poll::Ready(outcome) = &frame {
                    progress.at_ms.set(progress.worker.now_ms());
                    if matches!(outcome, Some(Err(_))) {
                        progress.broken.set(true);
                    }
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// What an app's answer holds on to until its body has ended.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) worker: Rc<Worker>,
    pub(crate) flight: InFlight,
    pub(crate) connection: UpstreamConnection,
}

impl Lease {
    fn release(self) {
        self.worker
            .pool()
            .give_back(&self.flight.endpoint, self.connection);
    }
}

#[derive(Debug)]
enum Content {
    Nothing,
    Full(Bytes),
    Upstream(Incoming),
}

/// What a client gets.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    lease: Option<Lease>,
    turn: Option<Turn>,
    watched: Option<Box<Watched>>,
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Self {
            content: Content::Nothing,
            lease: None,
            turn: None,
            watched: None,
        }
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self {
            content: Content::Full(bytes),
            lease: None,
            turn: None,
            watched: None,
        }
    }

    /// `lease` is given up when `incoming` ends; when it breaks off, the connection is closed.
    pub(crate) fn upstream(incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self {
            content: Content::Upstream(incoming),
            lease: Some(lease),
            turn: None,
            watched: None,
        };
        body.release_at_end();
        body
    }

    /// Keeps the client's connection marked as busy until this body is done with.
    pub(crate) fn with_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Tells what becomes of it, and that it has ended.
    pub(crate) fn with_watched(mut self, watched: Box<Watched>) -> Self {
        self.watched = Some(watched);
        self
    }

    fn sees(&mut self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) {
        match (&mut self.watched, frame) {
            (None, _) => {}
            // The client has all of it; what is left of this body may be dropped only later.
            (Some(_), None) => self.watched = None,
            (Some(watched), Some(Ok(frame))) => {
                watched.passes(frame.data_ref().map_or(0, Bytes::len));
            }
            (Some(watched), Some(Err(_))) => watched.breaks_off(),
        }
    }

    fn release_at_end(&mut self) {
        if let Content::Upstream(incoming) = &self.content
            && incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.content {
            Content::Nothing => Poll::Ready(None),
            Content::Full(_) => {
                let Content::Full(bytes) = std::mem::replace(&mut self.content, Content::Nothing)
                else {
                    return Poll::Ready(None);
                };
                let frame = Ok(Frame::data(bytes));
                self.sees(Some(&frame));
                Poll::Ready(Some(frame))
            }
            Content::Upstream(incoming) => {
                let frame = std::task::ready!(Pin::new(incoming).poll_frame(cx));
                match &frame {
                    None => {
                        if let Some(lease) = self.lease.take() {
                            lease.release();
                        }
                    }
                    Some(Ok(_)) => self.release_at_end(),
                    Some(Err(_)) => drop(self.lease.take()),
                }
                self.sees(frame.as_ref());
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Nothing => true,
            Content::Full(bytes) => bytes.is_empty(),
            Content::Upstream(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Nothing => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Upstream(incoming) => incoming.size_hint(),
        }
    }
}
