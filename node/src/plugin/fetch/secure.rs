//! Whom a request of a plugin trusts over `https://`: the authorities of the system, or those of a file that it names. There
//! is no way not to look.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where systems have what they trust, the first that is there; `SSL_CERT_FILE` goes before them.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How long what was read of a file is good, so that one that is renewed counts soon.
const FRESH: Duration = Duration::from_mins(1);

/// So many files are remembered, at most.
const FILES: usize = 16;

/// Why nobody is trusted, or the other end is not.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecureError {
    /// The system has no authorities.
    #[error("this system has no file of authorities that are trusted: set SSL_CERT_FILE, or say ca_file")]
    NoSystem,
    /// The file cannot be read.
    #[error("the authorities of {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    /// There is nothing in it.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// The host has no name that a certificate could have.
    #[error("'{0}' is no name that a certificate is for")]
    Name(String),
    /// The protocol cannot be spoken.
    #[error("TLS: {0}")]
    Protocol(#[from] rustls::Error),
    /// The greeting went wrong.
    #[error("TLS, by the authorities of {}: {error}", path.display())]
    Greeting { path: PathBuf, error: io::Error },
}

/// What was read of a file, and when.
type Read = (Instant, Arc<ClientConfig>);

static READ: LazyLock<Mutex<BTreeMap<PathBuf, Read>>> = LazyLock::new(Mutex::default);

/// Makes a connection to a host secure.
pub(super) async fn connect(
    io: TcpStream,
    host: &str,
    ca_file: Option<&Path>,
) -> Result<TlsStream<TcpStream>, SecureError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| SecureError::Name(host.to_owned()))?;
    let path = match ca_file {
        Some(path) => path.to_owned(),
        None => system().ok_or(SecureError::NoSystem)?,
    };
    let config = trusting(&path).await?;
    let connected = TlsConnector::from(config).connect(name, io).await;
    connected.map_err(|error| SecureError::Greeting { path, error })
}

fn system() -> Option<PathBuf> {
    let named = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let known = || SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file());
    named.map(PathBuf::from).or_else(known)
}

/// What trusts the authorities of a file. The worker does not wait for the disk.
async fn trusting(path: &Path) -> Result<Arc<ClientConfig>, SecureError> {
    if let Some(config) = remembered(path) {
        return Ok(config);
    }
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&file)).await;
    let config = read.map_err(|error| SecureError::Unreadable {
        path: path.to_owned(),
        error: io::Error::other(error),
    })??;
    let mut known = READ.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, (since, _)| since.elapsed() < FRESH);
    if known.len() >= FILES {
        known.pop_first();
    }
    known.insert(path.to_owned(), (Instant::now(), Arc::clone(&config)));
    Ok(config)
}

fn remembered(path: &Path) -> Option<Arc<ClientConfig>> {
    let known = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let (since, config) = known.get(path)?;
    (since.elapsed() < FRESH).then(|| Arc::clone(config))
}

fn read(path: &Path) -> Result<Arc<ClientConfig>, SecureError> {
    let text = std::fs::read(path).map_err(|error| SecureError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    let mut roots = RootCertStore::empty();
    // What is none is passed over: systems have one or the other that no longer can be read.
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    if added == 0 {
        return Err(SecureError::Empty(path.to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
