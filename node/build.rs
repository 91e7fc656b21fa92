//! Names the commit that the binary is built from: `FLEETBAL_COMMIT`, else what git says, else `unknown`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=FLEETBAL_COMMIT");
    let given = std::env::var("FLEETBAL_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| {
        // Moves with every commit and checkout.
        if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
            println!("cargo::rerun-if-changed={log}");
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!(
        "cargo::rustc-env=FLEETBAL_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
