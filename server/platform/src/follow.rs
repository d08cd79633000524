//! One reader of the log: what is stored, if it wants that first, and then what comes.

use std::sync::Arc;

use bytes::Bytes;
use flukedeploy_domain::access::{Action, Actor, Resource, Role};
use flukedeploy_domain::log_entry::{LogEntry, LogFilter};
use flukedeploy_domain::log_query::TextQuery;

use crate::authorise::authorise;
use crate::error::Error;
use crate::live::{Place, Recorded, Subscription};
use crate::logs;
use crate::platform::Platform;
pub use crate::since::Since;
use crate::since::{Piece, Replay};

/// Entries handed on at once: what is written together costs one call of the system.
const BURST: usize = 256;
/// Stored entries that a reader may fall behind and still get. Beyond them, or while others read
/// from the store, it is told how many it missed.
const MAX_BEHIND: u64 = 50_000;

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Followed {
    Entry(Shared),
    /// The reader was too slow for this many entries of the whole log.
    Dropped(u64),
}

/// An entry that all its readers share.
#[derive(Debug, Clone)]
pub struct Shared {
    recorded: Arc<Recorded>,
    at: usize,
}

impl Shared {
    /// Its JSON, UTF-8. Written once, however many readers there are.
    pub fn json(&self) -> Bytes {
        self.recorded.json(self.at)
    }
}

impl std::ops::Deref for Shared {
    type Target = LogEntry;
    fn deref(&self) -> &LogEntry {
        &self.recorded.entries()[self.at]
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Now,
    /// With so many of the newest stored entries.
    Tail(u32),
    /// With everything that is stored since then, as it came in.
    Since(Since),
}

/// A reader's place in the log.
///
/// Everything has a number by which it was stored, and what comes live comes in that order. So one
/// number says what was dealt with: stored entries join the live ones there without gap or double,
/// however many there are and whatever comes meanwhile. Whoever falls behind the live ones shows
/// by a gap in the numbers, and reads on from the store.
pub struct Follower {
    px: Platform,
    actor: Actor,
    live: Subscription,
    /// `None`: it wants nothing now.
    filter: Option<LogFilter>,
    text: Option<TextQuery>,
    /// The number up to which everything was dealt with.
    position: u64,
    /// The first and the last number of what was told before it could be stored, without a gap.
    heard: Option<(u64, u64)>,
    /// It reads from the store at present.
    replay: Option<Replay>,
    /// It asked for what is stored and has not caught up yet: nothing may be left out.
    is_owed: bool,
    /// Told before anything else.
    dropped: Option<u64>,
    /// Handed on as far as the number says.
    current: Option<(Arc<Recorded>, usize)>,
}

/// Whether anything can come through the filter that the actor may read.
fn hears(actor: &Actor, filter: Option<&LogFilter>) -> bool {
    let app = filter.and_then(|filter| filter.app_name.as_deref());
    match app {
        Some(app) => {
            let environment = filter.and_then(|filter| filter.environment.as_deref());
            let has_app = actor.rights.shows_app(app);
            has_app && environment.is_none_or(|name| actor.rights.shows(app, Some(name)))
        }
        None => actor.rights.is_everything() || actor.rights.holds(Role::Viewer),
    }
}

impl Follower {
    /// Listens from now on; wants nothing before [`select`](Self::select).
    ///
    /// # Errors
    /// The actor may not read logs.
    pub fn new(px: &Platform, actor: Actor) -> Result<Self, Error> {
        let live = logs::subscribe(px, &actor)?;
        Ok(Self {
            live,
            px: px.clone(),
            actor,
            filter: None,
            text: None,
            position: px.parts().journal.stored(),
            heard: None,
            replay: None,
            is_owed: false,
            dropped: None,
            current: None,
        })
    }

    /// Only entries that this finds, by the rule of stored ones; from the next
    /// [`select`](Self::select) on. Returns what was searched for until now.
    pub fn search(&mut self, text: Option<TextQuery>) -> Option<TextQuery> {
        std::mem::replace(&mut self.text, text)
    }

    /// Makes a filter the current one. What the actor may not see is left out.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn select(&mut self, filter: LogFilter, start: Start) -> Result<(), Error> {
        let text = self.text.as_ref();
        let shown = logs::shown(&self.actor);
        // What may fail comes first: a refused wish changes nothing.
        match start {
            Start::Now | Start::Tail(0) => {
                if self.is_owed {
                    // What it was owed, it was owed under the former filter.
                    self.replay = None;
                    self.position = self.px.parts().journal.stored();
                } else if let Some(replay) = &mut self.replay {
                    replay.change_query(&filter, text, shown);
                }
                self.is_owed = false;
            }
            Start::Tail(count) => {
                // What was recorded just now is among the newest, though it may come live.
                self.px.parts().journal.flush().await;
                let position = self.px.parts().journal.stored();
                let page = Replay::newest(&self.px, &filter, text, shown, count).await?;
                // Newest first; and what has a higher number comes live.
                let lines = page.lines.into_iter().rev();
                let here = lines.filter(|line| line.cursor.sequence <= position);
                let entries = here.map(|line| line.entry).collect();
                self.current = Some((Recorded::read(entries), 0));
                self.replay = None;
                self.position = position;
                self.is_owed = false;
            }
            Start::Since(since) => {
                let replay = Replay::since(&self.px, &filter, text, shown, since).await?;
                self.current = None;
                self.replay = Some(replay);
                self.is_owed = true;
            }
        }
        self.filter = Some(filter);
        Ok(())
    }

    /// No entry is wanted until the next [`select`](Self::select).
    pub fn pause(&mut self) {
        self.filter = None;
        self.is_owed = false;
        self.replay = None;
        self.current = None;
        self.dropped = None;
    }

    /// The actor's rights may have changed: from the next entry on, they are what counts.
    ///
    /// # Errors
    /// The actor may not read logs any more, or nothing of what it listens to.
    pub fn rights_changed(&mut self, actor: Actor) -> Result<(), Error> {
        authorise(&self.px, &actor, Action::ReadLogs, Resource::Shown)?;
        if hears(&self.actor, self.filter.as_ref()) && !hears(&actor, self.filter.as_ref()) {
            let why = "what you listen to was taken out of your rights";
            return Err(Error::Unauthenticated { why });
        }
        self.actor = actor;
        if let Some(replay) = &mut self.replay {
            replay.narrow(logs::shown(&self.actor));
        }
        Ok(())
    }

    /// The next entries, at least one; `None` when the platform stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<Followed>> {
        loop {
            let burst = self.hand_on();
            if !burst.is_empty() {
                return Some(burst);
            }
            if let Some(replay) = &mut self.replay {
                // Nothing is taken out before this wait is over, so that giving up here loses
                // nothing.
                let page = replay.next(&self.px).await;
                self.take_page(page);
                continue;
            }
            let recorded = self.live.next().await?;
            self.take(recorded);
        }
    }

    /// What is wanted of what is here, up to a burst.
    fn hand_on(&mut self) -> Vec<Followed> {
        let mut burst = Vec::new();
        burst.extend(self.dropped.take().map(Followed::Dropped));
        let Some((recorded, start)) = self.current.take() else {
            return burst;
        };
        let mut at = start;
        while at < recorded.count() && burst.len() < BURST {
            if self.wants(&recorded.entries()[at]) {
                let recorded = Arc::clone(&recorded);
                burst.push(Followed::Entry(Shared { recorded, at }));
            }
            at += 1;
        }
        if at < recorded.count() {
            self.current = Some((recorded, at));
        }
        burst
    }

    /// Takes what came live, unless it was dealt with already.
    fn take(&mut self, recorded: Arc<Recorded>) {
        match recorded.place {
            Place::Read => {}
            Place::Unstored(number) => {
                // Who missed some is told all of them once more when they are stored.
                self.heard = match self.heard {
                    Some((first, last)) if number <= last + 1 => Some((first, last.max(number))),
                    _ => Some((number, number)),
                };
                self.current = Some((recorded, 0));
            }
            Place::Stored(first, told_before) => {
                let last = first + recorded.count() as u64 - 1;
                if last <= self.position {
                    return;
                }
                let missed = first.saturating_sub(self.position + 1);
                if missed > 0 && self.catch_up(missed) {
                    // These too are read from the store.
                    return;
                }
                self.is_owed = false;
                let start = (self.position + 1).saturating_sub(first);
                self.position = last;
                if !told_before.is_some_and(|number| self.has_heard(number)) {
                    self.current = Some((recorded, usize::try_from(start).unwrap_or(0)));
                }
            }
        }
    }

    fn has_heard(&self, number: u64) -> bool {
        self.heard
            .is_some_and(|(first, last)| (first..=last).contains(&number))
    }

    /// Whether it reads on from the store. Otherwise it is told what it missed.
    fn catch_up(&mut self, missed: u64) -> bool {
        let Some(filter) = &self.filter else {
            return false;
        };
        let is_near = missed <= MAX_BEHIND;
        let text = self.text.as_ref();
        let shown = logs::shown(&self.actor);
        let replay = Replay::behind(&self.px, filter, text, shown, self.position, self.is_owed);
        if let Some(replay) = replay.filter(|_| is_near || self.is_owed) {
            self.replay = Some(replay);
            return true;
        }
        self.note_dropped(missed);
        false
    }

    fn note_dropped(&mut self, count: u64) {
        let more = self.dropped.unwrap_or(0);
        self.dropped = (more + count > 0).then_some(more + count);
    }

    fn take_page(&mut self, page: Result<Piece, Error>) {
        match page {
            Ok(piece) => {
                self.current = Some((Recorded::read(piece.entries), 0));
                if let Some(position) = piece.caught_up {
                    self.position = position;
                    self.replay = None;
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a reader of the log cannot read on from the store"
                );
                let from = self
                    .replay
                    .take()
                    .map_or(self.position, |replay| replay.place());
                self.position = self.px.parts().journal.stored();
                self.is_owed = false;
                let missed = self.position.saturating_sub(from);
                self.note_dropped(missed);
            }
        }
    }

    /// Looked at for each entry and reader: nothing is allocated.
    fn wants(&self, entry: &LogEntry) -> bool {
        let metadata = &entry.flukedeploy_metadata;
        let (filter, text) = (self.filter.as_ref(), self.text.as_ref());
        filter.is_some_and(|filter| filter.matches(entry))
            && text.is_none_or(|text| text.matches_entry(entry))
            && self
                .actor
                .rights
                .shows(&metadata.app_name, metadata.environment.as_deref())
    }
}
