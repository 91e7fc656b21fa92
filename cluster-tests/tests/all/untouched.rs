//! A change keeps what it does not touch: idle connections, counters, queues and health of other pools live on through a
//! thousand changes elsewhere.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::message::{Kind, Message};
use fleetbal_cluster_tests::{Fleet, Plan, Reply, Result, wait};

/// Rounds of ten changes: as many as pass well before the reluctant backend's verification is given up, which is after 15
/// seconds; then those who waited are served, and others wait.
const ROUNDS: usize = 25;

/// How often.
const TIMES: usize = 4;

/// Requests at the same time, and idle connections afterwards.
const AT_ONCE: usize = 4;

/// What those ask for who wait.
const PATHS: [&str; 3] = ["/a", "/b", "/c"];

/// A backend that verifies no connection until it is told to.
struct Reluctant {
    address: SocketAddr,
    is_willing: Arc<AtomicBool>,
    served: Arc<Mutex<Vec<String>>>,
}

impl Reluctant {
    /// Its threads end with the process.
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let reluctant = Self {
            address: listener.local_addr()?,
            is_willing: Arc::default(),
            served: Arc::default(),
        };
        let (is_willing, served) = (Arc::clone(&reluctant.is_willing), Arc::clone(&reluctant.served));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (is_willing, served) = (Arc::clone(&is_willing), Arc::clone(&served));
                // Who asks may have given up.
                thread::spawn(move || drop(serve(stream, &is_willing, &served)));
            }
        });
        Ok(reluctant)
    }

    fn served(&self) -> Vec<String> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, is_willing: &AtomicBool, served: &Mutex<Vec<String>>) -> Result {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Message::read(&mut reader, Kind::Request)? {
        while !is_willing.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        if request.start.starts_with("OPTIONS ") {
            stream.write_all(b"HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let path = request.start.split(' ').nth(1).unwrap_or_default();
        let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
        served.push(path.to_owned());
        // Those who come next have to wait for a connection again.
        stream.write_all(b"HTTP/1.1 200 Fine\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
        break;
    }
    Ok(())
}

fn plan(held: SocketAddr) -> Plan {
    let extra = format!(
        "SET web.outlier_5xx = 2\nSET web.outlier_eject_time = 600\nSET web.outlier_max_ejected = 50\n\
         SET www.idle_timeout = 600\nSET www.backend_persist_cache = 10\n\
         CREATE POOL held\nPOOL held ADD {held}\n\
         CREATE SERVICE patient\nSET role = reverse_proxy\nSET pool = held\nSET verify_backend = on\n\
         SET idle_timeout = 600\nSET listen = ${{node:ip}}:8081\nENABLE patient\n\
         CREATE POOL other\nCREATE SERVICE spare\nSET role = reverse_proxy\nSET pool = other\n"
    );
    Plan {
        backends: 2,
        pooled: 2,
        extra,
        ..Plan::default()
    }
}

/// What `health` says of a backend on node 1.
fn health(fleet: &Fleet, backend: &str) -> Result<(String, u64, String)> {
    let line = fleet.node(1)?.manage()?.health(backend)?;
    let mut words = line.splitn(5, ' ').skip(2).map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    Ok((word(), word().parse()?, word()))
}

/// What is counted of a backend on node 1, without when.
fn counters(fleet: &Fleet, backend: &str) -> Result<Vec<String>> {
    let mut lines = fleet.node(1)?.manage()?.data(&format!("nodes {backend}"))?;
    lines.retain(|line| !line.contains(" last"));
    Ok(lines)
}

/// Ten changes, none of which is about what is looked at.
fn changes(round: usize) -> Vec<String> {
    let spare = format!("127.99.0.{}:80", round % 250 + 1);
    vec![
        format!("POOL other ADD {spare}"),
        format!("SET other.health_interval = {}", round % 50 + 1),
        format!("SET other.slow_start = {}", round % 50 + 1),
        format!("SET spare.queue_limit = {}", round + 1),
        format!("CREATE POOL p{round}"),
        format!("POOL p{round} ADD {spare}"),
        format!("SET p{round}.outlier_5xx = {}", round % 50 + 1),
        format!("CREATE SERVICE s{round}"),
        format!("SET s{round}.role = reverse_proxy"),
        format!("POOL other REMOVE {spare}"),
    ]
}

/// Types a quarter of the thousand, each round a transaction, at the nodes in turn.
fn change(fleet: &Fleet, time: usize) -> Result {
    for round in time * ROUNDS..(time + 1) * ROUNDS {
        let mut hand = fleet.node(round % 3 + 1)?.manage()?;
        hand.change("sync")?;
        let mut lines = changes(round);
        lines.insert(0, "begin".to_owned());
        lines.push("commit".to_owned());
        hand.send((lines.join("\r\n") + "\r\n").as_bytes())?;
        for line in &lines {
            let reply = hand.reply()?;
            ensure!(reply == Reply::Ok, "'{line}' was answered {reply:?}");
        }
    }
    Ok(())
}

/// What of node 1 has to stay as it is.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    /// Connections that its backend accepted, and those that are open.
    connections: (usize, usize),
    /// What is counted of that backend.
    counters: Vec<String>,
    /// Requests of the one that was taken out.
    unused: u64,
    /// Why it was, and how often.
    out: (String, String, u64),
    queues: Vec<String>,
}

impl Kept {
    fn of(fleet: &mut Fleet) -> Result<Self> {
        let (well, failing) = addresses(fleet)?;
        let (standing, _, reason) = health(fleet, &failing)?;
        let ejections = format!("fleetbal_backend_ejections_total{{pool=\"web\",backend=\"{failing}\"}} ");
        let metrics = fleet.node(1)?.metrics()?;
        let ejections = metrics.lines().find_map(|line| line.strip_prefix(&ejections));
        let mut queues = fleet.node(1)?.manage()?.data("queues")?;
        queues.retain(|line| line.starts_with("patient-") && line.contains(".count "));
        Ok(Self {
            connections: (fleet.backend(1)?.connections(), fleet.backend(1)?.open()),
            counters: counters(fleet, &well)?,
            unused: fleet.backend(2)?.count(),
            out: (standing, reason, ejections.context("no ejections")?.parse()?),
            queues,
        })
    }
}

/// The backend that is well, and the one that is taken out.
fn addresses(fleet: &mut Fleet) -> Result<(String, String)> {
    let (well, failing) = (fleet.backend(1)?.address(), fleet.backend(2)?.address());
    Ok((well.to_string(), failing.to_string()))
}

/// Health that only node 1 knows, and that it would not find again: the backend is well from here on.
fn take_one_out(fleet: &mut Fleet) -> Result {
    let (_, failing) = addresses(fleet)?;
    fleet.backend(2)?.fail_requests(true);
    wait::for_true("n1 to take it out", wait::PATIENCE, || {
        fleet.node(1)?.get("/")?;
        Ok(health(fleet, &failing)?.0 == "down")
    })?;
    fleet.backend(2)?.fail_requests(false);
    Ok(())
}

/// Leaves idle connections, each of which a request has used: one that was opened in vain is closed after five seconds,
/// whatever changes. So these requests are all at the backend before the first is answered.
fn use_at_once(fleet: &mut Fleet) -> Result {
    wait::for_true("requests at the same time", wait::PATIENCE, || {
        let wanted = fleet.backend(1)?.count() + u64::try_from(AT_ONCE)?;
        let begun = Instant::now();
        let mut clients = Vec::new();
        for _ in 0..AT_ONCE {
            let mut http = Http::connect(fleet.node(1)?.traffic())?;
            http.send(b"GET /slow/1000 HTTP/1.1\r\nHost: h\r\n\r\n")?;
            clients.push(http);
        }
        wait::for_true("them to arrive", wait::PATIENCE, || {
            Ok(fleet.backend(1)?.count() >= wanted)
        })?;
        let are_together = begun.elapsed() < Duration::from_secs(1);
        for client in &mut clients {
            let answer = client.response(Kind::Response)?;
            ensure!(answer.text() == "b1", "{}", answer.start);
        }
        Ok(are_together)
    })
}

/// Requests that wait, in order.
fn queue(fleet: &Fleet) -> Result<Vec<Http>> {
    let mut patient = fleet.node(1)?.traffic();
    patient.set_port(8081);
    let mut manage = fleet.node(1)?.manage()?;
    let mut clients = Vec::new();
    for path in PATHS {
        let mut http = Http::connect(patient)?;
        http.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
        clients.push(http);
        let wanted = format!("patient-normal.count {}", clients.len());
        wait::for_true(&wanted, wait::PATIENCE, || {
            Ok(manage.data("queues")?.contains(&wanted))
        })?;
    }
    Ok(clients)
}

/// Changes much elsewhere while some wait, and then has those served.
fn change_beside(fleet: &mut Fleet, reluctant: &Reluctant, time: usize) -> Result {
    let served_before = reluctant.served().len();
    // A connection that was verified for nobody would serve the next at once.
    let mut manage = fleet.node(1)?.manage()?;
    for word in ["REMOVE", "ADD"] {
        manage.change(&format!("POOL held {word} {}", reluctant.address))?;
    }
    let mut clients = queue(fleet)?;
    let kept = Kept::of(fleet)?;
    let version = fleet.node(1)?.version()?;
    change(fleet, time)?;
    wait::for_true("n1 to have all of it", wait::PATIENCE, || {
        Ok(fleet.node(1)?.version()? >= version + u64::try_from(ROUNDS)?)
    })?;
    let now = Kept::of(fleet)?;
    ensure!(now == kept, "before {kept:?}, now {now:?}");
    ensure!(
        reluctant.served().len() == served_before,
        "{:?}",
        reluctant.served()
    );
    reluctant.is_willing.store(true, Ordering::SeqCst);
    for client in &mut clients {
        let answer = client.response(Kind::Response)?;
        ensure!(answer.status()? == 200, "{}", answer.start);
    }
    reluctant.is_willing.store(false, Ordering::SeqCst);
    // Once one connection is verified there are others, and these are served side by side.
    let mut served = reluctant.served().split_off(served_before);
    served.sort();
    ensure!(served == PATHS, "{served:?}");
    Ok(())
}

#[test]
fn connections_counters_queues_and_health_survive_a_thousand_changes_elsewhere() -> Result {
    let reluctant = Reluctant::start()?;
    let mut fleet = Fleet::start(&plan(reluctant.address))?;
    let (_, failing) = addresses(&mut fleet)?;
    take_one_out(&mut fleet)?;
    use_at_once(&mut fleet)?;
    let open = fleet.backend(1)?.open();
    ensure!(open >= AT_ONCE, "{open} connections are idle");
    let accepted = fleet.backend(1)?.connections();
    let (_, since, _) = health(&fleet, &failing)?;
    let start = Instant::now();
    for time in 0..TIMES {
        change_beside(&mut fleet, &reluctant, time)?;
    }
    let took = start.elapsed();
    println!("{} changes took {took:?}", 10 * ROUNDS * TIMES);
    let (_, still, _) = health(&fleet, &failing)?;
    ensure!(
        still + 1 >= since + took.as_secs(),
        "down for {still} s after {took:?}"
    );
    // The idle connections are not only there: they are used.
    for _ in 0..2 * open {
        ensure!(fleet.node(1)?.get("/")?.text() == "b1");
    }
    let used = (fleet.backend(1)?.connections(), fleet.backend(1)?.open());
    ensure!(
        used == (accepted, open),
        "before {accepted}, {open} open; now {used:?}"
    );
    fleet.passed()
}
