//! Waiting for a condition, with a deadline and the name of what was awaited.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::Result;

/// How long anything may take that has no promise of its own: long, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Looks until `probe` finds something. An error of the probe counts as "not yet"; the last one is told when time is
/// up.
///
/// # Errors
/// When `within` has passed: what was awaited, and what the last look saw.
pub fn until<T>(
    what: impl Display,
    within: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let seen = match probe() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if start.elapsed() >= within {
            return Err(anyhow!("waited {within:?} for {what}; last seen: {seen}"));
        }
        thread::sleep(STEP);
    }
}

/// Looks until `probe` is true.
///
/// # Errors
/// When `within` has passed: what was awaited, and the probe's last error.
pub fn for_true(what: impl Display, within: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, within, || Ok(probe()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_it_waited_for_and_what_it_saw() {
        let error = for_true("the moon", Duration::from_millis(30), || Err(anyhow!("clouds"))).unwrap_err();
        assert_eq!(error.to_string(), "waited 30ms for the moon; last seen: clouds");
        let mut left = 3;
        let found = until("three looks", PATIENCE, || {
            left -= 1;
            Ok((left == 0).then_some("found"))
        });
        assert_eq!(found.unwrap(), "found");
    }
}
