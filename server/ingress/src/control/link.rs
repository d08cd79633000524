//! One WebSocket to the control plane, opened again whenever it ends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::routing::{ControlFrame, IngressFrame, RoutingSnapshot, ServiceTraffic};
use futures_util::{SinkExt, StreamExt};
use http::Uri;
use http::header::AUTHORIZATION;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::jobs;
use super::telling::Telling;
use super::wanted::Wanted;
use crate::config::ControlToken;
use crate::routing_state::Applied;
use crate::snapshot_file;
use crate::worker::Worker;

const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(2);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const SEND_LIMIT: Duration = Duration::from_secs(10);
const TRAFFIC_EVERY: Duration = Duration::from_secs(1);
/// Questions being answered at once; more are dropped with a warning, and time out at the asker's.
const MAX_JOBS: usize = 1024;
const FRAME_LIMIT_BYTES: usize = 64 * 1024 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a link ended.
#[derive(Debug, Error)]
enum LinkError {
    #[error("the control plane refused the ingress token")]
    Unauthorised,
    #[error("cannot talk to the control plane")]
    Socket(#[source] Box<tungstenite::Error>),
    #[error("the control plane closed the link")]
    Closed,
    #[error("no sign of life from the control plane")]
    Silent,
}

impl From<tungstenite::Error> for LinkError {
    fn from(error: tungstenite::Error) -> Self {
        match &error {
            tungstenite::Error::Http(response)
                if matches!(response.status().as_u16(), 401 | 403) =>
            {
                Self::Unauthorised
            }
            _ => Self::Socket(Box::new(error)),
        }
    }
}

/// Keeps the routing state in step with the control plane.
pub(crate) struct Link {
    pub(crate) worker: Rc<Worker>,
    pub(crate) urls: Vec<Uri>,
    pub(crate) token: ControlToken,
    pub(crate) ingress_id: String,
    pub(crate) node: String,
    pub(crate) to_disk: Option<watch::Sender<Option<Arc<RoutingSnapshot>>>>,
}

impl Link {
    /// Connects, serves the link, and connects again, for ever.
    pub(crate) async fn run(mut self) {
        let mut back_off = FIRST_BACK_OFF;
        let mut failing = false;
        let mut next_url = 0;
        if self.urls.is_empty() {
            return;
        }
        loop {
            let url = self.urls[next_url % self.urls.len()].clone();
            let outcome = match self.connect(&url).await {
                Ok(socket) => {
                    tracing::info!(control.url = %url, "connected to the control plane");
                    failing = false;
                    let mut heard = false;
                    let outcome = self.serve(socket, &mut heard).await;
                    if heard {
                        back_off = FIRST_BACK_OFF;
                    }
                    outcome
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                let error = &error as &dyn std::error::Error;
                // Once per outage, not for every attempt.
                if failing {
                    tracing::debug!(control.url = %url, error, "no link to the control plane");
                } else {
                    tracing::warn!(control.url = %url, error, "no link to the control plane");
                }
                failing = true;
            }
            next_url += 1;
            sleep(back_off.mul_f64(self.worker.jitter())).await;
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    async fn connect(&self, url: &Uri) -> Result<Socket, LinkError> {
        let mut request = url.into_client_request()?;
        request
            .headers_mut()
            .insert(AUTHORIZATION, self.token.authorization());
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(16 * 1024)
            .max_message_size(Some(FRAME_LIMIT_BYTES))
            .max_frame_size(Some(FRAME_LIMIT_BYTES));
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        match timeout(CONNECT_LIMIT, connecting).await {
            Ok(connected) => Ok(connected?.0),
            Err(_) => Err(LinkError::Silent),
        }
    }

    async fn serve(&mut self, mut socket: Socket, heard: &mut bool) -> Result<(), LinkError> {
        let version = self.worker.routing.version();
        let (epoch, version) = version.map_or((None, None), |(e, v)| (Some(e), Some(v)));
        let hello = IngressFrame::Hello {
            ingress_id: self.ingress_id.clone(),
            node: self.node.clone(),
            epoch,
            version,
        };
        send(&mut socket, frame_text(&hello)).await?;

        let silence = self.worker.limits.control_silence;
        let mut ping = interval(silence / 3);
        let mut traffic = interval(TRAFFIC_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        traffic.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        let mut reported = HashMap::new();
        let (answers, mut answered) = mpsc::channel::<IngressFrame>(64);
        // Dropped with the link: nobody waits for these answers any more.
        let mut running = JoinSet::new();
        let routing = self.worker.routing.clone();
        let mut wanted = Wanted::new(routing.holds());
        let mut telling = Telling::new(routing.outbox());
        loop {
            tokio::select! {
                message = socket.next() => {
                    let Some(message) = message else { return Err(LinkError::Closed) };
                    let message = message?;
                    last_heard = Instant::now();
                    *heard = true;
                    match message {
                        Message::Text(text) => {
                            let Some(frame) = read_frame(&text) else { continue };
                            match frame {
                                ControlFrame::Snapshot { snapshot } => {
                                    let answer = self.apply(snapshot);
                                    send(&mut socket, frame_text(&answer)).await?;
                                }
                                ControlFrame::ReportTraffic { id, services } => {
                                    let services = routing.traffic_of(&services);
                                    let answer = IngressFrame::Totals { id, services };
                                    send(&mut socket, frame_text(&answer)).await?;
                                }
                                ControlFrame::RequestsTaken { id } => telling.taken(id),
                                frame if running.len() < MAX_JOBS => {
                                    let (worker, answers) = (self.worker.clone(), answers.clone());
                                    running.spawn_local(async move {
                                        if let Some(answer) = jobs::answer(worker, frame).await {
                                            // Fails only when the link is gone.
                                            let _ = answers.send(answer).await;
                                        }
                                    });
                                }
                                _ => tracing::warn!("too many questions at once, one was dropped"),
                            }
                        }
                        Message::Close(_) => return Err(LinkError::Closed),
                        Message::Ping(_) | Message::Pong(_) => {
                            // Sends the pong that tungstenite has queued.
                            timeout(SEND_LIMIT, socket.flush())
                                .await
                                .map_err(|_| LinkError::Silent)??;
                        }
                        Message::Binary(_) | Message::Frame(_) => {}
                    }
                }
                Some(answer) = answered.recv() => send(&mut socket, frame_text(&answer)).await?,
                () = wanted.due() => {
                    for frame in wanted.take() {
                        send(&mut socket, frame_text(&frame)).await?;
                    }
                }
                () = telling.due() => {
                    if let Some(text) = telling.take() {
                        send(&mut socket, Message::text(&*text)).await?;
                    }
                }
                Some(_) = running.join_next(), if !running.is_empty() => {}
                _ = ping.tick() => {
                    if last_heard.elapsed() > silence {
                        return Err(LinkError::Silent);
                    }
                    send(&mut socket, Message::Ping(tungstenite::Bytes::new())).await?;
                }
                _ = traffic.tick() => {
                    let services = self.changed_traffic(&mut reported);
                    if !services.is_empty() {
                        let report = IngressFrame::Traffic { services };
                        send(&mut socket, frame_text(&report)).await?;
                    }
                    self.worker.routing.forget_drained();
                }
            }
        }
    }

    /// Totals that differ from what this link has already reported.
    fn changed_traffic(
        &self,
        reported: &mut HashMap<String, ServiceTraffic>,
    ) -> Vec<ServiceTraffic> {
        let now = self.worker.routing.traffic();
        let mut changed = Vec::new();
        let mut latest = HashMap::with_capacity(now.len());
        for service in now {
            let quiet = service.requests == 0 && service.in_flight == 0;
            if reported
                .get(&service.service)
                .map_or(!quiet, |before| *before != service)
            {
                changed.push(service.clone());
            }
            latest.insert(service.service.clone(), service);
        }
        *reported = latest;
        changed
    }

    fn apply(&self, snapshot: RoutingSnapshot) -> IngressFrame {
        let epoch = snapshot.epoch.clone();
        let (version, routes) = (snapshot.version, snapshot.routes.len());
        match self.worker.routing.apply(&snapshot) {
            Ok(Applied::Swapped) => {
                tracing::info!(snapshot.version = version, routes, "routes replaced");
                if let Some(to_disk) = &self.to_disk {
                    to_disk.send_replace(Some(Arc::new(snapshot)));
                }
                IngressFrame::Applied { epoch, version }
            }
            Ok(Applied::Unchanged) => IngressFrame::Applied { epoch, version },
            Ok(Applied::Superseded { version: current }) => {
                tracing::warn!(snapshot.version = version, current, "older routes ignored");
                IngressFrame::Refused {
                    epoch,
                    version,
                    current: Some(current),
                    reason: "newer routes are in use".to_owned(),
                }
            }
            Err(error) => {
                tracing::error!(snapshot.version = version, %error, "routes refused, old ones stay");
                let in_use = self.worker.routing.version();
                IngressFrame::Refused {
                    current: in_use.and_then(|(of, current)| (of == epoch).then_some(current)),
                    epoch,
                    version,
                    reason: error.to_string(),
                }
            }
        }
    }
}

/// Writes what it is handed, the newest only; returns when the sender is gone and all is written.
pub(crate) async fn write_snapshots(
    path: PathBuf,
    mut snapshots: watch::Receiver<Option<Arc<RoutingSnapshot>>>,
) {
    loop {
        let more = snapshots.changed().await.is_ok();
        let snapshot = if more {
            snapshots.borrow_and_update().clone()
        } else {
            None
        };
        if let Some(snapshot) = snapshot {
            let path = path.clone();
            let saved = tokio::task::spawn_blocking(move || snapshot_file::save(&path, &snapshot));
            if let Ok(Err(error)) = saved.await {
                tracing::error!(%error, "cannot keep the routes on disk");
            }
        }
        if !more {
            return;
        }
    }
}

fn read_frame(text: &str) -> Option<ControlFrame> {
    match serde_json::from_str(text) {
        Ok(frame) => Some(frame),
        Err(error) => {
            // A newer control plane may know frames that we do not.
            tracing::error!(%error, "a frame of the control plane is not understood");
            None
        }
    }
}

fn frame_text(frame: &IngressFrame) -> Message {
    // Plain structs with string keys cannot fail to become JSON.
    Message::text(serde_json::to_string(frame).unwrap_or_default())
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), LinkError> {
    timeout(SEND_LIMIT, socket.send(message))
        .await
        .map_err(|_| LinkError::Silent)??;
    Ok(())
}
