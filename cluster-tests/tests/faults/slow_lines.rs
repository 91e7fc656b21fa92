//! Lines between members that take their time: each member is reached through a relay of the tests' own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fleetbal_cluster_tests::relay::Relay;
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, oracle, wait};

/// Each way, as between places that are some thousand kilometres apart.
const FAR: Duration = Duration::from_millis(15);

/// Longer than a leader may go without an answer.
const TOO_FAR: Duration = Duration::from_millis(500);

/// Where a member's relay listens: in its net, far from nodes and backends. Its traffic is there too, since it takes the
/// advertised address for its own; that does not go through the relay.
fn relay_of(node: SocketAddr) -> Result<SocketAddr> {
    let IpAddr::V4(ip) = node.ip() else {
        bail!("nets of tests are IPv4");
    };
    let [first, second, third, last] = ip.octets();
    Ok(SocketAddr::new(
        [first, second, third, last + 200].into(),
        node.port(),
    ))
}

/// Three members that know each other by their relays' addresses.
fn fleet_behind_relays() -> Result<(Fleet, Vec<Relay>)> {
    let mut fleet = Fleet::prepare(&Plan::default())?;
    let mut relays = Vec::new();
    for number in 1..=3 {
        let node = fleet.node(number)?.cluster();
        relays.push(Relay::start(relay_of(node)?, node)?);
        let mut flags = if number == 1 {
            let config = fleet.config_path().display().to_string();
            let mut flags = fleet.place_flags(1)?;
            flags.extend(["--init", "--cluster", "acme", "--config", &config].map(str::to_owned));
            flags
        } else {
            fleet.join_flags(number, &fleet.token("")?)?
        };
        let at = flags.iter().position(|flag| flag == "--advertise");
        let advertised = at
            .and_then(|at| flags.get_mut(at + 1))
            .context("no --advertise")?;
        *advertised = relay_of(node)?.to_string();
        fleet.launch(number, flags)?;
    }
    fleet.wait_settled()?;
    Ok((fleet, relays))
}

fn delay_all(relays: &[Relay], delay: Duration) {
    for relay in relays {
        relay.delay(delay);
    }
}

fn term(fleet: &Fleet) -> Result<u64> {
    let status = fleet.node(1)?.status()?;
    status.node("n1", "term")?.as_u64().context("no term")
}

#[test]
fn far_apart_they_are_slower_and_too_far_apart_they_refuse_truthfully() -> Result {
    let (fleet, relays) = fleet_behind_relays()?;
    let loads = (1..=3)
        .map(|number| Load::start(relay_of(fleet.node(number)?.traffic())?, 2))
        .collect::<Result<Vec<_>>>()?;
    delay_all(&relays, FAR);
    let before = term(&fleet)?;
    for round in 0..20 {
        let begin = Instant::now();
        let line = format!("CREATE POOL far{round}");
        fleet.node(round % 3 + 1)?.manage()?.change(&line)?;
        let took = begin.elapsed();
        ensure!(
            took >= FAR * 2,
            "there and back within {took:?}: there is no delay"
        );
    }
    ensure!(term(&fleet)? == before, "an election, for no more than a delay");

    delay_all(&relays, TOO_FAR);
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    wait::for_true("a change to be refused", wait::PATIENCE, || {
        for number in 1..=3 {
            let name = format!("toofar{}", taken.len() + refused.len());
            let line = format!("CREATE POOL {name}");
            match fleet.node(number)?.manage()?.change(&line) {
                Ok(()) => taken.push(name),
                Err(error) => refused.push((name, error.to_string())),
            }
        }
        let unchanged = |(_, why): &(String, String)| why.contains("nothing was changed");
        Ok(refused.iter().any(unchanged))
    })?;
    delay_all(&relays, Duration::ZERO);
    fleet.wait_settled()?;
    let dump = oracle::same_bytes(fleet.nodes())?;
    let has = |name: &str| dump.contains(&format!("CREATE POOL {name}\n"));
    for name in &taken {
        ensure!(has(name), "{name} was acknowledged and is lost");
    }
    for (name, why) in &refused {
        let is_undecided = why.contains("outcome unknown");
        ensure!(
            is_undecided || !has(name),
            "{name} is there, and it was told: {why}"
        );
    }
    for load in loads {
        load.pass(20)?;
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}
