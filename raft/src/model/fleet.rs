//! Everything that the log builds up: the configuration, and what makes these nodes one fleet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::change::UnixMillis;
use super::config::FleetConfig;
use super::history::History;
use super::name::{NodeName, TokenId};

macro_rules! hex_bytes {
    ($(#[$doc:meta])* $type:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type(pub [u8; $len]);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_bytes! {
    /// A fleet's id, drawn when it is founded.
    FleetId, 16
}
hex_bytes! {
    /// SHA-256 of a node's public key (`SubjectPublicKeyInfo`, DER).
    KeyHash, 32
}
hex_bytes! {
    /// SHA-256 of a join token's secret.
    SecretHash, 32
}

hex_bytes! {
    /// SHA-256 of a record of the history, the one before included.
    RecordHash, 32
}

/// A join token as the fleet keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Of its secret; the secret itself is nowhere.
    pub secret_hash: SecretHash,
    /// When it ends.
    pub expires: UnixMillis,
    /// How often it may still be used; none: without limit.
    pub uses_left: Option<u32>,
}

/// A name that was given in this fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedMember {
    /// The member's id.
    pub node_id: u64,
    /// Of its public key.
    pub key_hash: KeyHash,
    /// Where it was reached when it joined.
    pub address: String,
    /// Whether somebody said that it shall vote, or shall not.
    pub wish: VoteWish,
}

/// What was said about a member's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VoteWish {
    /// Nothing: the fleet decides.
    #[default]
    Any,
    /// It votes before others do (`cluster promote`).
    Voter,
    /// It never votes (`cluster demote`).
    Learner,
}

/// The replicated state, but for the answers that are kept for retries. A clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetState {
    /// The configuration.
    pub config: Arc<FleetConfig>,
    /// The fleet's name; empty before it is founded.
    pub name: String,
    /// The fleet's id.
    pub id: FleetId,
    /// The certificate of its CA, DER.
    pub ca_certificate: Arc<[u8]>,
    pub(crate) history: Arc<History>,
    pub(crate) next_node_id: u64,
    pub(crate) tokens: BTreeMap<TokenId, Token>,
    pub(crate) members: BTreeMap<NodeName, NamedMember>,
}

impl FleetState {
    /// Join tokens, by id; expired ones too, until the next one is made.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = (&TokenId, &Token)> {
        self.tokens.iter()
    }

    /// Every name that was given, and to whom.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&NodeName, &NamedMember)> {
        self.members.iter()
    }
}
