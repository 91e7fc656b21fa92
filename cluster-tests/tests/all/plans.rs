//! `fleetbal config …`: what a file would change, and the fleet made equal to it.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Fleet, Plan, Result, oracle, ports, wait};

/// Runs `fleetbal config` against a node.
fn config(fleet: &Fleet, number: usize, arguments: &[&str]) -> Result<Ended> {
    let mut command = process::fleetbal()?;
    let server = fleet.node(number)?.management().to_string();
    command.arg("config").args(arguments).args(["--server", &server]);
    process::run(command, wait::PATIENCE)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("no text")
}

fn expect(ended: &Ended, code: i32, stdout: &str) -> Result {
    ensure!(ended.code == Some(code) && ended.stdout == stdout, "{ended:#?}");
    Ok(())
}

#[test]
fn a_file_is_shown_asked_for_and_applied_once() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 2,
        ..Plan::default()
    })?;
    let (first, third) = (fleet.backend(1)?.address(), fleet.backend(3)?.address());
    let file = fleet.dir().join("wanted.conf");
    let (version, dump) = (fleet.node(1)?.version()?, fleet.node(1)?.dump()?);
    // What the fleet dumps is what it has.
    fs::write(&file, &dump)?;
    expect(&config(&fleet, 2, &["diff", path(&file)?])?, 0, "")?;
    let nothing = format!("nothing to change: the fleet is at version {version}\n");
    expect(&config(&fleet, 2, &["apply", path(&file)?])?, 0, &nothing)?;

    let gone = format!("POOL ADD web {first}");
    let wanted = dump
        .replace(&gone, &format!("POOL ADD web {third} weight 2"))
        .replace("  SET pool = web", "  SET pool = web\n  SET max_backend_uses = 9");
    fs::write(&file, format!("CLUSTER node = n9\n{wanted}\nCREATE POOL spare\n"))?;
    let plan = format!(
        "+ CREATE POOL spare\n  CREATE POOL web\n-   {gone}\n+   POOL ADD web {third} weight 2\n  CREATE SERVICE www\n\
         +   SET max_backend_uses = 9\n"
    );
    expect(&config(&fleet, 2, &["diff", path(&file)?])?, 0, &plan)?;
    expect(
        &config(&fleet, 2, &["apply", path(&file)?, "--dry-run"])?,
        0,
        &plan,
    )?;
    let unasked = config(&fleet, 2, &["apply", path(&file)?])?;
    expect(&unasked, 2, &plan)?;
    ensure!(unasked.stderr.contains("--yes"), "{unasked:?}");
    let moved = config(&fleet, 2, &["apply", path(&file)?, "--yes", "--if-version", "99"])?;
    ensure!(moved.code == Some(1), "{moved:?}");
    ensure!(
        moved.stderr.contains(&format!("is at version {version}, not 99")),
        "{moved:?}"
    );
    ensure!(fleet.node(1)?.version()? == version, "something was changed");

    let applied = format!("{plan}applied as version {}\n", version + 1);
    expect(
        &config(&fleet, 2, &["apply", path(&file)?, "--yes"])?,
        0,
        &applied,
    )?;
    fleet.wait_settled()?;
    let all = oracle::same_bytes(fleet.nodes())?;
    ensure!(all.contains("CREATE POOL spare") && !all.contains(&gone), "{all}");
    fleet.wait_served_by(3, &["b2", "b3"])?;
    let again = config(&fleet, 3, &["apply", path(&file)?, "--yes"])?;
    let nothing = format!("nothing to change: the fleet is at version {}\n", version + 1);
    expect(&again, 0, &nothing)?;
    let history = config(&fleet, 1, &["history", "1"])?;
    ensure!(history.stdout.trim_end().ends_with("config apply"), "{history:?}");

    fleet.passed()
}

#[test]
fn a_wrong_file_is_named_and_a_right_one_taken_back() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    let file = fleet.dir().join("wanted.conf");
    let (version, dump) = (fleet.node(1)?.version()?, fleet.node(1)?.dump()?);
    fs::write(&file, format!("{dump}\nCREATE POOL spare\n"))?;
    let applied = config(&fleet, 1, &["apply", path(&file)?, "--yes", "--confirm", "600"])?;
    ensure!(applied.code == Some(0), "{applied:?}");
    let late = config(&fleet, 1, &["rollback", "0"])?;
    let text = format!("ERROR: version {} waits for confirm\n", version + 1);
    ensure!(late.code == Some(1) && late.stderr == text, "{late:?}");
    expect(&config(&fleet, 1, &["confirm"])?, 0, "OK\n")?;

    fs::write(&file, "CREATE POOL a\nSET a.nonsense = 1\n")?;
    let wrong = config(&fleet, 1, &["apply", path(&file)?, "--yes"])?;
    let text = format!(
        "ERROR: {}: line 2: Unknown pool parameter 'nonsense'\n",
        file.display()
    );
    ensure!(wrong.code == Some(1) && wrong.stderr == text, "{wrong:?}");

    let back = config(&fleet, 1, &["rollback", &version.to_string()])?;
    expect(&back, 0, "OK\n")?;
    ensure!(fleet.node(1)?.dump()? == dump, "{}", fleet.node(1)?.dump()?);
    let verified = config(&fleet, 1, &["verify"])?;
    ensure!(
        verified.code == Some(0) && verified.stdout.contains("oldest 0\n"),
        "{verified:?}"
    );
    fleet.passed()
}

#[test]
fn a_file_with_one_other_tunable_closes_no_listener_and_no_connection() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let file = fleet.dir().join("wanted.conf");
    fs::write(
        &file,
        fleet
            .node(1)?
            .dump()?
            .replace("SET pool = web", "SET pool = web\nSET idle_timeout = 21"),
    )?;
    let address = SocketAddrV4::new(fleet.node(3)?.address, ports::TRAFFIC);
    let mut client = Http::connect(address.into())?;
    ensure!(client.request("GET", "/who", &[])?.status()? == 200);
    let before = fleet.process(3)?.sockets_at(address)?;
    ensure!(before.len() == 2, "{before:?}");
    let applied = config(&fleet, 1, &["apply", path(&file)?, "--yes"])?;
    ensure!(applied.code == Some(0), "{applied:?}");
    fleet.wait_settled()?;
    ensure!(fleet.node(3)?.dump()?.contains("SET idle_timeout = 21"));
    ensure!(
        fleet.process(3)?.sockets_at(address)? == before,
        "a socket was closed or opened"
    );
    ensure!(client.request("GET", "/who", &[])?.status()? == 200);
    drop(client);
    fleet.passed()
}

#[test]
fn a_dump_fed_to_another_fleet_gives_the_same_dump() -> Result {
    let one = Fleet::start(&Plan {
        nodes: 1,
        extra: "DEFAULT idle_timeout = 9\nHEADER www INSERT X-Node: ${node:name}\nHEADER www REMOVE Cookie\n\
                CREATE POOL blue\nPOOL blue ADD 10.0.0.1 weight 3\nPOOL blue ADD 10.0.0.2\nPOOL blue DRAIN 10.0.0.1\n\
                SERVER max_reproxy_connections = 7\nSERVER config_history = 50\ncluster set voters = 3\n"
            .to_owned(),
        ..Plan::default()
    })?;
    let other = Fleet::start(&Plan {
        nodes: 1,
        backends: 0,
        pooled: 0,
        extra: "CREATE POOL gone\nCREATE SERVICE gone_too\nDEFAULT queue_limit = 3\n".to_owned(),
    })?;
    let file = one.dir().join("dump.conf");
    let dump = one.node(1)?.dump()?;
    fs::write(&file, &dump)?;
    let applied = config(&other, 1, &["apply", path(&file)?, "--yes"])?;
    ensure!(applied.code == Some(0), "{applied:?}");
    let copy = other.node(1)?.dump()?;
    ensure!(copy == dump, "{copy}\nis not\n{dump}");
    expect(&config(&other, 1, &["diff", path(&file)?])?, 0, "")?;
    one.passed()?;
    other.passed()
}

#[test]
fn a_founder_whose_file_differs_says_so_once_and_names_the_command() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    let warnings = |fleet: &Fleet| -> Result<usize> {
        Ok(fleet.node(1)?.log_text().matches("fleetbal config diff").count())
    };
    fleet.terminate(1)?;
    fleet.restart(1)?;
    fleet.wait_settled()?;
    ensure!(warnings(&fleet)? == 0, "it warned of a file that says the same");
    fleet.node(1)?.manage()?.change("SET www.idle_timeout = 12")?;
    fleet.terminate(1)?;
    fleet.restart(1)?;
    fleet.wait_settled()?;
    ensure!(warnings(&fleet)? == 1, "{}", fleet.node(1)?.log_text());
    let file = fleet.config_path();
    let shown = config(&fleet, 1, &["diff", path(&file)?])?;
    expect(&shown, 0, "  CREATE SERVICE www\n-   SET idle_timeout = 12\n")?;
    fleet.passed()
}
