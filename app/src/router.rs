//! Everything the dashboard answers.

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use flukedeploy_platform::Platform;
use http::{StatusCode, Uri};
use tower_http::compression::CompressionLayer;
use tower_sessions::SessionStore;

use crate::context::Visitor;
use crate::forms::{self, Typed};
use crate::routes::App;
use crate::{assets, csrf, headers, hosts, paths, render, session};

/// Largest form, in bytes.
const FORM_LIMIT_BYTES: usize = 1024 * 1024;

/// How the dashboard is reached.
#[derive(Debug, Clone)]
pub struct DashboardSettings {
    /// People come over HTTPS: the cookie is `Secure` and bound to the host (`__Host-`).
    pub cookie_secure: bool,
}

/// The whole dashboard: pages, forms, assets, session, and the checks in front of them.
///
/// Its fallback is the 404 page, so other routers are merged into it and bring no fallback of
/// their own. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: sign-in
/// attempts are limited by address.
pub fn dashboard_router<S>(px: Platform, sessions: S, settings: &DashboardSettings) -> Router
where
    S: SessionStore + Clone,
{
    let mut pages = Router::new();
    for listing in leptos_axum::generate_route_list(App) {
        pages = pages.route(listing.path(), get(show));
    }
    pages
        .merge(forms())
        .route(paths::PROVIDER_CALLBACK, get(forms::provider::callback))
        .fallback(show)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(px.clone(), session::gate))
        .layer(Extension(settings.clone()))
        .layer(session::layer(&px, sessions, settings))
        .layer(middleware::from_fn(csrf::check_page))
        .layer(middleware::from_fn_with_state(px.clone(), hosts::check))
        .route("/assets/{file}", get(assets::serve))
        .layer(DefaultBodyLimit::max(FORM_LIMIT_BYTES))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(headers::secure))
        .with_state(px)
}

/// The addresses that take forms, and their list, which tests walk: one without a rule in the matrix
/// of rights fails them.
macro_rules! forms {
    ($($path:expr => $handler:expr,)+) => {
        fn forms() -> Router<Platform> {
            Router::new()$(.route($path, $handler))+
        }

        /// Every address that takes a form.
        pub const FORM_ADDRESSES: &[&str] = &[$($path),+];
    };
}

forms! {
    paths::SIGN_IN => post(forms::session::sign_in),
    paths::SIGN_OUT => post(forms::session::sign_out),
    paths::SIGN_IN_CODE => post(forms::session::second_step),
    paths::PROVIDER => post(forms::provider::sign_in).get(to_page),
    "/invitations/{secret}/provider" => post(forms::provider::accept).get(to_page),
    paths::CONNECT_PROVIDER => post(forms::provider::connect).get(to_page),
    paths::DISCONNECT_PROVIDER => post(forms::provider::disconnect).get(to_page),
    paths::CONFIRM_PROVIDER => post(forms::provider::confirm).get(to_page),
    "/setup/{token}" => post(forms::session::set_up),
    "/invitations/{secret}" => post(forms::session::accept),
    paths::ACCOUNT => post(forms::account::rename),
    paths::PASSWORD => post(forms::account::password).get(to_page),
    paths::CONFIRM => post(forms::account::confirm),
    paths::SECOND_FACTOR => post(forms::account::second_factor),
    paths::SECOND_FACTOR_OFF => post(forms::account::second_factor_off).get(to_page),
    paths::RECOVERY_CODES => post(forms::account::recovery_codes).get(to_page),
    paths::OTHER_SESSIONS => post(forms::account::end_others).get(to_page),
    "/account/sessions/{id}/end" => post(forms::account::end_session).get(to_page),
    paths::PERMISSIONS => post(forms::permissions::grant),
    "/permissions/{id}/withdraw" => post(forms::permissions::withdraw).get(to_page),
    paths::PROJECTS => post(forms::projects::put),
    "/projects/{name}" => post(forms::projects::share),
    paths::PEOPLE => post(forms::people::invite),
    "/people/{id}/switch" => post(forms::people::switch).get(to_page),
    "/people/{id}/reset" => post(forms::people::reset),
    "/people/{id}/delete" => post(forms::people::delete),
    "/people/invitations/{id}/revoke" => post(forms::people::revoke_invitation).get(to_page),
    paths::THEME => post(forms::theme::choose),
    paths::NEW_APP => post(forms::apps::create),
    "/apps/{name}" => post(forms::apps::change),
    "/apps/{name}/delete" => post(forms::apps::delete),
    "/apps/{name}/deploy" => post(forms::deployments::deploy),
    "/apps/{name}/deploy/upload" => // Written while it comes in; whoever keeps it says how large it may be.
            post(forms::uploads::receive).layer(DefaultBodyLimit::disable()),
    "/apps/{name}/rollback" => post(forms::deployments::rollback),
    "/apps/{name}/environments/new" => post(forms::environments::create),
    "/apps/{name}/promote" => post(forms::environments::promote),
    "/apps/{name}/ttl" => post(forms::environments::ttl).get(to_page),
    "/apps/{name}/scale" => post(forms::everyday::scale).get(to_page),
    "/apps/{name}/restart" => post(forms::everyday::restart).get(to_page),
    "/apps/{name}/mode" => post(forms::everyday::mode).get(to_page),
    "/deployments/{id}/cancel" => post(forms::deployments::cancel).get(to_page),
    "/deployments/{id}/steer" => post(forms::deployments::steer).get(to_page),
    "/approvals/{id}/decide" => post(forms::approvals::decide).get(to_page),
    "/apps/{name}/approvals" => post(forms::approvals::set_policy).get(to_page),
    "/people/{id}/role" => post(forms::people::set_role).get(to_page),
    "/apps/{name}/permissions" => post(forms::permissions::grant_in),
    "/apps/{name}/permissions/{id}/withdraw" => post(forms::permissions::withdraw_in).get(to_page),
    paths::TOKENS => post(forms::tokens::create),
    "/tokens/{id}/revoke" => post(forms::tokens::revoke),
    paths::CREDENTIALS => post(forms::credentials::store),
    "/credentials/{kind}/{host}/remove" => post(forms::credentials::remove),
    "/system/repairs/{action}" => post(forms::repairs::repair),
    paths::WEBHOOKS => post(forms::webhooks::create),
    "/webhooks/{id}/test" => post(forms::webhooks::test).get(to_page),
    "/webhooks/{id}/switch" => post(forms::webhooks::switch).get(to_page),
    "/webhooks/{id}/delete" => post(forms::webhooks::delete),
    "/webhooks/deliveries/{id}/resend" => post(forms::webhooks::resend).get(to_page),
    paths::LOG_FORWARDERS => post(forms::log_forwarders::create),
    "/log-forwarders/{id}/test" => post(forms::log_forwarders::test).get(to_page),
    "/log-forwarders/{id}/switch" => post(forms::log_forwarders::switch).get(to_page),
    "/log-forwarders/{id}/delete" => post(forms::log_forwarders::delete),
}

/// Every address that shows a page, as `/apps/{name}`.
pub fn page_addresses() -> Vec<String> {
    let listed = leptos_axum::generate_route_list(App);
    listed.iter().map(|page| page.path().to_owned()).collect()
}

/// Lets the dashboard's session stand in for a bearer token on `router` (the API and its stream):
/// with a valid cookie, and a request from our own pages, the request carries an
/// [`Actor`](flukedeploy_domain::access::Actor) extension. A forged one is answered 403. Requests
/// with an `Authorization` header, and those without a session, pass untouched.
pub fn accept_session<S>(
    router: Router,
    px: &Platform,
    sessions: S,
    settings: &DashboardSettings,
) -> Router
where
    S: SessionStore + Clone,
{
    router
        .layer(middleware::from_fn_with_state(px.clone(), session::accept))
        .layer(session::layer(px, sessions, settings))
}

async fn show(
    State(px): State<Platform>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let address = render::address_of(request.uri());
    render::page(&px, visitor, address, Typed::default(), StatusCode::OK).await
}

/// A button has an address but no page: who reloads there is led to the page it stands on.
async fn to_page(uri: Uri) -> Response {
    render::see_other(&paths::page_of(render::address_of(&uri)))
}

async fn wrong_method() -> Response {
    render::plain_page(
        StatusCode::METHOD_NOT_ALLOWED,
        "This address does not take that",
        "It exists, but not for this method. Go back and use the page's own links and buttons.",
    )
}
