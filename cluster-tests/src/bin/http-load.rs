//! The load of the proxy bench: `http-load IP:PORT PATH BODY UPLOAD kept|closed CLIENTS SECONDS THREADS` has CLIENTS ask for
//! PATH, each again as soon as it was answered, and prints how often they were as JSON.
//!
//! It takes less than any proxy does for the same, so that the proxy is what there is too little of, also where the backend is
//! on the load's CPU. An answer other than 200 with BODY bytes ends it with an error, and so does a connection that is
//! closed where it should be kept.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// What is read at once.
const BUFFER: usize = 256 << 10;
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
    is_kept: bool,
    until: Instant,
}

/// Where a client is.
enum Turn {
    /// The request is not sent yet.
    Asks,
    /// The head of the answer is not whole yet; these bytes of it are there.
    Hears(Vec<u8>),
    /// So many bytes of the body are to come.
    Takes(usize),
    /// All is there but the end of the connection.
    Leaves,
}

/// One connection.
struct Client {
    socket: TcpStream,
    turn: Turn,
    /// Bytes of the request.
    sent: usize,
    answers: u64,
}

impl Client {
    fn connect(plan: &Plan, epoll: &Epoll, place: usize) -> Result<Self> {
        // Where a queue is full, the others go on.
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )?;
        match net::connect(&socket, &plan.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(both, place as u64))?;
        let mut client = Self {
            socket,
            turn: Turn::Asks,
            sent: 0,
            answers: 0,
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
        self.sent = 0;
        self.turn = Turn::Hears(Vec::new());
        Ok(())
    }

    /// Goes on after an event, as far as it can; whether the connection is still there.
    fn go_on(&mut self, plan: &Plan, buffer: &mut [u8]) -> Result<bool> {
        loop {
            let length = match &self.turn {
                Turn::Asks => return self.ask(plan).map(|()| true),
                // The kernel throws it away: a copy would be the load's cost, and bodies are compared elsewhere.
                Turn::Takes(_) => match recv(&self.socket, &mut *buffer, RecvFlags::TRUNC) {
                    Ok((_, length)) => length,
                    Err(Errno::AGAIN) => return Ok(true),
                    Err(error) => return Err(error).context("body"),
                },
                Turn::Hears(_) | Turn::Leaves => match self.socket.read(buffer) {
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error).context("answer"),
                },
            };
            match std::mem::replace(&mut self.turn, Turn::Leaves) {
                Turn::Leaves => {
                    ensure!(
                        length == 0,
                        "there is more, where the connection was to be closed"
                    );
                    return Ok(false);
                }
                _ if length == 0 => bail!("the connection was closed in place of an answer"),
                Turn::Takes(left) => self.take(plan, left, length)?,
                Turn::Hears(before) => self.hear(plan, before, buffer.get(..length).unwrap_or_default())?,
                Turn::Asks => {}
            }
            // Less than there was room for: the next byte makes an event, but the end may have come with the last one.
            if length < buffer.len() && !matches!(self.turn, Turn::Leaves) {
                return Ok(true);
            }
        }
    }

    fn hear(&mut self, plan: &Plan, mut before: Vec<u8>, bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes;
        if !before.is_empty() {
            before.extend_from_slice(bytes);
            bytes = &before;
        }
        let Some(length) = head(bytes, plan.body)? else {
            self.turn = Turn::Hears(bytes.to_vec());
            return Ok(());
        };
        self.take(plan, plan.body, bytes.len() - length)
    }

    /// So many more bytes of the body are there.
    fn take(&mut self, plan: &Plan, left: usize, length: usize) -> Result<()> {
        ensure!(length <= left, "{length} bytes came where {left} were left");
        if length < left {
            self.turn = Turn::Takes(left - length);
            return Ok(());
        }
        self.answers += 1;
        if plan.is_kept { self.ask(plan) } else { Ok(()) }
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
    let (mut answers, mut heard) = (0, Instant::now());
    while Instant::now() < plan.until {
        let count = epoll.wait(&mut events, EpollTimeout::from(100u8))?;
        if count > 0 {
            heard = Instant::now();
        }
        ensure!(heard.elapsed() < PATIENCE, "nobody was answered for {PATIENCE:?}");
        for event in events.iter().take(count) {
            let place = usize::try_from(event.data())?;
            let Some(client) = clients.get_mut(place) else {
                continue;
            };
            if !client.go_on(plan, &mut buffer)? {
                let next = connect(place)?;
                answers += std::mem::replace(client, next).answers;
            }
        }
    }
    Ok(answers + clients.iter().map(|client| client.answers).sum::<u64>())
}

fn request(path: &str, upload: usize, is_kept: bool) -> Vec<u8> {
    let begin = if upload > 0 {
        format!("POST {path} HTTP/1.1\r\nHost: bench.example\r\nContent-Length: {upload}\r\n")
    } else {
        format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\n")
    };
    let end = if is_kept {
        "\r\n"
    } else {
        "Connection: close\r\n\r\n"
    };
    let mut request = (begin + end).into_bytes();
    request.resize(request.len() + upload, b'x');
    request
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, body, upload, lasting, clients, seconds, threads] = &arguments[..] else {
        bail!("usage: http-load IP:PORT PATH BODY UPLOAD kept|closed CLIENTS SECONDS THREADS");
    };
    let begun = Instant::now();
    let is_kept = match &lasting[..] {
        "kept" => true,
        "closed" => false,
        _ => bail!("a connection is kept or closed, not {lasting}"),
    };
    let plan = Plan {
        address: address.parse().context("IP:PORT")?,
        request: request(path, upload.parse().context("UPLOAD")?, is_kept),
        body: body.parse().context("BODY")?,
        is_kept,
        until: begun + Duration::from_secs_f64(seconds.parse().context("SECONDS")?),
    };
    let (clients, threads): (usize, usize) = (
        clients.parse().context("CLIENTS")?,
        threads.parse().context("THREADS")?,
    );
    ensure!(threads > 0, "THREADS is at least 1");
    let share = |thread| clients / threads + usize::from(thread < clients % threads);
    let counts: Result<Vec<u64>> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let plan = &plan;
                    move || run(plan, share(thread))
                })
            })
            .collect();
        let ended = started.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .map(|count| count.map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .collect()
    });
    let (requests, took) = (counts?.into_iter().sum::<u64>(), begun.elapsed().as_secs_f64());
    println!("{{\"requests\": {requests}, \"seconds\": {took:.3}}}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one request on each of so many connections, as often as it is asked on one that is kept.
    fn server(answer: &'static [u8], connections: usize) -> (SocketAddrV4, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it listens on IPv4")
        };
        let serve = move |mut client: TcpStream| {
            let mut bytes = [0; 4096];
            while client.read(&mut bytes).is_ok_and(|length| length > 0) {
                if client.write_all(answer).is_err() || answer.starts_with(b"HTTP/1.1 200 closed") {
                    return;
                }
            }
        };
        let all = move || {
            for client in listener.incoming().take(connections) {
                serve(client.unwrap());
            }
        };
        (address, thread::spawn(all))
    }

    fn load(address: SocketAddrV4, is_kept: bool) -> Result<u64> {
        let plan = Plan {
            address,
            request: request("/", 0, is_kept),
            body: 3,
            is_kept,
            until: Instant::now() + Duration::from_millis(200),
        };
        run(&plan, 1)
    }

    const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
    const CLOSED: &[u8] = b"HTTP/1.1 200 closed\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn answers_are_counted_over_one_connection_or_many() {
        let (address, server_of_one) = server(KEPT, 1);
        assert!(load(address, true).unwrap() > 1);
        server_of_one.join().unwrap();
        let (address, _) = server(CLOSED, usize::MAX);
        assert!(load(address, false).unwrap() > 1);
    }

    #[test]
    fn anything_else_is_an_error() {
        let wrong = |answer, is_kept| load(server(answer, 1).0, is_kept).unwrap_err().to_string();
        assert!(wrong(b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nabc", true).contains("503"));
        assert!(wrong(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", true).contains("Some(4)"));
        assert!(wrong(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", true).contains("4 bytes came"));
        assert!(wrong(CLOSED, true).contains("closed"));
    }
}
