//! Certificates of the fleet: what services show to clients, the same on every node. What is in them, and whether it can
//! be used, is looked at where they are brought in; here they are bytes.

use std::fmt;
use std::sync::Arc;

use super::config::FleetConfig;
use super::name::CertificateName;
use super::rejection::Rejection;
use super::service::Service;
use super::tunable::{Kind, Tunable};
use super::value::Value;

/// The longest chain, and the longest sealed key, in bytes.
const LONGEST: usize = 64 * 1024;

/// Tells by which key something was sealed, and nothing else about that key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealId(pub [u8; 16]);

impl fmt::Debug for SealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A private key that only [`crate::seal::Seal`] can read.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// By which key.
    pub seal: SealId,
    /// The sealed bytes.
    pub sealed: Arc<[u8]>,
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey").finish_non_exhaustive()
    }
}

/// A certificate, with what leads to its root, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// DER, the leaf first.
    pub chain: Vec<Arc<[u8]>>,
    /// The key of the leaf.
    pub key: SealedKey,
}

impl Service {
    /// The certificates of the fleet that it shows, the one for unknown names first.
    pub fn certificates(&self) -> &[CertificateName] {
        match self.set.get("ssl_certificates") {
            Some(Value::Certificates(names)) => names,
            _ => &[],
        }
    }
}

impl FleetConfig {
    /// The certificates of the fleet, by name.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = (&CertificateName, &Arc<Certificate>)> {
        self.certificates.iter()
    }

    /// One of them.
    pub fn certificate(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(name)
    }

    /// What names a certificate: services, and `DEFAULT` lines.
    pub fn users_of(&self, name: &CertificateName) -> Vec<String> {
        let services = self.services.iter();
        let services = services.filter(|(_, service)| service.certificates().contains(name));
        let names_it = |key: &str, value: &str| {
            let tunable = Tunable::find(key).filter(|tunable| tunable.kind == Kind::Certificates);
            let value = tunable.map(|tunable| Value::parse(tunable.kind, key, value));
            matches!(value, Some(Ok(Value::Certificates(names))) if names.contains(name))
        };
        let defaults = self.defaults.iter().filter(|(key, value)| names_it(key, value));
        services
            .map(|(name, _)| name.to_string())
            .chain(defaults.map(|(key, _)| format!("DEFAULT {key}")))
            .collect()
    }

    /// `cert add`: a certificate, in place of the one that has that name.
    pub(super) fn put_certificate(
        &mut self,
        name: &CertificateName,
        certificate: &Arc<Certificate>,
    ) -> Result<(), Rejection> {
        let length: usize = certificate.chain.iter().map(|one| one.len()).sum();
        if certificate.chain.is_empty() || length > LONGEST || certificate.key.sealed.len() > LONGEST {
            return Err(Rejection::CertificateSize(name.clone()));
        }
        self.certificates.insert(name.clone(), Arc::clone(certificate));
        Ok(())
    }

    /// `cert remove`.
    pub(super) fn remove_certificate(&mut self, name: &CertificateName) -> Result<(), Rejection> {
        let users = self.users_of(name);
        if !users.is_empty() {
            let (name, by) = (name.clone(), users.join(", "));
            return Err(Rejection::CertificateInUse { name, by });
        }
        let removed = self.certificates.remove(name);
        removed
            .map(drop)
            .ok_or_else(|| Rejection::NoCertificate(name.to_string()))
    }

    /// Whether all certificates are there that a value names. A value that is none is refused elsewhere.
    pub(super) fn check_certificates(&self, key: &str, value: &str) -> Result<(), Rejection> {
        let Ok(Value::Certificates(names)) = Value::parse(Kind::Certificates, key, value) else {
            return Ok(());
        };
        let missing = names.iter().find(|name| !self.certificates.contains_key(*name));
        missing.map_or(Ok(()), |name| Err(Rejection::NoCertificate(name.to_string())))
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
