//! Every REST address, in one place.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get};
use flukedeploy_domain::access::Door;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    account, approvals, apps, audit, credentials, deployments, environments, flukebase, grants,
    health, log_forwarders, logs, own_secrets, people, projects, repair, system, tokens, uploads,
    webhooks,
};
use crate::doors::auth::{Gate, require};
use crate::doors::body::limit_declared;
use crate::doors::problem::Problem;
use crate::doors::state::AppState;
use crate::doors::stream;

/// Everything under `/api`: `/api/v1`, and health, diagnosis and repairs once more under `/api/v2`, where
/// older monitoring tools look for it.
pub fn rest_router(state: AppState) -> Router {
    let gate = Gate {
        px: state.px.clone(),
        door: Door::Rest,
        sessions: true,
    };
    let port = stream::port_of(&state.px.config().public_url);
    let stream = stream::route(state.clone(), port);
    let inspection = inspection()
        .route_layer(from_fn_with_state(gate.clone(), require))
        .merge(without_token());
    let v1 = with_token()
        .route_layer(from_fn_with_state(gate, require))
        .merge(inspection.clone());
    Router::new()
        .nest("/api/v1", v1)
        .nest("/api/v2", inspection)
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

/// The routes behind a token, and their list, which tests walk: a route without a rule in the
/// matrix of rights fails them.
macro_rules! routes {
    ($name:ident $list:ident: $($method:ident $path:literal => $handler:expr,)+) => {
        fn $name() -> Router<AppState> {
            Router::new()$(.route($path, axum::routing::$method($handler)))+
        }

        #[cfg(test)]
        pub(crate) const $list: &[(&str, &str)] = &[$((stringify!($method), $path)),+];
    };
}

routes! {
    with_token GUARDED:
    post "/deployments" => deployments::create,
    get "/deployments" => deployments::recent,
    get "/deployments/active" => deployments::active,
    get "/deployments/stats" => deployments::stats,
    get "/deployments/{id}" => deployments::show,
    get "/deployments/{id}/logs" => deployments::logs,
    post "/deployments/{id}/cancel" => deployments::cancel,
    post "/deployments/{id}/pause" => deployments::pause,
    post "/deployments/{id}/resume" => deployments::resume,
    post "/deployments/{id}/promote" => deployments::promote,
    get "/deployments/{id}/receipt" => deployments::receipt,
    get "/approvals" => approvals::list,
    get "/approvals/{id}" => approvals::show,
    post "/approvals/{id}/approve" => approvals::approve,
    post "/approvals/{id}/reject" => approvals::reject,
    get "/apps" => apps::list,
    post "/apps" => apps::create,
    get "/apps/{name}" => apps::show,
    patch "/apps/{name}" => apps::change,
    delete "/apps/{name}" => apps::remove,
    get "/apps/{name}/deployments" => deployments::of_app,
    get "/apps/{name}/releases" => apps::releases,
    get "/apps/{name}/environments" => environments::list,
    post "/apps/{name}/environments" => environments::create,
    get "/apps/{name}/environments/{environment}" => environments::show,
    patch "/apps/{name}/environments/{environment}" => environments::change,
    delete "/apps/{name}/environments/{environment}" => environments::remove,
    get "/apps/{name}/environments/{environment}/approvals" => approvals::policy,
    put "/apps/{name}/environments/{environment}/approvals" => approvals::set_policy,
    post "/apps/{name}/promote" => environments::promote,
    post "/apps/{name}/rollback" => deployments::roll_back,
    post "/apps/{name}/scale" => deployments::scale,
    post "/apps/{name}/restart" => deployments::restart,
    post "/apps/{name}/stop" => deployments::stop,
    post "/apps/{name}/sleep" => deployments::sleep,
    post "/apps/{name}/start" => deployments::start,
    post "/apps/{name}/maintenance" => deployments::maintenance,
    post "/apps/{name}/validate" => apps::validate,
    post "/apps/{name}/uploads" => uploads::create,
    post "/apps/{name}/source" => uploads::deploy,
    get "/credentials" => credentials::list,
    put "/credentials" => credentials::put,
    delete "/credentials/{kind}/{host}" => credentials::remove,
    get "/logs" => logs::read,
    get "/logs/histogram" => logs::histogram,
    get "/logs/export" => logs::export,
    get "/logs/stream" => stream::server_sent_events,
    get "/log-forwarders" => log_forwarders::list,
    post "/log-forwarders" => log_forwarders::create,
    get "/log-forwarders/{id}" => log_forwarders::show,
    patch "/log-forwarders/{id}" => log_forwarders::change,
    delete "/log-forwarders/{id}" => log_forwarders::remove,
    post "/log-forwarders/{id}/test" => log_forwarders::test,
    get "/tokens" => tokens::list,
    post "/tokens" => tokens::create,
    delete "/tokens/{id}" => tokens::revoke,
    post "/tokens/{id}/rotate" => tokens::rotate,
    get "/grants" => grants::list,
    post "/grants" => grants::create,
    delete "/grants/{id}" => grants::withdraw,
    get "/apps/{name}/grants" => grants::of_app,
    put "/apps/{name}/project" => grants::set_project,
    get "/projects" => projects::list,
    get "/projects/{name}" => projects::show,
    patch "/projects/{name}/variables" => projects::change,
    put "/projects/{name}/variables" => projects::replace,
    get "/webhooks" => webhooks::list,
    post "/webhooks" => webhooks::create,
    patch "/webhooks/{id}" => webhooks::change,
    delete "/webhooks/{id}" => webhooks::remove,
    get "/webhooks/{id}/deliveries" => webhooks::deliveries,
    post "/webhooks/{id}/test" => webhooks::test,
    post "/webhooks/deliveries/{id}/resend" => webhooks::resend,
    get "/users" => people::list,
    get "/users/{id}" => people::show,
    patch "/users/{id}" => people::change,
    delete "/users/{id}" => people::remove,
    delete "/users/{id}/second-factor" => people::reset_second_factor,
    get "/invitations" => people::invitations,
    post "/invitations" => people::invite,
    delete "/invitations/{id}" => people::revoke_invitation,
    get "/account" => account::show,
    patch "/account" => account::change,
    post "/account/confirm" => own_secrets::confirm,
    put "/account/password" => own_secrets::change_password,
    post "/account/second-factor" => own_secrets::offer,
    put "/account/second-factor" => own_secrets::turn_on,
    delete "/account/second-factor" => own_secrets::turn_off,
    post "/account/second-factor/codes" => own_secrets::new_codes,
    get "/account/sessions" => account::sessions,
    delete "/account/sessions" => account::end_others,
    delete "/account/sessions/{id}" => account::end,
    get "/audit" => audit::list,
    get "/audit/export" => audit::export,
    get "/flukebase" => flukebase::show,
    put "/flukebase" => flukebase::put,
    get "/system" => system::show,
}

routes! {
    inspection INSPECTION:
    get "/health/system" => health::system,
    get "/health/docker" => health::docker,
    get "/health/issues" => health::issues,
    get "/health/containers" => health::containers,
    post "/diagnose" => health::diagnose,
    get "/diagnose/quick" => health::diagnose_quick,
    get "/repair/actions" => repair::actions,
    post "/repair" => repair::repair,
    post "/repair/auto" => repair::heal,
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
