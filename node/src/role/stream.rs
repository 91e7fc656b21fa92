//! An answer without an end: what a plugin's feed has, as it comes, and the time every second. It ends when the client
//! leaves or takes nothing for too long, when the service does without the plugin, and when the node drains.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fleetbal_raft::model::Plugin;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::client::Client;
use super::connection::Next;
use super::held::poll_read;
use super::local::Current;
use crate::clock;
use crate::monitor::sockets::ClientState;
use crate::plugin::{Reader, Subscription};

/// Between two times.
const BEAT: Duration = Duration::from_secs(1);

/// Sends it to its end.
pub(super) async fn run(client: &mut Client, subscription: Subscription) -> Next {
    client.answered(200, None);
    client.record.enter(ClientState::XferRes);
    let current = client.served().current(client.local());
    let mut sending = Sending {
        patience: current.and_then(|current| current.view.settings.idle_timeout),
        is_armed: false,
    };
    client.arm(None);
    let (mut reader, mut news) = subscription.open();
    let mut beats = interval_at(Instant::now() + BEAT, BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = poll_fn(|cx| sending.poll(client, &mut reader, cx)) => break,
            // The feed lives for as long as its reader.
            _ = news.changed() => reader.take_in(),
            _ = beats.tick() => {
                if !goes_on(client) {
                    break;
                }
                reader.beat(clock::now().0 / 1000);
            }
        }
    }
    client.is_answered();
    client.record.end();
    Next::Close
}

/// Whether the service still has streams.
fn goes_on(client: &Client) -> bool {
    let has_streams = |current: &Current| {
        let hooks = current.view.hooks.as_ref();
        hooks.is_some_and(|hooks| hooks.of(&Plugin::AtomStream).is_some())
    };
    !client.local().is_draining()
        && client
            .served()
            .current(client.local())
            .is_some_and(|current| has_streams(&current))
}

struct Sending {
    /// How long a client may take nothing of what waits for it.
    patience: Option<Duration>,
    /// Whether that time runs.
    is_armed: bool,
}

impl Sending {
    /// Sends what can be sent. Ready: the client is gone, or as good as.
    fn poll(&mut self, client: &mut Client, reader: &mut Reader, cx: &mut Context<'_>) -> Poll<()> {
        if client.timed_out() || hears_the_end(client, cx) {
            return Poll::Ready(());
        }
        while let Some(bytes) = reader.front() {
            match Pin::new(&mut client.io).poll_write(cx, bytes) {
                Poll::Ready(Ok(length @ 1..)) => {
                    reader.sent(length);
                    self.is_armed = false;
                }
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    if !std::mem::replace(&mut self.is_armed, true) {
                        client.arm(self.patience);
                    }
                    return Poll::Pending;
                }
            }
        }
        match Pin::new(&mut client.io).poll_flush(cx) {
            Poll::Ready(Ok(())) if reader.front().is_none() => {
                self.is_armed = false;
                client.arm(None);
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Reads what the client says, which is nothing that would be answered: whether it has left.
fn hears_the_end(client: &mut Client, cx: &mut Context<'_>) -> bool {
    loop {
        let mut buffer = client.counted.local.buffers.take();
        let read = poll_read(&mut client.io, cx, &mut buffer);
        client.counted.local.buffers.give(buffer);
        match read {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(Ok(_) | Err(_)) => return true,
            Poll::Pending => return false,
        }
    }
}
