//! The one place where a failure becomes an HTTP answer (RFC 9457, plus the contract's `error`
//! and `message`) or an object for an agent.

use std::any::Any;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_platform::{Error, Kind};
use serde_json::{Map, Value, json};

/// Seconds after which something that is unavailable is worth another try.
const TRY_AGAIN_SECONDS: u64 = 5;

/// A refusal or failure, ready to be shown. Holds only text that may leave the process.
#[derive(Debug)]
pub struct Problem(Box<Content>);

#[derive(Debug)]
struct Content {
    status: StatusCode,
    title: &'static str,
    code: &'static str,
    detail: String,
    next: Option<String>,
    retryable: bool,
    near: Vec<String>,
    faults: Vec<Invalid>,
    retry_after_seconds: Option<u64>,
    /// The contract wants it beside `error` when a deployment is unknown.
    deployment_id: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        title: &'static str,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Content {
            status,
            title,
            code,
            detail: detail.into(),
            next: None,
            retryable: false,
            near: Vec::new(),
            faults: Vec::new(),
            retry_after_seconds: None,
            deployment_id: None,
        }))
    }

    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.0.next = Some(next.into());
        self
    }

    /// The request itself cannot be read: JSON, query or path.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Bad request",
            "bad_request",
            detail,
        )
    }

    /// Parts of the address that cannot be read, all of them.
    pub(crate) fn bad_parameters(faults: Vec<Invalid>) -> Self {
        let detail = faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let mut problem = Self::bad_request(detail);
        problem.0.faults = faults;
        problem
    }

    pub(crate) fn unauthorized(why: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            "unauthorized",
            why,
        )
        .next("send the header 'Authorization: Bearer <token>' with a token that is valid now")
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "Not found",
            "not_found",
            format!("there is nothing at {}", quoted(path)),
        )
    }

    pub(crate) fn no_such_entry(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "Not found",
            "log_entry_not_found",
            format!("there is no log entry {} among these", quoted(id)),
        )
        .next("widen since, or look for the entry without other filters; old entries are removed")
    }

    pub(crate) fn method_not_allowed(method: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method not allowed",
            "method_not_allowed",
            format!("this address does not take {}", quoted(method)),
        )
        .next("use one of the methods in the header 'Allow'")
    }

    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Body too large",
            "body_too_large",
            format!("the body must have at most {limit_bytes} bytes"),
        )
    }

    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported media type",
            "unsupported_media_type",
            "the body must be JSON",
        )
        .next("send the header 'Content-Type: application/json'")
    }

    pub(crate) fn body_too_slow() -> Self {
        let mut problem = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "Request timeout",
            "request_timeout",
            "the body did not arrive in time",
        );
        problem.0.retryable = true;
        problem
    }

    pub(crate) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Service unavailable",
            code,
            detail,
        );
        problem.0.retryable = true;
        problem.0.retry_after_seconds = Some(TRY_AGAIN_SECONDS);
        problem
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal server error",
            "internal",
            "something failed inside FlukeDeploy; its log has the details",
        )
    }

    /// What a panic becomes; for `CatchPanicLayer::custom`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the layer hands it over by value"
    )]
    pub(crate) fn of_panic(panic: Box<dyn Any + Send>) -> Response {
        let said = panic
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        tracing::error!(panic = %said, "a request handler panicked");
        Self::internal().into_response()
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// A fault of ours, which the caller can do nothing about.
    pub(crate) fn is_ours(&self) -> bool {
        self.0.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// The contract's `error`: the stable code, but for two texts that older clients compare.
    fn contract_error(&self) -> &str {
        if self.is_ours() {
            "Internal server error"
        } else if self.0.deployment_id.is_some() {
            "Deployment not found"
        } else {
            self.0.code
        }
    }

    /// The problem as an agent reads it.
    pub(crate) fn for_agent(&self) -> Value {
        let mut object = Map::new();
        object.insert("code".to_owned(), json!(self.0.code));
        object.insert("message".to_owned(), json!(self.0.detail));
        object.insert("retryable".to_owned(), json!(self.0.retryable));
        object.insert("did_you_mean".to_owned(), json!(self.0.near));
        if let Some(next) = &self.0.next {
            object.insert("next".to_owned(), json!(next));
        }
        self.insert_details(&mut object);
        Value::Object(object)
    }

    fn for_http(&self) -> Value {
        let mut object = Map::new();
        object.insert(
            "type".to_owned(),
            json!(format!("/problems/{}", self.0.code)),
        );
        object.insert("title".to_owned(), json!(self.0.title));
        object.insert("status".to_owned(), json!(self.0.status.as_u16()));
        object.insert("detail".to_owned(), json!(self.0.detail));
        object.insert("error".to_owned(), json!(self.contract_error()));
        object.insert("message".to_owned(), json!(self.0.detail));
        object.insert("code".to_owned(), json!(self.0.code));
        object.insert("retryable".to_owned(), json!(self.0.retryable));
        if let Some(next) = &self.0.next {
            object.insert("next".to_owned(), json!(next));
        }
        if !self.0.near.is_empty() {
            object.insert("did_you_mean".to_owned(), json!(self.0.near));
        }
        self.insert_details(&mut object);
        Value::Object(object)
    }

    fn insert_details(&self, object: &mut Map<String, Value>) {
        if !self.0.faults.is_empty() {
            let fields: Vec<_> = self
                .0
                .faults
                .iter()
                .map(|fault| json!({"field": fault.field, "problem": fault.problem}))
                .collect();
            object.insert("fields".to_owned(), Value::Array(fields));
        }
        if let Some(id) = &self.0.deployment_id {
            object.insert("deployment_id".to_owned(), json!(id));
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, title) = match error.kind() {
            Kind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid request"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Kind::TooMany => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Kind::Conflict => (StatusCode::CONFLICT, "Conflict"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        };
        if status.is_server_error() {
            tracing::error!(error = &error as &dyn std::error::Error, "request failed");
        }
        let retry_after_seconds = match &error {
            Error::TooManyAttempts {
                retry_after_seconds,
            } => Some(*retry_after_seconds),
            _ if error.kind() == Kind::Unavailable => Some(TRY_AGAIN_SECONDS),
            _ => None,
        };
        let deployment_id = match &error {
            Error::DeploymentNotFound { id } => Some(id.clone()),
            _ => None,
        };
        Self(Box::new(Content {
            status,
            title,
            code: error.code(),
            detail: error.public_detail(),
            next: error.next_step(),
            retryable: error.is_retryable(),
            near: error.near().to_vec(),
            faults: error.faults().to_vec(),
            retry_after_seconds,
            deployment_id,
        }))
    }
}

impl From<Invalid> for Problem {
    fn from(fault: Invalid) -> Self {
        Error::from(fault).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.for_http().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: Error) -> (u16, Value) {
        let problem = Problem::from(error);
        (problem.0.status.as_u16(), problem.for_http())
    }

    #[test]
    fn an_unknown_deployment_is_told_in_the_contracts_words() {
        let (status, body) = shown(Error::DeploymentNotFound {
            id: "dep-1-00000000".to_owned(),
        });
        assert_eq!(status, 404);
        assert_eq!(body["error"], "Deployment not found");
        assert_eq!(body["deployment_id"], "dep-1-00000000");
        assert_eq!(body["code"], "deployment_not_found");
    }

    #[test]
    fn a_fault_of_ours_reveals_nothing() {
        let (status, body) = shown(Error::Internal {
            doing: "reading /secret/path",
            source: "password=hunter2".into(),
        });
        assert_eq!(status, 500);
        assert_eq!(body["error"], "Internal server error");
        let text = body.to_string();
        assert!(
            !text.contains("secret") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn all_faults_are_named_and_near_names_suggested() {
        let (status, body) = shown(Error::Invalid(vec![
            Invalid::new("replicas", "must be 1 to 500, not 0"),
            Invalid::new("image", "must be given"),
        ]));
        assert_eq!(status, 422);
        assert_eq!(body["error"], "invalid_request");
        assert_eq!(
            body["fields"],
            json!([
                {"field": "replicas", "problem": "must be 1 to 500, not 0"},
                {"field": "image", "problem": "must be given"}
            ])
        );
        let near = Error::AppNotFound {
            name: "shop-wbe".into(),
            near: vec!["shop-web".into()],
        };
        let agent = Problem::from(near).for_agent();
        assert_eq!(agent["code"], "app_not_found");
        assert_eq!(agent["did_you_mean"], json!(["shop-web"]));
        assert_eq!(agent["retryable"], false);
        assert!(agent["next"].is_string());
    }

    #[test]
    fn headers_say_how_to_go_on() {
        let response = Problem::unauthorized("no token was sent").into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let slow = Problem::from(Error::TooManyAttempts {
            retry_after_seconds: 7,
        })
        .into_response();
        assert_eq!(slow.status(), 429);
        assert_eq!(slow.headers()[RETRY_AFTER], "7");
        let down = Problem::from(Error::ShuttingDown).into_response();
        assert_eq!(down.status(), 503);
        assert!(down.headers().contains_key(RETRY_AFTER));
    }
}
