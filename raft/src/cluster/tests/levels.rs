//! Two releases in one fleet.

use std::sync::Arc;

use super::super::Proposed;
use super::harness::{Fleet, Node, WITHIN, run, until};
use crate::error::ProposeError;
use crate::model::{Answer, Batch, Certificate, CertificateName, Change, Command, FEATURE_LEVEL};

/// Waits until every node knows what a member can apply.
fn known(fleet: &Fleet, name: &str, level: u32) {
    until("the level to be known", WITHIN * 2, || {
        fleet.nodes.iter().all(|node| {
            let members = node.cluster.status().members;
            let member = members.values().find(|member| member.name == name);
            member.is_some_and(|member| member.feature_level == Some(level))
        })
    });
}

/// A change that the first release does not know.
fn add_certificate(node: &Node) -> Result<Proposed, ProposeError> {
    let name = CertificateName::parse("www").unwrap();
    let certificate = Arc::new(Certificate {
        chain: vec![b"chain"[..].into()],
        key: node.cluster.seal().seal(&name, b"key").unwrap(),
    });
    let batch = Batch::of(vec![Change::PutCertificate { name, certificate }]);
    run(node.cluster.propose(Command::Batch(batch), "test", WITHIN))
}

#[test]
fn what_an_older_member_cannot_apply_is_refused_by_its_name() {
    let mut fleet = Fleet::of_three();
    for name in ["n1", "n2", "n3"] {
        known(&fleet, name, FEATURE_LEVEL);
    }
    fleet.nodes[0].create("before").unwrap();
    let (name, address) = fleet.kill((fleet.leader() + 1) % 3);
    fleet.restart_as(&name, address, FEATURE_LEVEL - 1);
    known(&fleet, &name, FEATURE_LEVEL - 1);
    // At the leader and at a follower, that one itself included.
    for node in &fleet.nodes {
        let Err(ProposeError::Refused(why)) = add_certificate(node) else {
            panic!("not refused at {}", node.name);
        };
        assert!(
            why.contains(&format!("{name} has {}", FEATURE_LEVEL - 1)),
            "{why}"
        );
    }
    // What both releases know goes on.
    fleet.nodes[0].create("meanwhile").unwrap();
    let place = fleet.nodes.iter().position(|node| node.name == name).unwrap();
    let (name, address) = fleet.kill(place);
    fleet.restart(&name, address);
    known(&fleet, &name, FEATURE_LEVEL);
    let proposed = add_certificate(&fleet.nodes[0]).unwrap();
    assert!(matches!(proposed.answer, Answer::Applied(_)), "{proposed:?}");
    // Whoever sealed it, each member can open it.
    let name = CertificateName::parse("www").unwrap();
    for node in &fleet.nodes {
        let config = || node.cluster.feed().latest().state.config.clone();
        until("the certificate", WITHIN, || {
            config().certificate("www").is_some()
        });
        let config = config();
        let key = node
            .cluster
            .seal()
            .open(&name, &config.certificate("www").unwrap().key);
        assert_eq!(key.as_deref(), Ok(&b"key"[..]), "{}", node.name);
    }
}
