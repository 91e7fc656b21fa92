//! What the connections of a service share: certificates, keys for session tickets, what may be agreed on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetbal_raft::model::{CertificateName, Protocol, ServiceName, UnixMillis};
use fleetbal_raft::seal::Seal;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificate::{self, CertificateError, certificates};
use super::fleet::{self, Facts, OpenError};
use super::names::ByName;
use super::settings::{Ask, ServerSettings};

/// Why a service cannot speak TLS on this node.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// One of its certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// One of the fleet's cannot be used here.
    #[error("certificate {0}: {1}")]
    Fleet(CertificateName, OpenError),
    /// There is none.
    #[error("ssl_cert_file names no file")]
    NoCertificate,
    /// Each certificate needs its key.
    #[error("ssl_cert_file names {certs} files, and ssl_key_file {keys}: each certificate needs its key")]
    Unpaired {
        /// How many certificates there are.
        certs: usize,
        /// How many keys.
        keys: usize,
    },
    /// Clients should be checked, and there is nothing to check them by.
    #[error("ssl_verify_mode asks for certificates of clients: {0}")]
    NoAuthorities(String),
    /// The rest.
    #[error("what is set of TLS cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl LoadError {
    /// Whether certificate and key are each fine, and only do not belong together.
    pub fn is_of_pair(&self) -> bool {
        matches!(
            self,
            Self::Unpaired { .. } | Self::Certificate(CertificateError::Mismatch { .. })
        )
    }
}

/// What the connections of a service share.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    config: Arc<ServerConfig>,
    ends: Vec<(String, UnixMillis)>,
}

impl Server {
    /// Reads the certificates. Sessions of `before` can be resumed, unless clients have to be checked anew.
    ///
    /// # Errors
    /// What is missing or cannot be used.
    pub fn load(settings: ServerSettings, seal: &Seal, before: Option<&Self>) -> Result<Self, LoadError> {
        let provider = Arc::new(provider(&settings));
        let keys = keys(&settings, seal, &provider)?;
        let ends = ends(&settings, &keys);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(&settings))?;
        let builder = match client_verifier(&settings, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(keys)));
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.ticketer = tickets(&settings, before)?;
        Ok(Self {
            settings,
            config: Arc::new(config),
            ends,
        })
    }

    /// When each of its certificates ends: those of the fleet by name, others by file.
    pub fn ends(&self) -> &[(String, UnixMillis)] {
        &self.ends
    }

    /// What it was loaded for.
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }
}

fn keys(
    settings: &ServerSettings,
    seal: &Seal,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, LoadError> {
    if !settings.fleet.is_empty() {
        let opened = settings.fleet.iter().map(|(name, certificate)| {
            let opened = fleet::open(name, certificate, seal, provider);
            opened
                .map(Arc::new)
                .map_err(|error| LoadError::Fleet(name.clone(), error))
        });
        return opened.collect();
    }
    let (certs, keys) = (&settings.certs, &settings.keys);
    if certs.is_empty() {
        return Err(LoadError::NoCertificate);
    }
    if certs.len() != keys.len() {
        return Err(LoadError::Unpaired {
            certs: certs.len(),
            keys: keys.len(),
        });
    }
    let pairs = certs.iter().zip(keys);
    pairs
        .map(|(cert, key)| Ok(Arc::new(certificate::load(cert, key, provider)?)))
        .collect()
}

fn ends(settings: &ServerSettings, keys: &[Arc<CertifiedKey>]) -> Vec<(String, UnixMillis)> {
    let names = settings.fleet.iter().map(|(name, _)| name.to_string());
    let names = names.chain(settings.certs.iter().cloned());
    // Where some are the fleet's, files are not looked at, and the shorter list ends the pairs.
    let facts = names.zip(keys).filter_map(|(name, key)| {
        let leaf = key.end_entity_cert().ok()?;
        Some((name, Facts::read(leaf)?.ends))
    });
    facts.collect()
}

/// Tickets go on to be good over a reload; where clients show certificates, a ticket would stand for one that may not
/// be good any more.
fn tickets(
    settings: &ServerSettings,
    before: Option<&Server>,
) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    let before = before.filter(|before| before.settings.ask == Ask::No && settings.ask == Ask::No);
    before.map_or_else(ring::Ticketer::new, |before| {
        Ok(Arc::clone(&before.config.ticketer))
    })
}

fn provider(settings: &ServerSettings) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let known = std::mem::take(&mut provider.cipher_suites);
    let wanted = settings.ciphers.iter();
    provider.cipher_suites = wanted
        .filter_map(|wanted| {
            let is_wanted = |suite: &&rustls::SupportedCipherSuite| u16::from(suite.suite()) == wanted.number;
            known.iter().find(is_wanted).copied()
        })
        .collect();
    provider
}

fn versions(settings: &ServerSettings) -> Vec<&'static SupportedProtocolVersion> {
    let version = |protocol: &Protocol| match protocol {
        Protocol::Tls12 => &version::TLS12,
        Protocol::Tls13 => &version::TLS13,
    };
    settings.protocols.iter().map(version).collect()
}

fn client_verifier(
    settings: &ServerSettings,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, LoadError> {
    if settings.ask == Ask::No {
        return Ok(None);
    }
    let path = settings.ca_path.as_deref();
    let path = path.ok_or_else(|| LoadError::NoAuthorities("ssl_ca_path is not set".to_owned()))?;
    let roots = authorities(path)
        .map_err(|error| LoadError::NoAuthorities(format!("cannot read {}: {error}", path.display())))?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match settings.ask {
        Ask::Must => builder,
        Ask::No | Ask::May => builder.allow_unauthenticated(),
    };
    builder
        .build()
        .map(Some)
        .map_err(|_| LoadError::NoAuthorities(format!("there is no certificate in {}", path.display())))
}

/// The certificates of all files in a directory; what is none is passed over, as OpenSSL does.
fn authorities(path: &Path) -> std::io::Result<RootCertStore> {
    let mut files = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort_unstable();
    let mut roots = RootCertStore::empty();
    for file in files.iter().filter(|file| file.is_file()) {
        roots.add_parsable_certificates(certificates(&std::fs::read(file)?).unwrap_or_default());
    }
    Ok(roots)
}

/// What the services of this node speak, for whoever accepts their connections. Clones read the same.
#[derive(Debug, Clone, Default)]
pub struct Servers(Arc<ArcSwap<BTreeMap<ServiceName, Arc<Server>>>>);

impl Servers {
    /// What a service's new connections speak; none where it cannot speak at all.
    pub(crate) fn config(&self, service: &ServiceName) -> Option<Arc<ServerConfig>> {
        self.0
            .load()
            .get(service)
            .map(|server| Arc::clone(&server.config))
    }

    /// What a service's new connections share.
    pub fn get(&self, service: &ServiceName) -> Option<Arc<Server>> {
        self.0.load().get(service).cloned()
    }

    /// From now on new connections are of these.
    pub fn publish(&self, servers: BTreeMap<ServiceName, Arc<Server>>) {
        self.0.store(Arc::new(servers));
    }
}
