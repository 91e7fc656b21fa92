use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::identity::keys::NodeKeys;
use crate::model::NodeName;

/// A node's TLS, and its keys.
struct Own {
    tls: FleetTls,
    keys: NodeKeys,
}

impl std::ops::Deref for Own {
    type Target = FleetTls;

    fn deref(&self) -> &FleetTls {
        &self.tls
    }
}

fn tls(fleet: &str) -> Own {
    let keys = NodeKeys::found(fleet, &NodeName::parse("n").unwrap()).unwrap();
    Own {
        tls: FleetTls::new(&keys).unwrap(),
        keys,
    }
}

fn key(own: &Own) -> KeyHash {
    own.keys.key_hash().unwrap()
}

/// Connects; says what either side made of it.
async fn meet(server: &FleetTls, config: Arc<ClientConfig>) -> (io::Result<FleetStream>, io::Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(stream).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok(stream)
    };
    let dial = async {
        let mut stream = connect(config, TcpStream::connect(address).await?).await?;
        stream.read_exact(&mut [0]).await.map(|_| ())
    };
    tokio::join!(accept, dial)
}

#[tokio::test]
async fn members_know_each_other_by_their_keys() {
    let (one, two) = (tls("a"), tls("b"));
    one.trust([(2, key(&two))]);
    two.trust([(1, key(&one))]);
    let (server, client) = meet(&one, two.client_config(1).unwrap()).await;
    client.unwrap();
    let peer = server.unwrap().connect_info();
    assert_eq!(peer.node(), Some(2));
    one.trust([(7, key(&two))]);
    assert_eq!(peer.node(), Some(7));
}

#[tokio::test]
async fn a_removed_member_is_dialled_and_not_heard() {
    let (one, two) = (tls("a"), tls("b"));
    one.trust([(2, key(&two))]);
    two.trust([(1, key(&one))]);
    let (server, client) = meet(&one, two.client_config(1).unwrap()).await;
    client.unwrap();
    let peer = server.unwrap().connect_info();
    let mut dismissed = Box::pin(peer.clone().dismissed());
    assert!(futures::poll!(&mut dismissed).is_pending());
    one.trust_but([(2, key(&two))], &BTreeSet::from([2]));
    dismissed.await;
    assert_eq!(peer.node(), None, "its open connection ends to count");
    let (server, client) = meet(&one, two.client_config(1).unwrap()).await;
    assert!(server.is_err() && client.is_err(), "a new one is refused");
    let (server, client) = meet(&one, two.nameless_config(1).unwrap()).await;
    client.unwrap();
    assert!(server.unwrap().connect_info().is_nameless());
    let (_, client) = meet(&two, one.client_config(2).unwrap()).await;
    client.unwrap();
}

#[tokio::test]
async fn a_dialler_takes_nobody_else_for_the_member() {
    let (one, two, stranger) = (tls("a"), tls("b"), tls("a"));
    two.trust([(1, key(&one)), (3, key(&two))]);
    let (_, client) = meet(&stranger, two.client_config(1).unwrap()).await;
    assert!(client.is_err());
    let (_, client) = meet(&one, two.client_config(3).unwrap()).await;
    assert!(client.is_err(), "a member, but not the one that was dialled");
    let (_, client) = meet(&one, two.client_config(9).unwrap()).await;
    assert!(client.is_err(), "nobody is known by this id");
}

#[tokio::test]
async fn strangers_show_no_key_and_are_nobody() {
    let (one, stranger) = (tls("a"), tls("a"));
    one.trust([(1, key(&one))]);
    stranger.trust([(1, key(&one))]);
    let (server, client) = meet(&one, stranger.client_config(1).unwrap()).await;
    assert!(server.is_err() && client.is_err(), "no member's key");
    let (server, client) = meet(&one, stranger.nameless_config(1).unwrap()).await;
    client.unwrap();
    assert_eq!(server.unwrap().connect_info().node(), None);
}

/// Shows another's certificate with an own key.
#[derive(Debug)]
struct Thief(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Thief {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let (one, two) = (tls("a"), tls("b"));
    one.trust([(2, key(&two))]);
    let thief = tls("c");
    thief.trust([(1, key(&one))]);
    let mut config = ClientConfig::clone(&thief.client_config(1).unwrap());
    let own_key = thief
        .0
        .provider
        .key_provider
        .load_private_key(thief.keys.private_key())
        .unwrap();
    let stolen = rustls::sign::CertifiedKey::new(two.keys.chain(), own_key);
    config.client_auth_cert_resolver = Arc::new(Thief(Arc::new(stolen)));
    let (server, _) = meet(&one, Arc::new(config)).await;
    assert!(server.is_err());
}

#[tokio::test]
async fn a_key_is_exchanged_while_both_count() {
    let (one, two) = (tls("a"), tls("b"));
    one.trust([(2, key(&two))]);
    two.trust([(1, key(&one))]);
    let config = two.client_config(1).unwrap();
    let (server, _) = meet(&one, Arc::clone(&config)).await;
    let before = server.unwrap();
    let next = two.keys.renewed(&NodeName::parse("n").unwrap()).unwrap();
    let next_hash = next.key_hash().unwrap();
    one.trust([(2, key(&two)), (2, next_hash)]);
    two.switch(&next).unwrap();
    // The same configuration shows the new key; the old connection counts still.
    let (server, client) = meet(&one, Arc::clone(&config)).await;
    client.unwrap();
    assert_eq!(server.unwrap().connect_info().node(), Some(2));
    let (_, client) = meet(&two, one.client_config(2).unwrap()).await;
    client.unwrap();
    assert_eq!(before.connect_info().node(), Some(2));
    one.trust([(2, next_hash)]);
    assert_eq!(before.connect_info().node(), None);
    let (_, client) = meet(&two, one.client_config(2).unwrap()).await;
    client.unwrap();
}
