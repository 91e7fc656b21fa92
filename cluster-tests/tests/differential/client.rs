//! A client that sends bytes as they are, and records what it gets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use fleetbal_cluster_tests::Result;

use super::backend::{Record, read_chunks, read_length};
use super::bridge;
use super::corpus::Step;
use super::text::{self, Places};
use super::transcript::{Client, Event, Message};

/// Longer than any timeout of an exchange: one second, and Perlbal's sweep every five.
const SILENCE: Duration = Duration::from_secs(11);

/// How long a connection that was promised to stay open is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Plays the steps of a client.
pub(crate) struct Steps<'a> {
    /// Where the service is.
    pub(crate) service: SocketAddr,
    /// Whether it is spoken to over TLS.
    pub(crate) tls: bool,
    /// What places stand for.
    pub(crate) places: &'a Places,
    /// What the backends record.
    pub(crate) record: &'a Record,
    /// Starts a backend that is late.
    pub(crate) up: &'a dyn Fn(usize) -> Result,
}

/// A connection and what was seen on it.
#[derive(Debug)]
struct Connection {
    reader: BufReader<TcpStream>,
    events: Vec<Event>,
    ended: bool,
    /// Whether the last response said that it will be closed.
    closes: bool,
}

impl Steps<'_> {
    /// Plays them; what was seen on each connection.
    ///
    /// # Errors
    /// When the service cannot be reached, or what is waited for does not come.
    pub(crate) fn play(&self, steps: &[Step]) -> Result<Vec<Client>> {
        let mut connections: BTreeMap<String, Connection> = BTreeMap::new();
        let mut name = "a".to_owned();
        for step in steps {
            match step {
                Step::Pause(millis) => thread::sleep(Duration::from_millis(*millis)),
                Step::Await(count) => self.record.wait_requests(*count)?,
                Step::Opened(count) => self.record.wait_opened(*count)?,
                Step::Up(number) => (self.up)(*number)?,
                Step::Release => self.record.release(),
                Step::Client(other) => name.clone_from(other),
                Step::Send(_) | Step::Read { .. } | Step::Shut | Step::Close => {
                    if !connections.contains_key(&name) {
                        connections.insert(name.clone(), Connection::open(self.service, self.tls)?);
                    }
                    let connection = connections.get_mut(&name).context("no connection")?;
                    connection.step(step, self.places)?;
                }
            }
        }
        let clients = connections.into_iter().map(|(name, mut connection)| {
            connection.finish(self.places);
            let events = connection.events;
            Client { name, events }
        });
        Ok(clients.collect())
    }
}

impl Connection {
    fn open(service: SocketAddr, tls: bool) -> Result<Self> {
        let stream = if tls {
            bridge::open(service)?
        } else {
            TcpStream::connect(service)?
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self {
            reader: BufReader::new(stream),
            events: Vec::new(),
            ended: false,
            closes: false,
        })
    }

    fn step(&mut self, step: &Step, places: &Places) -> Result {
        match step {
            // A side that has closed already shows so in what is read.
            Step::Send(bytes) => drop(self.reader.get_mut().write_all(&text::bytes(bytes, places)?)),
            Step::Read { bodiless, .. } => self.read(*bodiless, places),
            Step::Shut => drop(self.reader.get_mut().shutdown(Shutdown::Write)),
            Step::Close => {
                drop(self.reader.get_mut().shutdown(Shutdown::Both));
                self.ended = true;
            }
            Step::Pause(_)
            | Step::Await(_)
            | Step::Opened(_)
            | Step::Up(_)
            | Step::Release
            | Step::Client(_) => {}
        }
        Ok(())
    }

    fn read(&mut self, bodiless: bool, places: &Places) {
        if self.ended {
            return;
        }
        let event = self.read_response(bodiless, places);
        match &event {
            Event::Response(message) => {
                let connection = message.field("connection").unwrap_or_default();
                self.closes = !connection.contains("keep-alive")
                    && (connection == "close" || message.line.starts_with("HTTP/1.0"));
            }
            Event::Silence | Event::Open => self.closes = false,
            Event::ClosedUnanswered | Event::Bytes(_) | Event::Closed => self.ended = true,
        }
        self.events.push(event);
    }

    fn read_response(&mut self, bodiless: bool, places: &Places) -> Event {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.reader.read_until(b'\n', &mut head) {
                Err(error) if is_timeout(&error) && head.is_empty() => return Event::Silence,
                Ok(0) | Err(_) if head.is_empty() => return Event::ClosedUnanswered,
                Ok(0) | Err(_) => return Event::Bytes(text::shown(&head, places)),
                Ok(_) => {}
            }
        }
        let mut message = Message::head(&text::shown(&head, places));
        self.read_body(&mut message, bodiless, places);
        Event::Response(message)
    }

    fn read_body(&mut self, message: &mut Message, bodiless: bool, places: &Places) {
        let status = message.status();
        if bodiless || status.starts_with('1') || status == "204" || status == "304" {
            return;
        }
        let (body, ended) = if message.field("transfer-encoding").is_some() {
            let mut body = Vec::new();
            let ended = read_chunks(&mut self.reader, &mut body);
            (body, ended)
        } else if let Some(length) = message.field("content-length") {
            read_length(&mut self.reader, length.parse().unwrap_or(0))
        } else {
            let mut body = Vec::new();
            let ended = self.reader.read_to_end(&mut body);
            self.ended = true;
            (body, ended.map(|_| ()).map_err(Into::into))
        };
        message.body = text::shown_body(&body, places);
        if let Err(error) = ended {
            message.body = format!("{}, then {error}", message.body);
            self.ended = true;
        }
    }

    /// Looks at what comes behind the last response.
    fn finish(&mut self, places: &Places) {
        if self.ended {
            return;
        }
        let wait = if self.closes { SILENCE } else { LOOK };
        drop(self.reader.get_ref().set_read_timeout(Some(wait)));
        let mut rest = Vec::new();
        let ended = self.reader.read_to_end(&mut rest);
        if !rest.is_empty() {
            self.events.push(Event::Bytes(text::shown_body(&rest, places)));
        }
        let open = ended.as_ref().is_err_and(is_timeout);
        self.events.push(if open { Event::Open } else { Event::Closed });
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
