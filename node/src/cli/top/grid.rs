//! Tables: which columns there are, how rows are sorted, and how wide everything is. The same for a terminal and for text.

use std::cmp::Ordering;

use ratatui::text::Span;

/// Between two columns.
const GAP: usize = 2;

/// What a text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    /// Nothing beside itself.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// It may become bad, or is meant to be away.
    Warning,
    /// Somebody should look.
    Bad,
    /// Not so important.
    Soft,
}

impl Tone {
    /// Of a node's or a backend's state.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "up" | "alive" => Self::Good,
            "draining" | "suspect" | "left" => Self::Warning,
            _ => Self::Bad,
        }
    }
}

/// A cell: no more than a line of what a terminal can show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        let text = printable(text.as_ref());
        Self { text, tone }
    }

    /// What is not known is a dash.
    pub(super) fn known(value: Option<impl ToString>) -> Self {
        value.map_or(Self::new("-", Tone::Soft), |value| {
            Self::new(value.to_string(), Tone::Plain)
        })
    }

    /// A count.
    pub(super) fn count(count: u64) -> Self {
        Self::new(count.to_string(), Tone::Plain)
    }

    /// A count that should be nought.
    pub(super) fn amiss(count: u64) -> Self {
        let tone = if count == 0 { Tone::Plain } else { Tone::Bad };
        Self::new(count.to_string(), tone)
    }
}

/// Names and reasons come from elsewhere: what would move a cursor is shown as a question mark.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// A column of rows of a kind.
#[derive(Debug)]
pub(super) struct Column<R> {
    pub(super) title: &'static str,
    /// Figures stand at the right.
    pub(super) at_right: bool,
    pub(super) cell: fn(&R) -> Cell,
    /// How rows are sorted by it, where they can be: what is looked for first comes first.
    pub(super) order: Option<fn(&R, &R) -> Ordering>,
}

/// By which of the columns that can be sorted by, and whether from the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sort {
    pub(super) by: usize,
    pub(super) is_reversed: bool,
}

impl Sort {
    /// By the next column.
    pub(super) fn next<R>(&mut self, columns: &[Column<R>]) {
        let all = columns.iter().filter(|column| column.order.is_some()).count();
        self.by = (self.by + 1).checked_rem(all).unwrap_or_default();
        self.is_reversed = false;
    }
}

/// A table, every cell as wide as its column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Grid {
    pub(super) titles: String,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// Sorts rows and lays them out; rows that are equal stay as they were.
    pub(super) fn of<R>(mut rows: Vec<R>, columns: &[Column<R>], sort: Sort) -> Self {
        let sorted_by = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.order.is_some())
            .nth(sort.by);
        if let Some(order) = sorted_by.and_then(|(_, column)| column.order) {
            rows.sort_by(|one, other| {
                if sort.is_reversed {
                    order(other, one)
                } else {
                    order(one, other)
                }
            });
        }
        let mark = if sort.is_reversed { "^" } else { "v" };
        let sorted_by = sorted_by.map(|(at, _)| at);
        let titles = columns.iter().enumerate().map(|(at, column)| {
            let mark = if sorted_by == Some(at) { mark } else { "" };
            Cell::new(format!("{}{mark}", column.title), Tone::Soft)
        });
        let mut all = vec![titles.collect::<Vec<_>>()];
        all.extend(rows.iter().map(|row| cells(row, columns)));
        pad(&mut all, columns);
        let mut all = all.into_iter();
        let titles = all.next().unwrap_or_default();
        Self {
            titles: titles.into_iter().map(|cell| cell.text).collect(),
            rows: all.collect(),
        }
    }
}

fn cells<R>(row: &R, columns: &[Column<R>]) -> Vec<Cell> {
    columns.iter().map(|column| (column.cell)(row)).collect()
}

/// Makes the cells of each column but the last equally wide, with the gap behind it.
fn pad<R>(rows: &mut [Vec<Cell>], columns: &[Column<R>]) {
    let width = |cell: &Cell| Span::raw(cell.text.as_str()).width();
    for (at, column) in columns.iter().enumerate() {
        let widest = rows.iter().filter_map(|row| row.get(at)).map(width).max();
        let widest = widest.unwrap_or_default();
        let is_last = at + 1 == columns.len();
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(at)) {
            let room = " ".repeat(widest - width(cell));
            cell.text = match (column.at_right, is_last) {
                (true, true) => format!("{room}{}", cell.text),
                (true, false) => format!("{room}{}{:GAP$}", cell.text, ""),
                (false, true) => cell.text.clone(),
                (false, false) => format!("{}{room}{:GAP$}", cell.text, ""),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, u64);

    const COLUMNS: [Column<Row>; 3] = [
        Column {
            title: "NAME",
            at_right: false,
            cell: |row| Cell::new(row.0, Tone::Plain),
            order: Some(|one, other| one.0.cmp(other.0)),
        },
        Column {
            title: "NOTHING",
            at_right: false,
            cell: |_| Cell::known(None::<u32>),
            order: None,
        },
        Column {
            title: "COUNT",
            at_right: true,
            cell: |row| Cell::amiss(row.1),
            order: Some(|one, other| other.1.cmp(&one.1)),
        },
    ];

    fn lines(sort: Sort) -> Vec<String> {
        let grid = Grid::of(vec![("b", 0), ("ä\n", 12), ("c", 3)], &COLUMNS, sort);
        let row = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.as_str()).collect();
        [grid.titles.clone()]
            .into_iter()
            .chain(grid.rows.iter().map(row))
            .collect()
    }

    #[test]
    fn rows_are_sorted_and_laid_out() {
        let mut sort = Sort::default();
        let by_name = [
            "NAMEv  NOTHING  COUNT",
            "b      -            0",
            "c      -            3",
            "ä?     -           12",
        ];
        assert_eq!(lines(sort), by_name);
        sort.next(&COLUMNS);
        assert_eq!(lines(sort)[0], "NAME  NOTHING  COUNTv");
        assert_eq!(lines(sort)[1], "ä?    -            12");
        sort.is_reversed = true;
        assert_eq!(lines(sort)[0], "NAME  NOTHING  COUNT^");
        assert_eq!(lines(sort)[1], "b     -             0");
        sort.next(&COLUMNS);
        assert_eq!(sort, Sort::default());
        assert_eq!(Grid::of(vec![], &COLUMNS, sort).rows.len(), 0);
    }
}
