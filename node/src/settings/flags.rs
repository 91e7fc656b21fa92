//! The flags of a running node, and the `CLUSTER` lines that mean the same.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SettingsError;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The flags of a running node; each also has a variable and a `CLUSTER` line.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags that are there or not, each of its own"
)]
pub struct RunFlags {
    /// Config file; without it /etc/fleetbal/fleetbal.conf or /etc/perlbal/perlbal.conf, where there is one
    #[arg(long, short = 'c', value_name = "FILE", env = "FLEETBAL_CONFIG")]
    pub config: Option<PathBuf>,

    /// Go on in the background once it listens; the log goes to the system's (syslog)
    #[arg(long)]
    pub daemon: bool,

    /// Read and check the config file, then exit: 0 if it is good, 78 if not
    #[arg(long)]
    pub check: bool,

    /// Given by a node's process to the one that takes its place (signal USR2)
    #[arg(long, hide = true)]
    pub take_over: bool,

    /// This node's name, unique in the fleet [default: host name]
    #[arg(long, value_name = "NAME", env = "FLEETBAL_NODE")]
    pub node: Option<String>,

    /// Where the log, snapshots and identity live [default: /var/lib/fleetbal once clustered]
    #[arg(long, value_name = "DIR", env = "FLEETBAL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Cluster port: consensus, gossip and forwarding, mutual TLS [default: 0.0.0.0:7400]
    #[arg(long, value_name = "IP:PORT", env = "FLEETBAL_CLUSTER_LISTEN")]
    pub cluster_listen: Option<String>,

    /// Where the other nodes reach it [default: the listen address]
    #[arg(long, value_name = "IP:PORT", env = "FLEETBAL_ADVERTISE")]
    pub advertise: Option<String>,

    /// Found a new fleet
    #[arg(long, env = "FLEETBAL_INIT", value_parser = clap::builder::FalseyValueParser::new())]
    pub init: bool,

    /// The name of the fleet that --init founds [default: fleet]
    #[arg(long, value_name = "NAME", env = "FLEETBAL_CLUSTER")]
    pub cluster: Option<String>,

    /// Join the fleet of these members, by address or name
    #[arg(
        long,
        value_name = "HOST:PORT[,…]",
        value_delimiter = ',',
        env = "FLEETBAL_JOIN"
    )]
    pub join: Vec<String>,

    /// The join token, from `cluster token` on a member
    #[arg(
        long,
        value_name = "TOKEN",
        env = "FLEETBAL_JOIN_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,

    /// A file that holds the join token
    #[arg(long, value_name = "FILE", env = "FLEETBAL_JOIN_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// A management listener of this node alone [default: 127.0.0.1:60000 once clustered]
    #[arg(long, value_name = "IP:PORT", env = "FLEETBAL_MANAGEMENT")]
    pub management: Option<String>,

    /// Who may use management listeners off loopback: lines `NAME read|admin SECRET`
    #[arg(long, value_name = "FILE", env = "FLEETBAL_MANAGEMENT_TOKEN_FILE")]
    pub management_token_file: Option<PathBuf>,

    /// Let everybody use management listeners off loopback
    #[arg(long, env = "FLEETBAL_MANAGEMENT_OPEN", value_parser = clap::builder::FalseyValueParser::new())]
    pub management_open: bool,

    /// A port of its own for /metrics, /healthz and /readyz
    #[arg(long, value_name = "IP:PORT", env = "FLEETBAL_METRICS")]
    pub metrics: Option<String>,

    /// For ${node:label.KEY} in the configuration; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', env = "FLEETBAL_LABEL")]
    pub label: Vec<String>,

    /// Let the configuration start programs on this node: logs that go to a command
    #[arg(long, env = "FLEETBAL_ALLOW_EXEC", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_exec: bool,

    /// Data plane threads [default: number of CPUs]
    #[arg(long, value_name = "N", env = "FLEETBAL_WORKERS")]
    pub workers: Option<usize>,

    /// How the log on stderr is written
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        env = "FLEETBAL_LOG_FORMAT"
    )]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or a filter such as info,openraft=debug
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "FLEETBAL_LOG_LEVEL"
    )]
    pub log_level: String,
}

impl RunFlags {
    /// Whether anything was said that makes this node a member of a fleet.
    pub(super) fn is_clustered(&self) -> bool {
        self.init || !self.join.is_empty() || self.data_dir.is_some()
    }

    /// A flag that makes no sense on a node that stands alone, if one was given.
    pub(super) fn for_members_only(&self) -> Option<&'static str> {
        let given = [
            ("--cluster-listen", self.cluster_listen.is_some()),
            ("--advertise", self.advertise.is_some()),
            ("--cluster", self.cluster.is_some()),
            ("--token", self.token.is_some()),
            ("--token-file", self.token_file.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// Takes a `CLUSTER key = value` line, unless a flag or variable said it already.
    pub(super) fn fill(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        let text = || Some(value.to_owned());
        let path = || Some(PathBuf::from(value));
        match key.replace('-', "_").as_str() {
            "node" => or(&mut self.node, text),
            "data_dir" => or(&mut self.data_dir, path),
            "cluster_listen" => or(&mut self.cluster_listen, text),
            "advertise" => or(&mut self.advertise, text),
            "init" => self.init |= on("init", value)?,
            "cluster" => or(&mut self.cluster, text),
            "join" if self.join.is_empty() => self.join = list(value),
            "label" if self.label.is_empty() => self.label = list(value),
            "join" | "label" => {}
            "token" => or(&mut self.token, text),
            "token_file" => or(&mut self.token_file, path),
            "management" => or(&mut self.management, text),
            "management_token_file" => or(&mut self.management_token_file, path),
            "management_open" => self.management_open |= on("management_open", value)?,
            "metrics" => or(&mut self.metrics, text),
            "allow_exec" => self.allow_exec |= on("allow_exec", value)?,
            "workers" => {
                let count = value.parse().map_err(|_| SettingsError::Value {
                    setting: "CLUSTER workers",
                    value: value.to_owned(),
                    problem: "is not a number".to_owned(),
                })?;
                or(&mut self.workers, || Some(count));
            }
            _ => return Err(SettingsError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }
}

fn or<T>(setting: &mut Option<T>, line: impl FnOnce() -> Option<T>) {
    if setting.is_none() {
        *setting = line();
    }
}

fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

fn on(setting: &'static str, value: &str) -> Result<bool, SettingsError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Ok(true),
        "0" | "off" | "no" | "false" => Ok(false),
        _ => Err(SettingsError::Value {
            setting,
            value: value.to_owned(),
            problem: "is neither on nor off".to_owned(),
        }),
    }
}
