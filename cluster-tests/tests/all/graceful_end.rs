//! A graceful end: nobody is cut off, and nobody new is let in.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

use anyhow::{anyhow, ensure};
use fleetbal_cluster_tests::message::{Kind, Message};
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Manage, Result, client, wait};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::standalone::Place;

const SECRETS: &[u8] = b"somebody admin 0123456789abcdef\n";

/// A node, and a request that its backend has, and answers when it is told to.
struct Scene {
    place: Place,
    process: Process,
    manage: Manage,
    client: client::Http,
    backend: TcpStream,
}

impl Scene {
    fn start(place: Place, config: &str) -> Result<Self> {
        let listener = TcpListener::bind(place.net.backend(1))?;
        let process = place.start(config)?;
        let mut client = wait::until("traffic", wait::PATIENCE, || {
            Ok(Some(client::Http::connect(address(&place, 8080))?))
        })?;
        client.send(b"GET / HTTP/1.1\r\nHost: slow\r\n\r\n")?;
        let (backend, _) = listener.accept()?;
        Message::read(&mut BufReader::new(&backend), Kind::Request)?;
        let manage = wait::until("management", wait::PATIENCE, || {
            Ok(Some(Manage::connect(address(&place, 60000))?))
        })?;
        Ok(Self {
            place,
            process,
            manage,
            client,
            backend,
        })
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

fn address(place: &Place, port: u16) -> SocketAddr {
    (place.net.node(1), port).into()
}

fn is_up(place: &Place) -> Result<bool> {
    Ok(fs::read_to_string(place.dir.path().join("log"))?.contains("Running."))
}

fn config(place: &Place) -> String {
    let (node, backend) = (place.net.node(1), place.net.backend(1));
    format!(
        "CREATE POOL web\nPOOL web ADD {backend}\nCREATE SERVICE a\nSET role = reverse_proxy\nSET listen = {node}:8080\n\
         SET pool = web\nENABLE a\nCREATE SERVICE b\nSET role = management\nSET listen = {node}:60000\nENABLE b\n"
    )
}

/// A start that does not get to its end: all listeners are open, and it waits for [`SECRETS`], from a FIFO in place of a
/// file.
fn start_that_waits() -> Result<(Scene, File)> {
    let place = Place::new()?;
    let secrets = place.dir.path().join("secrets");
    nix::unistd::mkfifo(&secrets, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut config = config(&place);
    let last = address(&place, 60001);
    write!(
        config,
        "CREATE SERVICE c\nSET role = management\nSET listen = {last}\nSET token_file = {}\nENABLE c\n",
        secrets.display()
    )?;
    let reader = thread::spawn(move || {
        wait::until("the secrets to be read while it listens", wait::PATIENCE, || {
            // Refused while nobody reads.
            let mut secrets = OpenOptions::new()
                .write(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(&secrets)?;
            if TcpStream::connect(last).is_ok() {
                return Ok(Some(secrets));
            }
            // Before anything else the file is checked.
            secrets.write_all(SECRETS)?;
            Ok(None)
        })
    });
    let scene = Scene::start(place, &config)?;
    let secrets = reader.join().map_err(|_| anyhow!("the thread panicked"))??;
    Ok((scene, secrets))
}

#[test]
fn an_end_that_is_asked_for_during_the_start_cuts_nobody_off() -> Result {
    let ends: [fn(&mut Scene) -> Result; 2] = [
        |scene| scene.manage.change("shutdown graceful"),
        |scene| scene.process.signal(Signal::SIGTERM),
    ];
    for end in ends {
        let (mut scene, mut secrets) = start_that_waits()?;
        end(&mut scene)?;
        wait::for_true("the listener to close", wait::PATIENCE, || {
            Ok(TcpStream::connect(address(&scene.place, 8080)).is_err())
        })?;
        ensure!(!is_up(&scene.place)?, "the start is over");
        secrets.write_all(SECRETS)?;
        drop(secrets);
        scene.finish()?;
    }
    Ok(())
}

#[test]
fn a_node_that_drains_opens_no_listener() -> Result {
    let place = Place::new()?;
    let config = config(&place);
    let mut scene = Scene::start(place, &config)?;
    wait::for_true("the start to be over", wait::PATIENCE, || is_up(&scene.place))?;
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
