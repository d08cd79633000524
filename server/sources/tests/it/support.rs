//! A workshop of one's own, archives that nobody would make, and repositories served locally.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use flukedeploy_domain::addresses::AllowedAddresses;
use flukedeploy_domain::build::{GitSource, Origin, UploadId};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_platform::ports::{ContextDockerfile, OpenedSource, SourceError, Workshop as _};
use flukedeploy_sources::{Resolver, SourceWorkshop, SourcesConfig, system_resolver};
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode, Uri, header};

pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const TOKEN: &str = "canary-token-6d1f0c";

/// A directory that goes in the end.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("flukedeploy-sources-{:016x}", u64::from_be_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct Bed {
    pub(crate) directory: TempDir,
    pub(crate) workshop: SourceWorkshop,
    pub(crate) progress: Mutex<Vec<String>>,
}

impl Bed {
    /// Limits: 4 MiB received, 8 MiB and 1,000 entries unpacked; 127.0.0.1 may be called.
    pub(crate) fn new() -> Self {
        Self::with(&["127.0.0.1"], system_resolver(), Duration::from_mins(1))
    }

    pub(crate) fn with(allowed: &[&str], resolver: Resolver, git_timeout: Duration) -> Self {
        let directory = TempDir::new();
        let config = SourcesConfig {
            directory: directory.0.join("sources"),
            max_upload_bytes: 16 * MIB,
            max_tree_bytes: 8 * MIB,
            max_files: 1_000,
            git_timeout,
            allowed: AllowedAddresses::parse(allowed).unwrap(),
            ssh_program: env!("CARGO_BIN_EXE_git-ssh-for-tests").into(),
        };
        Self {
            workshop: SourceWorkshop::with_resolver(config, resolver).unwrap(),
            directory,
            progress: Mutex::default(),
        }
    }

    pub(crate) async fn open(
        &self,
        name: &str,
        origin: &Origin,
        credential: Option<&Credential>,
    ) -> Result<OpenedSource, SourceError> {
        let say = |line: String| self.progress.lock().unwrap().push(line);
        self.workshop
            .open(&deployment(name), origin, credential, &say)
            .await
    }

    /// Sends an archive and opens it.
    pub(crate) async fn upload(
        &self,
        name: &str,
        archive: Vec<u8>,
    ) -> Result<OpenedSource, SourceError> {
        let id: UploadId = format!("up-1-{name}").parse().unwrap();
        let chunks: Vec<_> = archive
            .chunks(60_000)
            .map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk)))
            .collect();
        let stream = futures_util::stream::iter(chunks).boxed();
        self.workshop.receive(&id, stream).await?;
        self.open(name, &Origin::Upload { id }, None).await
    }

    pub(crate) fn place(&self, path: &str) -> PathBuf {
        self.directory.0.join("sources").join(path)
    }

    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.place("trees")
            .join(format!("dep-{name}"))
            .join("files")
    }

    /// Nothing is left but what was received.
    pub(crate) fn assert_nothing_left(&self) {
        for place in ["trees", "work"] {
            let left: Vec<_> = std::fs::read_dir(self.place(place))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

pub(crate) fn deployment(name: &str) -> DeploymentId {
    format!("dep-{name}").parse().unwrap()
}

/// Kind and text of an error, for comparing.
pub(crate) fn told<T: std::fmt::Debug>(result: Result<T, SourceError>) -> String {
    format!("{:?}", result.unwrap_err())
}

/// One entry of an archive, byte by byte as it is wanted.
#[derive(Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: tar::EntryType,
    pub(crate) link: &'a str,
    pub(crate) mode: u32,
    pub(crate) data: &'a [u8],
    /// If another size is to be told.
    pub(crate) size: Option<u64>,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: "file",
            kind: tar::EntryType::Regular,
            link: "",
            mode: 0o644,
            data: b"",
            size: None,
        }
    }
}

pub(crate) fn file<'a>(name: &'a str, data: &'a str) -> Entry<'a> {
    Entry {
        name,
        data: data.as_bytes(),
        ..Entry::default()
    }
}

pub(crate) fn link<'a>(name: &'a str, target: &'a str) -> Entry<'a> {
    Entry {
        name,
        kind: tar::EntryType::Symlink,
        link: target,
        ..Entry::default()
    }
}

/// Header and data, padded.
pub(crate) fn block(entry: &Entry<'_>) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
    header.as_old_mut().linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_mtime(1_000_000_000);
    header.set_uid(4_242);
    header.set_gid(4_242);
    header.set_size(entry.size.unwrap_or(entry.data.len() as u64));
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(entry.data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(block).collect();
    bytes.resize(bytes.len() + 1_024, 0);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Runs git in a folder, without anything of this machine's configuration.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.com")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@example.com")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with these files in one commit on `main`.
pub(crate) fn repository(folder: &Path, files: &[(&str, &str)]) -> String {
    std::fs::create_dir_all(folder).unwrap();
    git(folder, &["init", "--quiet", "--initial-branch=main"]);
    commit(folder, files)
}

pub(crate) fn commit(folder: &Path, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    git(folder, &["rev-parse", "HEAD"])
}

pub(crate) fn from_git(url: &str, reference: Option<&str>) -> GitSource {
    GitSource {
        repository: url.parse().unwrap(),
        reference: reference.map(|name| name.parse().unwrap()),
        subfolder: None,
        submodules: false,
    }
}

pub(crate) fn token(host: &str) -> Credential {
    Credential {
        kind: CredentialKind::GitToken,
        host: host.to_owned(),
        username: String::new(),
        secret: TOKEN.to_owned(),
        known_hosts: None,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    }
}

/// Paths and credentials of requests.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// git's own server behind HTTP. Below `/open/` everybody may read, below `/private/` with the
/// token; `/slow/` waits a moment; `/redirect/` leads to cloud metadata; `/hang/` never answers.
pub(crate) struct GitServer {
    pub(crate) address: SocketAddr,
    pub(crate) root: TempDir,
    pub(crate) seen: Seen,
}

#[derive(Clone)]
struct Serving {
    root: PathBuf,
    seen: Seen,
}

impl GitServer {
    pub(crate) async fn start() -> Self {
        let root = TempDir::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Serving {
            root: root.0.clone(),
            seen: Arc::clone(&seen),
        };
        let router = axum::Router::new().fallback(answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            root,
            seen,
        }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.0.join(name)
    }

    pub(crate) fn url(&self, door: &str, name: &str) -> String {
        format!("http://{}/{door}/{name}/.git", self.address)
    }
}

async fn answer(
    State(state): State<Serving>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let credentials = text(header::AUTHORIZATION);
    state
        .seen
        .lock()
        .unwrap()
        .push((uri.path().to_owned(), credentials.clone()));
    let path = uri.path().trim_start_matches('/');
    let (door, path) = path.split_once('/').unwrap_or((path, ""));
    let right = base64::engine::general_purpose::STANDARD.encode(format!("git:{TOKEN}"));
    match door {
        "private" | "slow" if credentials != Some(format!("Basic {right}")) => {
            let wants = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
            return (StatusCode::UNAUTHORIZED, wants).into_response();
        }
        "redirect" => {
            let to = [(header::LOCATION, format!("http://169.254.169.254/{path}"))];
            return (StatusCode::FOUND, to).into_response();
        }
        "hang" => {
            tokio::time::sleep(Duration::from_mins(10)).await;
        }
        "slow" => tokio::time::sleep(Duration::from_millis(700)).await,
        _ => {}
    }
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &state.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_LENGTH", body.len().to_string());
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "HTTP_GIT_PROTOCOL"),
    ] {
        if let Some(value) = headers.get(name) {
            command.env(variable, value.to_str().unwrap());
        }
    }
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let writing = std::thread::spawn(move || drop(input.write_all(&body)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output.stdout
    })
    .await
    .unwrap();
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(':').unwrap();
        if name == "Status" {
            let code: u16 = value.trim()[..3].parse().unwrap();
            response = response.status(code);
        } else {
            response = response.header(name, value.trim());
        }
    }
    response
        .body(axum::body::Body::from(output[end + 4..].to_vec()))
        .unwrap()
}

/// A resolver that knows one host.
pub(crate) fn knows(host: &'static str, address: &'static str) -> Resolver {
    Arc::new(move |asked| {
        Box::pin(async move {
            if asked == host {
                Ok(vec![address.parse::<IpAddr>().unwrap()])
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            }
        })
    })
}

/// The Dockerfile at this path of the context.
pub(crate) fn in_source(path: &str) -> ContextDockerfile {
    ContextDockerfile {
        path: path.to_owned(),
        text: None,
    }
}
