//! Signatures in a registry, made as cosign makes them, with the program openssl.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::query_parameters::TagImageOptions;
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_engine::SwarmEngine;
use flukedeploy_platform::ports::{BuildLine, BuildSpec, Builder, Engine};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::registry::{PASSWORD, Registry};
use crate::support::{Bed, config, random_name};

/// A pair of keys in a directory of its own.
struct Key(PathBuf);

impl Key {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("flukedeploy-key-{}", random_name()));
        std::fs::create_dir_all(&directory).unwrap();
        let key = Self(directory);
        key.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            "key",
        ]);
        key.openssl(&["ec", "-in", "key", "-pubout", "-out", "public"]);
        key
    }

    fn openssl(&self, arguments: &[&str]) {
        let ended = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.0)
            .stderr(Stdio::null())
            .status();
        let ended = ended.expect("these tests need the package openssl");
        assert!(ended.success(), "{arguments:?}");
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.0.join("public")).unwrap()
    }

    fn sign(&self, statement: &[u8]) -> String {
        std::fs::write(self.0.join("statement"), statement).unwrap();
        self.openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            "key",
            "-out",
            "signature",
            "statement",
        ]);
        STANDARD.encode(std::fs::read(self.0.join("signature")).unwrap())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stored(host: &str) -> Credential {
    Credential {
        kind: CredentialKind::Registry,
        host: host.to_owned(),
        username: "ann".to_owned(),
        secret: PASSWORD.to_owned(),
        known_hosts: None,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    }
}

/// One request to a registry, as ann. Returns its status and where it leads.
async fn ask(
    registry: &Registry,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> (u16, Option<String>) {
    let mut stream = TcpStream::connect(&registry.host).await.unwrap();
    let auth = STANDARD.encode(format!("ann:{PASSWORD}"));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {auth}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        registry.host,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("Location: "));
    (status, location.map(str::to_owned))
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(bytes);
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn upload(registry: &Registry, repository: &str, blob: &[u8]) -> Value {
    let path = format!("/v2/{repository}/blobs/uploads/");
    let (status, location) = ask(registry, "POST", &path, "text/plain", b"").await;
    assert_eq!(status, 202);
    let location = location.unwrap();
    let location = location
        .trim()
        .split_once(&registry.host)
        .unwrap()
        .1
        .to_owned();
    let path = format!("{location}&digest={}", digest(blob));
    let (status, _) = ask(registry, "PUT", &path, "application/octet-stream", blob).await;
    assert_eq!(status, 201);
    json!({"digest": digest(blob), "size": blob.len()})
}

/// Stores a statement about `about` where the signatures of `image` belong.
async fn sign(registry: &Registry, image: &PinnedImage, about: &str, key: &Key, broken: bool) {
    let (repository, exact) = image.pinned.split_once('@').unwrap();
    let repository = repository.split_once('/').unwrap().1;
    let statement = json!({"critical": {
        "identity": {"docker-reference": ""},
        "image": {"docker-manifest-digest": about},
        "type": "cosign container image signature",
    }, "optional": null});
    let statement = statement.to_string();
    let signature = if broken {
        key.sign(b"something else")
    } else {
        key.sign(statement.as_bytes())
    };
    let mut layer = upload(registry, repository, statement.as_bytes()).await;
    layer["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let mut config = upload(registry, repository, b"{}").await;
    config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer],
    });
    let tag = exact.replace(':', "-");
    let path = format!("/v2/{repository}/manifests/{tag}.sig");
    let body = manifest.to_string();
    let (status, _) = ask(registry, "PUT", &path, kind, body.as_bytes()).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn only_the_right_signature_counts() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let registry = Registry::start(true).await;
    bed.engine
        .use_registries(vec![flukedeploy_domain::credential::Credential {
            kind: flukedeploy_domain::credential::CredentialKind::Registry,
            host: registry.host.clone(),
            username: "ann".to_owned(),
            secret: PASSWORD.to_owned(),
            known_hosts: None,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
        }]);
    let local = bed.pinned("signed", "exit 0").await;
    let image = push(&mut bed, &registry, &local).await;
    let (_, exact) = image.pinned.split_once('@').unwrap();
    let (key, other) = (Key::new(), Key::new());
    let (public, stranger) = (key.public(), other.public());
    let signed = async |pem: &str| bed.engine.signed_by(&image, pem).await.unwrap();
    assert!(!signed(&public).await, "there is none");
    sign(&registry, &image, exact, &key, true).await;
    assert!(!signed(&public).await, "it is of something else");
    let elsewhere = format!("sha256:{}", "ab".repeat(32));
    sign(&registry, &image, &elsewhere, &key, false).await;
    assert!(!signed(&public).await, "it is about another image");
    sign(&registry, &image, exact, &key, false).await;
    assert!(signed(&public).await);
    assert!(!signed(&stranger).await, "it is somebody else's");
    assert!(!bed.engine.signed_by(&local, &public).await.unwrap());
    assert!(bed.engine.signed_by(&image, "no key").await.is_err());

    bed.engine.use_registries(Vec::new());
    let refused = bed.engine.signed_by(&image, &public).await.unwrap_err();
    assert!(refused.to_string().contains("refuses access"), "{refused}");
}

/// Through a build of one line, which is the way of the product.
async fn push(bed: &mut Bed, registry: &Registry, local: &PinnedImage) -> PinnedImage {
    let base = format!("{}-base", bed.instance);
    let options = TagImageOptions {
        repo: Some(base.clone()),
        tag: Some("v1".to_owned()),
    };
    bed.docker
        .tag_image(&local.pinned, Some(options))
        .await
        .unwrap();
    let context = std::env::temp_dir().join(format!("flukedeploy-context-{}", random_name()));
    let mut archive = tar::Builder::new(std::fs::File::create(&context).unwrap());
    let dockerfile = format!("FROM {base}:v1\n");
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(dockerfile.len() as u64);
    archive
        .append_data(&mut header, "Dockerfile", dockerfile.as_bytes())
        .unwrap();
    archive.finish().unwrap();
    let spec = BuildSpec {
        context: context.clone(),
        dockerfile: "Dockerfile".to_owned(),
        tag: format!("{}/{}/signed:v1", registry.host, bed.instance)
            .parse()
            .unwrap(),
        args: flukedeploy_domain::app::EnvVars::default(),
        secrets: flukedeploy_domain::app::EnvVars::default(),
        labels: std::collections::BTreeMap::new(),
        cpu_limit_milli: 2_000,
        memory_limit_mb: 512,
        push: true,
    };
    let told = |_: BuildLine| {};
    let built = bed.engine.build_image(&spec, &told).await;
    std::fs::remove_file(context).unwrap();
    let image = built.unwrap().image;
    bed.images.push(spec.tag.to_string());
    bed.images.push(image.pinned.clone());
    image
}

/// Wants a token for everything, and leads elsewhere for what it is asked for.
async fn with_tokens(listener: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    let port = listener.local_addr().unwrap().port();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = vec![0; 16 * 1024];
        let length = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let auth = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        let auth = auth.unwrap_or("nobody").to_owned();
        let (status, header, body) = match (target.as_str(), auth.as_str()) {
            (path, _) if path.starts_with("/token") => {
                ("200 OK", String::new(), r#"{"token":"t0ken"}"#)
            }
            ("/elsewhere", _) => ("404 Not Found", String::new(), ""),
            (_, "bearer t0ken") => (
                "307 Temporary Redirect",
                format!("Location: http://localhost:{port}/elsewhere\r\n"),
                "",
            ),
            _ => (
                "401 Unauthorized",
                format!(
                    "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",\
                     service=\"here\"\r\n"
                ),
                "",
            ),
        };
        seen.lock().unwrap().push(format!("{auth} {target}"));
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

#[tokio::test]
async fn passwords_and_tokens_go_where_they_belong() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let serving = tokio::spawn(with_tokens(listener, seen.clone()));
    let engine = SwarmEngine::new(config("nobody"));
    engine.use_registries(vec![stored(&host)]);
    let hex = "ab".repeat(32);
    let image = PinnedImage {
        requested: format!("{host}/team/shop:v1").parse().unwrap(),
        pinned: format!("{host}/team/shop@sha256:{hex}"),
        local_only: false,
        architecture: None,
        exposed_ports: Vec::new(),
        has_healthcheck: false,
        user: String::new(),
    };
    let signed = engine.signed_by(&image, &Key::new().public()).await;
    assert!(!signed.unwrap());
    let manifest = format!("/v2/team/shop/manifests/sha256-{hex}.sig");
    let basic = STANDARD.encode(format!("ann:{PASSWORD}")).to_lowercase();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            format!("nobody {manifest}"),
            format!("basic {basic} /token?service=here&scope=repository%3ateam%2fshop%3apull"),
            format!("bearer t0ken {manifest}"),
            "nobody /elsewhere".to_owned(),
        ]
    );
    serving.abort();
}
