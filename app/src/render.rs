//! From a request to a whole page: collected before it is sent, so that status and title count.

use std::pin::Pin;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{Html, IntoResponse, Response};
use flukedeploy_platform::{Error, Kind, Platform};
use futures_util::{Stream, StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode, Uri};
use leptos::prelude::{Owner, RenderHtml, expect_context, provide_context, use_context};
use leptos_axum::ResponseOptions;

use crate::context::{Refresh, Visitor};
use crate::forms::Typed;
use crate::shell::{NO_SCRIPT_REFRESH, shell};

/// Renders the page at `address`. `status` is what to answer if the page has nothing to say.
pub(crate) async fn page(
    px: &Platform,
    visitor: Visitor,
    address: &str,
    typed: Typed,
    status: StatusCode,
) -> Response {
    let mut request = Request::new(Body::empty());
    match address.parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => {
            return plain_page(
                StatusCode::BAD_REQUEST,
                "This address cannot be read",
                "Check the address, or begin at the overview.",
            );
        }
    }
    let px = px.clone();
    let theme = visitor.theme;
    let context = move || {
        // No script takes this page over: nothing has to be marked for it.
        if let Some(shared) = Owner::current_shared_context() {
            shared.set_is_hydrating(false);
        }
        provide_context(px.clone());
        provide_context(visitor.clone());
        provide_context(typed.clone());
        provide_context(Refresh::default());
        expect_context::<ResponseOptions>().set_status(status);
    };
    leptos_axum::handle_response_inner(
        context,
        move || shell(theme),
        request,
        |view, _, _| {
            let refresh = use_context::<Refresh>().unwrap_or_default();
            Box::pin(async move {
                let html = view.to_html_stream_in_order().collect::<String>().await;
                let head = if refresh.is_wanted() {
                    NO_SCRIPT_REFRESH
                } else {
                    ""
                };
                // Its first appearance is the one in the head, before anything foreign.
                let html = html.replacen("<noscript></noscript>", head, 1);
                // Where scripts would take over from the server: none do. What is foreign is escaped.
                let html = html.replace("<!>", "");
                Box::pin(stream::once(async move { html }))
                    as Pin<Box<dyn Stream<Item = String> + Send>>
            })
        },
    )
    .await
}

/// Path and query.
pub(crate) fn address_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |address| address.as_str())
}

pub(crate) fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The log has what the page does not say.
pub(crate) fn note_failure(error: &Error) {
    if error.kind() == Kind::Internal {
        tracing::error!(error = error as &dyn std::error::Error, "page failed");
    }
}

pub(crate) fn see_other(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => (
            StatusCode::SEE_OTHER,
            [(LOCATION, HeaderValue::from_static("/"))],
        )
            .into_response(),
    }
}

/// A page that needs nothing: no session, no store.
pub(crate) fn plain_page(status: StatusCode, title: &str, text: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · FlukeDeploy</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"{css}\"></head><body><main class=\"gate\"><div class=\"gate-box gate-wide\">\
         <h1>{title}</h1><p class=\"gate-lead\">{text}</p>\
         <p><a class=\"link\" href=\"/\">Go to the overview</a></p></div></main></body></html>",
        title = escaped(title),
        text = escaped(text),
        css = crate::assets::url("main.css"),
    );
    (status, [(CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

/// A page that leads elsewhere, for browsers that do not go there by themselves.
pub(crate) fn way_on(address: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Going on · FlukeDeploy</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"{css}\"></head><body><main class=\"gate\"><div class=\"gate-box gate-wide\">\
         <h1>Going on</h1><p class=\"gate-lead\">You sign in there, and come back.</p>\
         <p><a class=\"link\" href=\"{address}\">Go on, if nothing happens</a></p></div></main></body></html>",
        address = escaped(address).replace('"', "&quot;"),
        css = crate::assets::url("main.css"),
    );
    ([(CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

/// An RFC 9457 problem, for callers that are programs.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({
        "type": format!("/problems/{code}"), "title": title, "status": status.as_u16(),
        "detail": detail, "error": code, "message": detail,
    });
    (
        status,
        [(CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}

/// For the places where Leptos writes text as it is: `<title>`, `<textarea>`, and pages without it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
