//! Many changes, and what they leave on disk.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{anyhow, ensure};

use crate::fleet::Fleet;
use crate::{Manage, Result};

/// Connections that type at once.
const TYPISTS: usize = 24;

/// Changes between two looks at the disks.
const LOOK_EVERY: usize = 5_000;

/// Types so many changes, each a version of its own, and says how large each node's data directory was at most.
///
/// # Errors
/// When a change is refused, or they were not that many versions.
pub fn changes(fleet: &Fleet, count: usize) -> Result<Vec<u64>> {
    let before = fleet.node(1)?.version()?;
    let mut hands = Vec::new();
    for number in 0..TYPISTS {
        let node = fleet.node(number % fleet.nodes().len() + 1)?;
        let mut hand = node.manage()?;
        hand.change(&format!("CREATE POOL churn{number}"))?;
        hands.push(hand);
    }
    let mut largest = vec![0; fleet.nodes().len()];
    let mut done = TYPISTS;
    while done < count {
        let each = LOOK_EVERY.min(count - done).div_ceil(TYPISTS);
        together(&mut hands, each)?;
        done += each * TYPISTS;
        for (node, largest) in fleet.nodes().iter().zip(&mut largest) {
            *largest = (*largest).max(size_of(&node.data)?);
        }
    }
    let made = fleet.node(1)?.version()? - before;
    ensure!(made >= done as u64, "{made} versions of {done} changes");
    Ok(largest)
}

/// Each types so many changes of its own pool, an even number.
fn together(hands: &mut [Manage], each: usize) -> Result {
    thread::scope(|scope| {
        let typing: Vec<_> = hands
            .iter_mut()
            .enumerate()
            .map(|(number, hand)| scope.spawn(move || type_changes(hand, number, each)))
            .collect();
        typing
            .into_iter()
            .try_for_each(|typing| typing.join().map_err(|_| anyhow!("a typist panicked"))?)
    })
}

fn type_changes(hand: &mut Manage, number: usize, each: usize) -> Result {
    for _ in 0..each.div_ceil(2) {
        for word in ["ADD", "REMOVE"] {
            hand.change(&format!("POOL churn{number} {word} 127.0.0.1:9"))?;
        }
    }
    Ok(())
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
