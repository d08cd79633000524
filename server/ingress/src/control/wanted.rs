//! Telling the control plane which sleeping apps somebody waits for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flukedeploy_domain::routing::IngressFrame;
use tokio::time::{Instant, sleep_until};

use crate::holds::Holds;
use crate::table::Target;

/// Each app is named at most this often on one link.
const EVERY: Duration = Duration::from_secs(1);

/// What one link has told.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    holds: &'a Holds,
    told: HashMap<Arc<Target>, Instant>,
    /// When somebody may have to be named next. At once on a new link.
    next: Option<Instant>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(holds: &'a Holds) -> Self {
        Self {
            holds,
            told: HashMap::new(),
            next: Some(Instant::now()),
        }
    }

    /// Waits until something may have to be told. May be dropped and called again.
    pub(super) async fn due(&mut self) {
        let never = Instant::now();
        tokio::select! {
            () = self.holds.news() => {}
            () = sleep_until(self.next.unwrap_or(never)), if self.next.is_some() => {}
        }
        // Even if what follows is given up.
        self.next = Some(Instant::now());
    }

    /// The frames to send now.
    pub(super) fn take(&mut self) -> Vec<IngressFrame> {
        let now = Instant::now();
        self.told.retain(|_, at| now < *at + EVERY);
        let all = self.holds.all_wanted();
        let mut frames = Vec::new();
        for target in &all {
            if self.told.contains_key(target) {
                continue;
            }
            self.told.insert(target.clone(), now);
            frames.push(IngressFrame::Wanted {
                app: target.app.clone(),
                environment: target.environment.clone(),
            });
        }
        let still = all.iter().filter_map(|target| self.told.get(target));
        self.next = still.min().map(|at| *at + EVERY);
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(app: &str) -> Arc<Target> {
        Arc::new(Target {
            app: app.parse().unwrap(),
            environment: "production".parse().unwrap(),
        })
    }

    #[tokio::test]
    async fn an_app_is_named_once_a_second_while_somebody_waits() {
        let holds = Holds::new(10);
        let mut wanted = Wanted::new(&holds);
        wanted.due().await;
        assert!(wanted.take().is_empty());
        let waiting = holds.want(&target("shop"));
        wanted.due().await;
        assert_eq!(wanted.take().len(), 1);
        let _second = holds.want(&target("shop"));
        wanted.due().await;
        assert!(wanted.take().is_empty(), "told a moment ago");
        let before = Instant::now();
        wanted.due().await;
        assert!(before.elapsed() > EVERY / 2);
        assert_eq!(wanted.take().len(), 1);

        let _other = holds.want(&target("blog"));
        wanted.due().await;
        assert_eq!(wanted.take().len(), 1, "another app is told at once");
        let mut next_link = Wanted::new(&holds);
        next_link.due().await;
        assert_eq!(next_link.take().len(), 2, "a new link has to be told all");
        drop(waiting);
    }
}
