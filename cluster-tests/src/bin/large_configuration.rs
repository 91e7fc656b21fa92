//! What management commands cost where the configuration is large: a pool of 10,000 backends beside 1,000 services.
//!
//! `large_configuration [ROUNDS]` founds three nodes, types each command ROUNDS times (20) at a follower, and prints the
//! median and the longest time until it was answered in full; then how many changes a second go through in transactions
//! of 100. It fails where a median is above 50 ms, or fewer than 1,000 changes a second go through. With release binaries
//! (`cargo run --release --bin large_configuration`), or it measures the compiler.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Reply, Result};

const BACKENDS: usize = 10_000;
const SERVICES: usize = 1_000;

/// The most that a command may take, at the median.
const LIMIT: Duration = Duration::from_millis(50);

/// Changes of one transaction, and how many transactions are timed.
const CHANGES: usize = 100;
const TRANSACTIONS: usize = 50;

/// The fewest changes a second.
const PACE: f64 = 1_000.0;

fn large() -> Result<String> {
    let mut text = "CREATE POOL big\n".to_owned();
    for number in 0..BACKENDS {
        writeln!(text, "POOL big ADD 10.1.{}.{}:80", number / 250, number % 250)?;
    }
    for number in 0..SERVICES {
        writeln!(
            text,
            "CREATE SERVICE s{number}\nSET role = reverse_proxy\nSET pool = big"
        )?;
    }
    Ok(text)
}

fn main() -> Result {
    let rounds = match std::env::args().nth(1) {
        Some(text) => text.parse().context("ROUNDS is a number")?,
        None => 20,
    };
    let fleet = Fleet::start(&Plan {
        backends: 1,
        pooled: 1,
        extra: large()?,
        ..Plan::default()
    })?;
    let typist = *fleet.followers()?.first().context("no follower")?;
    let mut hand = fleet.node(typist)?.manage()?;
    let version = fleet.node(typist)?.version()?;
    let commands = [
        vec![
            "POOL big ADD 10.9.9.9:80".to_owned(),
            "POOL big REMOVE 10.9.9.9:80".to_owned(),
        ],
        vec![
            "POOL big DRAIN 10.1.20.0:80".to_owned(),
            "POOL big UNDRAIN 10.1.20.0:80".to_owned(),
        ],
        vec![
            "SET s500.idle_timeout = 7".to_owned(),
            format!("config rollback {version}"),
        ],
        vec!["config history 100".to_owned()],
        vec![format!("config show {}", version + 1)],
        vec![format!("config diff {version} {}", version + 2)],
        vec!["config verify".to_owned()],
        vec!["config version".to_owned()],
        vec!["show service".to_owned()],
        vec!["show service s500".to_owned()],
        vec!["show pool big".to_owned()],
        vec!["dumpconfig".to_owned()],
        vec!["cluster status".to_owned()],
    ];
    let mut slow = Vec::new();
    for lines in &commands {
        let mut times = vec![Vec::new(); lines.len()];
        for _ in 0..rounds {
            for (line, times) in lines.iter().zip(&mut times) {
                times.push(time(&mut hand, line)?);
            }
        }
        for (line, mut times) in lines.iter().zip(times) {
            times.sort_unstable();
            let median = *times.get(times.len() / 2).context("nothing was measured")?;
            let longest = *times.last().context("nothing was measured")?;
            println!("{line}: median {median:.2?}, longest {longest:.2?}");
            slow.extend((median > LIMIT).then_some(line));
        }
    }
    let pace = pace(&mut hand)?;
    println!("in transactions of {CHANGES}: {pace:.0} changes a second");
    drop(hand);
    fleet.passed()?;
    ensure!(slow.is_empty(), "above {LIMIT:?}: {slow:?}");
    ensure!(pace >= PACE, "fewer than {PACE} changes a second");
    Ok(())
}

fn time(hand: &mut Manage, line: &str) -> Result<Duration> {
    let start = Instant::now();
    let reply = hand.ask(line)?;
    let took = start.elapsed();
    ensure!(
        !matches!(reply, Reply::Error(_)),
        "'{line}' was answered {reply:?}"
    );
    Ok(took)
}

/// Changes a second through one connection, all lines of a transaction sent at once.
fn pace(hand: &mut Manage) -> Result<f64> {
    let start = Instant::now();
    for round in 0..TRANSACTIONS {
        let mut text = "begin\r\n".to_owned();
        for number in 0..CHANGES {
            write!(text, "SET s{number}.queue_limit = {}\r\n", round + 1)?;
        }
        text.push_str("commit\r\n");
        hand.send(text.as_bytes())?;
        for _ in 0..CHANGES + 2 {
            let reply = hand.reply()?;
            ensure!(reply == Reply::Ok, "{reply:?}");
        }
    }
    let changes = f64::from(u32::try_from(TRANSACTIONS * CHANGES)?);
    Ok(changes / start.elapsed().as_secs_f64())
}
