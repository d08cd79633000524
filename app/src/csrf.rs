//! Whether a request that changes something was sent by our own pages.
//!
//! `SameSite` does not protect us: hosted apps live on sibling host names, which are the same
//! site. So only the same origin may.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, HOST, ORIGIN, UPGRADE};
use http::{HeaderMap, Method, StatusCode};

use crate::render::problem;

/// For pages: every unsafe request is checked, sign-in and set-up included, so that nobody can be
/// signed in to somebody else's account from a foreign page.
pub(crate) async fn check_page(request: Request, next: Next) -> Response {
    if changes_something(request.method(), request.headers()) && !same_origin(request.headers()) {
        return crate::render::plain_page(
            StatusCode::FORBIDDEN,
            "This came from another site",
            "FlukeDeploy only takes forms from its own pages, and your browser says that this one \
             was sent by another. Nothing was done. Open the page here and send it again.",
        );
    }
    next.run(request).await
}

/// For the API: only requests that rely on the session cookie can be forged by a foreign page. A
/// bearer token cannot be sent by one.
pub(crate) fn refuse_forged(headers: &HeaderMap, method: &Method) -> Option<Response> {
    (!headers.contains_key(AUTHORIZATION)
        && changes_something(method, headers)
        && !same_origin(headers))
    .then(|| {
        problem(
            StatusCode::FORBIDDEN,
            "cross_site_request",
            "a request with a session cookie must come from the dashboard's own pages",
        )
    })
}

fn changes_something(method: &Method, headers: &HeaderMap) -> bool {
    // A WebSocket handshake is a GET that CORS does not cover.
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    ) || headers.contains_key(UPGRADE)
}

/// `Sec-Fetch-Site` where the browser sends it, else `Origin` against `Host`. Browsers send it
/// only to trustworthy origins (HTTPS, localhost), so plain HTTP needs the second way.
fn same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    match (origin.and_then(|origin| origin.split_once("://")), host) {
        (Some((_, origin_host)), Some(host)) => origin_host.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_our_own_origin_may_change_things() {
        for (pairs, allowed) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "http://a:3000"),
                    ("host", "a:3000"),
                ],
                false,
            ),
            (&[("origin", "http://a:3000"), ("host", "a:3000")], true),
            (
                &[("origin", "http://evil.a:3000"), ("host", "a:3000")],
                false,
            ),
            (&[("origin", "http://a"), ("host", "a:3000")], false),
            (&[("origin", "null"), ("host", "a:3000")], false),
            (&[("host", "a:3000")], false),
        ] {
            assert_eq!(same_origin(&headers(pairs)), allowed, "{pairs:?}");
        }
    }

    #[test]
    fn a_socket_is_checked_and_a_bearer_is_not() {
        let foreign = [("sec-fetch-site", "cross-site"), ("upgrade", "websocket")];
        assert!(refuse_forged(&headers(&foreign), &Method::GET).is_some());
        assert!(refuse_forged(&headers(&foreign[..1]), &Method::GET).is_none());
        assert!(refuse_forged(&headers(&foreign[..1]), &Method::DELETE).is_some());
        let bearer = [
            ("sec-fetch-site", "cross-site"),
            ("authorization", "Bearer x"),
        ];
        assert!(refuse_forged(&headers(&bearer), &Method::POST).is_none());
    }
}
