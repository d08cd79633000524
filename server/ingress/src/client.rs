//! One connection of a client, as its worker sees it.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use http::HeaderValue;

use crate::client_stream::StreamWatch;

/// What a client connection is doing. Instants are on the worker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing complete has arrived yet.
    New {
        since_ms: u64,
    },
    Busy,
    /// Between two requests.
    Idle {
        since_ms: u64,
    },
}

/// What its worker wants a client connection to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Serve,
    /// Close as soon as no request is being answered.
    Finish,
    Abort,
}

/// Time-outs are looked after by the worker in bulk (see `Worker::sweep`), which wakes the
/// connection's task when it has to look at the clock: a timer per request would cost more.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: HeaderValue,
    pub(crate) phase: Cell<Phase>,
    pub(crate) wish: Cell<Wish>,
    /// When the task wants to be woken; `u64::MAX` for never.
    pub(crate) wake_at_ms: Cell<u64>,
    /// Its request is held, so that nobody reads from its connection.
    is_held: Cell<bool>,
    /// `None` if it is this process itself.
    stream: Option<StreamWatch>,
    waker: RefCell<Option<Waker>>,
}

impl Client {
    pub(crate) fn new(address: IpAddr, stream: Option<StreamWatch>, now_ms: u64) -> Self {
        // An IPv4 client on a dual-stack listener should look like one.
        let text = address.to_canonical().to_string();
        let address =
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self {
            address,
            phase: Cell::new(Phase::New { since_ms: now_ms }),
            wish: Cell::new(Wish::Serve),
            wake_at_ms: Cell::new(u64::MAX),
            is_held: Cell::new(false),
            stream,
            waker: RefCell::new(None),
        }
    }

    /// It is this process itself, which proves that a release serves: no traffic that users made.
    pub(crate) fn is_ourselves(&self) -> bool {
        self.stream.is_none()
    }

    /// Whether it has left while its request was held.
    pub(crate) fn left_while_held(&self) -> bool {
        self.is_held.get() && self.stream.as_ref().is_some_and(StreamWatch::has_ended)
    }

    pub(crate) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The time for which a client's request is held.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a Client);

impl<'a> Held<'a> {
    pub(crate) fn begin(client: &'a Client) -> Self {
        client.is_held.set(true);
        Self(client)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.is_held.set(false);
    }
}

/// One request's time on its client connection: busy until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    client: Rc<Client>,
    worker: Rc<crate::worker::Worker>,
}

impl Turn {
    pub(crate) fn begin(client: Rc<Client>, worker: Rc<crate::worker::Worker>) -> Self {
        client.phase.set(Phase::Busy);
        Self { client, worker }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.client.phase.set(Phase::Idle {
            since_ms: self.worker.now_ms(),
        });
    }
}
