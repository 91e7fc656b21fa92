//! `fleetbal plugin …`: plugins in Lua of the fleet.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Server, print, report};
use super::exit;

/// Plugins in Lua of the fleet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal plugin push hello.lua\n  \
    fleetbal plugin list\n  \
    fleetbal plugin show hello\n  \
    fleetbal plugin diff hello 41\n  \
    fleetbal plugin remove hello")]
pub(super) struct PluginArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Make a file a plugin of the fleet, in place of the version that it has; its name is the file's without .lua
    Push {
        /// The file
        file: PathBuf,
    },
    /// One line a plugin
    List,
    /// Print the source of a plugin
    Show {
        /// Its name
        name: String,
    },
    /// Show what differs between the source of a plugin at a version of the configuration and now
    Diff {
        /// Its name
        name: String,
        /// The version
        version: u64,
    },
    /// Take a plugin away that is not loaded
    Remove {
        /// Its name
        name: String,
    },
}

pub(super) fn run(args: &PluginArgs) -> ExitCode {
    let ask = |command: String| print(args.server.ask(&command));
    match &args.command {
        PluginCommand::Push { file } => push(&args.server, file),
        PluginCommand::List => ask("plugin list".to_owned()),
        PluginCommand::Show { name } => ask(format!("plugin show {name}")),
        PluginCommand::Diff { name, version } => ask(format!("plugin diff {name} {version}")),
        PluginCommand::Remove { name } => ask(format!("plugin remove {name}")),
    }
}

fn push(server: &Server, file: &Path) -> ExitCode {
    let refused = |text: &str| {
        eprintln!("ERROR: {text}");
        ExitCode::from(exit::FAILED)
    };
    let Some(name) = file.file_stem().and_then(|stem| stem.to_str()) else {
        return refused(&format!("{}: a plugin is a file NAME.lua", file.display()));
    };
    let source = match std::fs::read(file) {
        Ok(source) => source,
        Err(error) => return refused(&format!("{}: {error}", file.display())),
    };
    match server.call("PUT", &format!("/api/v1/plugins/{name}"), &source) {
        Ok(answer) if answer.status == 200 => {
            println!("{}", answer.text());
            ExitCode::SUCCESS
        }
        Ok(answer) => refused(&answer.text()),
        Err(error) => report(&error),
    }
}
