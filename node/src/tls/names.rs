//! Which certificate a client gets: one for the name that it asks for, and of a kind that it knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates of a service by the names that they are made out to.
#[derive(Debug)]
pub(super) struct ByName {
    /// In the order in which they were set. Where no name fits, the first is taken.
    all: Vec<Arc<CertifiedKey>>,
    /// By name, in lower case; `*.` stands for one label.
    names: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    pub(super) fn new(all: Vec<Arc<CertifiedKey>>) -> Self {
        let mut names: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for certificate in &all {
            let leaf = certificate.end_entity_cert().ok();
            let leaf = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok());
            for name in leaf.iter().flat_map(|leaf| leaf.valid_dns_names()) {
                names
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .push(Arc::clone(certificate));
            }
        }
        Self { all, names }
    }

    fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let exact = self.names.get(name);
        let wildcard = || {
            let (_, rest) = name.split_once('.')?;
            self.names.get(&format!("*.{rest}"))
        };
        exact.or_else(wildcard).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = name.map_or(&self.all[..], |name| self.of(&name));
        let schemes = hello.signature_schemes();
        let knows = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(schemes).is_some();
        let found = candidates.iter().find(knows).or_else(|| candidates.first());
        found.cloned()
    }
}
