//! What a node tells of requests that wait, of connections that are being opened, and of backends that are not verified.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result, wait};

const WITHIN: Duration = Duration::from_secs(10);

fn head(io: &mut TcpStream) -> Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(io.read(&mut byte)? == 1, "closed within a head");
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8(head)?)
}

/// Answers one probe without keeping its connection, so that no other is probed; then serves a request a connection.
/// The paths in order.
fn verify_once_and_serve(backend: &TcpListener, requests: usize) -> Result<Vec<String>> {
    let (mut io, _) = backend.accept()?;
    let probe = head(&mut io)?;
    ensure!(probe.starts_with("OPTIONS * HTTP/1.0\r\n"), "{probe}");
    io.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    let mut order = Vec::new();
    while order.len() < requests {
        let (mut io, _) = backend.accept()?;
        let request = head(&mut io)?;
        let path = request.split(' ').nth(1).context("no path")?;
        order.push(path.to_owned());
        io.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(order)
}

/// Whether all that was done is counted; a request is, a moment after its backend has answered it.
fn is_counted(manage: &mut Manage, address: SocketAddr) -> Result<bool> {
    let nodes = manage.data(&format!("nodes {address}"))?;
    for (key, least) in [("attempts", 4), ("connects", 4), ("requests", 3)] {
        let prefix = format!("{address} {key} ");
        let figure = nodes.iter().find_map(|line| line.strip_prefix(&prefix));
        let figure: u64 = figure
            .with_context(|| format!("no {key} in {nodes:?}"))?
            .parse()?;
        if figure < least {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn who_waits_is_told_by_the_management_port() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    let mut manage = fleet.node(1)?.manage()?;
    // A backend that accepts connections and verifies none.
    let mute = TcpListener::bind("127.0.0.1:0")?;
    let address = mute.local_addr()?;
    let own = fleet.backend(1)?.address().to_string();
    for line in [
        format!("POOL web ADD {address}"),
        format!("POOL web REMOVE {own}"),
        "SET www.verify_backend = on".to_owned(),
        "SET www.high_priority_uri_pattern = ^/high".to_owned(),
    ] {
        manage.change(&line)?;
    }
    let mut clients = Vec::new();
    for path in ["/a", "/high", "/b"] {
        let mut http = Http::connect(fleet.node(1)?.traffic())?;
        http.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
        clients.push(http);
    }
    wait::for_true("three wait", WITHIN, || {
        let lines = manage.data("queues")?;
        let has = |line: &str| lines.iter().any(|found| found == line);
        Ok(has("www-normal.count 2") && has("www-highpri.count 1") && has("www-lowpri.count 0"))
    })?;
    wait::for_true("one connection is being verified", WITHIN, || {
        let pending = manage.data("pending")?;
        let shown = manage.data("show service www")?;
        let is_pending = pending.len() == 1 && pending[0].starts_with(&format!("www {address} "));
        let is_shown = shown
            .iter()
            .any(|line| line.starts_with(&format!("   {address} - verifying_backend - ")));
        Ok(is_pending && is_shown && shown.contains(&"  pend clients: 3".to_owned()))
    })?;
    let backends = manage.data("backends")?;
    ensure!(backends.contains(&format!("{address} 1")), "{backends:?}");

    let order = verify_once_and_serve(&mute, 3)?;
    ensure!(order == ["/high", "/a", "/b"], "{order:?}");
    let noverify = manage.data("noverify")?;
    ensure!(
        noverify.len() == 1 && noverify[0].starts_with(&format!("{address} ")),
        "{noverify:?}"
    );
    wait::for_true("nobody waits", WITHIN, || {
        let lines = manage.data("queues")?;
        Ok(lines.iter().all(|line| line.ends_with(" 0")))
    })?;
    wait::for_true("all of it to be counted", WITHIN, || {
        is_counted(&mut manage, address)
    })?;
    drop(clients);
    fleet.passed()
}
