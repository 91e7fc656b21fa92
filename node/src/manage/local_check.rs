//! What only this machine can tell of a change: its variables, its directories and its files of secrets. Whether it can be bound is
//! [`super::bind`]'s; what depends on the configuration is for the fleet to judge.

use std::path::Path;

use fleetbal_raft::model::{
    Batch, CLEARING, Change, Directive, FleetConfig, HeaderRule, Kind, NO_NODEFILE, Plugin, Template,
    Tunable, takes_variables,
};

use fleetbal_raft::seal::Seal;

use super::access::Access;
use crate::access_log;
use crate::effects::NO_PROGRAMS;
use crate::nodefile;
use crate::os_error;
use crate::plugin::lua::{self, Place};
use crate::snapshot::{LogTarget, NodeVariables};
use crate::tls::{self, Server, ServerSettings};

/// Checks a change where it is typed.
///
/// # Errors
/// What this machine lacks, in Perlbal's words where Perlbal has some.
pub fn check(change: &Change, variables: &NodeVariables) -> Result<(), String> {
    if let Change::Set { object, key, value } = change {
        return setting(Some(object), key, value, variables);
    }
    if let Change::SetDefault { key, value } = change {
        return setting(None, key, value, variables);
    }
    if let Change::Header {
        rule: HeaderRule::Insert { value, .. },
        ..
    } = change
    {
        value.expand(|variable| variables.fill(variable))?;
    }
    Ok(())
}

/// What the file of a `SET … nodefile` says, as the change that comes with it; none for every other change.
///
/// # Errors
/// When this node cannot read the file, in Perlbal's words where it is not there.
pub fn nodefile(change: &Change, variables: &NodeVariables) -> Result<Option<Change>, String> {
    let Change::Set { object, key, value } = change else {
        return Ok(None);
    };
    if key != "nodefile" || NO_NODEFILE.contains(&value.as_str()) {
        return Ok(None);
    }
    let template = Template::parse(value).map_err(|error| error.to_string())?;
    let path = template.expand(|variable| variables.fill(variable))?;
    let backends = nodefile::read(Path::new(&path)).map_err(|error| error.to_string())?;
    Ok(Some(Change::SetBackends {
        object: object.clone(),
        backends,
    }))
}

/// Whether this node can speak TLS as a change asks it to.
///
/// # Errors
/// What is missing or cannot be used, in Perlbal's words where it has some.
pub fn tls(
    change: &Change,
    config: &FleetConfig,
    variables: &NodeVariables,
    seal: &Seal,
) -> Result<(), String> {
    let is_about = |key: &str| key == "enable_ssl" || key.starts_with("ssl_");
    let (name, key) = if let Change::SetEnabled {
        service,
        enabled: true,
    } = change
    {
        (service.as_str(), "")
    } else if let Change::Set { object, key, .. } = change
        && is_about(key)
    {
        (object.as_str(), key.as_str())
    } else {
        return Ok(());
    };
    let batch = Batch {
        changes: vec![change.clone()],
        ..Batch::default()
    };
    // What the fleet refuses is the fleet's to refuse.
    let Ok(after) = config.with_batch(&batch) else {
        return Ok(());
    };
    let Some(service) = after.service(name).filter(|service| service.enabled) else {
        return Ok(());
    };
    let Some(settings) = ServerSettings::of(service, &after, variables)? else {
        return Ok(());
    };
    match Server::load(settings, seal, None) {
        // Certificate and key are set one after the other; meanwhile the service goes on with what it had.
        Err(error) if error.is_of_pair() && matches!(key, "ssl_cert_file" | "ssl_key_file") => Ok(()),
        loaded => loaded.map(|_| ()).map_err(|error| error.to_string()),
    }
}

/// Whether this node can open the log that a change asks for.
///
/// # Errors
/// Why not, in the words of the talk's plugin.
pub fn log(
    change: &Change,
    config: &FleetConfig,
    variables: &NodeVariables,
    may_start_programs: bool,
) -> Result<(), String> {
    let Change::Direct {
        directive: Directive::Log(target),
        ..
    } = change
    else {
        return Ok(());
    };
    let batch = Batch::of(vec![change.clone()]);
    // What the fleet refuses is the fleet's to refuse, and no file is made for it.
    if config.with_batch(&batch).is_err() {
        return Ok(());
    }
    let failed = |reason: &str| format!("Failed to open '{target}': {reason}");
    match LogTarget::on(target, variables)? {
        LogTarget::Command(_) if !may_start_programs => Err(failed(NO_PROGRAMS)),
        LogTarget::Command(_) => Ok(()),
        LogTarget::File(path) => match access_log::open_file(&path) {
            Ok(_) => Ok(()),
            Err(error) => {
                let remedy = os_error::remedy_for_file(&error, &path);
                Err(failed(&(os_error::words(&error) + &remedy)))
            }
        },
    }
}

/// Whether the plugins in Lua that a change gives to a service can be registered there.
///
/// # Errors
/// Which one cannot, why, and in which line of it.
pub fn scripts(change: &Change, config: &FleetConfig) -> Result<(), String> {
    let Change::Set { object, key, .. } = change else {
        return Ok(());
    };
    if key != "plugins" {
        return Ok(());
    }
    // What the fleet refuses is the fleet's to refuse.
    let Ok(after) = config.with_batch(&Batch::of(vec![change.clone()])) else {
        return Ok(());
    };
    let Some((name, service)) = after.services().find(|(name, _)| name.as_str() == object) else {
        return Ok(());
    };
    for plugin in service.plugins() {
        let Plugin::Script(script) = plugin else { continue };
        let Some(source) = after.script(script.as_str()) else {
            continue;
        };
        let place = Place {
            service: name.clone(),
            role: service.role(),
        };
        lua::check(script, source, &[place]).map_err(|error| format!("plugin {script} {error}"))?;
    }
    Ok(())
}

fn setting(object: Option<&str>, key: &str, value: &str, variables: &NodeVariables) -> Result<(), String> {
    if !takes_variables(key) {
        return Ok(());
    }
    // An interface or label that this node does not have is a mistake where it is typed.
    let template = Template::parse(value).map_err(|error| error.to_string())?;
    let text = template.expand(|variable| variables.fill(variable))?;
    if CLEARING.contains(&value) {
        return Ok(());
    }
    let path = Path::new(&text);
    let tunable = Tunable::find(key);
    if TLS_FILES.contains(&key) && tunable.is_none_or(|tunable| tunable.default != Some(value)) {
        return tls_files(key, &text);
    }
    match tunable.map(|tunable| tunable.kind) {
        Some(Kind::Directory) if !path.is_dir() && key == "ssl_ca_path" => {
            Err(format!("Directory '{text}' not found for '{key}'"))
        }
        Some(Kind::Directory) if !path.is_dir() => {
            let of = object.map_or_else(String::new, |name| format!(" for service {name}"));
            // Perlbal's text is another one there.
            Err(match key {
                "docroot" => format!("Directory not found{of}"),
                _ => format!("Directory ({text}) not found{of} ({key})"),
            })
        }
        Some(Kind::File) if !path.is_file() => Err(format!("File '{text}' not found for '{key}'")),
        Some(Kind::TokenFile) => {
            let read = Access::loopback().with_token_file(path);
            read.map(drop).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

/// Settings that name files of TLS.
const TLS_FILES: [&str; 2] = ["ssl_cert_file", "ssl_key_file"];

/// Whether all files are there that a list names. What is in them is looked at where a service is to speak.
fn tls_files(key: &str, text: &str) -> Result<(), String> {
    let missing = tls::listed(text).find(|path| !Path::new(path).exists());
    missing.map_or(Ok(()), |path| Err(format!("File '{path}' not found for '{key}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> NodeVariables {
        NodeVariables {
            name: "n1".to_owned(),
            ..NodeVariables::default()
        }
    }

    fn set(key: &str, value: &str) -> Result<(), String> {
        let change = Change::Set {
            object: "px".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        check(&change, &variables())
    }

    #[test]
    fn directories_and_variables_are_looked_up_here() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().to_str().unwrap();
        std::fs::create_dir(directory.path().join("n1")).unwrap();
        assert_eq!(set("buffer_uploads_path", here), Ok(()));
        assert_eq!(
            set("buffer_uploads_path", &format!("{here}/${{node:name}}")),
            Ok(())
        );
        assert_eq!(set("reproxy_file_root", "none"), Ok(()));
        assert_eq!(
            set("buffer_uploads_path", &format!("{here}/n2")),
            Err(format!(
                "Directory ({here}/n2) not found for service px (buffer_uploads_path)"
            ))
        );
        assert_eq!(
            set("high_priority_cookie", "${node:label.x}"),
            Err("this node has no label 'x'".to_owned())
        );
        assert_eq!(set("docroot", here), Ok(()));
        assert_eq!(
            set("docroot", "/nonexistent"),
            Err("Directory not found for service px".to_owned())
        );
        let default = Change::SetDefault {
            key: "reproxy_file_root".to_owned(),
            value: "/nonexistent".to_owned(),
        };
        assert_eq!(
            check(&default, &variables()),
            Err("Directory (/nonexistent) not found (reproxy_file_root)".to_owned())
        );
    }

    #[test]
    fn files_are_looked_up_here() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().to_str().unwrap();
        std::fs::write(directory.path().join("tokens"), "anna root s3cret\n").unwrap();
        assert_eq!(
            set("token_file", &format!("{here}/tokens")),
            Err(format!(
                "management token file {here}/tokens: line 1 is not `NAME read|admin SECRET`"
            ))
        );
        assert_eq!(set("token_file", "none"), Ok(()));
        std::fs::write(directory.path().join("a.pem"), "").unwrap();
        assert_eq!(
            set("ssl_cert_file", &format!("{here}/a.pem,{here}/tokens")),
            Ok(())
        );
        assert_eq!(
            set("ssl_key_file", &format!("{here}/a.pem, {here}/b.pem")),
            Err(format!("File '{here}/b.pem' not found for 'ssl_key_file'"))
        );
        // The default is as good as nothing.
        assert_eq!(set("ssl_key_file", "certs/server-key.pem"), Ok(()));
    }
}
