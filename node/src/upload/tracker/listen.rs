//! The `upload_tracker` role: hears of uploads by UDP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::Tracker;

/// Longer than any datagram that means something.
const LONGEST: usize = 256;

/// How long to wait where the socket fails.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Takes in what comes, until it is stopped.
pub async fn listen(socket: UdpSocket, tracker: Arc<Tracker>, stop: CancellationToken) {
    let mut buffer = [0; LONGEST];
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = socket.recv(&mut buffer) => received,
        };
        match received {
            Ok(length) => tracker.receive(buffer.get(..length).unwrap_or_default(), Instant::now()),
            Err(error) => {
                tracing::warn!(%error, "cannot hear of uploads");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hears_until_it_is_stopped() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (tracker, stop) = (Arc::new(Tracker::default()), CancellationToken::new());
        let listening = tokio::spawn(listen(socket, Arc::clone(&tracker), stop.clone()));
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sender.send_to(&[b'x'; 2000], address).await.unwrap();
        sender.send_to(b"UPLOAD:abcde:1:2:3:4", address).await.unwrap();
        while tracker.status("abcde", 0) == "{}" {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        listening.await.unwrap();
        UdpSocket::bind(address).await.unwrap();
    }
}
