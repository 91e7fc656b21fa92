//! Streams of what is put, on real nodes: a feed is its node's alone, and a drain ends its streams.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::ensure;
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::{Fleet, Result, wait};

const PORT: u16 = 8090;

/// A stream of a node.
struct Stream {
    io: TcpStream,
    seen: String,
}

impl Stream {
    fn of(address: SocketAddr) -> Result<Self> {
        let mut io = TcpStream::connect(address)?;
        io.set_read_timeout(Some(wait::PATIENCE))?;
        io.write_all(b"GET /news/atom-stream.xml HTTP/1.1\r\nHost: h\r\n\r\n")?;
        let mut stream = Self {
            io,
            seen: String::new(),
        };
        stream.read_up_to("<atomStream>")?;
        Ok(stream)
    }

    /// Reads until that was seen.
    fn read_up_to(&mut self, text: &str) -> Result {
        while !self.seen.contains(text) {
            ensure!(self.read_more()?, "it ended behind {}", self.seen);
        }
        Ok(())
    }

    /// Whether there was more.
    fn read_more(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        let length = self.io.read(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        self.seen.push_str(&String::from_utf8_lossy(bytes));
        Ok(length > 0)
    }
}

#[test]
fn a_feed_is_its_nodes_alone_and_ends_with_it() -> Result {
    let mut fleet = Fleet::of_three()?;
    let mut manage = fleet.node(2)?.manage()?;
    for line in [
        "LOAD AtomInject",
        "LOAD AtomStream",
        "CREATE SERVICE news",
        "SET role = web_server",
        &format!("SET listen = ${{node:ip}}:{PORT}"),
        "SET plugins = atominject, atomstream",
        "ENABLE news",
        "barrier 10",
    ] {
        manage.change(line)?;
    }
    let address = |fleet: &Fleet, number: usize| -> Result<SocketAddr> {
        Ok((fleet.node(number)?.traffic().ip(), PORT).into())
    };
    let mut streams = Vec::new();
    for number in 1..=3 {
        fleet.wait_listening(number, PORT)?;
        streams.push(Stream::of(address(&fleet, number)?)?);
    }
    // First at the one whose stream must not reach the others, so that what these have by then is all that there was.
    for number in [3, 2, 1] {
        let mut http = Http::connect(address(&fleet, number)?)?;
        let item = format!("<from n=\"{number}\"/>");
        let answer = http.request("PUT", "/news/item", item.as_bytes())?;
        ensure!(answer.status()? == 200, "{answer:?}");
    }
    for (stream, number) in streams.iter_mut().zip(1..) {
        stream.read_up_to(&format!("<from n=\"{number}\"/>"))?;
        // Two times later anything else would be there as well.
        let times = stream.seen.matches("<time>").count();
        while stream.seen.matches("<time>").count() < times + 2 {
            ensure!(stream.read_more()?, "it ended behind {}", stream.seen);
        }
        let items = stream.seen.matches("<from ").count();
        ensure!(items == 1, "n{number} has {}", stream.seen);
    }
    fleet.terminate(3)?;
    if let Some(stream) = streams.last_mut() {
        while stream.read_more()? {}
    }
    fleet.passed()
}
