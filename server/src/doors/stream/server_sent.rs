//! The log stream as server-sent events, for clients that speak nothing but HTTP: `curl -N`,
//! `EventSource`. <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::time::Duration;

use super::credential::Presented;
use super::listeners::{Full, Seat};
use super::selection::Selection;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::standing::Standing;
use crate::doors::state::AppState;
use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use flukedeploy_app::client_address;
use flukedeploy_domain::names::Invalid;
use flukedeploy_platform::Platform;
use flukedeploy_platform::follow::{Followed, Follower, Since, Start};
use futures_util::stream;
use serde_json::json;

/// A line of silence, so that proxies and clients see that somebody is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listening {
    px: Platform,
    follower: Follower,
    standing: Standing,
    waiting: std::vec::IntoIter<Followed>,
    is_over: bool,
    _seat: Seat,
}

/// `GET /logs/stream`: the address takes what the WebSocket's address takes. Every event's data is
/// an entry and its id the entry's; `event: dropped` tells how many were missed, `event: error`
/// why it ends. With the header `Last-Event-ID`, which browsers send by themselves after a lost
/// connection, it goes on behind that entry.
pub(crate) async fn read(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let mut selection =
        Selection::of_query(Params::of(&parts.uri)?).map_err(Problem::bad_parameters)?;
    if let Some(last) = parts.headers.get("last-event-id") {
        let last = last.to_str().unwrap_or_default().parse::<Since>();
        let last = last.map_err(|fault| {
            Problem::bad_parameters(vec![Invalid::new("Last-Event-ID", fault.problem)])
        })?;
        selection.start = Start::Since(last);
    }
    let presented = Presented::of(&state.px, &parts.headers, &parts.extensions)?;
    let Some((actor, standing)) = presented.known(&state.px).await? else {
        return Err(Problem::unauthorized("this needs a token"));
    };
    let full = |full: Full| Problem::unavailable(Full::CODE, full.message());
    let address = client_address(&state.px, &parts.headers, &parts.extensions);
    let mut seat = state.listeners.sit(address).map_err(full)?;
    seat.belongs_to(&actor).map_err(full)?;
    let mut follower = Follower::new(&state.px, actor)?;
    follower.search(selection.text);
    follower.select(selection.filter, selection.start).await?;
    let listening = Listening {
        px: state.px,
        follower,
        standing,
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
            // What is here already is sent only while the client may have it.
            tokio::select! {
                biased;
                () = self.standing.due() => {
                    if let Err((code, message)) = self.look().await {
                        self.is_over = true;
                        let told = json!({"code": code, "message": message});
                        return Some(Event::default().event("error").data(told.to_string()));
                    }
                }
                () = self.px.stopping().cancelled() => return None,
                () = std::future::ready(()), if !self.waiting.as_slice().is_empty() => {
                    return self.waiting.next().map(event);
                }
                burst = self.follower.next() => self.waiting = burst?.into_iter(),
            }
        }
    }
}

impl Listening {
    /// Whether the client still may listen: otherwise a code and why.
    async fn look(&mut self) -> Result<(), (String, String)> {
        let unauthorized = |why| ("unauthorized".to_owned(), why);
        match self.standing.look(&self.px).await.map_err(unauthorized)? {
            Some(actor) => self.follower.rights_changed(actor).map_err(|error| {
                let problem = Problem::from(error);
                (problem.code().to_owned(), problem.detail().to_owned())
            }),
            None => Ok(()),
        }
    }
}

fn event(followed: Followed) -> Event {
    match followed {
        Followed::Entry(entry) => Event::default()
            .id(&entry.id)
            .data(String::from_utf8_lossy(&entry.json())),
        Followed::Dropped(count) => Event::default()
            .event("dropped")
            .data(json!({"count": count}).to_string()),
    }
}
