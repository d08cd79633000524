//! Whether a request was meant for us, by the name it came to.
//!
//! A foreign page can let its own name point to this machine (DNS rebinding) and then counts for the
//! browser as the same origin as we do. So the dashboard answers, and a session counts, only under
//! names that are ours: the one of the public address, this machine's own, and plain addresses,
//! which nobody can rebind.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use flukedeploy_platform::Platform;
use http::header::HOST;
use http::{StatusCode, Uri};

/// For pages and forms.
pub(crate) async fn check(State(px): State<Platform>, request: Request, next: Next) -> Response {
    if is_ours(&px, &request) {
        return next.run(request).await;
    }
    crate::render::plain_page(
        StatusCode::MISDIRECTED_REQUEST,
        "FlukeDeploy is not reached under this name",
        &format!(
            "Open {} instead. If people are to come under another name, set it as the public address \
             (FLUKEDEPLOY_PUBLIC_URL) and start FlukeDeploy again.",
            px.config().public_url
        ),
    )
}

/// Whether the host that the request names is one of ours. Browsers always name one.
pub(crate) fn is_ours(px: &Platform, request: &Request) -> bool {
    let named = request.headers().get(HOST).map(|host| host.to_str());
    let named = match (named, request.uri().authority()) {
        (Some(Ok(host)), _) => host,
        (Some(Err(_)), _) => return false,
        (None, Some(authority)) => authority.as_str(),
        (None, None) => return true,
    };
    let Ok(named) = named.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = named.host();
    if is_this_machine(name) {
        return true;
    }
    let public = px.config().public_url.parse::<Uri>();
    public.is_ok_and(|public| {
        let host = public.host();
        host.is_some_and(|host| host.eq_ignore_ascii_case(name))
    })
}

fn is_this_machine(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}
