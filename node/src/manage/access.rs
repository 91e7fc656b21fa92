//! Who may do what on a management port: whoever is on this machine may do all; others need a secret, or an
//! operator who said that everybody may.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use fleetbal_raft::model::{Role, Service};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};

use super::Context;
use crate::os_error;
use crate::snapshot::NodeVariables;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Reads.
    Read,
    /// Everything.
    Admin,
}

/// What a secret gives to whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What they may do.
    pub rights: Rights,
    /// The name of the token, for the history.
    pub token: String,
}

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("management token file {}: {}", path.display(), os_error::words(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line in it is none. (It is not shown: it may hold a secret.)
    #[error("management token file {}: line {line} is not `NAME read|admin SECRET`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// Nobody could use it.
    #[error("management token file {}: there is no token in it", .0.display())]
    Empty(PathBuf),
}

/// The rules of one management listener.
#[derive(Debug, Clone, Default)]
pub struct Access {
    open: bool,
    #[cfg(test)]
    all_far: bool,
    tokens: Vec<Token>,
    names: Vec<String>,
}

#[derive(Clone)]
struct Token {
    name: String,
    rights: Rights,
    secret: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.name, self.rights)
    }
}

impl Access {
    /// Only this machine.
    pub fn loopback() -> Self {
        Self::default()
    }

    /// Everybody who can reach the port.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Whoever shows a secret of this file.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is not `NAME read|admin SECRET`.
    pub fn with_token_file(mut self, path: &Path) -> Result<Self, TokenFileError> {
        let text = std::fs::read_to_string(path).map_err(|source| TokenFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        let tokens = tokens(&text).map_err(|line| TokenFileError::Line {
            path: path.to_owned(),
            line,
        })?;
        if tokens.is_empty() {
            return Err(TokenFileError::Empty(path.to_owned()));
        }
        self.tokens.extend(tokens);
        Ok(self)
    }

    /// The same with what the management services allow that listen at `address`: their files are read anew for each
    /// connection, so that a secret that was taken out of one is worth nothing from then on. A file that cannot be
    /// read allows nothing; `effects` tells of it.
    #[must_use]
    pub(super) fn with_services_at(mut self, address: SocketAddr, context: &Context) -> Self {
        let snapshot = context.view.load();
        let here = snapshot.services().filter(|(_, view)| {
            view.role == Some(Role::Management) && view.enabled && view.listen == Ok(Some(address))
        });
        for (name, _) in here {
            let Some(service) = snapshot.config.service(name.as_str()) else {
                continue;
            };
            self.open |= service.flag("open");
            match of_service(service, &context.variables) {
                Ok(tokens) => self.tokens.extend(tokens),
                Err(reason) => tracing::warn!(service = %name, %reason, "nobody is let in by this file"),
            }
        }
        self
    }

    /// Takes HTTP requests that call the node by this name. Addresses and `localhost` are always taken.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.names.push(name.to_ascii_lowercase());
        self
    }

    /// Tests have no address but loopback ones.
    #[cfg(test)]
    #[must_use]
    pub(super) fn treat_all_as_far(mut self) -> Self {
        self.all_far = true;
        self
    }

    /// What a peer may do before it has shown any secret; none: nothing.
    pub fn of_peer(&self, peer: IpAddr) -> Option<Rights> {
        #[cfg(test)]
        if self.all_far {
            return None;
        }
        (self.open || peer.to_canonical().is_loopback()).then_some(Rights::Admin)
    }

    /// What a secret allows, and whose it is; none: it is not one of ours. Takes the same time whichever it is.
    pub fn of_secret(&self, secret: &str) -> Option<Granted> {
        let shown = hash(secret);
        let (mut rank, mut found) = (0_u8, u64::MAX);
        for (number, token) in (0_u64..).zip(&self.tokens) {
            let theirs = if token.rights == Rights::Admin { 2 } else { 1 };
            let is_better: Choice = token.secret.ct_eq(&shown) & theirs.ct_gt(&rank);
            rank.conditional_assign(&theirs, is_better);
            found.conditional_assign(&number, is_better);
        }
        let token = self.tokens.get(usize::try_from(found).ok()?)?;
        Some(Granted {
            rights: token.rights,
            token: token.name.clone(),
        })
    }

    /// Whether there is any secret that could be shown.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether a Host field (`name`, `name:port`, `address`, `[address]:port`) calls this node by a name of its own.
    /// Any other name may be a stranger's that was made to lead here.
    pub fn knows_host(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let folded = name.trim_end_matches('.').to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || folded == "localhost" || self.names.contains(&folded)
    }
}

/// Why this node cannot read the secrets that a management service names; none: it can, or there are none.
pub fn trouble(service: &Service, variables: &NodeVariables) -> Option<String> {
    if service.role() != Some(Role::Management) {
        return None;
    }
    of_service(service, variables).err()
}

fn of_service(service: &Service, variables: &NodeVariables) -> Result<Vec<Token>, String> {
    match service.token_file(|variable| variables.fill(variable))? {
        None => Ok(Vec::new()),
        Some(path) => Access::loopback()
            .with_token_file(&path)
            .map(|access| access.tokens)
            .map_err(|error| error.to_string()),
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Reads `NAME read|admin SECRET` lines; the number of the first that is none.
fn tokens(text: &str) -> Result<Vec<Token>, usize> {
    let mut tokens = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, rights, secret] = words.as_slice() else {
            return Err(index + 1);
        };
        let rights = match *rights {
            "read" => Rights::Read,
            "admin" => Rights::Admin,
            _ => return Err(index + 1),
        };
        tokens.push(Token {
            name: (*name).to_owned(),
            rights,
            secret: hash(secret),
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn with_file(text: &str) -> Result<Access, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().display().to_string();
        Access::loopback()
            .with_token_file(file.path())
            .map_err(|error| error.to_string().replace(&path, "F"))
    }

    #[test]
    fn loopback_may_do_all_and_others_nothing() {
        let access = Access::loopback();
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(
                access.of_peer(address.parse().unwrap()),
                Some(Rights::Admin),
                "{address}"
            );
        }
        let far = "10.0.0.1".parse().unwrap();
        assert_eq!(access.of_peer(far), None);
        assert_eq!(access.open().of_peer(far), Some(Rights::Admin));
    }

    #[test]
    fn a_secret_gives_its_rights() {
        let access = with_file("# people\n\nanna admin s1\r\n bot  read s2\nbot2 read s1\n").unwrap();
        let granted = |rights, token: &str| {
            Some(Granted {
                rights,
                token: token.to_owned(),
            })
        };
        assert_eq!(access.of_secret("s1"), granted(Rights::Admin, "anna"));
        assert_eq!(access.of_secret("s2"), granted(Rights::Read, "bot"));
        for wrong in ["", "s", "s3", "S1", "s1 "] {
            assert_eq!(access.of_secret(wrong), None, "{wrong}");
        }
        assert!(!format!("{access:?}").contains("s1"));
    }

    #[test]
    fn a_wrong_file_is_named_without_its_secrets() {
        let line = |n| {
            Err(format!(
                "management token file F: line {n} is not `NAME read|admin SECRET`"
            ))
        };
        for text in ["anna admin", "anna root s1", "anna admin s1 s2"] {
            assert_eq!(
                with_file(&format!("a read b\n{text}\n")).map(drop),
                line(2),
                "{text}"
            );
        }
        let empty = Err("management token file F: there is no token in it".to_owned());
        assert_eq!(with_file("# none\n").map(drop), empty);
        let missing = Access::loopback().with_token_file(Path::new("/nonexistent/f"));
        assert!(missing.unwrap_err().to_string().contains("/nonexistent/f"));
    }

    #[test]
    fn hosts_are_addresses_or_own_names() {
        let access = Access::loopback().with_name("N1.Example");
        for host in [
            "127.0.0.1",
            "10.0.0.1:60000",
            "[::1]:80",
            "LocalHost:1",
            "localhost.",
            "n1.example:60000",
        ] {
            assert!(access.knows_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:80",
            "n2",
            "[evil]:80",
            ":80",
        ] {
            assert!(!access.knows_host(host), "{host}");
        }
    }
}
