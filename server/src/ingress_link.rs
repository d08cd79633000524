//! The control plane's end of the line to its ingresses: the `Traffic` port over `WebSocket`s that
//! the ingresses open.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname};
use flukedeploy_domain::routing::{
    ControlFrame, IngressFrame, ProbeOutcome, RoutingSnapshot, ServiceTraffic,
};
use flukedeploy_platform::ports::{IngressNews, Served, Traffic, TrafficError};
use flukedeploy_platform::secret::Secret;
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

mod news;

use news::{News, take_requests};

/// How long an ingress may take to use a new snapshot.
const APPLY: Duration = Duration::from_secs(3);
/// A line on which nothing was heard for so long is dead.
const SILENCE: Duration = Duration::from_secs(15);
/// How long an ingress may take to tell its counts.
const COUNT: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(5);
/// Largest frame an ingress may send, in bytes.
const MAX_FRAME: usize = 1024 * 1024;
/// More than any Swarm of ours has nodes; keeps a confused network from piling up connections.
const MAX_INGRESSES: usize = 1_000;

/// All connected ingresses. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct IngressLink {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<Links>,
    listening: tokio::sync::Mutex<Option<(SocketAddr, tokio::task::JoinHandle<()>)>>,
    token: Mutex<Option<Secret>>,
    next_id: AtomicU64,
    turn: AtomicUsize,
    arrived: Notify,
    wanted: Wanted,
    news: News,
}

/// Apps that sleep and that somebody waits for.
struct Wanted(broadcast::Sender<(AppName, EnvironmentName)>);

impl Default for Wanted {
    fn default() -> Self {
        Self(broadcast::channel(64).0)
    }
}

#[derive(Default)]
struct Links {
    snapshot: Option<RoutingSnapshot>,
    connected: HashMap<u64, Arc<Line>>,
}

/// One connected ingress.
struct Line {
    send: mpsc::UnboundedSender<ControlFrame>,
    applied: watch::Sender<Option<(String, u64)>>,
    pending: Mutex<HashMap<u64, oneshot::Sender<IngressFrame>>>,
    traffic: Mutex<HashMap<String, ServiceTraffic>>,
    /// Dropped or notified: the line is to be closed.
    close: Notify,
    /// Id and node of the ingress, once it has said hello.
    from: OnceLock<(String, String)>,
    /// The batch of requests that is being taken.
    taking: Mutex<Option<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IngressLink {
    fn lines(&self) -> Vec<Arc<Line>> {
        lock(&self.inner.state)
            .connected
            .values()
            .cloned()
            .collect()
    }

    /// Sends a frame that has an answer, and waits for it.
    async fn ask(
        &self,
        line: &Line,
        timeout: Duration,
        frame: impl FnOnce(u64) -> ControlFrame,
    ) -> Result<IngressFrame, TrafficError> {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        lock(&line.pending).insert(id, answer);
        if line.send.send(frame(id)).is_err() {
            lock(&line.pending).remove(&id);
            return Err(TrafficError::Lost);
        }
        let result = tokio::time::timeout(timeout, wait).await;
        lock(&line.pending).remove(&id);
        match result {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(TrafficError::Lost),
            Err(_) => Err(TrafficError::TimedOut),
        }
    }

    async fn serve_line(self, mut socket: WebSocket) {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let (send, mut outbox) = mpsc::unbounded_channel();
        let line = Arc::new(Line {
            send,
            applied: watch::channel(None).0,
            pending: Mutex::default(),
            traffic: Mutex::default(),
            close: Notify::new(),
            from: OnceLock::new(),
            taking: Mutex::default(),
        });
        {
            let mut links = lock(&self.inner.state);
            if links.connected.len() >= MAX_INGRESSES {
                return;
            }
            // Under the lock, so that no snapshot falls between.
            if let Some(snapshot) = links.snapshot.clone() {
                let _ = line.send.send(ControlFrame::Snapshot { snapshot });
            }
            links.connected.insert(id, Arc::clone(&line));
        }
        self.inner.arrived.notify_waiters();
        tracing::info!(ingress = id, "an ingress connected");
        let why = talk(&mut socket, &line, &mut outbox, &self.inner).await;
        lock(&self.inner.state).connected.remove(&id);
        lock(&line.pending).clear();
        tracing::warn!(ingress = id, why, "an ingress is gone");
        if let Some((_, node)) = line.from.get() {
            let node = node.clone();
            self.inner.news.tell(IngressNews::Gone { node, why });
        }
    }
}

/// Passes frames until the line ends; returns why.
async fn talk(
    socket: &mut WebSocket,
    line: &Arc<Line>,
    outbox: &mut mpsc::UnboundedReceiver<ControlFrame>,
    inner: &Arc<Inner>,
) -> &'static str {
    let mut ping = tokio::time::interval(PING);
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::select! {
            frame = outbox.recv() => {
                let Some(frame) = frame else { return "dropped" };
                let Ok(text) = serde_json::to_string(&frame) else { return "unprintable frame" };
                let sent = tokio::time::timeout(APPLY, socket.send(Message::Text(text.into())));
                if !matches!(sent.await, Ok(Ok(()))) {
                    return "it does not read";
                }
            }
            message = socket.next() => {
                heard = tokio::time::Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(frame) => take(line, inner, frame),
                        Err(error) => tracing::warn!(error = %error, "a frame of an ingress was not understood"),
                    },
                    Some(Ok(Message::Close(_))) | None => return "it closed the line",
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return "the line broke",
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE {
                    return "it is silent";
                }
                if socket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return "the line broke";
                }
            }
            () = line.close.notified() => {
                let _ = socket.close().await;
                return "it did not follow";
            }
        }
    }
}

fn take(line: &Arc<Line>, inner: &Arc<Inner>, frame: IngressFrame) {
    match frame {
        IngressFrame::Hello {
            ingress_id,
            node,
            epoch,
            version,
        } => {
            tracing::info!(ingress_id, node, ?epoch, ?version, "ingress says hello");
            if line.from.set((ingress_id, node.clone())).is_ok() {
                inner.news.tell(IngressNews::Connected { node });
            }
        }
        IngressFrame::Applied { epoch, version } => {
            line.applied.send_replace(Some((epoch, version)));
        }
        // Whoever waits for it goes on waiting, and gives the line up in the end.
        IngressFrame::Refused {
            epoch,
            version,
            current,
            reason,
        } => tracing::error!(
            epoch,
            version,
            ?current,
            reason,
            "an ingress refused its routes"
        ),
        // Nobody listens: fine.
        IngressFrame::Wanted { app, environment } => {
            let _ = inner.wanted.0.send((app, environment));
        }
        IngressFrame::Traffic { services } => {
            let mut traffic = lock(&line.traffic);
            for service in services {
                traffic.insert(service.service.clone(), service);
            }
        }
        IngressFrame::Requests {
            id,
            requests,
            left_out,
        } => take_requests(line, inner, id, (requests, left_out)),
        IngressFrame::Probed { id, .. }
        | IngressFrame::Drained { id, .. }
        | IngressFrame::Totals { id, .. }
        | IngressFrame::Served { id, .. } => {
            if let Some(answer) = lock(&line.pending).remove(&id) {
                // Nobody waits any more: fine.
                let _ = answer.send(frame);
            }
        }
    }
}

async fn connect(State(link): State<IngressLink>, upgrade: Request) -> Response {
    use axum::extract::FromRequestParts as _;
    let (mut parts, _) = upgrade.into_parts();
    let presented = parts
        .headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    // Every hosted app can knock here.
    let known = presented.is_some_and(|presented| {
        lock(&link.inner.token)
            .as_ref()
            .is_some_and(|t| t.matches(presented))
    });
    if !known {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade
            .max_message_size(MAX_FRAME)
            .max_frame_size(MAX_FRAME)
            .on_upgrade(move |socket| link.serve_line(socket)),
        Err(rejection) => rejection.into_response(),
    }
}

#[async_trait]
impl Traffic for IngressLink {
    async fn listen(
        &self,
        host: IpAddr,
        port: Option<u16>,
        token: &Secret,
    ) -> Result<u16, TrafficError> {
        *lock(&self.inner.token) = Some(token.clone());
        let mut listening = self.inner.listening.lock().await;
        if let Some((address, task)) = listening.as_ref()
            && address.ip() == host
            && !task.is_finished()
        {
            return Ok(address.port());
        }
        let failed = |error: std::io::Error| TrafficError::CannotListen(error.to_string());
        let listener = match TcpListener::bind((host, port.unwrap_or(0))).await {
            Ok(listener) => listener,
            // Somebody else has the port by now; the ingress is told the new one.
            Err(_) if port.is_some() => TcpListener::bind((host, 0)).await.map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        let address = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/ingress", get(connect))
            .with_state(self.clone());
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(error = %error, "the ingress listener ended");
            }
        });
        if let Some((_, former)) = listening.replace((address, task)) {
            former.abort();
        }
        Ok(address.port())
    }

    async fn publish(&self, snapshot: RoutingSnapshot) -> Result<usize, TrafficError> {
        let lines: Vec<Arc<Line>> = {
            let mut links = lock(&self.inner.state);
            links.snapshot = Some(snapshot.clone());
            for line in links.connected.values() {
                let _ = line.send.send(ControlFrame::Snapshot {
                    snapshot: snapshot.clone(),
                });
            }
            links.connected.values().cloned().collect()
        };
        if lines.is_empty() {
            return Err(TrafficError::NoneConnected);
        }
        let confirmed = join_all(lines.iter().map(|line| async {
            let mut applied = line.applied.subscribe();
            let wanted = applied.wait_for(|applied| {
                applied.as_ref().is_some_and(|(epoch, version)| {
                    *epoch == snapshot.epoch && *version >= snapshot.version
                })
            });
            let confirmed = matches!(tokio::time::timeout(APPLY, wanted).await, Ok(Ok(_)));
            if !confirmed {
                line.close.notify_one();
            }
            confirmed
        }))
        .await;
        match confirmed.into_iter().filter(|confirmed| *confirmed).count() {
            0 => Err(TrafficError::TimedOut),
            count => Ok(count),
        }
    }

    async fn probe(
        &self,
        target: SocketAddr,
        probe: &HealthProbe,
        timeout_ms: u64,
    ) -> Result<ProbeOutcome, TrafficError> {
        let lines = self.lines();
        if lines.is_empty() {
            return Err(TrafficError::NoneConnected);
        }
        // In turn, so that over time every ingress has met every replica.
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed) % lines.len();
        let patience = Duration::from_millis(timeout_ms + 1_000);
        let frame = |id| ControlFrame::Probe {
            id,
            target,
            probe: probe.clone(),
            timeout_ms,
        };
        match self.ask(&lines[turn], patience, frame).await? {
            IngressFrame::Probed { outcome, .. } => Ok(outcome),
            _ => Err(TrafficError::Lost),
        }
    }

    async fn await_drained(
        &self,
        service: &str,
        timeout_ms: u64,
        close_after_ms: Option<u64>,
    ) -> Result<u64, TrafficError> {
        let lines = self.lines();
        if lines.is_empty() {
            return Err(TrafficError::NoneConnected);
        }
        let patience = Duration::from_millis(timeout_ms + 2_000);
        let answers = join_all(lines.iter().map(|line| {
            self.ask(line, patience, |id| ControlFrame::AwaitDrained {
                id,
                service: service.to_owned(),
                timeout_ms,
                close_after_ms,
            })
        }))
        .await;
        let mut left = 0;
        for answer in answers {
            match answer? {
                IngressFrame::Drained { in_flight, .. } => left += in_flight,
                _ => return Err(TrafficError::Lost),
            }
        }
        Ok(left)
    }

    async fn request(
        &self,
        host: &Hostname,
        path: &str,
        timeout_ms: u64,
    ) -> Result<Vec<Served>, TrafficError> {
        let lines = self.lines();
        if lines.is_empty() {
            return Err(TrafficError::NoneConnected);
        }
        let patience = Duration::from_millis(timeout_ms + 1_000);
        let answers = join_all(lines.iter().map(|line| {
            self.ask(line, patience, |id| ControlFrame::Request {
                id,
                host: host.clone(),
                path: path.to_owned(),
                timeout_ms,
            })
        }))
        .await;
        answers
            .into_iter()
            .map(|answer| match answer? {
                IngressFrame::Served {
                    status,
                    service,
                    error,
                    ..
                } => Ok(Served {
                    status,
                    service,
                    error,
                }),
                _ => Err(TrafficError::Lost),
            })
            .collect()
    }

    fn connected(&self) -> usize {
        lock(&self.inner.state).connected.len()
    }

    async fn wait_connected(&self, timeout_ms: u64) -> Result<(), TrafficError> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms);
        loop {
            let arrived = self.inner.arrived.notified();
            tokio::pin!(arrived);
            // Listens from here on, so that one that arrives between look and wait is not missed.
            arrived.as_mut().enable();
            if self.connected() > 0 {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return Err(TrafficError::NoneConnected);
            }
        }
    }

    async fn fresh_totals(
        &self,
        services: &[String],
    ) -> Result<HashMap<String, ServiceTraffic>, TrafficError> {
        let lines = self.lines();
        if lines.is_empty() {
            return Err(TrafficError::NoneConnected);
        }
        let answers = join_all(lines.iter().map(|line| {
            self.ask(line, COUNT, |id| ControlFrame::ReportTraffic {
                id,
                services: services.to_vec(),
            })
        }))
        .await;
        let mut totals = HashMap::new();
        for answer in answers {
            let IngressFrame::Totals { services, .. } = answer? else {
                return Err(TrafficError::Lost);
            };
            for one in services {
                add(&mut totals, one);
            }
        }
        Ok(totals)
    }

    fn wanted(&self) -> broadcast::Receiver<(AppName, EnvironmentName)> {
        self.inner.wanted.0.subscribe()
    }

    async fn news(&self) -> IngressNews {
        self.inner.news.next().await
    }

    fn totals(&self, service: &str) -> Option<ServiceTraffic> {
        let mut totals = HashMap::new();
        for line in self.lines() {
            if let Some(seen) = lock(&line.traffic).get(service) {
                add(&mut totals, seen.clone());
            }
        }
        totals.remove(service)
    }
}

/// Adds what one ingress counted to what the others did.
fn add(totals: &mut HashMap<String, ServiceTraffic>, one: ServiceTraffic) {
    let Some(sum) = totals.get_mut(&one.service) else {
        totals.insert(one.service.clone(), one);
        return;
    };
    let mut traffic = sum.traffic();
    traffic.add(&one.traffic());
    sum.requests += one.requests;
    sum.server_errors += one.server_errors;
    sum.failed += one.failed;
    sum.in_flight += one.in_flight;
    sum.latency = traffic.latency;
}
