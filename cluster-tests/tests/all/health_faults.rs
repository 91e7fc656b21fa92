//! Backends and nodes that are not what they seem, and what the view of health makes of them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::load::Load;
use fleetbal_cluster_tests::world::run;
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

/// The line of `health` about a backend, on a node.
fn health(fleet: &Fleet, node: usize, backend: &str) -> Result<String> {
    fleet.node(node)?.manage()?.health(backend)
}

fn wait_health(fleet: &Fleet, node: usize, backend: &str, wanted: &str) -> Result {
    wait::for_true(
        format!("n{node} to hold {backend} for {wanted}"),
        wait::PATIENCE,
        || {
            let line = health(fleet, node, backend)?;
            ensure!(line.split(' ').nth(2) == Some(wanted), "it says: {line}");
            Ok(true)
        },
    )
}

/// What a metric of a node says.
fn metric(fleet: &Fleet, node: usize, name: &str) -> Result<f64> {
    let text = fleet.node(node)?.metrics()?;
    let figure = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(figure.with_context(|| format!("no {name} in\n{text}"))?.parse()?)
}

#[test]
fn a_backend_that_is_verified_and_fails_requests_is_taken_out_by_whom_it_fails() -> Result {
    let mut fleet = Fleet::start(&Plan {
        extra: "SET www.verify_backend = on\nSET web.outlier_5xx = 4\nSET web.outlier_eject_time = 2\n"
            .to_owned(),
        ..Plan::default()
    })?;
    let backend = fleet.backend(2)?.address().to_string();
    fleet.backend(2)?.fail_requests(true);
    wait::for_true("n1 to take it out", wait::PATIENCE, || {
        // Each node goes by its own requests.
        fleet.node(1)?.get("/who")?;
        let line = health(&fleet, 1, &backend)?;
        ensure!(line.ends_with("requests in a row failed"), "it says: {line}");
        Ok(line.contains(" down "))
    })?;
    ensure!(fleet.served_by(1)? == ["b1", "b3"], "it gets requests");
    let labels = format!("{{pool=\"web\",backend=\"{backend}\"}}");
    ensure!(metric(&fleet, 1, &format!("fleetbal_backend_ejected{labels}"))? > 0.5);
    ensure!(metric(&fleet, 1, &format!("fleetbal_backend_errors_total{labels}"))? > 3.5);
    ensure!(
        health(&fleet, 3, &backend)?.contains(" up "),
        "n3 has had no trouble with it"
    );
    wait::for_true("n3 to know of it", wait::PATIENCE, || {
        let why = fleet.node(3)?.manage()?.data(&format!("health why {backend}"))?;
        let row = why.iter().find(|line| line.starts_with("n1 ")).context("no n1")?;
        ensure!(row.contains("ejected"), "n1 says: {row}");
        Ok(true)
    })?;
    let why = fleet.node(1)?.manage()?.data(&format!("health why {backend}"))?;
    ensure!(
        why.iter()
            .any(|line| line == "rule: the outcome of this node's own requests"),
        "{why:?}"
    );
    fleet.backend(2)?.fail_requests(false);
    wait_health(&fleet, 1, &backend, "up")?;
    fleet.wait_served_by(1, &["b1", "b2", "b3"])?;
    let text = fleet.node(2)?.manage()?.refused("SET web.outlier_5xx = 0")?;
    ensure!(
        text == "Value of 'outlier_5xx' must be a number from 1 to 1000, or none",
        "{text}"
    );
    fleet.passed()
}

#[test]
fn a_backend_that_is_slow_beside_the_others_is_taken_out_and_begins_slowly() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 4,
        pooled: 4,
        extra: "SET web.outlier_latency = 3\nSET web.outlier_eject_time = 1\nSET web.slow_start = 30\n"
            .to_owned(),
    })?;
    let slow = fleet.backend(3)?.address().to_string();
    fleet.backend(3)?.delay(Duration::from_millis(400));
    let load = Load::start(fleet.node(1)?.traffic(), 8)?;
    wait::for_true("it to be taken out", wait::PATIENCE, || {
        let line = health(&fleet, 1, &slow)?;
        ensure!(line.contains("answers took"), "it says: {line}");
        Ok(line.contains(" down "))
    })?;
    fleet.backend(3)?.delay(Duration::ZERO);
    wait::for_true("it to begin slowly", wait::PATIENCE, || {
        let line = health(&fleet, 1, &slow)?;
        ensure!(line.contains("begins slowly, with"), "it says: {line}");
        Ok(line.contains(" up "))
    })?;
    load.finish().expect_flawless()?;
    fleet.passed()
}

/// The backends that a node has taken out, by its count.
fn ejected(fleet: &Fleet) -> Result<usize> {
    let lines = fleet.node(1)?.manage()?.data("health web")?;
    let out = lines
        .iter()
        .filter(|line| line.ends_with("requests in a row failed"));
    Ok(out.filter(|line| line.contains(" down ")).count())
}

#[test]
fn who_fails_again_is_out_for_longer_and_half_of_a_pool_is_out_at_most() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 4,
        pooled: 4,
        extra: "SET web.outlier_5xx = 3\nSET web.outlier_eject_time = 1\nSET web.outlier_max_ejected = 50\n"
            .to_owned(),
    })?;
    fleet.backend(2)?.fail_requests(true);
    let mut lengths = Vec::new();
    for wanted in 1..=3 {
        wait::for_true("it to be taken out", wait::PATIENCE, || {
            fleet.node(1)?.get("/who")?;
            Ok(ejected(&fleet)? == 1)
        })?;
        let start = Instant::now();
        ensure!(fleet.served_by(1)? == ["b1", "b3", "b4"], "it gets requests");
        wait::for_true("it to be let back", wait::PATIENCE, || Ok(ejected(&fleet)? == 0))?;
        lengths.push(start.elapsed());
        // What passed before it was seen to be out.
        let least = Duration::from_secs(wanted).mul_f64(0.8);
        ensure!(start.elapsed() >= least, "out for {lengths:?}");
    }
    for number in 1..=4 {
        fleet.backend(number)?.fail_requests(true);
    }
    let mut most = 0;
    wait::for_true("half of them to be out", wait::PATIENCE, || {
        for _ in 0..4 {
            // Those that are left answer as they can: nobody is turned away.
            ensure!(fleet.node(1)?.get("/who")?.status()? == 500);
        }
        most = most.max(ejected(&fleet)?);
        Ok(most == 2)
    })?;
    for _ in 0..50 {
        ensure!(fleet.node(1)?.get("/who")?.status()? == 500);
        let now = ejected(&fleet)?;
        ensure!(now <= 2, "{now} of 4 are out");
    }
    fleet.passed()
}

#[test]
fn a_backend_that_comes_and_goes_costs_no_request() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.node(1)?.manage()?.change("SET web.health_rise = 2")?;
    let flapping = fleet.backend(2)?.address().to_string();
    let mut loads = Vec::new();
    for number in 1..=3 {
        loads.push(Load::start(fleet.node(number)?.traffic(), 2)?);
    }
    for _ in 0..5 {
        fleet.backend(2)?.stop();
        loads.iter().try_for_each(|load| load.pass(100))?;
        fleet.backend(2)?.restart()?;
        loads.iter().try_for_each(|load| load.pass(100))?;
    }
    for number in 1..=3 {
        wait_health(&fleet, number, &flapping, "up")?;
        fleet.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    for load in loads {
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}

/// A library that sets a process's clock on by `CLOCK_AHEAD` seconds, where it asks for the time of day.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    const char *ahead = getenv("CLOCK_AHEAD");
    if (clock == CLOCK_REALTIME && ahead) at->tv_sec += atol(ahead);
    return result;
}
"#;

fn wrong_clock(fleet: &Fleet) -> Result<PathBuf> {
    let (source, library) = (fleet.dir().join("clock.c"), fleet.dir().join("clock.so"));
    std::fs::write(&source, WRONG_CLOCK)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
    run(compiler.arg(&library).arg(&source).arg("-ldl"))?;
    Ok(library)
}

#[test]
fn nodes_whose_clocks_are_wrong_judge_like_the_others() -> Result {
    let mut fleet = Fleet::prepare(&Plan::default())?;
    let library = format!("LD_PRELOAD={}", wrong_clock(&fleet)?.display());
    fleet.found()?;
    let token = fleet.token("")?;
    // Nobody joins whose clock is wrong, but clocks go wrong later.
    for (number, ahead) in [(2, "CLOCK_AHEAD=3000"), (3, "CLOCK_AHEAD=-86400")] {
        fleet.join(number, &token)?;
        fleet.terminate(number)?;
        fleet.lead_by(number, &["env", &library, ahead])?;
        fleet.restart(number)?;
    }
    fleet.wait_settled()?;
    let started = |number: usize| -> Result<u64> {
        let lines = fleet.node(number)?.manage()?.data("uptime")?;
        let start = lines.iter().find_map(|line| line.strip_prefix("starttime "));
        Ok(start.context("no start")?.parse()?)
    };
    let (right, ahead, behind) = (started(1)?, started(2)?, started(3)?);
    ensure!(
        ahead > right + 2_000 && behind + 80_000 < right,
        "the clocks are right: {right}, {ahead}, {behind}"
    );
    let backend = fleet.backend(2)?.address().to_string();
    let mut loads = Vec::new();
    for number in 1..=3 {
        loads.push(Load::start(fleet.node(number)?.traffic(), 2)?);
    }
    for _ in 0..2 {
        fleet.backend(2)?.stop();
        for number in 1..=3 {
            wait_health(&fleet, number, &backend, "down")?;
            let line = health(&fleet, number, &backend)?;
            let since: u64 = line.split(' ').nth(3).context("no time")?.parse()?;
            ensure!(since < 60, "n{number} says: {line}");
        }
        fleet.backend(2)?.restart()?;
        for number in 1..=3 {
            wait_health(&fleet, number, &backend, "up")?;
        }
    }
    for load in loads {
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}
