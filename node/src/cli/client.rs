//! Talking to a node's management port, for the client subcommands.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::exit;

mod http;

pub(super) use http::HttpAnswer;

/// How long a node may take to accept, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_mins(1);

/// Which node to ask, and as whom.
#[derive(Debug, Clone, Args)]
pub(super) struct Server {
    /// The management port to talk to
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:60000",
        env = "FLEETBAL_SERVER",
        global = true
    )]
    server: String,

    /// A file that holds the secret, where that node asks for one
    #[arg(long, value_name = "FILE", env = "FLEETBAL_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nothing there, or it stopped talking.
    #[error("no answer from {server}: {source}")]
    NoAnswer {
        /// Who was asked.
        server: String,
        /// What happened.
        source: io::Error,
    },
    /// The secret's file cannot be read.
    #[error("cannot read {path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// What a node answered to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The lines of a query, or `OK`.
    Lines(Vec<String>),
    /// The text behind `ERROR: `.
    Refused(String),
}

impl Server {
    /// Sends one command and reads its whole answer.
    pub(super) fn ask(&self, command: &str) -> Result<Answer, ClientError> {
        let secret = self.secret()?;
        self.exchange(command, secret.as_deref())
            .map_err(|source| ClientError::NoAnswer {
                server: self.server.clone(),
                source,
            })
    }

    /// How it was called.
    pub(super) fn name(&self) -> &str {
        &self.server
    }

    /// A connection to it, whose answers may take a while.
    pub(super) fn connect(&self) -> io::Result<TcpStream> {
        let stream = connect(&self.server, CONNECT)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The secret to show.
    pub(super) fn secret(&self) -> Result<Option<String>, ClientError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .map_err(|source| ClientError::Secret {
                    path: path.clone(),
                    source,
                })
        };
        self.token_file.as_ref().map(read).transpose()
    }

    fn exchange(&self, command: &str, secret: Option<&str>) -> io::Result<Answer> {
        let stream = self.connect()?;
        let mut writer = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        if let Some(secret) = secret {
            writeln!(writer, "auth {secret}")?;
            let reply = lines.next().transpose()?.unwrap_or_default();
            if let Some(text) = reply.strip_prefix("ERROR: ") {
                return Ok(Answer::Refused(text.to_owned()));
            }
        }
        // The node closes the connection behind the answer, so its end needs no guessing.
        write!(writer, "{command}\nquit\n")?;
        collect(lines)
    }
}

fn connect(server: &str, within: Duration) -> io::Result<TcpStream> {
    let mut addresses: Vec<SocketAddr> = server.to_socket_addrs()?.collect();
    addresses.dedup();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, within) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn collect(lines: impl Iterator<Item = io::Result<String>>) -> io::Result<Answer> {
    let mut answer = Vec::new();
    for line in lines {
        let line = line?;
        if let Some(text) = line.strip_prefix("ERROR: ") {
            return Ok(Answer::Refused(text.to_owned()));
        }
        answer.push(line);
    }
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection without an answer",
        ));
    }
    Ok(Answer::Lines(answer))
}

/// Prints an answer: data to stdout without the closing `.`, a refusal to stderr.
pub(super) fn print(outcome: Result<Answer, ClientError>) -> ExitCode {
    match outcome {
        Ok(Answer::Lines(lines)) => {
            print_lines(&lines);
            ExitCode::SUCCESS
        }
        Ok(Answer::Refused(text)) => {
            eprintln!("ERROR: {text}");
            ExitCode::from(exit::FAILED)
        }
        Err(error) => report(&error),
    }
}

/// Prints lines, without the `.`, or behind a dump the `OK`, that ends an answer on the wire.
pub(super) fn print_lines(lines: &[String]) {
    let data = match lines.split_last() {
        Some((last, data)) if last == "." || (last == "OK" && !data.is_empty()) => data,
        _ => lines,
    };
    let mut out = io::stdout().lock();
    for line in data {
        if writeln!(out, "{line}").is_err() {
            return; // whoever read it has gone
        }
    }
}

/// Says why nobody answered.
pub(super) fn report(error: &ClientError) -> ExitCode {
    eprintln!("fleetbal: {error}");
    match error {
        ClientError::NoAnswer { .. } => ExitCode::from(exit::NO_ANSWER),
        ClientError::Secret { .. } => ExitCode::from(exit::USAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(text: &str) -> io::Result<Answer> {
        collect(text.lines().map(|line| Ok(line.to_owned())))
    }

    #[test]
    fn an_answer_ends_with_the_connection() {
        let lines = |items: &[&str]| Answer::Lines(items.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(collected("a\nb\n.\n").unwrap(), lines(&["a", "b", "."]));
        assert_eq!(collected("OK\n").unwrap(), lines(&["OK"]));
        assert_eq!(
            collected("ERROR: no\n").unwrap(),
            Answer::Refused("no".to_owned())
        );
        assert_eq!(collected("").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
