//! Where the palette of a picture is. PURE.

use super::change::Change;

/// What kind of picture a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One with a global colour table.
    Gif,
    /// One with a palette.
    Png,
}

impl Kind {
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        match path {
            [.., b'.', b'g', b'i', b'f'] => Some(Self::Gif),
            [.., b'.', b'p', b'n', b'g'] => Some(Self::Png),
            _ => None,
        }
    }

    pub(super) fn media_type(self) -> &'static [u8] {
        match self {
            Self::Gif => b"image/gif",
            Self::Png => b"image/png",
        }
    }
}

/// Changes the palette of a picture. None: it has none.
pub(super) fn recolour(kind: Kind, bytes: &mut [u8], change: &Change) -> Option<()> {
    match kind {
        Kind::Gif => gif(bytes, change),
        Kind::Png => png(bytes, change),
    }
}

/// The table follows the seven bytes of the logical screen descriptor, whose fifth says whether it is there and how long.
fn gif(bytes: &mut [u8], change: &Change) -> Option<()> {
    let is_gif = bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a");
    let flags = *bytes.get(10).filter(|_| is_gif)?;
    if flags & 0x80 == 0 {
        return None;
    }
    let length = 3 << ((flags & 7) + 1);
    change.apply(bytes.get_mut(13..13 + length)?);
    Some(())
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Colours are by palette.
const BY_PALETTE: u8 = 3;

/// Chunks follow each other: length, kind, content, and a checksum over the last two.
fn png(bytes: &mut [u8], change: &Change) -> Option<()> {
    let by_palette = bytes.starts_with(PNG) && bytes.get(12..16)? == b"IHDR" && *bytes.get(25)? == BY_PALETTE;
    if !by_palette {
        return None;
    }
    let mut at = PNG.len();
    loop {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
        let end = usize::try_from(length).ok()?.checked_add(at + 8)?;
        if bytes.get(at + 4..at + 8)? == b"PLTE" {
            change.apply(bytes.get_mut(at + 8..end)?);
            let checksum = crc32fast::hash(bytes.get(at + 4..end)?);
            bytes
                .get_mut(end..end + 4)?
                .copy_from_slice(&checksum.to_be_bytes());
            return Some(());
        }
        at = end.checked_add(4)?;
    }
}
