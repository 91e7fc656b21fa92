//! The CPU time that this process takes.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Between two looks, at least: what the kernel counts is too coarse for less.
const LOOK: Duration = Duration::from_secs(1);

/// Tells how much was taken of late.
#[derive(Debug, Default)]
pub struct CpuMeter {
    last: Option<(Instant, Duration)>,
    percent: u64,
}

impl CpuMeter {
    /// Per cent of one CPU, over the last second or so.
    pub fn percent(&mut self) -> u64 {
        let now = Instant::now();
        let is_due = |(at, _): (Instant, Duration)| now.saturating_duration_since(at) >= LOOK;
        if self.last.is_none_or(is_due)
            && let Some(used) = used()
            && let Some((at, before)) = self.last.replace((now, used))
        {
            let part = used.saturating_sub(before).as_millis() * 100;
            let time = now.saturating_duration_since(at).as_millis().max(1);
            self.percent = u64::try_from(part / time).unwrap_or_default();
        }
        self.percent
    }
}

/// All that was taken since the start, in own code and in the kernel.
fn used() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let time = |time: TimeVal| {
        let micros = time
            .tv_sec()
            .saturating_mul(1_000_000)
            .saturating_add(time.tv_usec());
        Duration::from_micros(micros.try_into().unwrap_or_default())
    };
    Some(time(usage.user_time()) + time(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_is_taken() {
        let mut meter = CpuMeter::default();
        assert_eq!(meter.percent(), 0, "there is nothing to compare with");
        let before = used().unwrap();
        while used().unwrap() < before + Duration::from_millis(50) {
            std::hint::black_box(0_u64.wrapping_add(1));
        }
        meter.last = meter.last.map(|(at, used)| (at.checked_sub(LOOK).unwrap(), used));
        assert!(meter.percent() > 0);
    }
}
