//! Slows guessing down without locking anybody out.
//!
//! What is counted is counted per account *and* place (an IPv4 address, or an IPv6 network), and
//! per place alone: nobody's guesses elsewhere reach the owner. A browser that signed in before
//! shows so ([`device`](super::device)) and is counted by itself, so that not even guesses from the
//! owner's own address do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Attempts of one kind that may be made at once.
const FREE: u32 = 5;
/// Attempts of one place, whatever the account: against spraying one password over many names.
const BUDGET: f64 = 30.0;
/// One more after this time.
const REFILL: Duration = Duration::from_secs(10);
const MAX_TRACKED: usize = 10_000;
const FORGOTTEN: Duration = Duration::from_mins(10);

/// What an attempt counts against.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    keys: Vec<String>,
    place: Option<String>,
}

impl Attempt {
    /// A password for this account, from there.
    pub(crate) fn password(name: &str, place: &str, device: Option<&str>) -> Self {
        Self::of("password", name, place, device)
    }

    /// A one-time code. Six digits are few: without a known browser, all places together are
    /// counted as well. Whoever has the password and guesses can make the owner wait so; a recovery
    /// code, or a known browser, does not.
    pub(crate) fn code(account: &str, place: &str, device: Option<&str>) -> Self {
        let mut attempt = Self::of("code", account, place, device);
        if device.is_none() {
            attempt.keys.push(key(&["code", account]));
        }
        attempt
    }

    pub(crate) fn recovery_code(account: &str, place: &str, device: Option<&str>) -> Self {
        Self::of("recovery", account, place, device)
    }

    /// Somebody goes to the sign-in provider, or comes back as nobody known here.
    pub(crate) fn elsewhere(place: &str) -> Self {
        Self {
            keys: Vec::new(),
            place: Some(place.to_owned()),
        }
    }

    /// A proof within a session: whoever took it over must not guess on.
    pub(crate) fn proof(account: &str, session: &str) -> Self {
        Self {
            keys: vec![key(&["proof", account, session])],
            place: None,
        }
    }

    fn of(kind: &str, account: &str, place: &str, device: Option<&str>) -> Self {
        match device {
            Some(device) => Self {
                keys: vec![key(&[kind, account, "device", device])],
                place: None,
            },
            None => Self {
                keys: vec![key(&[kind, account, "place", place])],
                place: Some(place.to_owned()),
            },
        }
    }
}

fn key(parts: &[&str]) -> String {
    parts.join("\0")
}

#[derive(Default)]
struct Tables {
    failures: HashMap<String, (u32, Instant)>,
    budgets: HashMap<String, (f64, Instant)>,
}

#[derive(Default)]
pub(crate) struct SignInLimits(Mutex<Tables>);

impl SignInLimits {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt as failed before it is made, since many made at once must not all be
    /// let through. Returns how long to wait if it may not be made now.
    pub(crate) fn attempt(&self, attempt: &Attempt) -> Result<(), Duration> {
        let mut tables = self.tables();
        let now = Instant::now();
        let waits = attempt
            .keys
            .iter()
            .filter_map(|key| tables.failures.get(key).and_then(|known| wait(*known, now)));
        if let Some(wait) = waits.max() {
            return Err(wait);
        }
        if let Some(place) = &attempt.place {
            let left = tables
                .budgets
                .get(place)
                .map_or(BUDGET, |known| refilled(*known, now));
            if left < 1.0 {
                return Err(REFILL.mul_f64(1.0 - left));
            }
            make_room(&mut tables.budgets, now);
            tables.budgets.insert(place.clone(), (left - 1.0, now));
        }
        for key in &attempt.keys {
            make_room(&mut tables.failures, now);
            let count = tables.failures.get(key).map_or(0, |(count, _)| *count);
            tables
                .failures
                .insert(key.clone(), (count.saturating_add(1), now));
        }
        Ok(())
    }

    /// It was right: nothing is counted of it, and what was counted for the account there is
    /// forgotten.
    pub(crate) fn succeeded(&self, attempt: &Attempt) {
        let mut tables = self.tables();
        let now = Instant::now();
        for key in &attempt.keys {
            tables.failures.remove(key);
        }
        if let Some(place) = &attempt.place
            && let Some(known) = tables.budgets.get_mut(place)
        {
            *known = ((refilled(*known, now) + 1.0).min(BUDGET), now);
        }
    }
}

fn wait((count, last): (u32, Instant), now: Instant) -> Option<Duration> {
    let over = count.checked_sub(FREE)?;
    let delay = Duration::from_secs(1u64 << over.min(6));
    delay
        .checked_sub(now.saturating_duration_since(last))
        .filter(|wait| !wait.is_zero())
}

fn refilled((left, at): (f64, Instant), now: Instant) -> f64 {
    let more = now.saturating_duration_since(at).as_secs_f64() / REFILL.as_secs_f64();
    (left + more).min(BUDGET)
}

/// Old entries go, and if there are none the oldest.
fn make_room<V>(table: &mut HashMap<String, (V, Instant)>, now: Instant) {
    if table.len() < MAX_TRACKED {
        return;
    }
    table.retain(|_, (_, at)| now.saturating_duration_since(*at) < FORGOTTEN);
    if table.len() >= MAX_TRACKED
        && let Some(oldest) = table
            .iter()
            .min_by_key(|(_, (_, at))| *at)
            .map(|(key, _)| key.clone())
    {
        table.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_at_one_place_are_no_matter_elsewhere() {
        let limits = SignInLimits::default();
        let there = Attempt::password("ann", "203.0.113.9", None);
        for _ in 0..FREE {
            assert!(limits.attempt(&there).is_ok());
        }
        assert!(limits.attempt(&there).is_err());
        for other in [
            Attempt::password("ann", "198.51.100.7", None),
            Attempt::password("bob", "203.0.113.9", None),
            Attempt::password("ann", "203.0.113.9", Some("d1")),
        ] {
            assert!(limits.attempt(&other).is_ok(), "{other:?}");
        }
    }

    #[test]
    fn spraying_over_names_uses_a_places_budget_up() {
        let limits = SignInLimits::default();
        let tried = (0..200)
            .filter(|n| {
                let attempt = Attempt::password(&format!("name{n}"), "203.0.113.9", None);
                limits.attempt(&attempt).is_ok()
            })
            .count();
        assert!((30..=31).contains(&tried), "{tried}");
        // Who is known there gets in, and so does everybody from elsewhere.
        let known = Attempt::password("ann", "203.0.113.9", Some("d1"));
        assert!(limits.attempt(&known).is_ok());
        assert!(
            limits
                .attempt(&Attempt::password("ann", "::/64", None))
                .is_ok()
        );
    }

    #[test]
    fn what_was_right_is_not_counted() {
        let limits = SignInLimits::default();
        let attempt = Attempt::password("ann", "203.0.113.9", None);
        for _ in 0..500 {
            assert!(limits.attempt(&attempt).is_ok());
            limits.succeeded(&attempt);
        }
    }

    #[test]
    fn codes_are_counted_over_all_places_but_not_those_of_recovery() {
        let limits = SignInLimits::default();
        let tried = (0..20)
            .filter(|n| {
                let place = format!("203.0.113.{n}");
                limits.attempt(&Attempt::code("a1", &place, None)).is_ok()
            })
            .count();
        assert!((5..=6).contains(&tried), "{tried}");
        let known = Attempt::code("a1", "203.0.113.1", Some("d1"));
        assert!(limits.attempt(&known).is_ok());
        let recovery = Attempt::recovery_code("a1", "198.51.100.7", None);
        assert!(limits.attempt(&recovery).is_ok());
    }
}
