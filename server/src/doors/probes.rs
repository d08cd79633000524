//! `/healthz` and `/readyz`: for whoever starts and watches the process. They need no token and
//! say nothing but yes or no.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use flukedeploy_platform::{Platform, system};

use super::state::AppState;

pub fn probes_router(state: AppState) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readiness))
        .with_state(state)
}

async fn readiness(State(px): State<Platform>) -> (StatusCode, &'static str) {
    if system::is_ready(&px).await {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}
