//! Requests of plugins over `https://`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fixture::{Origin, Proxy, free_address};
use crate::plugins::{ask, plug};

/// Somebody at an address who shows a certificate for these names and says `yes` to whoever goes on. What to trust for it
/// is put into a file.
fn judge(listener: TcpListener, names: &[&str], authority: &Path) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(authority, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            // Whoever does not trust it leaves.
            let Ok(mut io) = acceptor.accept(io).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && io.read_buf(&mut head).await.unwrap_or(0) > 0 {}
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
            if io.write_all(answer).await.is_ok() {
                io.shutdown().await.unwrap_or_default();
            }
        }
    });
}

/// One whose certificate is for its address.
async fn rightful(authority: &Path) -> SocketAddr {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let address = listener.local_addr().unwrap();
    judge(listener, &[&address.ip().to_string()], authority);
    address
}

/// Tells what it was answered, or why it was not.
fn telling(options: &str) -> String {
    r#"
return {
    register = function(service)
        service:register_hook("start_http_request", function(request)
            local is_good, answer, why = pcall(fleetbal.http, { OPTIONS })
            local text = if not is_good then answer elseif answer then answer.body else why
            return request:respond(200, {}, tostring(text))
        end)
    end,
}"#
    .replace("OPTIONS", options)
}

async fn told(proxy: &mut Proxy, options: &str) -> String {
    plug(proxy, "Telling", &telling(options));
    let mut client = proxy.client().await;
    ask(&mut client, "/").await.text().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_certificate_that_is_trusted_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let address = rightful(&dir.path().join("ca.pem")).await;
    let ca = dir.path().join("ca.pem").display().to_string();
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let good = format!(r#"url = "https://{address}/may", ca_file = "{ca}""#);
    assert_eq!(told(&mut proxy, &good).await, "yes");
    // What was read of the file is still good.
    assert_eq!(told(&mut proxy, &good).await, "yes");
    // The system knows nobody who would vouch for it, or there is no system's file at all.
    let unknown = told(&mut proxy, &format!(r#"url = "https://{address}/may""#)).await;
    assert!(
        unknown.starts_with(&format!("https://{address}/may: ")),
        "{unknown}"
    );
    assert!(
        unknown.contains("UnknownIssuer") || unknown.contains("authorities"),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_another_or_none_is_not_and_the_plugin_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let address = rightful(&dir.path().join("ca.pem")).await;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let other = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    fs::write(path("other.pem"), other.cert.pem()).unwrap();
    fs::write(path("empty.pem"), "nothing").unwrap();
    let plain = origin.address;
    let elsewhere = free_address();
    for (options, why) in [
        (
            format!(r#"url = "https://{address}/", ca_file = "{}""#, path("other.pem")),
            "invalid peer certificate",
        ),
        (
            format!(
                r#"url = "https://{plain}/", timeout = 0.5, ca_file = "{}""#,
                path("ca.pem")
            ),
            "no answer in 0.5 s",
        ),
        (
            format!(r#"url = "https://{address}/", ca_file = "{}""#, path("empty.pem")),
            "there is no certificate in",
        ),
        (
            format!(r#"url = "https://{address}/", ca_file = "{}""#, path("none.pem")),
            "No such file",
        ),
        (
            format!(r#"url = "https://{address}/", ca_file = "ca.pem""#),
            "'ca.pem' is no absolute path",
        ),
        (
            format!(r#"url = "http://{plain}/", ca_file = "{}""#, path("ca.pem")),
            "ca_file is for https:// alone",
        ),
        (
            format!(r#"url = "https://{elsewhere}/", ca_file = "{}""#, path("ca.pem")),
            "refused",
        ),
    ] {
        let told = told(&mut proxy, &options).await;
        assert!(told.contains(why), "{options}: {told}");
    }
    // The name of the URL counts, and not only who has signed it.
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let impostor = listener.local_addr().unwrap();
    judge(listener, &["named.example"], &dir.path().join("named.pem"));
    let options = format!(
        r#"url = "https://{impostor}/", ca_file = "{}""#,
        path("named.pem")
    );
    let told = told(&mut proxy, &options).await;
    assert!(told.contains("not valid for"), "{told}");
}
