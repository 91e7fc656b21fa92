//! One management connection, line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::cli::client::{Answer, ClientError, Server};
use crate::manage::line::Line;
use crate::manage::parse::parse;
use crate::manage::script::says_a_sentence;

/// A connection whose lines succeed with a word.
#[derive(Debug)]
pub(super) struct Talk {
    server: String,
    stream: TcpStream,
    lines: io::Lines<BufReader<TcpStream>>,
}

impl Server {
    /// Opens a connection, and shows the secret where there is one.
    pub(super) fn talk(&self) -> Result<Talk, ClientError> {
        let secret = self.secret()?;
        let failed = |source| ClientError::NoAnswer {
            server: self.name().to_owned(),
            source,
        };
        let stream = self.connect().map_err(failed)?;
        let reader = BufReader::new(stream.try_clone().map_err(failed)?);
        let mut talk = Talk {
            server: self.name().to_owned(),
            stream,
            lines: reader.lines(),
        };
        if let Some(secret) = secret {
            talk.exchange(&format!("auth {secret}"))
                .and_then(accepted)
                .map_err(failed)?;
        }
        Ok(talk)
    }
}

fn accepted(answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Lines(_) => Ok(()),
        Answer::Refused(text) => Err(io::Error::new(io::ErrorKind::PermissionDenied, text)),
    }
}

impl Talk {
    /// Sends a line that is not blank, and reads its whole answer.
    pub(super) fn ask(&mut self, line: &str) -> Result<Answer, ClientError> {
        self.exchange(line).map_err(|source| ClientError::NoAnswer {
            server: self.server.clone(),
            source,
        })
    }

    fn exchange(&mut self, line: &str) -> io::Result<Answer> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        let is_sentence = says_one(line);
        loop {
            let text = self
                .lines
                .next()
                .transpose()?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            if let (true, Some(text)) = (answer.is_empty(), text.strip_prefix("ERROR: ")) {
                return Ok(Answer::Refused(text.to_owned()));
            }
            let is_last = text == "." || text == "OK" || is_sentence;
            answer.push(text);
            if is_last {
                return Ok(Answer::Lines(answer));
            }
        }
    }
}

/// Whether success is told in a sentence, which has no mark at its end.
fn says_one(line: &str) -> bool {
    let read = Line::read(line.as_bytes(), |_| None).ok().flatten();
    read.is_some_and(|line| parse(&line, None).is_ok_and(|command| says_a_sentence(&command)))
}
