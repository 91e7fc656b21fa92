//! What is on the screen, in terminals of several sizes.

use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::super::board::tests::{filled, node, own};
use super::super::event::Happened;
use super::super::report::{Health, Own};
use super::*;

/// A board of a fleet whose third node is dead, with some traffic.
fn board() -> Board {
    let mut board = filled();
    board.note(Happened {
        at: "12:00:01".to_owned(),
        text: "node n3 is dead, voter".to_owned(),
        tone: Tone::Bad,
    });
    board
}

/// A board of so many nodes and backends.
fn large(many: usize) -> Board {
    let mut board = board();
    let own = Own {
        health: (0..many)
            .map(|number| Health {
                pool: "web".to_owned(),
                backend: format!("10.0.1.{number}:80"),
                state: "up".to_owned(),
                since: 1,
                reason: None,
            })
            .collect(),
        ..own(0)
    };
    board.hear_own(own, Instant::now());
    board.fleet.nodes = (0..many)
        .map(|number| node(&format!("m{number:03}"), "alive", 0))
        .collect();
    board
}

fn shown(board: &Board, view: &mut View, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, board, view, "10.0.0.1:60000", "12:00:02"))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(usize::from(width));
    cells
        .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>())
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn press(view: &mut View, board: &Board, code: KeyCode) {
    view.typed(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), board);
}

#[test]
fn a_fleet_fits_into_eighty_columns() {
    let lines = shown(&board(), &mut View::default(), (80, 24));
    let expected = [
        "fleet acme, leader n1, version 4, quorum 2/3, tolerates 0, not in sync",
        "12:00:02, as n1 at 10.0.0.1:60000 sees it",
        "> Nodes 3 ──────────────────────────────────────────────────────────────────────",
        "NODEv  STATE  ROLE    VERSION  LAG  REQ/S  CONN  QUEUED  CPU%  READY",
        "n1     alive  leader        4    0   20.0     2       0     7  yes",
        "n2     alive  voter         4    0    0.0     2       0     7  yes",
        "n3     dead   voter         4    0    0.0     2       0     7  no",
        "─ Backends 2 ───────────────────────────────────────────────────────────────────",
        "POOLv  BACKEND      STATE  SINCE  REQ/S  5XX%  FAILED  CONN  REASON",
        "web    10.0.0.1:80  up      75 s   10.0  25.0       3     3",
        "web    10.0.0.2:80  down    75 s      -     -       0     0  Connection refused",
        "─ Queues 1 ─────────────────────────────────────────────────────────────────────",
        "SERVICEv  HIGH  NORMAL  LOW",
        "www          0       0    0",
        "─ Events 1 ─────────────────────────────────────────────────────────────────────",
        "12:00:01  node n3 is dead, voter",
    ];
    assert_eq!(&lines[..16], expected);
    assert_eq!(lines[23], FOOTER);
}

#[test]
fn what_is_in_focus_gets_the_room_and_is_scrolled() {
    let board = large(100);
    let mut view = View::default();
    let lines = shown(&board, &mut view, (80, 24));
    let all = lines.join("\n");
    for title in [
        "> Nodes 1-11 of 100",
        "─ Backends 1-1 of 100",
        "─ Queues 1",
        "─ Events 1",
    ] {
        assert!(all.contains(title), "{title}: {all}");
    }
    press(&mut view, &board, KeyCode::Tab);
    press(&mut view, &board, KeyCode::End);
    let all = shown(&board, &mut view, (80, 24)).join("\n");
    assert!(all.contains("> Backends 90-100 of 100"), "{all}");
    press(&mut view, &board, KeyCode::PageUp);
    let all = shown(&board, &mut view, (80, 24)).join("\n");
    assert!(all.contains("> Backends 79-89 of 100"), "{all}");
    press(&mut view, &board, KeyCode::Up);
    // A larger window shows all that fits.
    let all = shown(&board, &mut view, (200, 250)).join("\n");
    assert!(
        all.contains("> Backends 100 ") && all.contains("Nodes 100 "),
        "{all}"
    );
}

#[test]
fn a_small_terminal_shows_one_table_and_no_size_fails() {
    let board = large(30);
    let mut view = View::default();
    press(&mut view, &board, KeyCode::Left);
    let lines = shown(&board, &mut view, (40, 8));
    assert!(lines[2].starts_with("> Events 1 "), "{lines:?}");
    view.wants_help = true;
    for width in [1, 2, 10, 79, 300] {
        for height in 1..40 {
            for _ in Panel::ALL {
                press(&mut view, &board, KeyCode::Tab);
                shown(&board, &mut view, (width, height));
            }
        }
    }
}

#[test]
fn a_pause_keeps_what_is_shown_and_a_loss_is_told_all_the_same() {
    let mut board = board();
    let mut view = View::default();
    press(&mut view, &board, KeyCode::Char('p'));
    board.hear_own(
        Own {
            effects: vec!["n2  www  failed  3  cannot listen".to_owned()],
            ..own(0)
        },
        Instant::now(),
    );
    board.fleet.version = 5;
    board.link = Link::Lost("no answer from 10.0.0.1:60000: Connection refused".to_owned());
    let lines = shown(&board, &mut view, (100, 24));
    assert!(lines[0].contains("version 4"), "{lines:?}");
    let told =
        "paused (p goes on), 12:00:02, trying again: no answer from 10.0.0.1:60000: Connection refused";
    assert_eq!(lines[1], told);
    press(&mut view, &board, KeyCode::Char('p'));
    board.link = Link::Live;
    let lines = shown(&board, &mut view, (100, 24));
    assert!(lines[0].contains("version 5"), "{lines:?}");
    assert!(
        lines[1].ends_with("cannot: n2 www failed 3 cannot listen"),
        "{lines:?}"
    );
}

#[test]
fn the_help_names_the_keys() {
    let mut view = View::default();
    let board = Board::default();
    press(&mut view, &board, KeyCode::Char('?'));
    let all = shown(&board, &mut view, (80, 24)).join("\n");
    for (key, what) in KEYS {
        assert!(all.contains(key) && all.contains(what), "{key}: {all}");
    }
    let empty = shown(&board, &mut View::default(), (80, 24)).join("\n");
    for panel in Panel::ALL {
        assert!(empty.contains(panel.when_empty()), "{empty}");
    }
}
