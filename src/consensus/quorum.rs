//! Majority arithmetic, and nothing else.

/// How many of `voters` make a majority (S5: N/2 + 1).
pub(super) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The largest value that a majority has reached: the k-th largest, k being the majority.
/// `values` holds one value a voter and is left sorted.
pub(super) fn reached_by_majority<T: Ord + Copy>(values: &mut [T]) -> T {
    assert!(!values.is_empty(), "a cluster has voters");
    values.sort_unstable();
    values[values.len() - majority(values.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities_of_one_to_seven() {
        let sizes: Vec<_> = (1..=7).map(majority).collect();
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4, 4]);
    }

    /// Scenario 24: whatever the order in which followers advance, the value is one that a
    /// majority has, and no larger one is.
    #[test]
    fn the_value_is_exactly_what_a_majority_has_reached() {
        proptest::proptest!(|(values in proptest::collection::vec(0_u64..50, 1..10))| {
            let reached = reached_by_majority(&mut values.clone());
            let have = |least: u64| values.iter().filter(|value| **value >= least).count();
            assert!(have(reached) >= majority(values.len()));
            assert!(have(reached + 1) < majority(values.len()));
        });
    }
}
