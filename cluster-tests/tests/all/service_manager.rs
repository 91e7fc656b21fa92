//! What systemd is told, and what it hands over.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::{Backend, Manage, Result, client, wait};
use nix::sys::signal::Signal;

use crate::standalone::Place;

/// A service manager's end of `NOTIFY_SOCKET`.
pub(crate) struct NotifySocket(UnixDatagram);

impl NotifySocket {
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self(socket))
    }

    /// Waits for a message with this line; the messages until then.
    pub(crate) fn wait_for(&self, line: &str) -> Result<Vec<String>> {
        let mut messages = Vec::new();
        wait::until(format!("'{line}'"), wait::PATIENCE, || {
            let mut buffer = [0; 4096];
            let length = self
                .0
                .recv(&mut buffer)
                .with_context(|| format!("after {messages:?}"))?;
            let message = String::from_utf8_lossy(buffer.get(..length).context("too long")?).into_owned();
            let found = message.lines().any(|said| said == line);
            messages.push(message);
            Ok(found.then_some(()))
        })?;
        Ok(messages)
    }
}

#[test]
fn ready_alive_reloading_and_stopping_are_told() -> Result {
    let place = Place::new()?;
    let path = place.dir.path().join("notify");
    let socket = NotifySocket::bind(&path)?;
    let mut command = place.command(&place.config())?;
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut process = Process::start(command, &place.dir.path().join("log"))?;
    socket.wait_for("READY=1")?;
    // Told when it is true: whoever connects is served.
    TcpStream::connect((place.net.node(1), 8080))?;
    for _ in 0..3 {
        socket.wait_for("WATCHDOG=1")?;
    }
    process.signal(Signal::SIGHUP)?;
    let last = socket.wait_for("RELOADING=1")?.pop().context("nothing")?;
    ensure!(last.contains("MONOTONIC_USEC="), "{last}");
    socket.wait_for("READY=1")?;
    process.signal(Signal::SIGTERM)?;
    socket.wait_for("STOPPING=1")?;
    ensure!(
        process.wait_end(wait::PATIENCE)?.code() == Some(0),
        "it did not end well"
    );
    Ok(())
}

#[test]
fn a_start_that_fails_is_never_ready() -> Result {
    let place = Place::new()?;
    let path = place.dir.path().join("notify");
    let socket = NotifySocket::bind(&path)?;
    let mut command = place.command("CREATE POOL\n")?;
    command.env("NOTIFY_SOCKET", &path);
    let ended = process::run(command, wait::PATIENCE)?;
    ensure!(ended.code == Some(78), "{ended:?}");
    ensure!(socket.0.recv(&mut [0; 64]).is_err(), "it said something");
    Ok(())
}

/// Sockets as `deploy/systemd/fleetbal.socket` would hold them, by systemd's own tool: it opens them, waits for the
/// first client, and becomes fleetbal.
#[test]
fn listeners_that_were_passed_are_used_and_outlive_their_service() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let (traffic, management) = ((place.net.node(1), 8080), (place.net.node(1), 60000));
    let elsewhere = (place.net.node(2), 8080);
    let inner = place.command(&place.config())?;
    let mut command = Command::new("systemd-socket-activate");
    for (address, port) in [traffic, management, elsewhere] {
        command.arg(format!("--listen={address}:{port}"));
    }
    command.arg(inner.get_program()).args(inner.get_args());
    let log = place.dir.path().join("log");
    let mut process = Process::start(command, &log)?;
    // The first one waits in the queue of a socket that nobody serves yet.
    wait::for_true("the first request to be answered", wait::PATIENCE, || {
        Ok(client::get(traffic.into(), "/")?.status()? == 200)
    })?;
    let mut manage = wait::until("management", wait::PATIENCE, || {
        Ok(Some(Manage::connect(management.into())?))
    })?;
    manage.change("DISABLE www")?;
    // systemd's socket is still open: who connects now waits, and is served once the service is back.
    let waiting = TcpStream::connect(traffic)?;
    manage.change("ENABLE www")?;
    let mut waiting = client::Http::over(waiting)?;
    ensure!(waiting.request("GET", "/", b"")?.status()? == 200, "not served");
    drop(waiting);
    let said = std::fs::read_to_string(&log)?;
    ensure!(
        said.contains("no service listens on") && said.contains(&elsewhere.0.to_string()),
        "{said}"
    );
    process.signal(Signal::SIGTERM)?;
    ensure!(
        process.wait_end(wait::PATIENCE)?.code() == Some(0),
        "it did not end well"
    );
    Ok(())
}

#[test]
fn the_unit_is_sound_and_hardened() -> Result {
    let unit = process::workspace().join("deploy/systemd/fleetbal.service");
    let mut analyze = Command::new("systemd-analyze");
    // 2.0 of 10: the figure that docs/running.md gives (1.7), with a little air for other versions of systemd.
    analyze
        .args(["security", "--offline=yes", "--threshold=20", "--no-pager"])
        .arg(&unit);
    let ended = process::run(analyze, wait::PATIENCE)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
