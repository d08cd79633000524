//! Brings entries: one task per forwarder, so that one whose receiver is down holds up nobody else.

use std::collections::HashSet;
use std::time::Duration;

use flukedeploy_domain::forwarder::{ForwardProgress, Forwarder, ForwarderId};
use flukedeploy_domain::log_entry::{EventType, Level, LogEntry, LogMetadata, SYSTEM};
use tokio::sync::mpsc;

use super::batch::{Outcome, send};
use super::commands::learn;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{Feed, FeedQuery};
use crate::secret::random_u64;

/// How often a forwarder that is up to date looks for more, which also gathers what trickles in.
const EVERY: Duration = Duration::from_millis(250);
/// Between two looks at a store that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Entries of one batch at most.
const LINES: usize = 1_000;
/// Text of one batch at most, in bytes; one entry goes however long it is.
const BYTES: usize = 1 << 20;
/// Lines that are not wanted and may be passed by before that is stored.
const UNSTORED: u64 = 50_000;

/// Keeps one task for each forwarder that is turned on. Ends when the platform stops; what is under
/// way is cut off and comes again at the next start.
pub(crate) async fn run(px: Platform) {
    let mut busy: HashSet<ForwarderId> = HashSet::new();
    let (done, mut ended) = mpsc::unbounded_channel::<ForwarderId>();
    let mut seen = None;
    loop {
        // Before the reading, so that what changes meanwhile counts as newer.
        let changes = px.parts().store.changes();
        if seen != Some(changes) {
            match px.parts().store.forwarders().await {
                Ok(forwarders) => {
                    seen = Some(changes);
                    for forwarder in forwarders {
                        learn(&px, &forwarder);
                        if forwarder.active && busy.insert(forwarder.id.clone()) {
                            start(&px, forwarder.id, done.clone());
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "log forwarders could not be read"
                    );
                    tokio::select! {
                        () = px.stopping().cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            over = ended.recv() => if let Some(id) = over {
                busy.remove(&id);
                seen = None;
            }
        }
    }
}

fn start(px: &Platform, id: ForwarderId, done: mpsc::UnboundedSender<ForwarderId>) {
    let px = px.clone();
    px.clone().parts().tasks.spawn(async move {
        tokio::select! {
            () = px.stopping().cancelled() => {}
            () = forward(&px, &id) => {}
        }
        // The receiver is gone only when the platform stops.
        let _ = done.send(id);
    });
}

/// What a task knows beside what is stored.
struct Pace {
    /// Entries of the next batch: fewer after one that was too slow or too large.
    lines: usize,
    /// How far nothing was wanted; need not be stored at once.
    passed: u64,
}

/// Until the forwarder is turned off or removed.
async fn forward(px: &Platform, id: &ForwarderId) {
    let mut pace = Pace {
        lines: LINES,
        passed: 0,
    };
    loop {
        let more = match px.parts().store.forwarder(id).await {
            Ok(Some(forwarder)) if forwarder.active => {
                let next = forwarder.progress.next_try_at;
                if next.is_some_and(|at| at > px.now()) {
                    Ok(false)
                } else {
                    advance(px, forwarder, &mut pace).await
                }
            }
            Ok(_) => return,
            Err(error) => Err(error.into()),
        };
        match more {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(EVERY).await,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error, forwarder = %id,
                    "log entries could not be forwarded: a store failed"
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// One batch; whether there may be more at once.
async fn advance(px: &Platform, mut forwarder: Forwarder, pace: &mut Pace) -> Result<bool, Error> {
    let after = forwarder.progress.cursor.max(pace.passed);
    let query = FeedQuery {
        filter: forwarder.filter.of_log(),
        after,
        limit: pace.lines,
        limit_bytes: BYTES,
    };
    let feed = px.parts().log_store.feed(&query).await?;
    if feed.newest < after {
        pace.passed = 0;
        forwarder.progress.cursor = 0;
        save(px, &forwarder).await;
        let text = "the log store was begun anew: it is forwarded from its beginning";
        tell(px, &forwarder, Level::Warn, text);
        return Ok(true);
    }
    if feed.missed_first > 0 {
        // Told before anything is sent: the receiver may be away for long.
        let first = feed.lines.first().map(|line| line.cursor.sequence);
        forwarder.progress.cursor = first.map_or(feed.reached, |first| first - 1);
        forwarder.progress.missed += feed.missed_first;
        save(px, &forwarder).await;
        tell_missed(px, &forwarder, feed.missed_first);
        return Ok(true);
    }
    if feed.lines.is_empty() {
        pace.passed = feed.reached;
        if feed.reached - forwarder.progress.cursor >= UNSTORED {
            forwarder.progress.cursor = feed.reached;
            save(px, &forwarder).await;
        }
        return Ok(feed.reached < feed.newest);
    }
    Ok(bring(px, forwarder, pace, &feed).await)
}

async fn bring(px: &Platform, mut forwarder: Forwarder, pace: &mut Pace, feed: &Feed) -> bool {
    let entries: Vec<&LogEntry> = feed.lines.iter().map(|line| &line.entry).collect();
    let count = entries.len();
    let first = feed.lines.first().map_or(0, |line| line.cursor.sequence);
    let name = format!("{}-{first}-{count}", forwarder.id);
    let outcome = send(px, &forwarder, &entries, &name).await;
    let was_failing = forwarder.progress.last_error.is_some();
    let ever_took = forwarder.progress.last_success_at.is_some();
    let progress = &mut forwarder.progress;
    match outcome {
        Outcome::Arrived { refused, why } => {
            let refused = refused.min(count as u64);
            progress.missed += feed.missed;
            progress.arrived(count as u64, refused, feed.reached, px.now());
            pace.lines = LINES.min(pace.lines + pace.lines / 4 + 1);
            save(px, &forwarder).await;
            if was_failing {
                tell(px, &forwarder, Level::Info, "it takes log entries again");
            }
            if feed.missed > 0 {
                tell_missed(px, &forwarder, feed.missed);
            }
            if refused > 0 {
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let text = format!("it refused {refused} of {count} log entries{why}");
                tell(px, &forwarder, Level::Warn, &text);
            }
            feed.reached < feed.newest
        }
        Outcome::Unfit { .. } if count > 1 => {
            pace.lines = count / 2;
            true
        }
        // Who never took anything does not refuse this one entry: it is not what it should be.
        Outcome::Unfit { status, why } if status == 413 || ever_took => {
            progress.passed_by(feed.reached);
            save(px, &forwarder).await;
            let id = entries.first().map_or("", |entry| entry.id.as_str());
            let text = format!("the entry {id} is passed by, it is never taken: {why}");
            tell(px, &forwarder, Level::Warn, &text);
            true
        }
        Outcome::Unfit { why, .. } => {
            fail(px, forwarder, why, None).await;
            false
        }
        Outcome::Failed {
            why,
            wish,
            too_slow,
        } => {
            if too_slow {
                pace.lines = (count / 2).max(1);
            }
            fail(px, forwarder, why, wish).await;
            false
        }
    }
}

async fn fail(px: &Platform, mut forwarder: Forwarder, why: String, wish: Option<time::Duration>) {
    let was_failing = forwarder.progress.last_error.is_some();
    let text = format!("it takes no log entries, and is tried again until it does: {why}");
    forwarder.progress.failed(why, wish, px.now(), random_u64());
    save(px, &forwarder).await;
    if !was_failing {
        tell(px, &forwarder, Level::Warn, &text);
    }
}

fn tell_missed(px: &Platform, forwarder: &Forwarder, missed: u64) {
    let text = format!(
        "up to {missed} log entries were removed, being too old or too many, before it had taken them"
    );
    tell(px, forwarder, Level::Warn, &text);
}

/// In the log, which it is a part of: told when something changes only, since that is forwarded too.
fn tell(px: &Platform, forwarder: &Forwarder, level: Level, text: &str) {
    let text = format!(
        "Log forwarder {} to {}: {text}",
        forwarder.id,
        forwarder.target.authority()
    );
    let metadata = LogMetadata::new(EventType::ConfigChange, SYSTEM);
    px.parts().journal.note(level, text, metadata);
}

/// Not stored, it would be sent again at once and for ever.
async fn save(px: &Platform, forwarder: &Forwarder) {
    let (id, progress): (_, &ForwardProgress) = (&forwarder.id, &forwarder.progress);
    while let Err(error) = px.parts().store.save_forwarder(id, progress).await {
        tracing::error!(
            error = &error as &dyn std::error::Error, forwarder = %id,
            "how far log entries were forwarded could not be stored; trying again"
        );
        tokio::time::sleep(RETRY).await;
    }
}
