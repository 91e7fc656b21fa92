//! The last entry that was known to be committed, in a file of its own.
//!
//! Nobody waits for it, and nothing is lost with it; but a node goes by it that starts without a quorum, so it must not stay
//! in this process until the next entry. In the store it would cost each change a second write there, and sled a second
//! round of its threads. It is never ahead of the log: others may hold what is committed before this node has it on disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::doubled::{double, single};
use crate::store::StoreError;

const FILE: &str = "committed";

/// The longest value, bytes.
const MOST: usize = u8::MAX as usize;

#[derive(Debug)]
pub(super) struct Hint {
    file: File,
    /// An entry that is not durable here yet, and what is to be written when it is.
    waiting: Option<(u64, Vec<u8>)>,
}

impl Hint {
    /// The one that is there, or an empty one.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        Ok(Self {
            file: options.open(&path).map_err(StoreError::file(&path))?,
            waiting: None,
        })
    }

    /// This entry is committed. The log is durable up to that before `next`.
    pub(super) fn note(&mut self, entry: u64, value: Vec<u8>, next: u64) -> io::Result<()> {
        self.waiting = Some((entry, value));
        self.settle(next)
    }

    /// The log is durable up to the entry before `next`. What is written survives this process, though perhaps not the
    /// machine.
    pub(super) fn settle(&mut self, next: u64) -> io::Result<()> {
        match self.waiting.take_if(|(entry, _)| *entry < next) {
            Some((_, value)) => self.file.write_all_at(&encode(&value)?, 0),
            None => Ok(()),
        }
    }

    /// What was written last; none where that cannot be told.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = [0; 1 + 2 * MOST];
        let length = self.file.read_at(&mut bytes, 0)?;
        Ok(bytes.get(..length).and_then(decode))
    }
}

/// Its length, and it, doubled. What a longer one left behind it is not looked at.
fn encode(value: &[u8]) -> io::Result<Vec<u8>> {
    let length = u8::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok([vec![length], double(value)].concat())
}

fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first()?;
    let value = single(rest.get(..2 * usize::from(*length))?)?;
    Some(value.to_vec()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut hint = Hint::open(dir.path()).unwrap();
        assert_eq!(hint.read().unwrap(), None);
        for value in [vec![7; 40], vec![1, 2], vec![255; MOST]] {
            hint.note(5, value.clone(), 6).unwrap();
            let again = Hint::open(dir.path()).unwrap();
            assert_eq!(again.read().unwrap(), Some(value));
        }
        assert!(hint.note(5, vec![0; MOST + 1], 6).is_err());
    }

    #[test]
    fn it_is_never_ahead_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut hint = Hint::open(dir.path()).unwrap();
        hint.note(5, vec![5], 6).unwrap();
        hint.note(8, vec![8], 8).unwrap();
        hint.settle(8).unwrap();
        assert_eq!(hint.read().unwrap(), Some(vec![5]));
        hint.settle(9).unwrap();
        assert_eq!(hint.read().unwrap(), Some(vec![8]));
    }

    #[test]
    fn damage_is_not_taken_for_one() {
        let good = encode(&[3, 1, 4]).unwrap();
        assert_eq!(decode(&good), Some(vec![3, 1, 4]));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None);
            assert_eq!(decode(&good[..at]), None);
        }
    }
}
