//! What runs otherwise than it should, and is not put right by itself.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use flukedeploy_domain::names::{AppName, EnvironmentName};

type Key = (AppName, EnvironmentName);

/// What the last comparison found.
#[derive(Default)]
pub(crate) struct Drift {
    found: Mutex<HashMap<Key, Vec<String>>>,
    changes: AtomicU64,
}

impl Drift {
    /// Notes what a comparison found; true if it is news.
    pub(crate) fn note(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        found: Vec<String>,
    ) -> bool {
        let mut all = self
            .found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (app.clone(), environment.clone());
        if all.get(&key).map_or(&[][..], Vec::as_slice) == found {
            return false;
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
        if found.is_empty() {
            all.remove(&key);
            return false;
        }
        all.insert(key, found);
        true
    }

    /// Rises with every change.
    pub(crate) fn change_count(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(crate) fn of(&self, app: &AppName, environment: &EnvironmentName) -> Vec<String> {
        let all = self
            .found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(&(app.clone(), environment.clone()))
            .cloned()
            .unwrap_or_default()
    }

    /// Apps with anything, in words.
    pub(crate) fn all(&self) -> Vec<String> {
        let all = self
            .found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut words: Vec<String> = all
            .iter()
            .map(|((app, _), found)| {
                format!(
                    "app {app} was changed behind our back: {}",
                    found.join(", ")
                )
            })
            .collect();
        words.sort();
        words
    }
}
