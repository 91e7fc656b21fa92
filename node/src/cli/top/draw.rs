//! The screen: the fleet in two lines, four tables that share the rest, and the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::board::{Board, Link};
use super::grid::{Cell, Tone, printable};
use super::panels::{Panel, summary, troubles};
use super::view::{KEYS, View};

/// Lines above and below the tables.
const HEAD: u16 = 2;
const FOOT: u16 = 1;

/// With fewer lines for the tables, one of them is shown.
const ALL_TABLES: u16 = 11;

const FOOTER: &str = "q quit  tab table  arrows scroll  s sort  r reverse  p pause  ? help";

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, board: &Board, view: &mut View, server: &str, time: &str) {
    let paused = view.paused.take();
    let shown = paused.as_deref().unwrap_or(board);
    let [head, middle, foot] = Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Fill(1),
        Constraint::Length(FOOT),
    ])
    .areas(frame.area());
    // Whether the node answers is told now, whatever was paused.
    let lines = [
        line(&summary(&shown.fleet)),
        status(board, shown, paused.is_some(), server, time),
    ];
    frame.render_widget(Paragraph::new(lines.to_vec()), head);
    let mut top = middle.y;
    for (panel, height) in Panel::ALL.into_iter().zip(heights(shown, view, middle.height)) {
        let area = Rect {
            y: top,
            height,
            ..middle
        };
        table(frame, shown, view, panel, area);
        top += height;
    }
    frame.render_widget(Paragraph::new(FOOTER).style(style(Tone::Soft)), foot);
    if view.wants_help {
        help(frame);
    }
    view.paused = paused;
}

fn style(tone: Tone) -> Style {
    let plain = Style::default();
    match tone {
        Tone::Plain => plain,
        Tone::Good => plain.fg(Color::Green),
        Tone::Warning => plain.fg(Color::Yellow),
        // Bold, for terminals and eyes without colours.
        Tone::Bad => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Soft => plain.add_modifier(Modifier::DIM),
    }
}

fn span(cell: &Cell) -> Span<'static> {
    Span::styled(cell.text.clone(), style(cell.tone))
}

fn line(cells: &[Cell]) -> Line<'static> {
    Line::from(cells.iter().map(span).collect::<Vec<_>>())
}

/// Whether what is shown is what is.
fn status(board: &Board, shown: &Board, is_paused: bool, server: &str, time: &str) -> Line<'static> {
    let (mut text, mut tone) = match &board.link {
        Link::Live => (
            format!("{time}, as {} at {server} sees it", shown.fleet.own),
            Tone::Soft,
        ),
        Link::Lost(why) => (format!("{time}, trying again: {why}"), Tone::Bad),
    };
    if is_paused {
        (text, tone) = (format!("paused (p goes on), {text}"), tone.max_warning());
    }
    let mut spans = vec![Span::styled(printable(&text), style(tone))];
    if let Some(troubles) = troubles(shown) {
        spans.push(Span::styled(format!("  {troubles}"), style(Tone::Bad)));
    }
    Line::from(spans)
}

impl Tone {
    fn max_warning(self) -> Self {
        match self {
            Self::Bad => Self::Bad,
            Self::Plain | Self::Good | Self::Warning | Self::Soft => Self::Warning,
        }
    }
}

/// How many lines of a table are no rows.
fn overhead(panel: Panel) -> usize {
    if panel == Panel::Events { 1 } else { 2 }
}

/// Shares the lines out: each table gets its titles and a row, then what it wants, the one in focus first; the events
/// have the rest.
fn heights(board: &Board, view: &View, total: u16) -> [u16; Panel::ALL.len()] {
    if total < ALL_TABLES {
        return Panel::ALL.map(|panel| if panel == view.focus { total } else { 0 });
    }
    let rows = |panel: Panel| match panel {
        Panel::Nodes => board.fleet.nodes.len(),
        Panel::Backends => board.backends().len(),
        Panel::Queues => board.queues.len(),
        Panel::Events => board.happened.len(),
    };
    let wants = |panel: Panel| u16::try_from(rows(panel).max(1) + overhead(panel)).unwrap_or(u16::MAX);
    let mut heights = Panel::ALL.map(|panel| u16::try_from(overhead(panel) + 1).unwrap_or_default());
    let mut rest = total.saturating_sub(heights.iter().sum());
    let others = Panel::ALL.into_iter().filter(|panel| *panel != Panel::Events);
    for panel in [view.focus].into_iter().chain(others) {
        if let Some(height) = heights.get_mut(panel.place()) {
            let more = wants(panel).saturating_sub(*height).min(rest);
            *height += more;
            rest -= more;
        }
    }
    if let Some(events) = heights.last_mut() {
        *events += rest;
    }
    heights
}

fn table(frame: &mut Frame<'_>, board: &Board, view: &mut View, panel: Panel, area: Rect) {
    let is_focus = view.focus == panel;
    let Some(place) = view.place_mut(panel) else {
        return;
    };
    let grid = panel.grid(board, place.sort);
    let all = grid.rows.len();
    place.room = usize::from(area.height).saturating_sub(overhead(panel));
    place.first = place.first.min(all.saturating_sub(place.room));
    let shown = all.min(place.room);
    let count = if shown < all {
        format!("{}-{} of {all}", place.first + 1, place.first + shown)
    } else {
        all.to_string()
    };
    let mut lines = vec![heading(panel, &count, is_focus, area.width)];
    if panel != Panel::Events {
        lines.push(Line::styled(grid.titles, style(Tone::Soft)));
    }
    if all == 0 {
        lines.push(Line::styled(panel.when_empty(), style(Tone::Soft)));
    }
    let rows = grid.rows.iter().skip(place.first).take(place.room);
    lines.extend(rows.map(|row| line(row)));
    frame.render_widget(Paragraph::new(lines), area);
}

fn heading(panel: Panel, count: &str, is_focus: bool, width: u16) -> Line<'static> {
    let mark = if is_focus { ">" } else { "─" };
    let text = format!("{mark} {} {count} ", panel.title());
    let rule = "─".repeat(usize::from(width).saturating_sub(text.chars().count()));
    let style = if is_focus {
        Style::default().fg(Color::Cyan).add_modifier(Modifier::BOLD)
    } else {
        Style::default()
    };
    Line::styled(text + &rule, style)
}

fn help(frame: &mut Frame<'_>) {
    let keys = KEYS.map(|(key, what)| format!(" {key:<20}{what} "));
    let width = keys.iter().map(String::len).max().unwrap_or_default() + 2;
    let area = frame.area().centered(
        Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)),
        Constraint::Length(u16::try_from(keys.len() + 2).unwrap_or(u16::MAX)),
    );
    let lines: Vec<_> = keys.into_iter().map(Line::raw).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Keys ")),
        area,
    );
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
