//! How records and values are named in the store.
//!
//! A record is cut into parts, because sled writes a page above 128 KiB (a quarter of its segment) into a file of
//! its own, and neither syncs that file nor removes it in time. A page holds up to 17 keys before it is split.

use crate::store::records::Key;

/// The largest value that is put into the store: 17 of them stay well below 128 KiB.
pub(super) const PART_BYTES: usize = 4 * 1024;

/// The key of one part of a record: index and part, so that keys sort as the log does.
pub(super) fn part(index: u64, part: u32) -> [u8; 12] {
    let mut key = [0; 12];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&index.to_be_bytes());
    low.copy_from_slice(&part.to_be_bytes());
    key
}

/// Index and part of a key.
pub(super) fn parse(key: &[u8]) -> Option<(u64, u32)> {
    let (index, part) = key.split_first_chunk()?;
    let index = u64::from_be_bytes(*index);
    Some((index, u32::from_be_bytes(part.try_into().ok()?)))
}

/// The parts of a record, the first led by the record's size.
pub(super) fn cut(index: u64, record: &[u8]) -> impl Iterator<Item = ([u8; 12], Vec<u8>)> {
    let size = u64::try_from(record.len()).unwrap_or(u64::MAX);
    let mut led = Vec::with_capacity(size_of::<u64>() + record.len());
    led.extend_from_slice(&size.to_be_bytes());
    led.extend_from_slice(record);
    let parts: Vec<Vec<u8>> = led.chunks(PART_BYTES).map(<[u8]>::to_vec).collect();
    (0..).zip(parts).map(move |(at, bytes)| (part(index, at), bytes))
}

/// Takes the record's size off its first part; a size that nothing has, where there is none.
pub(super) fn split_size(first: &mut &[u8]) -> u64 {
    let Some((size, record)) = first.split_first_chunk() else {
        return u64::MAX;
    };
    *first = record;
    u64::from_be_bytes(*size)
}

/// A record out of its parts, one after the other; none when bytes are missing or too many.
pub(super) fn join(parts: &[u8]) -> Option<&[u8]> {
    let mut record = parts;
    let size = split_size(&mut record);
    (size == u64::try_from(record.len()).ok()?).then_some(record)
}

/// The name of a value.
pub(super) fn value(key: Key) -> &'static [u8] {
    match key {
        Key::Vote => b"vote",
        Key::Purged => b"purged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_the_log_and_come_back() {
        let places = [
            (0, 0),
            (0, 1),
            (1, 0),
            (255, 0),
            (256, 0),
            (256, 256),
            (u64::MAX, 3),
        ];
        let keys = places.map(|(index, at)| part(index, at));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| parse(&key).unwrap()), places);
        assert_eq!(parse(b"short"), None);
        assert_eq!(parse(&[0; 13]), None);
    }

    #[test]
    fn a_record_comes_back_out_of_its_parts_or_not_at_all() {
        for size in [0, 1, PART_BYTES - 8, PART_BYTES - 7, 3 * PART_BYTES] {
            let record: Vec<u8> = (0_u8..251).cycle().take(size).collect();
            let parts: Vec<_> = cut(7, &record).collect();
            assert!(parts.iter().all(|(_, bytes)| bytes.len() <= PART_BYTES));
            let all: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            assert_eq!(join(&all), Some(record.as_slice()));
            assert_eq!(join(&all[..all.len() - 1]), None);
        }
    }
}
