//! A node's next key: on disk before anybody hears of it, and in the place of the old one in one go, whatever happens in
//! between.

use std::io;

use super::{DataDir, Identity, NEXT, NODE_CERTIFICATE, NODE_KEY, NodeKeys, files, keys};
use crate::error::OpenError;

impl DataDir {
    /// The keys that are to take the place of the node's own: its own, but for its key and certificate. Blocks.
    ///
    /// # Errors
    /// When the file is damaged or unreadable.
    pub(crate) fn next_keys(&self, own: &NodeKeys) -> Result<Option<NodeKeys>, OpenError> {
        let Some(pem) = files::read(self.path(), NEXT)? else {
            return Ok(None);
        };
        let damaged = || files::damaged(self.path(), NEXT, "not a key and its certificate; remove it");
        let next = NodeKeys {
            key: keys::key_from_pem(&pem).ok_or_else(damaged)?,
            certificate: keys::certificate_from_pem(&pem).ok_or_else(damaged)?,
            ..own.clone()
        };
        next.check().map_err(|_| damaged())?;
        Ok(Some(next))
    }

    /// Keeps them. Blocks.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn save_next_keys(&self, next: &NodeKeys) -> Result<(), OpenError> {
        let key = keys::key_to_pem(&next.key)?;
        let pem = key + &keys::certificate_to_pem(&next.certificate);
        files::write(self.path(), NEXT, pem.as_bytes())
    }

    /// Makes the identity's keys the ones that the next start has. Blocks.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn take_up_next_keys(&self, identity: &Identity) -> Result<(), OpenError> {
        self.write_pair(&identity.keys)?;
        self.write_identity(identity)?;
        self.forget_next_keys()
    }

    fn write_pair(&self, keys: &NodeKeys) -> Result<(), OpenError> {
        let key = keys::key_to_pem(&keys.key)?;
        files::write(self.path(), NODE_KEY, key.as_bytes())?;
        let certificate = keys::certificate_to_pem(&keys.certificate);
        files::write(self.path(), NODE_CERTIFICATE, certificate.as_bytes())
    }

    fn forget_next_keys(&self) -> Result<(), OpenError> {
        match files::remove(self.path(), NEXT) {
            Err(OpenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Ends what an earlier life of the node began and did not end: once one of its files is the next one, all are.
    pub(super) fn finish_renewal(&self) -> Result<(), OpenError> {
        let Some(pem) = files::read(self.path(), NEXT)? else {
            return Ok(());
        };
        let (Some(key), Some(certificate)) = (keys::key_from_pem(&pem), keys::certificate_from_pem(&pem))
        else {
            // Whoever needs it says so.
            return Ok(());
        };
        let now = |name| Ok::<_, OpenError>(files::read(self.path(), name)?.unwrap_or_default());
        let has_key = keys::key_from_pem(&now(NODE_KEY)?).as_ref() == Some(&key);
        let has_certificate =
            keys::certificate_from_pem(&now(NODE_CERTIFICATE)?).as_ref() == Some(&certificate);
        if !has_key && !has_certificate {
            return Ok(());
        }
        files::write(self.path(), NODE_KEY, keys::key_to_pem(&key)?.as_bytes())?;
        let certificate = keys::certificate_to_pem(&certificate);
        files::write(self.path(), NODE_CERTIFICATE, certificate.as_bytes())?;
        self.forget_next_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeName;

    #[test]
    fn a_renewal_that_stopped_anywhere_is_not_begun_or_finished() {
        let node = NodeName::parse("n1").unwrap();
        let address = "127.0.0.1:7400".parse().unwrap();
        for written in 0..=3 {
            let temp = tempfile::tempdir().unwrap();
            let dir = DataDir::open(temp.path()).unwrap();
            let mut identity = super::super::found(&dir, "acme", node.clone(), address).unwrap();
            let own = identity.keys.clone();
            let next = own.renewed(&node).unwrap();
            assert_ne!(next.key_hash().unwrap(), own.key_hash().unwrap());
            dir.save_next_keys(&next).unwrap();
            let path = |name| temp.path().join(name);
            if written == 1 {
                std::fs::write(path(NODE_KEY), keys::key_to_pem(&next.key).unwrap()).unwrap();
            }
            if written == 2 {
                std::fs::write(
                    path(NODE_CERTIFICATE),
                    keys::certificate_to_pem(&next.certificate),
                )
                .unwrap();
            }
            if written == 3 {
                identity.keys = next.clone();
                dir.take_up_next_keys(&identity).unwrap();
            }
            let found = dir.identity().unwrap().unwrap().keys;
            let (expected, waits) = if written == 0 {
                (&own, true)
            } else {
                (&next, false)
            };
            assert_eq!(found.key, expected.key, "{written}");
            let waiting = dir.next_keys(&own).unwrap();
            assert_eq!(waiting.is_some(), waits, "{written}");
        }
    }

    #[test]
    fn damaged_next_keys_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let node = NodeName::parse("n1").unwrap();
        let own = NodeKeys::found("acme", &node).unwrap();
        std::fs::write(temp.path().join(NEXT), "rubbish").unwrap();
        let error = dir.next_keys(&own).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}
