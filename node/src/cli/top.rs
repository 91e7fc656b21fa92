//! `fleetbal top`: the fleet as it is now, on a terminal; where there is none, once, as text or as JSON.

mod board;
mod draw;
mod event;
mod grid;
mod panels;
mod report;
mod screen;
mod view;
mod watch;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::client::{ClientError, Server, print_lines};
use super::exit;
use board::{BackendRow, Board, NodeRow};
use grid::{Cell, Sort};
use panels::{Panel, summary, troubles};
use report::{AskError, Fleet, Own, Queue};
use screen::ScreenError;

/// The fleet as it is now.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fleetbal top\n  \
    fleetbal top --server 10.0.0.2:60000 --interval 0.5\n  \
    fleetbal top --once\n  \
    fleetbal top --json | jq .backends\n\n\
    REQ/S is over the last five seconds; 5XX% is of each node's last 500 answers; FAILED counts connections to a\n\
    backend that did not come about. A backend in several pools has the figures of all of them. Keys: ? lists them.")]
pub(super) struct TopArgs {
    #[command(flatten)]
    server: Server,

    /// How often to look, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,

    /// Print one picture as text and leave, as is done where standard output is no terminal
    #[arg(long)]
    once: bool,

    /// The same as one line of JSON
    #[arg(long)]
    json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if (0.1..=3600.0).contains(&seconds) => Ok(interval),
        _ => Err("between 0.1 and 3600 seconds".to_owned()),
    }
}

/// Why it ended otherwise than asked for.
#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Screen(#[from] ScreenError),
}

pub(super) fn run(args: &TopArgs) -> ExitCode {
    match show(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetbal: {error}");
            ExitCode::from(match error {
                TopError::Ask(AskError::Client(ClientError::NoAnswer { .. })) => exit::NO_ANSWER,
                TopError::Ask(AskError::Client(ClientError::Secret { .. })) => exit::USAGE,
                TopError::Ask(AskError::Refused(_) | AskError::NoNode(_)) | TopError::Screen(_) => {
                    exit::FAILED
                }
            })
        }
    }
}

fn show(args: &TopArgs) -> Result<(), TopError> {
    // Whether there is anything to show is known before the terminal is touched.
    let first = report::own(&args.server)?;
    if !args.once && !args.json && io::stdout().is_terminal() {
        return Ok(screen::run(&args.server, args.interval, first)?);
    }
    let board = once(&args.server, args.interval, first)?;
    print_lines(&if args.json { json(&board) } else { text(&board) });
    Ok(())
}

/// Two looks, since requests a second take two.
fn once(server: &Server, interval: Duration, first: Own) -> Result<Board, AskError> {
    let mut board = Board::default();
    board.hear_own(first, Instant::now());
    board.hear_all(report::of_all(server)?, Instant::now());
    thread::sleep(interval);
    board.hear_own(report::own(server)?, Instant::now());
    board.hear_all(report::of_all(server)?, Instant::now());
    Ok(board)
}

#[derive(Debug, Serialize)]
struct Picture<'a> {
    #[serde(flatten)]
    fleet: Fleet,
    nodes: Vec<NodeRow>,
    backends: Vec<BackendRow>,
    queues: &'a [Queue],
    effects: &'a [String],
}

fn json(board: &Board) -> Vec<String> {
    let picture = Picture {
        fleet: Fleet {
            nodes: Vec::new(),
            ..board.fleet.clone()
        },
        nodes: board.nodes(),
        backends: board.backends(),
        queues: &board.queues,
        effects: &board.effects,
    };
    // Text and finite numbers only: there is nothing that could fail.
    vec![serde_json::to_string(&picture).unwrap_or_default()]
}

/// All rows, as wide as they are.
fn text(board: &Board) -> Vec<String> {
    let line = |cells: &[Cell]| {
        let text: String = cells.iter().map(|cell| cell.text.as_str()).collect();
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&summary(&board.fleet))];
    lines.extend(troubles(board));
    for panel in [Panel::Nodes, Panel::Backends, Panel::Queues] {
        let grid = panel.grid(board, Sort::default());
        lines.push(String::new());
        lines.push(grid.titles.trim_end().to_owned());
        lines.extend(grid.rows.iter().map(|row| line(row)));
        if grid.rows.is_empty() {
            lines.push(panel.when_empty().to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::board::tests::filled;
    use super::*;

    #[test]
    fn without_a_terminal_it_is_text() {
        let expected = "\
fleet acme, leader n1, version 4, quorum 2/3, tolerates 0, not in sync

NODEv  STATE  ROLE    VERSION  LAG  REQ/S  CONN  QUEUED  CPU%  READY
n1     alive  leader        4    0   20.0     2       0     7  yes
n2     alive  voter         4    0    0.0     2       0     7  yes
n3     dead   voter         4    0    0.0     2       0     7  no

POOLv  BACKEND      STATE  SINCE  REQ/S  5XX%  FAILED  CONN  REASON
web    10.0.0.1:80  up      75 s   10.0  25.0       3     3
web    10.0.0.2:80  down    75 s      -     -       0     0  Connection refused

SERVICEv  HIGH  NORMAL  LOW
www          0       0    0";
        assert_eq!(text(&filled()).join("\n"), expected);
    }

    #[test]
    fn as_json_it_has_the_same_figures() {
        let lines = json(&filled());
        let picture: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(picture["leader"], "n1");
        assert_eq!(picture["nodes"][0]["name"], "n1");
        assert_eq!(picture["nodes"][0]["requests_per_second"], 20.0);
        assert_eq!(picture["nodes"].as_array().map(Vec::len), Some(3));
        assert_eq!(picture["backends"][0]["percent_5xx"], 25.0);
        assert_eq!(picture["queues"][0]["normal"]["count"], 0);
    }

    #[test]
    fn an_interval_is_a_time() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "x", "0", "-1", "NaN", "1e99", "3601"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
