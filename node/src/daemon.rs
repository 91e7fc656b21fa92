//! A process in the background: no terminal, and its log in the system's.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The last line that a start says which went well (Perlbal's words).
pub const STARTED: &str = "beginning run";

/// Where the system's log takes entries (syslog(3)).
pub const LOG: &str = "/dev/log";

/// The facility of daemons (RFC 5424, section 6.2.1).
const FACILITY: u8 = 3;

/// Lets go of whoever started this process: nothing is read or written any more.
///
/// # Errors
/// When the system refuses.
pub fn let_go() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// The system's log, an entry a line. Where nobody takes it, it is lost.
#[derive(Debug, Clone)]
pub struct SystemLog {
    path: Arc<Path>,
}

impl SystemLog {
    /// The one behind this socket.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into(),
        }
    }
}

/// One entry, sent when it is complete.
#[derive(Debug)]
pub struct Entry {
    path: Arc<Path>,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for SystemLog {
    type Writer = Entry;

    fn make_writer(&'a self) -> Entry {
        self.entry(Level::INFO)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Entry {
        self.entry(*metadata.level())
    }
}

impl SystemLog {
    fn entry(&self, level: Level) -> Entry {
        let severity = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        let (priority, process) = (FACILITY * 8 + severity, std::process::id());
        Entry {
            path: Arc::clone(&self.path),
            text: format!("<{priority}>fleetbal[{process}]: ").into_bytes(),
        }
    }
}

impl io::Write for Entry {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let text = self.text.trim_ascii_end();
        // Never waited for: a log that hangs must hold up nothing.
        let send = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to(text, &self.path)
        };
        drop(send());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_datagram_with_its_priority() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let system = UnixDatagram::bind(&path).unwrap();
        system
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .unwrap();
        let log = tracing_subscriber::fmt()
            .with_writer(SystemLog::at(path))
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(false)
            .finish();
        tracing::subscriber::with_default(log, || tracing::warn!(port = 80, "taken"));
        let mut bytes = [0; 200];
        let length = system.recv(&mut bytes).unwrap();
        let said = std::str::from_utf8(&bytes[..length]).unwrap();
        let process = std::process::id();
        assert_eq!(said, format!("<28>fleetbal[{process}]: taken port=80"));
        // Nobody there.
        drop(SystemLog::at("/nonexistent/log").make_writer());
    }
}
