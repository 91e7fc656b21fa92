//! The directories whose files services serve: documents are not replicated, so a node may lack them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fleetbal_raft::model::{FleetConfig, Role, Service, ServiceName, Value};

use crate::os_error;
use crate::snapshot::NodeVariables;

/// How often they are looked at, while nothing else is to be done.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// Adds why this node cannot serve files, by service. Whether there is any service that serves some.
pub(super) fn look(
    config: &FleetConfig,
    variables: &NodeVariables,
    reasons: &mut BTreeMap<ServiceName, String>,
) -> bool {
    let mut any = false;
    for (name, service) in config.services() {
        if !service.enabled || service.role() != Some(Role::WebServer) {
            continue;
        }
        any = true;
        if let Some(reason) = trouble(service, variables) {
            reasons.entry(name.clone()).or_insert(reason);
        }
    }
    any
}

fn trouble(service: &Service, variables: &NodeVariables) -> Option<String> {
    let template = service.value("docroot").and_then(Value::into_text)?;
    let path = match template.expand(|variable| variables.fill(variable)) {
        Ok(path) => path,
        Err(reason) => return Some(reason),
    };
    match Path::new(&path).metadata() {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some(format!("docroot {path} is not a directory")),
        Err(error) => Some(format!("docroot {path}: {}", os_error::words(&error))),
    }
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::{Batch, Change};

    use super::*;

    #[test]
    fn what_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let files = ServiceName::parse("f").unwrap();
        let root = dir.path().join("root");
        let set = |key: &str, value: &str| Change::Set {
            object: "f".into(),
            key: key.into(),
            value: value.into(),
        };
        let changes = vec![
            Change::CreateService(files.clone()),
            set("role", "web_server"),
            set("docroot", root.to_str().unwrap()),
        ];
        let off = FleetConfig::default().with_batch(&Batch::of(changes)).unwrap();
        let enabled = true;
        let on = Change::SetEnabled {
            service: files.clone(),
            enabled,
        };
        let on = off.with_batch(&Batch::of(vec![on])).unwrap();
        let told = |config: &FleetConfig| {
            let mut reasons = BTreeMap::new();
            let any = look(config, &NodeVariables::default(), &mut reasons);
            (any, reasons.remove(&files))
        };
        let shown = root.display();
        assert_eq!(told(&off), (false, None));
        let reason = format!("docroot {shown}: No such file or directory");
        assert_eq!(told(&on), (true, Some(reason)));
        std::fs::write(&root, "").unwrap();
        let reason = format!("docroot {shown} is not a directory");
        assert_eq!(told(&on), (true, Some(reason)));
        std::fs::remove_file(&root).unwrap();
        std::fs::create_dir(&root).unwrap();
        assert_eq!(told(&on), (true, None));
    }
}
