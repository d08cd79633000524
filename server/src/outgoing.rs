//! Requests to addresses that people typed: webhooks, receivers of logs, `FlukeBase`. Every address a name leads to is checked
//! before any is connected to, and the connection goes to what was checked, so that a name that
//! changes its mind in between gains nothing. Proxies of the environment are not used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flukedeploy_domain::addresses::{AllowedAddresses, is_odd_address};
use flukedeploy_domain::webhook::WebhookUrl;
use flukedeploy_flukebase::Dial;
use flukedeploy_platform::ports::{
    Answer, IdentityProvider, Outgoing, OutgoingError, OutgoingRequest, ProviderAnswer,
    ProviderRequest,
};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Until there is a connection, the look-up of the name and the handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// From the look-up to the end of the answer.
const WHOLE: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;
/// The same of a sign-in provider: large ones publish many keys.
const PROVIDER_LIMIT_BYTES: usize = 256 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// The port [`Outgoing`] over the network.
pub(crate) struct Network {
    allowed: AllowedAddresses,
    tls: TlsConnector,
}

impl Network {
    /// Trusts the certificates that the machine trusts.
    ///
    /// # Errors
    /// The TLS library refuses its own defaults: a fault of the build.
    pub(crate) fn new(allowed: AllowedAddresses) -> Result<Self, rustls::Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            tracing::warn!(
                "this machine trusts no certificates: webhooks and log forwarders with TLS will fail"
            );
        }
        Self::with_roots(allowed, roots)
    }

    pub(crate) fn with_roots(
        allowed: AllowedAddresses,
        roots: RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            allowed,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    /// Where a host may be connected to.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, OutgoingError> {
        if is_odd_address(host) {
            return Err(OutgoingError::Refused);
        }
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port))
                .await
                .map_err(OutgoingError::UnknownHost)?
                .collect(),
        };
        self.checked(host, found)
    }

    /// All of them, or none: a name that leads inside as well as outside is not to be trusted.
    fn checked(
        &self,
        host: &str,
        mut found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, OutgoingError> {
        if found.is_empty() {
            let nothing = io::Error::new(io::ErrorKind::NotFound, "no address");
            return Err(OutgoingError::UnknownHost(nothing));
        }
        let all = found
            .iter()
            .all(|address| self.allowed.may_reach(host, address.ip()));
        if !all {
            return Err(OutgoingError::Refused);
        }
        found.truncate(ADDRESSES);
        Ok(found)
    }

    /// Connects to a checked address, encrypted if asked to.
    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Result<Connection, OutgoingError> {
        let addresses = self.resolve(host, port).await?;
        let stream = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(OutgoingError::NotConnected)?;
        if !tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| OutgoingError::NotEncrypted(io::Error::other(error)))?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(OutgoingError::NotEncrypted)?;
        Ok(Box::new(stream))
    }

    /// Sends one `POST` on a connection of its own and reads the answer, as far as the limit.
    pub(crate) async fn exchange(&self, post: Post<'_>) -> Result<Response<Bytes>, OutgoingError> {
        let target = Target::of(post.url.as_str())?;
        let message = target.message(post)?;
        self.carry(&target, message, ANSWER_LIMIT_BYTES).await
    }

    async fn carry(
        &self,
        target: &Target,
        message: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Response<Bytes>, OutgoingError> {
        let connect = self.connect(&target.host, target.port, target.tls);
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| OutgoingError::TimedOut(CONNECT))??;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(100)
            .max_buf_size(ANSWER_LIMIT_BYTES)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Ends with this call, also when that is cut off.
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(message).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        Ok(Response::from_parts(head, read_all(body, limit).await?))
    }
}

#[async_trait]
impl Outgoing for Network {
    async fn post(&self, request: &OutgoingRequest) -> Result<Answer, OutgoingError> {
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let post = Post {
            url: &request.url,
            content_type: "application/json",
            headers: &headers,
            body: request.body.clone(),
        };
        let answer = tokio::time::timeout(WHOLE, self.exchange(post))
            .await
            .unwrap_or(Err(OutgoingError::TimedOut(WHOLE)))?;
        let status = answer.status().as_u16();
        Ok(Answer { status })
    }
}

#[async_trait]
impl IdentityProvider for Network {
    async fn send(&self, request: &ProviderRequest) -> Result<ProviderAnswer, OutgoingError> {
        let target = Target::of(&request.url)?;
        let message = target.question(request)?;
        let answer =
            tokio::time::timeout(WHOLE, self.carry(&target, message, PROVIDER_LIMIT_BYTES))
                .await
                .unwrap_or(Err(OutgoingError::TimedOut(WHOLE)))?;
        Ok(ProviderAnswer {
            status: answer.status().as_u16(),
            body: answer.into_body(),
        })
    }
}

/// `FlukeBase` is where somebody said, too.
#[async_trait]
impl Dial for Network {
    async fn dial(
        &self,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn flukedeploy_flukebase::Stream>, OutgoingError> {
        let connection = self.connect(host, port, tls).await?;
        Ok(Box::new(connection))
    }
}

/// A request as it is sent.
#[derive(Clone)]
pub(crate) struct Post<'a> {
    pub(crate) url: &'a WebhookUrl,
    pub(crate) content_type: &'static str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Bytes,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
pub(crate) type Connection = Box<dyn Stream>;

/// The parts of an address.
struct Target {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    fn of(url: &str) -> Result<Self, OutgoingError> {
        let uri: Uri = url.parse().map_err(broken)?;
        let tls = uri.scheme_str() == Some("https");
        let authority = uri
            .authority()
            .ok_or_else(|| broken("the address has no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }

    fn question(&self, request: &ProviderRequest) -> Result<Request<Full<Bytes>>, OutgoingError> {
        let method = if request.form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut message = Request::builder()
            .method(method)
            .uri(self.path.as_str())
            .header(HOST, self.authority.as_str())
            .header(CONNECTION, HeaderValue::from_static("close"))
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &request.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).map_err(broken)?;
            value.set_sensitive(true);
            message = message.header(AUTHORIZATION, value);
        }
        let mut body = Bytes::new();
        if let Some(form) = &request.form {
            body = Bytes::copy_from_slice(form.expose().as_bytes());
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            message = message.header(CONTENT_TYPE, kind);
        }
        message.body(Full::new(body)).map_err(broken)
    }

    fn message(&self, post: Post<'_>) -> Result<Request<Full<Bytes>>, OutgoingError> {
        let mut message = Request::post(self.path.as_str())
            .header(HOST, self.authority.as_str())
            .header(CONNECTION, HeaderValue::from_static("close"))
            .header(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
        for (name, value) in post.headers {
            message = message.header(*name, *value);
        }
        message.body(Full::new(post.body)).map_err(broken)
    }
}

pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OutgoingError {
    OutgoingError::Broken(error.into())
}

/// Reads an answer to its end, so that the sender sees that it was heard.
async fn read_all(mut body: Incoming, limit: usize) -> Result<Bytes, OutgoingError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        read.extend(frame.data_ref().into_iter().flatten());
        if read.len() > limit {
            return Err(OutgoingError::TooLong { limit_bytes: limit });
        }
    }
    Ok(read.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn network(allowed: &[&str]) -> Network {
        let allowed = AllowedAddresses::parse(allowed).unwrap();
        Network::with_roots(allowed, RootCertStore::empty()).unwrap()
    }

    fn request(url: &str) -> OutgoingRequest {
        OutgoingRequest {
            url: url.parse().unwrap(),
            headers: vec![("X-FlukeDeploy-Event", "webhook.test".to_owned())],
            body: Bytes::from_static(b"{}"),
        }
    }

    /// Answers every connection with this, and tells what was asked.
    async fn receiver(answer: &'static [u8]) -> (u16, tokio::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, questions) = tokio::sync::mpsc::channel(10);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut seen = vec![0; 4096];
                let count = stream.read(&mut seen).await.unwrap();
                let question = String::from_utf8_lossy(&seen[..count]).into_owned();
                asked.send(question).await.unwrap();
                // Who has read enough hangs up.
                let _ = stream.write_all(answer).await;
            }
        });
        (port, questions)
    }

    #[tokio::test]
    async fn a_post_arrives_with_its_headers() {
        let (port, mut questions) =
            receiver(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        let url = format!("http://127.0.0.1:{port}/in?a=b");
        let answer = network(&["127.0.0.1"]).post(&request(&url)).await.unwrap();
        assert_eq!(answer.status, 204);
        let question = questions.recv().await.unwrap();
        assert!(
            question.starts_with("POST /in?a=b HTTP/1.1\r\n"),
            "{question}"
        );
        let question = question.to_ascii_lowercase();
        for line in [
            &format!("host: 127.0.0.1:{port}"),
            "content-type: application/json",
            "content-length: 2",
            "x-flukedeploy-event: webhook.test",
        ] {
            assert!(
                question.contains(&format!("{line}\r\n")),
                "{line}: {question}"
            );
        }
        assert!(question.ends_with("\r\n\r\n{}"), "{question}");
    }

    #[tokio::test]
    async fn nothing_is_sent_to_addresses_inside() {
        let (port, mut questions) = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "169.254.169.254",
            "10.0.0.1",
            "0.0.0.0",
        ] {
            let refused = network(&[])
                .post(&request(&format!("http://{host}:{port}/")))
                .await;
            assert!(
                matches!(refused, Err(OutgoingError::Refused)),
                "{host}: {refused:?}"
            );
        }
        assert!(questions.try_recv().is_err());
    }

    #[tokio::test]
    async fn flukebase_is_reached_under_the_same_rules() {
        let (port, mut questions) = receiver(b"HTTP/1.1 200 OK\r\n\r\n").await;
        for host in ["127.0.0.1", "localhost", "169.254.169.254", "2130706433"] {
            let refused = network(&[]).dial(host, port, false).await;
            assert!(matches!(refused, Err(OutgoingError::Refused)), "{host}");
        }
        assert!(
            network(&["127.0.0.1"])
                .dial("127.0.0.1", port, false)
                .await
                .is_ok()
        );
        assert!(questions.try_recv().is_err());
    }

    #[test]
    fn one_address_inside_is_enough_to_refuse_a_name() {
        let network = network(&[]);
        let addresses = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
        let mixed = addresses(&["93.184.216.34:443", "10.0.0.7:443"]);
        assert!(matches!(
            network.checked("rebind.example", mixed),
            Err(OutgoingError::Refused)
        ));
        let outside = addresses(&["93.184.216.34:443", "[2606:2800:220:1::1]:443"]);
        assert_eq!(network.checked("x.example", outside).unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_a_way() {
        let (inside, mut questions) = receiver(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{inside}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (port, _asked) = receiver(answer.leak().as_bytes()).await;
        let url = format!("http://127.0.0.1:{port}/");
        let answer = network(&["127.0.0.1"]).post(&request(&url)).await.unwrap();
        assert_eq!(answer.status, 302);
        assert!(questions.try_recv().is_err());
    }

    #[tokio::test]
    async fn answers_without_end_and_nonsense_are_failures() {
        let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec();
        endless.resize(100_100, b'x');
        let (port, _asked) = receiver(endless.leak()).await;
        let url = format!("http://127.0.0.1:{port}/");
        let refused = network(&["127.0.0.1"]).post(&request(&url)).await;
        assert!(
            matches!(refused, Err(OutgoingError::TooLong { .. })),
            "{refused:?}"
        );

        let (port, _asked) = receiver(b"SSH-2.0-nonsense\r\n").await;
        let url = format!("http://127.0.0.1:{port}/");
        let refused = network(&["127.0.0.1"]).post(&request(&url)).await;
        assert!(
            matches!(refused, Err(OutgoingError::Broken(_))),
            "{refused:?}"
        );

        let (port, _asked) = receiver(b"no TLS here").await;
        let url = format!("https://127.0.0.1:{port}/");
        let refused = network(&["127.0.0.1"]).post(&request(&url)).await;
        assert!(
            matches!(refused, Err(OutgoingError::NotEncrypted(_))),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/");
        let begun = tokio::time::Instant::now();
        let slow = network(&["127.0.0.1"]);
        let slow = slow.post(&request(&url)).await;
        assert!(
            matches!(slow, Err(OutgoingError::TimedOut(WHOLE))),
            "{slow:?}"
        );
        assert!(begun.elapsed() >= WHOLE);
        drop(listener);
        let away = network(&["127.0.0.1"]).post(&request(&url)).await;
        assert!(
            matches!(away, Err(OutgoingError::NotConnected(_))),
            "{away:?}"
        );
    }
}
