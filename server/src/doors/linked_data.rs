//! What makes our JSON into linked data: the contexts and the vocabulary, embedded and public.
//!
//! Entries and deployments name their context by a constant address. A processor that cannot or
//! will not reach it (most should not fetch what they do not know) gets the same document here.
//! JSON-LD 1.1: <https://www.w3.org/TR/json-ld11/>.

use axum::Router;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flukedeploy_domain::deployment::DeploymentSummary;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The context of a deployment.
const DEPLOYMENT_CONTEXT: &str = "https://flukebase.me/schemas/deployment";
const DEPLOYMENT_TYPES: [&str; 3] = ["Deployment", "Activity", "Action"];
const MEDIA_TYPE: &str = "application/ld+json";
/// A day: short enough to take up what a newer version adds.
const CACHED: &str = "public, max-age=86400";

const LOG_ENTRY: &str = include_str!("linked_data/unified-log.jsonld");
const DEPLOYMENT: &str = include_str!("linked_data/deployment.jsonld");
const VOCABULARY: &str = include_str!("linked_data/vocabulary.jsonld");

/// `/schemas/…` and `/ns/deploy`: for everybody, without a token.
pub fn linked_data_router() -> Router {
    let document = |text: &'static str| get(async move |headers: HeaderMap| answer(text, &headers));
    Router::new()
        .route("/schemas/unified-log", document(LOG_ENTRY))
        .route("/schemas/unified-log.jsonld", document(LOG_ENTRY))
        .route("/schemas/unified-log/1.jsonld", document(LOG_ENTRY))
        .route("/schemas/deployment", document(DEPLOYMENT))
        .route("/schemas/deployment.jsonld", document(DEPLOYMENT))
        .route("/schemas/deployment/1.jsonld", document(DEPLOYMENT))
        .route("/ns/deploy", document(VOCABULARY))
}

fn answer(text: &'static str, headers: &HeaderMap) -> Response {
    let digest = Sha256::digest(text);
    let first = u64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]));
    let etag = format!("\"{first:016x}\"");
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*");
    let kept = [
        (ETAG, etag),
        (CACHE_CONTROL, CACHED.to_owned()),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned()),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, MEDIA_TYPE)], text).into_response()
}

#[derive(Serialize)]
struct LinkedDeployment {
    #[serde(rename = "@context")]
    context: &'static str,
    #[serde(rename = "@type")]
    types: [&'static str; 3],
    #[serde(flatten)]
    deployment: DeploymentSummary,
}

/// A deployment as plain JSON that points to its context, or as JSON-LD for those who ask for it.
pub(super) fn deployment(headers: &HeaderMap, deployment: DeploymentSummary) -> Response {
    if !wants_linked_data(headers) {
        let link = format!(
            "<{DEPLOYMENT_CONTEXT}>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"{MEDIA_TYPE}\""
        );
        let told = [
            (HeaderName::from_static("link"), link),
            (VARY, "accept".to_owned()),
        ];
        return (told, axum::Json(deployment)).into_response();
    }
    let linked = LinkedDeployment {
        context: DEPLOYMENT_CONTEXT,
        types: DEPLOYMENT_TYPES,
        deployment,
    };
    let mut response = axum::Json(linked).into_response();
    let told = response.headers_mut();
    told.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    told.insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Named in `Accept` by its own name: `*/*` gets plain JSON.
fn wants_linked_data(headers: &HeaderMap) -> bool {
    headers
        .get_all("accept")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| {
            let name = part.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(MEDIA_TYPE)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_term_of_ours_is_in_the_vocabulary() {
        let vocabulary: Value = serde_json::from_str(VOCABULARY).unwrap();
        let known: Vec<&str> = vocabulary["@graph"]
            .as_array()
            .unwrap()
            .iter()
            .map(|term| term["@id"].as_str().unwrap())
            .collect();
        for context in [LOG_ENTRY, DEPLOYMENT] {
            let context: Value = serde_json::from_str(context).unwrap();
            let mut used = Vec::new();
            terms(&context["@context"], &mut used);
            assert!(used.len() > 10);
            for term in used {
                assert!(known.contains(&term.as_str()), "{term} is not described");
            }
        }
    }

    /// Our own properties and classes (not the prefixes of words).
    fn terms(value: &Value, found: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::String(text) if text.starts_with("fd:") && !name.starts_with("@v") => {
                    found.push(text.clone());
                }
                Value::Object(_) => terms(value, found),
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_known_already_is_not_sent_again() {
        let first = answer(LOG_ENTRY, &HeaderMap::new());
        assert_eq!(first.headers()[CONTENT_TYPE], MEDIA_TYPE);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let second = answer(LOG_ENTRY, &headers);
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(DEPLOYMENT, &headers).status(), StatusCode::OK);
    }
}
