//! Members, and what was said about their votes.

use fleetbal_proto::v1;

use super::WireError;
use super::change::{fixed, node_name};
use crate::model::{KeyHash, NewMember, VoteWish};

pub(super) fn encode_wish(wish: VoteWish) -> i32 {
    match wish {
        VoteWish::Any => v1::VoteWish::Unspecified,
        VoteWish::Voter => v1::VoteWish::Voter,
        VoteWish::Learner => v1::VoteWish::Learner,
    }
    .into()
}

pub(super) fn decode_wish(wire: i32) -> Result<VoteWish, WireError> {
    Ok(
        match v1::VoteWish::try_from(wire).map_err(|_| WireError::Invalid("vote"))? {
            v1::VoteWish::Unspecified => VoteWish::Any,
            v1::VoteWish::Voter => VoteWish::Voter,
            v1::VoteWish::Learner => VoteWish::Learner,
        },
    )
}

pub(super) fn to_member(member: &NewMember) -> v1::NewMember {
    v1::NewMember {
        name: member.name.to_string(),
        address: member.address.clone(),
        key_hash: member.key_hash.0.to_vec(),
    }
}

pub(super) fn from_member(wire: Option<v1::NewMember>) -> Result<NewMember, WireError> {
    let wire = wire.ok_or(WireError::Invalid("member"))?;
    Ok(NewMember {
        name: node_name(&wire.name)?,
        address: wire.address,
        key_hash: KeyHash(fixed(&wire.key_hash, "key hash")?),
    })
}
