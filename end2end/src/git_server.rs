//! Git over smart HTTP on loopback: a bridge to git's own `http-backend`, with paths that are open,
//! that want a token, that redirect, and that never answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::source_files::{Repository, Scratch};

pub const USER: &str = "deployer";
pub const TOKEN: &str = "git-canary-7c1e-token";
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Where a repository is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Anybody may read.
    Open,
    /// Only with [`USER`] and [`TOKEN`].
    Token,
    /// Answers with a redirect to [`GitServer::redirect_to`] and the same repository.
    Away,
    /// Takes the request and never answers.
    Silent,
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::Away => "away",
            Self::Silent => "silent",
        }
    }
}

/// A running server; it ends, and its repositories go, when this is dropped.
pub struct GitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    repositories: Scratch,
    redirect: Mutex<String>,
    /// Paths that were asked for.
    asked: Mutex<Vec<String>>,
}

impl GitServer {
    pub async fn start() -> Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?).await
    }

    /// At an address of this machine other than loopback, say.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            repositories: Scratch::new("git")?,
            redirect: Mutex::default(),
            asked: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Of a repository at one of the doors.
    pub fn url(&self, door: Door, repository: &str) -> String {
        format!("http://{}/{}/{repository}", self.address, door.name())
    }

    /// Makes a repository that is served at every door.
    pub fn repository(&self, name: &str) -> Result<Repository> {
        Repository::new(self.shared.repositories.path(), name)
    }

    /// Where [`Door::Away`] leads: `http://host:port/path`, without the repository.
    pub fn redirect_to(&self, target: &str) {
        target.clone_into(&mut lock(&self.shared.redirect));
    }

    /// Paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task: connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = route(&shared, request).await.unwrap_or_else(|error| {
        let mut answer = Response::new(Full::from(format!("{error:#}")));
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer
    });
    Ok(answer)
}

async fn route(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    lock(&shared.asked).push(path.clone());
    let (door, rest) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    match door {
        "open" => {}
        "token" if is_allowed(&request) => {}
        "token" => {
            return Ok(Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
                .body(Full::default())?);
        }
        "away" => {
            let target = format!("{}/{rest}?{query}", lock(&shared.redirect));
            return Ok(Response::builder()
                .status(StatusCode::FOUND)
                .header(header::LOCATION, target)
                .body(Full::default())?);
        }
        "silent" => std::future::pending().await,
        _ => {
            return Ok(Response::builder()
                .status(StatusCode::NOT_FOUND)
                .body(Full::default())?);
        }
    }
    let path = format!("/{rest}");
    backend(shared.repositories.path(), &path, &query, request).await
}

fn is_allowed(request: &Request<Incoming>) -> bool {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{TOKEN}"));
    request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value == format!("Basic {basic}") || value == format!("Bearer {TOKEN}")
        })
}

/// Runs `git http-backend` on one request (CGI, RFC 3875).
async fn backend(
    root: &Path,
    path: &str,
    query: &str,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", request.method().as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("reading a request: {error}"))?
        .to_bytes();
    command.env("CONTENT_LENGTH", body.len().to_string());
    let mut child = command.spawn().context("starting git http-backend")?;
    let mut stdin = child.stdin.take().context("the backend has no input")?;
    let feeding = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await?;
    // It may end before it has read everything; its answer says whether that was wrong.
    let _ = feeding.await?;
    parse(&output.stdout)
}

fn parse(output: &[u8]) -> Result<Response<Full<Bytes>>> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("git http-backend gave no headers")?;
    let (head, body) = (&output[..end], &output[end + 4..]);
    let mut response = Response::builder();
    for line in std::str::from_utf8(head)?.lines() {
        let (name, value) = line.split_once(": ").context("a header has a name")?;
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            response = response.status(code.parse::<u16>()?);
        } else {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Full::from(body.to_vec()))?)
}

/// Where the test's own git has to find a repository.
pub fn can_clone(url: &str, user: Option<(&str, &str)>) -> Result<()> {
    let scratch = Scratch::new("clone")?;
    let target: PathBuf = scratch.path().join("tree");
    let mut command = std::process::Command::new("git");
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    let url = match user {
        Some((name, token)) => url.replacen("://", &format!("://{name}:{token}@"), 1),
        None => url.to_owned(),
    };
    let output = command
        .args(["clone", "--quiet", "--depth=1"])
        .arg(&url)
        .arg(&target)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn serves_with_and_without_a_token_and_redirects() {
        let server = GitServer::start().await.unwrap();
        let shop = server.repository("shop").unwrap();
        shop.commit(&[("a", "1")]).unwrap();
        let clone = async |door: Door, user: Option<(&'static str, &'static str)>| {
            let url = server.url(door, "shop");
            tokio::task::spawn_blocking(move || can_clone(&url, user))
                .await
                .unwrap()
        };
        clone(Door::Open, None).await.unwrap();
        clone(Door::Token, Some((USER, TOKEN))).await.unwrap();
        clone(Door::Token, Some((USER, "wrong"))).await.unwrap_err();
        clone(Door::Token, None).await.unwrap_err();
        server.redirect_to(&format!("http://{}/open", server.host()));
        clone(Door::Away, None).await.unwrap();
        let asked = server.asked();
        assert!(
            asked.contains(&"/away/shop/info/refs".to_owned()),
            "{asked:?}"
        );
    }
}
