//! Every REST address, in one place.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, delete, get, patch, post};
use flukedeploy_domain::access::Door;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    account, apps, credentials, deployments, environments, health, log_forwarders, logs, people,
    system, tokens, uploads, webhooks,
};
use crate::doors::auth::{Gate, require};
use crate::doors::body::limit_declared;
use crate::doors::problem::Problem;
use crate::doors::state::AppState;
use crate::doors::stream;

/// Everything under `/api`: `/api/v1`, and the health part once more under `/api/v2`, where
/// older monitoring tools look for it.
pub fn rest_router(state: AppState) -> Router {
    let gate = Gate {
        px: state.px.clone(),
        door: Door::Rest,
        sessions: true,
    };
    let port = stream::port_of(&state.px.config().public_url);
    let stream = stream::route(state.clone(), port);
    let v1 = with_token()
        .route_layer(from_fn_with_state(gate, require))
        .merge(without_token());
    Router::new()
        .nest("/api/v1", v1)
        .nest("/api/v2", without_token())
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state)
        .route("/api/v1/stream", stream)
        .route("/api", any(no_such_path))
        .route("/api/{*rest}", any(no_such_path))
        .layer(from_fn(limit_declared))
        .layer(SetResponseHeaderLayer::if_not_present(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CatchPanicLayer::custom(Problem::of_panic))
}

fn with_token() -> Router<AppState> {
    Router::new()
        .route(
            "/deployments",
            post(deployments::create).get(deployments::recent),
        )
        .route("/deployments/active", get(deployments::active))
        .route("/deployments/stats", get(deployments::stats))
        .route("/deployments/{id}", get(deployments::show))
        .route("/deployments/{id}/logs", get(deployments::logs))
        .route("/deployments/{id}/cancel", post(deployments::cancel))
        .route("/deployments/{id}/pause", post(deployments::pause))
        .route("/deployments/{id}/resume", post(deployments::resume))
        .route("/deployments/{id}/promote", post(deployments::promote))
        .route("/deployments/{id}/receipt", get(deployments::receipt))
        .route("/apps", get(apps::list).post(apps::create))
        .route(
            "/apps/{name}",
            get(apps::show).patch(apps::change).delete(apps::remove),
        )
        .route("/apps/{name}/deployments", get(deployments::of_app))
        .route("/apps/{name}/releases", get(apps::releases))
        .route(
            "/apps/{name}/environments",
            get(environments::list).post(environments::create),
        )
        .route(
            "/apps/{name}/environments/{environment}",
            get(environments::show)
                .patch(environments::change)
                .delete(environments::remove),
        )
        .route("/apps/{name}/promote", post(environments::promote))
        .route("/apps/{name}/rollback", post(deployments::roll_back))
        .route("/apps/{name}/scale", post(deployments::scale))
        .route("/apps/{name}/restart", post(deployments::restart))
        .route("/apps/{name}/stop", post(deployments::stop))
        .route("/apps/{name}/sleep", post(deployments::sleep))
        .route("/apps/{name}/start", post(deployments::start))
        .route("/apps/{name}/maintenance", post(deployments::maintenance))
        .route("/apps/{name}/validate", post(apps::validate))
        .route("/apps/{name}/uploads", post(uploads::create))
        .route("/apps/{name}/source", post(uploads::deploy))
        .route("/credentials", get(credentials::list).put(credentials::put))
        .route("/credentials/{kind}/{host}", delete(credentials::remove))
        .route("/logs", get(logs::read))
        .route("/logs/histogram", get(logs::histogram))
        .route("/logs/export", get(logs::export))
        .route("/logs/stream", get(stream::server_sent_events))
        .route(
            "/log-forwarders",
            get(log_forwarders::list).post(log_forwarders::create),
        )
        .route(
            "/log-forwarders/{id}",
            get(log_forwarders::show)
                .patch(log_forwarders::change)
                .delete(log_forwarders::remove),
        )
        .route("/log-forwarders/{id}/test", post(log_forwarders::test))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/webhooks/{id}",
            patch(webhooks::change).delete(webhooks::remove),
        )
        .route("/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/webhooks/{id}/test", post(webhooks::test))
        .route("/webhooks/deliveries/{id}/resend", post(webhooks::resend))
        .route("/users", get(people::list))
        .route(
            "/users/{id}",
            get(people::show)
                .patch(people::change)
                .delete(people::remove),
        )
        .route(
            "/users/{id}/second-factor",
            delete(people::reset_second_factor),
        )
        .route(
            "/invitations",
            get(people::invitations).post(people::invite),
        )
        .route("/invitations/{id}", delete(people::revoke_invitation))
        .route("/account", get(account::show).patch(account::change))
        .route(
            "/account/sessions",
            get(account::sessions).delete(account::end_others),
        )
        .route("/account/sessions/{id}", delete(account::end))
        .route("/audit", get(system::audit))
        .route("/system", get(system::show))
}

/// Says more to those who send a token.
fn without_token() -> Router<AppState> {
    Router::new().route("/health", get(health::show))
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::no_such_path(uri.path())
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::method_not_allowed(method.as_str())
}
