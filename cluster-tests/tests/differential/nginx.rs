//! The same requests for the same files through nginx and through fleetbal: what is sent, what is said of it, and what
//! conditions and ranges come to is the same but for what is listed here.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::message::{Kind, Message};
use fleetbal_cluster_tests::ports::Net;
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::{Result, wait};

/// What is compared of a head.
const FIELDS: [&str; 8] = [
    "content-type",
    "content-length",
    "content-encoding",
    "content-range",
    "last-modified",
    "etag",
    "accept-ranges",
    "connection",
];

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// The date of all files, as it is told.
const DATE: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
const ETAG: &str = "\"3b9aca00-1a\"";

/// Request lines and fields whose answers are the same.
const SAME: &[(&str, &str)] = &[
    ("GET /a.txt", ""),
    ("HEAD /a.txt", ""),
    ("GET /a.html?query=/../x", ""),
    ("GET /empty.txt", ""),
    ("GET /", ""),
    ("GET /d/", ""),
    ("GET /sp%20ace.txt", ""),
    ("GET /%61.txt", ""),
    ("GET //a.txt", ""),
    ("GET /no-extension", ""),
    ("GET /a.txt", "Connection: close\r\n"),
    // Conditions.
    ("GET /a.txt", "If-Modified-Since: {date}\r\n"),
    ("HEAD /a.txt", "If-Modified-Since: {date}\r\n"),
    (
        "GET /a.txt",
        "If-Modified-Since: Sun, 09 Sep 2001 01:46:41 GMT\r\n",
    ),
    (
        "GET /a.txt",
        "If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT\r\n",
    ),
    ("GET /a.txt", "If-Modified-Since: yesterday\r\n"),
    ("GET /a.txt", "If-None-Match: {etag}\r\n"),
    ("GET /a.txt", "If-None-Match: W/{etag}\r\n"),
    ("GET /a.txt", "If-None-Match: \"x\", {etag}\r\n"),
    ("GET /a.txt", "If-None-Match: *\r\n"),
    ("GET /a.txt", "If-None-Match: \"x\"\r\n"),
    (
        "GET /a.txt",
        "If-None-Match: {etag}\r\nIf-Modified-Since: {date}\r\n",
    ),
    ("GET /a.txt", "If-Match: {etag}\r\n"),
    ("GET /a.txt", "If-Match: *\r\n"),
    ("GET /a.txt", "If-Match: \"x\"\r\n"),
    ("GET /a.txt", "If-Unmodified-Since: {date}\r\n"),
    (
        "GET /a.txt",
        "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n",
    ),
    // Ranges.
    ("GET /a.txt", "Range: bytes=0-3\r\n"),
    ("HEAD /a.txt", "Range: bytes=0-3\r\n"),
    ("GET /a.txt", "Range: bytes=5-\r\n"),
    ("GET /a.txt", "Range: bytes=-5\r\n"),
    ("GET /a.txt", "Range: bytes=-99\r\n"),
    ("GET /a.txt", "Range: bytes=20-99\r\n"),
    ("GET /a.txt", "Range: bytes=0-\r\n"),
    ("GET /a.txt", "Range: bytes=26-\r\n"),
    ("GET /a.txt", "Range: bytes=99999999999999999999999-\r\n"),
    ("GET /a.txt", "Range: lines=1-2\r\n"),
    ("GET /a.txt", "Range: bytes=0-1,4-5\r\n"),
    ("HEAD /a.txt", "Range: bytes=0-1,4-5\r\n"),
    ("GET /a.txt", "Range: bytes=0-1,4-5,-1\r\n"),
    ("GET /a.txt", "Range: bytes=0-1,99-\r\n"),
    ("GET /a.txt", "Range: bytes=0-,0-\r\n"),
    ("GET /a.txt", "Range: bytes=0-1\r\nIf-Range: {etag}\r\n"),
    ("GET /a.txt", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n"),
    ("GET /a.txt", "Range: bytes=0-1\r\nIf-Range: {date}\r\n"),
    (
        "GET /a.txt",
        "Range: bytes=0-1\r\nIf-Range: Sun, 09 Sep 2001 01:46:41 GMT\r\n",
    ),
    ("GET /a.txt", "Range: bytes=0-1\r\nIf-None-Match: {etag}\r\n"),
    ("GET /a.txt", "Range: bytes=0-1\r\nIf-Match: \"x\"\r\n"),
    // What is not there, or not to be had.
    ("GET /nothing", ""),
    ("HEAD /nothing", ""),
    ("GET /nothing/", ""),
    ("GET /a.txt/b", ""),
    ("GET /d/nothing.txt", ""),
    // What lies compressed beside it.
    ("GET /a.txt", "Accept-Encoding: gzip\r\n"),
    ("HEAD /a.txt", "Accept-Encoding: gzip\r\n"),
    ("GET /a.txt", "Accept-Encoding: gzip;q=0\r\n"),
    ("GET /a.html", "Accept-Encoding: gzip\r\n"),
];

/// Those whose answers differ: the two statuses, and why.
const OTHER: &[(&str, &str, u16, u16, &str)] = &[
    (
        "GET /d",
        "",
        301,
        200,
        "Perlbal shows the index without a slash as well",
    ),
    (
        "GET /bare/",
        "",
        403,
        200,
        "Perlbal's page says that directories are not listed, with a 200",
    ),
    ("POST /a.txt", "", 405, 400, "Perlbal's status for other methods"),
    (
        "GET /a.txt",
        "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n",
        200,
        206,
        "nginx ignores ranges of what lies compressed beside a file",
    ),
    ("GET /a.txt/", "", 404, 404, ""),
    (
        "GET /../a.txt",
        "",
        400,
        403,
        "Perlbal's status for a path that leads up",
    ),
    ("GET /d/../a.txt", "", 200, 403, "the same; nginx resolves it"),
    ("GET /a.txt", "Range: bytes=3-1\r\n", 416, 416, ""),
];

/// One of the two programs.
struct Side {
    _process: Process,
    address: SocketAddr,
}

fn start(command: Command, address: SocketAddr, log: &Path) -> Result<Side> {
    let mut process = Process::start(command, log)?;
    let ended = wait::until(format!("{address} to be listened at"), wait::PATIENCE, || {
        let ended = process.ended()?;
        Ok((ended.is_some() || TcpStream::connect(address).is_ok()).then_some(ended))
    })?;
    let said = fs::read_to_string(log).unwrap_or_default();
    ensure!(ended.is_none(), "it ended with {ended:?}:\n{said}");
    Ok(Side {
        _process: process,
        address,
    })
}

fn nginx(dir: &Path, root: &Path, address: SocketAddr) -> Result<Side> {
    let shown = dir.display();
    let mut temporary = String::new();
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(temporary, "{name}_temp_path {shown}/{name};")?;
    }
    let config = format!(
        "daemon off;\nmaster_process off;\npid {shown}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}types {{ text/html html; text/css css; text/plain txt; }}\n\
         default_type text/plain;\ngzip_static on;\n\
         server {{ listen {address}; root {}; index index.html; }}\n}}\n",
        root.display()
    );
    let path = dir.join("nginx.conf");
    fs::write(&path, config)?;
    let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];
    let program = program.iter().find(|path| Path::new(path).is_file());
    let mut command = Command::new(program.context("nginx is not installed: apt-get install nginx-light")?);
    command
        .arg("-p")
        .arg(dir)
        .arg("-e")
        .arg("stderr")
        .arg("-c")
        .arg(&path);
    start(command, address, &dir.join("nginx.log"))
}

fn fleetbal(dir: &Path, root: &Path, address: SocketAddr) -> Result<Side> {
    let config = format!(
        "CREATE SERVICE files\nSET role = web_server\nSET listen = {address}\nSET docroot = {}\n\
         SET persist_client = on\nSET enable_precompressed = on\nENABLE files\n",
        root.display()
    );
    let path = dir.join("fleetbal.conf");
    fs::write(&path, config)?;
    let mut command = process::fleetbal()?;
    command.arg(format!("--config={}", path.display()));
    start(command, address, &dir.join("fleetbal.log"))
}

fn tree(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("root");
    fs::create_dir_all(root.join("d"))?;
    fs::create_dir_all(root.join("bare"))?;
    for (name, content) in [
        ("a.txt", LETTERS),
        ("a.txt.gz", "compressed letters"),
        ("a.html", "<p>a</p>"),
        ("empty.txt", ""),
        ("no-extension", "text"),
        ("sp ace.txt", "text"),
        ("index.html", "front"),
        ("d/index.html", "inner"),
    ] {
        let path = root.join(name);
        fs::write(&path, content)?;
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(&path)?.set_modified(date)?;
    }
    Ok(root)
}

fn ask(address: SocketAddr, line: &str, fields: &str) -> Result<Message> {
    let fields = fields.replace("{date}", DATE).replace("{etag}", ETAG);
    let mut http = Http::connect(address)?;
    http.send(format!("{line} HTTP/1.1\r\nHost: files.example\r\n{fields}\r\n").as_bytes())?;
    let kind = if line.starts_with("HEAD") {
        Kind::Bodyless
    } else {
        Kind::Response
    };
    http.response(kind).with_context(|| line.to_owned())
}

/// What is compared of an answer, line by line. Of pages that say what is wrong each has its own.
fn seen(answer: &Message) -> Result<Vec<String>> {
    let status = answer.status()?;
    let mut lines = vec![format!("status {status}")];
    let mut body = answer.text();
    for name in FIELDS {
        let Some(value) = answer.header(name) else {
            continue;
        };
        // nginx says so with a 200 alone, and not of what lies compressed beside a file.
        let is_compressed = answer.header("content-encoding").is_some();
        if name == "accept-ranges" && (status != 200 || is_compressed) {
            continue;
        }
        let is_of_page = status >= 400 && !matches!(name, "content-range" | "connection");
        let mut value = value.to_owned();
        if let Some((kind, boundary)) = value.split_once("boundary=") {
            body = body.replace(boundary, "BOUNDARY");
            value = format!("{kind}boundary=BOUNDARY");
        }
        if !is_of_page {
            lines.push(format!("{name}: {value}"));
        }
    }
    if status < 400 {
        lines.push(format!("body {body:?}"));
    }
    Ok(lines)
}

#[test]
fn files_are_answered_as_by_nginx() -> Result {
    let net = Net::claim()?;
    let dir = tempfile::tempdir()?;
    let root = tree(dir.path())?;
    let theirs = nginx(dir.path(), &root, (net.node(1), 8080).into())?;
    let ours = fleetbal(dir.path(), &root, (net.node(2), 8080).into())?;
    let mut wrong = Vec::new();
    for (line, fields) in SAME {
        let theirs = seen(&ask(theirs.address, line, fields)?)?;
        let ours = seen(&ask(ours.address, line, fields)?)?;
        if theirs != ours {
            wrong.push(format!(
                "{line} {fields:?}\n  nginx    {theirs:?}\n  fleetbal {ours:?}"
            ));
        }
    }
    for (line, fields, their_status, our_status, why) in OTHER {
        let theirs = ask(theirs.address, line, fields)?.status()?;
        let ours = ask(ours.address, line, fields)?.status()?;
        if (theirs, ours) != (*their_status, *our_status) {
            wrong.push(format!("{line} {fields:?}: {theirs} and {ours} ({why})"));
        }
    }
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
