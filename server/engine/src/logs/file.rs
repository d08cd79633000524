//! A replica's lines from its log files.

use std::sync::Arc;
use std::time::Duration;

use flukedeploy_platform::ports::{RawLine, RawLines};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::sources::{Ended, Origin, Running};
use super::tail::{Progress, Tail};
use crate::engine::Inner;

/// How long lines gather before they are read: each reading costs the same, whatever it finds.
const GATHER: Duration = Duration::from_millis(20);
/// When a sleeping reader looks all the same; and where there is nobody to wake it.
const SLEEP: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(250);
/// How long what a container printed last may take to the file, once it has ended.
const LAST_LINES: Duration = Duration::from_millis(200);
/// Pause after the disk failed.
const AGAIN: Duration = Duration::from_secs(2);

/// What comes before the next look.
enum Wait {
    Nothing,
    For(Duration),
    /// Until the kernel tells that something was written, or the container has ended.
    Woken,
}

pub(super) struct Source {
    inner: Arc<Inner>,
    /// `None` while it reads.
    tail: Option<Tail>,
    origin: Origin,
    ended: Arc<Ended>,
    /// The last look after the end of the container.
    is_last_look: bool,
    /// The kernel will tell when something is written.
    is_watched: bool,
    wait: Wait,
    is_over: bool,
    _running: Running,
}

impl Source {
    pub(super) fn new(
        inner: Arc<Inner>,
        tail: Tail,
        origin: Origin,
        ended: Arc<Ended>,
        running: Running,
    ) -> Self {
        Self {
            inner,
            tail: Some(tail),
            origin,
            ended,
            is_last_look: false,
            is_watched: false,
            wait: Wait::Nothing,
            is_over: false,
            _running: running,
        }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, RawLines> {
        stream::unfold(self, |mut source| async move {
            let lines = source.next().await?;
            Some((lines, source))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<RawLines> {
        while !self.is_over {
            self.wait().await;
            let mut tail = self.tail.take()?;
            let mut lines = Vec::new();
            let mut outcome = Ok(Progress::AtEnd);
            if tail.has_news() {
                // Disks are slow at times, and others have work to do on this thread.
                let reading = tokio::task::spawn_blocking(move || {
                    let outcome = tail.read(&mut lines);
                    (tail, lines, outcome)
                });
                (tail, lines, outcome) = reading.await.ok()?;
            }
            match outcome {
                Ok(progress) => self.learn(progress, &mut tail, &mut lines),
                Err(error) => {
                    let directory = tail.directory().display();
                    tracing::warn!(%error, %directory, "a log file cannot be read");
                    self.wait = Wait::For(AGAIN);
                }
            }
            self.tail = Some(tail);
            if !lines.is_empty() {
                return Some(self.origin.lines(lines));
            }
        }
        None
    }

    async fn wait(&mut self) {
        match self.wait {
            Wait::Nothing => {}
            Wait::For(pause) => tokio::time::sleep(pause).await,
            Wait::Woken => {
                let woken = tokio::time::timeout(SLEEP, self.ended.wake.notified()).await;
                self.is_watched = woken.is_err();
            }
        }
        self.wait = Wait::Nothing;
    }

    fn learn(&mut self, progress: Progress, tail: &mut Tail, lines: &mut Vec<RawLine>) {
        let is_silent = lines.is_empty();
        match progress {
            Progress::More => {}
            Progress::Gone => self.is_over = true,
            Progress::AtEnd if self.is_last_look => self.is_over = true,
            Progress::AtEnd if self.ended.has() => {
                self.is_last_look = true;
                self.wait = Wait::For(LAST_LINES);
            }
            Progress::AtEnd if !is_silent => self.wait = Wait::For(GATHER),
            Progress::AtEnd if self.is_watched => self.wait = Wait::Woken,
            Progress::AtEnd => {
                tail.rest();
                self.is_watched = self.watch(tail);
                // Watched, it looks once more: something may have been written just before.
                if !self.is_watched {
                    self.wait = Wait::For(NAP);
                }
            }
        }
        if self.is_over {
            tail.flush(lines);
        }
    }

    fn watch(&self, tail: &Tail) -> bool {
        let watch = &self.inner.log_watch;
        watch.once(tail.directory(), &self.ended.wake)
    }
}
