//! Files that say what they are and whether they are whole: a mark, a format, the content, a checksum over all of it.
//!
//! Mark and format come first, so that a later format is named, and not taken for damage.

use bytes::Bytes;
use sha2::{Digest, Sha256};

const MARK_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 32;

/// Tells one kind of file from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The first bytes.
    pub(crate) mark: &'static [u8; MARK_BYTES],
    /// The format that this release writes, and the newest that it reads.
    pub(crate) format: u32,
}

/// Why bytes are not such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// They begin like something else.
    NotOne,
    /// They are of this format, of a later release.
    Newer(u32),
    /// They are not those that were written.
    Checksum,
}

impl Kind {
    /// The whole file around a content that comes in pieces.
    pub(crate) fn wrap(self, content: &[&[u8]]) -> Bytes {
        let length: usize = content.iter().map(|piece| piece.len()).sum();
        let mut file = Vec::with_capacity(MARK_BYTES + size_of::<u32>() + length + CHECKSUM_BYTES);
        file.extend_from_slice(self.mark);
        file.extend_from_slice(&self.format.to_be_bytes());
        for piece in content {
            file.extend_from_slice(piece);
        }
        let checksum = Sha256::digest(&file);
        file.extend_from_slice(&checksum);
        file.into()
    }

    /// What follows mark and format, whether or not the file is whole.
    pub(crate) fn begin_of_content(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.strip_prefix(self.mark)?.get(size_of::<u32>()..)
    }

    /// The content of a whole file.
    pub(crate) fn unwrap_content(self, bytes: &[u8]) -> Result<&[u8], Unreadable> {
        let rest = bytes.strip_prefix(self.mark).ok_or(Unreadable::NotOne)?;
        let (format, _) = rest.split_first_chunk().ok_or(Unreadable::NotOne)?;
        let found = u32::from_be_bytes(*format);
        if found > self.format {
            return Err(Unreadable::Newer(found));
        }
        let (content, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Unreadable::Checksum)?;
        if Sha256::digest(content).as_slice() != checksum {
            return Err(Unreadable::Checksum);
        }
        content
            .get(MARK_BYTES + size_of::<u32>()..)
            .ok_or(Unreadable::NotOne)
    }
}
