//! Whatever is typed at a management port: every line gets its answer, the process lives, traffic goes on, and the
//! configuration is what the lines say that were accepted.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Backend, Manage, Reply, Result, client, wait};

use crate::standalone::Place;

/// Lines in CI, and in the full run.
const SHORT: usize = 2_000;
const FULL: usize = 20_000;

/// Lines that are typed before their answers are read.
const AHEAD: usize = 200;

/// What lines are made of. None of them ends a connection or a process.
const LINES: &[&str] = &[
    "CREATE POOL p@",
    "CREATE SERVICE s@",
    "USE p@",
    "USE s@",
    "POOL p@ ADD 10.0.0.@:80",
    "POOL p@ ADD 10.0.@.1",
    "POOL p@ REMOVE 10.0.0.@:80",
    "POOL ADD p@ 10.1.0.@:8080",
    "SET s@.role = reverse_proxy",
    "SET s@.role = web_server",
    "SET role = selector",
    "SET s@.pool = p@",
    "SET pool = p@",
    "SET persist_client = on",
    "SET s@.persist_backend = off",
    "SET s@.idle_timeout = @",
    "SET s@.buffer_size = @k",
    "SET s@.connect_ahead = @",
    "SET p@.balance_method = round_robin",
    "SET p@.balance_method = random",
    "SET s@.error_retry_schedule = 0,.5,@",
    "SET s@.trusted_upstream_proxies = 10.0.0.0/@",
    "HEADER s@ INSERT X-At: v@",
    "HEADER s@ REMOVE X-At@",
    "DEFAULT persist_client = on",
    "DEFAULT idle_timeout = @",
    "ENABLE s@",
    "DISABLE s@",
    "mime set x@ text/plain",
    "mime remove x@",
    "LOAD vhosts",
    "LOAD vpaths",
    "VHOST s@ h@.example = s@",
    "VPATH s@ ^/@ = s@",
    "SERVER max_reproxy_connections = @",
    "POOL p@ DRAIN 10.0.0.@:80",
    "POOL p@ UNDRAIN 10.0.0.@:80",
    "POOL p@ ADD 10.0.0.@:81 weight @",
    "show service s@",
    "show pool p@",
    "show service",
    "dumpconfig",
    "states",
    "socks summary",
    "queues",
    "nodes",
    "proc",
    "uptime",
    "config version",
    "config history 2",
    "effects",
    "health",
    "cluster status",
    "why GET http://h@.example/",
    "# a comment",
    "",
    "   ",
    "verbose on",
    "help",
    "prof on",
];

/// Numbers that look thrown: always the same for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// A line without its end.
    fn line(&mut self) -> Vec<u8> {
        let template = LINES.get(self.below(LINES.len())).copied().unwrap_or_default();
        let mut line = String::new();
        for c in template.chars() {
            if c == '@' {
                write!(line, "{}", self.below(9)).unwrap_or_default();
            } else {
                line.push(c);
            }
        }
        let mut line = line.into_bytes();
        match self.below(10) {
            0 => line = (0..self.below(80)).map(|_| self.byte()).collect(),
            1 | 2 => self.mutate(&mut line),
            3 if self.below(50) == 0 => line.resize(1 << 20, b'x'),
            _ => {}
        }
        line.retain(|byte| *byte != b'\n');
        if is_safe(&line) {
            line
        } else {
            b"show pool".to_vec()
        }
    }

    fn mutate(&mut self, line: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(line.len() + 1);
            let byte = self.byte();
            match self.below(4) {
                0 => line.insert(at, byte),
                1 if at < line.len() => drop(line.remove(at)),
                2 => line.truncate(at),
                _ => line.extend_from_within(..at),
            }
        }
    }
}

/// What ends a connection or hides an answer is another test's matter.
fn is_safe(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).to_lowercase();
    let ends = ["quit", "exit", "shutdown", "verbose off", "http/", "auth"];
    let methods = [
        "get ", "head ", "post ", "put ", "delete ", "options ", "patch ", "trace ", "connect ",
    ];
    !ends.iter().any(|end| text.contains(end)) && !methods.iter().any(|method| text.starts_with(method))
}

/// Types lines and reads their answers; what was answered `OK`.
fn type_all(address: SocketAddr, lines: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.set_nodelay(true)?;
    let writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut accepted = Vec::new();
    for (batch, lines) in lines.chunks(AHEAD).enumerate() {
        let mut bytes = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(if number % 2 == 0 { b"\n" } else { b"\r\n" });
            bytes.extend(format!("end_{batch}_{number}\n").into_bytes());
        }
        // In pieces that end anywhere, while the answers are read.
        let writing = thread::spawn({
            let mut writer = writer.try_clone()?;
            move || -> std::io::Result<()> {
                bytes.chunks(1_337).try_for_each(|piece| writer.write_all(piece))
            }
        });
        for (number, line) in lines.iter().enumerate() {
            let shown =
                String::from_utf8_lossy(line.get(..line.len().min(100)).unwrap_or_default()).into_owned();
            let answer = answer(
                &mut reader,
                &format!("ERROR: unknown command: end_{batch}_{number}"),
            )
            .with_context(|| format!("behind {shown:?}"))?;
            check_form(&shown, &answer)?;
            if is_accepted(&answer) {
                accepted.push(line.clone());
            }
        }
        writing
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    }
    writer.shutdown(Shutdown::Both)?;
    Ok(accepted)
}

fn answer(reader: &mut impl BufRead, end: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        ensure!(
            reader.read_line(&mut line)? > 0,
            "the connection ended after {lines:?}"
        );
        let line = line.trim_end_matches(['\r', '\n']);
        if line == end {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

/// Whether something was changed: `OK`, or a sentence, as of `mime`.
fn is_accepted(answer: &[String]) -> bool {
    match answer {
        [only] => only == "OK" || (only.len() > 1 && only.ends_with('.') && !only.starts_with("ERROR: ")),
        _ => false,
    }
}

/// One answer: `OK`, one error, data with its end, or nothing where nothing was said.
fn check_form(shown: &str, answer: &[String]) -> Result {
    let (first, last) = (answer.first(), answer.last());
    let good = match (first, last) {
        (None, _) => {
            let code = shown.split('#').next().unwrap_or_default();
            code.trim().is_empty() || code.starts_with('$')
        }
        (Some(first), Some(_)) if answer.len() == 1 => {
            first == "." || first.starts_with("ERROR: ") || is_accepted(answer)
        }
        (Some(first), Some(last)) => !first.starts_with("ERROR: ") && (last == "." || last == "OK"),
        (Some(_), None) => false,
    };
    ensure!(good, "{shown:?} was answered {answer:?}");
    Ok(())
}

/// A node, a backend, and somebody who asks all the time.
struct Node {
    place: Place,
    process: Process,
    _backends: [Backend; 2],
}

impl Node {
    fn start() -> Result<Self> {
        let place = Place::new()?;
        let backends = [
            Backend::start("b1", place.net.backend(1))?,
            Backend::start("b2", place.net.backend(2))?,
        ];
        let process = place.start(&place.config())?;
        let node = Self {
            place,
            process,
            _backends: backends,
        };
        wait::for_true("traffic", wait::PATIENCE, || {
            Ok(client::get(node.traffic(), "/")?.status()? == 200)
        })?;
        Ok(node)
    }

    fn traffic(&self) -> SocketAddr {
        (self.place.net.node(1), 8080).into()
    }

    fn management(&self) -> SocketAddr {
        (self.place.net.node(1), 60000).into()
    }

    fn dump(&self) -> Result<Vec<String>> {
        let own = self.place.net.node(1).to_string();
        let backends = self.place.net.backend(1).to_string();
        let (backends, _) = backends.rsplit_once('.').context("no address")?;
        let mut lines = Manage::connect(self.management())?.data("dumpconfig")?;
        for line in &mut lines {
            // Two nodes, two nets.
            *line = line.replace(&own, "OWN").replace(backends, "NET");
        }
        Ok(lines)
    }

    /// Asks for pages until `ended`; how many were answered.
    fn ask_on(address: SocketAddr, ended: &AtomicBool, answered: &AtomicU64) -> Result {
        while !ended.load(Ordering::Relaxed) {
            let status = client::get(address, "/")?.status()?;
            ensure!(status == 200, "a request was answered {status}");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn storm(count: usize) -> Result {
    let seed = std::env::var("FLEETBAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | 1);
    println!("FLEETBAL_SEED={seed}");
    let mut dice = Dice(seed);
    let lines: Vec<_> = (0..count).map(|_| dice.line()).collect();
    let mut node = Node::start()?;
    let (ended, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = node.traffic();
    let accepted = thread::scope(|scope| {
        let asking = scope.spawn(|| Node::ask_on(address, &ended, &answered));
        let accepted = type_all(node.management(), &lines);
        ended.store(true, Ordering::Relaxed);
        asking
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?
            .context("traffic")?;
        accepted
    })?;
    ensure!(
        answered.load(Ordering::Relaxed) > 0,
        "nothing was asked meanwhile"
    );
    ensure!(node.process.ended()?.is_none(), "the process ended");
    ensure!(
        accepted.len() > count / 50,
        "only {} lines were accepted",
        accepted.len()
    );
    let fresh = Node::start()?;
    let again = type_all(fresh.management(), &accepted)?;
    ensure!(again == accepted, "what was accepted once was not accepted again");
    let (once, again) = (node.dump()?, fresh.dump()?);
    if let Some((one, other)) = once.iter().zip(&again).find(|(one, other)| one != other) {
        bail!("the configurations differ: '{one}' and '{other}'");
    }
    ensure!(once.len() == again.len(), "the configurations differ in length");
    Ok(())
}

#[test]
fn what_was_accepted_is_what_there_is() -> Result {
    storm(SHORT)
}

#[test]
#[ignore = "a minute; see docs/CONTRIBUTING.md"]
fn what_was_accepted_is_what_there_is_in_full() -> Result {
    storm(FULL)
}

#[test]
fn what_is_no_line_ends_nothing() -> Result {
    let mut node = Node::start()?;
    let before = node.dump()?;
    // Half a line, and nothing more: it was no line.
    let mut half = TcpStream::connect(node.management())?;
    half.write_all(b"CREATE POOL half")?;
    half.shutdown(Shutdown::Write)?;
    ensure!(
        half.read_to_end(&mut Vec::new())? == 0,
        "half a line was answered"
    );
    // A megabyte in one line, and the next line on the same connection.
    let mut manage = Manage::connect(node.management())?;
    let mut long = vec![b'a'; 1 << 20];
    long.push(b'\n');
    manage.send(&long)?;
    manage.send(b"verbose on\n")?;
    let answers = [manage.reply()?, manage.reply()?];
    let wanted = "line too long: at most 65536 bytes".to_owned();
    ensure!(answers == [Reply::Error(wanted), Reply::Ok], "{answers:?}");
    // Every byte there is, as lines and as none.
    let mut binary: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
    binary.push(b'\n');
    let mut stream = TcpStream::connect(node.management())?;
    stream.write_all(&binary)?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let lines = said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    ensure!(lines.clone().count() > 200, "{} answers", lines.count());
    ensure!(node.dump()? == before, "something was changed");
    ensure!(node.process.ended()?.is_none(), "the process ended");
    Ok(())
}

#[test]
fn five_hundred_at_once_are_answered() -> Result {
    let mut node = Node::start()?;
    let mut open = Vec::new();
    for number in 0..500 {
        let mut stream = TcpStream::connect(node.management())?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        write!(stream, "show pool none_{number}")?;
        open.push(stream);
    }
    // All lines are half, and those of others are answered all the same.
    Manage::connect(node.management())?.data("uptime")?;
    for stream in &mut open {
        stream.write_all(b"\n")?;
    }
    for (number, stream) in open.into_iter().enumerate() {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let wanted = format!("ERROR: pool 'none_{number}' does not exist\r\n");
        ensure!(line == wanted, "number {number} got {line:?}");
    }
    ensure!(client::get(node.traffic(), "/")?.status()? == 200, "no traffic");
    ensure!(node.process.ended()?.is_none(), "the process ended");
    Ok(())
}
