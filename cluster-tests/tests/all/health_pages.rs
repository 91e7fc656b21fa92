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

#[test]
fn the_fleets_figures_are_told_by_node_and_added_up() -> Result {
    let mut fleet = Fleet::of_three()?;
    let backend = fleet.backend(1)?.address().to_string();
    for number in 1..=3 {
        for _ in 0..6 {
            fleet.node(number)?.get("/counted")?;
        }
    }
    let requests_of = |lines: &[String], led_by: &str| -> Vec<u64> {
        let start = format!("{led_by}{backend} requests ");
        let counts = lines
            .iter()
            .filter_map(|line| line.strip_prefix(&start)?.parse().ok());
        counts.collect()
    };
    let mut manage = fleet.node(2)?.manage()?;
    // Each node goes round: two of six requests are this backend's.
    wait::for_true("all requests to be counted", wait::PATIENCE, || {
        let sum = requests_of(&manage.data("fleet sum nodes")?, "");
        ensure!(sum == [6], "the sum is {sum:?}");
        Ok(true)
    })?;
    let by_node = manage.data("fleet nodes")?;
    for number in 1..=3 {
        let own = requests_of(&by_node, &format!("n{number} "));
        ensure!(own == [2], "n{number} has {own:?}");
    }
    let queues = manage.data("fleet sum queues")?;
    ensure!(
        queues.iter().any(|line| line == "www-normal.count 0"),
        "{queues:?}"
    );
    let refused = manage.refused("fleet sum proc")?;
    ensure!(refused.contains("`fleet sum` adds up"), "{refused}");
    wait::for_true("gossip to have all loads", wait::PATIENCE, || {
        let lines = manage.data("cluster load")?;
        let all = lines.last().context("no line")?;
        let figures: Vec<_> = all.split_whitespace().collect();
        ensure!(figures.get(..2) == Some(&["all", "18"]), "{lines:?}");
        Ok(true)
    })?;
    let management = fleet.node(3)?.management();
    // Each node hears the loads in its own time: n2's having them does not say that n3 has.
    wait::for_true("n3's page to have all loads", wait::PATIENCE, || {
        let text = client::get(management, "/metrics")?.text();
        for number in 1..=3 {
            let name = format!("fleetbal_cluster_node_requests_total{{node=\"n{number}\"}}");
            let requests = metric(&text, &name)?;
            ensure!((5.5..6.5).contains(&requests), "n{number}: {requests}");
        }
        Ok(true)
    })?;
    let text = client::get(management, "/metrics")?.text();
    ensure!(metric(&text, "fleetbal_gossip_sent_bytes_total")? > 1000.0);
    let status = fleet.node(1)?.status()?;
    ensure!(
        status.node("n3", "queued")?.as_u64() == Some(0),
        "{}",
        status.json
    );
    fleet.passed()
}

fn metric(text: &str, name: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .with_context(|| format!("no {name} in\n{text}"))?;
    line.trim().parse().with_context(|| format!("{name} is '{line}'"))
}
