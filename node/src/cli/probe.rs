//! `fleetbal probe`: asks a node's health pages, for whatever watches it and has no HTTP client of its own.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::client::{Server, report};
use super::exit;

/// What to ask, and whom.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 0 on 200, with 1 and what the node says on anything else, with 4 where nothing \
    answers.\n\nExamples:\n  \
    fleetbal probe readyz\n  \
    fleetbal probe healthz --server 10.0.0.2:60000 --timeout 1"
)]
pub(super) struct ProbeArgs {
    /// The page: healthz (the process runs), readyz (it should get traffic), leaderz (it leads)
    page: Page,

    #[command(flatten)]
    server: Server,

    /// How long it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    Healthz,
    Readyz,
    Leaderz,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Leaderz => "/leaderz",
        }
    }
}

pub(super) fn run(args: &ProbeArgs) -> ExitCode {
    let within = Duration::from_secs(args.timeout);
    match args.server.page(args.page.path(), within) {
        Ok(answer) if answer.status == 200 => ExitCode::SUCCESS,
        Ok(answer) => {
            eprintln!("{} {}", answer.status, answer.text());
            ExitCode::from(exit::FAILED)
        }
        Err(error) => report(&error),
    }
}
