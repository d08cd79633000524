//! Taking in connections: one listener per worker, all on the same port.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

use crate::client::{Turn, Wish};
use crate::client_stream::ClientStream;
use crate::forward::forward;
use crate::worker::{Open, Worker};

const BACKLOG: i32 = 4096;

/// Binds one listener per worker. Fails if anyone else listens there: `SO_REUSEPORT` alone would
/// let two ingresses share a port without noticing.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    if address.port() != 0 {
        drop(listener(address, false)?);
    }
    let first = listener(address, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listener(address, true)?);
    }
    Ok(listeners)
}

fn listener(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Linux hands these on to every accepted connection, which saves the calls there.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_mins(1)))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until cancelled; it may be called again afterwards.
pub(crate) async fn accept(worker: &Rc<Worker>, listener: &TcpListener, slots: &Arc<Semaphore>) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => serve(worker, stream, peer, worker.open(Some(slot))),
            Err(error) => {
                if is_of_one_connection(&error) {
                    continue;
                }
                // Out of file descriptors or memory: give others time to finish.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Takes in what has been waiting in the kernel's queue, without waiting for more.
pub(crate) fn accept_waiting(worker: &Rc<Worker>, listener: &TcpListener, slots: &Arc<Semaphore>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let Ok(slot) = slots.clone().try_acquire_owned() {
        match listener.poll_accept(&mut cx) {
            std::task::Poll::Ready(Ok((stream, peer))) => {
                serve(worker, stream, peer, worker.open(Some(slot)));
            }
            std::task::Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
            std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => return,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, open: Open) {
    let (stream, watch) = ClientStream::new(stream);
    let registered = worker.register(peer.ip(), Some(watch));
    let worker = worker.clone();
    spawn_local(async move {
        let client = &registered.client;
        let service = service_fn({
            let (worker, client, open) = (worker.clone(), client.clone(), open.clone());
            move |request| {
                let (worker, client, open) = (worker.clone(), client.clone(), open.clone());
                async move {
                    let turn = Turn::begin(client.clone(), worker.clone());
                    let forwarded = forward(&worker, &client, &open, request).await;
                    let response = forwarded.response.map(|body| body.with_turn(turn));
                    Ok::<_, std::convert::Infallible>(response)
                }
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(worker.limits.max_header_bytes)
            // Copying a small answer costs less than the vectored call for it.
            .writev(false)
            .max_header_size(worker.limits.max_header_bytes)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut told = false;
        let ended = std::future::poll_fn(|cx| {
            client.remember(cx);
            if client.wish.get() == Wish::Abort {
                return std::task::Poll::Ready(Ok(()));
            }
            let ended = connection.as_mut().poll(cx);
            if ended.is_ready() || told || client.wish.get() != Wish::Finish {
                return ended;
            }
            // Only after a look at what has arrived: hyper closes a connection that it has not
            // read from yet, and a request may be waiting there.
            connection.as_mut().graceful_shutdown();
            told = true;
            connection.as_mut().poll(cx)
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(%error, "client connection ended");
        }
        drop(open);
    });
}
