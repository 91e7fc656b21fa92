//! A process that is killed while it writes, again and again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use openraft::impls::leader_id_adv::LeaderId;
use openraft::type_config::TypeConfigExt;
use tempfile::TempDir;

use super::*;

const KILLS: u64 = 12;
const TOLD_BEFORE_A_KILL: u64 = 40;

fn log_id(index: u64) -> LogId {
    let leader_id = LeaderId { term: 1, node_id: 1 };
    LogId { leader_id, index }
}

/// Every entry that was told to be durable is there after a kill, and no kill is taken for damage.
#[tokio::test]
async fn a_kill_loses_nothing_that_was_told_and_looks_like_no_damage() {
    let dir = TempDir::new().unwrap();
    let mut told = None;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::crash_tests::writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("WRITE_INTO", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Killed at another point of its work each time, with more of it under way.
        let enough = TOLD_BEFORE_A_KILL + 7 * round;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let durable = lines.filter_map(|line| line.unwrap().strip_prefix("durable ")?.parse::<u64>().ok());
        let mut seen = 0;
        for index in durable {
            told = told.max(Some(index));
            seen += 1;
            if seen == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= enough, "it ended by itself");
        let mut log = LogStore::open(dir.path()).unwrap();
        let state = log.get_log_state().await.unwrap();
        assert!(
            state.last_log_id.map(|id| id.index) >= told,
            "{state:?}, {told:?} was told"
        );
        let entries = log.try_get_log_entries(..).await.unwrap();
        let first = state.last_purged_log_id.map_or(0, |id| id.index + 1);
        let last = state.last_log_id.unwrap().index;
        assert!(entries.iter().map(|entry| entry.log_id.index).eq(first..=last));
        let vote = log.read_vote().await.unwrap().unwrap();
        assert!(vote.leader_id.term >= told.unwrap() / 10 * 10, "{vote:?}");
    }
}

/// Tells each index once it is durable; votes before each tenth; cuts off some that it had not told of; purges.
#[tokio::test]
#[ignore = "started by the test above, which kills it"]
async fn writes_until_it_is_killed() {
    let mut log = LogStore::open(Path::new(&std::env::var("WRITE_INTO").unwrap())).unwrap();
    let last = log.get_log_state().await.unwrap().last_log_id;
    let begin = last.map_or(0, |id| id.index + 1);
    for index in begin.. {
        if index.is_multiple_of(10) || index == begin {
            log.save_vote(&Vote::new(index / 10 * 10, 1)).await.unwrap();
        }
        if index.is_multiple_of(13) && index > 0 {
            let more = (index..index + 3).map(|n| entry(n, 20_000)).collect();
            append(&mut log, more).await;
            log.truncate_after(Some(log_id(index - 1))).await.unwrap();
        }
        if index.is_multiple_of(50) && index > 100 {
            log.purge(log_id(index - 60)).await.unwrap();
        }
        let size = usize::try_from(index % 7 * 3000).unwrap();
        append(&mut log, vec![entry(index, size)]).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "durable {index}").unwrap();
        out.flush().unwrap();
    }
}

fn entry(index: u64, size: usize) -> LogEntry {
    LogEntry {
        log_id: log_id(index),
        payload: openraft::EntryPayload::Normal(crate::types::LogCommand(vec![7; size])),
    }
}

async fn append(log: &mut LogStore, entries: Vec<LogEntry>) {
    let (told, durable) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(told)).await.unwrap();
    durable.await.unwrap().unwrap();
}
