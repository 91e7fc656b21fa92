//! Clients that speak TLS, and end in ways of their own.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fixture::{Origin, Proxy, soon, until};

/// A service that speaks TLS, and whom its clients trust.
struct Secure {
    proxy: Proxy,
    trusted: Arc<ClientConfig>,
    _dir: tempfile::TempDir,
}

impl Secure {
    fn before(origin: &Origin) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let proxy = Proxy::start(
            &[origin.address],
            &[
                ("enable_ssl", "on"),
                ("ssl_cert_file", path("cert.pem").to_str().unwrap()),
                ("ssl_key_file", path("key.pem").to_str().unwrap()),
            ],
        );
        proxy.load_certificate();
        Self {
            proxy,
            trusted: Arc::new(config),
            _dir: dir,
        }
    }

    async fn client(&self) -> TlsStream<TcpStream> {
        let io = soon(TcpStream::connect(self.proxy.address)).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.trusted));
        soon(connector.connect(name, io)).await.unwrap()
    }
}

#[tokio::test]
async fn who_says_goodbye_behind_its_request_gets_the_answer() {
    let origin = Origin::echo().await;
    let secure = Secure::before(&origin);
    for (request, wanted) in [
        ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "/a"),
        (
            "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
            "/bbody",
        ),
    ] {
        let mut client = secure.client().await;
        client.write_all(request.as_bytes()).await.unwrap();
        // The goodbye of TLS, and the end of the sending side below it.
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        // An end without a goodbye would be an error here.
        soon(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{wanted}")), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_none() {
    let origin = Origin::echo().await;
    let secure = Secure::before(&origin);
    let mut client = secure.client().await;
    let part = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nbody";
    client.write_all(part.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    // Without a goodbye: anybody on the way could do that.
    let (mut io, _) = client.into_inner();
    io.shutdown().await.unwrap();
    until("the connection to be over", || {
        secure.proxy.stats.open_connections() == 0
    })
    .await;
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
}
