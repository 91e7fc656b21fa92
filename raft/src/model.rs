//! The replicated model: what a fleet's configuration is, and what each change makes of it.
//!
//! Everything below is pure. The same entries in the same order give the same state, the same answers and the
//! same error texts on every node, because nothing here looks at a clock, a file, the environment, the network
//! or a random number. What a version makes a node *do* is not here: see `effects` in the `fleetbal` crate.

mod address;
mod answers;
#[cfg(test)]
pub(crate) mod any_change;
mod apply;
mod asked;
mod certificate;
mod change;
mod config;
mod diff;
mod fleet;
mod header;
mod history;
mod level;
mod line;
mod membership;
mod mime;
mod name;
mod plugin;
mod pool;
mod rejection;
mod reproxy;
mod role;
mod service;
mod template;
mod tls;
mod tunable;
mod unset;
mod value;

pub use address::{BackendAddress, Network};
pub use answers::Answers;
pub use certificate::{Certificate, SealId, SealedKey};
pub use change::{Answer, Batch, Change, Command, Entry, NewMember, RequestId, Setting, Typist, UnixMillis};
pub use config::{FleetConfig, Version};
pub use diff::{diff, longest_rise};
pub use fleet::{FleetId, FleetState, KeyHash, NamedMember, RecordHash, SecretHash, Token, VoteWish};
pub use header::HeaderRule;
pub use history::{Cause, History, HistoryError, Intact, LONGEST_CONFIRM, Pending, Record};
pub(crate) use level::RENEWAL;
pub use level::{FEATURE_LEVEL, FIRST_LEVEL};
pub use mime::MimeTypes;
pub use name::{CertificateName, InvalidName, NodeName, PoolName, ScriptName, ServiceName, TokenId};
pub use plugin::{Access, AccessRule, Clients, Directive, InvalidDirective, LogTarget, Plugin, PluginSpec};
pub use pool::{Backend, BalanceMethod, Expect, HashBy, HealthRules, NO_NODEFILE, OutlierRules, Pool};
pub use rejection::{Refusal, Rejection};
pub use reproxy::ReproxyLimits;
pub use role::Role;
pub use service::{Service, TunableError};
pub use template::{Template, Variable, VariableError};
pub use tls::{CipherSuite, Protocol};
pub use tunable::{CLEARING, Kind, Scope, TUNABLES, Tunable, takes_variables};
pub use value::Value;
