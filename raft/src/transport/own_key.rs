//! What this node proves itself with, in every handshake of either side; another one from one handshake to the next.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, SignatureScheme};

use crate::identity::NodeKeys;

/// The key and the certificate that are shown now.
#[derive(Debug)]
pub(super) struct OwnKey(ArcSwap<CertifiedKey>);

impl OwnKey {
    pub(super) fn new(keys: &NodeKeys, provider: &CryptoProvider) -> Result<Arc<Self>, Error> {
        certified(keys, provider).map(|key| Arc::new(Self(ArcSwap::from_pointee(key))))
    }

    /// From the next handshake on.
    pub(super) fn switch(&self, keys: &NodeKeys, provider: &CryptoProvider) -> Result<(), Error> {
        self.0.store(Arc::new(certified(keys, provider)?));
        Ok(())
    }
}

fn certified(keys: &NodeKeys, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(keys.chain(), keys.private_key(), provider)
}

impl ResolvesClientCert for OwnKey {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for OwnKey {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
