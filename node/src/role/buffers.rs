//! Read buffers of one worker. They are lent for a single step; a connection keeps one only while somebody does
//! not take what is in it, so that idle connections cost no memory.

use std::cell::{Cell, RefCell};

/// The length of a buffer, in bytes: fewer system calls for large bodies.
pub(super) const BUFFER: usize = 256 * 1024;

/// The most free buffers that are kept. Fresh memory costs a page fault for each page that is read into.
const FREE: usize = 256;

/// So many stay, however little there is to do.
const LEAST: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
    /// How many have not been needed since the last tick.
    spare: Cell<usize>,
}

impl Buffers {
    /// A buffer of [`BUFFER`] bytes, with whatever in it: the one used last, which is in the cache.
    #[inline]
    pub(super) fn take(&self) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        // Zeroed memory comes from the system untouched: only what is read into it takes space.
        let taken = free.pop().unwrap_or_else(|| vec![0; BUFFER]);
        if free.len() < self.spare.get() {
            self.spare.set(free.len());
        }
        taken
    }

    /// Gives a buffer back. One of another length is dropped.
    #[inline]
    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if buffer.len() == BUFFER && free.len() < FREE {
            free.push(buffer);
        }
    }

    /// A second has passed: half of those that nobody needed meanwhile go.
    pub(super) fn tick(&self) {
        let mut free = self.free.borrow_mut();
        let unneeded = self.spare.get().saturating_sub(LEAST).div_ceil(2);
        // The coldest ones.
        let unneeded = unneeded.min(free.len());
        free.drain(..unneeded);
        self.spare.set(free.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_what_was_given_back() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer[7] = 7;
        buffers.give(buffer);
        buffers.give(vec![1; 10]);
        assert_eq!(buffers.take()[7], 7);
        assert_eq!(buffers.take().len(), BUFFER);
        for _ in 0..2 * FREE {
            buffers.give(vec![0; BUFFER]);
        }
        assert_eq!(buffers.free.borrow().len(), FREE);
    }

    #[test]
    fn lets_go_of_what_nobody_needs() {
        let buffers = Buffers::default();
        for _ in 0..10 {
            buffers.give(vec![0; BUFFER]);
        }
        let free = || buffers.free.borrow().len();
        buffers.tick();
        assert_eq!(free(), 10, "they have just come");
        // Four are in use at a time.
        let used: Vec<_> = (0..4).map(|_| buffers.take()).collect();
        for buffer in used {
            buffers.give(buffer);
        }
        buffers.tick();
        assert_eq!(free(), 8);
        for _ in 0..9 {
            buffers.tick();
        }
        assert_eq!(free(), LEAST);
    }
}
