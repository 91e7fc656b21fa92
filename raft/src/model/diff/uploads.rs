//! What a configuration was sent as files: plugins in Lua and certificates.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::certificate::Certificate;
use super::super::change::Change;
use super::super::config::FleetConfig;
use super::super::name::{CertificateName, ScriptName};

/// Those that there shall be.
pub(super) type Uploads<'a> = (
    &'a BTreeMap<ScriptName, Arc<str>>,
    &'a BTreeMap<CertificateName, Arc<Certificate>>,
);

/// The steps to those that are new or others, ahead of whatever names them.
pub(super) fn come(from: &FleetConfig, (scripts, certificates): Uploads<'_>, changes: &mut Vec<Change>) {
    let put = scripts
        .iter()
        .filter(|(name, source)| from.scripts.get(*name) != Some(*source));
    changes.extend(put.map(|(name, source)| Change::PutScript {
        name: name.clone(),
        source: Arc::clone(source),
    }));
    let put = certificates
        .iter()
        .filter(|(name, one)| from.certificates.get(*name) != Some(*one));
    changes.extend(put.map(|(name, certificate)| Change::PutCertificate {
        name: name.clone(),
        certificate: Arc::clone(certificate),
    }));
}

/// The steps that take away what there shall not be, behind whatever named it.
pub(super) fn go(from: &FleetConfig, (scripts, certificates): Uploads<'_>, changes: &mut Vec<Change>) {
    let gone = from.scripts.keys().filter(|name| !scripts.contains_key(*name));
    changes.extend(gone.map(|name| Change::RemoveScript(name.clone())));
    let gone = from.certificates.keys();
    let gone = gone.filter(|name| !certificates.contains_key(*name));
    changes.extend(gone.map(|name| Change::RemoveCertificate(name.clone())));
}
