//! One connection of a client, as its worker sees it.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use http::HeaderValue;

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
    waker: RefCell<Option<Waker>>,
}

impl Client {
    pub(crate) fn new(address: IpAddr, now_ms: u64) -> Self {
        // An IPv4 client on a dual-stack listener should look like one.
        let text = address.to_canonical().to_string();
        let address =
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self {
            address,
            phase: Cell::new(Phase::New { since_ms: now_ms }),
            wish: Cell::new(Wish::Serve),
            wake_at_ms: Cell::new(u64::MAX),
            waker: RefCell::new(None),
        }
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
