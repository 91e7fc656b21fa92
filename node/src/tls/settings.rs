//! What a service is set to speak, its variables filled in on this node.

use std::path::PathBuf;
use std::sync::Arc;

use fleetbal_raft::model::{
    Certificate, CertificateName, CipherSuite, FleetConfig, Protocol, Service, Value,
};

use crate::snapshot::NodeVariables;

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// No.
    No,
    /// Yes, and one that is shown must be good.
    May,
    /// Yes, and without one there is no connection.
    Must,
}

/// What a service speaks with its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// In the place of files, where there is any.
    pub(super) fleet: Vec<(CertificateName, Arc<Certificate>)>,
    pub(super) certs: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) ciphers: Arc<[CipherSuite]>,
    pub(super) protocols: Arc<[Protocol]>,
    pub(super) ask: Ask,
    pub(super) ca_path: Option<PathBuf>,
}

impl ServerSettings {
    /// What a service speaks; none where it does not speak TLS.
    ///
    /// # Errors
    /// What this node cannot fill in.
    pub fn of(
        service: &Service,
        config: &FleetConfig,
        variables: &NodeVariables,
    ) -> Result<Option<Self>, String> {
        if !service.flag("enable_ssl") {
            return Ok(None);
        }
        let text = |key| {
            let template = service.value(key).and_then(Value::into_text);
            let filled = template.map(|template| template.expand(|variable| variables.fill(variable)));
            filled.transpose()
        };
        let (ciphers, protocols) = (service.value("ssl_cipher_list"), service.value("ssl_protocols"));
        let fleet = service.certificates().iter().map(|name| {
            let known = config.certificate(name.as_str()).cloned();
            let known = known.ok_or_else(|| format!("there is no certificate '{name}'"))?;
            Ok::<_, String>((name.clone(), known))
        });
        Ok(Some(Self {
            fleet: fleet.collect::<Result<_, _>>()?,
            certs: files(text("ssl_cert_file")?),
            keys: files(text("ssl_key_file")?),
            ciphers: match ciphers {
                Some(Value::Ciphers(suites, _)) => suites,
                _ => Arc::default(),
            },
            protocols: match protocols {
                Some(Value::Protocols(protocols, _)) => protocols,
                _ => Arc::default(),
            },
            // OpenSSL's bits; the second says nothing without the first.
            ask: match service.number("ssl_verify_mode") & 3 {
                1 => Ask::May,
                3 => Ask::Must,
                _ => Ask::No,
            },
            ca_path: text("ssl_ca_path")?.map(PathBuf::from),
        }))
    }
}

fn files(text: Option<String>) -> Vec<String> {
    listed(&text.unwrap_or_default()).map(str::to_owned).collect()
}

/// The files that a setting names.
pub(crate) fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}
