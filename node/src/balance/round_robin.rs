//! `round_robin`: each backend in turn; the turn of one that is not usable goes to the next.

/// Picks one of `count` backends among those that are usable.
pub fn pick(count: usize, usable: impl Fn(usize) -> bool, turn: usize) -> Option<usize> {
    let first = turn.checked_rem(count)?;
    (first..count).chain(0..first).find(|at| usable(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round() {
        let round =
            |usable: fn(usize) -> bool| -> Vec<_> { (5..10).map(|turn| pick(3, usable, turn)).collect() };
        assert_eq!(round(|_| true), [Some(2), Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(round(|at| at != 0), [Some(2), Some(1), Some(1), Some(2), Some(1)]);
        assert_eq!(round(|_| false), [None; 5]);
        assert_eq!(pick(0, |_| true, 7), None);
    }
}
