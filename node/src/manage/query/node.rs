//! What this node says of itself: `uptime`, `proc`, `fd`, `help`, `config version`, `ready`.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleetbal_raft::model::{FleetConfig, UnixMillis, Version};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

use super::super::parse::COMMANDS;
use crate::clock;

/// `uptime` and `version`: Perlbal's three lines, with our own version.
pub fn uptime(started: UnixMillis, up: Duration) -> Vec<String> {
    vec![
        format!("starttime {}", started.0 / 1000),
        format!("uptime {}", up.as_secs()),
        format!("version {}", env!("CARGO_PKG_VERSION")),
    ]
}

/// `help`: the commands there are, one a line.
pub fn help() -> Vec<String> {
    COMMANDS.map(str::to_owned).to_vec()
}

/// `config version`: which configuration this node has, and its hash in full.
pub fn config_version(version: Version, hash: &str) -> Vec<String> {
    vec![format!("version {version}"), format!("hash {hash}")]
}

/// `mime`: the types of files, by extension.
pub fn mime(config: &FleetConfig) -> Vec<String> {
    let types = config.mime().all();
    types
        .map(|(extension, kind)| format!("{extension} {kind}"))
        .collect()
}

/// `ready`: whether this node should get traffic, and why not.
pub fn ready(not_ready_because: Option<&str>) -> Vec<String> {
    match not_ready_because {
        None => vec!["ready yes".to_owned()],
        Some(reason) => vec![format!("ready no: {reason}")],
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    /// Seconds of CPU time in its own code.
    user: f64,
    /// Seconds of CPU time in the kernel.
    system: f64,
    /// Requests answered.
    requests: u64,
}

/// What `proc` told last, so that it can say what came since.
#[derive(Debug, Default)]
pub struct LastProc(Mutex<Used>);

/// What the process has used, and what the last `proc` told.
#[derive(Debug)]
pub struct ProcFigures {
    now: Used,
    before: Used,
}

impl LastProc {
    /// Takes the figures, and remembers them for the next time.
    pub fn since(&self, requests: u64) -> ProcFigures {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let seconds = |of: Option<TimeVal>| {
            of.map_or(0.0, |time| {
                #[expect(clippy::cast_precision_loss, reason = "two decimals are printed")]
                let seconds = time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
                seconds
            })
        };
        let now = Used {
            user: seconds(usage.map(|usage| usage.user_time())),
            system: seconds(usage.map(|usage| usage.system_time())),
            requests,
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, now);
        ProcFigures { now, before }
    }
}

/// `proc`: CPU times and requests; in brackets, what was added since the last `proc` of anybody.
pub fn proc(figures: &ProcFigures) -> Vec<String> {
    let ProcFigures { now, before } = figures;
    vec![
        format!("time: {}", clock::now().0 / 1000),
        format!("pid: {}", std::process::id()),
        format!("utime: {:.2} (+{:.2})", now.user, now.user - before.user),
        format!("stime: {:.2} (+{:.2})", now.system, now.system - before.system),
        format!(
            "reqs: {} (+{})",
            now.requests,
            now.requests.saturating_sub(before.requests)
        ),
    ]
}

/// `fd`: how many files and sockets may be open, and how many are; the one that counts is among them.
///
/// # Errors
/// Where the system does not tell.
pub fn descriptors() -> io::Result<Vec<String>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let open = std::fs::read_dir("/proc/self/fd")?.count();
    Ok(vec![format!("max {hard}"), format!("cur {open}")])
}
