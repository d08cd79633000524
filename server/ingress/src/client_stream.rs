//! A client's TCP connection, with somebody else looking on.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// hyper owns the connection, and does not read while a body is not asked for: it cannot notice
/// then that the client has left. Nobody ever waits for the lock: all of it is on one thread, but
/// hyper wants something that could be sent to another.
#[derive(Debug)]
pub(crate) struct ClientStream(Arc<Mutex<TcpStream>>);

/// Looks on; it does not keep the connection open.
#[derive(Debug)]
pub(crate) struct StreamWatch(Weak<Mutex<TcpStream>>);

impl ClientStream {
    pub(crate) fn new(stream: TcpStream) -> (Self, StreamWatch) {
        let stream = Arc::new(Mutex::new(stream));
        let watch = StreamWatch(Arc::downgrade(&stream));
        (Self(stream), watch)
    }

    fn stream(&self) -> MutexGuard<'_, TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamWatch {
    /// Whether the other side has closed its end, or vanished.
    pub(crate) fn has_ended(&self) -> bool {
        let Some(stream) = self.0.upgrade() else {
            return true;
        };
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = pin!(stream.ready(Interest::READABLE | Interest::WRITABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(cx, bytes)
    }

    /// TCP has nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(cx)
    }
}
