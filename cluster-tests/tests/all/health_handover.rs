//! All checkers of a backend die at the same moment: others take over, and what happens to the backend meanwhile is found.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

use super::health_view::{checkers, longest_gap, wait_standing};

/// Between two checks by one node.
///
/// What is promised is that no gap between checks is longer than two of them. The last check may be as much as an interval
/// older than the death. Then the death has to be noticed: a node that was not heard for three rounds of gossip is not alive
/// any more, 1.2 s in a small fleet, and what was heard may have come by two others, a round each. Who takes over begins
/// within a quarter of an interval. That is an interval and a quarter and 2 s, and leaves some to a busy machine.
const INTERVAL: Duration = Duration::from_secs(4);

const NODES: usize = 5;

/// A fleet whose first backend is checked by so many nodes.
struct Scene {
    fleet: Fleet,
    backend: String,
    count: usize,
}

impl Scene {
    fn start(count: usize) -> Result<Self> {
        let seconds = INTERVAL.as_secs();
        let mut fleet = Fleet::start(&Plan {
            nodes: NODES,
            backends: 2,
            pooled: 2,
            extra: format!(
                "SET web.health_path = /ok\nSET web.health_interval = {seconds}\nSET web.health_checkers = {count}\n"
            ),
        })?;
        let backend = fleet.backend(1)?.address().to_string();
        Ok(Self {
            fleet,
            backend,
            count,
        })
    }

    /// The checks that the backend got, by whom and when.
    fn checks(&mut self) -> Result<Vec<(usize, Instant)>> {
        let backend = self.fleet.backend(1)?;
        // Noted behind the requests: there may be a request more by now.
        let arrivals = backend.arrivals();
        let requests = backend.requests();
        let mut checks = Vec::new();
        for (request, at) in requests.iter().zip(arrivals) {
            let node = request.checker().and_then(|name| name.strip_prefix('n'));
            checks.push((node.context("somebody else asks")?.parse()?, at));
        }
        Ok(checks)
    }

    /// Waits until all nodes that run agree on who checks, none of them dead, and each of those has checked twice more.
    fn wait_checked(&mut self, dead: &[usize]) -> Result<Vec<usize>> {
        let before = self.checks()?.len();
        wait::until("all to agree on who checks", wait::PATIENCE, || {
            let running = self.fleet.running();
            let mut found = Vec::new();
            for &node in &running {
                found.push(checkers(&self.fleet, node, &self.backend)?);
            }
            found.dedup();
            let [names] = found.as_slice() else {
                return Err(anyhow::anyhow!("they say {found:?}"));
            };
            let numbers: Vec<usize> = names
                .iter()
                .map(|name| Ok(name.trim_start_matches('n').parse()?))
                .collect::<Result<_>>()?;
            ensure!(
                numbers.len() == self.count && !numbers.iter().any(|it| dead.contains(it)),
                "{numbers:?} check it"
            );
            let checks = self.checks()?;
            let fresh = checks.get(before..).unwrap_or_default();
            let times = |number: &usize| fresh.iter().filter(|(who, _)| who == number).count();
            Ok(numbers.iter().all(|number| times(number) >= 2).then_some(numbers))
        })
    }

    /// Others check in the place of the dead, and soon.
    fn hand_over(&mut self) -> Result<Vec<usize>> {
        let dead = self.wait_checked(&[])?;
        let before = self.checks()?.len();
        let killed = Instant::now();
        self.fleet.kill_together(&dead)?;
        let heirs = self.wait_checked(&dead)?;
        let checks = self.checks()?;
        let mut fresh = checks.iter().skip(before);
        let first = fresh.find(|(who, _)| heirs.contains(who));
        let (_, first) = first.context("none of the heirs has checked")?;
        let first = first.saturating_duration_since(killed);
        let since = checks.get(before.saturating_sub(1)..).unwrap_or_default();
        let gap = longest_gap(&since.iter().map(|(_, at)| *at).collect::<Vec<_>>())?;
        println!("{dead:?} died, {heirs:?} took over: first check after {first:?}, longest gap {gap:?}");
        ensure!(first < INTERVAL, "nobody checked for {first:?} after the death");
        ensure!(gap < INTERVAL * 2, "nobody checked for {gap:?}");
        Ok(dead)
    }

    /// A backend that dies with its checkers is found by those that take over, and so is its return.
    fn find_dead_backend(&mut self) -> Result {
        let dead = self.wait_checked(&[])?;
        let killed = Instant::now();
        self.fleet.kill_together(&dead)?;
        self.fleet.backend(1)?.stop();
        let left = self.fleet.running();
        wait_standing(&self.fleet, &left, &self.backend, "down")?;
        let took = killed.elapsed();
        println!("{dead:?} and the backend died: known to all that are left after {took:?}");
        ensure!(took < INTERVAL * 2, "found after {took:?}");
        self.fleet.backend(1)?.restart()?;
        wait_standing(&self.fleet, &left, &self.backend, "up")?;
        dead.iter().try_for_each(|&node| self.fleet.restart(node))
    }
}

fn die_together(count: usize) -> Result {
    let mut scene = Scene::start(count)?;
    let dead = scene.hand_over()?;
    dead.iter().try_for_each(|&node| scene.fleet.restart(node))?;
    scene.fleet.wait_settled()?;
    ensure!(
        scene.wait_checked(&[])? == dead,
        "those that are back do not check again"
    );
    scene.find_dead_backend()?;
    scene.fleet.wait_settled()?;
    scene.fleet.passed()
}

#[test]
fn others_take_over_where_both_checkers_die_at_once() -> Result {
    die_together(2)
}

#[test]
fn another_one_takes_over_where_the_only_checker_dies() -> Result {
    die_together(1)
}
