//! `fleetbal ctl [COMMAND]`: one management command, for scripts; without one, a shell.

use std::process::ExitCode;

use clap::Args;

use super::client::{Server, print, print_lines};
use super::shell;

/// One management command; without one, a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal ctl show service\n  \
    fleetbal ctl POOL web ADD 10.0.0.4:8080\n  \
    fleetbal ctl --server 10.0.0.2:60000 dumpconfig\n  \
    fleetbal ctl help pool\n  \
    fleetbal ctl")]
pub(super) struct CtlArgs {
    #[command(flatten)]
    server: Server,

    /// The command and its arguments; without them, a shell, or the lines of standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &CtlArgs) -> ExitCode {
    let words: Vec<_> = args.command.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => shell::run(&args.server),
        ["help", name] => {
            print_lines(&shell::help(name));
            ExitCode::SUCCESS
        }
        words => print(args.server.ask(&words.join(" "))),
    }
}
