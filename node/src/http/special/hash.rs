//! Hashes of requests, so that all that have something in common go to one backend.

use fleetbal_raft::model::HashBy;
use siphasher::sip::SipHasher13;

use super::super::head::Head;

/// The hash of a request that came from `peer`: SipHash-1-3 with a key of zeros, over what it is hashed by. It is the
/// same on every node and in every release. A request that lacks the field or the cookie is hashed by the client's
/// address; of several the first counts.
pub(super) fn hash(by: &HashBy, head: Head<'_>, peer: &[u8]) -> u64 {
    let key = match by {
        HashBy::ClientAddress => None,
        HashBy::Uri => Some(head.target()),
        HashBy::Header(name) => head.field(name),
        HashBy::Cookie(name) => {
            let mut cookies = head.cookies();
            cookies
                .find(|(is, _)| *is == name.as_bytes())
                .map(|(_, value)| value)
        }
    };
    let key = key.unwrap_or_else(|| client_address(head).unwrap_or(peer));
    SipHasher13::new_with_keys(0, 0).hash(key)
}

/// What a trusted peer says; what an untrusted one said is not in the head any more.
fn client_address(head: Head<'_>) -> Option<&[u8]> {
    let first = head
        .field("X-Forwarded-For")?
        .split(|byte| *byte == b',')
        .next()?;
    Some(first.trim_ascii()).filter(|address| !address.is_empty())
}
