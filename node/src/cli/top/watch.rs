//! Who listens while the screen is drawn: for answers, events, keys and signals. Each in a thread of its own that ends
//! with the process; what they hear comes to one place, in order.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::select_all;
use ratatui::crossterm::event;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::event::{Event, Happened};
use super::report::{self, AskError, OfAll, Own};
use crate::cli::client::Server;

/// News that wait for the screen.
const WAITING: usize = 64;

/// Between two tries to hear events.
const AGAIN: Duration = Duration::from_secs(1);

/// The node says something each 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);

/// Something was heard.
#[derive(Debug)]
pub(super) enum News {
    /// From the node that is asked, of itself.
    Own(Box<Own>, Instant),
    /// From all nodes.
    OfAll(Box<OfAll>, Instant),
    /// It does not answer; why.
    Lost(String),
    /// An event.
    Event(Happened),
    /// From the terminal.
    Input(event::Event),
    /// Asked to end, by a signal or because whoever should listen cannot.
    End(Result<(), String>),
}

/// Signals that ask it to end. Ctrl-C is a key here; what others send comes as one of these.
#[derive(Debug)]
pub(super) struct Signals {
    runtime: Runtime,
    all: [Signal; 3],
}

impl Signals {
    /// From now on they end nothing by themselves: whoever draws has a terminal to put right first.
    pub(super) fn catch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let all = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ];
        drop(entered);
        Ok(Self { runtime, all })
    }

    fn wait(self) {
        let Self { runtime, mut all } = self;
        runtime.block_on(select_all(all.iter_mut().map(|signal| Box::pin(signal.recv()))));
    }
}

/// Listens to a node, asked anew after so long each time, to the terminal, and for signals.
pub(super) fn begin(server: &Server, interval: Duration, signals: Signals) -> Receiver<News> {
    let (sender, receiver) = sync_channel(WAITING);
    let of_node = server.clone();
    listen(&sender, move |sender| ask(&of_node, interval, sender));
    let of_node = server.clone();
    listen(&sender, move |sender| hear(&of_node, sender));
    listen(&sender, keys);
    listen(&sender, move |sender| {
        signals.wait();
        send(sender, News::End(Ok(()))).err().unwrap_or(Gone)
    });
    receiver
}

/// Nobody listens any more: the screen is gone, and the process ends.
struct Gone;

fn send(sender: &SyncSender<News>, news: News) -> Result<(), Gone> {
    sender.send(news).map_err(|_| Gone)
}

fn listen(sender: &SyncSender<News>, to: impl FnOnce(&SyncSender<News>) -> Gone + Send + 'static) {
    let sender = sender.clone();
    thread::spawn(move || {
        let watched = Watched(&sender);
        let Gone = to(&sender);
        drop(watched);
    });
}

/// A thread that panics ends everything: half of what there is would look like all of it.
struct Watched<'a>(&'a SyncSender<News>);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let end = News::End(Err("a part of it failed".to_owned()));
            // Nobody may be there any more.
            drop(self.0.send(end));
        }
    }
}

fn ask(server: &Server, interval: Duration, sender: &SyncSender<News>) -> Gone {
    loop {
        let begun = Instant::now();
        let asked = ask_once(server, sender);
        let told = match asked {
            Ok(told) => told,
            Err(error) => send(sender, News::Lost(error.to_string())),
        };
        if let Err(gone) = told {
            return gone;
        }
        thread::sleep(interval.saturating_sub(begun.elapsed()));
    }
}

/// The node's own words are there at once, even while another takes its time to die.
fn ask_once(server: &Server, sender: &SyncSender<News>) -> Result<Result<(), Gone>, AskError> {
    let own = Box::new(report::own(server)?);
    if let Err(gone) = send(sender, News::Own(own, Instant::now())) {
        return Ok(Err(gone));
    }
    let all = Box::new(report::of_all(server)?);
    Ok(send(sender, News::OfAll(all, Instant::now())))
}

/// Follows the events, and goes on behind the last one where they break off.
fn hear(server: &Server, sender: &SyncSender<News>) -> Gone {
    let mut last = None;
    loop {
        // That the node does not answer is told by whoever asks it.
        if let Ok(Err(gone)) = hear_once(server, &mut last, sender) {
            return gone;
        }
        thread::sleep(AGAIN);
    }
}

fn hear_once(
    server: &Server,
    last: &mut Option<String>,
    sender: &SyncSender<News>,
) -> io::Result<Result<(), Gone>> {
    let mut stream = server.events(last.as_deref(), SILENCE)?;
    while let Some(event) = Event::read(&mut stream)? {
        if let Some(happened) = event.told()
            && let Err(gone) = send(sender, News::Event(happened))
        {
            return Ok(Err(gone));
        }
        if event.id.is_some() {
            *last = event.id;
        }
    }
    Ok(Ok(()))
}

fn keys(sender: &SyncSender<News>) -> Gone {
    loop {
        let news = match event::read() {
            Ok(event) => News::Input(event),
            // The terminal is gone.
            Err(error) => News::End(Err(format!("cannot read from the terminal: {error}"))),
        };
        let is_end = matches!(news, News::End(_));
        if send(sender, news).is_err() || is_end {
            return Gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_everything() {
        let (sender, receiver) = sync_channel(1);
        listen(&sender, |_| panic!("on purpose"));
        assert!(matches!(receiver.recv(), Ok(News::End(Err(_)))));
    }
}
