//! The load of the TLS bench: `tls-load IP:PORT PATH BODY full|resumed CLIENTS SECONDS` opens a connection for each
//! request, CLIENTS at a time, and prints what came of it as JSON.
//!
//! It takes what a server says of itself without checking the signature, so that the server has more to do than it has.
//! An answer whose body is not that of the file BODY ends it with an error, and so does a handshake of the other kind.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleetbal_cluster_tests::threads;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, Stream, version,
};

/// For how long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's own word is enough.
#[derive(Debug)]
struct Whoever(CryptoProvider);

impl ServerCertVerifier for Whoever {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What all clients ask for.
struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    body: Vec<u8>,
    resumes: bool,
    until: Instant,
}

/// One suite and one group, so that every server does the same work. Each client has sessions of its own.
fn config(resumes: bool) -> Result<Arc<ClientConfig>> {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .retain(|suite| *suite == ring::cipher_suite::TLS13_AES_256_GCM_SHA384);
    provider.kx_groups = vec![ring::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Whoever(provider)))
        .with_no_client_auth();
    config.resumption = if resumes {
        Resumption::in_memory_sessions(4)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// A connection, a handshake, a request. The kind of the handshake.
fn ask(plan: &Plan, config: &Arc<ClientConfig>) -> Result<HandshakeKind> {
    let mut io = TcpStream::connect(plan.address).context("connect")?;
    io.set_nodelay(true)?;
    io.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ClientConnection::new(Arc::clone(config), "bench.example".try_into()?)?;
    let mut answer = Vec::with_capacity(plan.body.len() + 512);
    let mut stream = Stream::new(&mut tls, &mut io);
    stream.write_all(&plan.request).context("request")?;
    // An end without a goodbye is an error.
    stream.read_to_end(&mut answer).context("answer")?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = head.and_then(|at| answer.get(at + 4..));
    ensure!(
        answer.starts_with(b"HTTP/1.1 200 ") && body == Some(&plan.body),
        "it was answered: {}",
        String::from_utf8_lossy(&answer)
    );
    tls.handshake_kind().context("no handshake")
}

/// Asks until the time is over: how often.
fn client(plan: &Plan) -> Result<u64> {
    let config = config(plan.resumes)?;
    let wanted = if plan.resumes {
        // There is nothing to be resumed yet.
        ask(plan, &config)?;
        HandshakeKind::Resumed
    } else {
        HandshakeKind::Full
    };
    let mut answers = u64::from(plan.resumes);
    while Instant::now() < plan.until {
        let kind = ask(plan, &config)?;
        ensure!(kind == wanted, "a handshake was {kind:?}, not {wanted:?}");
        answers += 1;
    }
    Ok(answers)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, body, kind, clients, seconds] = &arguments[..] else {
        bail!("usage: tls-load IP:PORT PATH BODY full|resumed CLIENTS SECONDS");
    };
    let begun = Instant::now();
    let plan = Plan {
        address: address.parse().context("IP:PORT")?,
        request: format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n")
            .into_bytes(),
        body: std::fs::read(body).context("BODY")?,
        resumes: match &kind[..] {
            "full" => false,
            "resumed" => true,
            _ => bail!("a handshake is full or resumed, not {kind}"),
        },
        until: begun + Duration::from_secs_f64(seconds.parse().context("SECONDS")?),
    };
    let clients: usize = clients.parse().context("CLIENTS")?;
    let requests = threads::sum(clients, |_| client(&plan))?;
    let took = begun.elapsed().as_secs_f64();
    println!("{{\"requests\": {requests}, \"seconds\": {took:.3}}}");
    Ok(())
}
