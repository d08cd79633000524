//! From an HTTP request to an open stream.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::UPGRADE;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use flukedeploy_app::client_address;
use tower_http::catch_panic::CatchPanicLayer;

use super::connection::Connection;
use super::credential::Presented;
use super::listeners::Full;
use super::selection::Selection;
use crate::doors::problem::Problem;
use crate::doors::query::Params;
use crate::doors::state::AppState;

/// Made for each connection, and most connections only listen.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Grows when it is needed: what is written at once.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// A message of such a length ends the connection; before that, it is only refused.
const ABSURD_BYTES: usize = 64 * 1024;
/// What may wait for a client that does not read, beside the one message that is being written.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// The log stream at every path, for a port of its own; the first frame names the port.
pub fn stream_router(state: AppState, port: u16) -> Router {
    Router::new()
        .fallback_service(route(state, port))
        .layer(CatchPanicLayer::custom(Problem::of_panic))
}

pub(crate) fn route(state: AppState, port: u16) -> MethodRouter {
    any(
        async move |State(state): State<AppState>, request: Request| {
            upgrade(state, port, request).await
        },
    )
    .with_state(state)
}

async fn upgrade(state: AppState, port: u16, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return no_upgrade(&rejection),
    };
    let selection = match Params::of(&parts.uri) {
        Ok(query) => Selection::of_query(query),
        Err(problem) => return problem.into_response(),
    };
    let presented = match Presented::of(&state.px, &parts.headers, &parts.extensions) {
        Ok(presented) => presented,
        Err(problem) => return problem.into_response(),
    };
    let seat =
        match state
            .listeners
            .sit(client_address(&state.px, &parts.headers, &parts.extensions))
        {
            Ok(seat) => seat,
            Err(full) => return Problem::unavailable(Full::CODE, full.message()).into_response(),
        };
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WAITING_BYTES)
        .max_message_size(ABSURD_BYTES)
        .max_frame_size(ABSURD_BYTES)
        .on_upgrade(async move |socket| {
            Connection::new(socket, state, seat, port)
                .run(presented, selection)
                .await;
        })
}

fn no_upgrade(rejection: &WebSocketUpgradeRejection) -> Response {
    tracing::debug!(%rejection, "not a WebSocket");
    let problem = Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "Upgrade required",
        "upgrade_required",
        "the log stream speaks WebSocket",
    )
    .next("connect with a WebSocket client");
    ([(UPGRADE, "websocket")], problem).into_response()
}

/// The port of an address, named or implied by its scheme.
pub(crate) fn port_of(url: &str) -> u16 {
    let default = if url.starts_with("https") || url.starts_with("wss") {
        443
    } else {
        80
    };
    url.parse::<axum::http::Uri>()
        .ok()
        .and_then(|uri| uri.port_u16())
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_one_of_the_address() {
        assert_eq!(port_of("ws://127.0.0.1:8767"), 8767);
        assert_eq!(port_of("https://deploy.example.com"), 443);
        assert_eq!(port_of("http://[::1]:3000"), 3000);
    }
}
