//! A pull's flood of messages, as a line now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Shortest time between two lines.
const PACE: Duration = Duration::from_secs(1);
/// More layers than any image has; what comes beyond is not counted.
const MAX_LAYERS: usize = 500;

#[derive(Default)]
struct Layer {
    current: u64,
    total: u64,
    is_done: bool,
}

#[derive(Default)]
pub(crate) struct Progress {
    layers: BTreeMap<String, Layer>,
    told_at: Option<Instant>,
}

impl Progress {
    /// Takes in one message about one layer, and returns a line when one is due.
    pub(crate) fn update(
        &mut self,
        layer: &str,
        status: &str,
        bytes: Option<(u64, u64)>,
        now: Instant,
    ) -> Option<String> {
        let is_layer = matches!(
            status,
            "Pulling fs layer"
                | "Waiting"
                | "Downloading"
                | "Verifying Checksum"
                | "Download complete"
                | "Extracting"
                | "Pull complete"
                | "Already exists"
        );
        if !is_layer || (self.layers.len() >= MAX_LAYERS && !self.layers.contains_key(layer)) {
            return None;
        }
        let entry = self.layers.entry(layer.to_owned()).or_default();
        match status {
            "Downloading" => {
                if let Some((current, total)) = bytes {
                    (entry.current, entry.total) = (current, total);
                }
            }
            "Download complete" => entry.current = entry.total,
            "Pull complete" | "Already exists" => {
                entry.current = entry.total;
                entry.is_done = true;
            }
            _ => {}
        }
        if self
            .told_at
            .is_some_and(|told_at| now.saturating_duration_since(told_at) < PACE)
        {
            return None;
        }
        self.told_at = Some(now);
        Some(self.line())
    }

    fn line(&self) -> String {
        let done = self.layers.values().filter(|layer| layer.is_done).count();
        let sum = |part: fn(&Layer) -> u64| {
            self.layers.values().map(part).fold(0, u64::saturating_add) / 1_000_000
        };
        let (current, total) = (sum(|layer| layer.current), sum(|layer| layer.total));
        let layers = self.layers.len();
        format!("{done} of {layers} layers are here, {current} of {total} MB were fetched")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_sums_the_layers_up() {
        let start = Instant::now();
        let mut progress = Progress::default();
        assert_eq!(progress.update("", "Pulling from shop", None, start), None);
        assert!(
            progress
                .update("a", "Pulling fs layer", None, start)
                .is_some()
        );
        let soon = start + Duration::from_millis(500);
        assert_eq!(
            progress.update("a", "Downloading", Some((2_000_000, 4_000_000)), soon),
            None
        );
        assert_eq!(progress.update("b", "Already exists", None, soon), None);
        assert_eq!(
            progress
                .update(
                    "c",
                    "Downloading",
                    Some((1_000_000, 9_000_000)),
                    start + PACE
                )
                .unwrap(),
            "1 of 3 layers are here, 3 of 13 MB were fetched"
        );
        assert_eq!(
            progress
                .update("a", "Pull complete", None, start + PACE * 2)
                .unwrap(),
            "2 of 3 layers are here, 5 of 13 MB were fetched"
        );
    }
}
