//! A graceful end: nobody is cut off, and nobody new is let in.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::ensure;
use fleetbal_cluster_tests::message::Kind;
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Manage, Result, client, wait};
use nix::sys::signal::Signal;

use crate::standalone::Place;

/// So many more services take a while to open.
const OTHERS: u16 = 300;
/// A start may be over before anybody typed.
const TRIES: usize = 20;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: slow\r\n\r\n";

/// A node, and a request that its backend has and does not answer until it is told to.
struct Scene {
    place: Place,
    process: Process,
    manage: Manage,
    client: client::Http,
    backend: TcpStream,
}

impl Scene {
    fn start(others: u16) -> Result<Self> {
        let place = Place::new()?;
        let backend = TcpListener::bind(place.net.backend(1))?;
        let process = place.start(&config(&place, others))?;
        let mut stream = wait::until("traffic", wait::PATIENCE, || {
            Ok(Some(TcpStream::connect(address(&place, 8080))?))
        })?;
        stream.write_all(REQUEST)?;
        let backend = received(&backend)?;
        let manage = wait::until("management", wait::PATIENCE, || {
            Ok(Some(Manage::connect(address(&place, 60000))?))
        })?;
        Ok(Self {
            place,
            process,
            manage,
            client: client::Http::over(stream)?,
            backend,
        })
    }

    fn is_up(&self) -> Result<bool> {
        Ok(fs::read_to_string(self.place.dir.path().join("log"))?.contains("Running."))
    }

    /// The backend answers, and then the process is over.
    fn finish(mut self) -> Result {
        self.backend
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast")?;
        let answer = self.client.response(Kind::Response)?;
        ensure!(answer.text() == "last", "{answer:?}");
        let status = self.process.wait_end(wait::PATIENCE)?;
        ensure!(status.code() == Some(0), "it ended with {status}");
        Ok(())
    }
}

/// The connection on which a backend has a whole request.
fn received(backend: &TcpListener) -> Result<TcpStream> {
    let (mut stream, _) = backend.accept()?;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.extend(byte);
    }
    Ok(stream)
}

fn address(place: &Place, port: u16) -> SocketAddr {
    (place.net.node(1), port).into()
}

/// Listeners are opened in the order of their names.
fn config(place: &Place, others: u16) -> String {
    let (node, backend) = (place.net.node(1), place.net.backend(1));
    let mut config = format!(
        "CREATE POOL web\nPOOL web ADD {backend}\nCREATE SERVICE a\nSET role = reverse_proxy\nSET listen = {node}:8080\n\
         SET pool = web\nENABLE a\nCREATE SERVICE b\nSET role = management\nSET listen = {node}:60000\nENABLE b\n"
    );
    for other in 0..others {
        let port = 10_000 + other;
        let lines = format!(
            "CREATE SERVICE other{other}\nSET role = reverse_proxy\nSET listen = {node}:{port}\nSET pool = web\n\
             ENABLE other{other}\n"
        );
        // A String takes everything.
        config.write_str(&lines).unwrap_or_default();
    }
    config
}

#[test]
fn an_end_that_is_asked_for_during_the_start_cuts_nobody_off() -> Result {
    let ends: [fn(&mut Scene) -> Result; 2] = [
        |scene| scene.manage.change("shutdown graceful"),
        |scene| scene.process.signal(Signal::SIGTERM),
    ];
    for end in ends {
        let mut early = false;
        for _ in 0..TRIES {
            let mut scene = Scene::start(OTHERS)?;
            end(&mut scene)?;
            wait::for_true("the listener to close", wait::PATIENCE, || {
                Ok(TcpStream::connect(address(&scene.place, 8080)).is_err())
            })?;
            early |= !scene.is_up()?;
            scene.finish()?;
            if early {
                break;
            }
        }
        ensure!(early, "each of {TRIES} starts was over too soon");
    }
    Ok(())
}

#[test]
fn a_node_that_drains_opens_no_listener() -> Result {
    let mut scene = Scene::start(0)?;
    wait::for_true("the start to be over", wait::PATIENCE, || scene.is_up())?;
    scene.manage.change("shutdown graceful")?;
    let node = scene.place.net.node(1);
    for line in [
        "CREATE SERVICE new".to_owned(),
        "SET role = reverse_proxy".to_owned(),
        "SET pool = web".to_owned(),
        format!("SET listen = {node}:8081"),
        "ENABLE new".to_owned(),
        "DISABLE a".to_owned(),
        "ENABLE a".to_owned(),
    ] {
        scene.manage.change(&line)?;
    }
    for port in [8080, 8081] {
        let connected = TcpStream::connect(address(&scene.place, port));
        ensure!(connected.is_err(), "port {port} is open");
    }
    scene.finish()
}
