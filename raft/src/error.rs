//! What can go wrong with a data directory, a join and a proposal. Each message is one sentence that a person can
//! act on.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::RequestId;
use crate::rights::Rights;
use crate::store::StoreError;

/// What to do where this process may not use its data directory; nothing where the error says it all.
fn remedy(path: &Path, source: &io::Error) -> String {
    let kind = source.kind();
    if kind == io::ErrorKind::ReadOnlyFilesystem {
        "; mount it writable, or name another directory with --data-dir".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        of_rights(path).unwrap_or_default()
    } else {
        String::new()
    }
}

fn of_rights(path: &Path) -> Option<String> {
    let found = Rights::of(path)?;
    let own = found.own;
    // Of a file in it, the others are most likely no better.
    let dir = if path.is_file() { path.parent()? } else { path };
    let (is_there, dir) = (dir.is_dir(), dir.display());
    let what = if found.owner == own {
        format!("let its owner read and write it (`chmod -R u+rwX {dir}`)")
    } else if is_there {
        format!("give it away (`chown -R {own} {dir}` as root), or name another with --data-dir")
    } else {
        format!(
            "make the directory and give it away (`install -d -o {own} -m 700 {dir}` as root), or name another with \
             --data-dir"
        )
    };
    Some(format!("; {found}: {what}"))
}

/// Why a data directory, or what lies in it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be made or entered.
    #[error("data directory {path}: cannot be used: {source}{}", remedy(path, source))]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be written there.
    #[error("data directory {path}: not writable: {source}{}", remedy(path, source))]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("data directory {0}: in use by another process")]
    Locked(PathBuf),
    /// It holds things of somebody else.
    #[error(
        "data directory {path}: holds '{found}' but no fleetbal node; choose an empty or a new directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// A later release wrote it.
    #[error(
        "data directory {path}: written by a later release (format {found}, this one reads up to {known}); \
         use that release"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest format that this release reads.
        known: u32,
    },
    /// It belongs to a node already.
    #[error("data directory {path}: belongs to node '{node}' of fleet '{fleet}' already")]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The node.
        node: String,
        /// Its fleet.
        fleet: String,
    },
    /// Its node was removed from the fleet.
    #[error(
        "data directory {path}: node '{node}' was removed from fleet '{fleet}'; to join again, use an empty \
         directory and a new token"
    )]
    Removed {
        /// The directory.
        path: PathBuf,
        /// The node.
        node: String,
        /// Its fleet.
        fleet: String,
    },
    /// It has forgotten what its node acknowledged.
    #[error(
        "data directory {path}: an old copy: node '{node}' has acknowledged entry {acknowledged} of the log, and this \
         ends at {last}; take the latest one, or `cluster remove {node}` and join with an empty directory and a new token"
    )]
    Past {
        /// The directory.
        path: PathBuf,
        /// The node.
        node: String,
        /// The last entry that it has.
        last: u64,
        /// The last entry that the leader has its word for.
        acknowledged: u64,
    },
    /// A file in it does not hold what it must.
    #[error("{path}: damaged ({reason}); restore it from a backup, or join again with an empty directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file in it cannot be read or written.
    #[error("{path}: {source}{}", remedy(path, source))]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Keys or certificates could not be made or used.
    #[error("keys of this node: {0}")]
    Keys(String),
    /// The log or a snapshot cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The consensus did not come up.
    #[error("the replicated log cannot be resumed: {0}")]
    Raft(String),
    /// A new fleet could not write its first entry.
    #[error("the fleet could not be founded: {0}")]
    Founding(#[source] ProposeError),
    /// The fleet's name breaks the rules.
    #[error("'{0}' is not a valid fleet name: it must match [A-Za-z0-9][A-Za-z0-9._-]{{0,62}}")]
    FleetName(String),
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The data directory cannot keep what was got.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nobody was named whom to ask.
    #[error("no member to join was given; name at least one as HOST:PORT")]
    NoPeers,
    /// A peer's address cannot be read.
    #[error(
        "'{0}' is not an address of a member; it must be HOST:PORT, e.g. 10.0.0.1:7400, [::1]:7400 or \
         n1.example.org:7400"
    )]
    Peer(String),
    /// The other side is of another fleet, or is an impostor.
    #[error(
        "{peer} is not of the fleet that the join token names (its CA is another one); check the address and \
         the token"
    )]
    WrongFleet {
        /// The member that was asked.
        peer: String,
    },
    /// The fleet said no.
    #[error("the fleet refused the join: {0}")]
    Refused(String),
    /// Nobody could take the node up in time.
    #[error("could not join within {seconds} s: {last}")]
    TimedOut {
        /// How long it was tried.
        seconds: u64,
        /// What happened last, and where.
        last: String,
    },
    /// The answer was not what a member says.
    #[error("{peer} gave an answer that makes no sense: {reason}")]
    Answer {
        /// The member that was asked.
        peer: String,
        /// What was wrong.
        reason: String,
    },
}

/// Why a proposal or a fresh read got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// A majority is away, and the proposal certainly was not made.
    #[error("no quorum ({reachable} of {voters} voters reachable); nothing was changed")]
    NoQuorum {
        /// Voters that answer this node, itself included.
        reachable: u32,
        /// All voters.
        voters: u32,
    },
    /// The proposal was out when the majority went away: it may or may not count in the end.
    #[error("outcome unknown (request {request_id})")]
    Unknown {
        /// To ask for the outcome later.
        request_id: RequestId,
    },
    /// More than one change may hold.
    #[error("a change of {bytes} bytes is too large; at most {limit} are taken as one")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Refused by the fleet; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// There is no fleet here that a node could join.
    #[error("this node stands alone; start it with --init to found a fleet that others can join")]
    Standalone,
    /// This node is going down, or its store has failed.
    #[error("this node takes no part in its fleet any more; nothing was changed")]
    Stopped,
}
