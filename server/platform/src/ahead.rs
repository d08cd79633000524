//! While nothing can be stored, what replicas print stays where it is. Who listens gets it all the
//! same: reading goes on ahead of what waits to be stored, and what was told then is not told again.

use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;

use crate::collector;
use crate::meaning::{Printed, Streams};
use crate::platform::Platform;
use crate::ports::Logged;
use crate::reading::Reading;

/// Before reading that was interrupted is begun anew.
const AGAIN: Duration = Duration::from_secs(1);
/// Entries that are told at once, if so many are there.
const AT_ONCE: usize = 1_000;

/// Records what one service prints.
pub(crate) struct Ahead<'a> {
    px: &'a Platform,
    service: &'a str,
    told: Option<Told>,
    /// The platform stops while nothing can be stored: what comes behind must not be recorded
    /// either. All of it is read again.
    gave_up: bool,
}

/// What live readers have that is not recorded yet.
struct Told {
    up_to: Reading,
    /// Under which the first of it was told.
    number: u64,
}

impl<'a> Ahead<'a> {
    pub(crate) fn new(px: &'a Platform, service: &'a str) -> Self {
        Self {
            px,
            service,
            told: None,
            gave_up: false,
        }
    }

    /// Records what was printed, and how far it was read, as one. Waits for room.
    pub(crate) async fn record(
        &mut self,
        reading: &mut Reading,
        printed: &mut Vec<Printed>,
        line_of: &mut (impl FnMut(Printed) -> Logged + Send),
    ) {
        if self.told.is_none() {
            let part = std::mem::take(printed);
            return self.record_part(reading, part, false, line_of).await;
        }
        while let Some(first) = printed.first() {
            let was_told = self.has_told(first);
            let end = printed
                .iter()
                .position(|one| self.has_told(one) != was_told)
                .unwrap_or(printed.len());
            let part = printed.drain(..end).collect();
            self.record_part(reading, part, was_told, line_of).await;
        }
        self.told.take_if(|told| !reading.is_behind(&told.up_to));
    }

    fn has_told(&self, printed: &Printed) -> bool {
        self.told
            .as_ref()
            .is_some_and(|told| told.up_to.has(printed))
    }

    async fn record_part(
        &mut self,
        reading: &mut Reading,
        printed: Vec<Printed>,
        was_told: bool,
        line_of: &mut (impl FnMut(Printed) -> Logged + Send),
    ) {
        if printed.is_empty() || self.gave_up {
            return;
        }
        let positions = reading.behind(&printed);
        let logged: Vec<_> = printed.into_iter().map(&mut *line_of).collect();
        let mut number = self
            .told
            .as_ref()
            .map(|told| told.number)
            .filter(|_| was_told);
        let room = self.room(reading, &logged, &mut number, line_of).await;
        if let Some(room) = room {
            let journal = &self.px.parts().journal;
            journal.record_read(room, logged, positions, number).await;
        } else {
            self.gave_up = true;
        }
    }

    /// Room for these entries; `reading` is behind them. They are told if there is none for now.
    /// `None`: the platform stops.
    async fn room(
        &mut self,
        reading: &Reading,
        logged: &[Logged],
        number: &mut Option<u64>,
        line_of: &mut (impl FnMut(Printed) -> Logged + Send),
    ) -> Option<OwnedSemaphorePermit> {
        let journal = &self.px.parts().journal;
        let stop = self.px.stopping();
        let mut room = std::pin::pin!(journal.room(logged.len()));
        let mut giving_up = std::pin::pin!(journal.stands_still(|| stop.is_cancelled()));
        tokio::select! {
            biased;
            room = &mut room => return room,
            () = &mut giving_up => return None,
            () = journal.must_tell_ahead() => {}
        }
        // What waits for the store was told first.
        journal.flush().await;
        let first = *number.get_or_insert_with(|| journal.tell_ahead(logged.to_vec()));
        let told = self.told.get_or_insert_with(|| Told {
            up_to: reading.clone(),
            number: first,
        });
        told.up_to.catch_up(reading);
        tokio::select! {
            biased;
            room = &mut room => room,
            () = &mut giving_up => None,
            () = self.read_on(line_of) => None,
        }
    }

    /// Never ends by itself.
    async fn read_on(&mut self, line_of: &mut (impl FnMut(Printed) -> Logged + Send)) {
        let Some(told) = &mut self.told else { return };
        let parts = self.px.parts();
        loop {
            let read_to = told.up_to.read_to();
            let mut lines = parts.engine.follow_logs(self.service, &read_to);
            let mut streams = Streams::default();
            let mut printed = Vec::new();
            loop {
                let mut next = tokio::select! {
                    next = lines.next() => Some(next),
                    () = collector::until(streams.due()) => None,
                };
                let now = Instant::now();
                while let Some(Some(Ok(lines_read))) = next {
                    streams.feed(lines_read, now, &mut |one| printed.push(one));
                    if printed.len() >= AT_ONCE {
                        next = None;
                        break;
                    }
                    next = lines.next().now_or_never();
                }
                let is_over = next.is_some();
                streams.tick(now, &mut |one| printed.push(one));
                if !printed.is_empty() {
                    // It is the position of who was told, and not stored.
                    drop(told.up_to.behind(&printed));
                    let logged = printed.drain(..).map(&mut *line_of).collect();
                    parts.journal.tell_ahead(logged);
                    parts.journal.may_tell_ahead().await;
                }
                if is_over {
                    break;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
