//! `LazyCDN`: what is not there yet, or is too old, another service answers (Perlbal, reference section 8.2); somebody is
//! told by a datagram, and may fetch it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use fleetbal_raft::model::{ServiceName, Value};

use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;

#[derive(Debug)]
struct LazyCdn {
    fallback: Option<ServiceName>,
    ping: Option<(UdpSocket, SocketAddr)>,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let text = setup.service.value("fallback_service").and_then(Value::into_text);
    let text = text.and_then(|text| text.expand(setup.fill).ok());
    let ping = match setup.service.value("fallback_udp_ping_addr") {
        Some(Value::Endpoints(endpoints, _)) => endpoints.first().copied(),
        _ => None,
    };
    Arc::new(LazyCdn {
        fallback: text.and_then(|text| ServiceName::parse(&text).ok()),
        ping: ping.and_then(|address| Some((socket_to(address)?, address))),
    })
}

fn socket_to(address: SocketAddr) -> Option<UdpSocket> {
    let here: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket
        .inspect_err(|error| tracing::warn!(%error, %address, "nobody is told of missing files"))
        .ok()
}

/// The version that a request asks for: `v=SECONDS` in its query.
fn version(target: &[u8]) -> Option<i64> {
    let query = target.get(memchr::memchr(b'?', target)? + 1..)?;
    let mut pairs = query.split(|byte| *byte == b'&');
    let digits = pairs.find_map(|pair| pair.strip_prefix(b"v="))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Hook for LazyCdn {
    fn points(&self) -> Points {
        if self.fallback.is_none() {
            return Points::default();
        }
        Points::of(&[
            Point::StaticGetPoststatFileMissing,
            Point::StaticGetPoststatPreSend,
        ])
    }

    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome {
        let target = request.head().target();
        let is_old = || version(target) > request.modified();
        let Some(fallback) = &self.fallback else {
            return Outcome::Next;
        };
        if point == Point::StaticGetPoststatPreSend && !is_old() {
            return Outcome::Next;
        }
        if let Some((socket, address)) = &self.ping {
            // It is a hint; whoever misses it hears of the next request.
            socket.send_to(target, address).unwrap_or_default();
        }
        Outcome::Service(fallback.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn what_is_missing_or_old_is_elsewhere() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ping = format!(
            "SET px.fallback_udp_ping_addr = {}",
            receiver.local_addr().unwrap()
        );
        let lines = [
            "LOAD LazyCDN",
            "SET px.role = web_server",
            "SET px.fallback_service = origin",
            &ping,
            "SET px.plugins = lazycdn",
        ];
        let hook = made(make, &lines);
        let elsewhere = Outcome::Service(ServiceName::parse("origin").unwrap());
        let outcome = |point, target: &str, modified| {
            let mut request = asked(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), "::1");
            request.put_modified(modified);
            hook.run(point, &mut request)
        };
        assert_eq!(
            outcome(Point::StaticGetPoststatFileMissing, "/b?x", None),
            elsewhere
        );
        let mut buffer = [0; 99];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer.get(..length), Some(&b"/b?x"[..]));
        let found = Point::StaticGetPoststatPreSend;
        assert_eq!(outcome(found, "/a?v=100", Some(99)), elsewhere);
        assert_eq!(outcome(found, "/a?v=100", Some(100)), Outcome::Next);
        assert_eq!(outcome(found, "/a?v=x", Some(0)), Outcome::Next);
        assert_eq!(outcome(found, "/a", Some(0)), Outcome::Next);
    }
}
