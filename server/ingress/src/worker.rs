//! One thread's share of the ingress: everything here stays on that thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit};
use tokio::task::spawn_local;

use crate::access::Notebook;
use crate::client::{Client, Phase, Wish};
use crate::client_stream::StreamWatch;
use crate::config::{Limits, millis};
use crate::connection_pool::ConnectionPool;
use crate::routing_state::RoutingState;

/// How long the answer of a name lookup is used, and how long one may take.
const NAME_AGE_MS: u64 = 1_000;
const NAME_LIMIT: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) routing: Arc<RoutingState>,
    pub(crate) limits: Limits,
    pool: Rc<ConnectionPool>,
    notebook: Notebook,
    /// The routing state's clock as of the last tick: reading it costs nothing.
    now_ms: Rc<Cell<u64>>,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    next_client: Cell<u64>,
    names: RefCell<HashMap<Arc<str>, Name>>,
    request_ids: Cell<u64>,
    open: Cell<usize>,
    all_closed: Notify,
    stopping: Cell<bool>,
    stops: Notify,
}

/// One lookup, shared by all requests that wait for it.
#[derive(Debug, Clone)]
struct Name {
    since_ms: u64,
    addresses: Rc<OnceCell<Vec<SocketAddr>>>,
}

impl Worker {
    /// Must be called inside a local runtime: it starts the worker's housekeeping there.
    pub(crate) fn start(routing: Arc<RoutingState>, limits: Limits) -> Rc<Self> {
        let now_ms = Rc::new(Cell::new(routing.now_ms()));
        let worker = Rc::new(Self {
            pool: Rc::new(ConnectionPool::new(
                limits.max_idle_per_endpoint,
                now_ms.clone(),
            )),
            notebook: Notebook::default(),
            now_ms,
            clients: RefCell::default(),
            next_client: Cell::new(0),
            names: RefCell::default(),
            request_ids: Cell::new(RandomState::new().hash_one("request ids")),
            open: Cell::new(0),
            all_closed: Notify::new(),
            stopping: Cell::new(false),
            stops: Notify::new(),
            routing,
            limits,
        });
        spawn_local(worker.clone().tick());
        spawn_local(worker.clone().follow_table());
        worker
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(crate) fn pool(&self) -> &Rc<ConnectionPool> {
        &self.pool
    }

    /// Where requests that are to be told are written down.
    pub(crate) fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    /// True in so many of a thousand calls, chosen by chance.
    pub(crate) fn chance(&self, permille: u32) -> bool {
        match permille {
            0 => false,
            1_000.. => true,
            some => self.next_number() % 1_000 < u64::from(some),
        }
    }

    pub(crate) fn register(
        self: &Rc<Self>,
        address: IpAddr,
        stream: Option<StreamWatch>,
    ) -> Registered {
        let id = self.next_client.get();
        self.next_client.set(id + 1);
        let client = Rc::new(Client::new(address, stream, self.now_ms()));
        self.clients.borrow_mut().insert(id, client.clone());
        Registered {
            worker: self.clone(),
            id,
            client,
        }
    }

    /// Marks something as open that a stop has to wait for.
    pub(crate) fn open(self: &Rc<Self>, permit: Option<OwnedSemaphorePermit>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(Rc::new(OpenOnce {
            worker: self.clone(),
            _permit: permit,
        }))
    }

    /// Lets every client connection end after the request it is busy with, and waits for that and
    /// for all tunnels, but not longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.stopping.set(true);
        self.stops.notify_waiters();
        for client in self.clients.borrow().values() {
            client.wish.set(Wish::Finish);
            client.wake();
        }
        let closed = async {
            while self.open.get() > 0 {
                self.all_closed.notified().await;
            }
        };
        if tokio::time::timeout(limit, closed).await.is_err() {
            tracing::warn!(
                connections = self.open.get(),
                "drain time is over, closing the rest"
            );
        }
        self.pool.clear();
        self.notebook.hand_over(self.routing.outbox());
    }

    /// Resolves once this worker is to stop: no new table will come then.
    pub(crate) async fn stopping(&self) {
        if !self.stopping.get() {
            self.stops.notified().await;
        }
    }

    /// Addresses that `service` has in DNS now; empty if it has none.
    pub(crate) async fn resolve(&self, service: &Arc<str>, port: u16) -> Vec<SocketAddr> {
        let now_ms = self.routing.now_ms();
        let name = {
            let mut names = self.names.borrow_mut();
            names.retain(|_, name| now_ms.saturating_sub(name.since_ms) <= NAME_AGE_MS);
            names
                .entry(service.clone())
                .or_insert_with(|| Name {
                    since_ms: now_ms,
                    addresses: Rc::default(),
                })
                .clone()
        };
        let lookup = || async {
            let found =
                tokio::time::timeout(NAME_LIMIT, tokio::net::lookup_host((&**service, port)));
            match found.await {
                Ok(Ok(addresses)) => addresses.collect(),
                Ok(Err(_)) | Err(_) => Vec::new(),
            }
        };
        name.addresses.get_or_init(lookup).await.clone()
    }

    /// 128 bits that do not repeat; not a secret.
    pub(crate) fn new_request_id(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 32];
        let numbers = [self.next_number(), self.next_number()];
        let bytes = numbers.iter().flat_map(|number| number.to_be_bytes());
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }

    /// Bytes to mask a WebSocket frame with (RFC 6455, 5.3).
    pub(crate) fn new_mask(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.next_number().to_be_bytes();
        [a, b, c, d]
    }

    /// A factor between 0.5 and 1.5, so that ingresses do not all come back at the same moment.
    pub(crate) fn jitter(&self) -> f64 {
        f64::from(u16::try_from(self.next_number() % 1000).unwrap_or(500)) / 1000.0 + 0.5
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn next_number(&self) -> u64 {
        let state = self.request_ids.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.request_ids.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    async fn tick(self: Rc<Self>) {
        let mut tick = tokio::time::interval(self.limits.tick());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            self.now_ms.set(self.routing.now_ms());
            self.sweep();
            self.notebook.hand_over(self.routing.outbox());
            self.pool.purge(millis(self.limits.upstream_idle_timeout));
        }
    }

    /// Ends client connections that took too long and wakes those that wait for the clock.
    fn sweep(&self) {
        let now_ms = self.now_ms();
        let (header_ms, idle_ms) = (
            millis(self.limits.header_timeout),
            millis(self.limits.idle_timeout),
        );
        for client in self.clients.borrow().values() {
            let wish = match client.phase.get() {
                Phase::New { since_ms } if now_ms >= since_ms + header_ms => Wish::Abort,
                // Half a request must not keep a connection open for ever.
                Phase::Idle { since_ms } if now_ms >= since_ms + 2 * idle_ms => Wish::Abort,
                Phase::Idle { since_ms } if now_ms >= since_ms + idle_ms => Wish::Finish,
                // The rest of its request lies unread before the end, which hyper does not see.
                _ if client.left_while_held() => Wish::Abort,
                _ if client.wake_at_ms.get() <= now_ms => client.wish.get(),
                _ => continue,
            };
            client.wish.set(wish);
            client.wake();
        }
    }

    async fn follow_table(self: Rc<Self>) {
        let mut changes = self.routing.changes();
        while changes.changed().await.is_ok() {
            self.pool.purge(millis(self.limits.upstream_idle_timeout));
        }
    }
}

/// A client connection in its worker's list, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registered {
    worker: Rc<Worker>,
    id: u64,
    pub(crate) client: Rc<Client>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.id);
    }
}

/// Something that a stop waits for; clones count as one.
#[derive(Debug, Clone)]
pub(crate) struct Open(#[expect(dead_code, reason = "held for its drop")] Rc<OpenOnce>);

#[derive(Debug)]
struct OpenOnce {
    worker: Rc<Worker>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for OpenOnce {
    fn drop(&mut self) {
        let open = self.worker.open.get() - 1;
        self.worker.open.set(open);
        if open == 0 {
            self.worker.all_closed.notify_one();
        }
    }
}
