//! `fleetbal cluster recover`: offline, on a data directory.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fleetbal_raft::identity::DataDir;
use fleetbal_raft::recover::{RecoverError, Recovery};

use super::super::exit;

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// The data directory of the node that goes on
    #[arg(
        long,
        value_name = "DIR",
        env = "FLEETBAL_DATA_DIR",
        default_value = "/var/lib/fleetbal"
    )]
    data_dir: PathBuf,
    /// Do it; without this it only says what it would do
    #[arg(long)]
    yes: bool,
}

pub(super) fn recover(args: &RecoverArgs) -> ExitCode {
    match try_recover(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn try_recover(args: &RecoverArgs) -> Result<(), RecoverError> {
    if !args.data_dir.exists() {
        return Err(RecoverError::NoNode(args.data_dir.clone()));
    }
    let recovery = Recovery::plan(DataDir::open(&args.data_dir)?)?;
    for line in plan(&recovery) {
        println!("{line}");
    }
    if !args.yes {
        println!("nothing was changed; with --yes it is done");
        return Ok(());
    }
    let node = recovery.identity.name.clone();
    let before = recovery.carry_out()?;
    println!("done; what was there before is in {}", before.display());
    println!("start {node} now; then let the others join anew, with empty data directories and a new token");
    Ok(())
}

fn plan(recovery: &Recovery) -> Vec<String> {
    let identity = &recovery.identity;
    let (node, fleet, version) = (&identity.name, &identity.fleet, recovery.version);
    let (index, term) = (recovery.last.index, recovery.last.leader_id.term);
    let others: Vec<_> = recovery.others.iter().map(ToString::to_string).collect();
    let others = if others.is_empty() {
        "nobody".to_owned()
    } else {
        others.join(", ")
    };
    vec![
        format!(
            "fleet {fleet} goes on with {node} alone, at version {version} (entry {index} of term {term})"
        ),
        format!(
            "removed from it: {others}; make sure that none of them runs, now or later, with its old data"
        ),
        format!(
            "what can be lost: every change behind version {version} that the others acknowledged and {node} never \
             got; of the nodes that are left, recover the one with the highest entry"
        ),
    ]
}
