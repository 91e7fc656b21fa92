//! `SERVER` lines that set up this process.

use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::os_error;
use crate::priority;

const AT_START: &str = "pidfile must be configured at startup, before Perlbal::run is called";

/// `SERVER` lines of this process alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSetting {
    /// `max_connections`: how many files and sockets may be open at once.
    MaxConnections(u64),
    /// `nice_level`, -20 to 19.
    NiceLevel(i32),
    /// `pidfile`; in a config file only.
    PidFile(PathBuf),
    /// What tunes Perl or its file reading, and nothing here.
    WithoutEffect,
}

/// Carries one out in a process that runs.
///
/// # Errors
/// Why the system refused, in Perlbal's words where Perlbal has some.
pub fn apply(setting: &ServerSetting) -> Result<(), String> {
    match setting {
        ServerSetting::MaxConnections(wanted) => max_connections(*wanted),
        ServerSetting::NiceLevel(level) => nice_level(*level),
        ServerSetting::PidFile(_) => Err(AT_START.to_owned()),
        ServerSetting::WithoutEffect => Ok(()),
    }
}

/// Raises or lowers the limit of open files; above the hard limit that takes root.
fn max_connections(wanted: u64) -> Result<(), String> {
    let failed = |error: nix::Error| os_error::words(&error.into());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    let set = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted));
    match set {
        Err(nix::Error::EPERM) if wanted > hard => {
            Err("Need to be root to increase max connections.".to_owned())
        }
        other => other.map_err(failed),
    }
}

/// Of every thread, for on Linux each has a level of its own; but for those that give way to traffic, whatever it is.
fn nice_level(level: i32) -> Result<(), String> {
    let words = |error: std::io::Error| os_error::words(&error);
    let threads = std::fs::read_dir("/proc/self/task").map_err(words)?;
    let numbers = threads
        .filter_map(Result::ok)
        .filter_map(|thread| thread.file_name().to_str()?.parse().ok())
        .filter(|thread| !priority::gives_way(*thread));
    for thread in numbers.filter_map(rustix::process::Pid::from_raw) {
        match rustix::process::setpriority_process(Some(thread), level) {
            // It has ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(words(error.into())),
        }
    }
    Ok(())
}

/// The file with this process's number, for as long as the process lives.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it; over what a process left there that was killed.
    ///
    /// # Errors
    /// Where it cannot be written: which file, and why.
    pub fn write(path: &Path) -> Result<Self, String> {
        std::fs::write(path, format!("{}\n", std::process::id())).map_err(|error| {
            let (reason, remedy) = (os_error::words(&error), os_error::remedy_for_file(&error, path));
            format!("cannot write pidfile {}: {reason}{remedy}", path.display())
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have written its own there since, and may do so between a look and the removal: so what is
        // looked at is out of its way.
        let own = std::process::id().to_string();
        let is_own = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text.trim_end() == own);
        let mut aside = self.0.clone().into_os_string();
        aside.push(format!(".{own}"));
        let aside = PathBuf::from(aside);
        if !is_own(&self.0) || std::fs::rename(&self.0, &aside).is_err() {
            // Where it cannot be removed, the next start writes over it.
            return;
        }
        drop(if is_own(&aside) {
            std::fs::remove_file(&aside)
        } else {
            std::fs::rename(&aside, &self.0)
        });
    }
}
