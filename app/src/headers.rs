//! What every answer of the dashboard carries.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

/// Nothing inline, nothing from elsewhere; `connect-src` covers the stream on our own origin.
const POLICY: &str = "default-src 'self'; connect-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'self'; object-src 'none'";

pub(crate) async fn secure(request: Request, next: Next) -> Response {
    let holds_secret = is_link(request.uri().path());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // `no-referrer` would also take the origin away from the form's own post, which is checked.
    let referrer = if holds_secret {
        "strict-origin"
    } else {
        "same-origin"
    };
    headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
    if holds_secret {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry("cross-origin-opener-policy")
        .or_insert(HeaderValue::from_static("same-origin"));
    // Pages hold what only the signed-in may see. Not `no-store`, which would also take typed
    // values away from the back button; pages with a secret set that themselves.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// Pages whose address lets somebody in.
fn is_link(path: &str) -> bool {
    [crate::paths::SET_UP, crate::paths::INVITATIONS]
        .iter()
        .filter_map(|links| path.strip_prefix(links))
        .any(|rest| rest.len() > 1 && rest.starts_with('/'))
}
