use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::*;

/// 2026-01-01.
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.not_before = date_time_ymd(2025, 12, 1);
    params.not_after = date_time_ymd(2026, 2, 1);
    params
}

fn made(params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A leaf's certificate, its key, and the certificate of its issuer.
fn chain() -> [String; 3] {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = params(&[]);
    ca.distinguished_name.push(DnType::CommonName, "issuer");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["a.example"])
        .signed_by(&key, &Issuer::new(ca, ca_key))
        .unwrap();
    [leaf.pem(), key.serialize_pem(), ca_certificate]
}

fn refused(text: &str) -> OfferError {
    Offer::read(text.as_bytes(), NOW).unwrap_err()
}

#[test]
fn tells_names_and_end() {
    let (certificate, key) = made(&params(&["A.example", "*.b.example", "127.0.0.1", "::1"]));
    let offer = Offer::read(format!("{key}{certificate}").as_bytes(), NOW).unwrap();
    assert_eq!(
        offer.facts.names,
        ["a.example", "*.b.example", "127.0.0.1", "::1"]
    );
    assert_eq!(clock::rfc3339(offer.facts.ends), "2026-02-01T00:00:00Z");
    assert!(!format!("{offer:?}").contains("key:"));
}

#[test]
fn what_is_not_whole_is_refused_by_what_it_lacks() {
    let (certificate, key) = made(&params(&["a.example"]));
    let (_, other_key) = made(&params(&["b.example"]));
    assert_eq!(refused(&key), OfferError::NoCertificate);
    assert_eq!(refused(&certificate), OfferError::NoKey);
    assert_eq!(refused("rubbish"), OfferError::NoCertificate);
    assert_eq!(
        refused(&format!("{certificate}{key}{other_key}")),
        OfferError::Keys(2)
    );
    assert_eq!(
        refused(&format!("{certificate}{other_key}")),
        OfferError::Mismatch
    );
    let (nameless, key) = made(&params(&[]));
    assert_eq!(refused(&format!("{nameless}{key}")), OfferError::Nameless);
    let damaged = format!("-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n{key}");
    assert_eq!(refused(&damaged), OfferError::Unreadable(1));
}

#[test]
fn a_chain_is_in_order() {
    let [leaf, key, issuer] = chain();
    assert!(Offer::read(format!("{leaf}{issuer}{key}").as_bytes(), NOW).is_ok());
    let error = refused(&format!("{issuer}{leaf}{key}"));
    assert_eq!(error, OfferError::Order(1));
    assert_eq!(
        error.to_string(),
        "certificate 2 of the chain did not issue certificate 1; the chain begins with the certificate of the names"
    );
}

#[test]
fn what_is_not_good_now_is_refused_with_its_time() {
    let mut ended = params(&["a.example"]);
    ended.not_after = date_time_ymd(2025, 12, 31);
    let (certificate, key) = made(&ended);
    assert_eq!(
        refused(&format!("{certificate}{key}")).to_string(),
        "the certificate ended at 2025-12-31T00:00:00Z"
    );
    let mut early = params(&["a.example"]);
    early.not_before = date_time_ymd(2026, 1, 2);
    let (certificate, key) = made(&early);
    assert_eq!(
        refused(&format!("{certificate}{key}")).to_string(),
        "the certificate begins at 2026-01-02T00:00:00Z"
    );
}

#[test]
fn the_chain_is_given_back_as_it_came() {
    let (certificate, key) = made(&params(&["a.example"]));
    let offer = Offer::read(format!("{certificate}{key}").as_bytes(), NOW).unwrap();
    let chain = offer.chain.clone();
    let kept = Certificate {
        chain,
        key: fleetbal_raft::model::SealedKey {
            seal: fleetbal_raft::model::SealId([0; 16]),
            sealed: Arc::default(),
        },
    };
    assert_eq!(pem(&kept), certificate.replace("\r\n", "\n"));
}
