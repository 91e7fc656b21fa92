//! TLS with clients, as openssl and curl see it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::tls::{Certificate, Secure, curl, handshake, handshake_in_full, succeed};
use fleetbal_cluster_tests::{Fleet, Manage, Result, client, wait};
use nix::sys::signal::Signal;

use crate::standalone::Place;
use crate::tls_scene::Scene;

fn shows(address: SocketAddr, arguments: &[&str], wanted: &str) -> Result {
    let said = handshake(address, arguments)?;
    ensure!(
        said.contains(wanted),
        "with {arguments:?} no '{wanted}' in: {said}"
    );
    Ok(())
}

fn fails(address: SocketAddr, arguments: &[&str]) -> Result {
    let said = handshake(address, arguments)?;
    ensure!(
        !said.contains("Ciphersuite"),
        "with {arguments:?} it went well: {said}"
    );
    Ok(())
}

#[test]
fn both_versions_of_tls_and_no_older_one() -> Result {
    let mut scene = Scene::set("")?;
    let at = scene.traffic;
    shows(at, &["-tls1_2"], "Protocol version: TLSv1.2")?;
    shows(at, &["-tls1_3"], "Protocol version: TLSv1.3")?;
    fails(at, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])?;
    let said = handshake_in_full(at, &["-alpn", "h2,http/1.1"])?;
    ensure!(said.contains("ALPN protocol: http/1.1"), "{said}");
    fails(at, &["-alpn", "h2"])?;

    let mut before = Secure::connect(at, &["-tls1_2"])?;
    before.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    ensure!(before.answer()?.text() == "b1");
    scene.manage.change("SET www.ssl_protocols = TLSv1.3")?;
    fails(at, &["-tls1_2"])?;
    shows(at, &["-tls1_3"], "TLSv1.3")?;
    // Who was there goes on by the rules that it began with.
    before.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    ensure!(before.answer()?.text() == "b1");
    scene.manage.change("SET www.ssl_protocols = TLSv1.2, TLSv1.3")?;

    scene
        .manage
        .change("SET www.ssl_cipher_list = ECDHE-ECDSA-AES128-GCM-SHA256:!RC4")?;
    shows(at, &["-tls1_2"], "Ciphersuite: ECDHE-ECDSA-AES128-GCM-SHA256")?;
    fails(at, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"])?;
    let refused = scene.manage.refused("SET www.ssl_cipher_list = RC4-SHA")?;
    ensure!(
        refused.starts_with("Cipher 'RC4-SHA' is not available for parameter 'ssl_cipher_list': there are "),
        "{refused}"
    );
    let refused = scene.manage.refused("SET www.ssl_protocols = SSLv3")?;
    ensure!(
        refused.starts_with("Unknown protocol 'SSLv3' for parameter 'ssl_protocols'"),
        "{refused}"
    );
    shows(at, &["-tls1_2"], "Ciphersuite: ECDHE-ECDSA-AES128-GCM-SHA256")
}

#[test]
fn sessions_are_resumed() -> Result {
    let scene = Scene::set("")?;
    for version in ["-tls1_2", "-tls1_3"] {
        let file = scene.dir().join("session");
        let file = file.to_str().context("a path")?;
        let mut first = Secure::connect(scene.traffic, &[version, "-sess_out", file])?;
        first.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        first.rest()?;
        // Tickets are good after a reload as well.
        scene.process.signal(Signal::SIGHUP)?;
        let said = handshake_in_full(scene.traffic, &[version, "-sess_in", file])?;
        ensure!(said.contains("\nReused, TLSv1"), "{version}: {said}");
    }
    Ok(())
}

#[test]
fn each_name_has_its_certificate() -> Result {
    let place = Place::new()?;
    let dir = place.dir.path().to_owned();
    Certificate::make(&dir, "a", "ec", &["a.example"])?;
    Certificate::make(&dir, "b", "ec", &["b.example", "*.b.example"])?;
    Certificate::make(&dir, "r", "rsa", &["rsa.example", "a.example"])?;
    let scene = Scene::at(
        place,
        "SET ssl_cert_file = a.pem, b.pem, r.pem\nSET ssl_key_file = a.key, b.key, r.key\n",
    )?;
    for (name, subject) in [
        ("a.example", "CN=a.example"),
        ("B.example", "CN=b.example"),
        ("x.b.example", "CN=b.example"),
        ("x.y.b.example", "CN=a.example"),
        ("rsa.example", "CN=rsa.example"),
        ("unknown.example", "CN=a.example"),
    ] {
        let said = handshake(scene.traffic, &["-servername", name])?;
        let said = said.replace(" = ", "=");
        ensure!(said.contains(subject), "{name}: {said}");
    }
    let said = handshake(scene.traffic, &["-noservername"])?.replace(" = ", "=");
    ensure!(said.contains("CN=a.example"), "{said}");
    // Two certificates for one name: the client gets one of a kind that it knows.
    let rsa = ["-servername", "a.example", "-sigalgs", "RSA-PSS+SHA256"];
    let said = handshake(scene.traffic, &rsa)?.replace(" = ", "=");
    ensure!(said.contains("CN=rsa.example"), "{said}");
    Ok(())
}

#[test]
fn a_certificate_is_renewed_without_a_broken_connection() -> Result {
    let mut scene = Scene::set("")?;
    let at = scene.traffic;
    let mut open = Secure::connect(at, &[])?;
    open.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    ensure!(open.answer()?.text() == "b1");
    let subject = |wanted: &'static str| {
        wait::for_true(wanted, wait::PATIENCE, || {
            Ok(handshake(at, &[])?.replace(" = ", "=").contains(wanted))
        })
    };
    subject("CN=a.example")?;
    Certificate::make(scene.dir(), "a", "ec", &["new.example"])?;
    subject("CN=a.example")?;
    scene.process.signal(Signal::SIGHUP)?;
    subject("CN=new.example")?;
    open.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    ensure!(open.answer()?.text() == "b1");

    // What cannot be used is said, and what was good goes on.
    fs::write(scene.dir().join("a.pem"), "no certificate")?;
    scene.process.signal(Signal::SIGHUP)?;
    wait::for_true("a complaint", wait::PATIENCE, || {
        scene.complains("SSL cert file (a.pem) holds no certificate")
    })?;
    subject("CN=new.example")?;
    open.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    ensure!(open.answer()?.text() == "b1");
    Certificate::make(scene.dir(), "a", "ec", &["third.example"])?;
    subject("CN=third.example")?;
    wait::for_true("no complaint", wait::PATIENCE, || Ok(!scene.complains("SSL")?))
}

/// Files of a service `two` that has none yet.
fn refuses_what_is_not_there(manage: &mut Manage) -> Result {
    let said = manage.refused("ENABLE two")?;
    ensure!(
        said == "SSL key file (certs/server-key.pem) doesn't exist",
        "{said}"
    );
    for (key, file) in [("ssl_key_file", "none.key"), ("ssl_cert_file", "none.pem")] {
        let said = manage.refused(&format!("SET two.{key} = {file}"))?;
        ensure!(said == format!("File '{file}' not found for '{key}'"), "{said}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_used_is_said_where_it_is_typed() -> Result {
    let mut scene = Scene::set("")?;
    let dir = scene.dir().to_owned();
    Certificate::make(&dir, "b", "ec", &["b.example"])?;
    fs::write(dir.join("junk"), "junk")?;
    let node = scene.place.net.node(1);
    let manage = &mut scene.manage;
    for line in [
        "CREATE SERVICE two",
        "SET two.role = reverse_proxy",
        &format!("SET two.listen = {node}:8081"),
        "SET two.pool = web",
        "SET two.enable_ssl = on",
    ] {
        manage.change(line)?;
    }
    refuses_what_is_not_there(manage)?;
    let mut typed = |key: &str, cert: &str, wanted: &str| -> Result {
        manage.change(&format!("SET two.ssl_key_file = {key}"))?;
        manage.change(&format!("SET two.ssl_cert_file = {cert}"))?;
        let said = manage.refused("ENABLE two")?;
        ensure!(said.starts_with(wanted), "{key} {cert}: {said}");
        Ok(())
    };
    typed("junk", "a.pem", "SSL key file (junk) holds no private key in PEM")?;
    typed(
        "a.key",
        "junk",
        "SSL cert file (junk) holds no certificate in PEM",
    )?;
    typed(
        "b.key",
        "a.pem",
        "SSL key file (b.key) is not the key of SSL cert file (a.pem)",
    )?;
    typed(
        "a.key, b.key",
        "a.pem",
        "ssl_cert_file names 1 files, and ssl_key_file 2",
    )?;
    typed(".", "a.pem", "cannot read .: not a regular file")?;
    ensure!(TcpStream::connect((node, 8081)).is_err());
    manage.change("SET two.ssl_key_file = a.key")?;
    manage.change("ENABLE two")?;
    shows((node, 8081).into(), &[], "TLSv1.3")?;
    // Of a service that runs as well; certificate and key are set one after the other all the same.
    let said = manage.refused("SET two.ssl_cert_file = none.pem")?;
    ensure!(said == "File 'none.pem' not found for 'ssl_cert_file'", "{said}");
    manage.change("SET two.ssl_cert_file = b.pem")?;
    shows((node, 8081).into(), &[], "a.example")?;
    manage.change("SET two.ssl_key_file = b.key")?;
    shows((node, 8081).into(), &[], "b.example")?;
    let said = manage.refused("SET two.ssl_ca_path = /nonexistent")?;
    ensure!(
        said == "Directory '/nonexistent' not found for 'ssl_ca_path'",
        "{said}"
    );
    let said = manage.refused("SET two.ssl_verify_mode = 3")?;
    ensure!(said.contains("ssl_ca_path is not set"), "{said}");
    Ok(())
}

#[test]
fn who_does_not_speak_tls_is_told_or_closed() -> Result {
    let scene = Scene::set("SET idle_timeout = 1\n")?;
    let answer = client::get(scene.traffic, "/")?;
    ensure!(
        answer.status()? == 400 && answer.text().contains("HTTPS"),
        "{answer:?}"
    );
    for garbage in [&[0xff; 64][..], &[22, 3, 1, 0xff, 0xff], &[0x80, 0x2e, 1, 0, 2]] {
        let mut io = TcpStream::connect(scene.traffic)?;
        io.write_all(garbage)?;
        io.set_read_timeout(Some(wait::PATIENCE))?;
        let mut said = Vec::new();
        // An alert, or nothing; then the end, in whatever way.
        drop(io.read_to_end(&mut said));
        ensure!(said.len() < 16, "{said:?}");
    }
    // Whoever says nothing is not waited for any longer than for a head.
    let mut silent = TcpStream::connect(scene.traffic)?;
    silent.set_read_timeout(Some(wait::PATIENCE))?;
    ensure!(silent.read(&mut [0; 1])? == 0, "a silent client got something");
    shows(scene.traffic, &[], "TLSv1.3")
}

#[test]
fn bodies_pass_in_both_directions() -> Result {
    let scene = Scene::set("")?;
    let (sent, got) = (scene.dir().join("sent"), scene.dir().join("got"));
    let body: Vec<u8> = (0..3_000_017_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&sent, &body)?;
    for version in ["1.2", "1.3"] {
        let data = format!("@{}", sent.display());
        let got_path = got.to_str().context("a path")?;
        let arguments = [
            "--tlsv1.2",
            "--tls-max",
            version,
            "--data-binary",
            &data,
            "-o",
            got_path,
        ];
        succeed(&mut curl(scene.traffic, "/echo", &arguments))?;
        ensure!(fs::read(&got)? == body, "TLS {version}: the echo differs");
        let arguments = ["--tls-max", version, "--limit-rate", "20M", "-o", got_path];
        succeed(&mut curl(scene.traffic, "/size/5000000", &arguments))?;
        ensure!(fs::metadata(&got)?.len() == 5_000_000);
    }
    // Several requests on one connection, each sent before the answer to the last, in one record and in many.
    let mut io = Secure::connect(scene.traffic, &[])?;
    let request = "GET /size/40000 HTTP/1.1\r\nHost: a\r\n\r\n";
    io.send(request.repeat(50).as_bytes())?;
    for _ in 0..50 {
        ensure!(io.answer()?.body.len() == 40_000);
    }
    for piece in request.as_bytes().chunks(7) {
        io.send(piece)?;
    }
    ensure!(io.answer()?.body.len() == 40_000);
    io.send(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let (said, complaints) = io.rest()?;
    ensure!(said.ends_with("b1"), "{said}");
    ensure!(!complaints.contains("unexpected eof"), "no goodbye: {complaints}");
    Ok(())
}

#[test]
fn files_are_sent_encrypted() -> Result {
    let mut scene = Scene::set("")?;
    let (root, got) = (scene.dir().join("root"), scene.dir().join("got"));
    fs::create_dir(&root)?;
    let large: Vec<u8> = (0..1_000_003_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(root.join("large"), &large)?;
    fs::write(root.join("small"), &large[..5000])?;
    let node = scene.place.net.node(1);
    for line in [
        "CREATE SERVICE files".to_owned(),
        "SET files.role = web_server".to_owned(),
        format!("SET files.docroot = {}", root.display()),
        format!("SET files.listen = {node}:8443"),
        "SET files.enable_ssl = on".to_owned(),
        "SET files.ssl_cert_file = a.pem".to_owned(),
        "SET files.ssl_key_file = a.key".to_owned(),
        "ENABLE files".to_owned(),
    ] {
        scene.manage.change(&line)?;
    }
    let got_path = got.to_str().context("a path")?;
    for (name, wanted) in [("small", &large[..5000]), ("large", &large[..])] {
        succeed(&mut curl(
            (node, 8443).into(),
            &format!("/{name}"),
            &["--fail", "--limit-rate", "20M", "-o", got_path],
        ))?;
        ensure!(fs::read(&got)? == wanted, "{name} differs");
    }
    Ok(())
}

#[test]
fn backends_learn_that_the_client_speaks_tls() -> Result {
    let mut scene = Scene::set("")?;
    let ask = |scene: &Scene, header: &str| -> Result<Option<String>> {
        succeed(&mut curl(scene.traffic, "/", &["-H", header]))?;
        let requests = scene.backend.requests();
        let last = requests.last().context("no request")?;
        let all = last
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-proto"));
        ensure!(all.count() == 1, "{:?}", last.headers);
        Ok(last.header("x-forwarded-proto").map(str::to_owned))
    };
    ensure!(ask(&scene, "X: y")?.as_deref() == Some("https"));
    ensure!(ask(&scene, "X-Forwarded-Proto: gopher")?.as_deref() == Some("https"));
    scene.manage.change("SET www.always_trusted = on")?;
    ensure!(ask(&scene, "X-Forwarded-Proto: gopher")?.as_deref() == Some("gopher"));
    ensure!(ask(&scene, "X: y")?.as_deref() == Some("https"));
    Ok(())
}

#[test]
fn a_certificate_that_one_node_lacks_is_an_effect_there() -> Result {
    let fleet = Fleet::of_three()?;
    let dir = fleet.dir().to_owned();
    for name in ["n1", "n3"] {
        Certificate::make(&dir, name, "ec", &["a.example"])?;
    }
    let mut manage = fleet.node(1)?.manage()?;
    for line in [
        "CREATE SERVICE safe".to_owned(),
        "SET safe.role = reverse_proxy".to_owned(),
        "SET safe.pool = web".to_owned(),
        "SET safe.listen = ${node:ip}:8443".to_owned(),
        "SET safe.enable_ssl = on".to_owned(),
        format!("SET safe.ssl_cert_file = {}/${{node:name}}.pem", dir.display()),
        format!("SET safe.ssl_key_file = {}/${{node:name}}.key", dir.display()),
    ] {
        manage.change(&line)?;
    }
    let lacks = format!("n2: SSL key file ({}/n2.key) doesn't exist", dir.display());
    let said = manage.refused("ENABLE safe")?;
    ensure!(said == format!("enabled, but {lacks}"), "{said}");
    let at = |number: usize| -> Result<SocketAddr> { Ok((fleet.node(number)?.address, 8443).into()) };
    let (first, second) = (at(1)?, at(2)?);
    shows(first, &[], "a.example")?;
    ensure!(
        TcpStream::connect(second).is_err(),
        "it listens without a certificate"
    );
    // It is tried on.
    Certificate::make(&dir, "n2", "ec", &["late.example"])?;
    wait::for_true("the second node to speak TLS", wait::PATIENCE, || {
        Ok(handshake(second, &[])?.contains("late.example"))
    })?;
    // Where it is missing at the typist, nothing is changed.
    let mut manage = fleet.node(2)?.manage()?;
    let said = manage.refused("SET safe.ssl_key_file = none.key")?;
    ensure!(said == "File 'none.key' not found for 'ssl_key_file'", "{said}");
    fleet.wait_settled()?;
    fleet.passed()
}

#[test]
fn clients_show_certificates_where_they_must() -> Result {
    let place = Place::new()?;
    let dir = place.dir.path().to_owned();
    Certificate::make(&dir, "a", "ec", &["a.example"])?;
    Certificate::make(&dir, "stranger", "ec", &["stranger"])?;
    fs::create_dir(dir.join("ca"))?;
    let authority = Certificate::make(&dir.join("ca"), "authority", "ec", &["authority"])?;
    authority.issue(&dir, "client", &["client"])?;
    let mut scene = Scene::at(place, "SET ssl_ca_path = ca\nSET ssl_verify_mode = 3\n")?;
    let path = |name: &str| dir.join(name).display().to_string();
    let with = |cert: &str, key: &str| ["--cert".to_owned(), path(cert), "--key".to_owned(), path(key)];
    let get = |scene: &Scene, arguments: &[String]| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        succeed(&mut curl(scene.traffic, "/", &arguments)).is_ok()
    };
    let known = with("client.pem", "client.key");
    let stranger = with("stranger.pem", "stranger.key");
    ensure!(get(&scene, &known));
    ensure!(!get(&scene, &[]) && !get(&scene, &stranger));
    scene.manage.change("SET www.ssl_verify_mode = 1")?;
    ensure!(get(&scene, &known) && get(&scene, &[]) && !get(&scene, &stranger));
    scene.manage.change("SET www.ssl_verify_mode = 0")?;
    ensure!(get(&scene, &stranger));
    Ok(())
}

#[test]
fn management_speaks_tls_too() -> Result {
    let mut scene = Scene::set("")?;
    let node = scene.place.net.node(1);
    for line in [
        "CREATE SERVICE safe",
        "SET safe.role = management",
        &format!("SET safe.listen = {node}:60001"),
        "SET safe.enable_ssl = on",
        "SET safe.ssl_cert_file = a.pem",
        "SET safe.ssl_key_file = a.key",
        "ENABLE safe",
    ] {
        scene.manage.change(line)?;
    }
    let at: SocketAddr = (node, 60001).into();
    let mut io = Secure::connect(at, &[])?;
    io.send(b"show pool\r\nquit\r\n")?;
    let (said, _) = io.rest()?;
    ensure!(said.starts_with("web nodes 1\r\n"), "{said}");
    let output = succeed(&mut curl(at, "/healthz", &[]))?;
    ensure!(!output.stdout.is_empty());
    let mut plain = TcpStream::connect(at)?;
    plain.write_all(b"show pool\r\n")?;
    let mut said = String::new();
    plain.read_to_string(&mut said)?;
    ensure!(said == "ERROR: this port speaks TLS\r\n", "{said}");
    Ok(())
}
