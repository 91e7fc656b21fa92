//! Certificates and their keys, as they lie in files. Texts are Perlbal's where it has some (reference, section 7.4).

use std::io;
use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::os_error;

/// Longer than any file of certificates, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Why a certificate cannot be used. Never says anything of a key but where it is.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no such file.
    #[error("SSL key file ({0}) doesn't exist")]
    NoKeyFile(String),
    /// There is no such file.
    #[error("SSL cert file ({0}) doesn't exist")]
    NoCertFile(String),
    /// It is there, but this process may not read it, or it is too long.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, String),
    /// It holds something else.
    #[error("SSL cert file ({0}) holds no certificate in PEM")]
    NoCertificate(String),
    /// It holds something else.
    #[error("SSL key file ({0}) holds no private key in PEM; one that is encrypted cannot be read")]
    NoKey(String),
    /// A certificate that is none, or a kind of key that is not supported.
    #[error("{0} cannot be used: {1}")]
    Invalid(String, Error),
    /// The two do not belong together.
    #[error("SSL key file ({key}) is not the key of SSL cert file ({cert})")]
    Mismatch {
        /// The key's file.
        key: String,
        /// The certificate's file.
        cert: String,
    },
}

/// Reads a certificate, with what leads to its root, and its key.
///
/// # Errors
/// What is wrong with one of them, or with both together.
pub(super) fn load(
    cert_file: &str,
    key_file: &str,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let key = read(key_file, CertificateError::NoKeyFile)?;
    let cert = read(cert_file, CertificateError::NoCertFile)?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|_| CertificateError::NoKey(key_file.to_owned()))?;
    let chain = certificates(&cert).unwrap_or_default();
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate(cert_file.to_owned()));
    }
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        if matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
            return CertificateError::Mismatch {
                key: key_file.to_owned(),
                cert: cert_file.to_owned(),
            };
        }
        let is_of_cert = matches!(error, Error::InvalidCertificate(_));
        let file = if is_of_cert { cert_file } else { key_file };
        CertificateError::Invalid(file.to_owned(), error)
    })
}

/// The certificates of a text, in its order.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

fn read(path: &str, missing: fn(String) -> CertificateError) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |reason: String| CertificateError::Unreadable(path.to_owned(), reason);
    match Path::new(path).metadata() {
        // What is no file could keep the reader waiting.
        Ok(metadata) if !metadata.is_file() => return Err(unreadable("not a regular file".to_owned())),
        Ok(metadata) if metadata.len() > LONGEST => return Err(unreadable("too long".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(path.to_owned())),
        Err(error) => return Err(unreadable(os_error::words(&error))),
    }
    std::fs::read(path).map_err(|error| unreadable(os_error::words(&error)))
}
