//! When a `FlukeBase` that does not answer is left alone, and when it is tried again.

use time::OffsetDateTime;

use crate::webhook::pause_after;

/// Failures in a row after which it is left alone.
const PATIENCE: u32 = 3;

/// Closed, calls go through. After some failures in a row it opens, for longer and longer; then one
/// call may try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    open_until: Option<OffsetDateTime>,
}

impl Breaker {
    pub fn lets_through(&self, now: OffsetDateTime) -> bool {
        self.open_until.is_none_or(|until| until <= now)
    }

    /// Until when nothing is tried.
    pub fn open_until(&self) -> Option<OffsetDateTime> {
        self.open_until
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// `wish` is how long it asks to be left alone; `random` keeps many of us from coming back at once.
    pub fn failed(&mut self, now: OffsetDateTime, wish: Option<time::Duration>, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.saturating_sub(PATIENCE - 1);
        let pause = (beyond > 0).then(|| pause_after(beyond, random));
        let longest = pause_after(u32::MAX, random);
        let pause = pause.max(wish.map(|wish| wish.min(longest)));
        self.open_until = pause.map(|pause| now + pause);
    }

    /// It may be tried at once: there is a sign that it is back.
    pub fn half_open(&mut self) {
        self.open_until = None;
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    #[test]
    fn it_opens_after_three_failures_and_for_a_quarter_of_an_hour_at_most() {
        let mut breaker = Breaker::default();
        breaker.failed(NOW, None, 0);
        breaker.failed(NOW, None, 0);
        assert!(breaker.lets_through(NOW));
        breaker.failed(NOW, None, 0);
        assert!(!breaker.lets_through(NOW + time::Duration::seconds(4)));
        assert!(breaker.lets_through(NOW + time::Duration::seconds(5)));
        for _ in 0..100 {
            breaker.failed(NOW, None, 250);
        }
        let until = breaker.open_until().unwrap();
        assert!(until - NOW <= time::Duration::minutes(15), "{until}");
        breaker.succeeded();
        assert!(breaker.lets_through(NOW));
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_within_reason() {
        let mut breaker = Breaker::default();
        breaker.failed(NOW, Some(time::Duration::seconds(60)), 0);
        assert_eq!(breaker.open_until(), Some(NOW + time::Duration::minutes(1)));
        breaker.failed(NOW, Some(time::Duration::days(300)), 0);
        assert!(breaker.open_until().unwrap() - NOW <= time::Duration::minutes(15));
    }
}
