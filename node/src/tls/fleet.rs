//! Certificates of the fleet: looked at where they are brought in, sealed there, and opened on each node that shows them.

use std::net::IpAddr;
use std::sync::Arc;

use fleetbal_raft::model::{Certificate, CertificateName, UnixMillis};
use fleetbal_raft::seal::{Seal, SealError};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::certificate::certificates;
use crate::clock;

/// Why a certificate cannot become one of the fleet. Never says anything of a key but that there is one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OfferError {
    /// There is none.
    #[error("there is no certificate in PEM")]
    NoCertificate,
    /// There is none, or none that can be read without a password.
    #[error("there is no private key in PEM; one that is encrypted cannot be read")]
    NoKey,
    /// More than one.
    #[error("there are {0} private keys; a certificate has one")]
    Keys(usize),
    /// Not a certificate.
    #[error("certificate {0} of the chain cannot be read")]
    Unreadable(usize),
    /// A chain has a link that leads nowhere.
    #[error("certificate {next} of the chain did not issue certificate {0}; the chain begins with the certificate of the names", next = .0 + 1)]
    Order(usize),
    /// The two do not belong together.
    #[error("the private key is not that of the first certificate of the chain")]
    Mismatch,
    /// It is not good yet.
    #[error("the certificate begins at {}", clock::rfc3339(*.0))]
    Early(UnixMillis),
    /// It is not good any more.
    #[error("the certificate ended at {}", clock::rfc3339(*.0))]
    Ended(UnixMillis),
    /// Clients would not take it for any host.
    #[error("the certificate is made out to no name (it has no subjectAltName)")]
    Nameless,
    /// The rest.
    #[error("the certificate or its key cannot be used: {0}")]
    Unusable(Error),
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The names and addresses that it is made out to.
    pub names: Vec<String>,
    /// When it begins.
    begins: UnixMillis,
    /// When it ends.
    pub ends: UnixMillis,
}

impl Facts {
    /// Of a certificate of the fleet; none where a later release brought in what this one cannot read.
    pub fn of(certificate: &Certificate) -> Option<Self> {
        Self::read(certificate.chain.first()?)
    }

    /// Of a certificate in DER.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let millis = |seconds: i64| UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.map(|extension| &*extension.value.general_names);
        Some(Self {
            names: names.into_iter().flatten().filter_map(text).collect(),
            begins: millis(parsed.validity().not_before.timestamp()),
            ends: millis(parsed.validity().not_after.timestamp()),
        })
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(name.to_ascii_lowercase());
    }
    let GeneralName::IPAddress(bytes) = name else {
        return None;
    };
    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).ok().map(|address| address.to_string())
}

/// A certificate and its key, as somebody brought them, and good. Its `Debug` shows no key.
pub struct Offer {
    chain: Vec<Arc<[u8]>>,
    key: PrivateKeyDer<'static>,
    /// What the certificate says.
    pub facts: Facts,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Offer {
    /// Reads a chain and its key (PEM, in any order, but for that of the chain), and checks that both are good now.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &[u8], now: UnixMillis) -> Result<Self, OfferError> {
        let chain = certificates(text).map_err(|_| OfferError::NoCertificate)?;
        if chain.is_empty() {
            return Err(OfferError::NoCertificate);
        }
        let key = only_key(text)?;
        check_order(&chain)?;
        let leaf = chain.first().ok_or(OfferError::NoCertificate)?;
        let facts = Facts::read(leaf).ok_or(OfferError::Unreadable(1))?;
        if facts.ends <= now {
            return Err(OfferError::Ended(facts.ends));
        }
        if facts.begins > now {
            return Err(OfferError::Early(facts.begins));
        }
        if facts.names.is_empty() {
            return Err(OfferError::Nameless);
        }
        let kept = chain.iter().map(|one| Arc::from(&**one)).collect();
        let usable = CertifiedKey::from_der(chain, key.clone_key(), &ring::default_provider());
        usable.map_err(|error| {
            if matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
                return OfferError::Mismatch;
            }
            OfferError::Unusable(error)
        })?;
        Ok(Self {
            chain: kept,
            key,
            facts,
        })
    }

    /// Whether a certificate of the fleet is this one already, with a key that the fleet can read.
    pub fn is(&self, there: &Certificate, seal: &Seal) -> bool {
        there.chain == self.chain && there.key.seal == seal.id()
    }

    /// Makes it a certificate of the fleet.
    ///
    /// # Errors
    /// When the key cannot be sealed.
    pub fn seal(self, name: &CertificateName, seal: &Seal) -> Result<Certificate, SealError> {
        Ok(Certificate {
            key: seal.seal(name, self.key.secret_der())?,
            chain: self.chain,
        })
    }
}

fn only_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, OfferError> {
    let keys: Vec<_> = PrivateKeyDer::pem_slice_iter(text).flatten().collect();
    let found = keys.len();
    let mut keys = keys.into_iter();
    match (keys.next(), found) {
        (Some(key), 1) => Ok(key),
        (None, _) => Err(OfferError::NoKey),
        (Some(_), found) => Err(OfferError::Keys(found)),
    }
}

/// Each certificate of a chain is issued by the one behind it.
fn check_order(chain: &[CertificateDer<'_>]) -> Result<(), OfferError> {
    let mut wanted: Option<Vec<u8>> = None;
    for (place, der) in (1..).zip(chain) {
        let (_, one) = X509Certificate::from_der(der).map_err(|_| OfferError::Unreadable(place))?;
        if wanted.is_some_and(|wanted| wanted != one.subject().as_raw()) {
            return Err(OfferError::Order(place - 1));
        }
        wanted = Some(one.issuer().as_raw().to_vec());
    }
    Ok(())
}

/// Why a node cannot show a certificate of the fleet.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Its key cannot be read.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// This release cannot use it.
    #[error("it cannot be used: {0}")]
    Unusable(#[from] Error),
}

/// What shows a certificate of the fleet in handshakes.
pub(super) fn open(
    name: &CertificateName,
    certificate: &Certificate,
    seal: &Seal,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, OpenError> {
    let key = PrivateKeyDer::try_from(seal.open(name, &certificate.key)?);
    let key = key.map_err(|reason| Error::General(reason.to_owned()))?;
    let chain = certificate.chain.iter();
    let chain = chain.map(|one| CertificateDer::from(one.to_vec())).collect();
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// The certificates of a chain, as PEM.
pub fn pem(certificate: &Certificate) -> String {
    let mut text = String::new();
    for der in &certificate.chain {
        let code = data_encoding::BASE64.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in code.as_bytes().chunks(64) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
