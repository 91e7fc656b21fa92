//! The command line: arguments in, exit code out.

mod cert;
mod client;
mod cluster;
mod completions;
mod config;
mod ctl;
mod daemon;
pub mod demo;
mod man;
mod perlbal;
mod plugin;
mod probe;
mod run;
mod shell;
mod top;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::settings::RunFlags;

/// Exit codes (sysexits' `EX_CONFIG` for the daemon; the others are the contract of the client subcommands).
pub mod exit {
    /// Refused by the node that was asked; or the daemon failed while running.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// The fleet is not what it should be: a member is away, lags or is not ready, or quorum is lost.
    pub const DEGRADED: u8 = 3;
    /// Nobody answered.
    pub const NO_ANSWER: u8 = 4;
    /// The configuration, or something it needs, is wrong.
    pub const CONFIG: u8 = 78;
}

/// What `--version` says: the release, and the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("FLEETBAL_COMMIT"), ")");

/// A load balancer that comes as a fleet.
#[derive(Debug, Parser)]
#[command(
    name = "fleetbal",
    version = VERSION,
    about = "A load balancer that comes as a fleet",
    infer_long_args = true,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        fleetbal --config=/etc/perlbal/perlbal.conf            a single balancer, as with Perlbal\n  \
        fleetbal --node n1 --init --cluster acme               found a fleet\n  \
        fleetbal cluster token                                 print a join token\n  \
        fleetbal --node n2 --join 10.0.0.1:7400 --token T      join it\n  \
        fleetbal cluster status                                who is there\n  \
        fleetbal top                                           what it does, live\n  \
        fleetbal demo                                          a whole fleet on this machine"
)]
struct CommandLine {
    #[command(subcommand)]
    subcommand: Option<Sub>,
    #[command(flatten)]
    run: RunFlags,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Start a whole fleet on this machine, with sample backends, to look at and to break
    Demo(demo::DemoOptions),
    /// Ask and change the fleet: status, members, tokens
    Cluster(cluster::ClusterArgs),
    /// Config files, what they would change, and the versions there were
    Config(config::ConfigArgs),
    /// Plugins in Lua of the fleet
    Plugin(plugin::PluginArgs),
    /// Certificates of the fleet
    Cert(cert::CertArgs),
    /// Send one management command and print the answer; without one, a shell
    Ctl(ctl::CtlArgs),
    /// Show the fleet as it is now: nodes, backends, queues, and what happens
    Top(top::TopArgs),
    /// Ask a node's health pages: for health checks of containers and VIPs
    Probe(probe::ProbeArgs),
    /// Print what a shell needs to complete fleetbal's command lines
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them into a directory
    Man(man::ManArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let names: Vec<_> = CommandLine::command()
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let parsed = match CommandLine::try_parse_from(perlbal::in_full(arguments, &names)) {
        Ok(parsed) => parsed,
        Err(error) => return report_usage(&error),
    };
    match parsed.subcommand {
        None => run::run(parsed.run),
        Some(Sub::Demo(options)) => demo::run(&options),
        Some(Sub::Cluster(args)) => cluster::run(&args),
        Some(Sub::Config(args)) => config::run(&args),
        Some(Sub::Plugin(args)) => plugin::run(&args),
        Some(Sub::Cert(args)) => cert::run(&args),
        Some(Sub::Ctl(args)) => ctl::run(&args),
        Some(Sub::Top(args)) => top::run(&args),
        Some(Sub::Probe(args)) => probe::run(&args),
        Some(Sub::Completions(args)) => completions::run(&args),
        Some(Sub::Man(args)) => man::run(&args),
    }
}

fn report_usage(error: &clap::Error) -> ExitCode {
    // Where even printing fails there is nobody to tell.
    drop(error.print());
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::USAGE)
    }
}

/// The command line's description, for tests of its consistency and for generated pages.
pub fn description() -> clap::Command {
    CommandLine::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::description().debug_assert();
    }
}
