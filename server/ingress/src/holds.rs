//! Requests that wait because nobody can answer them yet: how many, and for which apps that sleep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::table::Target;

#[derive(Debug)]
pub(crate) struct Holds {
    max: usize,
    held: AtomicUsize,
    /// How many wait for each app that has to be woken.
    wanted: Mutex<HashMap<Arc<Target>, usize>>,
    news: Notify,
}

impl Holds {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            held: AtomicUsize::new(0),
            wanted: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// A place to wait in, if there is one left.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        let place = Place(self);
        // The guard gives back what is one too many.
        (self.held.fetch_add(1, Ordering::Relaxed) < self.max).then_some(place)
    }

    /// Says that an app is wanted, for as long as the answer lives.
    pub(crate) fn want(&self, target: &Arc<Target>) -> Want<'_> {
        *self.wanted().entry(target.clone()).or_default() += 1;
        self.news.notify_one();
        let target = target.clone();
        Want {
            holds: self,
            target,
        }
    }

    /// The apps that somebody waits for now.
    pub(crate) fn all_wanted(&self) -> Vec<Arc<Target>> {
        self.wanted().keys().cloned().collect()
    }

    /// Resolves when somebody has begun to wait; for one listener.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<Arc<Target>, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Holds);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request that waits for an app to wake.
#[derive(Debug)]
pub(crate) struct Want<'a> {
    holds: &'a Holds,
    pub(crate) target: Arc<Target>,
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        let mut wanted = self.holds.wanted();
        if let Some(waiting) = wanted.get_mut(&self.target) {
            *waiting -= 1;
            if *waiting == 0 {
                wanted.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let holds = Holds::new(2);
        let one = holds.enter();
        let two = holds.enter();
        assert!(one.is_some() && two.is_some());
        assert!(holds.enter().is_none());
        drop(one);
        assert!(holds.enter().is_some());
    }

    #[test]
    fn an_app_is_wanted_until_the_last_one_left() {
        let target = Arc::new(Target {
            app: "shop".parse().unwrap(),
            environment: "production".parse().unwrap(),
        });
        let holds = Holds::new(2);
        let (one, two) = (holds.want(&target), holds.want(&target));
        drop(one);
        assert_eq!(holds.all_wanted(), std::slice::from_ref(&target));
        drop(two);
        assert!(holds.all_wanted().is_empty());
    }
}
