//! P2: two nodes at the same version print the same `dumpconfig`, byte for byte.

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Result, oracle, wait};

#[test]
fn changes_from_everywhere_end_in_the_same_bytes() -> Result {
    let fleet = Fleet::of_three()?;
    std::thread::scope(|scope| -> Result {
        let typists: Vec<_> = fleet
            .nodes()
            .iter()
            .map(|node| scope.spawn(move || type_changes(node)))
            .collect();
        for typist in typists {
            typist
                .join()
                .map_err(|_| anyhow::anyhow!("a typist panicked"))??;
        }
        Ok(())
    })?;
    wait::for_true("one version everywhere", wait::PATIENCE, || {
        let status = fleet.node(1)?.status()?;
        Ok(status.in_sync() && status.node("n1", "hash")? == status.node("n3", "hash")?)
    })?;
    let dump = oracle::same_bytes(fleet.nodes())?;
    for name in ["n1", "n2", "n3"] {
        for round in 0..10 {
            let line = format!("CREATE POOL {name}_{round}");
            ensure!(dump.contains(&line), "no '{line}' in\n{dump}");
        }
    }
    ensure!(
        dump.contains("${node:ip}:8080"),
        "what each node fills in for itself is not kept as typed:\n{dump}"
    );
    fleet.passed()
}

fn type_changes(node: &fleetbal_cluster_tests::node::Node) -> Result {
    let mut manage = node.manage()?;
    for round in 0..10 {
        let pool = format!("{}_{round}", node.name);
        manage.change(&format!("CREATE POOL {pool}"))?;
        manage.change(&format!("POOL {pool} ADD 127.0.0.1:{}", 9000 + round))?;
        manage.change("SET www.persist_client_idle_timeout = 17")?;
        manage.change("SET www.persist_client_idle_timeout = 30")?;
    }
    Ok(())
}
