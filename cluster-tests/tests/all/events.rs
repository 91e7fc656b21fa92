//! `/api/v1/events`: what happens anywhere in the fleet, told by each of its nodes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Result, wait};
use serde_json::Value;

/// An event as it came.
#[derive(Debug, Default)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

/// Somebody who reads events.
struct Reader {
    lines: BufReader<TcpStream>,
}

impl Reader {
    /// Connects, and reads until the first bytes behind the head are there.
    fn of(address: SocketAddr, last: Option<&str>) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        let last = last
            .map(|id| format!("Last-Event-ID: {id}\r\n"))
            .unwrap_or_default();
        write!(
            stream,
            "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n{last}\r\n"
        )?;
        let mut reader = Self {
            lines: BufReader::new(stream),
        };
        let mut head = Vec::new();
        while !head.contains(&": events".to_owned()) {
            head.push(reader.line()?);
        }
        ensure!(
            head.contains(&"HTTP/1.1 200 OK".to_owned())
                && head.contains(&"content-type: text/event-stream".to_owned()),
            "{head:#?}"
        );
        Ok(reader)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).context("no further event")?;
        ensure!(length > 0, "the node closed the connection");
        Ok(line.trim_end().to_owned())
    }

    /// The next event; lengths of chunks and comments between them are passed over.
    fn next(&mut self) -> Result<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut event.id);
            } else if let Some(kind) = line.strip_prefix("event: ") {
                kind.clone_into(&mut event.kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = serde_json::from_str(data)?;
                return Ok(event);
            }
        }
    }

    /// The next one that has these in its data.
    fn wait(&mut self, kind: &str, wanted: &[(&str, &str)]) -> Result<Event> {
        let mut others = Vec::new();
        loop {
            let event = self
                .next()
                .with_context(|| format!("{kind} {wanted:?} not in {others:#?}"))?;
            let has = |(key, value): &(&str, &str)| {
                let told = event.data.get(key);
                // Texts as they are, and numbers as they are written.
                told.is_some_and(|told| told.to_string().trim_matches('"') == *value)
            };
            if event.kind == kind && wanted.iter().all(has) {
                return Ok(event);
            }
            others.push(event);
        }
    }
}

#[test]
fn each_node_tells_of_changes_health_and_members() -> Result {
    let mut fleet = Fleet::of_three()?;
    let address = fleet.node(2)?.management();
    let mut reader = Reader::of(address, None)?;
    // Of the configuration, typed elsewhere.
    let mut manage = fleet.node(1)?.manage()?;
    manage.change("CREATE POOL blue")?;
    let version = fleet.node(1)?.version()?.to_string();
    let told = reader.wait(
        "change",
        &[("version", &version), ("node", "n1"), ("changes", "1")],
    )?;
    let text = |event: &Event, key: &str| event.data[key].as_str().unwrap_or_default().to_owned();
    ensure!(
        text(&told, "summary").eq_ignore_ascii_case("CREATE POOL blue"),
        "{told:?}"
    );
    ensure!(
        text(&told, "who").starts_with(&fleet.node(1)?.address.to_string()[..4]),
        "{told:?}"
    );
    // Of a backend that nobody listens at, and of its end.
    let [first, second, third, _] = fleet.node(1)?.address.octets();
    let dead = format!("{first}.{second}.{third}.250:8000");
    manage.change(&format!("POOL blue ADD {dead}"))?;
    manage.change("SET blue.health_tcp = on")?;
    manage.change("SET blue.health_interval = 1")?;
    manage.change("CREATE SERVICE blues")?;
    manage.change("SET blues.role = reverse_proxy")?;
    manage.change("SET blues.pool = blue")?;
    let down = reader.wait(
        "health",
        &[("pool", "blue"), ("backend", &dead), ("state", "down")],
    )?;
    ensure!(text(&down, "reason").contains("refused"), "{down:?}");
    // Of a node.
    fleet.kill(3)?;
    let member = reader.wait("member", &[("node", "n3"), ("state", "dead")])?;
    drop(reader);
    // Whoever comes back is told what came behind the last one that it had, and of what it cannot be told.
    let mut again = Reader::of(address, Some(&down.id))?;
    let told = again.wait("member", &[("node", "n3"), ("state", "dead")])?;
    ensure!(told.id == member.id, "{told:?}, {member:?}");
    let mut stranger = Reader::of(fleet.node(1)?.management(), Some(&down.id))?;
    ensure!(
        stranger.next()?.kind == "missed",
        "an id of another node was known"
    );
    fleet.restart(3)?;
    stranger.wait("member", &[("node", "n3"), ("state", "alive"), ("ready", "true")])?;
    fleet.wait_settled()?;
    fleet.passed()
}

#[test]
fn the_same_may_read_as_may_read_other_pages() -> Result {
    let fleet = Fleet::of_three()?;
    let address = fleet.node(1)?.management();
    let answer = |fields: &str| -> Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET /api/v1/events HTTP/1.1\r\n{fields}\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    for (fields, wanted) in [
        ("Host: evil.example\r\n".to_owned(), " 421 "),
        (String::new(), " 400 "),
        (
            format!("Host: {address}\r\nAuthorization: Bearer wrong\r\n"),
            " 401 ",
        ),
        (format!("Host: {address}\r\n"), " 200 "),
    ] {
        let line = answer(&fields)?;
        ensure!(line.contains(wanted), "{fields}: {line}");
    }
    fleet.passed()
}
