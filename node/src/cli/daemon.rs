//! `--daemon`: the process goes on in the background once it listens, as Perlbal does.
//!
//! What goes on is not a copy of this process but the same program started again: it leaves the session before it has
//! any thread, says on its standard output how its start went, and this one passes that on and ends.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use super::exit;
use crate::daemon::STARTED;

/// Tells the process in the background from the one that was typed.
const IN_BACKGROUND: &str = "FLEETBAL_IN_BACKGROUND";

/// Whether this process is the one in the background.
pub(super) fn is_in_background() -> bool {
    std::env::var_os(IN_BACKGROUND).is_some()
}

/// Leaves the session, so that no terminal's end ends this process.
///
/// # Errors
/// When the system refuses.
pub(super) fn leave_session() -> Result<(), String> {
    nix::unistd::setsid()
        .map(drop)
        .map_err(|error| format!("cannot leave the session: {error}"))
}

/// Starts this program again, in the background, and waits until it runs or has failed.
pub(super) fn start(arguments: &[OsString]) -> ExitCode {
    match begin(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fleetbal: cannot go to the background: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn begin(arguments: &[OsString]) -> io::Result<ExitCode> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env(IN_BACKGROUND, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(BufRead::lines) {
        let line = line?;
        if line == STARTED {
            return Ok(ExitCode::SUCCESS);
        }
        // What a config file asked for; that it runs is said by the exit code alone.
        if line != "Running." {
            drop(writeln!(io::stdout(), "{line}"));
        }
    }
    let status = child.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(exit::FAILED)))
}
