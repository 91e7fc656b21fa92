//! A node's verdict on a backend, and when a pool is so poor that verdicts are set aside.

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// This node has seen it itself a moment ago.
    Own,
    /// Most of the checkers say that it is down.
    Majority {
        /// How many do.
        down: usize,
        /// How many checkers there are.
        of: usize,
    },
    /// Some of the checkers say that it is down, but not most of them.
    Outvoted {
        /// How many do.
        down: usize,
        /// How many checkers there are.
        of: usize,
    },
    /// Nobody who counts says that it is down.
    Nobody,
    /// It is up, but this node's requests came to nothing good.
    Outcome,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the backend is up.
    pub is_up: bool,
    /// By which rule.
    pub rule: Rule,
    /// What the checkers alone make of it.
    pub checkers_say_up: bool,
}

/// Judges by this node's own fresh observation, and by what each live checker says, which may be nothing: up, then. So
/// one voice alone takes no backend away from the other nodes, and a tie is up.
pub fn judge(own: Option<bool>, checkers: impl IntoIterator<Item = Option<bool>>) -> Judgement {
    let (mut down, mut of) = (0, 0);
    for says_up in checkers {
        of += 1;
        down += usize::from(says_up == Some(false));
    }
    let checkers_say_up = down * 2 <= of;
    let by_checkers = match (checkers_say_up, down) {
        (true, 0) => Rule::Nobody,
        (true, _) => Rule::Outvoted { down, of },
        (false, _) => Rule::Majority { down, of },
    };
    Judgement {
        is_up: own.unwrap_or(checkers_say_up),
        rule: if own.is_some() { Rule::Own } else { by_checkers },
        checkers_say_up,
    }
}

/// How much of a pool may be used by its verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usable {
    /// The weight of all backends that are not draining.
    pub total: u64,
    /// That of those that are up.
    pub up: u64,
}

impl Usable {
    /// Whether so little is up, in per cent of the weight, that all of it is used: rather a request to a backend that is
    /// said to be down than all of the load on the few that are left.
    pub fn is_panic(self, threshold: u32) -> bool {
        self.up.saturating_mul(100) < self.total.saturating_mul(threshold.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_own_observation_decides_and_else_the_majority(
            own in any::<Option<bool>>(),
            checkers in prop::collection::vec(any::<Option<bool>>(), 0..5),
        ) {
            let judgement = judge(own, checkers.iter().copied());
            let down = checkers.iter().filter(|says| **says == Some(false)).count();
            let majority_down = down > checkers.len() - down;
            prop_assert_eq!(judgement.checkers_say_up, !majority_down);
            prop_assert_eq!(judgement.is_up, own.unwrap_or(!majority_down));
            prop_assert_eq!(judgement.rule == Rule::Own, own.is_some());
        }

        #[test]
        fn one_voice_of_two_or_more_empties_no_pool(checkers in prop::collection::vec(any::<Option<bool>>(), 2..5)) {
            let mut checkers = checkers;
            for says in checkers.iter_mut().skip(1) {
                *says = Some(true);
            }
            prop_assert!(judge(None, checkers).is_up);
        }

        #[test]
        fn panic_is_less_than_the_threshold(up in 0_u32..1000, more in 0_u32..1000, threshold in 0_u32..=100) {
            let usable = Usable { total: (up + more).into(), up: up.into() };
            let share = if up + more == 0 { f64::INFINITY } else { 100.0 * f64::from(up) / f64::from(up + more) };
            prop_assert_eq!(usable.is_panic(threshold), share < f64::from(threshold));
        }
    }

    #[test]
    fn rules_have_names() {
        assert_eq!(
            judge(None, [Some(false), None]).rule,
            Rule::Outvoted { down: 1, of: 2 }
        );
        assert_eq!(
            judge(None, [Some(false), Some(false)]).rule,
            Rule::Majority { down: 2, of: 2 }
        );
        assert_eq!(judge(None, [None, Some(true)]).rule, Rule::Nobody);
        assert_eq!(judge(Some(false), [Some(true)]).rule, Rule::Own);
        assert!(!judge(None, [Some(false)]).is_up);
        assert!(judge(None, []).is_up);
    }
}
