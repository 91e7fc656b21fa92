//! How far the store was made durable, told by a second file.
//!
//! sled takes a damaged piece of its log for one that a crash cut off, and quietly forgets votes and entries that
//! others count on. So each sync puts the next number into the store first, and once all is on disk writes the same
//! number here, with the index up to which the log was durable. A store with an older number or a shorter log than
//! this has lost something. After a crash this file may lag behind the store, and is never ahead of it: it is
//! written after a sync, and before the log is cut.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::doubled::{double, single};
use crate::store::{StoreError, files};

const FILE: &str = "synced";

/// What was durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reached {
    /// Of the last sync.
    pub(super) number: u64,
    /// Behind the last entry.
    pub(super) next: u64,
}

#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    reached: Reached,
    /// Behind the last entry that was appended, durable or not.
    appended: u64,
    /// How often the log was cut at its end.
    cuts: u64,
}

/// What a sync that begins now will have made durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) reached: Reached,
    cuts: u64,
}

impl Mark {
    /// A new one, durable, with nothing reached.
    pub(super) fn make(dir: &Path) -> Result<Self, StoreError> {
        files::replace(&dir.join(FILE), &encode(Reached::default()))?;
        Self::open(dir)
    }

    /// The one that is there.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let bytes = fs::read(&path).map_err(StoreError::file(&path))?;
        let reached =
            decode(&bytes).ok_or_else(|| StoreError::corrupt(&path, "it is not as it was written"))?;
        let file = OpenOptions::new().write(true).open(&path);
        Ok(Self {
            file: file.map_err(StoreError::file(&path))?,
            reached,
            appended: reached.next,
            cuts: 0,
        })
    }

    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// Entries were appended, the last one before `next`.
    pub(super) fn append(&mut self, next: u64) {
        self.appended = next;
    }

    /// To be called before the log is cut: what is cut off is no longer missed.
    pub(super) fn cut(&mut self, next: u64) -> io::Result<()> {
        self.cuts += 1;
        self.appended = self.appended.min(next);
        if self.reached.next > next {
            self.write(Reached { next, ..self.reached })?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// A sync begins.
    pub(super) fn begin(&self) -> Begun {
        let reached = Reached {
            number: self.reached.number + 1,
            next: self.appended,
        };
        Begun {
            reached,
            cuts: self.cuts,
        }
    }

    /// A sync ended well. What it knew of the log no longer holds where that was cut meanwhile.
    pub(super) fn end(&mut self, begun: Begun) -> io::Result<()> {
        let mut reached = begun.reached;
        if begun.cuts != self.cuts {
            reached.next = self.reached.next;
        }
        self.write(reached)
    }

    fn write(&mut self, reached: Reached) -> io::Result<()> {
        self.file.write_all_at(&encode(reached), 0)?;
        self.reached = reached;
        Ok(())
    }
}

fn encode(reached: Reached) -> Vec<u8> {
    double(&[reached.number.to_be_bytes(), reached.next.to_be_bytes()].concat())
}

fn decode(bytes: &[u8]) -> Option<Reached> {
    let (number, next) = single(bytes)?.split_first_chunk()?;
    Some(Reached {
        number: u64::from_be_bytes(*number),
        next: u64::from_be_bytes(next.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_ahead_of_what_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let mut mark = Mark::make(dir.path()).unwrap();
        mark.append(10);
        let begun = mark.begin();
        mark.append(20);
        mark.end(begun).unwrap();
        assert_eq!(mark.reached(), Reached { number: 1, next: 10 });
        let begun = mark.begin();
        mark.cut(5).unwrap();
        mark.append(30);
        mark.end(begun).unwrap();
        assert_eq!(mark.reached(), Reached { number: 2, next: 5 });
        assert_eq!(Mark::open(dir.path()).unwrap().reached(), mark.reached());
        mark.end(mark.begin()).unwrap();
        assert_eq!(mark.reached(), Reached { number: 3, next: 30 });
    }

    #[test]
    fn damage_is_not_taken_for_a_mark() {
        let good = encode(Reached { number: 7, next: 9 });
        assert_eq!(decode(&good), Some(Reached { number: 7, next: 9 }));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None);
        }
        assert_eq!(decode(&[0; 32]), None);
        assert_eq!(decode(&good[..31]), None);
    }
}
