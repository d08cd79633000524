//! One run of git: its environment, its limits, its end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use flukedeploy_platform::ports::SourceError;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::fault::{blocking, failed, refused, while_doing};
use crate::programs::search_path;

/// Most that is read of what git answers, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Most that is kept of what git says on its error output: the end of it.
const MAX_WORDS: usize = 16 * 1024;
/// Memory of one process of git, in bytes: a server can send much that is kept in memory.
const MAX_MEMORY: u64 = 8 * 1024 * 1024 * 1024;
/// How often the size of what was fetched is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long output may come after the end of a process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// git, as it is called for one repository.
#[derive(Debug)]
pub(super) struct Git<'a> {
    pub(super) program: &'a Path,
    /// Where the bare repository is.
    pub(super) directory: PathBuf,
    /// git's `HOME`: an empty directory.
    pub(super) home: PathBuf,
    /// Configuration, by the environment only: arguments are readable by everybody on the machine.
    pub(super) configuration: Vec<(String, String)>,
    /// More of the environment.
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) deadline: Instant,
    /// Most that the directory may hold, in bytes.
    pub(super) limit_bytes: u64,
}

/// What a run of git gave.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: ExitStatus,
    pub(super) answer: Vec<u8>,
    /// The end of its error output; as it is, so not to be shown.
    pub(super) words: String,
}

impl Outcome {
    /// The first line of the answer.
    pub(super) fn line(&self) -> String {
        String::from_utf8_lossy(&self.answer)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

/// The time of the whole opening is over.
pub(super) fn too_slow() -> SourceError {
    SourceError::Unreachable {
        message: "fetching the repository took longer than allowed and was stopped".to_owned(),
    }
}

impl Git<'_> {
    /// Runs git to its end.
    ///
    /// # Errors
    /// It could not be started, took too long, or fetched more than allowed. How it ended itself is
    /// in the [`Outcome`].
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Outcome, SourceError> {
        let mut process = self.start(arguments)?;
        let answer = tokio::spawn(read_some(process.child.stdout.take(), MAX_ANSWER, false));
        let words = tokio::spawn(read_some(process.child.stderr.take(), MAX_WORDS, true));
        let status = loop {
            let wait = tokio::time::timeout(LOOK_EVERY, process.child.wait()).await;
            if let Ok(status) = wait {
                break status.map_err(while_doing("waiting for git"))?;
            }
            if Instant::now() >= self.deadline {
                return Err(too_slow());
            }
            self.look_at_size().await?;
        };
        process.ended = true;
        self.look_at_size().await?;
        let answer = end_of(answer).await?;
        let words = end_of(words).await?;
        Ok(Outcome {
            status,
            answer,
            words: String::from_utf8_lossy(&words).into_owned(),
        })
    }

    /// Starts git in a process group of its own, which ends with what is returned.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Process, SourceError> {
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_CEILING_DIRECTORIES", &self.home)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_CONFIG_COUNT", self.configuration.len().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for (number, (key, value)) in self.configuration.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{number}"), key)
                .env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let child = command.spawn().map_err(while_doing("starting git"))?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        // A second wall behind the limits above: inherited by what git starts.
        for (resource, most) in [
            (Resource::Fsize, self.limit_bytes),
            (Resource::As, MAX_MEMORY),
            (Resource::Core, 0),
        ] {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            if let Err(error) = rustix::process::prlimit(group, resource, limit) {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a limit was not set"
                );
            }
        }
        Ok(Process {
            child,
            group,
            ended: false,
        })
    }

    async fn look_at_size(&self) -> Result<(), SourceError> {
        let (directory, limit) = (self.directory.clone(), self.limit_bytes);
        let size = blocking("looking at the repository's size", move || {
            crate::uploads::room(&directory)?;
            Ok(size_of(&directory))
        })
        .await?;
        if size > limit {
            return Err(refused(
                format!("the repository has more than {} MiB", limit / 1024 / 1024),
                "use a smaller repository, or let an administrator raise --max-source-mb",
            ));
        }
        Ok(())
    }
}

/// A process that ends, with all that it started, when this goes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    group: Option<Pid>,
    /// It was waited for: its number may be another's by now.
    pub(super) ended: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended
            && let Some(group) = self.group
        {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads to the end; keeps the beginning, or the end, of what comes.
async fn read_some(
    stream: Option<impl AsyncRead + Unpin>,
    limit: usize,
    keep_end: bool,
) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return Ok(kept);
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > limit {
            if keep_end {
                kept.drain(..kept.len() - limit);
            } else {
                kept.truncate(limit);
            }
        }
    }
}

async fn end_of(
    reading: tokio::task::JoinHandle<std::io::Result<Vec<u8>>>,
) -> Result<Vec<u8>, SourceError> {
    let stop = reading.abort_handle();
    if let Ok(read) = tokio::time::timeout(LAST_WORDS, reading).await {
        return read
            .map_err(while_doing("reading what git said"))?
            .map_err(while_doing("reading what git said"));
    }
    stop.abort();
    Err(failed("reading what git said", "its output did not end"))
}

/// The end of what a process says on its error output, read beside its other output.
pub(super) fn words_of(process: &mut Process) -> tokio::task::JoinHandle<std::io::Result<Vec<u8>>> {
    tokio::spawn(read_some(process.child.stderr.take(), MAX_WORDS, true))
}

fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => size_of(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}
