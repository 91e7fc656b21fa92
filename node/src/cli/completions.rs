//! `fleetbal completions SHELL`: what a shell needs to complete our command lines.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal completions bash > /etc/bash_completion.d/fleetbal\n  \
    fleetbal completions zsh > ~/.zfunc/_fleetbal")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::description(), "fleetbal", &mut script);
    // Whoever read it may have gone.
    drop(io::stdout().lock().write_all(&script));
    ExitCode::SUCCESS
}
