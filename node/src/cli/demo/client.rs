//! The demo's own client: it talks to the nodes over their public ports alone, as anybody else would.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than the longest command that the demo types.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a management command was answered.
#[derive(Debug)]
pub(super) enum Reply {
    /// `OK`, or lines of data.
    Fine(Vec<String>),
    /// The `ERROR` line.
    Error(String),
}

/// Types one line on a connection of its own.
pub(super) async fn ask(management: SocketAddr, line: &str) -> io::Result<Reply> {
    timeout(PATIENCE, converse(management, line))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn converse(management: SocketAddr, line: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(management).await?;
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    let mut reader = BufReader::new(stream).lines();
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().await? {
        if line == "." || line == "OK" {
            return Ok(Reply::Fine(lines));
        }
        if lines.is_empty() && line.starts_with("ERROR") {
            return Ok(Reply::Error(line));
        }
        lines.push(line);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// One GET; the status and the body.
pub(super) async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    timeout(PATIENCE, fetch(address, path))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn fetch(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(response: &str) -> Option<(u16, String)> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_response_and_nothing_else() {
        let response = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n";
        assert_eq!(parse(response), Some((503, "no".to_owned())));
        assert_eq!(parse("b1"), None);
    }
}
