//! Uploads through a real node: what they cost it in memory, what they leave on disk, what is told of them.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::message::Kind;
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Backend, Manage, Result, client, wait};

use crate::standalone::Place;

/// What every client says that it will send.
const LENGTH: usize = 10 << 20;

/// A service with `settings` before one backend, and management.
fn config(place: &Place, settings: &str) -> String {
    let (node, backend) = (place.net.node(1), place.net.backend(1));
    format!(
        "CREATE POOL web\nPOOL web ADD {backend}\nCREATE SERVICE www\nSET role = reverse_proxy\n\
         SET listen = {node}:8080\nSET pool = web\nSET persist_client = on\n{settings}ENABLE www\n\
         CREATE SERVICE mgmt\nSET role = management\nSET listen = {node}:60000\nENABLE mgmt\n"
    )
}

/// A directory for spool files, and the settings that use it.
fn spooling(place: &Place) -> Result<(PathBuf, String)> {
    let directory = place.dir.path().join("spool");
    fs::create_dir_all(&directory)?;
    let settings = format!(
        "SET buffer_uploads = on\nSET buffer_uploads_path = {}\n",
        directory.display()
    );
    Ok((directory, settings))
}

fn start(place: &Place, config: &str) -> Result<(Process, SocketAddr)> {
    let process = place.start(config)?;
    let traffic = (place.net.node(1), 8080).into();
    wait::until("it to listen", wait::PATIENCE, || {
        Ok(Some(TcpStream::connect(traffic)?))
    })?;
    Ok((process, traffic))
}

fn upload(traffic: SocketAddr, target: &str, body: &[u8]) -> Result<TcpStream> {
    let mut io = TcpStream::connect(traffic)?;
    write!(
        io,
        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"
    )?;
    io.write_all(body)?;
    Ok(io)
}

fn files(directory: &PathBuf) -> Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// Takes so many connections, and nothing that comes on them, for as long as what it returns lives.
fn accept(backend: &TcpListener, count: usize) -> Vec<TcpStream> {
    backend
        .incoming()
        .filter_map(std::result::Result::ok)
        .take(count)
        .collect()
}

/// So many clients send 1 KiB a second, for so many seconds, to a backend that takes nothing. The node may not grow by
/// more than `each` bytes a client.
fn trickle(clients: usize, seconds: usize, each: usize, spool: bool) -> Result {
    let place = Place::new()?;
    let backend = TcpListener::bind(place.net.backend(1))?;
    let (directory, mut settings) = spooling(&place)?;
    if !spool {
        // It is asked for early, so that it is the backend who stalls.
        "SET buffer_backend_connect = 2k\n".clone_into(&mut settings);
    }
    let (process, traffic) = start(&place, &config(&place, &settings))?;
    let idle = process.resident()?;
    let mut uploads = Vec::new();
    for _ in 0..clients {
        uploads.push(upload(traffic, "/", b"")?);
    }
    let stalled = (!spool).then(|| thread::spawn(move || accept(&backend, clients)));
    for _ in 0..seconds {
        for io in &mut uploads {
            io.write_all(&[b'x'; 1024])?;
        }
        // The clients' pace.
        thread::sleep(Duration::from_secs(1));
        let grown = process.resident()?.saturating_sub(idle);
        ensure!(
            grown < clients * each,
            "it grew by {grown} bytes for {clients} clients"
        );
    }
    match &stalled {
        None => wait::for_true(
            "a file each",
            wait::PATIENCE,
            || Ok(files(&directory)? == clients),
        )?,
        Some(stalled) => wait::for_true("the backend to be asked", wait::PATIENCE, || {
            Ok(stalled.is_finished())
        })?,
    }
    drop(uploads);
    wait::for_true("no file", wait::PATIENCE, || Ok(files(&directory)? == 0))
}

#[test]
fn slow_uploads_to_a_stalled_backend_cost_little_memory() -> Result {
    trickle(200, 3, 64 * 1024, false)
}

#[test]
fn slow_uploads_to_disk_cost_little_memory() -> Result {
    trickle(200, 2, 64 * 1024, true)
}

/// Takes six minutes; see `docs/CONTRIBUTING.md`.
#[test]
#[ignore = "takes six minutes"]
fn a_thousand_slow_uploads_stay_under_buffer_size_each() -> Result {
    trickle(1000, 180, 256 * 1024, false)?;
    trickle(1000, 180, 256 * 1024, true)
}

#[test]
fn a_file_that_a_killed_node_left_is_gone_when_it_is_back() -> Result {
    let place = Place::new()?;
    let (directory, settings) = spooling(&place)?;
    let config = config(&place, &settings);
    let (mut process, traffic) = start(&place, &config)?;
    let client = upload(traffic, "/", &vec![b'x'; 100_000])?;
    wait::for_true("a file", wait::PATIENCE, || Ok(files(&directory)? == 1))?;
    process.kill()?;
    drop(client);
    ensure!(files(&directory)? == 1, "nothing is left to be removed");
    let (_process, _) = start(&place, &config)?;
    wait::for_true("it to be gone", wait::PATIENCE, || Ok(files(&directory)? == 0))
}

#[test]
fn a_backend_can_be_told_why_a_body_was_on_disk() -> Result {
    let place = Place::new()?;
    let backend = Backend::start("b1", place.net.backend(1))?;
    let (_, settings) = spooling(&place)?;
    let mut command = place.command(&config(&place, &settings))?;
    command.env("PERLBAL_DEBUG_BUFFERED_UPLOADS", "1");
    let _process = Process::start(command, &place.dir.path().join("log"))?;
    let traffic = (place.net.node(1), 8080).into();
    wait::until("it to listen", wait::PATIENCE, || {
        Ok(Some(TcpStream::connect(traffic)?))
    })?;
    let mut http = Http::connect(traffic)?;
    for length in [300_000, 10] {
        let answer = http.request("POST", "/echo", &vec![b'x'; length])?;
        ensure!(
            answer.body.len() == length,
            "{} bytes came back",
            answer.body.len()
        );
    }
    let reasons: Vec<_> = backend
        .requests()
        .iter()
        .map(|request| {
            request
                .header("x-perlbal-buffered-upload-reason")
                .map(str::to_owned)
        })
        .collect();
    ensure!(reasons == [Some("size".to_owned()), None], "{reasons:?}");
    Ok(())
}

#[test]
fn a_tracker_hears_while_it_is_enabled() -> Result {
    let place = Place::new()?;
    let _backend = Backend::start("b1", place.net.backend(1))?;
    let tracker: SocketAddr = (place.net.node(1), 7000).into();
    let settings = format!("SET upload_status_listeners = {tracker}\nSET buffer_backend_connect = 0\n");
    let track =
        format!("CREATE SERVICE track\nSET role = upload_tracker\nSET listen = {tracker}\nENABLE track\n");
    let (_process, traffic) = start(&place, &format!("{}{track}", config(&place, &settings)))?;
    let mut manage = Manage::connect((place.net.node(1), 60000).into())?;
    let upload = upload(traffic, "/up?client_up_sess=session_1", b"ab")?;
    wait::for_true("the upload to be known", wait::PATIENCE, || {
        let answer = client::get(traffic, "/__upload_status?client_up_sess=session_1")?;
        Ok(answer.text().starts_with("{done:2,total:10485760,starttime:"))
    })?;
    let shown = manage.data("show service track")?;
    ensure!(
        shown.contains(&"          role: upload_tracker".to_owned()),
        "{shown:?}"
    );
    manage.change("DISABLE track")?;
    let taken = wait::until("its port to be free", wait::PATIENCE, || {
        Ok(Some(UdpSocket::bind(tracker)?))
    })?;
    let refused = manage.refused("ENABLE track")?;
    ensure!(refused.contains("Address already in use"), "{refused}");
    drop(taken);
    manage.change("ENABLE track")?;
    ensure!(UdpSocket::bind(tracker).is_err(), "it does not listen again");
    drop(upload);
    let mut http = Http::connect(traffic)?;
    http.send(b"GET /__upload_status?client_up_sess=nobody_1 HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let answer = http.response(Kind::Response)?;
    ensure!(answer.text() == "{}", "answered '{}'", answer.text());
    Ok(())
}
