//! One reader of the log: what is stored, if it wants that first, and then what comes.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::log_entry::LogFilter;
use tokio::time::Instant;

use crate::error::Error;
use crate::journal::{Live, Recorded, Subscription};
use crate::logs::{self, ReadLogs};
use crate::platform::Platform;

/// Entries handed on at once: lines come in bursts, and what is written together costs one call of
/// the system.
const BURST: usize = 256;
/// How long lines gather behind a burst. The first line after a pause waits for nothing.
const GATHER: Duration = Duration::from_millis(25);
/// After this time no live entry can be one that was read from the store.
const OVERLAP: Duration = Duration::from_secs(30);

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The entry's id and its JSON.
    Entry { id: String, json: Bytes },
    /// The reader was too slow for this many entries of the whole log.
    Dropped(u64),
}

/// A reader's place in the log. It is subscribed before anything is read from the store: what
/// happens from then on reaches it, and what was read in between is told apart by its id, so that
/// nothing is missing and nothing doubled where the stored meet the live.
pub struct Follower {
    px: Platform,
    actor: Actor,
    live: Subscription,
    /// `None`: it wants nothing now.
    filter: Option<LogFilter>,
    stored: VecDeque<Followed>,
    /// Ids read from the store that may come once more from the live side.
    replayed: HashSet<String>,
    replayed_until: Instant,
    gathered_until: Instant,
}

impl Follower {
    /// Listens from now on; wants nothing before [`select`](Self::select).
    ///
    /// # Errors
    /// The actor may not read logs.
    pub fn new(px: &Platform, actor: Actor) -> Result<Self, Error> {
        let now = Instant::now();
        Ok(Self {
            live: logs::subscribe(px, &actor)?,
            px: px.clone(),
            actor,
            filter: None,
            stored: VecDeque::new(),
            replayed: HashSet::new(),
            replayed_until: now,
            gathered_until: now,
        })
    }

    /// Makes a filter the current one. The newest `tail` stored entries that match come first.
    ///
    /// # Errors
    /// The actor may not see what the filter asks for; the store does not answer.
    pub async fn select(&mut self, filter: LogFilter, tail: u32) -> Result<(), Error> {
        logs::authorise_filter(&self.actor, &filter)?;
        self.stored.clear();
        self.replayed.clear();
        self.filter = Some(filter.clone());
        if tail == 0 {
            return Ok(());
        }
        let request = ReadLogs {
            filter,
            limit: tail,
            ..ReadLogs::default()
        };
        let page = logs::read_logs(&self.px, &self.actor, request).await?;
        self.replayed = page.entries.iter().map(|entry| entry.id.clone()).collect();
        self.replayed_until = Instant::now() + OVERLAP;
        // The newest were asked for, so they came newest first.
        let oldest_first = page.entries.into_iter().rev();
        self.stored = oldest_first
            .map(|entry| told(&Recorded::new(entry)))
            .collect();
        Ok(())
    }

    /// No entry is wanted until the next [`select`](Self::select).
    pub fn pause(&mut self) {
        self.filter = None;
        self.stored.clear();
    }

    /// The next entries, at least one; `None` when the platform stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<Followed>> {
        loop {
            if !self.stored.is_empty() {
                let count = self.stored.len().min(BURST);
                return Some(self.stored.drain(..count).collect());
            }
            // Nothing is taken out before this wait is over, so that giving up here loses nothing.
            tokio::time::sleep_until(self.gathered_until).await;
            let first = self.live.next().await?;
            let burst = self.take(first);
            if !burst.is_empty() {
                self.gathered_until = Instant::now() + GATHER;
                return Some(burst);
            }
        }
    }

    /// `first` and what is there already.
    fn take(&mut self, first: Live) -> Vec<Followed> {
        if self.replayed_until < Instant::now() && !self.replayed.is_empty() {
            self.replayed = HashSet::new();
        }
        let mut burst = Vec::new();
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(live) = next {
            match live {
                Live::Entry(entry) if self.wants(&entry) => burst.push(told(&entry)),
                Live::Dropped(count) if self.filter.is_some() => {
                    burst.push(Followed::Dropped(count));
                }
                Live::Entry(_) | Live::Dropped(_) => {}
            }
            taken += 1;
            next = if taken < BURST {
                self.live.try_next()
            } else {
                None
            };
        }
        burst
    }

    fn wants(&self, entry: &Arc<Recorded>) -> bool {
        self.filter
            .as_ref()
            .is_some_and(|filter| filter.matches(entry))
            && !self.replayed.contains(&entry.id)
    }
}

fn told(entry: &Recorded) -> Followed {
    Followed::Entry {
        id: entry.id.clone(),
        json: entry.json(),
    }
}
