//! `on NODE COMMAND`, `fleet COMMAND` and `drain node`: one node's management port is enough.

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Result, wait};

#[test]
fn a_command_is_carried_out_where_it_says() -> Result {
    let mut fleet = Fleet::of_three()?;
    let mut manage = fleet.node(1)?.manage()?;
    let mut pids = Vec::new();
    for number in 1..=3 {
        let told = manage.data(&format!("on n{number} proc"))?;
        let pid = told.iter().find_map(|line| line.strip_prefix("pid: "));
        let own = fleet.process(number)?.pid().to_string();
        ensure!(pid == Some(own.as_str()), "n{number} is {own}, told {told:?}");
        pids.push(format!("n{number} pid: {own}"));
    }
    let told = manage.data("FLEET Proc")?;
    let told: Vec<_> = told.iter().filter(|line| line.contains(" pid: ")).collect();
    ensure!(told == pids.iter().collect::<Vec<_>>(), "{told:?}, not {pids:?}");
    let dump = fleet.node(2)?.dump()?;
    ensure!(
        manage.data("on n2 dumpconfig")?.join("\n") == dump,
        "another dump"
    );
    ensure!(manage.data("fleet sync")? == ["n1 OK", "n2 OK", "n3 OK"]);
    for (line, wanted) in [
        ("on n4 uptime", "there is no node 'n4'"),
        ("on n2 create pool p", "`on` runs what concerns one node: "),
        ("on n2 shutdown", "`on` runs what concerns one node: "),
        ("on n2 on n3 uptime", "`on` runs what concerns one node: "),
        ("on n2 frobnicate", "unknown command: frobnicate"),
        ("on n2", "usage: on <node> <command>"),
        ("fleet drain node", "`fleet` runs reads"),
        ("fleet", "usage: fleet [sum] <command>"),
    ] {
        let text = manage.refused(line)?;
        ensure!(text.starts_with(wanted), "{line}: '{text}'");
    }
    // What is refused there is said here.
    ensure!(manage.refused("on n3 show service nobody")? == "Unknown service");
    ensure!(
        manage
            .data("fleet show service nobody")?
            .contains(&"n2 ERROR: Unknown service".to_owned())
    );
    // A node that does not answer holds nobody up for longer than two seconds.
    fleet.freeze(3)?;
    let begin = std::time::Instant::now();
    let told = manage.data("fleet ready")?;
    ensure!(told.contains(&"n3 ERROR: no answer".to_owned()), "{told:?}");
    ensure!(told.contains(&"n2 ready yes".to_owned()), "{told:?}");
    ensure!(manage.refused("on n3 uptime")? == "n3: no answer");
    ensure!(
        begin.elapsed() < std::time::Duration::from_secs(10),
        "took {:?}",
        begin.elapsed()
    );
    fleet.thaw(3)?;
    fleet.wait_settled()?;
    manage.change("on n3 shutdown graceful")?;
    let code = fleet.wait_gone(3, wait::PATIENCE)?;
    ensure!(code == Some(0), "n3 ended with {code:?}");
    fleet.passed()
}

#[test]
fn a_drained_node_is_not_ready_until_it_is_undrained() -> Result {
    let mut fleet = Fleet::of_three()?;
    let mut manage = fleet.node(1)?.manage()?;
    manage.change("on n2 drain node")?;
    let ready = |fleet: &Fleet| -> Result<String> { Ok(fleet.node(2)?.manage()?.data("ready")?.concat()) };
    ensure!(ready(&fleet)? == "ready no: draining", "{}", ready(&fleet)?);
    ensure!(fleet.node(2)?.ready().is_err(), "/readyz is 200");
    // It goes on serving: whoever sends it traffic decides.
    ensure!(fleet.node(2)?.get("/")?.status()? == 200);
    wait::for_true("n1 to know", wait::PATIENCE, || {
        Ok(fleet.node(1)?.status()?.node("n2", "ready")?.as_bool() == Some(false))
    })?;
    fleet.kill(2)?;
    fleet.restart(2)?;
    wait::for_true("the start to be finished", wait::PATIENCE, || {
        Ok(ready(&fleet)? == "ready no: draining")
    })?;
    fleet.node(2)?.manage()?.change("undrain node")?;
    fleet.wait_settled()?;
    fleet.kill(2)?;
    fleet.restart(2)?;
    fleet.wait_settled()?;
    fleet.passed()
}
