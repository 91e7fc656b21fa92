//! Handshakes that take their time: they hold nobody up, and do not last.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::tls::{Certificate, curl, handshake, succeed};
use fleetbal_cluster_tests::{Result, wait};

use crate::standalone::Place;
use crate::tls_scene::Scene;

/// Clients that begin and do not go on: far more than there are workers.
const IDLE: usize = 300;

/// Between two bytes of a client that trickles: with this and the length of a greeting, none comes through in time.
const PAUSE: Duration = Duration::from_millis(40);

/// What a service gives a handshake, and what `idle_timeout` of these services says.
const LIMIT: Duration = Duration::from_secs(2);

/// The first message of openssl as a client.
fn greeting() -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &listener.local_addr()?.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run openssl")?;
    let (mut io, _) = listener.accept()?;
    let mut head = [0; 5];
    io.read_exact(&mut head)?;
    let [22, 3, _, high, low] = head else {
        anyhow::bail!("no handshake: {head:?}");
    };
    let mut rest = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    io.read_exact(&mut rest)?;
    drop(io);
    client.wait()?;
    Ok([&head[..], &rest].concat())
}

/// With one worker, which a client that held it would keep from all others.
fn scene() -> Result<Scene> {
    let place = Place::new()?;
    Certificate::make(place.dir.path(), "a", "ec", &["a.example"])?;
    let settings = format!("SET idle_timeout = {}\n", LIMIT.as_secs());
    Scene::with_flags(place, &settings, &["--workers", "1"])
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let io = TcpStream::connect(address)?;
    io.set_nodelay(true)?;
    Ok(io)
}

/// A request of somebody else's goes through at once.
fn serves(address: SocketAddr) -> Result {
    let said = succeed(&mut curl(address, "/", &["--max-time", "10"]))?;
    ensure!(said.stdout == b"b1", "{said:?}");
    Ok(())
}

/// Whether the other side has ended a connection; what it says first is thrown away.
fn has_ended(io: &mut TcpStream, within: Duration) -> Result<bool> {
    io.set_read_timeout(Some(within))?;
    match io.read(&mut [0; 512]) {
        Ok(0) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn a_greeting_in_single_bytes_is_understood_and_one_that_trickles_is_cut_off() -> Result {
    let (scene, hello) = (scene()?, greeting()?);
    let mut quick = connect(scene.traffic)?;
    quick.set_read_timeout(Some(wait::PATIENCE))?;
    for byte in &hello {
        quick.write_all(&[*byte])?;
    }
    let mut answer = [0; 1];
    quick.read_exact(&mut answer)?;
    ensure!(
        answer == [22],
        "no handshake in answer to one in single bytes: {answer:?}"
    );

    let (begin, mut slow) = (Instant::now(), connect(scene.traffic)?);
    let mut sent = 0;
    for byte in &hello {
        // The pause is a look at the other side.
        if slow.write_all(&[*byte]).is_err() || has_ended(&mut slow, PAUSE)? {
            break;
        }
        sent += 1;
        if sent % 10 == 0 {
            serves(scene.traffic)?;
        }
    }
    let took = begin.elapsed();
    ensure!(
        sent < hello.len(),
        "all {sent} bytes were waited for, {took:?} long"
    );
    ensure!(took >= LIMIT, "it was cut off after {took:?} already");
    serves(scene.traffic)
}

#[test]
fn greetings_that_never_end_hold_no_worker_and_are_given_up() -> Result {
    let (scene, hello) = (scene()?, greeting()?);
    let mut clients = Vec::new();
    for number in 0..IDLE {
        let mut io = connect(scene.traffic)?;
        // Some say nothing at all, some stop within the record's head, some right before the end.
        let part = match number % 4 {
            0 => 0,
            1 => 3,
            2 => hello.len() / 2,
            _ => hello.len() - 1,
        };
        io.write_all(hello.get(..part).context("a short greeting")?)?;
        clients.push(io);
        if number % 50 == 0 {
            serves(scene.traffic)?;
        }
    }
    let resident = scene.process.resident()?;
    // After the server's own greeting it is the client's turn again; nothing comes.
    let mut silent = connect(scene.traffic)?;
    silent.write_all(&hello)?;
    clients.push(silent);
    serves(scene.traffic)?;
    ensure!(handshake(scene.traffic, &[])?.contains("TLSv1.3"));
    for (number, io) in clients.iter_mut().enumerate() {
        wait::for_true(format!("the end of client {number}"), wait::PATIENCE, || {
            has_ended(io, PAUSE)
        })?;
    }
    serves(scene.traffic)?;
    ensure!(
        resident < 200 << 20,
        "{IDLE} clients that had said little took {resident} bytes"
    );
    Ok(())
}
