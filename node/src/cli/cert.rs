//! `fleetbal cert …`: certificates of the fleet.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fleetbal_raft::model::CertificateName;

use super::client::{Server, print, report};
use super::exit;

/// Certificates of the fleet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal cert add www --cert fullchain.pem --key privkey.pem\n  \
    fleetbal cert list\n  \
    fleetbal cert remove www")]
pub(super) struct CertArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    /// Bring a certificate and its key in, in place of those of that name
    Add {
        /// The name by which services use it
        name: String,
        /// The certificate and those that lead to its root (PEM)
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Its private key (PEM)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// One line a certificate
    List {
        /// As one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a certificate away that nothing uses
    Remove {
        /// Its name
        name: String,
    },
}

pub(super) fn run(args: &CertArgs) -> ExitCode {
    let ask = |command: &str| print(args.server.ask(command));
    match &args.command {
        CertCommand::Add { name, cert, key } => add(&args.server, name, cert, key),
        CertCommand::List { json: false } => ask("cert list"),
        CertCommand::List { json: true } => ask("cert list json"),
        CertCommand::Remove { name } => ask(&format!("cert remove {name}")),
    }
}

fn add(server: &Server, name: &str, cert: &Path, key: &Path) -> ExitCode {
    let (name, both) = match read(name, cert, key) {
        Ok(read) => read,
        Err(text) => return refused(&text),
    };
    match server.call("PUT", &format!("/api/v1/certs/{name}"), &both) {
        Ok(answer) if answer.status == 200 => {
            println!("{}", answer.text());
            ExitCode::SUCCESS
        }
        Ok(answer) => refused(&answer.text()),
        Err(error) => report(&error),
    }
}

fn refused(text: &str) -> ExitCode {
    eprintln!("ERROR: {text}");
    ExitCode::from(exit::FAILED)
}

/// The name, and both files as one.
fn read(name: &str, cert: &Path, key: &Path) -> Result<(CertificateName, Vec<u8>), String> {
    let name = CertificateName::parse(name).map_err(|error| error.to_string())?;
    let file = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    Ok((name, [file(cert)?, b"\n".to_vec(), file(key)?].concat()))
}
