//! One client of the log stream, from its first frame to its last.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use flukedeploy_domain::access::{Actor, Door};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::names::Invalid;
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::journal::{Live, Subscription};
use flukedeploy_platform::logs::{self, ReadLogs};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform, system};
use futures_util::SinkExt;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::frames::{self, Request};
use super::listeners::Seat;
use super::selection::Selection;
use crate::doors::auth;
use crate::doors::problem::Problem;
use crate::doors::state::AppState;

/// How long a client may take to say who it is.
const AUTH_TIME: Duration = Duration::from_secs(5);
/// How long one write may take; a client that reads nothing for so long is let go.
const WRITE_TIME: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(30);
/// Three pings without any sign of life.
const SILENCE: Duration = Duration::from_secs(95);
/// How soon a revoked token ends its streams.
const RECHECK_EVERY: Duration = Duration::from_secs(5);
/// Frames written before the socket is flushed.
const BURST: usize = 256;
/// After this time no live entry can be one that was sent from the store.
const REPLAY_OVERLAP: Duration = Duration::from_secs(30);

/// Close codes: RFC 6455 section 7.4, and 4000–4999 for our own.
const GOING_AWAY: u16 = 1001;
const BAD_REQUEST: u16 = 4400;
const UNAUTHORIZED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
const TRY_AGAIN: u16 = 1013;

/// What a client brought along.
pub(super) enum Presented {
    Token(Secret),
    Session {
        actor: Actor,
        signed_in: Option<SignedIn>,
    },
    Nothing,
}

/// How the client is known, so that it can be looked up again.
enum Credential {
    Token(Secret),
    Session(Option<SignedIn>),
}

/// A client that may listen. It is subscribed before it is told so: what happens from then on
/// reaches it, and what is read from the store in between is told apart by its id, so nothing is
/// missing and nothing doubled.
struct Known {
    actor: Actor,
    credential: Credential,
    live: Subscription,
}

impl Known {
    fn new(px: &Platform, actor: Actor, credential: Credential) -> Result<Self, End> {
        let live = logs::subscribe(px, &actor)?;
        Ok(Self {
            actor,
            credential,
            live,
        })
    }

    async fn by_token(px: &Platform, token: Secret) -> Result<Self, End> {
        let actor = identity::authenticate_token(px, token.expose(), Door::Stream).await?;
        Self::new(px, actor, Credential::Token(token))
    }
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
    /// `None` after `unsubscribe`.
    filter: Option<LogFilter>,
    /// Ids sent from the store that may come once more from the live side.
    replayed: HashSet<String>,
    replayed_until: Instant,
    heard_at: Instant,
    _seat: Seat,
}

impl Connection {
    pub(super) fn new(socket: WebSocket, state: AppState, seat: Seat, port: u16) -> Self {
        let now = Instant::now();
        Self {
            socket,
            state,
            port,
            filter: None,
            replayed: HashSet::new(),
            replayed_until: now,
            heard_at: now,
            _seat: seat,
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
        let (code, reason) = match end {
            End::Gone => return,
            End::Stopping => (GOING_AWAY, "shutting down".to_owned()),
            End::Refused {
                close,
                code,
                message,
            } => {
                if self.send(frames::error(&code, &message)).await.is_err() {
                    return;
                }
                (close, code)
            }
        };
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        if self.send(Message::Close(Some(close))).await.is_ok() {
            self.await_close().await;
        }
    }

    /// Waits for the client's answer to our close frame, so that the frame is not lost in a reset.
    async fn await_close(&mut self) {
        let reading = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = timeout(Duration::from_secs(2), reading).await;
    }

    async fn serve(
        &mut self,
        presented: Presented,
        selection: Result<Selection, Vec<Invalid>>,
    ) -> Result<std::convert::Infallible, End> {
        let px = self.state.px.clone();
        let known = match presented {
            Presented::Token(token) => Some(Known::by_token(&px, token).await?),
            Presented::Session { actor, signed_in } => {
                Some(Known::new(&px, actor, Credential::Session(signed_in))?)
            }
            Presented::Nothing => None,
        };
        let shown = selection
            .as_ref()
            .map(|s| s.filter.clone())
            .unwrap_or_default();
        self.send(frames::connected(self.port, &shown, known.is_some()))
            .await?;
        let selection = selection.map_err(|faults| End::bad_request(&faults))?;
        let mut known = match known {
            Some(known) => known,
            None => self.authenticate(&px).await?,
        };
        logs::authorise_filter(&known.actor, &selection.filter)?;
        self.select(&px, &known.actor, selection).await?;
        self.follow(&px, &mut known).await
    }

    /// Waits for `{"action":"auth","token":…}`.
    async fn authenticate(&mut self, px: &Platform) -> Result<Known, End> {
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
                    let known = Known::by_token(px, Secret::new(token)).await?;
                    self.send(frames::authenticated()).await?;
                    return Ok(known);
                }
                Some(Request::NotJson) => self.send(frames::not_json()).await?,
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
        let Known {
            actor,
            credential,
            live,
        } = known;
        let mut ping = every(PING_EVERY);
        let mut recheck = every(RECHECK_EVERY);
        loop {
            tokio::select! {
                next = live.next() => match next {
                    Some(first) => self.forward(first, live).await?,
                    None => return Err(End::Stopping),
                },
                request = self.receive() => {
                    if let Some(request) = request? {
                        self.answer(px, actor, request).await?;
                    }
                }
                _ = ping.tick() => {
                    if self.heard_at.elapsed() > SILENCE {
                        return Err(End::Gone);
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
                _ = recheck.tick() => check_again(px, credential).await?,
                () = px.stopping().cancelled() => return Err(End::Stopping),
            }
        }
    }

    async fn answer(&mut self, px: &Platform, actor: &Actor, request: Request) -> Result<(), End> {
        match request {
            Request::Subscribe(message) => {
                let selection = match Selection::of_message(message) {
                    Ok(selection) => selection,
                    Err(faults) => return self.send(frames::invalid(&faults)).await,
                };
                if let Err(error) = logs::authorise_filter(actor, &selection.filter) {
                    let problem = Problem::from(error);
                    return self
                        .send(frames::error(problem.code(), problem.detail()))
                        .await;
                }
                self.send(frames::subscribed(&selection.filter)).await?;
                self.select(px, actor, selection).await
            }
            Request::Unsubscribe => {
                self.filter = None;
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
        }
    }

    /// Makes a filter the current one and sends stored entries first, if any are wanted.
    async fn select(
        &mut self,
        px: &Platform,
        actor: &Actor,
        selection: Selection,
    ) -> Result<(), End> {
        let Selection { filter, tail } = selection;
        self.replayed.clear();
        self.filter = Some(filter.clone());
        if tail == 0 {
            return Ok(());
        }
        let request = ReadLogs {
            filter,
            limit: tail,
            ..ReadLogs::default()
        };
        let page = logs::read_logs(px, actor, request).await?;
        self.replayed = page.entries.iter().map(|entry| entry.id.clone()).collect();
        self.replayed_until = Instant::now() + REPLAY_OVERLAP;
        // The newest were asked for, so they came newest first.
        let oldest_first = page.entries.iter().rev().map(frames::entry);
        let mut frames = oldest_first.peekable();
        while frames.peek().is_some() {
            let burst: Vec<_> = frames.by_ref().take(BURST).collect();
            self.send_all(burst).await?;
        }
        Ok(())
    }

    /// Sends what is there already in one go: entries come in bursts, and one flush for many is
    /// one system call.
    async fn forward(&mut self, first: Live, live: &mut Subscription) -> Result<(), End> {
        if self.replayed_until < Instant::now() && !self.replayed.is_empty() {
            self.replayed = HashSet::new();
        }
        let mut burst = Vec::new();
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Live::Entry(entry) if self.wants(&entry) => burst.push(frames::entry(&entry)),
                Live::Dropped(count) if self.filter.is_some() => burst.push(frames::dropped(count)),
                Live::Entry(_) | Live::Dropped(_) => {}
            }
            taken += 1;
            next = if taken < BURST { live.try_next() } else { None };
        }
        if burst.is_empty() {
            Ok(())
        } else {
            self.send_all(burst).await
        }
    }

    fn wants(&self, entry: &flukedeploy_domain::log_entry::LogEntry) -> bool {
        self.filter
            .as_ref()
            .is_some_and(|filter| filter.matches(entry))
            && !self.replayed.contains(&entry.id)
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        self.send_all(vec![message]).await
    }

    async fn send_all(&mut self, messages: Vec<Message>) -> Result<(), End> {
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
        let Some(Ok(message)) = self.socket.recv().await else {
            return Err(End::Gone);
        };
        self.heard_at = Instant::now();
        match message {
            Message::Text(text) => Ok(Some(Request::parse(text.as_str()))),
            Message::Binary(_) => Ok(Some(Request::NotJson)),
            Message::Ping(_) | Message::Pong(_) => Ok(None),
            Message::Close(_) => Err(End::Gone),
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}

/// Whether the client may still listen: tokens are revoked and run out, passwords are changed.
async fn check_again(px: &Platform, credential: &Credential) -> Result<(), End> {
    match credential {
        Credential::Token(token) => match auth::from_token(px, token, Door::Stream).await {
            Err(problem) if problem.code() == "unauthorized" => {
                Err(End::unauthorized(problem.detail()))
            }
            // A store that does not answer now is no reason to send everybody away.
            Ok(_) | Err(_) => Ok(()),
        },
        Credential::Session(Some(signed_in)) => {
            match identity::actor_of_session(px, signed_in).await {
                Ok(None) => Err(End::unauthorized("the session is over")),
                Ok(Some(_)) | Err(_) => Ok(()),
            }
        }
        Credential::Session(None) => Ok(()),
    }
}
