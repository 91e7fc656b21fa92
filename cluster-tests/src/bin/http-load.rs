//! A load that no proxy can carry: `http-load IP:PORT PATH BODY CLIENTS SECONDS THREADS` has CLIENTS ask for PATH over a
//! connection each, again as soon as they were answered, and prints how often they were as JSON.
//!
//! It takes less for a request than any proxy does, so that the proxy is what there is too little of, also where the backend
//! is on the load's CPU. An answer other than 200 with BODY bytes, or a connection that is closed, ends it with an error.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleetbal_cluster_tests::threads;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, socket_with};

/// What is read at once.
const BUFFER: usize = 64 << 10;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// More fields than anybody sends.
const FIELDS: usize = 32;
/// For how long nobody may be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all clients do.
struct Plan {
    address: SocketAddrV4,
    request: Vec<u8>,
    /// Of every answer, in bytes.
    body: usize,
    until: Instant,
}

/// One connection.
struct Client {
    socket: TcpStream,
    /// Bytes of the request; all of it, while the answer is waited for.
    sent: usize,
    /// What is there of an answer that is not whole.
    heard: Vec<u8>,
    answers: u64,
}

impl Client {
    fn connect(plan: &Plan, epoll: &Epoll, place: usize) -> Result<Self> {
        // Where a queue is full, the others go on.
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let socket = socket_with(family, kind, SocketFlags::NONBLOCK, None)?;
        match net::connect(&socket, &plan.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(both, place as u64))?;
        let (sent, heard, answers) = Default::default();
        let mut client = Self {
            socket,
            sent,
            heard,
            answers,
        };
        client.ask(plan)?;
        Ok(client)
    }

    fn ask(&mut self, plan: &Plan) -> Result<()> {
        while let Some(rest) = plan.request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("request"),
            }
        }
        Ok(())
    }

    /// Goes on after an event, as far as it can.
    fn go_on(&mut self, plan: &Plan, buffer: &mut [u8]) -> Result<()> {
        if self.sent < plan.request.len() {
            return self.ask(plan);
        }
        loop {
            let length = match self.socket.read(buffer) {
                Ok(0) => bail!("the connection was closed"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("answer"),
            };
            self.hear(plan, buffer.get(..length).unwrap_or_default())?;
            // Less than there was room for: the next byte makes an event.
            if length < buffer.len() {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, plan: &Plan, bytes: &[u8]) -> Result<()> {
        let mut whole = std::mem::take(&mut self.heard);
        let bytes = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &whole
        };
        let wanted = head(bytes, plan.body)?.map(|length| length + plan.body);
        ensure!(
            wanted.is_none_or(|wanted| bytes.len() <= wanted),
            "more came than an answer"
        );
        if wanted != Some(bytes.len()) {
            self.heard = bytes.to_vec();
            return Ok(());
        }
        self.answers += 1;
        self.sent = 0;
        self.ask(plan)
    }
}

/// The length of an answer's head, once it is whole.
fn head(bytes: &[u8], body: usize) -> Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(bytes)? else {
        return Ok(None);
    };
    ensure!(answer.code == Some(200), "the status was {:?}", answer.code);
    let is_length = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("content-length");
    let value = answer.headers.iter().find(is_length).map(|field| field.value);
    let announced = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    ensure!(
        announced == Some(body),
        "a body of {announced:?} bytes, not {body}"
    );
    Ok(Some(length))
}

/// Some of the clients, until the time is over: how often they were answered.
fn run(plan: &Plan, clients: usize) -> Result<u64> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let connect = |place| Client::connect(plan, &epoll, place);
    let mut clients = (0..clients).map(connect).collect::<Result<Vec<_>>>()?;
    let (mut buffer, mut events) = (vec![0; BUFFER], [EpollEvent::empty(); EVENTS]);
    let mut heard = Instant::now();
    while Instant::now() < plan.until {
        let count = epoll.wait(&mut events, EpollTimeout::from(100u8))?;
        if count > 0 {
            heard = Instant::now();
        }
        ensure!(heard.elapsed() < PATIENCE, "nobody was answered for {PATIENCE:?}");
        for event in events.iter().take(count) {
            if let Some(client) = clients.get_mut(usize::try_from(event.data())?) {
                client.go_on(plan, &mut buffer)?;
            }
        }
    }
    Ok(clients.iter().map(|client| client.answers).sum())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, body, clients, seconds, threads] = &arguments[..] else {
        bail!("usage: http-load IP:PORT PATH BODY CLIENTS SECONDS THREADS");
    };
    let begun = Instant::now();
    let plan = Plan {
        address: address.parse().context("IP:PORT")?,
        request: format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\n\r\n").into_bytes(),
        body: body.parse().context("BODY")?,
        until: begun + Duration::from_secs_f64(seconds.parse().context("SECONDS")?),
    };
    let clients: usize = clients.parse().context("CLIENTS")?;
    let threads: usize = threads.parse().context("THREADS")?;
    ensure!(threads > 0, "THREADS is at least 1");
    let share = |thread| clients / threads + usize::from(thread < clients % threads);
    let requests = threads::sum(threads, |thread| run(&plan, share(thread)))?;
    let took = begun.elapsed().as_secs_f64();
    println!("{{\"requests\": {requests}, \"seconds\": {took:.3}}}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Serves one connection, with the same answer in these pieces each time.
    fn server(pieces: &'static [&[u8]]) -> (SocketAddrV4, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it listens on IPv4")
        };
        let serve = move || {
            let (mut client, _) = listener.accept().unwrap();
            client.set_nodelay(true).unwrap();
            let mut bytes = [0; 4096];
            while client.read(&mut bytes).is_ok_and(|length| length > 0) {
                if pieces.is_empty() || pieces.iter().any(|piece| client.write_all(piece).is_err()) {
                    return;
                }
            }
        };
        (address, thread::spawn(serve))
    }

    fn load(pieces: &'static [&[u8]]) -> Result<u64> {
        let (address, server) = server(pieces);
        let plan = Plan {
            address,
            request: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            body: 3,
            until: Instant::now() + Duration::from_millis(200),
        };
        let answers = run(&plan, 1);
        server.join().unwrap();
        answers
    }

    #[test]
    fn answers_are_counted_however_they_come() {
        assert!(load(&[b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"]).unwrap() > 1);
        assert!(load(&[b"HTTP/1.1 200 OK\r\ncont", b"ent-length: 3\r\n\r\nab", b"c"]).unwrap() > 1);
    }

    #[test]
    fn anything_else_is_an_error() {
        let wrong = |pieces| load(pieces).unwrap_err().to_string();
        assert!(wrong(&[b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nabc"]).contains("503"));
        assert!(wrong(&[b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"]).contains("Some(4)"));
        assert!(wrong(&[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"]).contains("more came"));
        assert!(wrong(&[]).contains("closed"));
    }
}
