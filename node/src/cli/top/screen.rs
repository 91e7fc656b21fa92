//! The terminal from its first picture to its last; whatever ends it, the terminal is left as it was.

use std::io::{self, Stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::board::{Board, Link};
use super::draw::draw;
use super::event::Happened;
use super::grid::Tone;
use super::report::Own;
use super::view::{Flow, View};
use super::watch::{self, News, Signals};
use crate::cli::client::Server;
use crate::clock;

/// Also where there is no news, the clock goes on.
const TICK: Duration = Duration::from_secs(1);

/// Why it ended, where nobody asked for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScreenError {
    /// The terminal.
    #[error("cannot draw on this terminal: {0}")]
    Terminal(#[from] io::Error),
    /// Something else.
    #[error("{0}")]
    Ended(String),
}

/// Shows a node's fleet until somebody leaves.
pub(super) fn run(server: &Server, interval: Duration, first: Own) -> Result<(), ScreenError> {
    let signals = Signals::catch()?;
    // It also has a panic leave the terminal as it was.
    let mut terminal = match ratatui::try_init() {
        Ok(terminal) => terminal,
        Err(error) => {
            ratatui::restore();
            return Err(error.into());
        }
    };
    let mut board = Board::default();
    board.hear_own(first, Instant::now());
    let news = watch::begin(server, interval, signals);
    let outcome = show(&mut terminal, &mut board, &news, server.name());
    let shown = terminal.show_cursor();
    let restored = ratatui::try_restore();
    outcome?;
    shown?;
    Ok(restored?)
}

fn show(
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    board: &mut Board,
    news: &Receiver<News>,
    server: &str,
) -> Result<(), ScreenError> {
    let mut view = View::default();
    loop {
        let time = clock::local(clock::now().0 / 1000, "%H:%M:%S");
        terminal.draw(|frame| draw(frame, board, &mut view, server, &time))?;
        match news.recv_timeout(TICK) {
            // What else came is shown with it.
            Ok(first) => {
                for heard in [first].into_iter().chain(news.try_iter()) {
                    if hear(heard, board, &mut view)? == Flow::End {
                        return Ok(());
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ScreenError::Ended("nobody listens any more".to_owned()));
            }
        }
    }
}

fn hear(news: News, board: &mut Board, view: &mut View) -> Result<Flow, ScreenError> {
    match news {
        News::Own(own, at) => {
            if board.link != Link::Live {
                board.note(Happened::now(
                    "the node that is asked answers again".to_owned(),
                    Tone::Good,
                ));
            }
            board.hear_own(*own, at);
        }
        News::OfAll(all, at) => board.hear_all(*all, at),
        News::Lost(why) => {
            if board.link == Link::Live {
                board.note(Happened::now(why.clone(), Tone::Bad));
            }
            board.link = Link::Lost(why);
        }
        News::Event(happened) => board.note(happened),
        News::Input(event) => return Ok(view.typed(&event, board)),
        News::End(end) => return end.map(|()| Flow::End).map_err(ScreenError::Ended),
    }
    Ok(Flow::GoOn)
}

#[cfg(test)]
mod tests {
    use super::super::board::tests::own;
    use super::*;

    #[test]
    fn a_node_that_is_lost_and_found_is_told_once_each() {
        let mut board = Board::default();
        let mut view = View::default();
        let mut heard = |news| hear(news, &mut board, &mut view).unwrap();
        for _ in 0..3 {
            heard(News::Lost("no answer".to_owned()));
        }
        for _ in 0..3 {
            heard(News::Own(Box::new(own(1)), Instant::now()));
        }
        assert_eq!(heard(News::End(Ok(()))), Flow::End);
        let told: Vec<_> = board
            .happened
            .iter()
            .map(|happened| happened.text.as_str())
            .collect();
        assert_eq!(told, ["the node that is asked answers again", "no answer"]);
        let ended = hear(News::End(Err("gone".to_owned())), &mut board, &mut view);
        assert_eq!(ended.unwrap_err().to_string(), "gone");
    }
}
