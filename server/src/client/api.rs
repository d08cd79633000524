//! One server, and requests to it.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use serde_json::{Map, Value};

use super::config::Server;
use super::exit::Failure;
use crate::cli::Client;
use crate::http_client;

/// Longer than any answer is held back.
pub(crate) const ANSWER_TIME: Duration = Duration::from_mins(2);

/// REST as the token's owner.
pub(crate) struct Api {
    server: Server,
}

impl Api {
    pub(crate) fn of(client: &Client) -> anyhow::Result<Self> {
        Ok(Self::new(Server::of(client)?))
    }

    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }

    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    pub(crate) async fn get(&self, target: &Target) -> anyhow::Result<Value> {
        self.call(Method::GET, target, None, ANSWER_TIME).await
    }

    pub(crate) async fn post(&self, target: &Target, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, target, Some(body), ANSWER_TIME)
            .await
    }

    /// `null` where the answer has no body.
    pub(crate) async fn call(
        &self,
        method: Method,
        target: &Target,
        body: Option<Value>,
        time: Duration,
    ) -> anyhow::Result<Value> {
        let request = self.request(method, target)?;
        let request = match body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from(body.to_string())),
            None => request.body(Full::default()),
        };
        self.send(request?, time).await
    }

    pub(crate) async fn send<B>(&self, request: Request<B>, time: Duration) -> anyhow::Result<Value>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let answer = http_client::send(request, time).await;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        Ok(read(&answer)?)
    }

    /// With the token, which travels in a header alone.
    pub(crate) fn request(
        &self,
        method: Method,
        target: &Target,
    ) -> anyhow::Result<http::request::Builder> {
        let bearer = format!("Bearer {}", self.server.token.expose());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| {
            Failure::usage(
                "the token has characters that no token has",
                "run 'flukedeploy login' with a token as the server shows it",
            )
        })?;
        bearer.set_sensitive(true);
        Ok(Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{}", self.server.url, target.0))
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/json"))
    }

    pub(crate) fn unreachable(&self, error: &anyhow::Error) -> Failure {
        Failure::unreachable(&self.server.url, error)
    }
}

fn read(answer: &Response<Bytes>) -> Result<Value, Failure> {
    if !answer.status().is_success() {
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(Failure::of_answer(
            answer.status(),
            answer.body(),
            retry_after,
        ));
    }
    if answer.body().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer.body())
        .map_err(|_| Failure::unreadable("what answers there does not speak FlukeDeploy's JSON"))
}

/// What stands behind `/api/v1`.
pub(crate) struct Target(String);

impl Target {
    /// Parts may hold anything: each stays one part.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut path = String::new();
        for part in parts {
            path.push('/');
            path.push_str(&encoded(part));
        }
        Self(path)
    }

    /// A parameter, if it has a value.
    pub(crate) fn with<T: ToString>(mut self, name: &str, value: Option<T>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&encoded(&value.to_string()));
        }
        self
    }
}

fn encoded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            safe.push(char::from(byte));
        } else {
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

/// A body without what was not given.
pub(crate) fn body<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    let given: Map<String, Value> = given
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Value::Object(given)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_typed_stays_one_part_of_the_address() {
        let target = Target::of(&["apps", "a/../b?c d"])
            .with("environment", Some("é&x"))
            .with("limit", None::<u32>)
            .with("wait", Some(3));
        assert_eq!(
            target.0,
            "/apps/a%2F..%2Fb%3Fc%20d?environment=%C3%A9%26x&wait=3"
        );
    }

    #[test]
    fn what_was_not_given_is_not_sent() {
        let sent = body([("a", json!(1)), ("b", json!(None::<u32>))]);
        assert_eq!(sent, json!({"a": 1}));
    }
}
