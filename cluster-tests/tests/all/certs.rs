//! Certificates of the fleet: brought in at one node, shown by all, and their keys nowhere to be read.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::tls::{Certificate, Secure, handshake, succeed};
use fleetbal_cluster_tests::{Fleet, Plan, Result, client, message, wait};
use nix::sys::signal::Signal;

use crate::replaced::successor;
use crate::tls_scene::Scene;

/// Runs `fleetbal WORD …` against a management port.
fn fleetbal(server: SocketAddr, word: &str, arguments: &[&str]) -> Result<Ended> {
    let mut command = process::fleetbal()?;
    let server = server.to_string();
    command.arg(word).args(arguments).args(["--server", &server]);
    process::run(command, wait::PATIENCE)
}

fn cert(fleet: &Fleet, number: usize, arguments: &[&str]) -> Result<Ended> {
    fleetbal(fleet.node(number)?.management(), "cert", arguments)
}

fn add_at(server: SocketAddr, name: &str, of: &Certificate) -> Result<Ended> {
    let (cert, key) = (of.cert.display().to_string(), of.key.display().to_string());
    fleetbal(server, "cert", &["add", name, "--cert", &cert, "--key", &key])
}

fn add(fleet: &Fleet, number: usize, name: &str, of: &Certificate) -> Result {
    let added = add_at(fleet.node(number)?.management(), name, of)?;
    let told = format!("certificate {name}: ");
    ensure!(
        added.code == Some(0) && added.stdout.starts_with(&told) && added.stdout.contains("; version "),
        "{added:#?}"
    );
    Ok(())
}

fn expect(ended: &Ended, code: i32, told: &str) -> Result {
    let all = format!("{}{}", ended.stdout, ended.stderr);
    ensure!(
        ended.code == Some(code) && all.contains(told),
        "no '{told}' in {ended:#?}"
    );
    Ok(())
}

/// Waits until a client that asks for that name is shown a certificate of that subject.
fn shows(address: SocketAddr, name: &str, subject: &str) -> Result {
    wait::for_true(format!("{subject} for {name}"), wait::PATIENCE, || {
        let said = handshake(address, &["-servername", name])?.replace(" = ", "=");
        ensure!(said.contains(&format!("CN={subject}\n")), "{said}");
        Ok(true)
    })
}

fn everywhere_shows(fleet: &Fleet, name: &str, subject: &str) -> Result {
    let mut nodes = fleet.nodes().iter();
    nodes.try_for_each(|node| shows(node.traffic(), name, subject))
}

/// What nobody may find: of a key in PEM, and of the same in DER.
fn traces(key: &Path) -> Result<[Vec<u8>; 2]> {
    let pem = fs::read_to_string(key)?;
    let line = pem.lines().nth(1).context("a key without lines")?;
    let mut command = Command::new("openssl");
    let der = succeed(command.args(["pkey", "-outform", "DER", "-in"]).arg(key))?.stdout;
    // Of a P-256 key in PKCS#8, the secret number itself.
    let secret = der.get(36..68).context("a short key")?;
    Ok([line.as_bytes().to_vec(), secret.to_vec()])
}

/// The files below a directory that have some bytes in them.
fn holding(dir: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(holding(&path, bytes)?);
        } else if fs::read(&path)?.windows(bytes.len()).any(|part| part == bytes) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

/// No file of any node, and nothing that it tells, has the key in it; the certificate is found, so the search is one.
fn key_is_hidden(fleet: &Fleet, of: &Certificate) -> Result {
    let mut command = Command::new("openssl");
    let der = succeed(command.args(["x509", "-outform", "DER", "-in"]).arg(&of.cert))?.stdout;
    for node in fleet.nodes() {
        ensure!(
            !holding(&node.data, &der)?.is_empty(),
            "{}: not even the certificate is there",
            node.name
        );
        let mut told = node.log_text();
        for line in [
            "dumpconfig",
            "config history",
            "cert list json",
            "cert list",
            "effects",
        ] {
            told += &node.manage()?.data(line)?.join("\n");
        }
        let version = node.version()?;
        for version in 1..=version {
            told += &node
                .manage()?
                .data(&format!("config show {version} json"))?
                .join("\n");
        }
        told += &client::get(node.management(), "/api/v1/certs/www")?.text();
        for trace in traces(&of.key)? {
            let found = holding(&node.data, &trace)?;
            ensure!(found.is_empty(), "{} has the key in {found:?}", node.name);
            let is_told = told.as_bytes().windows(trace.len()).any(|part| part == trace);
            ensure!(!is_told, "{} tells the key", node.name);
        }
    }
    Ok(())
}

/// What is refused, each time by one line, and changes nothing.
fn refuse_bad_ones(fleet: &Fleet) -> Result {
    let (dir, version) = (fleet.dir(), fleet.node(1)?.version()?);
    let one = Certificate::make(dir, "one", "ec", &["one.example"])?;
    let two = Certificate::make(dir, "two", "ec", &["two.example"])?;
    let none = dir.join("none.pem");
    let (one_cert, one_key, two_key, none) = (
        one.cert.display().to_string(),
        one.key.display().to_string(),
        two.key.display().to_string(),
        none.display().to_string(),
    );
    let add = |name: &str, cert: &str, key: &str| {
        self::cert(fleet, 2, &["add", name, "--cert", cert, "--key", key])
    };
    expect(
        &add("www", &one_cert, &two_key)?,
        1,
        "ERROR: the private key is not that of the first certificate",
    )?;
    expect(
        &add("www", &one_key, &one_key)?,
        1,
        "ERROR: there is no certificate in PEM",
    )?;
    expect(
        &add("www", &one_cert, &one_cert)?,
        1,
        "ERROR: there is no private key in PEM",
    )?;
    expect(
        &add("www", &none, &one_key)?,
        1,
        "none.pem: No such file or directory",
    )?;
    expect(
        &add("a/b", &one_cert, &one_key)?,
        1,
        "'a/b' is not a valid certificate name",
    )?;
    let mut manage = fleet.node(3)?.manage()?;
    let refused = manage.refused("SET www.ssl_certificates = www, nosuch")?;
    ensure!(
        refused.starts_with("there is no certificate 'nosuch'"),
        "{refused}"
    );
    expect(
        &cert(fleet, 3, &["remove", "www"])?,
        1,
        "certificate www is used by www; take it from there first",
    )?;
    expect(
        &cert(fleet, 3, &["remove", "nosuch"])?,
        1,
        "there is no certificate 'nosuch'",
    )?;
    ensure!(fleet.node(1)?.version()? == version, "something was changed");
    Ok(())
}

/// Speaks TLS at every node, with the certificates `www` (of a.example) and `other` (of b.example).
fn fleet_that_speaks() -> Result<(Fleet, Certificate)> {
    let fleet = Fleet::of_three()?;
    let www = Certificate::make(fleet.dir(), "a", "ec", &["a.example"])?;
    let other = Certificate::make(fleet.dir(), "b", "ec", &["b.example", "*.b.example"])?;
    add(&fleet, 1, "www", &www)?;
    add(&fleet, 2, "other", &other)?;
    let mut manage = fleet.node(3)?.manage()?;
    manage.change("SET www.ssl_certificates = www, other")?;
    manage.change("SET www.enable_ssl = on")?;
    for (name, subject) in [
        ("a.example", "a.example"),
        ("x.b.example", "b.example"),
        ("unknown.example", "a.example"),
    ] {
        everywhere_shows(&fleet, name, subject)?;
    }
    Ok((fleet, www))
}

#[test]
fn what_is_brought_in_at_one_node_is_shown_by_all_and_its_key_is_nowhere() -> Result {
    let (mut fleet, www) = fleet_that_speaks()?;
    refuse_bad_ones(&fleet)?;
    let listed = cert(&fleet, 2, &["list"])?;
    let lines: Vec<_> = listed.stdout.lines().map(str::to_owned).collect();
    ensure!(
        matches!(&lines[..], [head, other, www]
            if head.starts_with("NAME   NAMES") && head.ends_with("NOT AFTER             USED BY")
            && other.starts_with("other  b.example,*.b.example  20") && www.ends_with("Z  www")),
        "{lines:#?}"
    );
    // They are good for two days, which is told of, and nothing worse.
    let node = fleet.node(3)?;
    ensure!(
        node.metrics()?
            .contains("fleetbal_certificate_end_time_seconds{name=\"www\"} ")
    );
    wait::for_true("an effect of each node", wait::PATIENCE, || {
        let effects = node.manage()?.data("effects")?;
        let told = effects.iter().filter(|line| line.contains("certificate www"));
        Ok(told.filter(|line| line.contains("in less than 14 days")).count() == 3)
    })?;
    ensure!(fleet.node(1)?.ready()?);

    let mut open = Vec::new();
    for node in fleet.nodes() {
        open.push(Secure::connect(node.traffic(), &["-servername", "a.example"])?);
    }
    let ask_all = |open: &mut Vec<Secure>| {
        open.iter_mut().try_for_each(|secure| {
            secure.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
            ensure!(secure.answer()?.status()? == 200);
            Ok(())
        })
    };
    ask_all(&mut open)?;
    let renewed = Certificate::make(fleet.dir(), "a2", "ec", &["new.example", "a.example"])?;
    add(&fleet, 3, "www", &renewed)?;
    everywhere_shows(&fleet, "a.example", "new.example")?;
    ask_all(&mut open)?;
    // The same again is no change.
    let version = fleet.node(1)?.version()?;
    add(&fleet, 1, "www", &renewed)?;
    ensure!(fleet.node(1)?.version()? == version, "a version without a change");
    key_is_hidden(&fleet, &renewed)?;
    key_is_hidden(&fleet, &www)?;

    fleet.kill_together(&[1, 2, 3])?;
    for number in 1..=3 {
        fleet.restart(number)?;
    }
    fleet.wait_settled()?;
    everywhere_shows(&fleet, "a.example", "new.example")?;
    everywhere_shows(&fleet, "b.example", "b.example")?;
    // The way back is that of every version.
    fleet
        .node(2)?
        .manage()?
        .change(&format!("config rollback {}", version - 1))?;
    everywhere_shows(&fleet, "a.example", "a.example")?;
    fleet.passed()
}

#[test]
fn a_backup_has_them_for_the_same_fleet_and_a_file_leaves_them_alone() -> Result {
    let (fleet, _) = fleet_that_speaks()?;
    let (backup, file) = (fleet.dir().join("backup"), fleet.dir().join("file"));
    let (backup, path) = (backup.display().to_string(), file.display().to_string());
    let at = |number: usize| -> Result<SocketAddr> { Ok(fleet.node(number)?.management()) };
    expect(
        &fleetbal(at(1)?, "cluster", &["backup", &backup])?,
        0,
        "fleet acme",
    )?;
    fs::write(&file, fleet.node(1)?.dump()?)?;
    expect(&fleetbal(at(1)?, "config", &["diff", &path])?, 0, "")?;
    let mut manage = fleet.node(2)?.manage()?;
    manage.change("SET www.enable_ssl = off")?;
    manage.change("SET www.ssl_certificates = none")?;
    // A file brings the use back, for the certificates were left alone.
    expect(&fleetbal(at(3)?, "config", &["apply", "--yes", &path])?, 0, "")?;
    everywhere_shows(&fleet, "b.example", "b.example")?;
    for line in [
        "SET www.enable_ssl = off",
        "SET www.ssl_certificates = none",
        "cert remove www",
        "cert remove other",
    ] {
        manage.change(line)?;
    }
    ensure!(cert(&fleet, 1, &["list"])?.stdout.lines().count() == 1);
    let restored = fleetbal(at(3)?, "cluster", &["restore", "--replace", &backup])?;
    expect(&restored, 0, "restored version")?;
    everywhere_shows(&fleet, "b.example", "b.example")?;

    // Another fleet cannot read the keys, says so at once, and can once they are added anew.
    let mut new = Fleet::prepare(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    fs::write(new.config_path(), "")?;
    new.found()?;
    let told = fleetbal(new.node(1)?.management(), "cluster", &["restore", &backup])?;
    expect(
        &told,
        1,
        "n1: certificate www: its key was sealed by another fleet",
    )?;
    for (name, file) in [("www", "a"), ("other", "b")] {
        let made = Certificate {
            cert: fleet.dir().join(format!("{file}.pem")),
            key: fleet.dir().join(format!("{file}.key")),
        };
        add(&new, 1, name, &made)?;
    }
    shows(new.node(1)?.traffic(), "b.example", "b.example")?;
    fleet.passed()?;
    new.passed()
}

#[test]
fn a_node_that_stands_alone_has_them_in_memory_and_hands_them_over() -> Result {
    process::Process::adopt_orphans()?;
    let mut scene = Scene::set("SERVER pidfile = pid\n")?;
    let server: SocketAddr = (scene.place.net.node(1), 60000).into();
    let made = Certificate::make(scene.dir(), "b", "ec", &["b.example"])?;
    expect(
        &add_at(server, "www", &made)?,
        0,
        "certificate www: b.example, until ",
    )?;
    shows(scene.traffic, "b.example", "a.example")?;
    scene.manage.change("SET www.ssl_certificates = www")?;
    shows(scene.traffic, "b.example", "b.example")?;
    scene.process.signal(Signal::SIGUSR2)?;
    let _after = successor(&scene.dir().join("pid"), &scene.process)?;
    scene.process.wait_end(wait::PATIENCE)?;
    shows(scene.traffic, "b.example", "b.example")
}

#[test]
fn what_is_no_certificate_is_refused_over_http() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let address = fleet.node(1)?.management();
    let ask = |method: &str, target: &str, body: &[u8]| -> Result<u16> {
        let mut http = client::Http::connect(address)?;
        let length = body.len();
        http.send(
            format!(
                "{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-pem-file\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
            .as_bytes(),
        )?;
        http.send(body)?;
        http.response(message::Kind::Response)?.status()
    };
    ensure!(ask("PUT", "/api/v1/certs/www", b"rubbish")? == 422);
    ensure!(ask("PUT", "/api/v1/certs/a%2fb", b"rubbish")? == 400);
    ensure!(ask("GET", "/api/v1/certs/www", b"")? == 404);
    ensure!(ask("DELETE", "/api/v1/certs/www", b"")? == 405);
    let made = Certificate::make(fleet.dir(), "a", "ec", &["a.example"])?;
    let (chain, key) = (fs::read(&made.cert)?, fs::read(&made.key)?);
    ensure!(ask("PUT", "/api/v1/certs/www", &[&key[..], &chain].concat())? == 200);
    let shown = client::get(address, "/api/v1/certs/www")?;
    ensure!(
        shown.text().trim() == String::from_utf8(chain)?.trim(),
        "{shown:?}"
    );
    fleet.passed()
}
