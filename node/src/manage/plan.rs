//! What differs between two configurations, as lines of `dumpconfig`: those behind `+` come, those behind `-` go, the
//! others say where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleetbal_raft::model::{Certificate, CertificateName, FleetConfig, longest_rise};
use sha2::{Digest, Sha256};

use super::dump::{dump_loaded, dump_pool, dump_service, dump_settings};

/// The lines; none where both say the same.
pub fn lines(from: &FleetConfig, to: &FleetConfig) -> Vec<String> {
    let mut lines = Vec::new();
    compare(&certificates(from), &certificates(to), &mut lines);
    compare(&dump_loaded(from), &dump_loaded(to), &mut lines);
    let names: BTreeSet<_> = from
        .pools()
        .chain(to.pools())
        .map(|(name, _)| name.as_str())
        .collect();
    for name in names {
        let (before, after) = (from.pool(name), to.pool(name));
        if before != after {
            object(
                before.map(|it| &**it),
                after.map(|it| &**it),
                &mut lines,
                |pool, lines| {
                    dump_pool(name, pool, lines);
                },
            );
        }
    }
    let names = from
        .services()
        .chain(to.services())
        .map(|(name, _)| name.as_str());
    for name in names.collect::<BTreeSet<_>>() {
        let (before, after) = (from.service(name), to.service(name));
        if before != after {
            object(
                before.map(|it| &**it),
                after.map(|it| &**it),
                &mut lines,
                |service, lines| {
                    dump_service(name, service, lines);
                },
            );
        }
    }
    compare(&dump_settings(from), &dump_settings(to), &mut lines);
    lines
}

/// What no line brings in, told apart by hash.
fn certificates(config: &FleetConfig) -> Vec<String> {
    let line = |(name, certificate): (&CertificateName, &Arc<Certificate>)| {
        let leaf = certificate.chain.first().map_or(&[][..], |leaf| leaf);
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(leaf));
        format!("CERT ADD {name} ({a:02x}{b:02x}{c:02x}{d:02x})")
    };
    config.certificates().map(line).collect()
}

fn object<T>(
    before: Option<&T>,
    after: Option<&T>,
    lines: &mut Vec<String>,
    dump: impl Fn(&T, &mut Vec<String>),
) {
    let block = |object: Option<&T>| {
        let mut block = Vec::new();
        if let Some(object) = object {
            dump(object, &mut block);
        }
        // What is disabled says so in a comment; that no `ENABLE` is there says the same.
        block.retain(|line| !line.starts_with('#'));
        block
    };
    let (before, after) = (block(before), block(after));
    if let (Some(head), false, false) = (after.first(), before.is_empty(), after.is_empty()) {
        lines.push(format!("  {head}"));
    }
    compare(&before, &after, lines);
}

/// Appends what goes and what comes. No line is in one list twice; one that moves goes and comes.
pub(super) fn compare(before: &[String], after: &[String], lines: &mut Vec<String>) {
    let places: BTreeMap<&str, usize> = after.iter().map(String::as_str).zip(0..).collect();
    let place = |line: &String| places.get(line.as_str()).copied();
    let shared: Vec<usize> = before.iter().filter_map(place).collect();
    let staying = longest_rise(&shared);
    let (mut old, mut coming) = (before.iter(), Vec::new());
    let gone = |line: &String| format!("- {line}");
    let stays = |line: &String| place(line).is_some_and(|place| staying.contains(&place));
    for (place, line) in after.iter().enumerate() {
        if staying.contains(&place) {
            lines.extend(old.by_ref().take_while(|line| !stays(line)).map(gone));
            lines.append(&mut coming);
        } else {
            coming.push(format!("+ {line}"));
        }
    }
    lines.extend(old.map(gone));
    lines.append(&mut coming);
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::{Batch, Change, SealId, SealedKey};

    use super::super::script::interpret;
    use super::*;

    fn config(text: &str) -> FleetConfig {
        interpret(text.as_bytes(), |_| None).unwrap().config
    }

    const FLEET: &str = "\
CREATE POOL web
  POOL web ADD 10.0.0.1
  POOL web ADD 10.0.0.2
  POOL web ADD 10.0.0.3
CREATE POOL old
CREATE SERVICE www
  SET role = reverse_proxy
  SET pool = web
  SET idle_timeout = 5
ENABLE www
SERVER config_history = 10
";

    #[test]
    fn shows_what_comes_and_what_goes_where() {
        let file = "\
CREATE POOL web
  POOL web ADD 10.0.0.2
  POOL web ADD 10.0.0.3
  POOL web ADD 10.0.0.1
  POOL web ADD 10.0.0.4 weight 2
CREATE SERVICE www
  SET role = reverse_proxy
  SET pool = web
  SET idle_timeout = 30
CREATE SERVICE extra
SERVER config_history = 11
";
        let expected = "\
- CREATE POOL old
  CREATE POOL web
-   POOL ADD web 10.0.0.1:80
+   POOL ADD web 10.0.0.1:80
+   POOL ADD web 10.0.0.4:80 weight 2
+ CREATE SERVICE extra
  CREATE SERVICE www
-   SET idle_timeout = 5
- ENABLE www
- SERVER config_history = 10
+ SERVER config_history = 11";
        assert_eq!(lines(&config(FLEET), &config(file)).join("\n"), expected);
    }

    #[test]
    fn a_renewed_certificate_is_told() {
        let with = |leaf: &[u8]| {
            let certificate = Certificate {
                chain: vec![leaf.into()],
                key: SealedKey {
                    seal: SealId([0; 16]),
                    sealed: Arc::default(),
                },
            };
            let put = Change::PutCertificate {
                name: CertificateName::parse("www").unwrap(),
                certificate: Arc::new(certificate),
            };
            config(FLEET).with_batch(&Batch::of(vec![put])).unwrap()
        };
        let expected = ["- CERT ADD www (ca978112)", "+ CERT ADD www (3e23e816)"];
        assert_eq!(lines(&with(b"a"), &with(b"b")), expected);
    }

    #[test]
    fn says_nothing_of_what_is_the_same() {
        assert_eq!(lines(&config(FLEET), &config(FLEET)), Vec::<String>::new());
    }
}
