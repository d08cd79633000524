//! What was measured of a release's traffic: counts that only rise, and windows between two of them.

use serde::{Deserialize, Serialize};

/// Buckets of [`LatencyCounts`].
pub const LATENCY_BUCKETS: usize = 64;
/// Width of the smallest bucket, in microseconds.
const UNIT_MICROS: u64 = 128;

/// How many requests took how long until their answer began. Four buckets per doubling, from
/// 128 µs to 16 s, so that a percentile is off by a quarter at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u8, u64)>", into = "Vec<(u8, u64)>")]
pub struct LatencyCounts([u64; LATENCY_BUCKETS]);

impl Default for LatencyCounts {
    fn default() -> Self {
        Self([0; LATENCY_BUCKETS])
    }
}

impl From<Vec<(u8, u64)>> for LatencyCounts {
    fn from(filled: Vec<(u8, u64)>) -> Self {
        let mut counts = Self::default();
        for (bucket, count) in filled {
            if let Some(slot) = counts.0.get_mut(usize::from(bucket)) {
                *slot = count;
            }
        }
        counts
    }
}

impl From<LatencyCounts> for Vec<(u8, u64)> {
    fn from(counts: LatencyCounts) -> Self {
        (0_u8..)
            .zip(counts.0)
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

impl LatencyCounts {
    pub fn from_buckets(buckets: [u64; LATENCY_BUCKETS]) -> Self {
        Self(buckets)
    }

    /// The bucket of a latency.
    pub fn bucket_of(micros: u64) -> usize {
        let units = micros / UNIT_MICROS;
        if units < 4 {
            return usize::try_from(units).unwrap_or(0);
        }
        let exponent = units.ilog2();
        let quarter = (units >> (exponent - 2)) & 3;
        let index = u64::from(exponent - 1) * 4 + quarter;
        usize::try_from(index)
            .unwrap_or(LATENCY_BUCKETS)
            .min(LATENCY_BUCKETS - 1)
    }

    /// The longest latency that falls into a bucket, in microseconds.
    fn upper_micros(bucket: usize) -> u64 {
        let bucket = u64::try_from(bucket).unwrap_or(0);
        if bucket < 4 {
            return (bucket + 1) * UNIT_MICROS;
        }
        let (exponent, quarter) = (bucket / 4 + 1, bucket % 4);
        ((5 + quarter) << (exponent - 2)) * UNIT_MICROS
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What `per_cent` of 100 requests were at most as slow as, in microseconds; `None` of none.
    pub fn percentile_micros(&self, per_cent: u64) -> Option<u64> {
        let total = self.total();
        let wanted = (total * per_cent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Some(Self::upper_micros(bucket));
            }
        }
        None
    }

    fn add(&mut self, other: &Self) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine += more;
        }
    }

    fn less(&self, before: &Self) -> Self {
        let mut left = self.clone();
        for (mine, less) in left.0.iter_mut().zip(before.0) {
            *mine = mine.saturating_sub(less);
        }
        left
    }
}

/// Requests to one release: since its ingresses began to count, or within a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Answered or given up.
    pub requests: u64,
    /// Answers 5xx of the app, and requests that got no answer.
    pub failed: u64,
    #[serde(default)]
    pub latency: LatencyCounts,
}

impl Traffic {
    /// Counts of another ingress for the same release.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.latency.add(&other.latency);
    }

    /// What came after `before`. An ingress that began anew counts from 0 again: then all it has
    /// is new.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if self.requests < before.requests {
            return self.clone();
        }
        Self {
            requests: self.requests - before.requests,
            failed: self.failed.saturating_sub(before.failed),
            latency: self.latency.less(&before.latency),
        }
    }

    /// Failed requests in a thousand; `None` of none.
    pub fn failed_permille(&self) -> Option<u32> {
        if self.requests == 0 {
            return None;
        }
        let permille = (self.failed * 1_000).div_ceil(self.requests);
        Some(u32::try_from(permille).unwrap_or(u32::MAX))
    }

    pub fn p95_ms(&self) -> Option<u64> {
        Some(self.latency.percentile_micros(95)?.div_ceil(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(micros: &[u64]) -> LatencyCounts {
        let mut buckets = [0; LATENCY_BUCKETS];
        for &one in micros {
            buckets[LatencyCounts::bucket_of(one)] += 1;
        }
        LatencyCounts::from_buckets(buckets)
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_a_quarter_at_most(mut micros in prop::collection::vec(1u64..16_000_000, 1..200)) {
            let found = counts(&micros).percentile_micros(95).unwrap();
            micros.sort_unstable();
            let exact = micros[(micros.len() * 95).div_ceil(100) - 1];
            prop_assert!(found >= exact && found <= exact + exact / 4 + UNIT_MICROS, "{found} {exact}");
        }

        #[test]
        fn buckets_rise(a in 0u64..u64::MAX, b in 0u64..u64::MAX) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(LatencyCounts::bucket_of(low) <= LatencyCounts::bucket_of(high));
        }
    }

    #[test]
    fn windows_survive_an_ingress_that_begins_anew() {
        let traffic = |requests, failed| Traffic {
            requests,
            failed,
            latency: counts(&vec![1_000; usize::try_from(requests).unwrap()]),
        };
        let window = traffic(30, 3).since(&traffic(10, 1));
        assert_eq!(
            (window.requests, window.failed, window.latency.total()),
            (20, 2, 20)
        );
        assert_eq!(traffic(5, 1).since(&traffic(10, 1)).requests, 5);
        assert_eq!(traffic(30, 3).failed_permille(), Some(100));
    }

    #[test]
    fn only_filled_buckets_travel() {
        let json = serde_json::to_string(&counts(&[130, 140])).unwrap();
        assert_eq!(json, "[[1,2]]");
        assert_eq!(
            serde_json::from_str::<LatencyCounts>(&json).unwrap(),
            counts(&[130, 140])
        );
    }
}
