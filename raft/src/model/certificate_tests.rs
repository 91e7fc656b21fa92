use super::super::change::{Batch, Change};
use super::super::diff::diff;
use super::super::name::ServiceName;
use super::*;
use crate::model::Setting;

fn name(text: &str) -> CertificateName {
    CertificateName::parse(text).unwrap()
}

fn put(text: &str, chain: &[u8], seal: u8, sealed: &[u8]) -> Change {
    Change::PutCertificate {
        name: name(text),
        certificate: Arc::new(Certificate {
            chain: vec![chain.into()],
            key: SealedKey {
                seal: SealId([seal; 16]),
                sealed: sealed.into(),
            },
        }),
    }
}

fn set(value: &str) -> Change {
    Change::Set {
        object: "www".to_owned(),
        key: "ssl_certificates".to_owned(),
        value: value.to_owned(),
    }
}

fn after(config: &FleetConfig, change: Change) -> Result<FleetConfig, String> {
    let applied = config.with_batch(&Batch::of(vec![change]));
    applied.map_err(|refusal| refusal.text)
}

fn scene() -> FleetConfig {
    let create = Change::CreateService(ServiceName::parse("www").unwrap());
    let batch = Batch::of(vec![create, put("a", b"a", 1, b"1"), put("b", b"b", 1, b"1")]);
    FleetConfig::default().with_batch(&batch).unwrap()
}

#[test]
fn a_service_names_what_is_there() {
    let config = scene();
    assert_eq!(
        after(&config, set("a, c")),
        Err("there is no certificate 'c'; `cert list` shows those that there are".to_owned())
    );
    let refused = after(&config, set("a,*")).unwrap_err();
    assert!(
        refused.starts_with("'*' is not a valid certificate name"),
        "{refused}"
    );
    let config = after(&config, set("B,a")).unwrap();
    assert_eq!(
        config.service("www").unwrap().certificates(),
        [name("b"), name("a")]
    );
    assert_eq!(
        after(&config, Change::RemoveCertificate(name("a"))),
        Err("certificate a is used by www; take it from there first".to_owned())
    );
    for none in ["none", "undef"] {
        let config = after(&config, set(none)).unwrap();
        assert!(config.service("www").unwrap().certificates().is_empty());
        assert!(after(&config, Change::RemoveCertificate(name("a"))).is_ok());
    }
}

#[test]
fn a_default_uses_it_too() {
    let default = Change::SetDefault {
        key: "ssl_certificates".to_owned(),
        value: "a".to_owned(),
    };
    let config = after(&scene(), default).unwrap();
    let refused = after(&config, Change::RemoveCertificate(name("a"))).unwrap_err();
    assert!(refused.contains("DEFAULT ssl_certificates"), "{refused}");
    let unset = Change::Unset(Setting::Default("ssl_certificates".to_owned()));
    let config = after(&config, unset).unwrap();
    assert!(after(&config, Change::RemoveCertificate(name("a"))).is_ok());
}

#[test]
fn the_same_again_is_no_change_and_another_seal_is_one() {
    let config = scene();
    let again = after(&config, put("a", b"a", 1, b"1")).unwrap();
    assert_eq!(again.version, config.version);
    for other in [put("a", b"a", 1, b"2"), put("a", b"a", 2, b"1")] {
        assert_ne!(after(&config, other).unwrap().version, config.version);
    }
}

#[test]
fn what_is_too_long_or_not_there_is_refused() {
    let config = scene();
    for bad in [
        put("c", &vec![0; LONGEST + 1], 1, b""),
        put("c", b"c", 1, &vec![0; LONGEST + 1]),
    ] {
        assert_eq!(
            after(&config, bad),
            Err("certificate c is empty, or longer than 64 KiB".to_owned())
        );
    }
    assert!(after(&config, Change::RemoveCertificate(name("c"))).is_err());
}

#[test]
fn there_and_back_in_small_steps() {
    let empty = FleetConfig::default();
    let full = after(&scene(), set("a")).unwrap();
    for (from, to) in [(&empty, &full), (&full, &empty)] {
        let mut now = from.clone();
        now.apply_all(&diff(from, to)).unwrap();
        assert!(now.says_the_same(to));
    }
}

#[test]
fn no_key_is_printed() {
    let change = put("a", b"chain", 1, b"sealed");
    assert_eq!(change.to_string(), "CERT ADD a");
    assert!(!format!("{change:?}").contains(&format!("{:?}", b"sealed")));
}
