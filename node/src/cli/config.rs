//! `fleetbal config …`: config files, what they would change, and the versions there were.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::client::{Answer, Server, print, print_lines, report};
use super::exit;

/// Config files, what they would change, and the versions there were.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal config check fleetbal.conf\n  \
    fleetbal config diff fleetbal.conf\n  \
    fleetbal config apply fleetbal.conf --yes\n  \
    fleetbal config history 5\n  \
    fleetbal config rollback 41")]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    server: Server,
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
    /// Show what a config file would change in the fleet; nothing where both say the same
    Diff {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Make the fleet's configuration that of a file, as one version
    Apply {
        /// The file; - is standard input
        file: PathBuf,
        /// Show the plan, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Only where the configuration is at this version
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
        /// Undo it unless `confirm` comes within so many seconds
        #[arg(long, value_name = "SECONDS")]
        confirm: Option<u32>,
    },
    /// Keep what waits for its confirmation
    Confirm,
    /// Who changed what, the newest first
    History {
        /// How many versions [default: 20]
        count: Option<u64>,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// One version: who, when, what
    Show {
        /// The version
        version: u64,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the configuration what it was at a version, as a new version
    Rollback {
        /// The version
        version: u64,
    },
    /// Go through the whole history: every hash, and every change back and forth
    Verify,
}

/// What a node says of a file.
#[derive(Debug, Deserialize)]
struct Plan {
    version: u64,
    lines: Vec<String>,
}

pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let ask = |command: String| print(args.server.ask(&command));
    let json = |json: bool| if json { " json" } else { "" };
    match &args.command {
        ConfigCommand::Check { file } => super::run::check(file),
        ConfigCommand::Diff { file } => diff(&args.server, file),
        ConfigCommand::Apply {
            file,
            dry_run,
            yes,
            if_version,
            confirm,
        } => {
            let apply = Apply {
                server: &args.server,
                file,
                if_version: *if_version,
                confirm: *confirm,
            };
            apply.run(*dry_run, *yes)
        }
        ConfigCommand::Confirm => ask("confirm".to_owned()),
        ConfigCommand::History { count, json: as_json } => {
            let count = count.map(|count| format!(" {count}")).unwrap_or_default();
            ask(format!("config history{count}{}", json(*as_json)))
        }
        ConfigCommand::Show {
            version,
            json: as_json,
        } => ask(format!("config show {version}{}", json(*as_json))),
        ConfigCommand::Rollback { version } => ask(format!("config rollback {version}")),
        ConfigCommand::Verify => ask("config verify".to_owned()),
    }
}

fn diff(server: &Server, file: &Path) -> ExitCode {
    let text = match read(file) {
        Ok(text) => text,
        Err(code) => return code,
    };
    match plan(server, file, "POST", "/api/v1/config/diff", &text) {
        Ok(plan) => {
            print_lines(&plan.lines);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

struct Apply<'a> {
    server: &'a Server,
    file: &'a Path,
    if_version: Option<u64>,
    confirm: Option<u32>,
}

impl Apply<'_> {
    /// Shows the plan, asks, and has exactly that plan carried out: where the fleet went on meanwhile, it is refused.
    fn run(&self, dry_run: bool, yes: bool) -> ExitCode {
        let text = match read(self.file) {
            Ok(text) => text,
            Err(code) => return code,
        };
        let diff = "/api/v1/config/diff";
        let shown = match plan(self.server, self.file, "POST", diff, &text) {
            Ok(shown) => shown,
            Err(code) => return code,
        };
        print_lines(&shown.lines);
        let version = self.if_version.unwrap_or(shown.version);
        if shown.lines.is_empty() && version == shown.version {
            println!("nothing to change: the fleet is at version {version}");
            return ExitCode::SUCCESS;
        }
        if dry_run {
            return ExitCode::SUCCESS;
        }
        if !yes && let Err(code) = agreed() {
            return code;
        }
        let confirm = self.confirm.map(|seconds| format!("&confirm={seconds}"));
        let target = format!(
            "/api/v1/config?if_version={version}{}",
            confirm.unwrap_or_default()
        );
        match plan(self.server, self.file, "PUT", &target, &text) {
            Ok(plan) => {
                println!("applied as version {}", plan.version);
                ExitCode::SUCCESS
            }
            Err(code) => code,
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ExitCode> {
    let mut bytes = Vec::new();
    let outcome = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(file).map(|read| bytes = read)
    };
    outcome.map(|()| bytes).map_err(|error| {
        eprintln!("fleetbal: cannot read {}: {error}", file.display());
        ExitCode::from(exit::USAGE)
    })
}

fn plan(server: &Server, file: &Path, method: &str, target: &str, text: &[u8]) -> Result<Plan, ExitCode> {
    /// What a node answers to a file in which a line is wrong.
    const UNPROCESSABLE: u16 = 422;
    let answer = server
        .call(method, target, text)
        .map_err(|error| report(&error))?;
    if answer.status == 200
        && let Ok(plan) = serde_json::from_slice(&answer.body)
    {
        return Ok(plan);
    }
    let text = match answer.status {
        UNPROCESSABLE => format!("{}: {}", file.display(), answer.text()),
        _ => answer.text(),
    };
    Err(print(Ok(Answer::Refused(text))))
}

/// Asks whether the plan shall be carried out.
fn agreed() -> Result<(), ExitCode> {
    if !io::stdin().is_terminal() {
        eprintln!("fleetbal: nobody is there to be asked; say --yes or --dry-run");
        return Err(ExitCode::from(exit::USAGE));
    }
    print!("Apply this as one version? [y/N] ");
    let mut answer = String::new();
    let heard = io::stdout()
        .flush()
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    if heard.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    println!("nothing was changed");
    Err(ExitCode::from(exit::FAILED))
}
