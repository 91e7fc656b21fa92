//! What is shown in which table.

use std::cmp::Ordering;
use std::time::Duration;

use super::board::{BackendRow, Board, NodeRow};
use super::grid::{Cell, Column, Grid, Sort, Tone, printable};
use super::report::{Fleet, Queue, Waiting};
use crate::clock;

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Panel {
    /// The nodes of the fleet.
    #[default]
    Nodes,
    /// The backends of all pools.
    Backends,
    /// Who waits.
    Queues,
    /// What has happened.
    Events,
}

impl Panel {
    /// From top to bottom.
    pub(super) const ALL: [Self; 4] = [Self::Nodes, Self::Backends, Self::Queues, Self::Events];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Nodes => "Nodes",
            Self::Backends => "Backends",
            Self::Queues => "Queues",
            Self::Events => "Events",
        }
    }

    /// Its place among all.
    pub(super) fn place(self) -> usize {
        Self::ALL
            .iter()
            .position(|panel| *panel == self)
            .unwrap_or_default()
    }

    /// The one below, or the first.
    pub(super) fn next(self) -> Self {
        Self::ALL.get(self.place() + 1).copied().unwrap_or_default()
    }

    /// The one above, or the last.
    pub(super) fn previous(self) -> Self {
        let above = self.place().checked_sub(1).unwrap_or(Self::ALL.len() - 1);
        Self::ALL.get(above).copied().unwrap_or_default()
    }

    /// Sorts it by its next column.
    pub(super) fn sort(self, sort: &mut Sort) {
        match self {
            Self::Nodes => sort.next(&NODES),
            Self::Backends => sort.next(&BACKENDS),
            Self::Queues => sort.next(&QUEUES),
            Self::Events => {}
        }
    }

    /// Its rows; those of the events need no titles.
    pub(super) fn grid(self, board: &Board, sort: Sort) -> Grid {
        match self {
            Self::Nodes => Grid::of(board.nodes(), &NODES, sort),
            Self::Backends => Grid::of(board.backends(), &BACKENDS, sort),
            Self::Queues => Grid::of(board.queues.clone(), &QUEUES, sort),
            Self::Events => Grid {
                titles: String::new(),
                rows: board
                    .happened
                    .iter()
                    .map(|happened| {
                        let at = Cell::new(format!("{}  ", happened.at), Tone::Soft);
                        vec![at, Cell::new(&happened.text, happened.tone)]
                    })
                    .collect(),
            },
        }
    }

    /// What is said where there is no row.
    pub(super) fn when_empty(self) -> &'static str {
        match self {
            Self::Nodes => "nobody is known",
            Self::Backends => "no pool has any",
            Self::Queues => "no service has one",
            Self::Events => "nothing has happened since this began",
        }
    }
}

/// The fleet in a line.
pub(super) fn summary(fleet: &Fleet) -> Vec<Cell> {
    let quorum = &fleet.quorum;
    let good = |is_good: bool| if is_good { Tone::Good } else { Tone::Bad };
    let (sync, name) = (
        if fleet.in_sync { "in sync" } else { "not in sync" },
        fleet.cluster.as_deref(),
    );
    let plain = |text: String| Cell::new(text, Tone::Plain);
    vec![
        plain(name.map_or("a node alone, leader ".to_owned(), |name| {
            format!("fleet {name}, leader ")
        })),
        Cell::new(
            fleet.leader.as_deref().unwrap_or("unknown"),
            good(fleet.leader.is_some()),
        ),
        plain(format!(", version {}, quorum ", fleet.version)),
        Cell::new(
            format!("{}/{}", quorum.reachable, quorum.voters),
            good(quorum.ok && quorum.reachable == quorum.voters),
        ),
        plain(format!(", tolerates {}, ", quorum.tolerates)),
        Cell::new(sync, good(fleet.in_sync)),
    ]
}

/// What nodes cannot do of the configuration, in a line.
pub(super) fn troubles(board: &Board) -> Option<String> {
    let first = board.effects.first()?;
    let words: Vec<_> = first.split_whitespace().collect();
    let more = match board.effects.len() {
        1 => String::new(),
        effects => format!(" (and {} more: `effects`)", effects - 1),
    };
    Some(printable(&format!("cannot: {}{more}", words.join(" "))))
}

/// Figures in full, without digits that say nothing.
fn figure(value: Option<f64>) -> Cell {
    Cell::known(value.map(|value| {
        if value < 100.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.0}")
        }
    }))
}

fn state(state: &str) -> Cell {
    Cell::new(state, Tone::of_state(state))
}

/// The most first; what is not known last.
fn most<T: PartialOrd + Copy>(one: Option<T>, other: Option<T>) -> Ordering {
    other.partial_cmp(&one).unwrap_or(Ordering::Equal)
}

/// Trouble first.
fn trouble(one: &str, other: &str) -> Ordering {
    let rank = |state: &str| match Tone::of_state(state) {
        Tone::Bad => 0,
        Tone::Warning => 1,
        Tone::Plain | Tone::Good | Tone::Soft => 2,
    };
    rank(one).cmp(&rank(other))
}

const fn column<R>(
    title: &'static str,
    cell: fn(&R) -> Cell,
    order: Option<fn(&R, &R) -> Ordering>,
) -> Column<R> {
    Column {
        title,
        at_right: false,
        cell,
        order,
    }
}

const fn number<R>(
    title: &'static str,
    cell: fn(&R) -> Cell,
    order: Option<fn(&R, &R) -> Ordering>,
) -> Column<R> {
    Column {
        at_right: true,
        ..column(title, cell, order)
    }
}

const NODES: [Column<NodeRow>; 10] = [
    column(
        "NODE",
        |row| Cell::new(&row.node.name, Tone::Plain),
        Some(|one, other| one.node.name.cmp(&other.node.name)),
    ),
    column(
        "STATE",
        |row| state(&row.node.state),
        Some(|one, other| trouble(&one.node.state, &other.node.state)),
    ),
    column("ROLE", |row| Cell::known(row.node.role.as_ref()), None),
    number("VERSION", |row| Cell::known(row.node.version), None),
    number(
        "LAG",
        |row| row.node.lag.map_or(Cell::known(None::<u64>), Cell::amiss),
        None,
    ),
    number(
        "REQ/S",
        |row| figure(row.requests_per_second),
        Some(|one, other| most(one.requests_per_second, other.requests_per_second)),
    ),
    number(
        "CONN",
        |row| Cell::known(row.node.connections),
        Some(|one, other| most(one.node.connections, other.node.connections)),
    ),
    number("QUEUED", |row| Cell::known(row.node.queued), None),
    number(
        "CPU%",
        |row| Cell::known(row.node.cpu_percent),
        Some(|one, other| most(one.node.cpu_percent, other.node.cpu_percent)),
    ),
    column("READY", ready, None),
];

fn ready(row: &NodeRow) -> Cell {
    match (row.node.ready, &row.node.not_ready_because) {
        (Some(true), _) => Cell::new("yes", Tone::Good),
        (_, Some(reason)) => Cell::new(format!("no: {reason}"), Tone::Bad),
        (Some(false), None) => Cell::new("no", Tone::Bad),
        (None, None) => Cell::known(None::<u64>),
    }
}

const BACKENDS: [Column<BackendRow>; 9] = [
    column(
        "POOL",
        |row| Cell::new(&row.pool, Tone::Plain),
        Some(|one, other| (&one.pool, &one.backend).cmp(&(&other.pool, &other.backend))),
    ),
    column("BACKEND", |row| Cell::new(&row.backend, Tone::Plain), None),
    column(
        "STATE",
        |row| state(&row.state),
        Some(|one, other| trouble(&one.state, &other.state)),
    ),
    number(
        "SINCE",
        |row| Cell::new(clock::span(Duration::from_secs(row.since_seconds)), Tone::Plain),
        Some(|one, other| one.since_seconds.cmp(&other.since_seconds)),
    ),
    number(
        "REQ/S",
        |row| figure(row.requests_per_second),
        Some(|one, other| most(one.requests_per_second, other.requests_per_second)),
    ),
    number(
        "5XX%",
        |row| match row.percent_5xx {
            Some(share) if share > 0.0 => Cell {
                tone: Tone::Bad,
                ..figure(Some(share))
            },
            share => figure(share),
        },
        Some(|one, other| most(one.percent_5xx, other.percent_5xx)),
    ),
    number(
        "FAILED",
        |row| Cell::amiss(row.failed_connects),
        Some(|one, other| most(Some(one.failed_connects), Some(other.failed_connects))),
    ),
    number(
        "CONN",
        |row| Cell::count(row.connections),
        Some(|one, other| most(Some(one.connections), Some(other.connections))),
    ),
    column(
        "REASON",
        |row| Cell::new(row.reason.as_deref().unwrap_or_default(), Tone::Bad),
        None,
    ),
];

const QUEUES: [Column<Queue>; 4] = [
    column(
        "SERVICE",
        |row| Cell::new(&row.service, Tone::Plain),
        Some(|one, other| one.service.cmp(&other.service)),
    ),
    number(
        "HIGH",
        |row| waiting(row.high),
        Some(|one, other| most(Some(one.high.count), Some(other.high.count))),
    ),
    number(
        "NORMAL",
        |row| waiting(row.normal),
        Some(|one, other| most(Some(one.normal.count), Some(other.normal.count))),
    ),
    number(
        "LOW",
        |row| waiting(row.low),
        Some(|one, other| most(Some(one.low.count), Some(other.low.count))),
    ),
];

fn waiting(waiting: Waiting) -> Cell {
    match waiting {
        Waiting { count: 0, .. } => Cell::count(0),
        Waiting { count, seconds } => Cell::new(format!("{count} ({seconds} s)"), Tone::Warning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_follow_each_other_in_a_ring() {
        let mut panel = Panel::default();
        for _ in Panel::ALL {
            assert_eq!(panel.next().previous(), panel);
            panel = panel.next();
        }
        assert_eq!(panel, Panel::default());
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [Some(99.94), Some(1234.5), None].map(|value| figure(value).text),
            ["99.9", "1234", "-"]
        );
    }

    #[test]
    fn trouble_comes_first_where_it_is_sorted_by() {
        let mut states = ["up", "draining", "down", "alive", "dead"];
        states.sort_by(|one, other| trouble(one, other));
        assert_eq!(states, ["down", "dead", "draining", "up", "alive"]);
    }
}
