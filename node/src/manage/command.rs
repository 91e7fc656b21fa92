//! What a line asks for.

use std::time::Duration;

use fleetbal_raft::model::{
    BackendAddress, Change, NodeName, PoolName, RequestId, TokenId, Version, VoteWish,
};

use crate::lifecycle::Stop;
use crate::os_settings::ServerSetting;
use crate::plugin::builtin::throttle;

/// A command, ready to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Changes the fleet's configuration.
    Change(Change),
    /// Reads what this node knows.
    Query(Query),
    /// Concerns this connection, this node, or membership; never the configuration.
    Local(Local),
}

/// A read. Answered by this node alone, also without leader and quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// `show service`
    Services,
    /// `show service NAME`
    Service(String),
    /// `show pool`
    Pools,
    /// `show pool NAME`
    Pool(String),
    /// `dumpconfig`
    Dump,
    /// `uptime`, `version`
    Uptime,
    /// `queues`
    Queues,
    /// `pending`
    Pending,
    /// `noverify`
    NoVerify,
    /// `backends`
    Backends,
    /// `states [SERVICE]`
    States(Option<String>),
    /// `socks [all|summary]`; none: any other word, which tells nothing.
    Sockets(Option<SocketView>),
    /// `nodes [IP[:PORT]]`, `node [IP[:PORT]]`
    Nodes(Option<BackendAddress>),
    /// `proc`
    Proc,
    /// `fd`
    Descriptors,
    /// `plugins`
    Plugins,
    /// `plugin list`, `plugin show NAME`, `plugin diff NAME VERSION`
    Scripts(ScriptQuery),
    /// `cert list [json]`
    Certificates(Format),
    /// A word that a plugin brings along.
    Report(String),
    /// `reload NAME`: what cannot be, as in Perlbal.
    Reload(String),
    /// What Perlbal tells of its interpreter (`obj`, `track`, `xs` …); there is none here.
    Interpreter,
    /// `help`
    Help,
    /// `mime`, `mime list`
    Mime,
    /// `reproxy_state`
    ReproxyState,
    /// `cluster status [json]`
    ClusterStatus(Format),
    /// `cluster load`
    ClusterLoad,
    /// `cluster members [json]`
    ClusterMembers(Format),
    /// `cluster tokens`
    Tokens,
    /// `health [POOL]`
    Health(Option<PoolName>),
    /// `health why ip:port`
    WhyHealth(BackendAddress),
    /// `why METHOD URL [header: value]…`
    Why(Box<Supposed>),
    /// `effects`
    Effects,
    /// `config version`
    ConfigVersion,
    /// `config history`, `config show`, `config diff`, `config verify`
    History(HistoryQuery),
    /// `ready`
    Ready,
}

/// The plugins in Lua.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptQuery {
    /// All of them.
    List,
    /// The source of one.
    Show(String),
    /// What differs between its source at a version and now.
    Diff(String, Version),
}

/// What there was of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryQuery {
    /// `config history [N] [json]`
    List {
        /// How many versions, the last ones.
        count: usize,
        /// How they are printed.
        format: Format,
    },
    /// `config show V [json]`
    Show(Version, Format),
    /// `config diff A B`
    Diff(Version, Version),
    /// `config verify`
    Verify,
}

/// A request that nobody sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supposed {
    /// Its method.
    pub method: String,
    /// Host and port as they were typed.
    pub authority: String,
    /// A name or an address.
    pub host: String,
    /// Where it would be sent.
    pub port: u16,
    /// Whether over TLS.
    pub secure: bool,
    /// Path and query.
    pub target: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// How sockets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketView {
    /// A line each.
    All,
    /// How many there are of each kind.
    Summary,
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// One line of JSON.
    Json,
}

/// What is neither a change of the configuration nor a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// `use NAME`: later lines mean this object.
    Use(String),
    /// `verbose on|off`
    Verbose(bool),
    /// `auth SECRET`
    Auth(String),
    /// `begin`: later changes wait for `commit`, and are one.
    Begin,
    /// `commit [if version N] [confirm SECONDS]`
    Commit {
        /// The version that must still be the one of now.
        if_version: Option<Version>,
        /// It is undone unless it is confirmed within so many seconds.
        confirm: Option<u32>,
    },
    /// `confirm`: what waits for it stays.
    Confirm,
    /// `config rollback V`
    Rollback(Version),
    /// `abort`: forgets what was typed since `begin`.
    Abort,
    /// `quit`, `exit`
    Quit,
    /// `shutdown [graceful [SECS]]`
    Shutdown(Stop),
    /// `server KEY = VALUE` that concerns this process alone.
    Server(ServerSetting),
    /// `sync`: waits until this node has all that was committed.
    Sync,
    /// `barrier [SECONDS]`: waits until every live node has what this one has.
    Barrier(Duration),
    /// `cluster token [ttl SECONDS] [uses N]`
    IssueToken {
        /// How long it is good for.
        ttl: Duration,
        /// How often it may be used; none: without limit.
        uses: Option<u32>,
    },
    /// `cluster revoke ID`
    RevokeToken(TokenId),
    /// `cluster remove NODE`
    RemoveNode(NodeName),
    /// `cluster promote NODE`, `cluster demote NODE`
    SetWish {
        /// The member.
        node: NodeName,
        /// Whether it shall vote.
        wish: VoteWish,
    },
    /// `cluster transfer NODE`: it leads from now on.
    Transfer(NodeName),
    /// `cluster rekey`: this node gets a new key.
    Rekey,
    /// `drain node`, `undrain node`: whether this node gives up its readiness until that is undone.
    DrainNode(bool),
    /// `on NODE COMMAND`: what concerns one node, there.
    On {
        /// The member.
        node: NodeName,
        /// What is asked of it.
        remote: Remote,
    },
    /// `fleet COMMAND`: a read, at every live node.
    Fleet(Remote),
    /// `fleet sum COMMAND`: the same, and the figures added up.
    FleetSum(Remote),
    /// `include = FILES`: lines of config files of this machine, by name or pattern.
    Include(Vec<String>),
    /// `throttle reload config|whitelist|blacklist`: this node reads a list of a service anew.
    Throttle {
        /// The service.
        service: String,
        /// Which list; none: nothing is to be read, what is set holds already.
        list: Option<throttle::Which>,
    },
    /// `config request ID`: what became of a change whose outcome was unknown.
    Outcome(RequestId),
}

/// A line for another node, which reads it for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// As it was typed.
    pub line: String,
    /// What this node takes it for.
    pub command: Box<Command>,
}

impl Command {
    /// Whether it concerns one node, so that it can be carried out for somebody who typed it at another one.
    pub fn concerns_one_node(&self) -> bool {
        match self {
            Self::Change(_) => false,
            Self::Query(_) => true,
            Self::Local(local) => match local {
                Local::Sync
                | Local::Barrier(_)
                | Local::Outcome(_)
                | Local::Server(_)
                | Local::DrainNode(_)
                | Local::Rekey
                | Local::Throttle { .. }
                | Local::Shutdown(Stop::Graceful(_)) => true,
                Local::Use(_)
                | Local::Verbose(_)
                | Local::Auth(_)
                | Local::Quit
                | Local::Begin
                | Local::Commit { .. }
                | Local::Confirm
                | Local::Include(_)
                | Local::Rollback(_)
                | Local::Abort
                | Local::Shutdown(Stop::Now)
                | Local::IssueToken { .. }
                | Local::RevokeToken(_)
                | Local::RemoveNode(_)
                | Local::SetWish { .. }
                | Local::Transfer(_)
                | Local::On { .. }
                | Local::Fleet(_)
                | Local::FleetSum(_) => false,
            },
        }
    }

    /// Whether it can be carried out by whoever may only read.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Change(_) => false,
            Self::Query(_) => true,
            Self::Local(local) => match local {
                Local::Use(_)
                | Local::Verbose(_)
                | Local::Auth(_)
                | Local::Quit
                | Local::Sync
                | Local::Barrier(_)
                | Local::Fleet(_)
                | Local::FleetSum(_)
                | Local::Outcome(_) => true,
                Local::On { remote, .. } => remote.command.is_read(),
                Local::Begin
                | Local::Commit { .. }
                | Local::Confirm
                | Local::Include(_)
                | Local::Rollback(_)
                | Local::Abort
                | Local::Server(_)
                | Local::Shutdown(_)
                | Local::DrainNode(_)
                | Local::Throttle { .. }
                | Local::IssueToken { .. }
                | Local::RevokeToken(_)
                | Local::RemoveNode(_)
                | Local::SetWish { .. }
                | Local::Rekey
                | Local::Transfer(_) => false,
            },
        }
    }
}
