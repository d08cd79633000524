//! One request, one answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flukedeploy_platform::ports::{Access, FlukebaseError, OutgoingError};
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::answer::{Answer, retry_after, unreached};
use crate::dial::{Dial, Stream};
use crate::pace::Pace;

/// Until there is a connection, the look-up of the name and the handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// From the look-up to the end of the answer.
const WHOLE: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER_LIMIT_BYTES: usize = 2 * 1024 * 1024;
/// Of the head of an answer.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Below the base address.
const ROOT: &str = "/flukebase_connect";

/// Talks to any `FlukeBase`: each call says to which, and as whom.
pub struct FlukebaseClient {
    pub(crate) dial: Arc<dyn Dial>,
    pace: Pace,
    agent: HeaderValue,
}

impl FlukebaseClient {
    /// `version` is what it calls itself.
    pub fn new(dial: Arc<dyn Dial>, version: &str) -> Self {
        let agent = HeaderValue::try_from(format!("FlukeDeploy/{version}"));
        Self {
            dial,
            pace: Pace::default(),
            agent: agent.unwrap_or(HeaderValue::from_static("FlukeDeploy")),
        }
    }

    /// Asks once its turn has come. `path` is below the root of the API.
    pub(crate) async fn ask(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, FlukebaseError> {
        self.pace.turn().await;
        let exchange = self.exchange(access, method, path, body);
        tokio::time::timeout(WHOLE, exchange)
            .await
            .unwrap_or(Err(OutgoingError::TimedOut(WHOLE)))
            .map_err(|error| unreached(&error))
    }

    pub(crate) async fn connect(&self, access: &Access) -> Result<Box<dyn Stream>, OutgoingError> {
        let url = &access.url;
        let dial = self.dial.dial(url.host(), url.port(), url.is_encrypted());
        tokio::time::timeout(CONNECT, dial)
            .await
            .unwrap_or(Err(OutgoingError::TimedOut(CONNECT)))
    }

    async fn exchange(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, OutgoingError> {
        let mut message = Request::builder()
            .method(method)
            .uri(format!("{}{ROOT}{path}", access.url.path()))
            .header(HOST, access.url.authority())
            .header(CONNECTION, HeaderValue::from_static("close"))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, &self.agent)
            .header(AUTHORIZATION, bearer(access)?);
        if body.is_some() {
            message = message.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        let message = message
            .body(Full::from(Bytes::from(body)))
            .map_err(broken)?;
        let stream = self.connect(access).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(100)
            .max_buf_size(HEAD_LIMIT_BYTES)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Ends with this call, also when that is cut off.
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let (head, body) = sender
            .send_request(message)
            .await
            .map_err(broken)?
            .into_parts();
        let wait = head.headers.get(RETRY_AFTER);
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: wait.and_then(|wait| retry_after(wait.to_str().ok()?)),
            body: read_all(body).await?,
        })
    }
}

/// Never shown, not even by those who print headers.
pub(crate) fn bearer(access: &Access) -> Result<HeaderValue, OutgoingError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", access.token.expose()))
        .map_err(|_| broken("the token cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OutgoingError {
    OutgoingError::Broken(error.into())
}

async fn read_all(mut body: Incoming) -> Result<Bytes, OutgoingError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        read.extend(frame.data_ref().into_iter().flatten());
        if read.len() > ANSWER_LIMIT_BYTES {
            return Err(OutgoingError::TooLong {
                limit_bytes: ANSWER_LIMIT_BYTES,
            });
        }
    }
    Ok(read.into())
}
