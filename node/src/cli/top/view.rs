//! How somebody looks at the board: where they are, what they sort by, and what the keys do.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::board::Board;
use super::grid::Sort;
use super::panels::Panel;

/// The keys, and what they do.
pub(super) const KEYS: [(&str, &str); 8] = [
    ("q, Ctrl-C", "leave"),
    ("tab, left, right", "another table"),
    ("up, down", "scroll it by a line"),
    ("page up, page down", "scroll it by a page"),
    ("home, end", "its first and last line"),
    ("s", "sort it by the next column; r: the other way round"),
    ("p", "pause: what is shown stays; again: go on"),
    ("?", "this help"),
];

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Draw and listen.
    GoOn,
    /// Leave.
    End,
}

/// One table as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) sort: Sort,
    /// The first row that is shown. Too large a number is put right when it is drawn.
    pub(super) first: usize,
    /// How many rows there was room for.
    pub(super) room: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) focus: Panel,
    places: [Place; Panel::ALL.len()],
    /// What there was when it was paused.
    pub(super) paused: Option<Box<Board>>,
    pub(super) wants_help: bool,
}

impl View {
    /// How a table is looked at.
    pub(super) fn place_mut(&mut self, panel: Panel) -> Option<&mut Place> {
        self.places.get_mut(panel.place())
    }

    /// Does what was typed.
    pub(super) fn typed(&mut self, event: &Event, board: &Board) -> Flow {
        let key = event
            .as_key_event()
            .filter(|key| key.kind != KeyEventKind::Release);
        match key.and_then(action) {
            None => {}
            Some(Action::Leave) => return Flow::End,
            Some(Action::Help) => self.wants_help = !self.wants_help,
            Some(Action::NoHelp) => self.wants_help = false,
            Some(Action::Next) => self.focus = self.focus.next(),
            Some(Action::Previous) => self.focus = self.focus.previous(),
            Some(Action::Pause) => {
                self.paused = match self.paused {
                    None => Some(Box::new(board.clone())),
                    Some(_) => None,
                }
            }
            Some(Action::InTable(action)) => {
                let focus = self.focus;
                if let Some(place) = self.place_mut(focus) {
                    place.act(action, focus);
                }
            }
        }
        Flow::GoOn
    }
}

impl Place {
    fn act(&mut self, action: InTable, panel: Panel) {
        let page = self.room.max(1);
        match action {
            InTable::Sort => panel.sort(&mut self.sort),
            InTable::Reverse => self.sort.is_reversed = !self.sort.is_reversed,
            InTable::Up => self.first = self.first.saturating_sub(1),
            InTable::Down => self.first = self.first.saturating_add(1),
            InTable::PageUp => self.first = self.first.saturating_sub(page),
            InTable::PageDown => self.first = self.first.saturating_add(page),
            InTable::Home => self.first = 0,
            InTable::End => self.first = usize::MAX,
        }
    }
}

/// What a key does.
#[derive(Debug, Clone, Copy)]
enum Action {
    Leave,
    Help,
    NoHelp,
    Next,
    Previous,
    Pause,
    InTable(InTable),
}

/// What it does in the table that has the focus.
#[derive(Debug, Clone, Copy)]
enum InTable {
    Sort,
    Reverse,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

const ACTIONS: [(KeyCode, Action); 17] = [
    (KeyCode::Char('q'), Action::Leave),
    (KeyCode::Char('?'), Action::Help),
    (KeyCode::Char('h'), Action::Help),
    (KeyCode::Esc, Action::NoHelp),
    (KeyCode::Tab, Action::Next),
    (KeyCode::Right, Action::Next),
    (KeyCode::BackTab, Action::Previous),
    (KeyCode::Left, Action::Previous),
    (KeyCode::Char('p'), Action::Pause),
    (KeyCode::Char('s'), Action::InTable(InTable::Sort)),
    (KeyCode::Char('r'), Action::InTable(InTable::Reverse)),
    (KeyCode::Up, Action::InTable(InTable::Up)),
    (KeyCode::Down, Action::InTable(InTable::Down)),
    (KeyCode::PageUp, Action::InTable(InTable::PageUp)),
    (KeyCode::PageDown, Action::InTable(InTable::PageDown)),
    (KeyCode::Home, Action::InTable(InTable::Home)),
    (KeyCode::End, Action::InTable(InTable::End)),
];

fn action(key: KeyEvent) -> Option<Action> {
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(Action::Leave);
    }
    let (_, action) = ACTIONS.iter().find(|(code, _)| *code == key.code)?;
    Some(*action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> Flow {
        let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        view.typed(&event, &Board::default())
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut view = View::default();
        assert_eq!(press(&mut view, KeyCode::Char('q')), Flow::End);
        let control_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert_eq!(view.typed(&control_c, &Board::default()), Flow::End);
        assert_eq!(press(&mut view, KeyCode::Char('c')), Flow::GoOn);
        press(&mut view, KeyCode::Tab);
        assert_eq!(view.focus, Panel::Backends);
        press(&mut view, KeyCode::Char('s'));
        press(&mut view, KeyCode::Char('r'));
        let sort = view.places[Panel::Backends.place()].sort;
        assert_eq!((sort.by, sort.is_reversed), (1, true));
        assert_eq!(view.places[Panel::Nodes.place()], Place::default());
        press(&mut view, KeyCode::Left);
        assert_eq!(view.focus, Panel::Nodes);
        press(&mut view, KeyCode::Char('?'));
        assert!(view.wants_help);
        press(&mut view, KeyCode::Esc);
        assert!(!view.wants_help);
        press(&mut view, KeyCode::Char('p'));
        assert!(view.paused.is_some());
        press(&mut view, KeyCode::Char('p'));
        assert!(view.paused.is_none());
    }

    #[test]
    fn a_table_is_scrolled_by_lines_and_pages() {
        let mut view = View::default();
        if let Some(place) = view.place_mut(Panel::Nodes) {
            place.room = 10;
        }
        let first = |view: &mut View, code| {
            press(view, code);
            view.places[Panel::Nodes.place()].first
        };
        assert_eq!(first(&mut view, KeyCode::Up), 0);
        assert_eq!(first(&mut view, KeyCode::Down), 1);
        assert_eq!(first(&mut view, KeyCode::PageDown), 11);
        assert_eq!(first(&mut view, KeyCode::PageUp), 1);
        assert_eq!(first(&mut view, KeyCode::End), usize::MAX);
        assert_eq!(first(&mut view, KeyCode::Home), 0);
    }
}
