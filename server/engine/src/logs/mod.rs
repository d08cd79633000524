//! What replicas print.
//!
//! Where the log files of this node's containers can be read (the control plane runs beside the
//! engine, as root, and the engine keeps them in its own format), they are read themselves: that
//! costs a tenth of what the engine's API costs, goes on while the engine restarts, and knows exactly
//! where it was ([`tail`]). Else container by container through the API ([`api`]).
//!
//! Swarm's own logs of a service come from one place and from all nodes, but on Docker 20.10 their
//! stream stalls for good when several replicas print much at once (three times 20,000 lines are
//! enough), so they serve only for tasks on other nodes, one by one, where there is nothing else.

mod api;
mod file;
mod json_line;
mod lines;
mod place;
mod scout;
mod sources;
mod tail;
mod watch;

use std::sync::Arc;

use flukedeploy_platform::ports::{EngineError, RawLines, ReadTo};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};

use crate::engine::Inner;
pub(crate) use api::{Channel, take_frame};
use scout::{News, Scout};
use sources::Sources;
pub(crate) use watch::Watch;

struct Follow {
    /// Finds what is to be read.
    scout: BoxStream<'static, Result<News, EngineError>>,
    found: SelectAll<BoxStream<'static, RawLines>>,
    sources: Arc<Sources>,
    /// The service is gone: what is being read is the last.
    is_ending: bool,
    is_over: bool,
}

pub(crate) fn follow(
    inner: Arc<Inner>,
    service: &str,
    read: &ReadTo,
) -> BoxStream<'static, Result<RawLines, EngineError>> {
    let sources = Sources::new(read);
    let scout = Scout::new(inner, service, Arc::clone(&sources));
    let follow = Follow {
        scout: scout.into_stream(),
        found: SelectAll::new(),
        sources,
        is_ending: false,
        is_over: false,
    };
    stream::unfold(follow, |mut follow| async move {
        let lines = follow.next().await?;
        Some((lines, follow))
    })
    .boxed()
}

impl Follow {
    async fn next(&mut self) -> Option<Result<RawLines, EngineError>> {
        while !self.is_over {
            let has_found = !self.found.is_empty();
            if self.is_ending && !has_found {
                break;
            }
            tokio::select! {
                lines = self.found.next(), if has_found => {
                    if let Some(lines) = lines {
                        return Some(Ok(lines));
                    }
                }
                news = self.scout.next(), if !self.is_ending => match news {
                    Some(Ok(News::Source(source))) => self.found.push(source),
                    Some(Ok(News::ServiceGone)) | None => self.is_ending = true,
                    // Files can be read without the engine, and hold what replicas print while it
                    // stops; the scout tries again.
                    Some(Err(error)) if self.sources.count().1 > 0 => {
                        tracing::debug!(%error, "the engine is away; log files are read on");
                    }
                    Some(Err(error)) => {
                        self.is_over = true;
                        return Some(Err(error));
                    }
                },
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A directory that goes with the test.
    pub(super) struct Dir(PathBuf);

    impl Dir {
        pub(super) fn new(hint: &str) -> Self {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("fd-logs-{hint}-{}-{number}", std::process::id());
            // Where the system keeps it, without links on the way.
            let parent = std::env::temp_dir().canonicalize().unwrap();
            let path = parent.join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
