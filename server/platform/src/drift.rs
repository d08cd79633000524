//! What runs otherwise than it should, and is not put right by itself.

use std::collections::HashMap;
use std::sync::Mutex;

use flukedeploy_domain::names::{AppName, EnvironmentName};

type Key = (AppName, EnvironmentName);

/// What the last comparison found.
#[derive(Default)]
pub(crate) struct Drift(Mutex<HashMap<Key, Vec<String>>>);

impl Drift {
    /// Notes what a comparison found; true if it is news.
    pub(crate) fn note(
        &self,
        app: &AppName,
        environment: &EnvironmentName,
        found: Vec<String>,
    ) -> bool {
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (app.clone(), environment.clone());
        if found.is_empty() {
            all.remove(&key);
            return false;
        }
        all.insert(key, found.clone()) != Some(found)
    }

    pub(crate) fn of(&self, app: &AppName, environment: &EnvironmentName) -> Vec<String> {
        let all = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(&(app.clone(), environment.clone()))
            .cloned()
            .unwrap_or_default()
    }

    /// Apps with anything, in words.
    pub(crate) fn all(&self) -> Vec<String> {
        let all = self
            .0
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
