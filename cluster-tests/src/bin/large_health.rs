//! What health costs where there is much of it: three nodes, a pool of 10,000 backends, 100 of which refuse, all checked
//! every 30 seconds by two nodes each, and each second who refuses.
//!
//! `large_health [SECONDS]` measures for so long (20), and prints for each node what it took of a CPU, what it sent by
//! gossip, and what memory the pool needs. It fails where a node is above the figures of `docs/benchmarks.md`. With release
//! binaries (`cargo run --release --bin large_health`), or it measures the compiler. What it is at goes to stderr.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Reply, Result, wait};

const BACKENDS: usize = 10_000;
const FAILING: usize = 100;

/// Between two looks at who is down: each tells of all backends.
const LOOK: Duration = Duration::from_millis(500);

/// The most that a node may take: per cent of a CPU, KiB a second of gossip, MiB for the pool.
const MOST: Figures = Figures {
    cpu: 15.0,
    gossip: 40.0,
    memory: 40.0,
};

#[derive(Debug, Clone, Copy)]
struct Figures {
    cpu: f64,
    gossip: f64,
    memory: f64,
}

fn main() -> Result {
    let seconds = match std::env::args().nth(1) {
        Some(text) => text.parse().context("SECONDS is a number")?,
        None => 20,
    };
    let start = Instant::now();
    let now_at = |what: &str| eprintln!("{:6.1} s: {what}", start.elapsed().as_secs_f64());
    now_at("starting three nodes");
    let mut fleet = Fleet::start(&Plan {
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    now_at(&format!("measuring them for {seconds} s, nearly empty"));
    let idle = measure(&mut fleet, seconds)?;
    tell("before", &idle);
    now_at("adding 10,000 backends in one transaction");
    let mut hand = fleet.node(1)?.manage()?;
    fill(&mut hand)?;
    now_at("waiting until all have found the 100 that refuse");
    let mut before = Vec::new();
    wait::for_true(
        "all nodes to have the failing ones down",
        wait::PATIENCE * 4,
        || {
            let nodes = fleet.nodes().iter();
            let down = nodes.map(|node| down(&mut node.manage()?));
            let down: Vec<_> = down.collect::<Result<_>>()?;
            if down != before {
                now_at(&format!("the nodes have {down:?} down"));
                before.clone_from(&down);
            }
            thread::sleep(LOOK);
            Ok(down == [FAILING; 3])
        },
    )?;
    now_at(&format!("measuring for {seconds} s"));
    let busy = measure(&mut fleet, seconds)?;
    tell("with 10,000 backends, 100 of them failing", &busy);
    let mut above = Vec::new();
    for (number, (busy, idle)) in busy.iter().zip(&idle).enumerate() {
        let memory = busy.memory - idle.memory;
        println!("n{}: {memory:.1} MiB for the pool", number + 1);
        if busy.cpu > MOST.cpu || busy.gossip > MOST.gossip || memory > MOST.memory {
            above.push(number + 1);
        }
    }
    drop(hand);
    fleet.passed()?;
    ensure!(above.is_empty(), "above {MOST:?}: nodes {above:?}");
    Ok(())
}

/// How many of the large pool's backends a node has down, of which there must be all.
fn down(manage: &mut Manage) -> Result<usize> {
    let lines = manage.data("health big")?;
    let count = lines.len();
    ensure!(count == BACKENDS, "it has {count} backends");
    Ok(lines.iter().filter(|line| line.contains(" down ")).count())
}

/// Makes the large pool.
fn fill(hand: &mut Manage) -> Result {
    // One listener serves every address of this machine.
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || listener.incoming().for_each(drop));
    hand.change("CREATE POOL big")?;
    for line in ["SET health_tcp = on", "SET health_interval = 30"] {
        hand.change(line)?;
    }
    let mut text = "begin\r\n".to_owned();
    for number in 0..BACKENDS {
        // Nobody listens on port 1.
        let port = if number < FAILING { 1 } else { port };
        let (high, low) = (number / 250, number % 250 + 1);
        write!(text, "POOL big ADD 127.20.{high}.{low}:{port}\r\n")?;
    }
    text.push_str("commit\r\n");
    hand.send(text.as_bytes())?;
    for _ in 0..BACKENDS + 2 {
        let reply = hand.reply()?;
        ensure!(reply == Reply::Ok, "{reply:?}");
    }
    Ok(())
}

fn tell(when: &str, all: &[Figures]) {
    for (number, figures) in all.iter().enumerate() {
        println!(
            "{when}: n{} takes {:.1} % of a CPU, sends {:.1} KiB/s by gossip, has {:.1} MiB",
            number + 1,
            figures.cpu,
            figures.gossip,
            figures.memory
        );
    }
}

/// What each node takes over so many seconds.
fn measure(fleet: &mut Fleet, seconds: u32) -> Result<Vec<Figures>> {
    let before = totals(fleet)?;
    let start = Instant::now();
    thread::sleep(Duration::from_secs(seconds.into()));
    let passed = start.elapsed().as_secs_f64();
    let after = totals(fleet)?;
    let all = before.iter().zip(&after);
    Ok(all
        .map(|(before, after)| Figures {
            cpu: (after.cpu - before.cpu) / passed * 100.0,
            gossip: (after.gossip - before.gossip) / passed / 1024.0,
            memory: after.memory,
        })
        .collect())
}

/// Seconds of CPU, bytes sent by gossip, MiB of memory.
fn totals(fleet: &mut Fleet) -> Result<Vec<Figures>> {
    (1..=fleet.nodes().len())
        .map(|number| {
            let metrics = fleet.node(number)?.metrics()?;
            let sent = metrics
                .lines()
                .find_map(|line| line.strip_prefix("fleetbal_gossip_sent_bytes_total "));
            let pid = fleet.process(number)?.pid();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let fields: Vec<_> = stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("no such field")?.parse()?) };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident
                .and_then(|text| text.trim().strip_suffix(" kB"))
                .context("no VmRSS")?;
            Ok(Figures {
                // User and system time, of which the kernel counts a hundred a second.
                cpu: (ticks(11)? + ticks(12)?) / 100.0,
                gossip: sent.context("no figure of gossip")?.parse()?,
                memory: kib.trim().parse::<f64>()? / 1024.0,
            })
        })
        .collect()
}
