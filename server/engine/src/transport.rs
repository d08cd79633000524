//! One HTTP exchange with the engine, over a Unix socket or TCP.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use bollard::errors::Error;
use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
pub(crate) const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl Address {
    /// `None` is the default socket of this machine.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Self::Unix(DEFAULT_SOCKET.into()));
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!(
                    "the engine's address '{text}' must hold an absolute path"
                ))
            };
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let Some(host) = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))
        else {
            return Err(format!(
                "the engine's address must start with unix://, tcp:// or http://, not '{text}'"
            ));
        };
        let host = host.trim_end_matches('/');
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        let host = if has_port {
            host.to_owned()
        } else {
            format!("{host}:2375")
        };
        if host.starts_with(':') || host.contains('/') || host.contains('@') {
            return Err(format!(
                "the engine's address '{text}' must be a host and a port"
            ));
        }
        Ok(Self::Tcp(host))
    }
}

/// Makes one connection an exchange: cheap on a socket of the same machine, and nothing has to be
/// mended after the engine was restarted.
#[derive(Clone)]
pub(crate) struct Transport {
    address: Arc<Result<Address, String>>,
    /// `/v1.41`, once it was negotiated; bollard leaves it out of its paths.
    prefix: Arc<RwLock<Option<String>>>,
}

impl Transport {
    pub(crate) fn new(address: Result<Address, String>) -> Self {
        Self {
            address: Arc::new(address),
            prefix: Arc::default(),
        }
    }

    /// All later requests ask for this version of the API; `None` is the engine's newest.
    pub(crate) fn speak(&self, version: Option<&str>) {
        let mut prefix = self
            .prefix
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *prefix = version.map(|version| format!("/v{version}"));
    }

    /// Whether the engine is on this machine, so that its processes can be looked at.
    pub(crate) fn is_local(&self) -> bool {
        matches!(&*self.address, Ok(Address::Unix(_)))
    }

    pub(crate) async fn send<B>(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let address = match &*self.address {
            Ok(address) => address,
            Err(problem) => {
                return Err(Error::UnsupportedURISchemeError {
                    uri: problem.clone(),
                });
            }
        };
        *request.uri_mut() = self.versioned(request.uri())?;
        url_safe(&mut request);
        let host = match address {
            Address::Unix(_) => "docker",
            Address::Tcp(host) => host,
        };
        let host = HeaderValue::from_str(host).map_err(http::Error::from)?;
        request.headers_mut().insert(HOST, host);
        match address {
            Address::Unix(path) => exchange(UnixStream::connect(path).await?, request).await,
            Address::Tcp(host) => {
                let stream = TcpStream::connect(host.as_str()).await?;
                stream.set_nodelay(true)?;
                exchange(stream, request).await
            }
        }
    }

    fn versioned(&self, uri: &Uri) -> Result<Uri, Error> {
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let prefix = self
            .prefix
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let uri = match &*prefix {
            Some(prefix) => format!("{prefix}{path}").parse(),
            None => path.parse(),
        };
        uri.map_err(|err| Error::InvalidURIError { err })
    }
}

/// The engine reads this header as URL-safe base64, and takes anything else for no credentials at
/// all without a word; bollard writes the standard alphabet.
fn url_safe<B>(request: &mut Request<B>) {
    let Some(value) = request.headers().get(REGISTRY_AUTH) else {
        return;
    };
    let safe: Vec<u8> = value
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    if let Ok(mut value) = HeaderValue::from_bytes(&safe) {
        value.set_sensitive(true);
        request.headers_mut().insert(REGISTRY_AUTH, value);
    }
}

async fn exchange<S, B>(stream: S, request: Request<B>) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its failures reach the caller through the response. Ends when the caller drops that.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender.send_request(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        assert_eq!(Address::parse(None), unix("/var/run/docker.sock"));
        assert_eq!(Address::parse(Some("")), unix("/var/run/docker.sock"));
        assert_eq!(Address::parse(Some("unix:///x/y.sock")), unix("/x/y.sock"));
        assert_eq!(Address::parse(Some("/x/y.sock")), unix("/x/y.sock"));
        let tcp = |host: &str| Ok(Address::Tcp(host.to_owned()));
        assert_eq!(
            Address::parse(Some("tcp://10.0.0.1:2376")),
            tcp("10.0.0.1:2376")
        );
        assert_eq!(Address::parse(Some("http://engine/")), tcp("engine:2375"));
        assert_eq!(Address::parse(Some("tcp://[::1]:2375")), tcp("[::1]:2375"));
        for bad in [
            "ssh://host",
            "https://host",
            "host:2375",
            "unix://relative",
            "tcp://",
            "tcp://a/b",
        ] {
            assert!(Address::parse(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_get_the_negotiated_version() {
        let transport = Transport::new(Address::parse(None));
        let uri: Uri = "http://localhost/services?x=%7B".parse().unwrap();
        assert_eq!(
            transport.versioned(&uri).unwrap().to_string(),
            "/services?x=%7B"
        );
        transport.speak(Some("1.41"));
        assert_eq!(
            transport.versioned(&uri).unwrap().to_string(),
            "/v1.41/services?x=%7B"
        );
        transport.speak(None);
        assert_eq!(
            transport.versioned(&uri).unwrap().to_string(),
            "/services?x=%7B"
        );
    }

    #[test]
    fn credentials_travel_in_the_alphabet_the_engine_reads() {
        let mut request = Request::builder()
            .header(REGISTRY_AUTH, "ab+/cd==")
            .body(())
            .unwrap();
        url_safe(&mut request);
        assert_eq!(request.headers()[REGISTRY_AUTH], "ab-_cd==");
        assert!(request.headers()[REGISTRY_AUTH].is_sensitive());
    }
}
