//! A load that no proxy can carry: `http-load IP:PORT PATH BODY CLIENTS SECONDS THREADS` has CLIENTS ask for PATH over a
//! connection each, again as soon as they were answered, and prints how often they were as JSON.
//!
//! It takes less for a request than any proxy does, so that the proxy is what there is too little of, also where the backend
//! is on the load's CPU. An answer other than 200 with BODY bytes, or a connection that is closed, ends it with an error.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleetbal_cluster_tests::bench_client::{BUFFER, Client, Events, Question};
use fleetbal_cluster_tests::threads;

/// For how long nobody may be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some of the clients, until the time is over: how often they were answered.
fn run(question: &Question, until: Instant, clients: usize) -> Result<u64> {
    let mut events = Events::new()?;
    let connect = |number| Client::connect(question, &events, number);
    let mut clients = (0..clients).map(connect).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.ask(question)?;
    }
    let mut buffer = vec![0; BUFFER];
    let (mut answers, mut heard) = (0, Instant::now());
    while Instant::now() < until {
        ensure!(heard.elapsed() < PATIENCE, "nobody was answered for {PATIENCE:?}");
        for number in events.wait(Duration::from_millis(100))? {
            heard = Instant::now();
            let client = clients.get_mut(number).context("no such client")?;
            if client.go_on(question, &mut buffer)? {
                answers += 1;
                client.ask(question)?;
            }
        }
    }
    Ok(answers)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, body, clients, seconds, threads] = &arguments[..] else {
        bail!("usage: http-load IP:PORT PATH BODY CLIENTS SECONDS THREADS");
    };
    let begun = Instant::now();
    let address = address.parse().context("IP:PORT")?;
    let question = Question::new(address, path, body.parse().context("BODY")?);
    let until = begun + Duration::from_secs_f64(seconds.parse().context("SECONDS")?);
    let clients: usize = clients.parse().context("CLIENTS")?;
    let threads: usize = threads.parse().context("THREADS")?;
    ensure!(threads > 0, "THREADS is at least 1");
    let share = |thread| clients / threads + usize::from(thread < clients % threads);
    let requests = threads::sum(threads, |thread| run(&question, until, share(thread)))?;
    let took = begun.elapsed().as_secs_f64();
    println!("{{\"requests\": {requests}, \"seconds\": {took:.3}}}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, SocketAddrV4, TcpListener};
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Serves one connection, with the same answer in these pieces each time.
    fn server(pieces: &'static [&[u8]]) -> (SocketAddrV4, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it listens on IPv4")
        };
        let serve = move || {
            let (mut client, _) = listener.accept().unwrap();
            client.set_nodelay(true).unwrap();
            let mut bytes = [0; 4096];
            while client.read(&mut bytes).is_ok_and(|length| length > 0) {
                if pieces.is_empty() || pieces.iter().any(|piece| client.write_all(piece).is_err()) {
                    return;
                }
            }
        };
        (address, thread::spawn(serve))
    }

    fn load(pieces: &'static [&[u8]]) -> Result<u64> {
        let (address, server) = server(pieces);
        let until = Instant::now() + Duration::from_millis(200);
        let answers = run(&Question::new(address, "/", 3), until, 1);
        server.join().unwrap();
        answers
    }

    #[test]
    fn answers_are_counted_however_they_come() {
        assert!(load(&[b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"]).unwrap() > 1);
        assert!(load(&[b"HTTP/1.1 200 OK\r\ncont", b"ent-length: 3\r\n\r\nab", b"c"]).unwrap() > 1);
    }

    #[test]
    fn anything_else_is_an_error() {
        let wrong = |pieces| load(pieces).unwrap_err().to_string();
        assert!(wrong(&[b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nabc"]).contains("503"));
        assert!(wrong(&[b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"]).contains("Some(4)"));
        assert!(wrong(&[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"]).contains("more came"));
        assert!(wrong(&[]).contains("closed"));
    }
}
