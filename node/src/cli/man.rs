//! `fleetbal man`: manual pages, made from the same description as the command line itself.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::exit;

/// Which pages, and where to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal man | man -l -\n  \
    fleetbal man --dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write a page for fleetbal and for each of its subcommands into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> ExitCode {
    let Some(dir) = &args.dir else {
        return match page() {
            Ok(page) => {
                // Whoever read it may have gone.
                drop(io::stdout().lock().write_all(&page));
                ExitCode::SUCCESS
            }
            Err(error) => failed(Path::new("the page"), &error),
        };
    };
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(super::description(), dir));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(dir, &error),
    }
}

fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(super::description()).render(&mut page)?;
    Ok(page)
}

fn failed(to: &Path, error: &io::Error) -> ExitCode {
    eprintln!("fleetbal: cannot write {}: {error}", to.display());
    ExitCode::from(exit::FAILED)
}
