//! The small HTTP client of the commands that talk to a control plane: `up`, `doctor`, the MCP bridge
//! and the client's verbs. HTTP/1.1, encrypted where the address says so.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::outgoing::Connection;

/// Largest answer read, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Sends one request over a connection of its own and reads the whole answer.
///
/// # Errors
/// The URL is neither http nor https, nobody answers in `timeout`, or the answer is too large.
pub(crate) async fn send<B>(
    request: Request<B>,
    timeout: Duration,
) -> anyhow::Result<Response<Bytes>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    tokio::time::timeout(timeout, exchange(request))
        .await
        .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
}

/// Sends one request over a connection of its own; the answer's body comes as it is read.
///
/// # Errors
/// The URL is neither http nor https, or nobody answers in `timeout`.
pub(crate) async fn open<B>(
    request: Request<B>,
    timeout: Duration,
) -> anyhow::Result<Response<Incoming>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    tokio::time::timeout(timeout, begin(request))
        .await
        .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
}

async fn exchange<B>(request: Request<B>) -> anyhow::Result<Response<Bytes>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (parts, body) = begin(request).await?.into_parts();
    Ok(Response::from_parts(parts, whole(body).await?))
}

/// Reads an answer to its end.
///
/// # Errors
/// It breaks off, or is too large.
pub(crate) async fn whole(body: Incoming) -> anyhow::Result<Bytes> {
    let read = Limited::new(body, MAX_ANSWER).collect().await;
    let read = read.map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?;
    Ok(read.to_bytes())
}

async fn begin<B>(mut request: Request<B>) -> anyhow::Result<Response<Incoming>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let uri = request.uri().clone();
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => bail!("only http:// and https:// addresses can be used here, not {uri}"),
    };
    let authority = uri.authority().context("the address has no host")?.clone();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("cannot connect to {authority}"))?;
    let stream: Connection = if tls {
        let name = ServerName::try_from(host.to_owned())?;
        let stream = tls_connector()?.connect(name, stream).await;
        Box::new(stream.with_context(|| format!("no encrypted connection to {authority}"))?)
    } else {
        Box::new(stream)
    };
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

/// Trusts the certificates that the machine trusts, or those in `SSL_CERT_FILE`.
fn tls_connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
