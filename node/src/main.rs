//! The fleetbal binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleetbal::cli::main()
}
