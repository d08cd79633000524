//! `flukedeploy deploy`: an image, a folder or a git repository becomes a release.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use flukedeploy_domain::build::DEFINITION_NAMES;
use flukedeploy_platform::ports::SourceError;
use flukedeploy_sources::pack_folder;
use http::Method;
use http::header::CONTENT_TYPE;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cli::Deploy;
use crate::client::api::{Api, Target, body};
use crate::client::exit::{Exit, Failure};
use crate::client::follow;

/// As long as a large folder may take over a slow line.
const UPLOAD_TIME: Duration = Duration::from_hours(2);
/// Pieces of the archive that wait for the line, and how large one is.
const PIECES: usize = 8;
const PIECE: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
enum What {
    Image(String),
    Folder(PathBuf),
    Git(String),
}

impl What {
    /// By its looks alone: the same word means the same wherever it is typed.
    fn of(text: &str) -> Self {
        if text.starts_with(['.', '/']) {
            Self::Folder(text.into())
        } else if text.contains("://") || is_scp_like(text) {
            Self::Git(text.to_owned())
        } else {
            Self::Image(text.to_owned())
        }
    }
}

/// `git@host:path`; the `@` of an image stands behind a `/` or its name, before a digest.
fn is_scp_like(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, rest)| {
        !user.is_empty()
            && !user.contains(['/', ':'])
            && rest.contains(':')
            && !rest.starts_with("sha256:")
    })
}

pub(crate) async fn run(args: &Deploy) -> anyhow::Result<Exit> {
    let what = What::of(&args.what);
    let git_only = args.reference.is_some() || args.subfolder.is_some() || args.submodules;
    if git_only && !matches!(what, What::Git(_)) {
        return Err(Failure::usage(
            "--ref, --subfolder and --submodules go with a git repository",
            "leave them out",
        )
        .into());
    }
    let api = Api::of(&args.remote.client)?;
    let accepted = match what {
        What::Folder(folder) => send_folder(&api, args, folder).await?,
        What::Image(image) => {
            let wanted = wanted(args, json!({ "image": image }));
            api.post(&Target::of(&["deployments"]), wanted).await?
        }
        What::Git(repository) => {
            let git = body([
                ("repository", json!(repository)),
                ("reference", json!(args.reference)),
                ("subfolder", json!(args.subfolder)),
                ("submodules", json!(args.submodules.then_some(true))),
            ]);
            let wanted = wanted(args, json!({"source": {"git": git}}));
            api.post(&Target::of(&["deployments"]), wanted).await?
        }
    };
    follow::finish(&api, accepted, &args.waiting, args.remote.json).await
}

fn wanted(args: &Deploy, what: Value) -> Value {
    let mut wanted = body([
        ("app_name", json!(args.app)),
        ("environment", json!(args.environment)),
        ("create", json!(args.create.then_some(true))),
        ("container_port", json!(args.port)),
        ("version", json!(args.version)),
        ("strategy", json!(args.strategy)),
        ("replicas", json!(args.replicas)),
        ("validation_level", json!(args.validation_level)),
        ("auto_rollback", json!(args.no_rollback.then_some(false))),
        ("dockerfile_path", json!(args.dockerfile)),
        ("definition_path", json!(args.definition)),
        ("queue", json!(args.recorded.queue)),
        ("reason", json!(args.recorded.reason)),
        ("idempotency_key", json!(args.recorded.idempotency_key)),
    ]);
    if let (Value::Object(wanted), Value::Object(what)) = (&mut wanted, what) {
        wanted.extend(what);
    }
    wanted
}

/// Packs and sends at the same time: nothing is written here.
async fn send_folder(api: &Api, args: &Deploy, folder: PathBuf) -> anyhow::Result<Value> {
    if !folder.is_dir() {
        return Err(Failure::usage(
            format!("there is no folder {}", folder.display()),
            "name one that exists; an image does not begin with '.' or '/'",
        )
        .into());
    }
    if !args.create {
        // A refusal is heard here, where it cannot get lost in what is being sent.
        let app = Target::of(&["apps", &args.app]);
        api.get(&app.with("environment", args.environment.as_ref()))
            .await?;
    }
    let target = Target::of(&["apps", &args.app, "source"])
        .with("environment", args.environment.as_ref())
        .with("create", args.create.then_some(true))
        .with("container_port", args.port)
        .with("version", args.version.as_ref())
        .with("strategy", args.strategy.as_ref())
        .with("replicas", args.replicas)
        .with("validation_level", args.validation_level.as_ref())
        .with("auto_rollback", args.no_rollback.then_some(false))
        .with("dockerfile_path", args.dockerfile.as_ref())
        .with("definition_path", args.definition.as_ref())
        .with("queue", args.recorded.queue.as_ref())
        .with("reason", args.recorded.reason.as_ref());
    let mut request = api
        .request(Method::POST, &target)?
        .header(CONTENT_TYPE, "application/gzip");
    if let Some(key) = &args.recorded.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let (pieces, packed) = mpsc::channel(PIECES);
    let needed = needed(args);
    let packing = tokio::task::spawn_blocking(move || pack(&folder, &needed, pieces));
    let stream = futures_util::stream::unfold(packed, |mut packed| async move {
        let piece: io::Result<Bytes> = packed.recv().await?;
        Some((piece.map(Frame::data), packed))
    });
    let answer = api
        .send(request.body(StreamBody::new(stream))?, UPLOAD_TIME)
        .await;
    let Err(error) = answer else {
        return answer;
    };
    let was_cut_off = error
        .downcast_ref::<Failure>()
        .is_none_or(|failure| failure.exit == Exit::Unreachable);
    // What went wrong here is why the sending ended; an answer of the server says more.
    if was_cut_off && let Err(Stopped::Here(failure)) = packing.await? {
        return Err(failure.into());
    }
    Err(error)
}

/// What is sent whatever `.dockerignore` says; the Dockerfile first.
fn needed(args: &Deploy) -> Vec<String> {
    let dockerfile = args.dockerfile.as_deref().unwrap_or("Dockerfile");
    let mut needed = vec![dockerfile.to_owned()];
    match &args.definition {
        Some(definition) => needed.push(definition.clone()),
        None => needed.extend(DEFINITION_NAMES.map(ToOwned::to_owned)),
    }
    needed
}

/// Why the packing ended before its end.
enum Stopped {
    Here(Failure),
    /// Nobody takes the pieces any more.
    There,
}

fn pack(
    folder: &Path,
    needed: &[String],
    pieces: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Stopped> {
    let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
    let pieces = Pieces {
        collected: Vec::with_capacity(PIECE),
        to: pieces,
    };
    let abort = pieces.to.clone();
    let mut zipped = GzEncoder::new(pieces, Compression::fast());
    let packed = pack_folder(folder, &needed, &mut zipped);
    if abort.is_closed() {
        return Err(Stopped::There);
    }
    let done = packed.map_err(|error| told(&error)).and_then(|()| {
        let finished = zipped.finish().and_then(|mut pieces| pieces.send());
        finished.map_err(|error| Failure::usage(error.to_string(), "try again"))
    });
    done.map_err(|failure| {
        // The archive must not look whole.
        let _ = abort.blocking_send(Err(io::Error::other("the folder could not be packed")));
        Stopped::Here(failure)
    })
}

fn told(error: &SourceError) -> Failure {
    match error {
        SourceError::Refused { message, next } => Failure::usage(message, next),
        SourceError::Failed { doing, source } => Failure::usage(
            format!("the folder failed while {doing}: {source}"),
            "make it readable, or name what is not needed in .dockerignore",
        ),
        other => Failure::usage(other.to_string(), "try again"),
    }
}

/// Hands pieces over as they fill up.
struct Pieces {
    collected: Vec<u8>,
    to: mpsc::Sender<io::Result<Bytes>>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.collected, Vec::with_capacity(PIECE));
        self.to
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deployed_shows_in_how_it_is_written() {
        for folder in [".", "./web", "../web", "/srv/web"] {
            assert_eq!(What::of(folder), What::Folder(folder.into()));
        }
        for git in [
            "https://example.com/a/b.git",
            "ssh://git@example.com/a",
            "git@example.com:a/b.git",
        ] {
            assert_eq!(What::of(git), What::Git(git.to_owned()));
        }
        for image in [
            "nginx",
            "nginx:1.27",
            "ghcr.io/me/shop:2",
            "registry.example.com:5000/shop",
            "ghcr.io/me/shop@sha256:0123",
            "nginx@sha256:0123",
        ] {
            assert_eq!(What::of(image), What::Image(image.to_owned()));
        }
    }
}
