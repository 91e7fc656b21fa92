//! Starts where this machine gives a node less than it wants: each ends with 78 and one error that says what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

use crate::standalone::Place;

/// A user without any rights, as far as this machine is concerned.
const NOBODY: &str = "65534";

/// Runs a command as that user; nothing where this process may not.
fn as_nobody(command: &Command) -> Result<Option<Ended>> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return Ok(None);
    }
    // In a network of its own: on this machine somebody may have opened the low ports to all.
    let mut inside = Command::new("unshare");
    inside.args([
        "--net",
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
    ]);
    inside.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        inside.current_dir(dir);
    }
    process::run(inside, wait::PATIENCE).map(Some)
}

/// A directory that everybody may enter, with a copy of the binary that everybody may run.
fn open_to_all(place: &Place) -> Result<Command> {
    let dir = place.dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let binary = dir.join("fleetbal");
    fs::copy(process::binary()?, &binary)?;
    let mut command = Command::new(binary);
    command.current_dir(dir);
    Ok(command)
}

#[test]
fn a_port_that_takes_root() -> Result {
    let place = Place::new()?;
    let mut command = open_to_all(&place)?;
    fs::write(
        place.dir.path().join("conf"),
        "CREATE SERVICE www\nSET role = web_server\nSET listen = 0.0.0.0:80\nENABLE www\n",
    )?;
    command.args(["--config", "conf"]);
    let Some(ended) = as_nobody(&command)? else {
        return Ok(());
    };
    ensure!(ended.code == Some(78), "{ended:?}");
    ensure!(
        ended
            .stderr
            .contains("Permission denied; port 80 takes root, CAP_NET_BIND_SERVICE"),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn a_volume_of_another_user() -> Result {
    let place = Place::new()?;
    let volume = place.dir.path().join("volume");
    fs::create_dir(&volume)?;
    let below = volume.join("below");
    for (data, remedy) in [
        (
            &volume,
            format!("give it away (`chown -R {NOBODY} {}` as root)", volume.display()),
        ),
        (
            &below,
            format!(
                "make the directory and give it away (`install -d -o {NOBODY} -m 700 {}` as root)",
                below.display()
            ),
        ),
    ] {
        let Some(ended) = founded_by_nobody(&place, data)? else {
            return Ok(());
        };
        let whose = format!(
            "{} belongs to user 0, and this process is user {NOBODY}'s: {remedy}",
            volume.display()
        );
        check_one_error(&ended, &whose)?;
    }
    Ok(())
}

/// The end of a node that founds a fleet in a directory, as a user without rights.
fn founded_by_nobody(place: &Place, data: &Path) -> Result<Option<Ended>> {
    let mut command = open_to_all(place)?;
    command.args(["--node", "n1", "--init", "--cluster-listen", "127.0.0.1:7400"]);
    command.arg("--data-dir").arg(data);
    as_nobody(&command)
}

fn check_one_error(ended: &Ended, wanted: &str) -> Result {
    ensure!(ended.code == Some(78) && ended.errors().len() == 1, "{ended:?}");
    ensure!(ended.stderr.contains(wanted), "no '{wanted}': {ended:?}");
    Ok(())
}

/// What somebody started as root before, or gave away in part.
#[test]
fn a_data_directory_that_cannot_be_written() -> Result {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return Ok(());
    }
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    fleet.terminate(1)?;
    let place = Place::new()?;
    let data = place.dir.path().join("data");
    let mut copy = Command::new("cp");
    copy.arg("--recursive").arg(&fleet.node(1)?.data).arg(&data);
    ensure!(process::run(copy, wait::PATIENCE)?.code == Some(0), "no copy");
    let nobody = Some(NOBODY.parse()?);
    let shown = data.display();
    let given = |path: &Path| std::os::unix::fs::chown(path, nobody, nobody);
    let fails = |wanted: &str| -> Result {
        let ended = founded_by_nobody(&place, &data)?.context("not root any more")?;
        check_one_error(&ended, wanted)
    };
    // The directory was given away, and not what lies in it.
    given(&data)?;
    given(&data.join("lock"))?;
    let identity = data.join("identity.json");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600))?;
    fails(&format!(
        "{}: Permission denied (os error 13); {} belongs to user 0, and this process is user {NOBODY}'s: give it away \
         (`chown -R {NOBODY} {shown}` as root), or name another with --data-dir",
        identity.display(),
        identity.display()
    ))?;
    // It is this user's, but may not be written.
    given(&identity)?;
    fs::remove_file(data.join("lock"))?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500))?;
    fails(&format!(
        "{shown} is this process's own, with mode 500: let its owner read and write it (`chmod -R u+rwX {shown}`)"
    ))?;
    fleet.passed()
}

#[test]
fn a_pidfile_and_a_log_that_cannot_be_written() -> Result {
    let place = Place::new()?;
    let locked = place.dir.path().join("locked");
    fs::create_dir(&locked)?;
    let rights = format!(
        "Permission denied; {} belongs to user 0, and this process is user {NOBODY}'s: let that user write there, or \
         name another file",
        locked.display()
    );
    let (pidfile, log) = (locked.join("pid"), locked.join("access.log"));
    let service = "CREATE SERVICE www\nSET role = web_server\nSET listen = 0.0.0.0:8080\n";
    for (config, wanted) in [
        (
            format!("SERVER pidfile = {}\n{service}ENABLE www\n", pidfile.display()),
            format!("cannot write pidfile {}: {rights}", pidfile.display()),
        ),
        (
            format!("LOAD Log\n{service}LOGNAME www = {}\nENABLE www\n", log.display()),
            format!("conf:5: Failed to open '{}': {rights}", log.display()),
        ),
    ] {
        let mut command = open_to_all(&place)?;
        fs::write(place.dir.path().join("conf"), config)?;
        command.args(["--config", "conf"]);
        let Some(ended) = as_nobody(&command)? else {
            return Ok(());
        };
        ensure!(ended.code == Some(78), "{ended:?}");
        ensure!(ended.stderr.contains(&wanted), "no '{wanted}': {ended:?}");
    }
    ensure!(fs::read_dir(&locked)?.next().is_none(), "something was written");
    Ok(())
}

#[test]
fn a_name_and_an_address_that_are_taken() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let number = fleet.add_place()?;
    let token = fleet.token("")?;
    let flags = fleet.join_flags(number, &token)?;
    for (value, wanted) in [
        (
            ("--node", "n1"),
            "the node name 'n1' is taken by another member; choose one with --node, or let `cluster remove n1` free it",
        ),
        (
            ("--management", "192.0.2.1:60000"),
            "Cannot assign requested address; this machine has no such address (`ip address`)",
        ),
        (
            ("--management", &fleet.node(1)?.management().to_string()),
            "Address already in use; `ss -ltnp sport = :60000` names the process that has it",
        ),
    ] {
        let at = flags.iter().position(|flag| flag == value.0).unwrap_or_default();
        let mut flags = flags.clone();
        if let Some(old) = flags.get_mut(at + 1) {
            value.1.clone_into(old);
        }
        let ended = process::run(fleet.command(&flags)?, wait::PATIENCE)?;
        ensure!(ended.code == Some(78) && ended.errors().len() == 1, "{ended:?}");
        ensure!(ended.stderr.contains(wanted), "{ended:?}");
    }
    fleet.passed()
}

#[test]
fn a_data_directory_of_the_past() -> Result {
    let mut fleet = Fleet::of_three()?;
    let number = *fleet.followers()?.first().context("no follower")?;
    fleet.kill(number)?;
    let (data, copy) = (fleet.node(number)?.data.clone(), fleet.dir().join("copy"));
    let copied = |from: &Path, to: &Path| -> Result {
        let mut command = Command::new("cp");
        command.arg("--archive").arg(from).arg(to);
        let ended = process::run(command, wait::PATIENCE)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(())
    };
    copied(&data, &copy)?;
    fleet.restart(number)?;
    fleet.wait_settled()?;
    let leader = fleet.leader()?;
    let mut manage = fleet.node(leader)?.manage()?;
    for pool in ["one", "two", "three"] {
        manage.change(&format!("CREATE POOL {pool}"))?;
    }
    manage.change("barrier")?;
    fleet.kill(number)?;
    fs::remove_dir_all(&data)?;
    copied(&copy, &data)?;
    let flags = fleet.node(number)?.flags.clone();
    let ended = process::run(fleet.command(&flags)?, wait::PATIENCE)?;
    ensure!(ended.code == Some(78) && ended.errors().len() == 1, "{ended:?}");
    let wanted = format!("an old copy: node 'n{number}' has acknowledged entry ");
    ensure!(
        ended.stderr.contains(&wanted) && ended.stderr.contains(&format!("`cluster remove n{number}`")),
        "{ended:?}"
    );
    // The others go on.
    manage.change("CREATE POOL four")?;
    fleet.passed()
}
