//! `/healthz`, `/readyz` and `/metrics` of the management port.

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Result, client, wait};

#[test]
fn tell_a_probe_and_prometheus_the_truth() -> Result {
    let mut fleet = Fleet::of_three()?;
    for _ in 0..10 {
        fleet.node(2)?.get("/counted")?;
    }
    for node in fleet.nodes() {
        let health = client::get(node.management(), "/healthz")?;
        ensure!(health.status()? == 200, "{}: '{}'", node.name, health.start);
        let metrics = client::get(node.management(), "/metrics")?;
        ensure!(metrics.status()? == 200, "{}: '{}'", node.name, metrics.start);
        let text = metrics.text();
        for wanted in [
            "fleetbal_raft_has_leader 1",
            "fleetbal_cluster_members{state=\"alive\"} 3",
            "fleetbal_cluster_failure_tolerance 1",
            "fleetbal_build_info{version=\"",
        ] {
            ensure!(text.contains(wanted), "{}: no '{wanted}' in\n{text}", node.name);
        }
        let version = metric(&text, "fleetbal_config_version")?;
        ensure!(version >= 1.0, "{}: version {version}", node.name);
    }
    // A request is counted once its answer is out, which the client may see first.
    let counted = "fleetbal_service_http_requests_total{service=\"www\",code=\"200\"}";
    wait::for_true("10 requests to be counted", wait::PATIENCE, || {
        let text = client::get(fleet.node(2)?.management(), "/metrics")?.text();
        let requests = metric(&text, counted)?;
        ensure!(requests < 10.5, "10 requests were counted as {requests}");
        Ok(requests > 9.5)
    })?;
    fleet.kill(1)?;
    fleet.kill(3)?;
    wait::for_true("the loss to show", wait::PATIENCE, || {
        let text = client::get(fleet.node(2)?.management(), "/metrics")?.text();
        Ok(metric(&text, "fleetbal_raft_has_leader")? < 0.5)
    })?;
    fleet.passed()
}

fn metric(text: &str, name: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .with_context(|| format!("no {name} in\n{text}"))?;
    line.trim().parse().with_context(|| format!("{name} is '{line}'"))
}
