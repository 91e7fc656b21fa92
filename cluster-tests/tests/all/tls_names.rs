//! TLS where names meet it: a selector with a certificate and a service for each of its hosts.

use std::net::SocketAddr;

use anyhow::ensure;
use fleetbal_cluster_tests::tls::{Certificate, Secure, handshake};
use fleetbal_cluster_tests::{Backend, Result};

use crate::standalone::Place;
use crate::tls_scene::Scene;

#[test]
fn a_selector_has_a_certificate_and_a_service_for_each_host() -> Result {
    let place = Place::new()?;
    let dir = place.dir.path().to_owned();
    for name in ["a", "b"] {
        Certificate::make(
            &dir,
            name,
            "ec",
            &[&format!("{name}.example"), &format!("*.{name}.example")],
        )?;
    }
    let other = place.net.backend(2);
    let _other = Backend::start("b2", other)?;
    let mut scene = Scene::at(place, "")?;
    let front = SocketAddr::from((scene.place.net.node(1), 8443));
    for line in [
        "CREATE POOL others".to_owned(),
        format!("POOL others ADD {other}"),
        "CREATE SERVICE second".to_owned(),
        "SET second.role = reverse_proxy".to_owned(),
        "SET second.pool = others".to_owned(),
        "LOAD Vhosts".to_owned(),
        "CREATE SERVICE front".to_owned(),
        "SET front.role = selector".to_owned(),
        format!("SET front.listen = {front}"),
        "SET front.persist_client = on".to_owned(),
        "SET front.plugins = vhosts".to_owned(),
        "SET front.enable_ssl = on".to_owned(),
        "SET front.ssl_cert_file = a.pem, b.pem".to_owned(),
        "SET front.ssl_key_file = a.key, b.key".to_owned(),
        "VHOST front a.example = www".to_owned(),
        "VHOST front *.a.example = www".to_owned(),
        "VHOST front b.example = second".to_owned(),
        "VHOST front *.b.example = second".to_owned(),
        "ENABLE front".to_owned(),
    ] {
        scene.manage.change(&line)?;
    }
    for (name, subject, backend) in [
        ("a.example", "CN=a.example", "b1"),
        ("A.example", "CN=a.example", "b1"),
        ("x.a.example", "CN=a.example", "b1"),
        ("b.example", "CN=b.example", "b2"),
        ("x.b.example", "CN=b.example", "b2"),
    ] {
        let said = handshake(front, &["-servername", name])?.replace(" = ", "=");
        ensure!(said.contains(subject), "{name}: {said}");
        let mut io = Secure::connect(front, &["-servername", name])?;
        // A kept connection goes where each Host says, whatever its name was when it began.
        let elsewhere = if backend == "b1" {
            ("b.example", "b2")
        } else {
            ("a.example", "b1")
        };
        for (host, wanted) in [(name, backend), elsewhere, (name, backend)] {
            io.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
            let text = io.answer()?.text();
            ensure!(text == wanted, "{host}: {text}");
        }
    }
    Ok(())
}
