//! TLS 1.3 between members.
//!
//! A peer is whom its public key says, and a key counts while the membership holds its hash: certificates are only
//! what TLS wants keys wrapped in. A key that is no member's is refused in the handshake; the check is made again for
//! each request, so that one that was removed is heard no more over a connection that is open already, which ends.
//! Whoever shows no key may connect, and is answered by the join alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Connected;

use super::own_key::OwnKey;
use crate::error::OpenError;
use crate::identity::keys::{MEMBER_DNS_NAME, key_hash_of};
use crate::identity::{KnownMembers, NodeKeys};
use crate::model::KeyHash;
use crate::types::{ClusterMember, NodeId};

/// Whom this node trusts, and what it proves itself with. Clones share both.
#[derive(Debug, Clone)]
pub struct FleetTls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: Arc<OwnKey>,
    provider: Arc<CryptoProvider>,
    server: Arc<ServerConfig>,
    trust: watch::Sender<Trust>,
}

/// Keys of members.
#[derive(Debug, Default)]
struct Trust {
    /// Who is heard.
    nodes: HashMap<KeyHash, NodeId>,
    /// Who is dialled.
    keys: HashMap<NodeId, Vec<KeyHash>>,
}

/// Who is at the other end of a connection: an extension of each request that came over it.
#[derive(Clone)]
pub struct PeerIdentity {
    key: Option<KeyHash>,
    trust: watch::Receiver<Trust>,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct FleetStream {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    peer: PeerIdentity,
}

impl FleetTls {
    /// TLS for a node; it trusts nobody yet.
    ///
    /// # Errors
    /// When its key and certificate do not belong together.
    pub fn new(keys: &NodeKeys) -> Result<Self, OpenError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = watch::Sender::new(Trust::default());
        let verifier = MembersKey {
            trust: trust.subscribe(),
            provider: Arc::clone(&provider),
        };
        let failed = |error: Error| OpenError::Keys(error.to_string());
        let own = OwnKey::new(keys, &provider).map_err(failed)?;
        let server = server_config(Arc::clone(&own), verifier).map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            own,
            provider,
            server: Arc::new(server),
            trust,
        })))
    }

    /// Trusts these members and no other.
    pub fn trust(&self, members: impl IntoIterator<Item = (NodeId, KeyHash)>) {
        self.trust_but(members, &BTreeSet::new());
    }

    /// Trusts these members and no other, and hears those no more that are `removed`: they may be dialled for as long as
    /// they have to be told of it.
    pub fn trust_but(
        &self,
        members: impl IntoIterator<Item = (NodeId, KeyHash)>,
        removed: &BTreeSet<NodeId>,
    ) {
        let mut trust = Trust::default();
        for (node, key) in members {
            if !removed.contains(&node) {
                trust.nodes.insert(key, node);
            }
            trust.keys.entry(node).or_default().push(key);
        }
        self.0.trust.send_replace(trust);
    }

    /// Trusts the members that a node last knew.
    pub fn trust_known(&self, known: &KnownMembers) {
        self.trust(keys_of(&known.members));
    }

    /// Proves itself by other keys from now on; connections that are open go on.
    ///
    /// # Errors
    /// When key and certificate do not belong together.
    pub(crate) fn switch(&self, keys: &NodeKeys) -> Result<(), OpenError> {
        self.0
            .own
            .switch(keys, &self.0.provider)
            .map_err(|error| OpenError::Keys(error.to_string()))
    }

    /// For whoever accepts connections: HTTP/2, a client certificate asked for but not needed.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.server)
    }

    /// For connecting to one member: nobody but the holder of that member's key will do.
    ///
    /// # Errors
    /// When this node's keys do not belong together.
    pub fn client_config(&self, node: NodeId) -> Result<Arc<ClientConfig>, OpenError> {
        self.config_to(node, Some(&self.0.own))
    }

    /// The same, and this side shows no key: so a node asks that may have been removed.
    ///
    /// # Errors
    /// As [`FleetTls::client_config`].
    pub(crate) fn nameless_config(&self, node: NodeId) -> Result<Arc<ClientConfig>, OpenError> {
        self.config_to(node, None)
    }

    fn config_to(&self, node: NodeId, own: Option<&Arc<OwnKey>>) -> Result<Arc<ClientConfig>, OpenError> {
        let verifier = MemberVerifier {
            node,
            trust: self.0.trust.subscribe(),
            provider: Arc::clone(&self.0.provider),
        };
        client_config(&self.0.provider, Arc::new(verifier), own)
            .map(Arc::new)
            .map_err(|error| OpenError::Keys(error.to_string()))
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<FleetStream> {
        let stream = TlsAcceptor::from(self.server_config()).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let peer = self.peer_identity(certificates);
        Ok(FleetStream { stream, peer })
    }

    /// Who showed these certificates in a handshake under [`FleetTls::server_config`].
    pub fn peer_identity(&self, certificates: Option<&[CertificateDer<'_>]>) -> PeerIdentity {
        let key = certificates
            .and_then(<[_]>::first)
            .and_then(|certificate| key_hash_of(certificate));
        PeerIdentity {
            key,
            trust: self.0.trust.subscribe(),
        }
    }
}

/// The keys of members, one after the other.
pub(crate) fn keys_of(members: &BTreeMap<NodeId, ClusterMember>) -> impl Iterator<Item = (NodeId, KeyHash)> {
    members
        .iter()
        .flat_map(|(id, member)| member.keys().map(|key| (*id, key)))
}

impl PeerIdentity {
    /// The member; none where the peer has no key, or none that counts now.
    pub fn node(&self) -> Option<NodeId> {
        self.key
            .and_then(|key| self.trust.borrow().nodes.get(&key).copied())
    }

    /// Whether the peer showed no key.
    pub fn is_nameless(&self) -> bool {
        self.key.is_none()
    }

    /// Waits until the key of the peer counts no more; for ever where it showed none. Dropping the future loses nothing.
    pub async fn dismissed(mut self) {
        let Some(key) = self.key else {
            return std::future::pending().await;
        };
        // An error means that this node ends.
        drop(self.trust.wait_for(|trust| !trust.nodes.contains_key(&key)).await);
    }

    /// The member behind a request.
    ///
    /// # Errors
    /// A refusal to send, where there is none.
    pub fn member<T>(request: &tonic::Request<T>) -> Result<NodeId, tonic::Status> {
        request
            .extensions()
            .get::<Self>()
            .and_then(Self::node)
            .ok_or_else(|| tonic::Status::permission_denied("members of the fleet only"))
    }
}

/// Guards a service: whoever is no member is refused before a byte of the request is read.
///
/// # Errors
/// A refusal to send, where the peer is no member.
pub fn members_only(request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    PeerIdentity::member(&request).map(|_| request)
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerIdentity").field(&self.node()).finish()
    }
}

impl Connected for FleetStream {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

impl AsyncRead for FleetStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FleetStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects over TCP that is open already.
pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    stream: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(MEMBER_DNS_NAME).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}

pub(super) fn client_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    own: Option<&Arc<OwnKey>>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesClientCert>),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would carry a trust that has ended.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(own: Arc<OwnKey>, verifier: MembersKey) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

pub(super) fn only_tls13() -> Error {
    Error::General("TLS 1.3 alone is spoken here".to_owned())
}

/// Whoever holds a member's key, or shows none: whom the key makes it is looked up at each request.
#[derive(Debug)]
struct MembersKey {
    trust: watch::Receiver<Trust>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for MembersKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown = key_hash_of(end_entity).ok_or(CertificateError::BadEncoding)?;
        if self.trust.borrow().nodes.contains_key(&shown) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// One member's key and no other.
#[derive(Debug)]
struct MemberVerifier {
    node: NodeId,
    trust: watch::Receiver<Trust>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for MemberVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = key_hash_of(end_entity).ok_or(CertificateError::BadEncoding)?;
        let trust = self.trust.borrow();
        let is_its_own = trust
            .keys
            .get(&self.node)
            .is_some_and(|keys| keys.contains(&shown));
        if is_its_own {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
