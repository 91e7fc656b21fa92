//! One view of the backends' health: what one node learns, all know, and the backends are not checked to death.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::load::Load;
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

/// Waits until all of these nodes hold a backend for that; how long it took.
pub(super) fn wait_standing(fleet: &Fleet, nodes: &[usize], backend: &str, wanted: &str) -> Result<Duration> {
    let start = Instant::now();
    for &node in nodes {
        wait::for_true(
            format!("n{node} to hold {backend} for {wanted}"),
            wait::PATIENCE,
            || Ok(fleet.node(node)?.manage()?.standing(backend)? == wanted),
        )?;
    }
    Ok(start.elapsed())
}

/// The nodes that check a backend, as one node has it.
pub(super) fn checkers(fleet: &Fleet, node: usize, backend: &str) -> Result<Vec<String>> {
    let lines = fleet
        .node(node)?
        .manage()?
        .data(&format!("health why {backend}"))?;
    let rows = lines
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(rows
        .filter(|row| row.get(1) == Some(&"yes"))
        .filter_map(|row| row.first().map(ToString::to_string))
        .collect())
}

/// How often a node has connected to a backend for its clients, or tried to.
fn attempts(fleet: &Fleet, node: usize, backend: &str) -> Result<u64> {
    let lines = fleet.node(node)?.manage()?.data(&format!("nodes {backend}"))?;
    let attempts = lines
        .iter()
        .find_map(|line| line.strip_prefix(&format!("{backend} attempts ")));
    Ok(attempts.unwrap_or("0").parse()?)
}

/// How many checks a node has made.
fn checks(fleet: &Fleet, node: usize) -> Result<u64> {
    let metrics = fleet.node(node)?.metrics()?;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("fleetbal_health_checks_total{"));
    let counts = lines.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
    Ok(counts.sum::<std::result::Result<u64, _>>()?)
}

/// The checks that a backend got by now, by who made them.
fn checks_at(fleet: &mut Fleet, backend: usize) -> Result<BTreeMap<String, usize>> {
    let mut by_node = BTreeMap::new();
    for request in fleet.backend(backend)?.requests() {
        if let Some(node) = request.checker() {
            *by_node.entry(node.to_owned()).or_default() += 1;
        }
    }
    Ok(by_node)
}

/// The longest time between two of these.
pub(super) fn longest_gap(arrivals: &[Instant]) -> Result<Duration> {
    let gaps = arrivals.windows(2).filter_map(|pair| match pair {
        [one, other] => Some(other.saturating_duration_since(*one)),
        _ => None,
    });
    gaps.max().context("no two checks")
}

#[test]
fn a_dead_backend_costs_no_request_and_only_its_checkers_go_on_connecting() -> Result {
    let mut fleet = Fleet::of_three()?;
    let dead = fleet.backend(2)?.address().to_string();
    let mut loads = Vec::new();
    for number in 1..=3 {
        loads.push(Load::start(fleet.node(number)?.traffic(), 4)?);
    }
    fleet.backend(2)?.stop();
    wait_standing(&fleet, &[1, 2, 3], &dead, "down")?;
    let checkers = checkers(&fleet, 1, &dead)?;
    ensure!(checkers.len() == 2, "{checkers:?} check it");
    let third = (1..=3).find(|number| !checkers.contains(&format!("n{number}")));
    let third = third.context("all check it")?;
    let before: Vec<_> = (1..=3)
        .map(|number| attempts(&fleet, number, &dead))
        .collect::<Result<_>>()?;
    let checks_before = (checks(&fleet, 1)?, checks(&fleet, 2)?, checks(&fleet, 3)?);
    // So many checks take some seconds.
    let checker = (1..=3)
        .find(|number| *number != third)
        .context("nobody checks it")?;
    let goal = checks(&fleet, checker)? + 4;
    wait::for_true("checks to be made", wait::PATIENCE, || {
        Ok(checks(&fleet, checker)? >= goal)
    })?;
    let after: Vec<_> = (1..=3)
        .map(|number| attempts(&fleet, number, &dead))
        .collect::<Result<_>>()?;
    ensure!(before == after, "requests went on trying: {before:?}, {after:?}");
    let third_before = [checks_before.0, checks_before.1, checks_before.2][third - 1];
    ensure!(
        checks(&fleet, third)? == third_before,
        "n{third} checks it as well"
    );
    fleet.backend(2)?.restart()?;
    let took = wait_standing(&fleet, &[1, 2, 3], &dead, "up")?;
    println!("return known to all after {took:?}");
    for number in 1..=3 {
        fleet.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    for load in loads {
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}

#[test]
fn two_nodes_check_a_backend_however_many_there_are() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 6,
        backends: 2,
        pooled: 2,
        extra: "SET web.health_path = /ok\nSET web.health_interval = 1\n".to_owned(),
    })?;
    let backend = fleet.backend(1)?.address().to_string();
    let found = wait::until("all to know the same two checkers", wait::PATIENCE, || {
        let found = checkers(&fleet, 1, &backend)?;
        ensure!(found.len() == 2, "{found:?} check it");
        for number in 2..=6 {
            let other = checkers(&fleet, number, &backend)?;
            ensure!(other == found, "n{number} has {other:?}, n1 {found:?}");
        }
        Ok(Some(found))
    })?;
    // Who checked while the fleet grew does so no more.
    let growing = checks_at(&mut fleet, 1)?;
    wait::for_true("both to have checked five times more", wait::PATIENCE, || {
        let now = checks_at(&mut fleet, 1)?;
        let more =
            |node: &String| now.get(node).copied().unwrap_or(0) - growing.get(node).copied().unwrap_or(0);
        let others = now.keys().filter(|node| !found.contains(node));
        for other in others {
            ensure!(more(other) <= 1, "{other} checks as well");
        }
        Ok(found.iter().all(|node| more(node) >= 5))
    })?;
    let victim: usize = found
        .first()
        .context("no checker")?
        .trim_start_matches('n')
        .parse()?;
    let witness = (1..=6).find(|number| *number != victim).context("no witness")?;
    let before = checks_at(&mut fleet, 1)?;
    fleet.kill(victim)?;
    wait::for_true("another one to check", wait::PATIENCE, || {
        let now = checkers(&fleet, witness, &backend)?;
        ensure!(
            now.len() == 2 && !now.contains(&format!("n{victim}")),
            "{now:?} check it"
        );
        let made = checks_at(&mut fleet, 1)?;
        Ok(now.iter().all(|node| made.get(node) > before.get(node)))
    })?;
    // Two intervals, and what a busy machine may need.
    let gap = longest_gap(&fleet.backend(1)?.arrivals())?;
    println!("the longest time without a check: {gap:?}");
    ensure!(gap < Duration::from_secs(3), "{gap:?} without a check");
    fleet.restart(victim)?;
    wait::for_true("it to check again", wait::PATIENCE, || {
        Ok(checkers(&fleet, witness, &backend)? == found)
    })?;
    fleet.passed()
}

#[test]
fn checks_find_what_requests_do_not_and_are_told_right_from_wrong() -> Result {
    let mut fleet = Fleet::start(&Plan {
        backends: 2,
        pooled: 2,
        ..Plan::default()
    })?;
    let backends = [
        fleet.backend(1)?.address().to_string(),
        fleet.backend(2)?.address().to_string(),
    ];
    let mut manage = fleet.node(1)?.manage()?;
    manage.change("SET web.health_interval = 0.2")?;
    for (path, expect, wanted) in [
        ("/fine", "2xx", "up"),
        ("/status/500", "2xx", "down"),
        ("/status/500", "500", "up"),
        ("/status/204", "b9", "down"),
        ("/status/404", "b", "up"),
    ] {
        manage.change(&format!("SET web.health_expect = {expect}"))?;
        manage.change(&format!("SET web.health_path = {path}"))?;
        for backend in &backends {
            wait_standing(&fleet, &[1, 2, 3], backend, wanted)?;
        }
        // Where all of a pool is down, all of it is used.
        ensure!(
            fleet.node(2)?.get("/who")?.status()? == 200,
            "no answer while {path} is asked for"
        );
    }
    let text = manage.refused("SET web.health_interval = soon")?;
    ensure!(
        text == "Value of 'health_interval' must be a number of seconds from 0.1 to 3600",
        "{text}"
    );
    fleet.passed()
}

#[test]
fn a_request_that_one_node_cannot_place_tells_them_all_within_a_second() -> Result {
    let mut fleet = Fleet::of_three()?;
    let dead = fleet.backend(3)?.address().to_string();
    fleet.backend(3)?.stop();
    let start = Instant::now();
    ensure!(fleet.served_by(1)?.len() == 2, "the dead answered");
    wait_standing(&fleet, &[1, 2, 3], &dead, "down")?;
    println!("known to all after {:?}", start.elapsed());
    let why = fleet.node(2)?.manage()?.data(&format!("health why {dead}"))?;
    ensure!(
        why.iter().any(|line| line.contains("Connection refused")),
        "{why:?}"
    );
    let text = fleet.node(2)?.manage()?.refused("health why 127.0.0.1:1")?;
    ensure!(text == "backend 127.0.0.1:1 is in no pool", "{text}");
    let text = fleet.node(2)?.manage()?.refused("health nothing")?;
    ensure!(text == "pool 'nothing' does not exist", "{text}");
    let up = fleet.node(3)?.metrics()?;
    ensure!(
        up.contains(&format!(
            "fleetbal_backend_up{{pool=\"web\",backend=\"{dead}\"}} 0"
        )),
        "{up}"
    );
    fleet.passed()
}

#[test]
#[ignore = "measures on a quiet machine: see docs/CONTRIBUTING.md"]
fn a_death_is_known_within_a_second_and_a_return_within_an_interval_and_one() -> Result {
    let mut fleet = Fleet::of_three()?;
    let backend = fleet.backend(2)?.address().to_string();
    let mut loads = Vec::new();
    for number in 1..=3 {
        loads.push(Load::start(fleet.node(number)?.traffic(), 4)?);
    }
    let (mut deaths, mut returns, mut risen) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..16 {
        let rise = if round < 11 { 1 } else { 3 };
        fleet
            .node(1)?
            .manage()?
            .change(&format!("SET web.health_rise = {rise}"))?;
        fleet.backend(2)?.stop();
        deaths.push(wait_standing(&fleet, &[1, 2, 3], &backend, "down")?);
        fleet.backend(2)?.restart()?;
        let took = wait_standing(&fleet, &[1, 2, 3], &backend, "up")?;
        if rise == 1 { &mut returns } else { &mut risen }.push(took);
        for load in &loads {
            load.pass(200)?;
        }
    }
    for (what, times) in [
        ("death", &mut deaths),
        ("return", &mut returns),
        ("return after three good checks", &mut risen),
    ] {
        times.sort_unstable();
        let (median, worst) = (times.get(times.len() / 2), times.last());
        println!("{what} known to all three after {median:?} (median), {worst:?} (worst)");
    }
    let second = Duration::from_secs(1);
    ensure!(deaths.last() <= Some(&second), "{deaths:?}");
    // Who is down is checked each second: `health_rise` of them and one more.
    ensure!(returns.last() <= Some(&(second * 2)), "{returns:?}");
    ensure!(risen.last() <= Some(&(second * 4)), "{risen:?}");
    for load in loads {
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}
