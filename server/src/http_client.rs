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
    tokio::time::timeout(timeout, begin(request, machine_roots))
        .await
        .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
}

async fn exchange<B>(request: Request<B>) -> anyhow::Result<Response<Bytes>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let (parts, body) = begin(request, machine_roots).await?.into_parts();
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

/// `roots`: who vouches for servers; asked where the address is https.
async fn begin<B>(
    mut request: Request<B>,
    roots: impl FnOnce() -> RootCertStore,
) -> anyhow::Result<Response<Incoming>>
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
        let stream = tls_connector(roots())?.connect(name, stream).await;
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

/// The certificates that the machine trusts, or those in `SSL_CERT_FILE`.
fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn tls_connector(roots: RootCertStore) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// For `localhost`; it signed itself.
    fn certificate() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(include_bytes!("log_receivers/certificate.pem")).unwrap()
    }

    /// Answers whoever trusts the certificate.
    async fn server() -> u16 {
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("log_receivers/key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut asked = vec![0; 4096];
                    let read = stream.read(&mut asked).await.unwrap();
                    let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                    assert!(asked.starts_with("GET /a?b=c HTTP/1.1"), "{asked}");
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell";
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
        port
    }

    fn request(url: String) -> Request<Empty<Bytes>> {
        Request::get(url).body(Empty::new()).unwrap()
    }

    #[tokio::test]
    async fn an_encrypted_server_is_asked_only_if_the_roots_vouch_for_it() {
        let url = format!("https://localhost:{}/a?b=c", server().await);
        let trusting = || {
            let mut roots = RootCertStore::empty();
            roots.add(certificate()).unwrap();
            roots
        };
        let answer = begin(request(url.clone()), trusting).await.unwrap();
        assert_eq!(whole(answer.into_body()).await.unwrap(), "well");
        // Nobody vouches for it, or for another name.
        let unknown = begin(request(url.clone()), RootCertStore::empty).await;
        let told = format!("{:#}", unknown.unwrap_err());
        assert!(told.contains("no encrypted connection"), "{told}");
        let elsewhere = url.replace("localhost", "127.0.0.1");
        assert!(begin(request(elsewhere), trusting).await.is_err());
    }

    #[tokio::test]
    async fn other_schemes_are_refused() {
        let refused = begin(request("ftp://localhost/".to_owned()), RootCertStore::empty).await;
        assert!(refused.unwrap_err().to_string().contains("https://"));
    }
}
