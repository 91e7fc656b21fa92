//! Refusals, in Perlbal's words where Perlbal has them.

use super::address::BackendAddress;
use super::config::Version;
use super::name::{CertificateName, NodeName, PoolName, ScriptName, ServiceName};
use super::plugin::{InvalidDirective, Plugin};
use super::role::Role;
use super::service::TunableError;
use super::template::VariableError;

/// Why a change was refused. What it prints is what the typist reads behind `ERROR: `, the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A tunable of a service.
    #[error(transparent)]
    Tunable(#[from] TunableError),
    /// `CREATE SERVICE` of one that is there.
    #[error("service '{0}' already exists")]
    ServiceExists(ServiceName),
    /// `CREATE POOL` of one that is there.
    #[error("pool '{0}' already exists")]
    PoolExists(PoolName),
    /// No such service.
    #[error("service '{0}' does not exist")]
    NoService(ServiceName),
    /// No such object of `SET`.
    #[error("service/pool '{0}' does not exist")]
    NoObject(String),
    /// No such pool.
    #[error("Pool '{0}' not found")]
    NoPool(String),
    /// No such service, where one is named in a value.
    #[error("Service '{0}' not found")]
    NoSuchService(String),
    /// `LOAD` of what this release does not have. (Perlbal goes on to say where it looked.)
    #[error("Can't locate Perlbal/Plugin/{0}.pm in @INC")]
    NoPlugin(String),
    /// `LOAD` of the plugin whose handlers are Perl.
    #[error(
        "Cgilike calls handlers in Perl, and there is no Perl here: write the handler in Lua (docs/plugins.md shows one, \
         Handler.lua), `fleetbal plugin push Handler.lua`, then `LOAD Handler`"
    )]
    NoPerl,
    /// A plugin in Lua whose name another plugin has, but for its case.
    #[error("there is a plugin {1} already; {0} needs another name")]
    ScriptName(ScriptName, Plugin),
    /// The source of a plugin in Lua that is too long.
    #[error("the source of plugin {0} is longer than 1 MiB")]
    ScriptSize(ScriptName),
    /// `plugin remove` of one that was never pushed.
    #[error("there is no plugin {0}")]
    NoScript(ScriptName),
    /// `plugin remove` of one that is loaded.
    #[error("plugin {0} is loaded; UNLOAD {0} first")]
    ScriptLoaded(ScriptName),
    /// No such certificate.
    #[error("there is no certificate '{0}'; `cert list` shows those that there are")]
    NoCertificate(String),
    /// A certificate that is none, or too long.
    #[error("certificate {0} is empty, or longer than 64 KiB")]
    CertificateSize(CertificateName),
    /// `cert remove` of one that something names.
    #[error("certificate {name} is used by {by}; take it from there first")]
    CertificateInUse {
        /// The certificate.
        name: CertificateName,
        /// What names it.
        by: String,
    },
    /// `SET plugins` with one that is not loaded.
    #[error("Plugin {plugin} not loaded; not registered for {service}.")]
    NotLoaded {
        /// The plugin.
        plugin: String,
        /// The service.
        service: ServiceName,
    },
    /// A word of a plugin that is not loaded.
    #[error("unknown command: {word} (it needs LOAD {plugin})")]
    NeedsPlugin {
        /// The word.
        word: String,
        /// Whose it is.
        plugin: Plugin,
    },
    /// `SET plugins` on a service of another role.
    #[error("You can't load the {} plugin on a service not of role {role}.", .plugin.spelled())]
    PluginRole {
        /// The plugin.
        plugin: Plugin,
        /// The only role.
        role: Role,
    },
    /// `UNLOAD` of a plugin whose role a service has.
    #[error(
        "plugin {plugin} brings along the role {role}, which service '{service}' has; nothing was changed"
    )]
    RoleInUse {
        /// The service.
        service: ServiceName,
        /// Its role.
        role: Role,
        /// The plugin.
        plugin: Plugin,
    },
    /// A line of a plugin for a service that cannot have it.
    #[error("{}", not_of_role(.service, .plugin))]
    NotOfRole {
        /// The service, which may not exist.
        service: String,
        /// Whose line it is.
        plugin: Plugin,
    },
    /// A line of a plugin that cannot be carried out.
    #[error(transparent)]
    Directive(#[from] InvalidDirective),
    /// Not a role, or not one that this version has.
    #[error("Role not valid for service {0}")]
    Role(ServiceName),
    /// Not a balance method.
    #[error("Unknown balance method")]
    BalanceMethod,
    /// Not a setting of pools. (Perlbal says nothing here; a silent failure helps nobody.)
    #[error("Unknown pool parameter '{0}'")]
    PoolSetting(String),
    /// A value that a setting of pools cannot have.
    #[error("Value of '{key}' must be {wanted}")]
    PoolValue {
        /// The setting.
        key: &'static str,
        /// What its value can be.
        wanted: &'static str,
    },
    /// Not what a pool can hash by.
    #[error("Value of 'hash_by' must be one of: client_address, uri, header:NAME, cookie:NAME")]
    HashBy,
    /// Not a name that a header can have.
    #[error("'{0}' is not a header name")]
    HeaderName(String),
    /// A rule for a header that says where a message ends.
    #[error("header '{0}' says where a message ends; no rule can change it")]
    HeaderFraming(String),
    /// A value that would end the header's line.
    #[error("the value of a header cannot have control characters")]
    HeaderValue,
    /// A weight that no backend can have.
    #[error("weight must be a number from 1 to 1000")]
    Weight,
    /// `DRAIN` or `UNDRAIN` of what is not in the pool.
    #[error("backend {backend} is not in pool '{pool}'")]
    NoBackend {
        /// The pool.
        pool: PoolName,
        /// What is not in it.
        backend: BackendAddress,
    },
    /// A pool's setting on a service that has none, while there are pools that somebody made. (One line here.)
    #[error(
        "Attempt to vivify pool {pool} but one or more pools have already been created manually.  Please set {key} on \
         a previously created pool."
    )]
    Vivify {
        /// The pool that would have been made.
        pool: PoolName,
        /// The setting.
        key: String,
    },
    /// A `${…}` that does not exist.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// `ENABLE` of an enabled one.
    #[error("service {0} is already enabled")]
    AlreadyEnabled(ServiceName),
    /// `DISABLE` of a disabled one.
    #[error("service {0} is already disabled")]
    AlreadyDisabled(ServiceName),
    /// `DISABLE` of the management port.
    #[error("can't disable management service")]
    DisableManagement,
    /// `MIME REMOVE` of what has no type.
    #[error("{0} not a defined extension.")]
    NoExtension(String),
    /// `MIME SET` of what is no extension or no type.
    #[error("Usage: set <ext> <mime>")]
    Mime,
    /// `ENABLE` without a role.
    #[error("can't enable service '{0}': it has no role yet; SET role first")]
    NoRole(ServiceName),
    /// `commit if version`.
    #[error("the configuration is at version {at}, not {wanted}; nothing was changed")]
    VersionMoved {
        /// Where it is.
        at: Version,
        /// Where the typist thought it was.
        wanted: Version,
    },
    /// A version that cannot be had again.
    #[error("version {wanted} is not kept; versions {oldest} to {latest} are")]
    NoVersion {
        /// The one that was asked for.
        wanted: Version,
        /// The oldest that is kept.
        oldest: Version,
        /// The one of now.
        latest: Version,
    },
    /// A change while a version may still be undone.
    #[error("version {0} waits for confirm")]
    WaitsForConfirm(Version),
    /// `confirm` of nothing.
    #[error("no version waits for confirm")]
    NothingToConfirm,
    /// `commit confirm` with a time that is none.
    #[error("confirm takes a number of seconds from 1 to 3600")]
    ConfirmTime,
    /// `SERVER config_history`.
    #[error("config_history must be a number of versions from 1 to 10000")]
    ConfigHistory,
    /// A pool that something still names.
    #[error("pool '{pool}' is used by {by}")]
    PoolInUse {
        /// The pool.
        pool: PoolName,
        /// What names it.
        by: String,
    },
    /// A name that breaks the rules.
    #[error(transparent)]
    Name(#[from] super::name::InvalidName),
    /// `cluster set voters`.
    #[error("voters must be an odd number from 1 to 7")]
    Voters,
    /// `cluster set dead_voter_after`.
    #[error("dead_voter_after must be a number of seconds from 1 to 604800")]
    DeadVoterAfter,
    /// Not a member.
    #[error("there is no node '{0}' in this fleet")]
    NoMember(NodeName),
    /// `cluster remove` of the only member.
    #[error("'{0}' is the only node of this fleet")]
    OnlyMember(NodeName),
    /// A removal or a demotion after which nobody may vote.
    #[error("without '{0}' no node that may vote is left; promote another one first")]
    NoVoterLeft(NodeName),
    /// A promotion while all votes are given by promotions.
    #[error("all {0} votes belong to nodes that were promoted; demote one, or `cluster set voters`")]
    NoVoteFree(u32),
    /// A join with a token that the fleet does not know.
    #[error("the join token is not one of this fleet's, or its secret is wrong")]
    UnknownToken,
    /// A join with a token past its time.
    #[error(
        "the join token has expired; `cluster token` on a member prints a new one (if that one has expired too, compare \
         the members' clocks)"
    )]
    ExpiredToken,
    /// A join with a token that was used as often as it may be.
    #[error("the join token has been used up; `cluster token` on a member prints a new one")]
    UsedToken,
    /// A join under another member's name.
    #[error(
        "the node name '{0}' is taken by another member; choose one with --node, or let `cluster remove {0}` free it"
    )]
    NameTaken(NodeName),
    /// A second founding.
    #[error("this fleet has been founded already")]
    Founded,
    /// A restore of what no fleet can have had.
    #[error("the configuration of the backup does not fit together")]
    Inconsistent,
    /// Bytes that are no command.
    #[error("not a valid command: {0}")]
    Malformed(String),
}

fn not_of_role(service: &str, plugin: &Plugin) -> String {
    match plugin.role() {
        Some(role) => format!("Service '{service}' is not a {role} service"),
        None => format!("Non-existent service '{service}'"),
    }
}

/// A refused batch: which change, counted from 0, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the typist reads behind `ERROR: `.
    pub text: String,
    /// The change of the batch, counted from 0; [`Refusal::WHOLE`] where it is none of them.
    pub change: u32,
}

impl Refusal {
    /// Stands for the batch itself.
    pub const WHOLE: u32 = u32::MAX;

    /// Of one change, for a reason.
    pub(crate) fn of(rejection: &Rejection, change: u32) -> Self {
        Self {
            text: rejection.to_string(),
            change,
        }
    }
}
