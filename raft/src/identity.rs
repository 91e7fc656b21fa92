//! A node's data directory: who it is, across restarts.
//!
//! One process has the directory at a time. `identity.json` is written last, so a directory without it belongs to
//! no fleet yet, whatever an interrupted start left there. The log, its snapshots and what they mean are not here.

mod drain;
mod farewell;
mod files;
pub(crate) mod keys;
mod renewal;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::model::{FleetId, KeyHash, NodeName, UnixMillis};
use crate::types::{ClusterMember, NodeId};

pub use keys::NodeKeys;

/// The latest format of a data directory that this release reads, and the one that it writes.
const FORMAT: u32 = 1;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity.json";
const MEMBERS: &str = "members.json";
/// There while an operator drains the node.
const DRAINED: &str = "drained";
const PENDING: &str = "joining.json";
const NODE_KEY: &str = "node.key";
const NODE_CERTIFICATE: &str = "node.crt";
/// The key and the certificate that are to take the place of the two above.
const NEXT: &str = "node.next";
const CA_KEY: &str = "ca.key";
const CA_CERTIFICATE: &str = "ca.crt";
/// Where the log and its snapshots lie.
const RAFT: &str = "raft";

/// Everything that this crate puts there before there is an identity.
const BEFORE_IDENTITY: [&str; 8] = [
    LOCK,
    MEMBERS,
    PENDING,
    NODE_KEY,
    NODE_CERTIFICATE,
    CA_KEY,
    CA_CERTIFICATE,
    RAFT,
];

/// A locked data directory. Clones share the lock; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct DataDir(Arc<Locked>);

#[derive(Debug)]
struct Locked {
    path: PathBuf,
    _lock: File,
}

/// Who a node is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The fleet's name.
    pub fleet: String,
    /// The fleet's id.
    pub fleet_id: FleetId,
    /// This node's id.
    pub node_id: NodeId,
    /// This node's name.
    pub name: NodeName,
    /// Counts the starts; tells gossip which life of the node speaks.
    pub generation: u64,
    /// Since when it has its key, by its clock; none before its first start.
    pub key_since: Option<UnixMillis>,
    /// What it proves itself with.
    pub keys: NodeKeys,
}

/// The members as this node last knew them, so that it can speak with them before its log was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownMembers {
    /// The place in the log where the membership was like this.
    pub log_index: u64,
    /// By id.
    pub members: BTreeMap<NodeId, ClusterMember>,
}

impl KnownMembers {
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.members.keys().copied()
    }
}

/// A join that was begun: asked again, it is the same join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingJoin {
    pub(crate) token_id: String,
    pub(crate) node: String,
    pub(crate) request_id: String, // hex
}

#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u32,
    fleet: String,
    fleet_id: String, // hex
    node_id: NodeId,
    node: String,
    generation: u64,
    #[serde(default)]
    key_since_unix_ms: Option<u64>,
    /// The fleet removed it; nothing else is left here.
    #[serde(default)]
    removed: bool,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct MembersFile {
    log_index: u64,
    members: BTreeMap<NodeId, MemberLine>,
}

#[derive(Serialize, Deserialize)]
struct MemberLine {
    name: String,
    address: String,
    key_hash: String, // hex
    #[serde(default)]
    next_key_hash: Option<String>, // hex
}

impl DataDir {
    /// Makes the directory where it is not there, and takes it for this process.
    ///
    /// # Errors
    /// When it cannot be made, entered or written, another process has it, it holds something else, or a later
    /// release wrote it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref().to_path_buf();
        let unusable = |source| OpenError::Unusable {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(unusable)?;
        check_contents(&path)?;
        let lock = lock(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(unusable)?;
        Ok(Self(Arc::new(Locked { path, _lock: lock })))
    }

    /// Whether this release can read what lies in a directory, which may be in use; where there is nothing yet, it can.
    ///
    /// # Errors
    /// When a later release wrote it, or it is damaged or unreadable.
    pub fn check_readable(path: &Path) -> Result<(), OpenError> {
        read_identity(path).map(drop)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where the log and its snapshots lie.
    pub(crate) fn raft_path(&self) -> PathBuf {
        self.path().join(RAFT)
    }

    /// Who the node is that lives here; nothing in a directory that belongs to no fleet yet.
    ///
    /// # Errors
    /// When a later release wrote it, or a file is missing, damaged or unreadable.
    pub fn identity(&self) -> Result<Option<Identity>, OpenError> {
        let Some(file) = read_identity(self.path())? else {
            return Ok(None);
        };
        if file.removed {
            return Err(OpenError::Removed {
                path: self.path().to_path_buf(),
                node: file.node,
                fleet: file.fleet,
            });
        }
        let damaged = |what| files::damaged(self.path(), IDENTITY, what);
        Ok(Some(Identity {
            fleet_id: FleetId(from_hex(&file.fleet_id).ok_or_else(|| damaged("fleet_id is no id"))?),
            name: NodeName::parse(&file.node).map_err(|_| damaged("node is no node name"))?,
            fleet: file.fleet,
            node_id: file.node_id,
            generation: file.generation,
            key_since: file.key_since_unix_ms.map(UnixMillis),
            keys: self.read_keys()?,
        }))
    }

    /// The members as they were last known here.
    ///
    /// # Errors
    /// When the file is damaged or unreadable.
    pub fn known_members(&self) -> Result<KnownMembers, OpenError> {
        let file: MembersFile = match files::read_json(self.path(), MEMBERS)? {
            Some(file) => file,
            None => return Ok(KnownMembers::default()),
        };
        let mut members = BTreeMap::new();
        for (id, line) in file.members {
            let hash = from_hex(&line.key_hash)
                .ok_or_else(|| files::damaged(self.path(), MEMBERS, "a key_hash is no hash"))?;
            let member = ClusterMember {
                name: line.name,
                address: line.address,
                key_hash: KeyHash(hash),
                next_key_hash: line.next_key_hash.as_deref().and_then(from_hex).map(KeyHash),
                feature_level: None,
            };
            members.insert(id, member);
        }
        Ok(KnownMembers {
            log_index: file.log_index,
            members,
        })
    }

    pub(crate) fn save_known_members(&self, known: &KnownMembers) -> Result<(), OpenError> {
        let line = |member: &ClusterMember| MemberLine {
            name: member.name.clone(),
            address: member.address.clone(),
            key_hash: HEXLOWER.encode(&member.key_hash.0),
            next_key_hash: member.next_key_hash.map(|hash| HEXLOWER.encode(&hash.0)),
        };
        let file = MembersFile {
            log_index: known.log_index,
            members: known
                .members
                .iter()
                .map(|(id, member)| (*id, line(member)))
                .collect(),
        };
        files::write_json(self.path(), MEMBERS, &file)
    }

    /// Makes this directory a node's. What it needs is on disk before `identity.json` says so.
    pub(crate) fn settle(&self, identity: &Identity, known: &KnownMembers) -> Result<(), OpenError> {
        self.write_keys(&identity.keys)?;
        self.save_known_members(known)?;
        self.write_identity(identity)?;
        self.forget_pending_join();
        Ok(())
    }

    /// Counts a start.
    pub(crate) fn next_generation(&self, identity: &mut Identity) -> Result<(), OpenError> {
        identity.generation += 1;
        self.write_identity(identity)
    }

    /// The join that an earlier start began, with its key.
    pub(crate) fn pending_join(&self) -> Result<Option<(PendingJoin, Vec<u8>)>, OpenError> {
        let Some(pending) = files::read_json(self.path(), PENDING)? else {
            return Ok(None);
        };
        let key = files::read(self.path(), NODE_KEY)?.and_then(|pem| keys::key_from_pem(&pem));
        Ok(key.map(|key| (pending, key)))
    }

    pub(crate) fn save_pending_join(&self, pending: &PendingJoin, key: &[u8]) -> Result<(), OpenError> {
        self.forget_pending_join();
        files::write(self.path(), NODE_KEY, keys::key_to_pem(key)?.as_bytes())?;
        files::write_json(self.path(), PENDING, pending)
    }

    /// Fails where the directory is a node's already.
    pub(crate) fn check_free(&self) -> Result<(), OpenError> {
        match read_identity(self.path())? {
            None => Ok(()),
            Some(file) => Err(OpenError::Taken {
                path: self.path().to_path_buf(),
                node: file.node,
                fleet: file.fleet,
            }),
        }
    }

    fn forget_pending_join(&self) {
        let path = self.path().join(PENDING);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the note of a finished join");
        }
    }

    fn write_identity(&self, identity: &Identity) -> Result<(), OpenError> {
        let file = IdentityFile {
            format: FORMAT,
            fleet: identity.fleet.clone(),
            fleet_id: identity.fleet_id.to_string(),
            node_id: identity.node_id,
            node: identity.name.to_string(),
            generation: identity.generation,
            key_since_unix_ms: identity.key_since.map(|since| since.0),
            removed: false,
        };
        files::write_json(self.path(), IDENTITY, &file)
    }

    fn write_keys(&self, keys: &NodeKeys) -> Result<(), OpenError> {
        let dir = self.path();
        files::write(dir, CA_KEY, keys::key_to_pem(&keys.ca_key)?.as_bytes())?;
        files::write(
            dir,
            CA_CERTIFICATE,
            keys::certificate_to_pem(&keys.ca_certificate).as_bytes(),
        )?;
        files::write(dir, NODE_KEY, keys::key_to_pem(&keys.key)?.as_bytes())?;
        files::write(
            dir,
            NODE_CERTIFICATE,
            keys::certificate_to_pem(&keys.certificate).as_bytes(),
        )
    }

    fn read_keys(&self) -> Result<NodeKeys, OpenError> {
        self.finish_renewal()?;
        let keys = NodeKeys {
            key: self.read_pem(NODE_KEY, keys::key_from_pem)?,
            certificate: self.read_pem(NODE_CERTIFICATE, keys::certificate_from_pem)?,
            ca_certificate: self.read_pem(CA_CERTIFICATE, keys::certificate_from_pem)?,
            ca_key: self.read_pem(CA_KEY, keys::key_from_pem)?,
        };
        keys.check().map_err(|error| OpenError::Damaged {
            path: self.path().to_path_buf(),
            reason: error.to_string(),
        })?;
        Ok(keys)
    }

    fn read_pem(&self, name: &str, decode: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<Vec<u8>, OpenError> {
        let pem = files::read_needed(self.path(), name)?;
        decode(&pem).ok_or_else(|| files::damaged(self.path(), name, "not PEM of the kind that belongs here"))
    }
}

/// Founds a fleet: makes its CA, this node's key and certificate, and settles the directory. The first start proposes
/// the founding itself.
///
/// # Errors
/// When the directory is a node's already, the fleet's name breaks the rules, or nothing can be written.
pub fn found(
    dir: &DataDir,
    fleet: &str,
    node: NodeName,
    advertise: SocketAddr,
) -> Result<Identity, OpenError> {
    dir.check_free()?;
    check_fleet_name(fleet)?;
    let keys = NodeKeys::found(fleet, &node)?;
    let founder = ClusterMember {
        name: node.to_string(),
        address: advertise.to_string(),
        key_hash: keys.key_hash()?,
        next_key_hash: None,
        feature_level: None,
    };
    let identity = Identity {
        fleet: fleet.to_owned(),
        fleet_id: FleetId(rand::random()),
        node_id: FOUNDER,
        name: node,
        generation: 0,
        key_since: None,
        keys,
    };
    let known = KnownMembers {
        log_index: 0,
        members: BTreeMap::from([(FOUNDER, founder)]),
    };
    dir.settle(&identity, &known)?;
    Ok(identity)
}

/// The id of the node that founds a fleet.
pub(crate) const FOUNDER: NodeId = 1;

fn check_fleet_name(fleet: &str) -> Result<(), OpenError> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let valid = fleet.len() <= 63
        && fleet.starts_with(|c: char| c.is_ascii_alphanumeric())
        && fleet.chars().all(inner);
    if valid {
        Ok(())
    } else {
        Err(OpenError::FleetName(fleet.to_owned()))
    }
}

/// Refuses a directory of somebody else's or of a later release before anything in it is touched.
fn check_contents(path: &Path) -> Result<(), OpenError> {
    if read_identity(path)?.is_some() {
        return Ok(());
    }
    let unusable = |source| OpenError::Unusable {
        path: path.to_path_buf(),
        source,
    };
    for entry in std::fs::read_dir(path).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        let name = name.to_string_lossy();
        let base = name.strip_suffix(files::UNFINISHED).unwrap_or(&name);
        let ours = BEFORE_IDENTITY.contains(&base) || base == IDENTITY || base == "lost+found";
        if !ours {
            return Err(OpenError::Foreign {
                path: path.to_path_buf(),
                found: name.into_owned(),
            });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let not_writable = |source| OpenError::NotWritable {
        path: path.to_path_buf(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.join(LOCK))
        .map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(not_writable(source)),
    }
}

fn read_identity(path: &Path) -> Result<Option<IdentityFile>, OpenError> {
    // The format first: what a later release calls its fields is not known.
    let Some(format) = files::read_json::<FormatOnly>(path, IDENTITY)? else {
        return Ok(None);
    };
    if format.format > FORMAT {
        return Err(OpenError::Newer {
            path: path.to_path_buf(),
            found: format.format,
            known: FORMAT,
        });
    }
    files::read_json(path, IDENTITY)
}

pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
