//! The model as bytes and back. Nothing past this module holds a wire type.

mod certificate;
mod change;
mod config;
mod hash;
mod history;
mod member;
mod plugin;
#[cfg(test)]
mod previous_tests;
pub mod raft;
mod unset;

pub use change::{decode_answer, decode_entry, encode_answer, encode_entry};
pub(crate) use config::{decode_backup, encode_backup, seal_secret, with_seal_secret};
pub use config::{decode_state, encode_state};
pub use hash::ConfigHasher;

use crate::model::{FEATURE_LEVEL, FIRST_LEVEL};

/// Bytes that do not mean what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a message of the expected kind at all.
    #[error("undecodable bytes")]
    Decode(#[from] prost::DecodeError),
    /// A field that must be there is not, or holds what it cannot.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// An entry of a later release.
    #[error("it needs feature level {needed}, and this release has {here}; start a later one")]
    Later {
        /// What it needs.
        needed: u32,
        /// What this release can apply.
        here: u32,
    },
}

/// How a feature level is written: the first release wrote none.
fn beyond_first(level: u32) -> u32 {
    if level > FIRST_LEVEL { level } else { 0 }
}

/// Refuses what belongs to a later release.
fn check_level(needed: u32) -> Result<(), WireError> {
    let here = FEATURE_LEVEL;
    if needed > here {
        return Err(WireError::Later { needed, here });
    }
    Ok(())
}
