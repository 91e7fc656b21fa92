//! What a user holds in hands: a management connection, and an HTTP client.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::Result;
use crate::message::{self, Kind, Message};

const CONNECT: Duration = Duration::from_secs(2);

/// Longer than any promise, so that a broken promise shows as itself, not as this.
const ANSWER: Duration = Duration::from_secs(20);

/// What a management command was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `OK`.
    Ok,
    /// Lines of data, without the `.`.
    Data(Vec<String>),
    /// What stood behind `ERROR: `.
    Error(String),
}

/// A management connection that speaks lines.
#[derive(Debug)]
pub struct Manage {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Manage {
    /// Opens one.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = connect(address)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads one reply: to `OK`, to `.`, or an `ERROR` line.
    ///
    /// # Errors
    /// When the connection ends first, or nothing comes.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let Some(line) = message::read_line(&mut self.reader)? else {
                bail!("the connection ended after {lines:?}");
            };
            if line == "." || (line == "OK" && !lines.is_empty()) {
                return Ok(Reply::Data(lines));
            }
            if line == "OK" {
                return Ok(Reply::Ok);
            }
            if let (true, Some(text)) = (lines.is_empty(), line.strip_prefix("ERROR: ")) {
                return Ok(Reply::Error(text.to_owned()));
            }
            lines.push(line);
        }
    }

    /// Types a line and reads its reply.
    ///
    /// # Errors
    /// When the connection ends first, or nothing comes.
    pub fn ask(&mut self, line: &str) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply().with_context(|| format!("after '{line}'"))
    }

    /// Types a command that must be answered `OK`.
    ///
    /// # Errors
    /// When it was answered otherwise.
    pub fn change(&mut self, line: &str) -> Result<()> {
        match self.ask(line)? {
            Reply::Ok => Ok(()),
            Reply::Data(lines) => bail!("'{line}' was answered with data: {lines:?}"),
            Reply::Error(text) => bail!("'{line}' was answered 'ERROR: {text}'"),
        }
    }

    /// Types a command that must be answered with data.
    ///
    /// # Errors
    /// When it was answered otherwise.
    pub fn data(&mut self, line: &str) -> Result<Vec<String>> {
        match self.ask(line)? {
            Reply::Data(lines) => Ok(lines),
            Reply::Ok => bail!("'{line}' was answered OK, without data"),
            Reply::Error(text) => bail!("'{line}' was answered 'ERROR: {text}'"),
        }
    }

    /// The line of `health` about a backend of pool `web`.
    ///
    /// # Errors
    /// When it is not in the pool.
    pub fn health(&mut self, backend: &str) -> Result<String> {
        let lines = self.data("health web")?;
        let line = lines.iter().find(|line| line.split(' ').nth(1) == Some(backend));
        Ok(line
            .with_context(|| format!("no {backend} in {lines:?}"))?
            .clone())
    }

    /// What `health` says of it, in one word.
    ///
    /// # Errors
    /// When it is not in the pool.
    pub fn standing(&mut self, backend: &str) -> Result<String> {
        let line = self.health(backend)?;
        Ok(line.split(' ').nth(2).unwrap_or_default().to_owned())
    }

    /// Types a command that must be refused; the text behind `ERROR: `.
    ///
    /// # Errors
    /// When it was not.
    pub fn refused(&mut self, line: &str) -> Result<String> {
        match self.ask(line)? {
            Reply::Error(text) => Ok(text),
            Reply::Ok => bail!("'{line}' was answered OK, not refused"),
            Reply::Data(lines) => bail!("'{line}' was answered {lines:?}, not refused"),
        }
    }
}

/// One HTTP client connection.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Http {
    /// Opens one.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::over(connect(address)?)
    }

    /// Speaks HTTP over a connection that was opened before.
    ///
    /// # Errors
    /// When it is gone, or the system has no descriptor left.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER))?;
        let address = stream.peer_addr()?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self {
            address,
            stream,
            reader,
        })
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no response.
    pub fn request(&mut self, method: &str, target: &str, body: &[u8]) -> Result<Message> {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n{length}\r\n",
            self.address
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).context("cannot send")?;
        self.response(if method == "HEAD" {
            Kind::Bodyless
        } else {
            Kind::Response
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads a response.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no response.
    pub fn response(&mut self, kind: Kind) -> Result<Message> {
        let response = Message::read(&mut self.reader, kind).context("cannot read the response")?;
        let response = response.context("the connection was closed instead of a response")?;
        ensure!(
            response.start.starts_with("HTTP/1."),
            "not HTTP: '{}'",
            response.start
        );
        Ok(response)
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// When it gets no response.
pub fn get(address: SocketAddr, target: &str) -> Result<Message> {
    Http::connect(address)?.request("GET", target, b"")
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&address, CONNECT).with_context(|| format!("cannot reach {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}
