//! Reading JSON bodies with a limit, and refusing what is larger in a way the caller gets to see.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::auth::is_json;
use super::fields::Fields;
use super::problem::Problem;

/// Longest body of any request.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How much of a body that is refused is read and thrown away.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Middleware: refuses a body that says it is too large before anything else looks at it.
pub(crate) async fn limit_declared(request: Request, next: Next) -> Response {
    let declared = declared_length(request.headers());
    // Archives have a limit of their own, kept while they come in.
    if is_archive(request.uri().path()) {
        return next.run(request).await;
    }
    if declared.is_none_or(|length| length <= MAX_BODY_BYTES as u64) {
        return next.run(request).await;
    }
    // A client that waits for leave to send reads the answer. Any other is still sending: closing
    // on it would reset the connection, and the answer with it.
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body(), 0).await;
    }
    Problem::body_too_large(MAX_BODY_BYTES).into_response()
}

fn is_archive(path: &str) -> bool {
    path.starts_with("/api/v1/apps/") && (path.ends_with("/source") || path.ends_with("/uploads"))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn discard(mut body: Body, already: usize) {
    let mut seen = already;
    let reading = async {
        while seen < MAX_DISCARDED_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            seen += frame.data_ref().map_or(0, bytes::Bytes::len);
        }
    };
    let _ = tokio::time::timeout(BODY_TIME, reading).await;
}

/// A JSON object, read field by field. No body at all counts as an empty object.
pub(crate) struct JsonBody(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(Fields::new(Map::new())));
        }
        if !is_json {
            return Err(Problem::unsupported_media_type());
        }
        parse(&bytes).map(|object| Self(Fields::new(object)))
    }
}

async fn read(body: Body) -> Result<BytesMut, Problem> {
    if body.is_end_stream() {
        return Ok(BytesMut::new());
    }
    tokio::time::timeout(BODY_TIME, read_limited(body))
        .await
        .unwrap_or_else(|_| Err(Problem::body_too_slow()))
}

async fn read_limited(mut body: Body) -> Result<BytesMut, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Problem::bad_request("the body broke off"));
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_BODY_BYTES {
            let seen = bytes.len() + data.len();
            drop(bytes);
            discard(body, seen).await;
            return Err(Problem::body_too_large(MAX_BODY_BYTES));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::bad_request("the body must be a JSON object")),
        // The position helps; serde's own words may quote the body, and with it a secret.
        Err(error) => Err(Problem::bad_request(format!(
            "the body is not valid JSON (line {}, column {})",
            error.line(),
            error.column()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_without_a_length_is_cut_off_at_the_limit() {
        let chunk = bytes::Bytes::from(vec![b' '; 300 * 1024]);
        let chunks = (0..10).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        let chunks = futures_util::stream::iter(chunks);
        let problem = read(Body::from_stream(chunks)).await.unwrap_err();
        assert_eq!(problem.code(), "body_too_large");
        assert!(read(Body::from(vec![b' '; MAX_BODY_BYTES])).await.is_ok());
    }

    #[test]
    fn only_objects_are_taken_and_values_are_never_quoted() {
        assert!(parse(br#"{"a": 1}"#).is_ok());
        for bad in ["[]", "5", "null"] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().code(), "bad_request");
        }
        let problem = parse(br#"{"password": "hunter2"#).unwrap_err();
        assert!(
            !problem.detail().contains("hunter2"),
            "{}",
            problem.detail()
        );
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).unwrap_err().code(), "bad_request");
    }
}
