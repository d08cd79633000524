//! Which replicas run and who gets which share, step by step.

use super::super::record::Strategy;
use super::decide::Share;
use crate::app::RolloutSettings;

/// One step: grow the new release, prove it, give it its share, shrink the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Replicas of the new release that must be healthy.
    pub new: u32,
    /// Replicas of the former release that stay afterwards.
    pub old: u32,
    pub share: Share,
    /// The new release is measured against the former one before the next step.
    pub judged: bool,
}

/// The way from the former release to the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub wanted: u32,
    /// Replicas the former release had at the beginning; `None` if nothing serves.
    pub former: Option<u32>,
    /// The former release stops before the new one starts; requests wait meanwhile.
    pub stop_first: bool,
    /// Replicas that may be missing on the way.
    pub may_miss: u32,
    pub steps: Vec<Step>,
}

impl Plan {
    /// `former`: replicas of the release that serves, if one does.
    pub fn new(
        strategy: Strategy,
        wanted: u32,
        former: Option<u32>,
        settings: &RolloutSettings,
    ) -> Self {
        let all = |old| Step {
            new: wanted,
            old,
            share: Share::ALL,
            judged: false,
        };
        let mut may_miss = 0;
        let (stop_first, steps) = match (strategy, former) {
            (Strategy::Recreate, Some(_)) => (true, vec![all(0)]),
            // With nothing to compare with and nobody to protect, all at once is best.
            (_, None) => (false, vec![all(0)]),
            (Strategy::BlueGreen, Some(old)) => (false, vec![all(old)]),
            (Strategy::Rolling, Some(old)) => {
                may_miss = settings.max_unavailable.of(wanted).min(wanted);
                let surge = settings.max_surge.of(wanted);
                (false, rolling(wanted, old, surge, may_miss))
            }
            (Strategy::Canary, Some(old)) => (false, canary(wanted, old, &settings.canary.steps)),
        };
        Self {
            wanted,
            former,
            stop_first,
            may_miss,
            steps,
        }
    }

    /// Replicas that must be able to answer at every moment: what was there, or what is wanted,
    /// whichever is less, without those that may be missing.
    pub fn floor(&self) -> u32 {
        match self.former {
            Some(former) if !self.stop_first => {
                former.min(self.wanted.saturating_sub(self.may_miss))
            }
            _ => 0,
        }
    }
}

/// A quarter at a time, rounded up, so that a bad release is met by few requests and a good one is
/// not slow; less where the surge leaves no room. The former release shrinks only to make room.
fn rolling(wanted: u32, former: u32, surge: u32, may_miss: u32) -> Vec<Step> {
    let batch = wanted.div_ceil(4).max(1);
    let ceiling = wanted.max(former) + surge;
    let mut steps = Vec::new();
    let (mut new, mut old) = (0, former);
    while new < wanted {
        let room = ceiling.saturating_sub(new + old);
        let grown = room.min(batch).min(wanted - new);
        new += grown;
        let before = old;
        if new < wanted {
            let next = batch.min(wanted - new);
            let must_stay = wanted.saturating_sub(may_miss).saturating_sub(new);
            // At most as much as the next batch needs.
            old = old.min(must_stay.max(ceiling.saturating_sub(new + next)));
        }
        if grown == 0 && old == before {
            // Settings that could never move are refused; this ends the loop all the same.
            new = wanted;
        }
        steps.push(Step {
            new,
            old,
            share: if new == wanted {
                Share::ALL
            } else {
                Share { new, of: wanted }
            },
            judged: false,
        });
    }
    steps
}

/// As many replicas as the share needs, and at least one; the former release stays whole.
fn canary(wanted: u32, former: u32, percents: &[u32]) -> Vec<Step> {
    let mut steps: Vec<Step> = percents
        .iter()
        .filter(|percent| **percent < 100)
        .map(|percent| Step {
            new: (wanted * percent).div_ceil(100).max(1),
            old: former,
            share: Share {
                new: *percent,
                of: 100,
            },
            judged: true,
        })
        .collect();
    steps.push(Step {
        new: wanted,
        old: former,
        share: Share::ALL,
        judged: false,
    });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Quantity;
    use crate::deployment::record::Strategy as Way;
    use proptest::prelude::*;

    fn settings(surge: u32, unavailable: u32) -> RolloutSettings {
        RolloutSettings {
            max_surge: Quantity::Count(surge),
            max_unavailable: Quantity::Count(unavailable),
            ..RolloutSettings::default()
        }
    }

    fn pairs(plan: &Plan) -> Vec<(u32, u32)> {
        plan.steps.iter().map(|step| (step.new, step.old)).collect()
    }

    #[test]
    fn rolling_goes_in_quarters_and_keeps_the_former_release_where_there_is_room() {
        let plan =
            |wanted, former| Plan::new(Way::Rolling, wanted, former, &RolloutSettings::default());
        assert_eq!(pairs(&plan(3, Some(3))), [(1, 3), (2, 3), (3, 3)]);
        assert_eq!(
            pairs(&plan(10, Some(10))),
            [(3, 10), (6, 10), (9, 10), (10, 10)]
        );
        assert_eq!(pairs(&plan(3, None)), [(3, 0)]);
    }

    #[test]
    fn without_room_the_former_release_makes_it() {
        let one_more = Plan::new(Way::Rolling, 3, Some(3), &settings(1, 0));
        assert_eq!(pairs(&one_more), [(1, 2), (2, 1), (3, 1)]);
        let one_less = Plan::new(Way::Rolling, 3, Some(3), &settings(0, 1));
        assert_eq!(pairs(&one_less), [(0, 2), (1, 1), (2, 0), (3, 0)]);
    }

    #[test]
    fn a_canary_grows_with_its_share() {
        let plan = Plan::new(Way::Canary, 4, Some(4), &RolloutSettings::default());
        assert_eq!(pairs(&plan), [(1, 4), (1, 4), (2, 4), (4, 4)]);
        assert!(plan.steps[..3].iter().all(|step| step.judged));
    }

    proptest! {
        /// Never above the ceiling, never below the floor, always to the end.
        #[test]
        fn rolling_keeps_its_bounds(
            wanted in 1u32..60, former in 1u32..60, surge in 0u32..60, unavailable in 0u32..60,
        ) {
            prop_assume!(surge + unavailable > 0);
            let plan = Plan::new(Way::Rolling, wanted, Some(former), &settings(surge, unavailable));
            let (mut new, mut old) = (0, former);
            prop_assert!(plan.steps.len() <= 200);
            for step in &plan.steps {
                prop_assert!(step.new >= new && step.old <= old);
                prop_assert!(step.new + old <= wanted.max(former) + surge, "{plan:?}");
                prop_assert!(step.new + step.old >= plan.floor(), "{plan:?}");
                (new, old) = (step.new, step.old);
            }
            prop_assert_eq!(new, wanted);
            prop_assert_eq!(plan.steps.last().unwrap().share, Share::ALL);
        }
    }
}
