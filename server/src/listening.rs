//! Serves a router to the network, with limits to what a connection may take and how long it may
//! take about it: whoever sends slowly, or nothing at all, holds no place for ever.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// How long the head of a request may take to arrive; a connection without one for so long is closed.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most header lines of a request.
const MAX_HEADERS: usize = 100;
/// How long a body may pause.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// Connections at a time. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;
/// Requests at a time over one HTTP/2 connection.
const MAX_CONCURRENT_REQUESTS: u32 = 128;
/// What a client that speaks HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a beginning that could still become that.
const AGAIN: Duration = Duration::from_millis(10);

/// Limits of time, shorter ones for tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) head: Duration,
    pub(crate) body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: HEAD_TIME,
            body: BODY_PAUSE,
        }
    }
}

/// Serves until `stopping` is cancelled, and then until what was begun has ended. Requests carry a
/// [`ConnectInfo`] with the peer's address.
///
/// # Errors
/// None at present: a connection that cannot be accepted is no reason to end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stopping: CancellationToken,
) -> io::Result<()> {
    let router = router.layer(RequestBodyTimeoutLayer::new(patience.body));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .keep_alive_interval(patience.head)
        .keep_alive_timeout(patience.head)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_CONCURRENT_REQUESTS);
    loop {
        let accepting = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepting => accepted,
            () = stopping.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, say: others may give some back.
                if !is_of_the_connection(&error) {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (router, builder, watcher) = (router.clone(), builder.clone(), graceful.watcher());
        let stopping = stopping.clone();
        tokio::spawn(async move {
            let begun = tokio::select! {
                begun = tokio::time::timeout(patience.head, has_begun(&stream)) => begun,
                () = stopping.cancelled() => return,
            };
            if matches!(begun, Ok(Ok(()))) {
                let service = hyper::service::service_fn(move |request| {
                    router.clone().oneshot(from(peer, request))
                });
                let connection =
                    builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(error = %error, "a connection ended early");
                }
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn from(peer: SocketAddr, mut request: Request<Incoming>) -> Request<Incoming> {
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

/// Waits until the first bytes tell which HTTP it is.
async fn has_begun(stream: &TcpStream) -> io::Result<()> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if count == PREFACE.len() || seen[..count] != PREFACE[..count] {
            return Ok(());
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Patience = Patience {
        head: Duration::from_millis(300),
        body: Duration::from_millis(300),
    };
    /// Longer than any of it takes.
    const ENOUGH: Duration = Duration::from_secs(20);

    async fn whole(request: Request) -> StatusCode {
        match request.into_body().collect().await {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::REQUEST_TIMEOUT,
        }
    }

    async fn listen(
        patience: Patience,
    ) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        let router = Router::new()
            .route("/", get(who))
            .route("/whole", post(whole));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = CancellationToken::new();
        let serving = serve(listener, router, patience, stopping.clone());
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        (address, stopping, serving)
    }

    /// Sends that and reads until the end.
    async fn say(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let reading = stream.read_to_end(&mut said);
        let end = tokio::time::timeout(ENOUGH, reading).await;
        // A reset is an end as well.
        let _ = end.expect("the connection is ended");
        String::from_utf8_lossy(&said).into_owned()
    }

    #[tokio::test]
    async fn whoever_sends_slowly_or_nothing_is_sent_away() {
        let (address, _stopping, _serving) = listen(SHORT).await;
        for begin in [
            "",
            "P",
            "PRI * HTTP/2.0\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        ] {
            let said = say(address, begin).await;
            assert!(!said.contains("200 OK"), "{begin:?}: {said}");
        }
        let slow = "POST /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12345";
        let said = say(address, slow).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        // Others are served meanwhile and afterwards, also one after the other on a connection.
        let twice = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(say(address, twice).await.matches("127.0.0.1").count(), 2);
    }

    #[tokio::test]
    async fn a_head_has_limits() {
        let (address, _stopping, _serving) = listen(SHORT).await;
        let long = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n",
            "x".repeat(70_000)
        );
        let many = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X-Many: 1\r\n".repeat(200)
        );
        for head in [long, many] {
            let said = say(address, &head).await;
            assert!(
                said.is_empty() || said.starts_with("HTTP/1.1 431"),
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn it_ends_when_told_and_lets_what_was_begun_end() {
        let (address, stopping, serving) = listen(Patience::default()).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "POST /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n12";
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stopping.cancel();
        stream.write_all(b"34").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        tokio::time::timeout(ENOUGH, serving)
            .await
            .unwrap()
            .unwrap();
        let mut nothing = Vec::new();
        assert_eq!(idle.read_to_end(&mut nothing).await.unwrap_or(0), 0);
    }
}
