//! Bytes that are written in place, twice, so that damage is not taken for them.

/// A value, and it inverted.
pub(super) fn double(value: &[u8]) -> Vec<u8> {
    let inverted = value.iter().map(|byte| !byte);
    value.iter().copied().chain(inverted).collect()
}

/// The value; none where the two do not agree.
pub(super) fn single(bytes: &[u8]) -> Option<&[u8]> {
    let (value, _) = bytes.split_at_checked(bytes.len() / 2)?;
    (double(value) == bytes).then_some(value)
}
