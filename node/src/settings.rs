//! What this node alone was told: flags, `FLEETBAL_…` variables and `CLUSTER` lines, made into [`Settings`].
//!
//! A flag beats a variable, a variable beats a line of the config file. Nothing replicated is here.

mod advertise;
mod flags;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use fleetbal_raft::cluster::Peer;
use fleetbal_raft::model::NodeName;

pub use flags::{LogFormat, RunFlags};

/// Where a fleet's node keeps its state when nothing else was said.
const DATA_DIR: &str = "/var/lib/fleetbal";

/// Where a fleet's node takes management commands when nothing else was said.
const MANAGEMENT: &str = "127.0.0.1:60000";

/// Where a fleet's node listens for its peers when nothing else was said.
const CLUSTER_LISTEN: &str = "0.0.0.0:7400";

/// The config file that is read when none was named.
const CONFIG_FILE: &str = "/etc/fleetbal/fleetbal.conf";

/// Perlbal's own, which a node that takes its place alone reads where there is no other.
const PERLBAL_CONFIG_FILE: &str = "/etc/perlbal/perlbal.conf";

/// The name of a fleet that was founded without one.
pub const FLEET: &str = "fleet";

/// A setting that cannot be used; the process ends with 78.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that means nothing.
    #[error("{setting}: '{value}' {problem}")]
    Value {
        /// The flag.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        problem: String,
    },
    /// A `CLUSTER` key that there is not.
    #[error("CLUSTER {0}: there is no such setting; `fleetbal --help` lists them as flags")]
    UnknownKey(String),
    /// Settings that exclude each other, or one that needs another.
    #[error("{0}")]
    Combination(String),
}

/// How a clustered node begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Found a new fleet, of this name where one was given.
    Found(Option<String>),
    /// Join one: addresses of members, and the token as text or file.
    Join {
        /// Their cluster ports.
        peers: Vec<Peer>,
        /// Where the token comes from.
        token: Option<TokenSource>,
    },
    /// Neither was said: only a directory that belongs to a fleet will do.
    Resume,
}

/// Where a join token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// Given as it is.
    Text(String),
    /// In a file.
    File(PathBuf),
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// What a member of a fleet needs beyond a standalone node.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Log, snapshots and identity live here.
    pub data_dir: PathBuf,
    /// The cluster port is bound here.
    pub listen: SocketAddr,
    /// The others reach it here.
    pub advertise: SocketAddr,
    /// Found, join or resume.
    pub begin: Begin,
}

/// Everything that this node alone was told.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Settings {
    /// The node's name: given, or the host's.
    pub node: NodeName,
    /// Whether the name was given; a directory's own name gives way to no host name.
    pub node_given: bool,
    /// The config file, where there is one.
    pub config: Option<PathBuf>,
    /// Whether it is a member of a fleet.
    pub cluster: Option<ClusterSettings>,
    /// The management listener of this node alone.
    pub management: Option<SocketAddr>,
    /// Who may use management listeners off loopback.
    pub management_token_file: Option<PathBuf>,
    /// Whether everybody may.
    pub management_open: bool,
    /// A port for the read-only endpoints alone.
    pub metrics: Option<SocketAddr>,
    /// For `${node:label.KEY}`.
    pub labels: BTreeMap<String, String>,
    /// Whether it lets go of whoever started it, once it runs.
    pub daemon: bool,
    /// Data plane threads.
    pub workers: usize,
    /// Whether the configuration may start programs on this node.
    pub allow_exec: bool,
}

impl Settings {
    /// Puts flags, variables (already in `flags`) and the `CLUSTER` lines of the config file together.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn build(mut flags: RunFlags, cluster_lines: &[(String, String)]) -> Result<Self, SettingsError> {
        let clustered_by_file = !cluster_lines.is_empty();
        for (key, value) in cluster_lines {
            flags.fill(key, value)?;
        }
        let clustered = clustered_by_file || flags.is_clustered();
        let node = node_name(flags.node.as_deref())?;
        let cluster = if clustered { Some(cluster(&flags)?) } else { None };
        if let (false, Some(flag)) = (clustered, flags.for_members_only()) {
            return Err(SettingsError::Combination(format!(
                "{flag} is for a member of a fleet: found one with --init, join one with --join, or resume one with \
                 --data-dir"
            )));
        }
        let default_management = clustered.then_some(MANAGEMENT);
        let management = flags.management.as_deref().or(default_management);
        Ok(Self {
            node,
            node_given: flags.node.is_some(),
            cluster,
            management: management.map(|text| address("--management", text)).transpose()?,
            management_token_file: flags.management_token_file,
            management_open: flags.management_open,
            metrics: flags
                .metrics
                .as_deref()
                .map(|text| address("--metrics", text))
                .transpose()?,
            labels: labels(&flags.label)?,
            workers: workers(flags.workers)?,
            allow_exec: flags.allow_exec,
            daemon: flags.daemon,
            config: flags.config,
        })
    }

    /// Where the others reach this node's cluster port; nowhere where it stands alone.
    pub fn advertised(&self) -> SocketAddr {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        self.cluster.as_ref().map_or(nowhere, |cluster| cluster.advertise)
    }

    /// What `${node:ip}` stands for on this node.
    pub fn advertised_ip(&self) -> Option<IpAddr> {
        self.cluster.as_ref().map(|cluster| cluster.advertise.ip())
    }
}

/// The config file to read: the one named, else the usual one where it exists. Perlbal's counts only for a node that
/// stands alone: a member has its configuration from its fleet.
pub fn config_file(flags: &RunFlags) -> Option<PathBuf> {
    let alone = !flags.is_clustered() && flags.for_members_only().is_none();
    let usual = [Some(CONFIG_FILE), alone.then_some(PERLBAL_CONFIG_FILE)];
    let usual = || {
        usual
            .into_iter()
            .flatten()
            .map(PathBuf::from)
            .find(|path| path.exists())
    };
    flags.config.clone().or_else(usual)
}

fn cluster(flags: &RunFlags) -> Result<ClusterSettings, SettingsError> {
    let listen = address(
        "--cluster-listen",
        flags.cluster_listen.as_deref().unwrap_or(CLUSTER_LISTEN),
    )?;
    let advertise = match flags.advertise.as_deref() {
        Some(text) => address("--advertise", text)?,
        None => advertise::default(listen)?,
    };
    if advertise.ip().is_unspecified() || advertise.port() == 0 {
        let problem = "is no address that another node could reach; give its ip:port".to_owned();
        return Err(SettingsError::Value {
            setting: "--advertise",
            value: advertise.to_string(),
            problem,
        });
    }
    Ok(ClusterSettings {
        data_dir: flags.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR)),
        listen,
        advertise,
        begin: begin(flags)?,
    })
}

fn begin(flags: &RunFlags) -> Result<Begin, SettingsError> {
    let token = match (&flags.token, &flags.token_file) {
        (Some(text), _) => Some(TokenSource::Text(text.clone())),
        (None, Some(path)) => Some(TokenSource::File(path.clone())),
        (None, None) => None,
    };
    match (flags.init, flags.join.is_empty()) {
        (true, false) => Err(SettingsError::Combination(
            "--init founds a new fleet and --join joins one; give only one of them".to_owned(),
        )),
        (true, true) => Ok(Begin::Found(flags.cluster.clone())),
        (false, false) => {
            let peers = flags.join.iter().map(String::as_str).map(peer_of);
            Ok(Begin::Join {
                peers: peers.collect::<Result<_, _>>()?,
                token,
            })
        }
        (false, true) => Ok(Begin::Resume),
    }
}

fn node_name(given: Option<&str>) -> Result<NodeName, SettingsError> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => host_name()?,
    };
    NodeName::parse(&name).map_err(|error| SettingsError::Combination(format!("--node: {error}")))
}

fn host_name() -> Result<String, SettingsError> {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| SettingsError::Combination("this host has no name; give one with --node".to_owned()))
}

fn address(setting: &'static str, text: &str) -> Result<SocketAddr, SettingsError> {
    text.parse().map_err(|_| SettingsError::Value {
        setting,
        value: text.to_owned(),
        problem: "is not ip:port, e.g. 10.0.0.1:7400 or [::1]:7400".to_owned(),
    })
}

fn peer_of(text: &str) -> Result<Peer, SettingsError> {
    text.parse().map_err(|_| SettingsError::Value {
        setting: "--join",
        value: text.to_owned(),
        problem: "is not HOST:PORT, e.g. 10.0.0.1:7400, [::1]:7400 or n1.example.org:7400".to_owned(),
    })
}

fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, SettingsError> {
    let parse = |pair: &String| {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| SettingsError::Value {
                setting: "--label",
                value: pair.clone(),
                problem: "is not KEY=VALUE".to_owned(),
            })?;
        Ok((key.to_owned(), value.to_owned()))
    };
    pairs.iter().map(parse).collect()
}

/// More worker threads than this help nobody and cost memory.
const MAX_WORKERS: usize = 1024;

fn workers(given: Option<usize>) -> Result<usize, SettingsError> {
    match given {
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        Some(count) if (1..=MAX_WORKERS).contains(&count) => Ok(count),
        Some(count) => Err(SettingsError::Value {
            setting: "--workers",
            value: count.to_string(),
            problem: format!("is not between 1 and {MAX_WORKERS}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn build(args: &[&str], lines: &[(&str, &str)]) -> Result<Settings, String> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            run: RunFlags,
        }
        let line = Line::try_parse_from(std::iter::once(&"fleetbal").chain(args));
        let flags = line.map_err(|e| e.to_string())?.run;
        let lines: Vec<_> = lines
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Settings::build(flags, &lines).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_said_is_standalone() {
        let settings = build(&["--node", "n1"], &[]).unwrap();
        assert!(settings.cluster.is_none());
        assert_eq!(settings.management, None);
    }

    #[test]
    fn a_flag_beats_the_file() {
        let lines = [
            ("node", "from-file"),
            ("cluster_listen", "127.0.0.9:7400"),
            ("init", "on"),
            ("cluster", "acme"),
        ];
        let settings = build(&["--node", "N1"], &lines).unwrap();
        assert_eq!(settings.node.as_str(), "n1");
        let cluster = settings.cluster.unwrap();
        assert_eq!(cluster.begin, Begin::Found(Some("acme".to_owned())));
        assert_eq!(cluster.advertise.to_string(), "127.0.0.9:7400");
        assert_eq!(settings.management.unwrap().to_string(), MANAGEMENT);
    }

    #[test]
    fn each_mistake_gets_one_clear_error() {
        let cases: [(&[&str], &str); 6] = [
            (&["--init", "--join", "10.0.0.1:7400"], "give only one of them"),
            (&["--join", "n1"], "--join: 'n1' is not HOST:PORT"),
            (
                &["--init", "--advertise", "0.0.0.0:7400"],
                "is no address that another node could reach",
            ),
            (&["--label", "rack"], "--label: 'rack' is not KEY=VALUE"),
            (&["--workers", "0"], "--workers: '0' is not between 1 and 1024"),
            (&["--node", "a b"], "--node: 'a b' is not a valid node name"),
        ];
        for (args, expected) in cases {
            let mut args = args.to_vec();
            if !args.contains(&"--node") {
                args.extend(["--node", "n1"]);
            }
            let error = build(&args, &[]).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
        let error = build(&["--node", "n1"], &[("nonsense", "1")]).unwrap_err();
        assert!(error.contains("CLUSTER nonsense"), "{error}");
    }
}
