//! Not more requests than a server of theirs is said to bear.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Requests in any minute; 100 are promised.
pub const PER_MINUTE: usize = 90;
const MINUTE: Duration = Duration::from_mins(1);

/// Lets [`PER_MINUTE`] requests through in any minute, and makes others wait.
#[derive(Default)]
pub(crate) struct Pace(Mutex<VecDeque<Instant>>);

impl Pace {
    pub(crate) async fn turn(&self) {
        while let Some(at) = self.take(Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
    }

    /// `None`: go. Else when to ask again.
    fn take(&self, now: Instant) -> Option<Instant> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while sent.front().is_some_and(|first| now - *first >= MINUTE) {
            sent.pop_front();
        }
        if sent.len() < PER_MINUTE {
            sent.push_back(now);
            return None;
        }
        sent.front().map(|first| *first + MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninety_first_of_a_minute_waits_for_its_end() {
        let (pace, begun) = (Pace::default(), Instant::now());
        for _ in 0..PER_MINUTE {
            assert_eq!(pace.take(begun), None);
        }
        let later = begun + Duration::from_secs(20);
        assert_eq!(pace.take(later), Some(begun + MINUTE));
        assert_eq!(pace.take(begun + MINUTE), None);
    }
}
