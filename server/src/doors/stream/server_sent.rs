//! The log stream as server-sent events, for clients that speak nothing but HTTP: `curl -N`,
//! `EventSource`. <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use flukedeploy_platform::Platform;
use flukedeploy_platform::follow::{Followed, Follower};
use futures_util::stream;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::connection::RECHECK_EVERY;
use super::credential::{Credential, Presented};
use super::listeners::Seat;
use super::selection::Selection;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::state::AppState;

/// A line of silence, so that proxies and clients see that somebody is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listening {
    px: Platform,
    follower: Follower,
    credential: Credential,
    recheck: Interval,
    waiting: std::vec::IntoIter<Followed>,
    is_over: bool,
    _seat: Seat,
}

/// `GET /logs/stream`: the address takes what the WebSocket's address takes. Every event's data is
/// an entry and its id the entry's; `event: dropped` tells how many were missed, `event: error`
/// why it ends.
pub(crate) async fn read(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let selection =
        Selection::of_query(Params::of(&parts.uri)?).map_err(Problem::bad_parameters)?;
    let presented = Presented::of(&parts.headers, &parts.extensions)?;
    let Some((actor, credential)) = presented.known(&state.px).await? else {
        return Err(Problem::unauthorized("this needs a token"));
    };
    let Some(seat) = state.listeners.sit() else {
        return Err(Problem::unavailable(
            "too_many_clients",
            "the log stream has no place left",
        ));
    };
    let mut follower = Follower::new(&state.px, actor)?;
    follower.select(selection.filter, selection.tail).await?;
    let mut recheck = interval(RECHECK_EVERY);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listening = Listening {
        px: state.px,
        follower,
        credential,
        recheck,
        waiting: Vec::new().into_iter(),
        is_over: false,
        _seat: seat,
    };
    let events = stream::unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        Some((Ok::<_, Infallible>(event), listening))
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

impl Listening {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(followed) = self.waiting.next() {
                return Some(event(followed));
            }
            tokio::select! {
                burst = self.follower.next() => self.waiting = burst?.into_iter(),
                _ = self.recheck.tick() => {
                    if let Err(message) = self.credential.check(&self.px).await {
                        self.is_over = true;
                        let told = json!({"code": "unauthorized", "message": message});
                        return Some(Event::default().event("error").data(told.to_string()));
                    }
                }
                () = self.px.stopping().cancelled() => return None,
            }
        }
    }
}

fn event(followed: Followed) -> Event {
    match followed {
        Followed::Entry { id, json } => {
            Event::default().id(id).data(String::from_utf8_lossy(&json))
        }
        Followed::Dropped(count) => Event::default()
            .event("dropped")
            .data(json!({"count": count}).to_string()),
    }
}
