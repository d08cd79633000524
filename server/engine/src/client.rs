//! The connection to the engine: made when first needed, with a deadline on every call.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bytes::Bytes;
use flukedeploy_platform::ports::EngineError;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::{engine_error, timed_out};
use crate::transport::{Address, REGISTRY_AUTH, Transport};

/// What an ordinary call may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// Largest answer read into memory.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Engines older than Docker 20.10 lack what we use.
const OLDEST: (u32, u32) = (1, 41);
/// The newest version of the API whose answers we know.
const NEWEST: (u32, u32) = (1, 53);

/// What the engine said about itself when we met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) version: String,
    pub(crate) api_version: String,
    /// `amd64`, `arm64`: as images say it.
    pub(crate) architecture: String,
    /// Docker's own engine on Linux has had `BuildKit` since 18.09; no other one speaks this API
    /// with it. `Builder-Version` of `/_ping` only says what the engine would rather use.
    pub(crate) has_buildkit: bool,
}

pub(crate) struct Client {
    transport: Transport,
    docker: Docker,
    met: Mutex<Option<Met>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    #[serde(rename = "Version", default)]
    engine: String,
    #[serde(rename = "ApiVersion")]
    newest: String,
    #[serde(rename = "MinAPIVersion", default)]
    oldest: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl Client {
    /// Does no I/O; a bad address shows in the first call.
    pub(crate) fn new(docker: Option<&str>) -> Self {
        let transport = Transport::new(Address::parse(docker));
        let carrier = transport.clone();
        let docker = Docker::connect_with_custom_transport(
            move |request| {
                let carrier = carrier.clone();
                async move { carrier.send(request).await }
            },
            Some("http://localhost"),
            // Deadlines are set call by call, here in `call`.
            u64::from(u32::MAX),
            bollard::API_DEFAULT_VERSION,
        )
        .expect("a custom transport is taken without a look at it");
        Self {
            transport,
            docker,
            met: Mutex::new(None),
        }
    }

    /// For calls that carry no secrets. Wrap what it returns in [`Client::call`].
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(crate) fn is_local(&self) -> bool {
        self.transport.is_local()
    }

    /// Runs one call, after having met the engine, within [`CALL`].
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        self.call_within(CALL, doing, work).await
    }

    pub(crate) async fn call_within<T>(
        &self,
        limit: Duration,
        doing: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        let whole = async {
            self.meet().await?;
            work.await
        };
        match tokio::time::timeout(limit, whole).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let error = engine_error(doing, limit, error);
                if matches!(error, EngineError::Unreachable { .. }) {
                    // The next engine at this address may be another one.
                    *self.met.lock().await = None;
                }
                Err(error)
            }
            Err(_) => Err(timed_out(doing, limit)),
        }
    }

    pub(crate) async fn met(&self) -> Result<Met, EngineError> {
        let doing = "negotiating the API version";
        match tokio::time::timeout(CALL, self.meet()).await {
            Ok(met) => met.map_err(|error| engine_error(doing, CALL, error)),
            Err(_) => Err(timed_out(doing, CALL)),
        }
    }

    /// Negotiates the version, once until the connection fails.
    async fn meet(&self) -> Result<Met, Error> {
        let mut met = self.met.lock().await;
        if let Some(met) = &*met {
            return Ok(met.clone());
        }
        self.transport.speak(None);
        let about: About = read(self.send(Method::GET, "/version", None, None).await?).await?;
        let api_version = negotiate(&about.newest, &about.oldest)
            .map_err(|uri| Error::UnsupportedURISchemeError { uri })?;
        self.transport.speak(Some(&api_version));
        let new = Met {
            version: about.engine,
            api_version,
            architecture: about.arch,
            has_buildkit: about.os == "linux"
                && about.components.iter().any(|part| part.name == "Engine"),
        };
        *met = Some(new.clone());
        Ok(new)
    }

    /// `path` is percent-encoded already, see [`query`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        read(self.send(Method::GET, path, None, None).await?).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        registry_auth: Option<&str>,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body)?;
        read(
            self.send(Method::POST, path, Some(body), registry_auth)
                .await?,
        )
        .await
    }

    /// An answer of unknown length, from its first byte on.
    pub(crate) async fn stream(&self, path: &str) -> Result<Incoming, Error> {
        Ok(self.send(Method::GET, path, None, None).await?.into_body())
    }

    /// Any request, and its answer from the first byte on; also one that changes the protocol.
    pub(crate) async fn open<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let response = self.transport.send(request).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        Err(refused(status, response).await)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        registry_auth: Option<&str>,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(auth) = registry_auth {
            request = request.header(REGISTRY_AUTH, auth);
        }
        self.open(request.body(Full::new(Bytes::from(body.unwrap_or_default())))?)
            .await
    }
}

async fn refused(status: StatusCode, response: Response<Incoming>) -> Error {
    match collect(response).await {
        Ok(body) => {
            let message = match serde_json::from_slice::<Message>(&body) {
                Ok(message) => message.message,
                Err(_) => String::from_utf8_lossy(&body).into_owned(),
            };
            Error::DockerResponseServerError {
                status_code: status.as_u16(),
                message,
            }
        }
        Err(error) => error,
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Error> {
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| std::io::Error::other(error).into())
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Error> {
    let body = collect(response).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// The version both sides speak.
fn negotiate(newest: &str, oldest: &str) -> Result<String, String> {
    let engine = parse_version(newest)
        .ok_or_else(|| format!("it names its API version '{}'", crate::error::cut(newest)))?;
    if engine < OLDEST {
        return Err(format!(
            "it speaks API {newest}, and at least {}.{} (Docker 20.10) is needed",
            OLDEST.0, OLDEST.1
        ));
    }
    if parse_version(oldest).is_some_and(|oldest| oldest > NEWEST) {
        return Err(format!(
            "it speaks API {oldest} and newer only, and this program at most {}.{}",
            NEWEST.0, NEWEST.1
        ));
    }
    let (major, minor) = engine.min(NEWEST);
    Ok(format!("{major}.{minor}"))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `?name=value&…`, encoded.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

/// Percent-encodes everything but what RFC 3986 calls unreserved.
pub(crate) fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_goes_down_to_the_engine_and_never_above_ours() {
        assert_eq!(negotiate("1.41", "1.12").unwrap(), "1.41");
        assert_eq!(negotiate("1.52", "1.44").unwrap(), "1.52");
        assert_eq!(negotiate("1.99", "1.44").unwrap(), "1.53");
        assert!(negotiate("1.40", "1.12").unwrap_err().contains("1.41"));
        assert!(negotiate("1.99", "1.60").is_err());
        assert!(negotiate("new", "").is_err());
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            query(&[("filters", r#"{"a":["b c"]}"#), ("x", "1")]),
            "?filters=%7B%22a%22%3A%5B%22b%20c%22%5D%7D&x=1"
        );
        assert_eq!(query(&[]), "");
    }
}
