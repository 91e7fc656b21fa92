//! What is counted and timed: the steps of a plain request, one by one, and all of it on a worker.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use fleetbal::balance::{self, Pick};
use fleetbal::http::{Body, ForwardedFor, Forwarding, ResponseRules, request, response};
use fleetbal::manage::script;
use fleetbal::monitor::stats::Stats;
use fleetbal::snapshot::{NodeVariables, PoolView, Publisher, View};
use fleetbal::sockets::Sockets;
use fleetbal::workers::Workers;
use fleetbal_raft::model::ServiceName;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A plain request.
const REQUEST: &[u8] =
    b"GET /news/2024/05/?page=2 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 \
    (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0\r\nAccept: text/html,application/xhtml+xml\r\n\
    Accept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";

/// A plain answer, with its body.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 06 May 2024 10:00:00 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 64\r\nConnection: keep-alive\r\nETag: \"6638a1f0-40\"\r\n\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const KEEP_ALIVE: &[u8] = b"Connection: keep-alive\r\n";

/// One of the steps, ready to be done any number of times.
pub(crate) type Step = Box<dyn FnMut() -> Result<()>>;

/// Makes one ready.
pub(crate) type Make = fn() -> Result<Step>;

/// The steps by name.
pub(crate) const STEPS: [(&str, Make); 8] = [
    ("request", || Ok(request_step())),
    ("response", response_step),
    ("view", view_step),
    ("route_10", || route_step(10)),
    ("route_1000", || route_step(1000)),
    ("pick", pick_step),
    ("core", core_step),
    ("worker", worker_step),
];

/// A configuration of so many pools of ten backends, each with a service.
fn configuration(objects: usize, backend: Option<SocketAddr>, listen: SocketAddr) -> Result<View> {
    let mut text = String::new();
    for number in 0..objects {
        writeln!(text, "CREATE POOL p{number}")?;
        match backend {
            Some(backend) => writeln!(text, "POOL p{number} ADD {backend}")?,
            None => {
                for last in 1..=10 {
                    let (high, low) = (number / 250, number % 250);
                    writeln!(text, "POOL p{number} ADD 10.{high}.{low}.{last}:80")?;
                }
            }
        }
        writeln!(
            text,
            "CREATE SERVICE s{number}\nSET role = reverse_proxy\nSET listen = {listen}"
        )?;
        writeln!(
            text,
            "SET pool = p{number}\nSET persist_client = on\nSET persist_backend = on"
        )?;
        writeln!(text, "ENABLE s{number}")?;
    }
    let script = script::interpret(text.as_bytes(), |_| None)
        .map_err(|wrong| anyhow!("line {}: {}", wrong.line, wrong.text))?;
    let (mut publisher, view) = Publisher::new(NodeVariables::default());
    publisher.publish(&Arc::new(script.config));
    Ok(view)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

fn forwarding() -> Forwarding<'static> {
    Forwarding {
        peer: b"192.0.2.17",
        forwarded_for: ForwardedFor::Replace,
        persist_backend: true,
        special: None,
        secure: false,
    }
}

fn request_step() -> Step {
    let mut output = Vec::with_capacity(4096);
    Box::new(move || {
        let head = request::read(black_box(REQUEST), forwarding(), &mut output)?;
        ensure!(head.is_some());
        Ok(())
    })
}

fn response_step() -> Result<Step> {
    let mut output = Vec::with_capacity(4096);
    let head = request::read(REQUEST, forwarding(), &mut output)?.context("it is whole")?;
    Ok(Box::new(move || {
        let rules = ResponseRules::new(&head, Some(KEEP_ALIVE));
        let head = response::read(black_box(RESPONSE), rules, &mut output)?.context("it is whole")?;
        let body = RESPONSE.get(head.length..).unwrap_or_default();
        ensure!(Body::new(head.framing).take(black_box(body))? == 64);
        Ok(())
    }))
}

/// What a request does when the configuration has not changed.
fn view_step() -> Result<Step> {
    let view = configuration(10, None, nowhere())?;
    Ok(Box::new(move || {
        ensure!(black_box(&view).load().generation() > 0);
        Ok(())
    }))
}

/// What the first request on a worker after a change does.
fn route_step(services: usize) -> Result<Step> {
    let view = configuration(services, None, nowhere())?;
    let name = format!("s{}", services / 2);
    Ok(Box::new(move || {
        let snapshot = view.load();
        let service = snapshot.service(black_box(&name)).context("it is there")?;
        black_box(Arc::clone(service));
        Ok(())
    }))
}

fn pick_step() -> Result<Step> {
    let view = configuration(1, None, nowhere())?;
    let pool = Arc::clone(view.load().pool("p0").context("it is there")?);
    let mut rng = StdRng::seed_from_u64(1);
    let now = Instant::now();
    Ok(Box::new(move || {
        ensure!(pick(&pool, now, &mut rng).is_some());
        Ok(())
    }))
}

fn pick(pool: &PoolView, now: Instant, rng: &mut StdRng) -> Option<usize> {
    let backends = black_box(pool).backends();
    let usable = |at: usize| backends.get(at).is_some_and(|backend| !backend.is_barred(now));
    let request = Pick {
        turn: pool.next_turn(),
        hash: 0,
        now,
    };
    balance::pick(pool, request, usable, rng)
}

/// All of a request but input, output and the choice of a connection.
fn core_step() -> Result<Step> {
    let (mut request, mut response) = (request_step(), response_step()?);
    let (mut view, mut pick) = (view_step()?, pick_step()?);
    let stats = Stats::new();
    let service = stats.service(&ServiceName::parse("s0")?);
    Ok(Box::new(move || {
        let shard = black_box(&service).shard(0);
        shard.request_started();
        view()?;
        request()?;
        pick()?;
        response()?;
        shard.answered(200);
        shard.request_ended();
        Ok(())
    }))
}

/// A request through a worker: from a client's socket to a backend's and back. The worker is the first thread that
/// this starts.
fn worker_step() -> Result<Step> {
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let backend = TcpListener::bind("127.0.0.1:0")?;
    let view = configuration(1, Some(backend.local_addr()?), listen)?;
    let workers = Workers::start(1, view, Arc::new(Stats::new()))?;
    workers.open(&ServiceName::parse("s0")?, listen, &Sockets::default())?;
    thread::spawn(move || {
        for stream in backend.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    let mut client = TcpStream::connect(listen)?;
    client.set_nodelay(true)?;
    Ok(Box::new(move || {
        // The workers stay as long as there is somebody to serve.
        let _ = &workers;
        client.write_all(REQUEST)?;
        read_until(
            &mut client,
            RESPONSE.get(RESPONSE.len() - 64..).unwrap_or_default(),
        )
    }))
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        read_until(&mut stream, b"\r\n\r\n")?;
        stream.write_all(RESPONSE)?;
    }
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Result<()> {
    let (mut buffer, mut length) = ([0; 4096], 0);
    while !buffer.get(..length).is_some_and(|read| read.ends_with(end)) {
        let rest = buffer
            .get_mut(length..)
            .context("it is longer than it should be")?;
        match stream.read(rest)? {
            0 => return Err(anyhow!("the connection was closed")),
            more => length += more,
        }
    }
    Ok(())
}
