//! Credentials for registries: those that were stored, and beside them those of a file in the
//! format of Docker's `config.json`.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard::auth::DockerCredentials;
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::image::ImageRef;
use serde::Deserialize;

/// Larger files are no list of credentials.
const MAX_FILE: usize = 1024 * 1024;
const DOCKER_HUB: &str = "docker.io";

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

/// What is known for which registry. Read anew for every use: the file may change. No `Debug`, on
/// purpose.
#[derive(Default, Clone)]
pub(crate) struct Credentials(HashMap<String, DockerCredentials>);

impl Credentials {
    /// A file that cannot be read is told to the log; the registry's refusal follows by itself.
    pub(crate) async fn load(path: Option<&Path>) -> Self {
        let Some(path) = path else {
            return Self::default();
        };
        let problem = match tokio::fs::read(path).await {
            Ok(bytes) if bytes.len() > MAX_FILE => "it is too large".to_owned(),
            Ok(bytes) => match Self::parse(&bytes) {
                Ok(credentials) => return credentials,
                Err(problem) => problem,
            },
            // Without it, images are asked for as nobody in particular.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::default(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(path = %path.display(), problem, "cannot use the registry credentials");
        Self::default()
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // serde's own message could quote a value.
        let file: ConfigFile = serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "it is not in the format of Docker's config.json (line {})",
                error.line()
            )
        })?;
        let known = file.auths.into_iter().filter_map(|(server, entry)| {
            let host = host_of(&server);
            let credentials = entry.credentials(&host)?;
            Some((host, credentials))
        });
        Ok(Self(known.collect()))
    }

    /// What was stored is newer than a file on the machine, and overrules it.
    pub(crate) fn overruled_by(mut self, stored: &[Credential]) -> Self {
        let registries = stored
            .iter()
            .filter(|credential| credential.kind == CredentialKind::Registry);
        for credential in registries {
            let host = host_of(&credential.host);
            let known = DockerCredentials {
                username: Some(credential.username.clone()),
                password: Some(credential.secret.clone()),
                serveraddress: Some(server_address(&host).to_owned()),
                ..DockerCredentials::default()
            };
            self.0.insert(host, known);
        }
        self
    }

    /// For the registry that holds `image`.
    pub(crate) fn of(&self, image: &str) -> Option<DockerCredentials> {
        let image: ImageRef = image.parse().ok()?;
        if image.is_image_id() {
            return None;
        }
        self.of_host(image.registry().unwrap_or(DOCKER_HUB))
    }

    /// For a registry by its host, as images or as engines name it.
    pub(crate) fn of_host(&self, host: &str) -> Option<DockerCredentials> {
        self.0.get(&host_of(host)).cloned()
    }

    /// The value of `X-Registry-Config`: all of them, by server.
    pub(crate) fn config_header(&self) -> Option<String> {
        let by_server: HashMap<&str, &DockerCredentials> = self
            .0
            .iter()
            .map(|(host, known)| (server_address(host), known))
            .collect();
        (!by_server.is_empty())
            .then(|| serde_json::to_vec(&by_server).ok())
            .flatten()
            .map(|json| URL_SAFE.encode(json))
    }

    /// The value of `X-Registry-Auth`.
    pub(crate) fn header(&self, image: &str) -> Option<String> {
        let json = serde_json::to_vec(&self.of(image)?).ok()?;
        Some(URL_SAFE.encode(json))
    }
}

impl Entry {
    fn credentials(self, host: &str) -> Option<DockerCredentials> {
        let server = server_address(host);
        let (mut username, mut password) = (self.username, self.password);
        if !self.auth.is_empty() {
            let plain = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
            let (name, secret) = plain.split_once(':')?;
            (username, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        if !self.identitytoken.is_empty() {
            return Some(DockerCredentials {
                identitytoken: Some(self.identitytoken),
                serveraddress: Some(server.to_owned()),
                ..DockerCredentials::default()
            });
        }
        (!username.is_empty()).then(|| DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: Some(server.to_owned()),
            ..DockerCredentials::default()
        })
    }
}

/// Under which name engines know a registry's credentials.
fn server_address(host: &str) -> &str {
    if host == DOCKER_HUB {
        "https://index.docker.io/v1/"
    } else {
        host
    }
}

/// `https://index.docker.io/v1/` and `docker.io` are one registry.
fn host_of(server: &str) -> String {
    let server = server.trim().to_ascii_lowercase();
    let server = server
        .strip_prefix("https://")
        .or(server.strip_prefix("http://"))
        .unwrap_or(&server);
    let host = server.split('/').next().unwrap_or_default();
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "YW5uOnNlOmNyZXQ="},
            "localhost:5000": {"username": "bob", "password": "word"},
            "ghcr.io": {"identitytoken": "long"},
            "empty.example": {}
        },
        "credsStore": "desktop"
    }"#;

    #[test]
    fn credentials_are_found_by_the_images_registry() {
        let known = Credentials::parse(FILE.as_bytes()).unwrap();
        for image in [
            "nginx",
            "team/shop:v1",
            "docker.io/library/nginx",
            "index.docker.io/team/shop",
        ] {
            let found = known.of(image).unwrap();
            assert_eq!(found.username.as_deref(), Some("ann"), "{image}");
            assert_eq!(found.password.as_deref(), Some("se:cret"), "{image}");
        }
        assert_eq!(
            known.of("localhost:5000/shop").unwrap().username.as_deref(),
            Some("bob")
        );
        assert_eq!(
            known.of("ghcr.io/a/b:1").unwrap().identitytoken.as_deref(),
            Some("long")
        );
        assert!(known.of("empty.example/a").is_none());
        assert!(known.of("other.example/a").is_none());
        assert!(known.of(&format!("sha256:{}", "a".repeat(64))).is_none());
    }

    #[test]
    fn what_was_stored_overrules_the_file() {
        let stored = |kind, host: &str| Credential {
            kind,
            host: host.to_owned(),
            username: "eve".to_owned(),
            secret: "newer".to_owned(),
            known_hosts: None,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        let known = Credentials::parse(FILE.as_bytes()).unwrap().overruled_by(&[
            stored(CredentialKind::Registry, "localhost:5000"),
            stored(CredentialKind::Registry, "index.docker.io"),
            stored(CredentialKind::GitToken, "ghcr.io"),
        ]);
        let local = known.of("localhost:5000/shop").unwrap();
        assert_eq!(local.username.as_deref(), Some("eve"));
        let hub = known.of("nginx").unwrap();
        assert_eq!(hub.password.as_deref(), Some("newer"));
        assert_eq!(
            hub.serveraddress.as_deref(),
            Some("https://index.docker.io/v1/")
        );
        let other = known.of("ghcr.io/a/b").unwrap();
        assert!(
            other.identitytoken.is_some(),
            "a git token opens no registry"
        );
        assert_eq!(known.of_host("registry-1.docker.io"), known.of("nginx"));
    }

    #[test]
    fn the_header_is_url_safe_base64_of_json() {
        let known = Credentials::parse(FILE.as_bytes()).unwrap();
        let header = known.header("localhost:5000/shop").unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&URL_SAFE.decode(header).unwrap()).unwrap();
        assert_eq!(json["password"], "word");
        assert_eq!(json["serveraddress"], "localhost:5000");
    }

    #[test]
    fn a_bad_file_is_described_without_its_content() {
        let problem = Credentials::parse(br#"{"auths": {"a": "hunter2"}}"#)
            .err()
            .unwrap();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}
