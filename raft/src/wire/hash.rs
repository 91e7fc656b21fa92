//! The configuration's hash, for the price of what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};

use super::certificate;
use super::config::{to_config, to_pool, to_service};
use super::plugin::to_script;
use crate::model::{
    Certificate, CertificateName, FleetConfig, Pool, PoolName, ScriptName, Service, ServiceName,
};

type Hash = [u8; 32];

/// Hashes one configuration after the other: SHA-256 over the hashes of all pools, services, plugins and certificates, each of its
/// encoding, and over the encoding of all else. The same hash is the same configuration, version included.
///
/// An object that a configuration shares with the one before is not hashed again.
#[derive(Debug, Default)]
pub struct ConfigHasher {
    pools: Objects<PoolName, Pool>,
    services: Objects<ServiceName, Service>,
    scripts: Objects<ScriptName, str>,
    certificates: Objects<CertificateName, Certificate>,
}

impl ConfigHasher {
    /// Of one configuration.
    pub fn hash(&mut self, config: &FleetConfig) -> Hash {
        let rest = FleetConfig {
            pools: BTreeMap::new(),
            services: BTreeMap::new(),
            scripts: BTreeMap::new(),
            certificates: BTreeMap::new(),
            ..config.clone()
        };
        let mut hash = Sha256::new();
        let pool = |name: &PoolName, pool: &Pool| to_pool(name.as_str(), pool).encode_to_vec();
        self.pools.add_to(&mut hash, &config.pools, pool);
        let service =
            |name: &ServiceName, service: &Service| to_service(name.as_str(), service).encode_to_vec();
        self.services.add_to(&mut hash, &config.services, service);
        let script = |name: &ScriptName, source: &str| to_script(name, source).encode_to_vec();
        self.scripts.add_to(&mut hash, &config.scripts, script);
        let one = |name: &CertificateName, one: &Certificate| certificate::encode(name, one).encode_to_vec();
        self.certificates.add_to(&mut hash, &config.certificates, one);
        hash.update(to_config(&rest).encode_to_vec());
        hash.finalize().into()
    }
}

/// Objects of a kind that were hashed last.
#[derive(Debug)]
struct Objects<N, T: ?Sized>(BTreeMap<N, (Arc<T>, Hash)>);

impl<N, T: ?Sized> Default for Objects<N, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<N: Clone + Ord, T: ?Sized> Objects<N, T> {
    fn add_to(&mut self, hash: &mut Sha256, all: &BTreeMap<N, Arc<T>>, encode: impl Fn(&N, &T) -> Vec<u8>) {
        // What comes next must not be taken for one more of these.
        hash.update(u64::try_from(all.len()).unwrap_or(u64::MAX).to_be_bytes());
        let fresh = |name: &N, object: &Arc<T>| {
            let digest = Sha256::digest(encode(name, object)).into();
            (Arc::clone(object), digest)
        };
        if !self.0.keys().eq(all.keys()) {
            self.0.retain(|name, _| all.contains_key(name));
            for (name, object) in all {
                self.0.entry(name.clone()).or_insert_with(|| fresh(name, object));
            }
        }
        for (known, (name, object)) in self.0.values_mut().zip(all) {
            if !Arc::ptr_eq(&known.0, object) {
                *known = fresh(name, object);
            }
            hash.update(known.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BackendAddress, Batch, Change};

    fn pool(name: &str) -> PoolName {
        PoolName::parse(name).unwrap()
    }

    fn add(to: &str, backend: &str) -> Change {
        Change::PoolAdd {
            pool: pool(to),
            backend: BackendAddress::parse(backend).unwrap(),
            weight: 1,
        }
    }

    fn with(config: &FleetConfig, changes: Vec<Change>) -> FleetConfig {
        config.with_batch(&Batch::of(changes)).unwrap()
    }

    #[test]
    fn a_hasher_that_saw_others_says_what_a_fresh_one_says() {
        let mut known = ConfigHasher::default();
        let mut hashes = Vec::new();
        let mut config = FleetConfig::default();
        let script = ScriptName::parse("Mine").unwrap();
        let steps = [
            vec![Change::CreatePool(pool("a")), Change::CreatePool(pool("b"))],
            vec![add("a", "10.0.0.1:80")],
            vec![add("b", "10.0.0.1:80")],
            vec![Change::CreateService(ServiceName::parse("www").unwrap())],
            vec![Change::PutScript {
                name: script.clone(),
                source: "return {}".into(),
            }],
            vec![Change::RemovePool(pool("a"))],
            vec![Change::RemoveScript(script)],
            vec![Change::SetVoters(3)],
        ];
        for changes in steps {
            config = with(&config, changes);
            let hash = known.hash(&config);
            assert_eq!(hash, ConfigHasher::default().hash(&config));
            assert!(
                !hashes.contains(&hash),
                "version {} has the hash of another",
                config.version
            );
            hashes.push(hash);
        }
    }
}
