//! Reading from a registry ourselves: what the engine has no call for.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use bytes::Bytes;
use flukedeploy_domain::image::ImageRef;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{encode, query};

/// For one exchange, its body included.
const EXCHANGE: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: usize = 3;
const MAX_TOKEN: usize = 64 * 1024;
/// Certificates that Docker trusts for one registry.
const DOCKER_CERTIFICATES: &str = "/etc/docker/certs.d";

/// One repository. No `Debug`, on purpose.
pub(crate) struct Repository {
    /// As images name it; certificates are filed under it.
    host: String,
    /// `https://host:port`
    base: String,
    name: String,
    credentials: Option<DockerCredentials>,
    authorization: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Repository {
    pub(crate) fn of(image: &ImageRef, credentials: Option<DockerCredentials>) -> Self {
        let host = image.registry().unwrap_or("docker.io");
        let repository = image.repository();
        let path = match image.registry() {
            Some(host) => repository[host.len()..].trim_start_matches('/'),
            None => repository,
        };
        let at_hub = matches!(host, "docker.io" | "index.docker.io");
        let (host, name) = if at_hub && !path.contains('/') {
            ("registry-1.docker.io", format!("library/{path}"))
        } else if at_hub {
            ("registry-1.docker.io", path.to_owned())
        } else {
            (host, path.to_owned())
        };
        // As Docker does: a registry on this very machine needs no TLS.
        let scheme = if is_loopback(host) { "http" } else { "https" };
        Self {
            host: host.to_owned(),
            base: format!("{scheme}://{host}"),
            name,
            credentials,
            authorization: None,
        }
    }

    /// `None` where the registry has no such thing.
    pub(crate) async fn manifest(
        &mut self,
        tag: &str,
        kinds: &'static str,
        limit: usize,
    ) -> Result<Option<Bytes>, String> {
        let path = format!("/v2/{}/manifests/{}", self.name, encode(tag));
        self.get(&path, kinds, limit).await
    }

    pub(crate) async fn blob(
        &mut self,
        digest: &str,
        limit: usize,
    ) -> Result<Option<Bytes>, String> {
        let path = format!("/v2/{}/blobs/{}", self.name, encode(digest));
        self.get(&path, "*/*", limit).await
    }

    async fn get(
        &mut self,
        path: &str,
        kinds: &'static str,
        limit: usize,
    ) -> Result<Option<Bytes>, String> {
        let start: Uri = parse(&format!("{}{path}", self.base))?;
        let mut tried = false;
        let (mut uri, mut redirects) = (start.clone(), 0);
        loop {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(kinds));
            // What a registry leads us to must not learn what the registry may.
            if uri.authority() == start.authority()
                && let Some(known) = &self.authorization
            {
                headers.insert(AUTHORIZATION, known.clone());
            }
            let (response, body) = self.exchange(&uri, headers, None, limit).await?;
            match response.status {
                StatusCode::OK => return Ok(Some(body)),
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::UNAUTHORIZED if !tried && uri == start => {
                    tried = true;
                    self.log_in(&response.headers).await?;
                }
                status if status.is_redirection() && redirects < MAX_REDIRECTS => {
                    redirects += 1;
                    uri = redirected(&uri, &response.headers)?;
                    self.check(&uri)?;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err("the registry refuses access".to_owned());
                }
                status => return Err(format!("the registry answers with status {status}")),
            }
        }
    }

    /// As the registry's challenge wants it: with the password, or with a token got for it.
    async fn log_in(&mut self, headers: &HeaderMap) -> Result<(), String> {
        let basic = self.credentials.as_ref().and_then(basic);
        let challenges = headers.get_all(WWW_AUTHENTICATE);
        for challenge in challenges.iter().filter_map(|value| value.to_str().ok()) {
            let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
            if scheme.eq_ignore_ascii_case("basic")
                && let Some(basic) = basic.clone()
            {
                self.authorization = Some(basic);
                return Ok(());
            }
            if scheme.eq_ignore_ascii_case("bearer") {
                let token = self.token(rest, basic).await?;
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| "the registry's token is no token".to_owned())?;
                value.set_sensitive(true);
                self.authorization = Some(value);
                return Ok(());
            }
        }
        Err("the registry refuses access".to_owned())
    }

    async fn token(&self, challenge: &str, basic: Option<HeaderValue>) -> Result<String, String> {
        let realm =
            parameter(challenge, "realm").ok_or("the registry does not say who gives tokens")?;
        let service = parameter(challenge, "service").unwrap_or_default();
        // To read, and nothing else, whatever the challenge says.
        let scope = format!("repository:{}:pull", self.name);
        let pairs = [("service", service.as_str()), ("scope", scope.as_str())];
        let refresh = self
            .credentials
            .as_ref()
            .and_then(|known| known.identitytoken.as_deref());
        let mut headers = HeaderMap::new();
        let (address, form) = if let Some(refresh) = refresh {
            let mut all = pairs.to_vec();
            all.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "flukedeploy"),
                ("refresh_token", refresh),
            ]);
            let form = query(&all)[1..].to_owned();
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, kind);
            (realm, Some(form))
        } else {
            if let Some(basic) = basic {
                headers.insert(AUTHORIZATION, basic);
            }
            let pairs = query(&pairs);
            let pairs = if realm.contains('?') {
                pairs.replacen('?', "&", 1)
            } else {
                pairs
            };
            (realm + &pairs, None)
        };
        let uri = parse(&address)?;
        self.check(&uri)?;
        let (response, body) = self.exchange(&uri, headers, form, MAX_TOKEN).await?;
        if response.status != StatusCode::OK {
            return Err("the registry refuses access".to_owned());
        }
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| "the registry's token is no token".to_owned())?;
        let found = [token.token, token.access_token];
        found
            .into_iter()
            .find(|it| !it.is_empty())
            .ok_or_else(|| "the registry gives no token".to_owned())
    }

    /// Nothing leaves TLS, but between programs of this machine.
    fn check(&self, uri: &Uri) -> Result<(), String> {
        let is_here = |uri: &Uri| uri.authority().is_some_and(|it| is_loopback(it.as_str()));
        let plain = uri.scheme_str() == Some("http") && is_here(uri) && is_loopback(&self.host);
        if uri.scheme_str() == Some("https") || plain {
            Ok(())
        } else {
            Err("the registry leads to an address without TLS".to_owned())
        }
    }

    async fn exchange(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        form: Option<String>,
        limit: usize,
    ) -> Result<(Head, Bytes), String> {
        let host = uri.host().unwrap_or_default();
        let whole = async {
            let is_plain = uri.scheme_str() == Some("http");
            let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
                .await
                .map_err(|error| format!("{host} cannot be reached: {error}"))?;
            let request = request(uri, headers, form)?;
            let response = if is_plain {
                send(stream, request).await?
            } else {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| format!("'{host}' is no host name"))?;
                let connector = TlsConnector::from(Arc::new(self.tls(host).await?));
                let stream = connector.connect(name, stream).await;
                let stream = stream.map_err(|error| format!("no TLS with {host}: {error}"))?;
                send(stream, request).await?
            };
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|error| format!("{host} answers badly: {error}"))?;
            let head = Head {
                status: parts.status,
                headers: parts.headers,
            };
            Ok((head, body.to_bytes()))
        };
        tokio::time::timeout(EXCHANGE, whole)
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "{host} did not answer within {} s",
                    EXCHANGE.as_secs()
                ))
            })
    }

    /// With the provider named: nothing depends on which one a program made its default.
    async fn tls(&self, host: &str) -> Result<ClientConfig, String> {
        let own = (self.base.strip_prefix("https://") == Some(&self.host)
            && self.host.split(':').next() == Some(host))
        .then(|| format!("{DOCKER_CERTIFICATES}/{}", self.host));
        let roots = tokio::task::spawn_blocking(move || roots(own.as_deref()));
        let roots = roots.await.map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

struct Head {
    status: StatusCode,
    headers: HeaderMap,
}

/// The system's, and those that Docker has for this registry.
fn roots(own: Option<&str>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let files = own.into_iter().flat_map(std::fs::read_dir).flatten();
    for file in files.flatten() {
        let path = file.path();
        if path.extension().is_some_and(|ending| ending == "crt") {
            let found = CertificateDer::pem_file_iter(path).into_iter().flatten();
            roots.add_parsable_certificates(found.flatten());
        }
    }
    roots
}

fn request(
    uri: &Uri,
    headers: HeaderMap,
    form: Option<String>,
) -> Result<Request<Full<Bytes>>, String> {
    let target = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let method = if form.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, authority)
        .header(USER_AGENT, "flukedeploy")
        .body(Full::new(Bytes::from(form.unwrap_or_default())))
        .map_err(|error| error.to_string())?;
    request.headers_mut().extend(headers);
    Ok(request)
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // Its failures reach the caller through the response.
        let _ = connection.await;
    });
    sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())
}

fn parse(address: &str) -> Result<Uri, String> {
    let uri: Uri = address
        .parse()
        .map_err(|_| "the registry leads to no address".to_owned())?;
    let is_plain_authority = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    if is_plain_authority && uri.scheme().is_some() {
        Ok(uri)
    } else {
        Err("the registry leads to no address".to_owned())
    }
}

fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let location = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or("the registry leads nowhere")?;
    if location.starts_with('/') && !location.starts_with("//") {
        let (scheme, authority) = (from.scheme_str(), from.authority());
        let (Some(scheme), Some(authority)) = (scheme, authority) else {
            return Err("the registry leads nowhere".to_owned());
        };
        return parse(&format!("{scheme}://{authority}{location}"));
    }
    parse(location)
}

/// Whether `host[:port]` is this very machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn basic(known: &DockerCredentials) -> Option<HeaderValue> {
    let (name, password) = (known.username.as_deref()?, known.password.as_deref()?);
    let encoded = STANDARD.encode(format!("{name}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `realm="https://…",service="…"`
fn parameter(challenge: &str, wanted: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(image: &str) -> Repository {
        Repository::of(&image.parse().unwrap(), None)
    }

    #[test]
    fn images_lead_to_their_registries() {
        for (image, base, name) in [
            ("nginx:1", "https://registry-1.docker.io", "library/nginx"),
            (
                "docker.io/team/shop",
                "https://registry-1.docker.io",
                "team/shop",
            ),
            ("ghcr.io/a/b@sha256:0", "https://ghcr.io", "a/b"),
            ("localhost:5000/shop:v1", "http://localhost:5000", "shop"),
            ("127.0.0.1:5000/a/shop", "http://127.0.0.1:5000", "a/shop"),
            ("10.0.0.1:5000/shop", "https://10.0.0.1:5000", "shop"),
        ] {
            let image = image.replace("sha256:0", &format!("sha256:{}", "0".repeat(64)));
            let found = repository(&image);
            assert_eq!((found.base.as_str(), found.name.as_str()), (base, name));
        }
    }

    #[test]
    fn nothing_leaves_tls() {
        let uri = |text: &str| parse(text).unwrap();
        let far = repository("ghcr.io/a/b");
        assert!(far.check(&uri("https://elsewhere.example/x")).is_ok());
        assert!(far.check(&uri("http://ghcr.io/x")).is_err());
        assert!(far.check(&uri("http://localhost/x")).is_err());
        let near = repository("localhost:5000/b");
        assert!(near.check(&uri("http://127.0.0.1:5001/token")).is_ok());
        assert!(near.check(&uri("http://elsewhere.example/x")).is_err());
        assert!(parse("https://ann:x@ghcr.io/").is_err());
        assert!(parse("/x").is_err());
    }

    #[test]
    fn challenges_and_redirects_are_read() {
        let challenge =
            r#"realm="https://auth.example/token?a=b",service="registry, of sorts",scope="x""#;
        let found = |name| parameter(challenge, name);
        assert_eq!(found("realm").unwrap(), "https://auth.example/token?a=b");
        assert_eq!(found("service").unwrap(), "registry, of sorts");
        assert_eq!(found("error"), None);
        let from = parse("https://a.example:5000/v2/x").unwrap();
        let to = |location: &'static str| {
            let location = HeaderValue::from_static(location);
            redirected(&from, &HeaderMap::from_iter([(LOCATION, location)]))
        };
        assert_eq!(to("/y?z").unwrap(), "https://a.example:5000/y?z");
        assert_eq!(to("https://b.example/y").unwrap(), "https://b.example/y");
        assert!(to("//b.example/y").is_err() && to("y").is_err());
    }
}
