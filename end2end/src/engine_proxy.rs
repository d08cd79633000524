//! A Unix socket in front of the Docker engine's own, which a test can freeze: connections stay open,
//! requests are taken, and no byte comes back, as with an engine that hangs. It can also make the
//! engine look like one that has only the classic builder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const VERSION: &[u8] = b"/version HTTP/1.1\r\n";
/// Docker's own engine names itself so in `/version`; others of the same API have no `BuildKit`.
const DOCKERS_OWN: &[u8] = br#""Name":"Engine""#;
/// Of the same length, so that the answer's header stays true.
const NOT_DOCKERS: &[u8] = br#""Name":"Other!""#;

/// What the proxy stands in front of.
#[derive(Debug, Clone)]
struct Engine {
    socket: PathBuf,
    looks_classic: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    /// Freeze as soon as a request contains this; the request itself still reaches the engine.
    FreezeOn(String),
    Frozen,
    /// Every connection is closed, new ones are closed at once.
    Cut,
}

/// The running proxy; it ends, and its socket goes, when this is dropped.
pub struct EngineProxy {
    socket: PathBuf,
    flow: Arc<watch::Sender<Flow>>,
    accepting: JoinHandle<()>,
}

impl EngineProxy {
    /// Listens on `socket` and forwards to the engine's socket at `engine`.
    pub fn start(socket: impl Into<PathBuf>, engine: impl Into<PathBuf>) -> Result<Self> {
        Self::before(
            socket.into(),
            Engine {
                socket: engine.into(),
                looks_classic: false,
            },
        )
    }

    /// As [`EngineProxy::start`]; the engine says that it is none of Docker's own, so that who asks
    /// it takes it for one without `BuildKit`.
    pub fn start_without_buildkit(
        socket: impl Into<PathBuf>,
        engine: impl Into<PathBuf>,
    ) -> Result<Self> {
        Self::before(
            socket.into(),
            Engine {
                socket: engine.into(),
                looks_classic: true,
            },
        )
    }

    fn before(socket: PathBuf, engine: Engine) -> Result<Self> {
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("binding {}", socket.display()))?;
        let flow = Arc::new(watch::Sender::new(Flow::Open));
        let accepting = tokio::spawn(accept(listener, engine, Arc::clone(&flow)));
        Ok(Self {
            socket,
            flow,
            accepting,
        })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// No byte passes any more, in either direction.
    pub fn freeze(&self) {
        self.flow.send_replace(Flow::Frozen);
    }

    /// Lets everything pass until a request contains `text` (as in `/services/create`): that one
    /// reaches the engine, its answer and all that follows do not come back.
    pub fn freeze_on(&self, text: impl Into<String>) {
        self.flow.send_replace(Flow::FreezeOn(text.into()));
    }

    pub fn is_frozen(&self) -> bool {
        *self.flow.borrow() == Flow::Frozen
    }

    /// Closes every connection and refuses new ones, as with an engine that is gone.
    pub fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }

    /// Lets everything pass again, what was held back included.
    pub fn thaw(&self) {
        self.flow.send_replace(Flow::Open);
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener, engine: Engine, flow: Arc<watch::Sender<Flow>>) {
    // Owned here, so that aborting this task ends every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (engine, flow) = (engine.clone(), Arc::clone(&flow));
        connections.spawn(async move {
            let mut cut = flow.subscribe();
            tokio::select! {
                // A broken connection is the business of its two ends.
                _ = forward(client, &engine, &flow) => {}
                _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
            }
        });
    }
}

async fn forward(
    mut client: UnixStream,
    engine: &Engine,
    flow: &watch::Sender<Flow>,
) -> Result<()> {
    flow.subscribe()
        .wait_for(|flow| *flow != Flow::Frozen)
        .await?;
    let mut from = UnixStream::connect(&engine.socket).await?;
    if engine.looks_classic {
        let head = read_head(&mut client).await?;
        if let Some(head) = asking_for_version(&head) {
            from.write_all(&head).await?;
            return disguised(from, client).await;
        }
        from.write_all(&head).await?;
    }
    let engine = from;
    let (from_client, to_client) = client.into_split();
    let (from_engine, to_engine) = engine.into_split();
    tokio::try_join!(
        copy(from_client, to_engine, flow, true),
        copy(from_engine, to_client, flow, false),
    )?;
    Ok(())
}

/// What the client sends first, up to the end of its first header at least.
async fn read_head(client: &mut UnixStream) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(16 * 1024);
    while client.read_buf(&mut head).await? > 0 {
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    Ok(head)
}

/// A request for `/version`, changed so that the engine closes the connection behind its answer.
fn asking_for_version(head: &[u8]) -> Option<Vec<u8>> {
    let at = head
        .windows(VERSION.len())
        .position(|window| window == VERSION)?;
    let line = at + VERSION.len();
    let is_first = !head[..at].contains(&b'\n');
    is_first.then(|| [&head[..line], b"Connection: close\r\n", &head[line..]].concat())
}

async fn disguised(mut from: UnixStream, mut to: UnixStream) -> Result<()> {
    let mut answer = Vec::new();
    from.read_to_end(&mut answer).await?;
    let at = answer
        .windows(DOCKERS_OWN.len())
        .position(|window| window == DOCKERS_OWN)
        .context("the engine does not say that it is Docker's own")?;
    answer[at..at + NOT_DOCKERS.len()].copy_from_slice(NOT_DOCKERS);
    to.write_all(&answer).await?;
    Ok(to.shutdown().await?)
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    flow: &watch::Sender<Flow>,
    is_request: bool,
) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut watched = flow.subscribe();
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let bytes = &buffer[..length];
        let triggers = is_request
            && matches!(&*flow.borrow(), Flow::FreezeOn(text)
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()));
        if triggers {
            // Frozen first: the answer may be back before this task runs again.
            flow.send_replace(Flow::Frozen);
        } else {
            watched.wait_for(|flow| *flow != Flow::Frozen).await?;
        }
        to.write_all(bytes).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A stand-in for the engine: sends every byte back.
    fn echo(socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
    }

    struct Bed {
        directory: PathBuf,
        proxy: EngineProxy,
    }

    impl Bed {
        fn new() -> Self {
            let name = format!("fd-proxy-{}", crate::random_name(8));
            let directory = std::env::temp_dir().join(name);
            std::fs::create_dir(&directory).unwrap();
            let engine = directory.join("engine.sock");
            echo(&engine);
            let proxy = EngineProxy::start(directory.join("proxy.sock"), engine).unwrap();
            Self { directory, proxy }
        }

        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.proxy.socket()).await.unwrap()
        }
    }

    impl Drop for Bed {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    /// What comes back for `text`; `None` when nothing does for a while.
    async fn ask(stream: &mut UnixStream, text: &str) -> Option<String> {
        stream.write_all(text.as_bytes()).await.unwrap();
        answer(stream).await
    }

    async fn answer(stream: &mut UnixStream) -> Option<String> {
        let mut buffer = [0; 256];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut buffer));
        let length = read.await.ok()?.unwrap();
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[tokio::test]
    async fn holds_back_while_frozen_and_delivers_after() {
        let bed = Bed::new();
        let mut stream = bed.connect().await;
        assert_eq!(ask(&mut stream, "one").await.as_deref(), Some("one"));
        bed.proxy.freeze();
        assert_eq!(ask(&mut stream, "two").await, None);
        let mut late = bed.connect().await;
        assert_eq!(ask(&mut late, "three").await, None);
        bed.proxy.thaw();
        assert_eq!(answer(&mut stream).await.as_deref(), Some("two"));
        assert_eq!(answer(&mut late).await.as_deref(), Some("three"));
    }

    #[tokio::test]
    async fn freezes_on_a_chosen_request() {
        let bed = Bed::new();
        bed.proxy.freeze_on("/services/create");
        let mut stream = bed.connect().await;
        assert_eq!(ask(&mut stream, "GET /x").await.as_deref(), Some("GET /x"));
        assert!(!bed.proxy.is_frozen());
        assert_eq!(ask(&mut stream, "POST /services/create").await, None);
        assert!(bed.proxy.is_frozen());
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open() {
        let bed = Bed::new();
        let mut stream = bed.connect().await;
        assert_eq!(ask(&mut stream, "one").await.as_deref(), Some("one"));
        bed.proxy.cut();
        assert_eq!(answer(&mut stream).await.as_deref(), Some(""));
    }
}
