//! Private keys on their way through the log: sealed where they are brought in, opened where they are used, and in
//! between nothing but bytes.
//!
//! The key that seals is derived (HKDF-SHA256) from the private key of the fleet's CA, which every member holds and no
//! replicated state, backup or answer has in it. Each key is sealed with AES-256-GCM under a nonce of its own, bound to
//! the name of its certificate: one that was moved to another name does not open.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::model::{CertificateName, SealId, SealedKey};

/// Keeps these keys apart from any other use of the secret, and from those of a later format.
const SALT: &[u8] = b"fleetbal certificates 1";
const FOR_KEY: &[u8] = b"AES-256-GCM";
const FOR_ID: &[u8] = b"id";

/// Why a key was not sealed or opened. Says nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system gives no randomness.
    #[error("the system gives no random numbers to seal it with")]
    Random,
    /// It belongs to another fleet: a backup brought it here.
    #[error("its key was sealed by another fleet, and only that one can read it; add the certificate again")]
    OtherFleet,
    /// Not what was sealed under that name.
    #[error("its key is damaged; add the certificate again")]
    Damaged,
}

/// What seals the keys of a fleet, and opens them. Clones are the same; its `Debug` shows no secret.
#[derive(Clone)]
pub struct Seal(Arc<Inner>);

struct Inner {
    id: SealId,
    key: LessSafeKey,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal")
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

/// How many bytes to derive.
struct IdLength;

impl KeyType for IdLength {
    fn len(&self) -> usize {
        16
    }
}

impl Seal {
    /// Of a secret that every member has, and nobody else.
    ///
    /// # Errors
    /// Never in practice: the lengths that are derived are fixed.
    pub fn of(secret: &[u8]) -> Result<Self, SealError> {
        let secret: Prk = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let key = secret.expand(&[FOR_KEY], &AES_256_GCM);
        let key = LessSafeKey::new(key.map_err(|_| SealError::Damaged)?.into());
        let mut id = [0; 16];
        secret
            .expand(&[FOR_ID], IdLength)
            .and_then(|derived| derived.fill(&mut id))
            .map_err(|_| SealError::Damaged)?;
        let id = SealId(id);
        Ok(Self(Arc::new(Inner { id, key })))
    }

    /// Tells what it sealed from what others did.
    pub fn id(&self) -> SealId {
        self.0.id
    }

    /// Seals a private key under the name of its certificate.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn seal(&self, name: &CertificateName, key: &[u8]) -> Result<SealedKey, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| SealError::Random)?;
        let mut text = key.to_vec();
        let tag = self
            .0
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound_to(name), &mut text)
            .map_err(|_| SealError::Random)?;
        Ok(SealedKey {
            seal: self.0.id,
            sealed: [&nonce[..], &text, tag.as_ref()].concat().into(),
        })
    }

    /// The private key of the certificate of that name.
    ///
    /// # Errors
    /// When another fleet sealed it, or it is not what was sealed under that name.
    pub fn open(&self, name: &CertificateName, sealed: &SealedKey) -> Result<Vec<u8>, SealError> {
        if sealed.seal != self.0.id {
            return Err(SealError::OtherFleet);
        }
        let (nonce, text) = sealed
            .sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Damaged)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.key.open_in_place(nonce, bound_to(name), &mut text);
        let length = opened.map_err(|_| SealError::Damaged)?.len();
        text.truncate(length);
        Ok(text)
    }
}

fn bound_to(name: &CertificateName) -> Aad<&[u8]> {
    Aad::from(name.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CertificateName {
        CertificateName::parse(text).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_fleet_alone() {
        let (own, same, other) = (
            Seal::of(b"one").unwrap(),
            Seal::of(b"one").unwrap(),
            Seal::of(b"two").unwrap(),
        );
        let sealed = own.seal(&name("www"), b"a private key").unwrap();
        assert_eq!(
            same.open(&name("www"), &sealed).as_deref(),
            Ok(&b"a private key"[..])
        );
        assert_eq!(other.open(&name("www"), &sealed), Err(SealError::OtherFleet));
        let pretended = SealedKey {
            seal: other.id(),
            ..sealed
        };
        assert_eq!(other.open(&name("www"), &pretended), Err(SealError::Damaged));
    }

    #[test]
    fn it_is_bound_to_its_name_and_to_each_of_its_bytes() {
        let seal = Seal::of(b"one").unwrap();
        let sealed = seal.seal(&name("www"), b"a private key").unwrap();
        assert_eq!(seal.open(&name("api"), &sealed), Err(SealError::Damaged));
        for at in 0..sealed.sealed.len() {
            let mut damaged = sealed.sealed.to_vec();
            damaged[at] ^= 1;
            for bytes in [&damaged[..], &sealed.sealed[..at]] {
                let damaged = SealedKey {
                    seal: sealed.seal,
                    sealed: bytes.into(),
                };
                assert_eq!(seal.open(&name("www"), &damaged), Err(SealError::Damaged), "{at}");
            }
        }
    }

    #[test]
    fn no_two_seals_are_alike_and_none_shows_what_is_in_it() {
        let seal = Seal::of(b"secret").unwrap();
        let key = b"a private key that is long enough to be found";
        let (one, two) = (
            seal.seal(&name("www"), key).unwrap(),
            seal.seal(&name("www"), key).unwrap(),
        );
        assert_ne!(one.sealed, two.sealed);
        assert!(!one.sealed.windows(8).any(|bytes| bytes == &key[..8]));
        let shown = format!("{seal:?} {one:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(
            !shown.contains(&one.sealed[0].to_string()) || !shown.contains('['),
            "{shown}"
        );
    }
}
