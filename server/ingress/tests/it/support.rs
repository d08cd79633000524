//! Servers to proxy to, clients to ask with, and a fake control plane.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::routing::{ControlFrame, IngressFrame, RoutingSnapshot};
use flukedeploy_ingress::{ControlToken, Ingress, IngressConfig};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server;

/// No test may wait longer than this for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(DEADLINE, future).await else {
        panic!("took too long: {what}");
    };
    value
}

pub(crate) fn config() -> IngressConfig {
    let token = ControlToken::new("test-token").unwrap();
    let mut config = IngressConfig::new(([127, 0, 0, 1], 0).into(), token, "ingress-1".into());
    config.node = "node-1".into();
    config.worker_threads = 2;
    config.drain_timeout = Duration::from_secs(5);
    config.limits.retry_window = Duration::from_millis(300);
    config
}

pub(crate) fn start() -> Ingress {
    Ingress::start(config()).unwrap()
}

/// A snapshot of one app, `shop.localhost`; each upstream is service, weight, endpoints.
pub(crate) fn snapshot(version: u64, upstreams: &[(&str, u32, &[SocketAddr])]) -> RoutingSnapshot {
    let upstreams: Vec<_> = upstreams
        .iter()
        .map(|(service, weight, endpoints)| {
            json!({ "service": service, "release": 1, "weight": weight, "port": 80,
                    "endpoints": endpoints })
        })
        .collect();
    serde_json::from_value(json!({
        "version": version, "epoch": "e1",
        "routes": [{ "app": "shop", "environment": "production",
                     "hosts": ["shop.localhost"], "upstreams": upstreams }],
    }))
    .unwrap()
}

/// A snapshot of one app, `shop.localhost`, with more to say than [`snapshot`] can.
pub(crate) fn snapshot_with(
    version: u64,
    route: serde_json::Value,
    upstreams: &[serde_json::Value],
) -> RoutingSnapshot {
    let mut snapshot = json!({
        "version": version, "epoch": "e1",
        "routes": [{ "app": "shop", "environment": "production",
                     "hosts": ["shop.localhost"], "upstreams": upstreams }],
    });
    let serde_json::Value::Object(more) = route else {
        panic!("{route}");
    };
    for (name, value) in more {
        snapshot["routes"][0][name] = value;
    }
    serde_json::from_value(snapshot).unwrap()
}

pub(crate) fn upstream(service: &str, weight: u32, endpoints: &[SocketAddr]) -> serde_json::Value {
    json!({ "service": service, "release": 1, "weight": weight, "port": 80, "endpoints": endpoints })
}

/// An ingress and its link.
pub(crate) async fn linked_with(config: IngressConfig) -> (Ingress, Control, ControlLink) {
    let control = Control::start().await;
    let mut config = config;
    config.control_urls = vec![control.url.clone()];
    let ingress = Ingress::start(config).unwrap();
    let (link, _) = control.accept().await;
    (ingress, control, link)
}

/// Asks until the answer is the wanted one.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, ask: impl Fn() -> F) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, asking).await;
}

/// An address where nothing listens, as long as the tests run: a port that is given back can be the
/// next one of a test beside this.
pub(crate) fn closed_port() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

/// A server with its own connections, all of which end when it is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    /// Calls `serve` with every connection.
    pub(crate) async fn raw<F, S>(serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counters = (Arc::clone(&requests), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        counters.1.fetch_add(1, Ordering::SeqCst);
                        open.spawn(serve(accepted.unwrap().0, counters.0.clone()));
                    }
                    Some(_) = open.join_next(), if !open.is_empty() => {}
                }
            }
        });
        Self {
            address,
            requests,
            connections,
            task,
        }
    }

    /// Answers HTTP requests with `answer`.
    pub(crate) async fn http<F, S>(answer: S) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    {
        Self::raw(move |stream, requests| {
            let answer = answer.clone();
            async move {
                let service = hyper::service::service_fn(move |request| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answering = answer(request);
                    async move { Ok::<_, Infallible>(answering.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// Answers every request with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::http(move |_| async move { Response::new(Full::from(name)) }).await
    }

    /// Answers with the request as JSON: method, target, headers and body.
    pub(crate) async fn echo() -> Self {
        Self::http(|request| async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => return status(StatusCode::BAD_REQUEST),
            };
            let headers: Vec<(String, String)> = head
                .headers
                .iter()
                .map(|(n, v)| {
                    (
                        n.to_string(),
                        String::from_utf8_lossy(v.as_bytes()).into_owned(),
                    )
                })
                .collect();
            let text = json!({ "method": head.method.as_str(), "target": head.uri.to_string(),
                               "headers": headers, "body": String::from_utf8_lossy(&body) });
            Response::new(Full::from(text.to_string()))
        })
        .await
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(crate) fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// One client connection that is kept alive.
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    _tasks: JoinSet<()>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self {
            sender,
            _tasks: tasks,
        }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.send(request("GET", path, "")).await
    }
}

pub(crate) fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.localhost")
        .body(Full::from(body))
        .unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let asking = async { Client::connect(address).await.send(request).await.unwrap() };
    within("an answer", asking).await
}

pub(crate) async fn get(address: SocketAddr) -> Answer {
    ask(address, request("GET", "/", "")).await
}

/// Sends bytes as they are and reads until the other side closes.
pub(crate) async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let sent = String::from_utf8_lossy(bytes.as_ref())
        .chars()
        .take(60)
        .collect::<String>();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The answer may come, and the connection end, before all was sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    let mut answer = Vec::new();
    let what = format!("the end of the answer to {sent:?}");
    let _ = within(&what, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads up to the end of the headers.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    within("a head", reading).await;
    String::from_utf8_lossy(&head).into_owned()
}

/// The control plane's end of a link.
pub(crate) struct Control {
    listener: TcpListener,
    pub(crate) url: String,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ingress", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// The next link that shows the right token, and its hello. Others get a 401.
    pub(crate) async fn accept(&self) -> (ControlLink, IngressFrame) {
        let accepting = async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                let socket = tokio_tungstenite::accept_hdr_async(stream, check_token).await;
                if let Ok(socket) = socket {
                    return ControlLink { socket };
                }
            }
        };
        let mut link = within("a link", accepting).await;
        let hello = link.next().await;
        assert!(matches!(hello, IngressFrame::Hello { .. }), "{hello:?}");
        (link, hello)
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the shape of tungstenite's callback"
)]
fn check_token(
    request: &server::Request,
    response: server::Response,
) -> Result<server::Response, server::ErrorResponse> {
    let shown = request
        .headers()
        .get("authorization")
        .map(http::HeaderValue::as_bytes);
    if shown == Some(b"Bearer test-token") && request.uri() == "/ingress" {
        return Ok(response);
    }
    let mut refusal = server::ErrorResponse::new(None);
    *refusal.status_mut() = StatusCode::UNAUTHORIZED;
    Err(refusal)
}

pub(crate) struct ControlLink {
    socket: WebSocketStream<TcpStream>,
}

impl ControlLink {
    pub(crate) async fn send(&mut self, frame: &ControlFrame) {
        let text = serde_json::to_string(frame).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next frame that is not a traffic report.
    pub(crate) async fn next(&mut self) -> IngressFrame {
        self.next_where(|frame| !matches!(frame, IngressFrame::Traffic { .. }))
            .await
    }

    pub(crate) async fn next_where(
        &mut self,
        wanted: impl Fn(&IngressFrame) -> bool,
    ) -> IngressFrame {
        let reading = async {
            loop {
                if let Message::Text(text) = self.socket.next().await.unwrap().unwrap() {
                    let frame = serde_json::from_str(&text).unwrap();
                    if wanted(&frame) {
                        return frame;
                    }
                }
            }
        };
        within("a frame", reading).await
    }

    pub(crate) async fn apply(&mut self, snapshot: RoutingSnapshot) -> (String, u64) {
        self.send(&ControlFrame::Snapshot { snapshot }).await;
        match self.next().await {
            IngressFrame::Applied { epoch, version } => (epoch, version),
            other => panic!("{other:?}"),
        }
    }

    /// The same where an app is wanted meanwhile.
    pub(crate) async fn apply_past(&mut self, snapshot: RoutingSnapshot) {
        self.send(&ControlFrame::Snapshot { snapshot }).await;
        self.next_where(|frame| matches!(frame, IngressFrame::Applied { .. }))
            .await;
    }

    /// Stops reading and writing without closing.
    pub(crate) fn freeze(self) -> impl Sized {
        self.socket
    }
}

/// A backend that answers when told to: each request waits for one message.
pub(crate) async fn held_backend() -> (Backend, mpsc::Receiver<()>, Arc<tokio::sync::Semaphore>) {
    let (arrived, arrivals) = mpsc::channel(64);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let pass = gate.clone();
    let backend = Backend::http(move |_| {
        let (arrived, pass) = (arrived.clone(), pass.clone());
        async move {
            arrived.send(()).await.unwrap();
            pass.acquire().await.unwrap().forget();
            Response::new(Full::from("held"))
        }
    })
    .await;
    (backend, arrivals, gate)
}
