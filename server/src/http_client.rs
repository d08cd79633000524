//! The small HTTP client of `up`, `doctor` and the MCP bridge: plain HTTP to a control plane.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer read, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Sends one request over a connection of its own and reads the whole answer.
///
/// # Errors
/// The URL is not plain HTTP, nobody answers in `timeout`, or the answer is too large.
pub(crate) async fn send(
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> anyhow::Result<Response<Bytes>> {
    tokio::time::timeout(timeout, exchange(request))
        .await
        .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
}

/// Sends one request over a connection of its own; the answer's body comes as it is read.
///
/// # Errors
/// The URL is not plain HTTP, or nobody answers in `timeout`.
pub(crate) async fn open(
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> anyhow::Result<Response<Incoming>> {
    tokio::time::timeout(timeout, begin(request))
        .await
        .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
}

async fn exchange(request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
    let (parts, body) = begin(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?
        .to_bytes();
    Ok(Response::from_parts(parts, body))
}

async fn begin(mut request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
    let uri = request.uri().clone();
    if uri.scheme_str() != Some("http") {
        bail!("only http:// addresses can be used here, not {uri}");
    }
    let authority = uri.authority().context("the address has no host")?.clone();
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("cannot connect to {authority}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself once the answer is read or dropped.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path)?;
    if !request.headers().contains_key(http::header::HOST) {
        request
            .headers_mut()
            .insert(http::header::HOST, authority.as_str().parse()?);
    }
    Ok(sender.send_request(request).await?)
}
