//! Tells trackers how far an upload is.

use std::cell::OnceCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Between two datagrams of one upload.
const PACE: Duration = Duration::from_secs(1);

/// One upload that is tracked.
#[derive(Debug)]
pub struct Report {
    session: Box<str>,
    total: u64,
    done: u64,
    started: u64,
    sent: Option<Instant>,
}

impl Report {
    /// An upload of `total` bytes that began at `started`, in seconds since the epoch.
    pub fn new(session: &str, total: u64, started: u64) -> Self {
        Self {
            session: session.into(),
            total,
            done: 0,
            started,
            sent: None,
        }
    }

    /// So many bytes came. What the trackers are told, if it is time, and bytes remain.
    pub fn came(&mut self, bytes: usize, now: Instant, epoch: impl FnOnce() -> u64) -> Option<String> {
        if bytes == 0 {
            // A head alone: the first bytes are news, and would have to wait for a second.
            return None;
        }
        self.done += bytes as u64;
        let is_time = self
            .sent
            .is_none_or(|sent| now.saturating_duration_since(sent) >= PACE);
        if !is_time || self.done >= self.total {
            return None;
        }
        self.sent = Some(now);
        let Self {
            session,
            total,
            done,
            started,
            ..
        } = self;
        Some(format!("UPLOAD:{session}:{done}:{total}:{started}:{}", epoch()))
    }
}

/// The sockets of one worker that datagrams go out on; they are opened when they are needed.
#[derive(Debug, Default)]
pub struct Announcer {
    v4: OnceCell<Option<UdpSocket>>,
    v6: OnceCell<Option<UdpSocket>>,
}

impl Announcer {
    /// Sends a datagram to all of them. One that is lost is made good by the next.
    pub fn send(&self, datagram: &str, listeners: &[SocketAddr]) {
        for listener in listeners {
            let Some(socket) = self.socket(listener) else {
                continue;
            };
            if let Err(error) = socket.send_to(datagram.as_bytes(), listener) {
                tracing::debug!(%listener, %error, "cannot tell of an upload");
            }
        }
    }

    fn socket(&self, listener: &SocketAddr) -> Option<&UdpSocket> {
        let (cell, any) = match listener {
            SocketAddr::V4(_) => (&self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        let opened = cell.get_or_init(|| {
            let socket = UdpSocket::bind(any).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok(socket)
            });
            socket
                .inspect_err(|error| tracing::warn!(%error, "cannot tell of uploads"))
                .ok()
        });
        opened.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second_while_bytes_remain() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut report = Report::new("abcde", 100, 5);
        assert_eq!(report.came(0, start, || 6), None);
        assert_eq!(
            report.came(10, start, || 6).as_deref(),
            Some("UPLOAD:abcde:10:100:5:6")
        );
        assert_eq!(report.came(10, after(999), || 6), None);
        assert_eq!(
            report.came(10, after(1000), || 7).as_deref(),
            Some("UPLOAD:abcde:30:100:5:7")
        );
        assert_eq!(report.came(70, after(9000), || 14), None);
    }

    #[test]
    fn goes_to_every_listener() {
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        let v6 = UdpSocket::bind("[::1]:0");
        let mut listeners = vec![v4.local_addr().unwrap()];
        listeners.extend(v6.as_ref().ok().and_then(|v6| v6.local_addr().ok()));
        let announcer = Announcer::default();
        announcer.send("one", &listeners);
        announcer.send("two", &listeners);
        for socket in [Some(&v4), v6.as_ref().ok()].into_iter().flatten() {
            let mut buffer = [0; 16];
            for text in ["one", "two"] {
                let length = socket.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], text.as_bytes());
            }
        }
    }
}
