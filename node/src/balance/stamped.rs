//! A figure and the moment it is of, in one word: all workers write it, nobody waits, and the two never come apart.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper half is the figure, the lower one the milliseconds of a clock that may start anywhere, and may go round.
/// Zero: there is none.
#[derive(Debug, Default)]
pub struct Stamped(AtomicU64);

/// A figure, and how many milliseconds old it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aged {
    /// The figure.
    pub figure: f32,
    /// Its age in milliseconds.
    pub age: u32,
}

impl Stamped {
    /// The figure, if there is one, as seen at `now`.
    pub fn read(&self, now: u32) -> Option<Aged> {
        unpack(self.0.load(Ordering::Relaxed), now)
    }

    /// Puts another one in its place.
    pub fn write(&self, now: u32, figure: f32) {
        self.0.store(pack(now, figure), Ordering::Relaxed);
    }

    /// Puts what comes of it in its place. `next` may be asked again, if somebody else was faster.
    pub fn update(&self, now: u32, next: impl Fn(Option<Aged>) -> f32) {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let after = pack(now, next(unpack(before, now)));
            match self
                .0
                .compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(changed) => before = changed,
            }
        }
    }
}

fn pack(now: u32, figure: f32) -> u64 {
    u64::from(figure.to_bits()) << 32 | u64::from(now)
}

fn unpack(word: u64, now: u32) -> Option<Aged> {
    let (figure, then) = (
        u32::try_from(word >> 32).ok()?,
        u32::try_from(word & 0xFFFF_FFFF).ok()?,
    );
    // Another thread's clock may be a little ahead of ours.
    let age = now.wrapping_sub(then);
    (word != 0).then(|| Aged {
        figure: f32::from_bits(figure),
        age: if age > u32::MAX / 2 { 0 } else { age },
    })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_figure_and_its_age() {
        let stamped = Stamped::default();
        assert_eq!(stamped.read(5), None);
        let aged = |figure, age| Some(Aged { figure, age });
        stamped.write(10, 0.5);
        assert_eq!(stamped.read(17), aged(0.5, 7));
        assert_eq!(stamped.read(9), aged(0.5, 0), "a clock that is behind");
        stamped.write(u32::MAX - 1, 0.25);
        assert_eq!(stamped.read(3), aged(0.25, 5), "a clock that has gone round");
        stamped.update(4, |before| before.unwrap().figure * 2.0);
        assert_eq!(stamped.read(4), aged(0.5, 0));
    }

    #[test]
    fn no_update_is_lost() {
        let stamped = Stamped::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        stamped.update(1, |before| before.map_or(0.0, |before| before.figure) + 1.0);
                    }
                });
            }
        });
        assert_eq!(stamped.read(1).unwrap().figure, 20_000.0);
    }
}
