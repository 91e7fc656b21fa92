//! What is broken, when, and for how long.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::world::World;
use fleetbal_cluster_tests::{Fleet, Load, Result, oracle, wait};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::typist::Typists;

/// The member that comes and goes.
const GUEST: usize = 4;

/// How long a removed node may drain.
const LEAVING: Duration = Duration::from_secs(40);

pub(super) struct Schedule<'w> {
    fleet: Fleet,
    world: &'w World,
    rng: StdRng,
    loads: BTreeMap<usize, Load>,
    begin: Instant,
    steps: Vec<String>,
    requests: u64,
}

impl<'w> Schedule<'w> {
    /// For a fleet of three, and a place for one more.
    pub(super) fn new(fleet: Fleet, world: &'w World, seed: u64) -> Result<Self> {
        ensure!(fleet.nodes().len() == GUEST, "another number of members");
        let mut schedule = Self {
            fleet,
            world,
            rng: StdRng::seed_from_u64(seed),
            loads: BTreeMap::new(),
            begin: Instant::now(),
            steps: Vec::new(),
            requests: 0,
        };
        for number in schedule.fleet.running() {
            schedule.load(number)?;
        }
        Ok(schedule)
    }

    /// Breaks and mends for that long.
    pub(super) fn run(&mut self, time: Duration, typists: &Typists) -> Result {
        while self.begin.elapsed() < time {
            typists.use_registers_from(self.begin.elapsed().as_secs() * super::REGISTERS_A_SECOND);
            self.one_fault()?;
            self.pause(300..1_200);
        }
        Ok(())
    }

    /// What was done so far.
    pub(super) fn told(&self) -> String {
        format!(
            "{}\n{} requests at live nodes",
            self.steps.join("\n"),
            self.requests
        )
    }

    /// Mends all, and sees that no request failed; how many there were.
    pub(super) fn end(mut self) -> Result<(Fleet, u64)> {
        self.world.heal()?;
        let settled = self.fleet.wait_settled();
        settled.with_context(|| format!("the dumps say: {:?}", self.same_bytes().map(drop)))?;
        for number in self.fleet.running() {
            self.unload(number)?;
        }
        Ok((self.fleet, self.requests))
    }

    fn same_bytes(&self) -> Result<String> {
        let running = self.fleet.running().into_iter();
        let nodes = running
            .map(|number| self.fleet.node(number))
            .collect::<Result<Vec<_>>>()?;
        oracle::same_bytes(nodes)
    }

    fn one_fault(&mut self) -> Result {
        let victim = self.anybody()?;
        match self.rng.random_range(0..11) {
            0 | 1 => self.kill(victim),
            2 => self.freeze(victim),
            3 => self.isolate(victim),
            4 => self.cut_one_way(victim),
            5 => self.lose(),
            6 => self.restart_all(),
            7 => self.transfer(victim),
            8 => self.move_votes(victim),
            9 => self.guest(),
            _ => self.cut_and_kill(victim),
        }
    }

    fn kill(&mut self, victim: usize) -> Result {
        self.tell(format_args!("kill -9 n{victim}"));
        self.unload(victim)?;
        self.fleet.kill(victim)?;
        self.pause(200..2_500);
        self.fleet.restart(victim)?;
        self.load(victim)
    }

    fn freeze(&mut self, victim: usize) -> Result {
        self.tell(format_args!("kill -STOP n{victim}"));
        self.unload(victim)?;
        self.fleet.freeze(victim)?;
        self.pause(200..3_000);
        self.fleet.thaw(victim)?;
        self.load(victim)
    }

    fn isolate(&mut self, victim: usize) -> Result {
        self.tell(format_args!("cut n{victim} off"));
        self.world.isolate(small(victim)?)?;
        self.pause(300..3_000);
        self.world.heal()
    }

    fn cut_one_way(&mut self, victim: usize) -> Result {
        let other = self.anybody_but(victim)?;
        self.tell(format_args!("nothing from n{victim} arrives at n{other}"));
        self.world.cut_one_way(small(victim)?, small(other)?)?;
        self.pause(300..3_000);
        self.world.heal()
    }

    fn lose(&mut self) -> Result {
        let percent = self.rng.random_range(5..30);
        self.tell(format_args!("{percent} of 100 packets are lost"));
        self.world.lose(percent)?;
        self.pause(300..3_000);
        self.world.heal()
    }

    fn restart_all(&mut self) -> Result {
        self.tell("kill -9 of all");
        let all = self.fleet.running();
        for &number in &all {
            self.unload(number)?;
        }
        self.fleet.kill_together(&all)?;
        for &number in &all {
            let flags = self.fleet.node(number)?.flags.clone();
            self.fleet.launch_only(number, flags)?;
        }
        for &number in &all {
            self.fleet.wait_answers(number)?;
            self.load(number)?;
        }
        Ok(())
    }

    fn transfer(&mut self, heir: usize) -> Result {
        self.say(&format!("cluster transfer n{heir}"))
    }

    fn move_votes(&mut self, victim: usize) -> Result {
        self.say(&format!("cluster demote n{victim}"))?;
        self.pause(100..1_500);
        self.say(&format!("cluster promote n{victim}"))
    }

    /// The fourth member joins, or is removed.
    fn guest(&mut self) -> Result {
        if self.fleet.running().contains(&GUEST) {
            self.tell(format_args!("cluster remove n{GUEST}"));
            self.unload(GUEST)?;
            self.insist(&format!("cluster remove n{GUEST}"))?;
            let code = self.fleet.wait_gone(GUEST, LEAVING)?;
            ensure!(code == Some(0), "the removed n{GUEST} ended with {code:?}");
            fs::remove_dir_all(&self.fleet.node(GUEST)?.data)?;
            return Ok(());
        }
        self.tell(format_args!("n{GUEST} joins"));
        let token = wait::until("a token", wait::PATIENCE, || Ok(Some(self.fleet.token("")?)))?;
        self.fleet.join(GUEST, &token)?;
        self.load(GUEST)
    }

    /// Two things at a time: no majority is left of three.
    fn cut_and_kill(&mut self, victim: usize) -> Result {
        let other = self.anybody_but(victim)?;
        self.tell(format_args!("cut n{victim} off, and then kill -9 n{other}"));
        self.world.isolate(small(victim)?)?;
        self.pause(0..500);
        self.unload(other)?;
        self.fleet.kill(other)?;
        self.pause(200..2_000);
        self.world.heal()?;
        self.fleet.restart(other)?;
        self.load(other)
    }

    /// Types something at any node; it may be refused.
    fn say(&mut self, line: &str) -> Result {
        let node = self.anybody()?;
        let reply = self.fleet.node(node)?.manage()?.ask(line)?;
        self.tell(format_args!("{line} at n{node}: {reply:?}"));
        Ok(())
    }

    /// Types something until it is done.
    fn insist(&self, line: &str) -> Result {
        wait::for_true(line, wait::PATIENCE * 2, || {
            self.fleet.node(1)?.manage()?.change(line)?;
            Ok(true)
        })
    }

    /// Traffic as a VIP would send it: from when the node says that it is ready.
    fn load(&mut self, number: usize) -> Result {
        wait::for_true(format!("n{number} to be ready"), wait::PATIENCE, || {
            self.fleet.node(number)?.ready()
        })?;
        let load = Load::start(self.fleet.node(number)?.traffic(), 2)?;
        self.loads.insert(number, load);
        Ok(())
    }

    fn unload(&mut self, number: usize) -> Result {
        if let Some(load) = self.loads.remove(&number) {
            let report = load.finish();
            self.requests += report.answered;
            report
                .expect_flawless()
                .with_context(|| format!("traffic at n{number}"))?;
        }
        Ok(())
    }

    fn anybody(&mut self) -> Result<usize> {
        self.anybody_but(0)
    }

    fn anybody_but(&mut self, not: usize) -> Result<usize> {
        let mut others = self.fleet.running();
        others.retain(|&number| number != not);
        let index = self.rng.random_range(0..others.len());
        others.get(index).copied().context("nobody runs")
    }

    fn pause(&mut self, millis: std::ops::Range<u64>) {
        thread::sleep(Duration::from_millis(self.rng.random_range(millis)));
    }

    fn tell(&mut self, step: impl std::fmt::Display) {
        self.steps
            .push(format!("{:7.3} {step}", self.begin.elapsed().as_secs_f64()));
    }
}

fn small(number: usize) -> Result<u8> {
    Ok(u8::try_from(number)?)
}
