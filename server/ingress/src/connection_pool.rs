//! Connections of one worker to replicas.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;

use crate::body::RequestBody;
use crate::config::Limits;
use crate::endpoint::Endpoint;

/// How long a connection lives on while nothing that was sent is acknowledged. A peer that does not
/// read is silent, too, once its buffers are full: what may fill them must be more patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Silence {
    /// [`Limits::upstream_silence`](crate::Limits): the machine is thought dead.
    Short,
    Long,
}

const LONG_SILENCE: Duration = Duration::from_secs(30);

/// A connection that one request may use now.
#[derive(Debug)]
pub(crate) struct UpstreamConnection {
    pub(crate) sender: SendRequest<RequestBody>,
    /// It has served requests before, so the replica may be closing it at this very moment.
    pub(crate) reused: bool,
    silence: Silence,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since_ms: u64,
}

#[derive(Debug)]
struct Kept {
    endpoint: std::sync::Arc<Endpoint>,
    idle: Vec<Idle>,
}

/// Unused connections, the latest used first.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    kept: RefCell<HashMap<(u64, Silence), Kept>>,
    max_idle: usize,
    now_ms: Rc<std::cell::Cell<u64>>,
}

impl ConnectionPool {
    pub(crate) fn new(max_idle: usize, now_ms: Rc<std::cell::Cell<u64>>) -> Self {
        Self {
            kept: RefCell::default(),
            max_idle,
            now_ms,
        }
    }

    /// A connection that was used not longer than `max_age_ms` ago.
    pub(crate) fn take(
        &self,
        endpoint: &Endpoint,
        silence: Silence,
        max_age_ms: u64,
    ) -> Option<UpstreamConnection> {
        let mut kept = self.kept.borrow_mut();
        let idle = &mut kept.get_mut(&(endpoint.id, silence))?.idle;
        while let Some(candidate) = idle.last() {
            if self.now_ms.get().saturating_sub(candidate.since_ms) > max_age_ms {
                // The rest is older still.
                return None;
            }
            let sender = idle.pop()?.sender;
            if sender.is_ready() {
                return Some(UpstreamConnection {
                    sender,
                    reused: true,
                    silence,
                });
            }
        }
        None
    }

    /// Takes a connection back whose answer has been read to its end.
    pub(crate) fn give_back(
        self: &Rc<Self>,
        endpoint: &std::sync::Arc<Endpoint>,
        mut connection: UpstreamConnection,
    ) {
        if endpoint.is_retired() || connection.sender.is_closed() {
            return;
        }
        if connection.sender.is_ready() {
            self.keep(endpoint, connection);
            return;
        }
        // The answer came before the request had been sent off completely, or the connection's
        // task has yet to notice the end.
        let (pool, endpoint) = (self.clone(), endpoint.clone());
        spawn_local(async move {
            if connection.sender.ready().await.is_ok() && !endpoint.is_retired() {
                pool.keep(&endpoint, connection);
            }
        });
    }

    fn keep(&self, endpoint: &std::sync::Arc<Endpoint>, connection: UpstreamConnection) {
        let mut kept = self.kept.borrow_mut();
        let key = (endpoint.id, connection.silence);
        let kept = kept.entry(key).or_insert_with(|| Kept {
            endpoint: endpoint.clone(),
            idle: Vec::new(),
        });
        if kept.idle.len() < self.max_idle {
            kept.idle.push(Idle {
                sender: connection.sender,
                since_ms: self.now_ms.get(),
            });
        }
    }

    /// Closes what belongs to retired endpoints, is closed already or older than `max_age_ms`.
    pub(crate) fn purge(&self, max_age_ms: u64) {
        let now_ms = self.now_ms.get();
        self.kept.borrow_mut().retain(|_, kept| {
            if kept.endpoint.is_retired() {
                return false;
            }
            kept.idle.retain(|idle| {
                !idle.sender.is_closed() && now_ms.saturating_sub(idle.since_ms) <= max_age_ms
            });
            !kept.idle.is_empty()
        });
    }

    pub(crate) fn clear(&self) {
        self.kept.borrow_mut().clear();
    }
}

/// Opens a TCP connection with the options every upstream connection has.
pub(crate) async fn connect_tcp(
    address: SocketAddr,
    limit: Duration,
    silence: Duration,
) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    // A machine that vanishes sends no FIN: without these, what was sent to it would be waited for
    // for minutes, and streams and tunnels would stay for ever. The kernel counts in seconds.
    let keepalive = TcpKeepalive::new()
        .with_time(silence.max(Duration::from_secs(1)))
        .with_interval((silence / 4).max(Duration::from_secs(1)));
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(silence))?;
    match tokio::time::timeout(limit, socket.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Opens an HTTP connection; its task runs on this thread until the connection ends.
pub(crate) async fn connect_http(
    address: SocketAddr,
    limits: &Limits,
    silence: Silence,
) -> io::Result<UpstreamConnection> {
    let silent_for = match silence {
        Silence::Short => limits.upstream_silence,
        Silence::Long => LONG_SILENCE.max(limits.upstream_silence),
    };
    let stream = connect_tcp(address, limits.connect_timeout, silent_for).await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(limits.max_header_bytes)
        // Copying a small request costs less than the vectored call for it.
        .writev(false)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(upstream.address = %address, %error, "upstream connection ended");
        }
    });
    Ok(UpstreamConnection {
        sender,
        reused: false,
        silence,
    })
}
