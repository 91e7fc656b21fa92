//! Files of clients: an address or a block of addresses a line, `#` begins a comment.

use std::collections::HashSet;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetbal_raft::model::Network;

use super::Which;
use crate::os_error;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Why a list was not read anew.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The service has none.
    #[error("no {0} file configured")]
    None(&'static str),
    /// It cannot be read.
    #[error("Couldn't load {}: {}", path.display(), os_error::words(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is not one client in it.
    #[error("Couldn't load {0}: {0} contains no recognizable CIDRs")]
    Empty(String),
}

/// The clients of a file.
#[derive(Debug, Default)]
struct Clients {
    addresses: HashSet<IpAddr>,
    networks: Vec<Network>,
}

/// A list, as it was read last.
#[derive(Debug, Default)]
pub(super) struct List {
    path: Option<PathBuf>,
    clients: ArcSwap<Clients>,
}

impl List {
    /// That of a file; what was read of the same file before holds where it cannot be read now.
    pub(super) fn of(path: Option<String>, before: Option<&Self>) -> Self {
        let path = path.map(PathBuf::from);
        let known = before.filter(|before| before.path == path);
        let clients = known.map(|known| known.clients.load_full()).unwrap_or_default();
        let list = Self {
            path,
            clients: ArcSwap::new(clients),
        };
        if let Err(error @ (ReloadError::Read { .. } | ReloadError::Empty(_))) = list.reload(Which::Whitelist)
        {
            tracing::error!("{error}");
        }
        list
    }

    /// Whether a client is in it.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        let clients = self.clients.load();
        clients.addresses.contains(&ip) || clients.networks.iter().any(|network| network.contains(ip))
    }

    pub(super) fn reload(&self, which: Which) -> Result<(), ReloadError> {
        let Some(path) = &self.path else {
            return Err(ReloadError::None(match which {
                Which::Whitelist => "whitelist",
                Which::Blacklist => "blacklist",
            }));
        };
        let read = || {
            let mut text = String::new();
            std::fs::File::open(path)?
                .take(MAX_FILE)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|source| ReloadError::Read {
            path: path.clone(),
            source,
        })?;
        let clients = Clients::read(&text);
        if clients.addresses.is_empty() && clients.networks.is_empty() {
            return Err(ReloadError::Empty(path.display().to_string()));
        }
        self.clients.store(Arc::new(clients));
        Ok(())
    }
}

impl Clients {
    /// What is neither an address nor a block is passed over, as in Perlbal.
    fn read(text: &str) -> Self {
        let mut clients = Self::default();
        for line in text.lines() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if let Ok(address) = entry.parse::<IpAddr>() {
                clients.addresses.insert(address.to_canonical());
            } else {
                clients.networks.extend(Network::parse(entry));
            }
        }
        clients
    }
}
