//! Certificates of the fleet.

use std::sync::Arc;

use fleetbal_proto::v1;

use super::WireError;
use super::change::fixed;
use crate::model::{Certificate, CertificateName, SealId, SealedKey};

pub(super) fn encode(name: &CertificateName, certificate: &Certificate) -> v1::Certificate {
    let Certificate { chain, key } = certificate;
    v1::Certificate {
        name: name.to_string(),
        chain: chain.iter().map(|one| one.to_vec()).collect(),
        key: Some(v1::SealedKey {
            seal: key.seal.0.to_vec(),
            sealed: key.sealed.to_vec(),
        }),
    }
}

pub(super) fn decode(wire: v1::Certificate) -> Result<(CertificateName, Arc<Certificate>), WireError> {
    let key = wire.key.ok_or(WireError::Invalid("key of a certificate"))?;
    let certificate = Certificate {
        chain: wire.chain.into_iter().map(Arc::from).collect(),
        key: SealedKey {
            seal: SealId(fixed(&key.seal, "seal")?),
            sealed: key.sealed.into(),
        },
    };
    Ok((name(&wire.name)?, Arc::new(certificate)))
}

pub(super) fn name(name: &str) -> Result<CertificateName, WireError> {
    CertificateName::parse(name).map_err(|_| WireError::Invalid("certificate name"))
}
