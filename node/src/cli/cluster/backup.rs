//! `fleetbal cluster backup` and `restore`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fleetbal_raft::backup::Backup;

use super::super::client::{ClientError, HttpAnswer, Server, report};
use super::super::exit;

const OK: u16 = 200;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to write, for this user alone; one that is there is replaced once the new one is whole
    file: PathBuf,
    /// Save what the node has, also where no majority can say whether that is the latest
    #[arg(long)]
    stale: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Take the place of a configuration that the fleet has already
    #[arg(long)]
    replace: bool,
}

/// What it says at its end, or why there is none.
type Outcome = Result<String, Failure>;

enum Failure {
    Client(ClientError),
    Refused(String),
}

pub(super) fn backup(server: &Server, args: &BackupArgs) -> ExitCode {
    tell(try_backup(server, args))
}

pub(super) fn restore(server: &Server, args: &RestoreArgs) -> ExitCode {
    tell(try_restore(server, args))
}

fn try_backup(server: &Server, args: &BackupArgs) -> Outcome {
    let query = if args.stale { "?stale=yes" } else { "" };
    let answer = server.call("GET", &format!("/api/v1/backup{query}"), b"");
    let answer = accepted(answer, "with ?stale=yes", "with --stale")?;
    let backup = Backup::from_bytes(&answer.body).map_err(|error| Failure::Refused(error.to_string()))?;
    write(&args.file, &answer.body).map_err(|error| refused(&args.file, &error))?;
    let (fleet, version) = (&backup.fleet, backup.config.version);
    let (file, bytes) = (args.file.display(), answer.body.len());
    Ok(format!("{file}: fleet {fleet}, version {version}, {bytes} bytes"))
}

fn try_restore(server: &Server, args: &RestoreArgs) -> Outcome {
    let bytes = std::fs::read(&args.file).map_err(|error| refused(&args.file, &error))?;
    Backup::from_bytes(&bytes).map_err(|error| refused(&args.file, &error))?;
    let query = if args.replace { "?replace=yes" } else { "" };
    let answer = server.call("PUT", &format!("/api/v1/backup{query}"), &bytes);
    let answer = accepted(answer, "with ?replace=yes", "with --replace")?;
    Ok(answer.text())
}

/// An answer that is no refusal. What the node says for those who call it is said for those who type.
fn accepted(
    answer: Result<HttpAnswer, ClientError>,
    theirs: &str,
    ours: &str,
) -> Result<HttpAnswer, Failure> {
    let answer = answer.map_err(Failure::Client)?;
    if answer.status == OK {
        return Ok(answer);
    }
    Err(Failure::Refused(answer.text().replace(theirs, ours)))
}

fn refused(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Refused(format!("{}: {error}", file.display()))
}

fn tell(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Client(error)) => report(&error),
        Err(Failure::Refused(text)) => {
            eprintln!("ERROR: {text}");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// The old file or the new one, whatever happens in between.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
