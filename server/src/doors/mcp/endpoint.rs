//! Streamable HTTP at `/mcp`: a bearer token in front, rmcp behind it.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::any_service;
use flukedeploy_domain::access::Door;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tower_http::catch_panic::CatchPanicLayer;

use super::server::McpServer;
use crate::doors::auth::{Gate, require};
use crate::doors::body::{MAX_BODY_BYTES, limit_declared};
use crate::doors::problem::Problem;
use crate::doors::state::AppState;

/// `/mcp` for requests whose `Host` is one of `allowed_hosts` (a name with or without a port) and
/// whose `Origin`, if there is one, is one of `allowed_origins` (`https://host:port`): a page in a
/// browser must not reach an MCP server that its user happens to run.
pub fn mcp_router(
    state: AppState,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
) -> Router {
    let AppState { px, .. } = state;
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY_BYTES)
        .with_cancellation_token(px.stopping().child_token())
        .with_allowed_hosts(allowed_hosts)
        .with_allowed_origins(allowed_origins)
        .enforce_origin_validation();
    let server = McpServer::new(px.clone());
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    // Sessions are for browsers; an agent shows a token.
    let gate = Gate {
        px,
        door: Door::Mcp,
        sessions: false,
    };
    Router::new()
        .route("/mcp", any_service(service))
        .route_layer(from_fn_with_state(gate, require))
        .layer(from_fn(limit_declared))
        .layer(CatchPanicLayer::custom(Problem::of_panic))
}
