//! One client of the log stream, from its first frame to its last.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use flukedeploy_domain::access::{Actor, Origin};
use flukedeploy_domain::names::Invalid;
use flukedeploy_platform::follow::Follower;
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform, system};
use futures_util::SinkExt;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::MAX_MESSAGE_BYTES;
use super::credential::{Presented, by_token};
use super::frames::{self, Request};
use super::listeners::{Full, Seat};
use super::selection::Selection;
use crate::doors::problem::Problem;
use crate::doors::standing::Standing;
use crate::doors::state::AppState;

/// How long a client may take to say who it is.
const AUTH_TIME: Duration = Duration::from_secs(5);
/// How long one write may take; a client that reads nothing for so long is let go.
const WRITE_TIME: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(30);
/// Three pings without any sign of life.
const SILENCE: Duration = Duration::from_secs(95);
/// How long a client is waited for that is told why the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Close codes: RFC 6455 section 7.4, and 4000–4999 for our own.
const GOING_AWAY: u16 = 1001;
const BAD_REQUEST: u16 = 4400;
const UNAUTHORIZED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
const TRY_AGAIN: u16 = 1013;

/// A client that may listen. Its place is taken before it is told so: what happens from then on
/// reaches it.
struct Known {
    standing: Standing,
    follower: Follower,
}

/// Why a connection ends.
enum End {
    /// The client left, or does not read any more.
    Gone,
    /// Told to the client first.
    Refused {
        close: u16,
        code: String,
        message: String,
    },
    Stopping,
}

impl End {
    fn of(error: Error) -> Self {
        let close = match error.kind() {
            flukedeploy_platform::Kind::Unauthenticated => UNAUTHORIZED,
            flukedeploy_platform::Kind::Forbidden => FORBIDDEN,
            flukedeploy_platform::Kind::Invalid => BAD_REQUEST,
            _ => TRY_AGAIN,
        };
        let problem = Problem::from(error);
        let (code, message) = (problem.code().to_owned(), problem.detail().to_owned());
        Self::Refused {
            close,
            code,
            message,
        }
    }

    fn bad_request(faults: &[Invalid]) -> Self {
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Self::Refused {
            close: BAD_REQUEST,
            code: "bad_request".to_owned(),
            message: text.join("; "),
        }
    }

    fn full(full: Full) -> Self {
        Self::Refused {
            close: TRY_AGAIN,
            code: Full::CODE.to_owned(),
            message: full.message().to_owned(),
        }
    }

    fn unauthorized(message: &str) -> Self {
        Self::Refused {
            close: UNAUTHORIZED,
            code: "unauthorized".to_owned(),
            message: message.to_owned(),
        }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::of(error)
    }
}

pub(super) struct Connection {
    socket: WebSocket,
    state: AppState,
    port: u16,
    heard_at: Instant,
    seat: Seat,
}

impl Connection {
    pub(super) fn new(socket: WebSocket, state: AppState, seat: Seat, port: u16) -> Self {
        Self {
            socket,
            state,
            port,
            heard_at: Instant::now(),
            seat,
        }
    }

    pub(super) async fn run(
        mut self,
        presented: Presented,
        selection: Result<Selection, Vec<Invalid>>,
    ) {
        let end = match self.serve(presented, selection).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        let _ = timeout(FAREWELL, self.take_leave(end)).await;
    }

    /// Waits for the client's answer to our close frame, so that the frame is not lost in a reset.
    async fn take_leave(&mut self, end: End) -> Result<(), End> {
        let (code, reason) = match end {
            End::Gone => return Ok(()),
            End::Stopping => (GOING_AWAY, "shutting down".to_owned()),
            End::Refused {
                close,
                code,
                message,
            } => {
                self.send(frames::error(&code, &message)).await?;
                (close, code)
            }
        };
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        self.send(Message::Close(Some(close))).await?;
        while let Some(Ok(_)) = self.socket.recv().await {}
        Ok(())
    }

    /// Gives a client that is known now its place in the log.
    fn welcome(&mut self, px: &Platform, actor: Actor, standing: Standing) -> Result<Known, End> {
        self.seat.belongs_to(&actor).map_err(End::full)?;
        let follower = Follower::new(px, actor)?;
        Ok(Known { standing, follower })
    }

    async fn serve(
        &mut self,
        presented: Presented,
        selection: Result<Selection, Vec<Invalid>>,
    ) -> Result<std::convert::Infallible, End> {
        let px = self.state.px.clone();
        let origin = Arc::clone(&presented.origin);
        let known = match presented.known(&px).await? {
            Some((actor, standing)) => Some(self.welcome(&px, actor, standing)?),
            None => None,
        };
        let shown = selection
            .as_ref()
            .map_or_else(|_| Selection::default().told(), Selection::told);
        self.send(frames::connected(self.port, &shown, known.is_some()))
            .await?;
        let selection = selection.map_err(|faults| End::bad_request(&faults))?;
        let mut known = match known {
            Some(known) => known,
            None => self.authenticate(&px, origin).await?,
        };
        let Selection {
            filter,
            text,
            start,
        } = selection;
        known.follower.search(text);
        known.follower.select(filter, start).await?;
        self.follow(&px, &mut known).await
    }

    /// Waits for `{"action":"auth","token":…}`.
    async fn authenticate(&mut self, px: &Platform, origin: Arc<Origin>) -> Result<Known, End> {
        let late = End::unauthorized("no token came within 5 seconds");
        let deadline = Instant::now() + AUTH_TIME;
        loop {
            let request = tokio::select! {
                request = self.receive() => request?,
                () = tokio::time::sleep_until(deadline) => return Err(late),
                () = px.stopping().cancelled() => return Err(End::Stopping),
            };
            match request {
                None => {}
                Some(Request::Auth(token)) => {
                    let (actor, standing) = by_token(px, Secret::new(token), origin).await?;
                    let known = self.welcome(px, actor, standing)?;
                    self.send(frames::authenticated()).await?;
                    return Ok(known);
                }
                Some(Request::NotJson) => self.send(frames::not_json()).await?,
                Some(Request::TooLong) => self.send(frames::too_long()).await?,
                Some(Request::Ping) => self.send(frames::pong(px.now())).await?,
                Some(_) => {
                    let first = "send {\"action\":\"auth\",\"token\":\"…\"} first";
                    self.send(frames::error("unauthorized", first)).await?;
                }
            }
        }
    }

    async fn follow(
        &mut self,
        px: &Platform,
        known: &mut Known,
    ) -> Result<std::convert::Infallible, End> {
        let Known { standing, follower } = known;
        let mut ping = every(PING_EVERY);
        loop {
            tokio::select! {
                next = follower.next() => {
                    let frames = next.ok_or(End::Stopping)?.into_iter().map(frames::followed);
                    // What was taken is sent while the client may have it.
                    let mut sending = std::pin::pin!(self.send_all(frames));
                    loop {
                        tokio::select! {
                            sent = &mut sending => break sent?,
                            () = standing.due() => look(px, standing, follower).await?,
                        }
                    }
                }
                request = self.receive() => {
                    if let Some(request) = request? {
                        self.answer(px, follower, request).await?;
                    }
                }
                _ = ping.tick() => {
                    if self.heard_at.elapsed() > SILENCE {
                        return Err(End::Gone);
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
                () = standing.due() => look(px, standing, follower).await?,
                () = px.stopping().cancelled() => return Err(End::Stopping),
            }
        }
    }

    async fn answer(
        &mut self,
        px: &Platform,
        follower: &mut Follower,
        request: Request,
    ) -> Result<(), End> {
        match request {
            Request::Subscribe(message) => {
                let selection = match Selection::of_message(message) {
                    Ok(selection) => selection,
                    Err(faults) => return self.send(frames::invalid(&faults)).await,
                };
                let told = frames::subscribed(&selection.told());
                let Selection {
                    filter,
                    text,
                    start,
                } = selection;
                let former = follower.search(text);
                match follower.select(filter, start).await {
                    Ok(()) => self.send(told).await,
                    Err(error) => {
                        follower.search(former);
                        let problem = Problem::from(error);
                        let refused = frames::error(problem.code(), problem.detail());
                        self.send(refused).await
                    }
                }
            }
            Request::Unsubscribe => {
                follower.pause();
                self.send(frames::unsubscribed()).await
            }
            Request::Ping => self.send(frames::pong(px.now())).await,
            Request::Stats => {
                let stats = frames::Stats {
                    total_clients: self.state.listeners.count(),
                    port: self.port,
                    messages_broadcast: system::entries_broadcast(px),
                    uptime_ms: self.state.listeners.uptime_ms(),
                    started_at: self.state.listeners.started_at,
                };
                self.send(frames::stats(&stats)).await
            }
            // Somebody who is known already; the token stays the one that came first.
            Request::Auth(_) => self.send(frames::authenticated()).await,
            Request::Unknown(action) => self.send(frames::unknown_action(&action)).await,
            Request::NotJson => self.send(frames::not_json()).await,
            Request::TooLong => self.send(frames::too_long()).await,
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        self.send_all(std::iter::once(message)).await
    }

    /// Flushed once: one call of the system for many frames.
    async fn send_all(
        &mut self,
        messages: impl Iterator<Item = Message> + Send,
    ) -> Result<(), End> {
        let socket = &mut self.socket;
        let writing = async move {
            for message in messages {
                socket.feed(message).await?;
            }
            socket.flush().await
        };
        match timeout(WRITE_TIME, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// The next message that asks for something; `None` for pongs and the like. Cancel safe.
    async fn receive(&mut self) -> Result<Option<Request>, End> {
        // An error here is a broken connection, or a message of such a length that nobody means it.
        let Some(Ok(message)) = self.socket.recv().await else {
            return Err(End::Gone);
        };
        self.heard_at = Instant::now();
        match message {
            Message::Text(text) if text.len() > MAX_MESSAGE_BYTES => Ok(Some(Request::TooLong)),
            Message::Text(text) => Ok(Some(Request::parse(text.as_str()))),
            Message::Binary(_) => Ok(Some(Request::NotJson)),
            Message::Ping(_) | Message::Pong(_) => Ok(None),
            Message::Close(_) => Err(End::Gone),
        }
    }
}

/// Looks whether the client still may listen, and to what.
async fn look(px: &Platform, standing: &mut Standing, follower: &mut Follower) -> Result<(), End> {
    match standing.look(px).await {
        Ok(Some(actor)) => Ok(follower.rights_changed(actor)?),
        Ok(None) => Ok(()),
        Err(why) => Err(End::unauthorized(&why)),
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}
