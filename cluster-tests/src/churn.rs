//! Many changes, and what they leave on disk.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;

use anyhow::{anyhow, ensure};

use crate::fleet::Fleet;
use crate::{Manage, Result};

/// Connections that type at once.
const TYPISTS: usize = 24;

/// Changes between two looks at the disks.
const LOOK_EVERY: usize = 5_000;

/// The same for large ones.
const LOOK_EVERY_LARGE: usize = 500;

/// The bytes of a large change.
const LARGE: usize = 2_000;

/// Types so many changes, each a version of its own, and says how large each node's data directory was at most.
///
/// # Errors
/// When a change is refused, or they were not that many versions.
pub fn changes(fleet: &Fleet, count: usize) -> Result<Vec<u64>> {
    let begin = |number| vec![format!("CREATE POOL churn{number}")];
    let line = |number, round: usize| {
        let word = if round.is_multiple_of(2) { "ADD" } else { "REMOVE" };
        format!("POOL churn{number} {word} 127.0.0.1:9")
    };
    let looks = type_all(fleet, count, LOOK_EVERY, begin, line)?;
    Ok(largest(&looks))
}

/// The largest that each node's data directory was in any of these looks.
pub fn largest(looks: &[Vec<u64>]) -> Vec<u64> {
    let mut largest = Vec::new();
    for look in looks {
        largest.resize(look.len(), 0);
        for (largest, bytes) in largest.iter_mut().zip(look) {
            *largest = (*largest).max(*bytes);
        }
    }
    largest
}

/// The same with changes of 2 kB, each in place of the one before; says how large the directories were at each look.
///
/// # Errors
/// As [`changes`].
pub fn large_changes(fleet: &Fleet, count: usize) -> Result<Vec<Vec<u64>>> {
    let filler = "x".repeat(LARGE);
    let begin = |number| {
        vec![
            format!("CREATE SERVICE large{number}"),
            format!("SET large{number}.role = reverse_proxy"),
        ]
    };
    let line = |number, round| format!("HEADER large{number} INSERT x-filler: {round}{filler}");
    type_all(fleet, count, LOOK_EVERY_LARGE, begin, line)
}

/// Each typist types its own lines, from round to round.
fn type_all(
    fleet: &Fleet,
    count: usize,
    look_every: usize,
    begin: impl Fn(usize) -> Vec<String>,
    line: impl Fn(usize, usize) -> String + Sync,
) -> Result<Vec<Vec<u64>>> {
    let before = fleet.node(1)?.version()?;
    let mut hands = Vec::new();
    for number in 0..TYPISTS {
        let node = fleet.node(number % fleet.nodes().len() + 1)?;
        let mut hand = node.manage()?;
        for line in begin(number) {
            hand.change(&line)?;
        }
        hands.push(hand);
    }
    let mut looks = Vec::new();
    let mut rounds = 0;
    while rounds * TYPISTS < count {
        let each = look_every.min(count - rounds * TYPISTS).div_ceil(TYPISTS);
        together(&mut hands, rounds..rounds + each, &line)?;
        rounds += each;
        let sizes = fleet.nodes().iter().map(|node| size_of(&node.data));
        looks.push(sizes.collect::<Result<_>>()?);
    }
    let (made, done) = (fleet.node(1)?.version()? - before, rounds * TYPISTS);
    ensure!(made >= done as u64, "{made} versions of {done} changes");
    Ok(looks)
}

/// All of them type their lines of these rounds at the same time.
fn together(
    hands: &mut [Manage],
    rounds: Range<usize>,
    line: &(impl Fn(usize, usize) -> String + Sync),
) -> Result {
    thread::scope(|scope| {
        let typing: Vec<_> = hands
            .iter_mut()
            .enumerate()
            .map(|(number, hand)| {
                let mut rounds = rounds.clone();
                scope.spawn(move || rounds.try_for_each(|round| hand.change(&line(number, round))))
            })
            .collect();
        typing
            .into_iter()
            .try_for_each(|typing| typing.join().map_err(|_| anyhow!("a typist panicked"))?)
    })
}

/// The bytes that a directory takes on its disk, all below it included.
///
/// # Errors
/// When it cannot be read.
pub fn size_of(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(data) = fs::symlink_metadata(path) else {
        // A file that was there a moment ago.
        return Ok(0);
    };
    let mut bytes = data.blocks() * 512;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += size_of(&entry?.path())?;
        }
    }
    Ok(bytes)
}
