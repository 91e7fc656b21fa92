//! `fleetbal config …`: working with config files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Work with config files.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read and check a config file: 0 if it is good, 78 if not
    Check {
        /// The file
        file: PathBuf,
    },
}

pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    match &args.command {
        ConfigCommand::Check { file } => super::run::check(file),
    }
}
