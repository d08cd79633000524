//! How many replicas to start, and who gets how much traffic, at each step.

/// Replica counts a rolling deployment goes through: a quarter at a time, rounded up, so that a
/// bad release is met by few requests and a good one is not slow.
pub fn rolling_batches(replicas: u32) -> Vec<u32> {
    let batch = replicas.div_ceil(4).max(1);
    let mut steps = Vec::new();
    let mut running = 0;
    while running < replicas {
        running = (running + batch).min(replicas);
        steps.push(running);
    }
    steps
}

/// Traffic weights of the former and the new release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    pub old: u32,
    pub new: u32,
}

/// Traffic follows the healthy replicas: with 1 of 4 new ones up, one request in four goes there.
pub fn shift_for(healthy_new: u32, wanted: u32) -> Shift {
    let new = healthy_new.min(wanted);
    Shift {
        old: wanted - new,
        new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn batches_are_quarters() {
        assert_eq!(rolling_batches(1), [1]);
        assert_eq!(rolling_batches(3), [1, 2, 3]);
        assert_eq!(rolling_batches(10), [3, 6, 9, 10]);
    }

    proptest! {
        #[test]
        fn batches_rise_to_the_wanted_count_in_at_most_four_steps(replicas in 1u32..500) {
            let steps = rolling_batches(replicas);
            prop_assert_eq!(*steps.last().unwrap(), replicas);
            prop_assert!(steps.len() <= 4);
            prop_assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
            let all = shift_for(replicas, replicas);
            prop_assert_eq!((all.old, all.new), (0, replicas));
        }
    }
}
