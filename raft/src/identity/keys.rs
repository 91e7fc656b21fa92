//! A node's key, its certificate, and the CA that every member can issue with.
//!
//! Members trust each other by the hash of their public keys, which the replicated membership holds. The CA and the
//! certificates serve the join alone, where there is no membership yet, so certificates do not expire: a member ends
//! by leaving the membership, and a key by being renewed.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::OpenError;
use crate::model::{KeyHash, NodeName};

/// The name in every member's certificate, which a joiner asks for: it knows no other yet.
pub(crate) const MEMBER_DNS_NAME: &str = "member.fleetbal.internal";

/// The largest signing request that is looked at, in bytes. One of ours has about 250.
const MAX_SIGNING_REQUEST: usize = 4096;

/// What a node proves itself with, and the fleet's CA. Its `Debug` shows no key.
#[derive(Clone)]
pub struct NodeKeys {
    pub(crate) key: Vec<u8>,            // PKCS#8
    pub(crate) certificate: Vec<u8>,    // DER
    pub(crate) ca_certificate: Vec<u8>, // DER
    pub(crate) ca_key: Vec<u8>,         // PKCS#8
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKeys").finish_non_exhaustive()
    }
}

impl NodeKeys {
    /// A new CA, and the founder's key and certificate.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub(crate) fn found(fleet: &str, node: &NodeName) -> Result<Self, OpenError> {
        let ca_key = new_key()?;
        let ca_certificate = ca_params(fleet)
            .self_signed(&ca_key)
            .map_err(|error| keys(&error))?;
        let key = new_key()?;
        let ca_key_der = ca_key.serialize_der();
        let issuer = Issuer::new(ca_params(fleet), ca_key);
        let certificate = node_params(node)?
            .signed_by(&key, &issuer)
            .map_err(|error| keys(&error))?;
        Ok(Self {
            key: key.serialize_der(),
            certificate: certificate.der().to_vec(),
            ca_certificate: ca_certificate.der().to_vec(),
            ca_key: ca_key_der,
        })
    }

    /// Signs a certificate for whoever holds the key of a request. Takes nothing from the request but its key.
    ///
    /// # Errors
    /// Where this node's CA files are damaged.
    pub(crate) fn issue(&self, request: &SigningRequest, node: &NodeName) -> Result<Vec<u8>, OpenError> {
        let ca_key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(self.ca_key.as_slice()))
            .map_err(|error| keys(&error))?;
        let ca = CertificateDer::from(self.ca_certificate.as_slice());
        let issuer = Issuer::from_ca_cert_der(&ca, ca_key).map_err(|error| keys(&error))?;
        let certificate = node_params(node)?
            .signed_by(&request.0, &issuer)
            .map_err(|error| keys(&error))?;
        Ok(certificate.der().to_vec())
    }

    /// The same with a new key, and the CA's certificate for it.
    ///
    /// # Errors
    /// Where the system gives no randomness, or this node's CA files are damaged.
    pub(crate) fn renewed(&self, node: &NodeName) -> Result<Self, OpenError> {
        let key = generate_key()?;
        let request = SigningRequest::parse(&signing_request(&key)?)
            .ok_or_else(|| OpenError::Keys("a new key cannot be read".to_owned()))?;
        Ok(Self {
            certificate: self.issue(&request, node)?,
            key,
            ..self.clone()
        })
    }

    /// The hash that the membership holds for this node.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn key_hash(&self) -> Result<KeyHash, OpenError> {
        key_hash_of(&self.certificate)
            .ok_or_else(|| OpenError::Keys("the certificate cannot be read".to_owned()))
    }

    /// Fails where keys and certificates do not belong together.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let ca_key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(self.ca_key.as_slice()))
            .map_err(|error| keys(&error))?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(self.key.as_slice()))
            .map_err(|error| keys(&error))?;
        let pairs = [
            (&ca_key, &self.ca_certificate, "the CA's"),
            (&key, &self.certificate, "the node's"),
        ];
        for (pair, certificate, whose) in pairs {
            if key_hash_of(certificate) != Some(hash_key(&pair.subject_public_key_info())) {
                let text = format!("{whose} certificate is not of the key beside it");
                return Err(OpenError::Keys(text));
            }
        }
        Ok(())
    }

    /// SHA-256 of the CA's certificate: what a join token pins.
    pub(crate) fn ca_hash(&self) -> CaHash {
        CaHash::of(&self.ca_certificate)
    }

    /// This node's certificate and the CA's, as it is shown in a handshake.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![
            self.certificate.clone().into(),
            self.ca_certificate.clone().into(),
        ]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

/// SHA-256 of a CA's certificate. Compared in constant time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaHash(pub(crate) [u8; 32]);

impl CaHash {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl PartialEq for CaHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for CaHash {}

/// The public key out of a signing request whose signature was verified.
pub(crate) struct SigningRequest(rcgen::PublicKey);

impl SigningRequest {
    /// Reads and verifies a PKCS#10 request; nothing for anything but a P-256 key that signed it.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_SIGNING_REQUEST {
            return None;
        }
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der)).ok()?;
        (*request.public_key.algorithm() == PKCS_ECDSA_P256_SHA256).then_some(Self(request.public_key))
    }

    pub(crate) fn key_hash(&self) -> KeyHash {
        hash_key(&self.0.subject_public_key_info())
    }
}

/// A new key for a node, PKCS#8.
pub(crate) fn generate_key() -> Result<Vec<u8>, OpenError> {
    Ok(new_key()?.serialize_der())
}

/// A request to sign a key, PKCS#10.
pub(crate) fn signing_request(key: &[u8]) -> Result<Vec<u8>, OpenError> {
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).map_err(|error| keys(&error))?;
    let request = CertificateParams::default()
        .serialize_request(&pair)
        .map_err(|error| keys(&error))?;
    Ok(request.der().to_vec())
}

/// The hash of a certificate's public key, by the same parser that verifies with it.
pub(crate) fn key_hash_of(certificate: &[u8]) -> Option<KeyHash> {
    let certificate = CertificateDer::from(certificate);
    let parsed = ParsedCertificate::try_from(&certificate).ok()?;
    Some(hash_key(&parsed.subject_public_key_info()))
}

pub(crate) fn hash_key(public_key_info: &[u8]) -> KeyHash {
    KeyHash(Sha256::digest(public_key_info).into())
}

pub(super) fn key_to_pem(der: &[u8]) -> Result<String, OpenError> {
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).map_err(|error| keys(&error))?;
    Ok(pair.serialize_pem())
}

pub(super) fn key_from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
    KeyPair::try_from(&der).ok()?;
    Some(der.secret_pkcs8_der().to_vec())
}

pub(super) fn certificate_to_pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

pub(super) fn certificate_from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    ParsedCertificate::try_from(&der).ok()?;
    Some(der.to_vec())
}

fn new_key() -> Result<KeyPair, OpenError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| keys(&error))
}

fn keys(error: &rcgen::Error) -> OpenError {
    OpenError::Keys(error.to_string())
}

fn ca_params(fleet: &str) -> CertificateParams {
    let mut params = lasting(CertificateParams::default(), &format!("fleetbal {fleet} CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn node_params(node: &NodeName) -> Result<CertificateParams, OpenError> {
    let params = CertificateParams::new(vec![MEMBER_DNS_NAME.to_owned()]).map_err(|error| keys(&error))?;
    let mut params = lasting(params, node.as_str());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn lasting(mut params: CertificateParams, common_name: &str) -> CertificateParams {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // RFC 5280, 4.1.2.5: no well-defined end. Who has the wrong clock must still be able to ask, and read which one is.
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).unwrap()
    }

    #[test]
    fn an_issued_certificate_is_for_the_key_of_the_request() {
        let founder = NodeKeys::found("acme", &name("n1")).unwrap();
        let key = generate_key().unwrap();
        let request = SigningRequest::parse(&signing_request(&key).unwrap()).unwrap();
        let certificate = founder.issue(&request, &name("n2")).unwrap();
        assert_eq!(key_hash_of(&certificate), Some(request.key_hash()));
        assert_ne!(founder.key_hash().unwrap(), request.key_hash());
    }

    #[test]
    fn a_request_that_was_tampered_with_or_is_too_large_is_no_request() {
        let mut der = signing_request(&generate_key().unwrap()).unwrap();
        assert!(SigningRequest::parse(&der).is_some());
        *der.last_mut().unwrap() ^= 1;
        assert!(SigningRequest::parse(&der).is_none());
        assert!(SigningRequest::parse(&[0x30; MAX_SIGNING_REQUEST + 1]).is_none());
        assert!(SigningRequest::parse(b"").is_none());
    }

    #[test]
    fn pem_and_back() {
        let keys = NodeKeys::found("acme", &name("n1")).unwrap();
        let pem = certificate_to_pem(&keys.certificate);
        assert_eq!(
            certificate_from_pem(pem.as_bytes()),
            Some(keys.certificate.clone())
        );
        let pem = key_to_pem(&keys.key).unwrap();
        assert_eq!(key_from_pem(pem.as_bytes()), Some(keys.key.clone()));
        assert_eq!(certificate_from_pem(b"rubbish"), None);
        assert_eq!(key_from_pem(b"rubbish"), None);
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = NodeKeys::found("acme", &name("n1")).unwrap();
        assert_eq!(format!("{keys:?}"), "NodeKeys { .. }");
    }
}
