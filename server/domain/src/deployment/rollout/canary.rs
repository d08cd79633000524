//! Whether a release does worse than the one before it, from what the ingress measured.

use crate::app::{CanarySettings, Objective};
use crate::traffic::Traffic;

/// Latencies this near are the same, whatever their ratio.
const SLACK_MS: u64 = 25;
/// Of an error rate, this many standard errors below what was seen are believed at least.
const CERTAINTY: f64 = 2.33;
/// Fewer failures than this may be bad luck, however few requests there were.
const FEW_FAILURES: u64 = 3;

/// What a window of traffic says about a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Not enough time yet, and nothing alarming.
    Undecided,
    Fine,
    /// Worse than allowed; how, in words.
    Worse(String),
    /// The time is over and too few requests came.
    Quiet,
}

/// Compares a canary with the former release over the same time. What is clear is said before the
/// window is over.
pub fn judge(
    settings: &CanarySettings,
    canary: &Traffic,
    former: &Traffic,
    window_is_over: bool,
) -> Judgement {
    let allowed = rate(former) + f64::from(settings.max_extra_errors_permille) / 1_000.0;
    let errors = || {
        format!(
            "{} of {} requests to the new release failed, {} of {} to the former one at the same time",
            canary.failed, canary.requests, former.failed, former.requests
        )
    };
    if canary.failed >= FEW_FAILURES && at_least(canary) > allowed {
        return Judgement::Worse(errors());
    }
    if !window_is_over {
        return Judgement::Undecided;
    }
    if canary.requests < u64::from(settings.min_requests) {
        return Judgement::Quiet;
    }
    if canary.failed >= FEW_FAILURES && rate(canary) > allowed {
        return Judgement::Worse(errors());
    }
    if let (Some(new), Some(old)) = (canary.p95_ms(), former.p95_ms())
        && former.requests >= u64::from(settings.min_requests)
        && new > old * u64::from(settings.max_latency_percent) / 100 + SLACK_MS
    {
        return Judgement::Worse(format!(
            "95 of 100 requests were answered within {new} ms by the new release, within {old} ms by the former one"
        ));
    }
    Judgement::Fine
}

/// How a release that serves breaks its app's objective, in words; `None` if it does not, or too
/// little is known. What the former release did not keep either is no reason to go back to it.
pub fn broken_promise(
    objective: &Objective,
    former_errors_permille: Option<u32>,
    seen: &Traffic,
) -> Option<String> {
    if seen.requests < u64::from(objective.min_requests) {
        return None;
    }
    let promised = f64::from(objective.max_errors_permille) / 1_000.0;
    let before = f64::from(former_errors_permille.unwrap_or(0)) / 1_000.0;
    if at_least(seen) > promised && rate(seen) > 2.0 * before {
        return Some(format!(
            "{} of {} requests failed; the objective allows {} in a thousand",
            seen.failed, seen.requests, objective.max_errors_permille
        ));
    }
    let (p95, limit) = (seen.p95_ms()?, objective.max_p95_ms?);
    (p95 > u64::from(limit)).then(|| {
        format!("95 of 100 requests were answered within {p95} ms; the objective allows {limit} ms")
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate; beyond 2^53 requests nobody minds"
)]
fn rate(traffic: &Traffic) -> f64 {
    if traffic.requests == 0 {
        return 0.0;
    }
    traffic.failed as f64 / traffic.requests as f64
}

/// The error rate that is there at least, given how few requests were seen: the lower end of the
/// Wilson score interval (E. B. Wilson, 1927).
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate; beyond 2^53 requests nobody minds"
)]
fn at_least(traffic: &Traffic) -> f64 {
    if traffic.failed == 0 {
        return 0.0;
    }
    let (n, p, z) = (traffic.requests as f64, rate(traffic), CERTAINTY);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    (p + z * z / (2.0 * n) - spread) / (1.0 + z * z / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{LATENCY_BUCKETS, LatencyCounts};
    use proptest::prelude::*;

    fn traffic(requests: u64, failed: u64, micros: u64) -> Traffic {
        let mut buckets = [0; LATENCY_BUCKETS];
        buckets[LatencyCounts::bucket_of(micros)] = requests;
        Traffic {
            requests,
            failed,
            latency: LatencyCounts::from_buckets(buckets),
        }
    }

    fn is_worse(judgement: &Judgement) -> bool {
        matches!(judgement, Judgement::Worse(_))
    }

    #[test]
    fn five_failures_in_a_hundred_show_before_the_window_is_over() {
        let settings = CanarySettings::default();
        let old = traffic(2_000, 0, 2_000);
        assert!(is_worse(&judge(
            &settings,
            &traffic(100, 5, 2_000),
            &old,
            false
        )));
        assert_eq!(
            judge(&settings, &traffic(100, 0, 2_000), &old, false),
            Judgement::Undecided
        );
        assert_eq!(
            judge(&settings, &traffic(100, 0, 2_000), &old, true),
            Judgement::Fine
        );
        assert_eq!(
            judge(&settings, &traffic(10, 0, 2_000), &old, true),
            Judgement::Quiet
        );
    }

    #[test]
    fn what_the_former_release_does_as_well_is_not_held_against_the_canary() {
        let settings = CanarySettings::default();
        let old = traffic(2_000, 200, 2_000);
        assert_eq!(
            judge(&settings, &traffic(200, 20, 2_000), &old, true),
            Judgement::Fine
        );
        assert_eq!(
            broken_promise(&Objective::default(), Some(100), &traffic(500, 60, 1)),
            None
        );
        assert!(broken_promise(&Objective::default(), Some(0), &traffic(500, 60, 1)).is_some());
    }

    #[test]
    fn slowness_counts_only_where_it_can_be_felt() {
        let settings = CanarySettings::default();
        let old = traffic(2_000, 0, 2_000);
        assert_eq!(
            judge(&settings, &traffic(200, 0, 20_000), &old, true),
            Judgement::Fine
        );
        assert!(is_worse(&judge(
            &settings,
            &traffic(200, 0, 90_000),
            &old,
            true
        )));
    }

    proptest! {
        /// A canary that never fails is never called worse for its errors; one that always fails is.
        #[test]
        fn extremes_are_clear(requests in 20u64..10_000, former in 20u64..10_000) {
            let settings = CanarySettings::default();
            let old = traffic(former, 0, 1_000);
            prop_assert!(!is_worse(&judge(&settings, &traffic(requests, 0, 1_000), &old, true)));
            prop_assert!(is_worse(&judge(&settings, &traffic(requests, requests, 1_000), &old, false)));
        }
    }
}
