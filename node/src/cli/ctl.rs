//! `fleetbal ctl COMMAND`: one management command, for scripts.

use std::process::ExitCode;

use clap::Args;

use super::client::{Server, print};

/// One management command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal ctl show service\n  \
    fleetbal ctl POOL web ADD 10.0.0.4:8080\n  \
    fleetbal ctl --server 10.0.0.2:60000 dumpconfig")]
pub(super) struct CtlArgs {
    #[command(flatten)]
    server: Server,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &CtlArgs) -> ExitCode {
    print(args.server.ask(&args.command.join(" ")))
}
