//! What can be proposed, and what it is answered.

use std::sync::Arc;

use super::address::BackendAddress;
use super::certificate::Certificate;
use super::config::{FleetConfig, Version};
use super::fleet::{FleetId, KeyHash, SecretHash, VoteWish};
use super::header::HeaderRule;
use super::name::{CertificateName, NodeName, PoolName, ScriptName, ServiceName, TokenId};
use super::plugin::Directive;
use super::pool::Backend;
use super::rejection::Refusal;
use super::service::Service;

/// Milliseconds since the epoch, by the proposer's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMillis(pub u64);

/// Tells a retry from a new request. Made where the command was typed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// Reads what `Display` prints: 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One change of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `CREATE POOL`.
    CreatePool(PoolName),
    /// `CREATE SERVICE`.
    CreateService(ServiceName),
    /// `SET object.key = value`. Whether it is a pool's or a service's, and what the value must be, depends on
    /// the configuration, so `apply` decides.
    Set {
        /// The pool or service, in lower case.
        object: String,
        /// The tunable, in lower case.
        key: String,
        /// The value as typed.
        value: String,
    },
    /// `DEFAULT key = value`.
    SetDefault {
        /// The tunable, in lower case.
        key: String,
        /// The value as typed.
        value: String,
    },
    /// `ENABLE` or `DISABLE`.
    SetEnabled {
        /// The service.
        service: ServiceName,
        /// On or off.
        enabled: bool,
    },
    /// `POOL p ADD ip:port [weight N]`.
    PoolAdd {
        /// The pool.
        pool: PoolName,
        /// The new backend.
        backend: BackendAddress,
        /// Its share of the requests beside that of the others; 1 where nothing is said.
        weight: u32,
    },
    /// `POOL p REMOVE ip:port`.
    PoolRemove {
        /// The pool.
        pool: PoolName,
        /// The backend to go.
        backend: BackendAddress,
    },
    /// `POOL p DRAIN ip:port` or `POOL p UNDRAIN ip:port`.
    PoolDrain {
        /// The pool.
        pool: PoolName,
        /// The backend, which must be in it.
        backend: BackendAddress,
        /// Whether it gets no further request.
        draining: bool,
    },
    /// Makes these all of a pool's backends: what a nodefile says.
    SetBackends {
        /// The pool, or a service whose pool is meant, as in [`Self::Set`].
        object: String,
        /// The backends, oldest first, with their weights.
        backends: Vec<(BackendAddress, u32)>,
    },
    /// `HEADER svc INSERT name: value` or `HEADER svc REMOVE name`.
    Header {
        /// The service.
        service: ServiceName,
        /// The rule.
        rule: HeaderRule,
    },
    /// `SERVER max_reproxy_connections = N` or `SERVER max_reproxy_connections(host:port) = N`.
    SetReproxyLimit {
        /// `host:port`; none: each target without a limit of its own.
        target: Option<String>,
        /// Connections of one node, at most; 0 is without limit.
        limit: u64,
    },
    /// `LOAD plugin` or `UNLOAD plugin`.
    SetLoaded {
        /// Its name, as typed.
        plugin: String,
        /// Whether services can have it.
        loaded: bool,
    },
    /// `fleetbal plugin push FILE`: makes this the source of a plugin in Lua, in place of the one that it has.
    PutScript {
        /// Its name: the file's stem.
        name: ScriptName,
        /// The file.
        source: Arc<str>,
    },
    /// `plugin remove NAME`.
    RemoveScript(ScriptName),
    /// A line of a plugin, such as `VHOST service host = other`.
    Direct {
        /// The service, in lower case.
        service: String,
        /// The line.
        directive: Directive,
    },
    /// `MIME SET ext type` or `MIME REMOVE ext`.
    SetMime {
        /// The extension, without its dot.
        extension: String,
        /// Its type; none: it has none any more.
        kind: Option<String>,
    },
    /// `cluster set voters = N`.
    SetVoters(u32),
    /// `cluster set dead_voter_after = SECONDS`.
    SetDeadVoterAfter(u32),
    /// Makes this the whole configuration, whatever its own version: what a backup holds.
    Restore(Arc<FleetConfig>),
    /// `SERVER config_history = N`.
    SetConfigHistory(u32),
    /// Takes a pool away. Like those below, a step of a rollback or a plan: nobody can type it.
    RemovePool(PoolName),
    /// Takes a service away.
    RemoveService(ServiceName),
    /// Puts a backend, just as it is, behind another one of its pool.
    PoolPlace {
        /// The pool.
        pool: PoolName,
        /// The backend; where it is in the pool already, it moves.
        backend: Backend,
        /// The one ahead of it; none: it is the first.
        after: Option<BackendAddress>,
    },
    /// Makes a service just this one, whether or not it is there: where single steps do not lead to it.
    PutService {
        /// Its name.
        name: ServiceName,
        /// All of it.
        service: Arc<Service>,
    },
    /// Takes a setting back as if it had never been made.
    Unset(Setting),
    /// `cert add`: a certificate of the fleet, in place of the one of that name.
    PutCertificate {
        /// Its name.
        name: CertificateName,
        /// All of it.
        certificate: Arc<Certificate>,
    },
    /// `cert remove`.
    RemoveCertificate(CertificateName),
}

/// What can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `SET object.key`.
    Tunable {
        /// The pool or service, in lower case.
        object: String,
        /// The tunable, in lower case.
        key: String,
    },
    /// `DEFAULT key`.
    Default(String),
    /// `HEADER service INSERT name` or `HEADER service REMOVE name`.
    Header {
        /// The service.
        service: ServiceName,
        /// Which of the two.
        inserts: bool,
        /// The header's name.
        name: String,
    },
    /// `SERVER max_reproxy_connections(host:port)`.
    ReproxyLimit(String),
    /// `cluster set voters`.
    Voters,
    /// `cluster set dead_voter_after`.
    DeadVoterAfter,
    /// `SERVER config_history`.
    ConfigHistory,
}

impl Setting {
    /// A rule of a service.
    pub(crate) fn header(service: &ServiceName, rule: &HeaderRule) -> Self {
        Self::Header {
            service: service.clone(),
            inserts: matches!(rule, HeaderRule::Insert { .. }),
            name: rule.name().to_owned(),
        }
    }
}

/// Several changes as one version, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// In the order in which they were typed.
    pub changes: Vec<Change>,
    /// Refuse them all where the configuration is at another version.
    pub if_version: Option<Version>,
    /// Undo them unless they are confirmed within so many seconds.
    pub confirm: Option<u32>,
    /// They make the configuration equal to a file, and were not typed.
    pub from_file: bool,
}

impl Batch {
    /// These changes, whatever the version.
    pub fn of(changes: Vec<Change>) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }
}

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Typist {
    /// Where from: an address, or what else it was.
    pub address: String,
    /// The name of the management token that was shown.
    pub token: Option<String>,
}

impl std::fmt::Display for Typist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{token}@{}", self.address),
            None => f.write_str(&self.address),
        }
    }
}

impl From<&str> for Typist {
    fn from(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            token: None,
        }
    }
}

impl From<String> for Typist {
    fn from(address: String) -> Self {
        Self { address, token: None }
    }
}

impl From<&Self> for Typist {
    fn from(typist: &Self) -> Self {
        typist.clone()
    }
}

/// A node that founds or joins a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Its name.
    pub name: NodeName,
    /// Where the others reach its cluster port: `ip:port`.
    pub address: String,
    /// Of its public key.
    pub key_hash: KeyHash,
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Changes the configuration.
    Batch(Batch),
    /// `config rollback V`: makes the configuration what it was at a version.
    Rollback {
        /// That version.
        to: Version,
        /// Refuse where the configuration is at another version.
        if_version: Option<Version>,
    },
    /// `confirm`: what waits for it stays.
    Confirm,
    /// Takes a version back that was not confirmed in time. The leader asks for it.
    Undo(Version),
    /// Founds the fleet; the first entry of its log.
    Found {
        /// The fleet's name.
        name: String,
        /// The fleet's id.
        id: FleetId,
        /// The certificate of the fleet's CA, DER.
        ca_certificate: Vec<u8>,
        /// Its first member.
        founder: NewMember,
    },
    /// Makes a join token.
    IssueToken {
        /// Its public part.
        id: TokenId,
        /// Of its secret part.
        secret_hash: SecretHash,
        /// How long it is good for, in milliseconds.
        ttl_ms: u64,
        /// How often it may be used; none: without limit.
        uses: Option<u32>,
    },
    /// Takes a token back.
    RevokeToken(TokenId),
    /// `cluster remove NODE`: it is no member any more, and its name is free.
    RemoveNode(NodeName),
    /// `cluster promote NODE`, `cluster demote NODE`.
    SetWish {
        /// The member.
        node: NodeName,
        /// Whether it shall vote.
        wish: VoteWish,
    },
    /// Uses a token: takes a node into the fleet, and gives it its id.
    Join {
        /// The token.
        token: TokenId,
        /// Of the secret that the joiner showed.
        secret_hash: SecretHash,
        /// The joiner.
        member: NewMember,
    },
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The lowest feature level that can apply it.
    pub feature_level: u32,
    /// Tells a retry from a new request.
    pub request_id: RequestId,
    /// The node where it was typed.
    pub origin_node: String,
    /// Who typed it.
    pub typist: Typist,
    /// When it was proposed, by the proposer's clock.
    pub time: UnixMillis,
    /// No leader appends it after this, by the leader's clock.
    pub deadline: UnixMillis,
    /// What it does.
    pub command: Command,
}

/// What an entry was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The configuration is as asked, at this version (an older one, where nothing had to change).
    Applied(Version),
    /// Nothing was changed.
    Refused(Refusal),
    /// The node joined under this id.
    Joined(u64),
    /// Done; the configuration is not concerned.
    Done,
}
