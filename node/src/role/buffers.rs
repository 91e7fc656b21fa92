//! Read buffers of one worker. They are lent for a single step; a connection keeps one only while somebody does
//! not take what is in it, so that idle connections cost no memory.

use std::cell::RefCell;

/// The length of a buffer, in bytes: fewer system calls for large bodies.
pub(super) const BUFFER: usize = 256 * 1024;

/// The most free buffers that are kept.
const FREE: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// A buffer of [`BUFFER`] bytes, with whatever in it: the one used last, which is in the cache.
    #[inline]
    pub(super) fn take(&self) -> Vec<u8> {
        // Zeroed memory comes from the system untouched: only what is read into it takes space.
        self.0.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER])
    }

    /// Gives a buffer back. One of another length is dropped.
    #[inline]
    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut free = self.0.borrow_mut();
        if buffer.len() == BUFFER && free.len() < FREE {
            free.push(buffer);
        }
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
        assert_eq!(buffers.0.borrow().len(), FREE);
    }
}
