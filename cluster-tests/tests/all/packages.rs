//! What is shipped: what the binary says of itself, and the static one.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended, Process};
use fleetbal_cluster_tests::{Backend, Result, wait};

use crate::standalone::Place;

fn say(arguments: &[&str]) -> Result<Ended> {
    let mut command = process::fleetbal()?;
    command.args(arguments);
    let ended = process::run(command, wait::PATIENCE)?;
    ensure!(ended.code == Some(0), "{arguments:?}: {ended:?}");
    Ok(ended)
}

#[test]
fn the_version_names_release_and_commit() -> Result {
    let said = say(&["--version"])?.stdout;
    let words: Vec<_> = said.split_whitespace().collect();
    let commit = words.get(2).map(|word| word.trim_matches(['(', ')']));
    ensure!(
        words.first() == Some(&"fleetbal") && words.get(1) == Some(&env!("CARGO_PKG_VERSION")),
        "{said}"
    );
    let is_commit = |commit: &str| {
        commit == "unknown" || commit.len() == 12 && commit.bytes().all(|b| b.is_ascii_hexdigit())
    };
    ensure!(commit.is_some_and(is_commit), "{said}");
    Ok(())
}

#[test]
fn bash_completes_subcommands_and_flags() -> Result {
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("fleetbal");
    fs::write(&script, say(&["completions", "bash"])?.stdout)?;
    for (line, word, wanted) in [
        ("fleetbal clu", "clu", "cluster"),
        ("fleetbal --cluster-l", "--cluster-l", "--cluster-listen"),
        ("fleetbal cluster tr", "tr", "transfer"),
        ("fleetbal to", "to", "top"),
        ("fleetbal top --int", "--int", "--interval"),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD={}; _fleetbal fleetbal {word} {}; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.len() - 1,
            words.get(words.len() - 2).context("no word before")?,
        ));
        let ended = process::run(bash, wait::PATIENCE)?;
        ensure!(ended.stdout.trim() == wanted, "{line}: {ended:?}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        ensure!(
            say(&["completions", shell])?.stdout.contains("cluster-listen"),
            "{shell}"
        );
    }
    Ok(())
}

#[test]
fn there_is_a_page_for_each_subcommand() -> Result {
    let page = say(&["man"])?.stdout;
    ensure!(
        page.contains(".TH fleetbal 1") && page.contains(r"\-\-cluster\-listen"),
        "{page}"
    );
    let dir = tempfile::tempdir()?;
    let to = dir.path().join("man1");
    say(&["man", "--dir", &to.display().to_string()])?;
    let pages: BTreeSet<String> = fs::read_dir(&to)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    for wanted in [
        "fleetbal.1",
        "fleetbal-ctl.1",
        "fleetbal-cluster.1",
        "fleetbal-cluster-status.1",
        "fleetbal-probe.1",
        "fleetbal-top.1",
    ] {
        ensure!(pages.contains(wanted), "no {wanted} in {pages:?}");
    }
    // A directory that cannot be: a file is in its place.
    let file = dir.path().join("file");
    fs::write(&file, "")?;
    let mut command = process::fleetbal()?;
    command.args(["man", "--dir"]).arg(file.join("man1"));
    let ended = process::run(command, wait::PATIENCE)?;
    ensure!(ended.code == Some(1) && ended.errors().len() == 1, "{ended:?}");
    Ok(())
}

/// The static binary: `FLEETBAL_STATIC`, else what `deploy/static.sh` builds.
pub(crate) fn static_binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("FLEETBAL_STATIC") {
        return Ok(PathBuf::from(given).canonicalize()?);
    }
    let ended = process::run(
        Command::new(process::workspace().join("deploy/static.sh")),
        Duration::from_mins(20),
    )?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(PathBuf::from(ended.stdout.trim()))
}

#[test]
#[ignore = "builds a release, for minutes; see docs/CONTRIBUTING.md"]
fn the_static_binary_needs_nothing_and_balances() -> Result {
    let binary = static_binary()?;
    let mut readelf = Command::new("readelf");
    readelf
        .args(["--program-headers", "--dynamic", "--sections", "--wide"])
        .arg(&binary);
    let told = process::run(readelf, wait::PATIENCE)?.stdout;
    ensure!(told.contains("LOAD"), "{told}");
    for unwanted in ["INTERP", "(NEEDED)", ".symtab", ".debug_info"] {
        ensure!(!told.contains(unwanted), "{unwanted} in\n{told}");
    }
    // In a root with nothing else in it.
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let root = place.dir.path();
    fs::copy(&binary, root.join("fleetbal"))?;
    fs::write(root.join("fleetbal.conf"), place.config())?;
    let mut command = Command::new("chroot");
    command.arg(root).args(["/fleetbal", "--config=/fleetbal.conf"]);
    let _process = Process::start(command, &root.join("log"))?;
    wait::for_true("it to serve", wait::PATIENCE, || {
        let answer = fleetbal_cluster_tests::client::get((place.net.node(1), 8080).into(), "/")?;
        Ok(answer.status()? == 200)
    })
}
