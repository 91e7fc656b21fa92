//! Entries, configurations, states, backups.

use std::sync::Arc;

use fleetbal_proto::v1;
use prost::Message;

use super::{Sample, message, sample};
use crate::model::{
    AccessRule, Answer, Backend, BackendAddress, Batch, Certificate, CertificateName, Change, Command,
    Directive, Entry, FleetConfig, FleetId, HeaderRule, KeyHash, LogTarget, NewMember, NodeName, PoolName,
    Refusal, RequestId, ScriptName, SealId, SealedKey, SecretHash, ServiceName, Setting, Template, TokenId,
    Typist, UnixMillis, Version, VoteWish,
};
use crate::wire::change::from_changes;
use crate::wire::{decode_answer, decode_entry, encode_answer, encode_entry};

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = entries();
    samples.push(weightless());
    samples.extend([
        message(
            "Answer/applied",
            encode_answer(&Answer::Applied(Version(7))),
            again,
        ),
        message("Answer/joined", encode_answer(&Answer::Joined(4)), again),
        message("Answer/done", encode_answer(&Answer::Done), again),
        message("Answer/refused", encode_answer(&refused()), again),
    ]);
    samples
}

fn again(answer: v1::Answer) -> Result<v1::Answer, crate::wire::WireError> {
    Ok(encode_answer(&decode_answer(answer)?))
}

fn refused() -> Answer {
    Answer::Refused(Refusal {
        text: "no".to_owned(),
        change: 2,
    })
}

fn entries() -> Vec<Sample> {
    let of = |(name, command): (String, Command)| {
        let value = entry(9, command);
        let decode = |bytes: &[u8]| decode_entry(bytes).unwrap();
        sample(&format!("Entry/{name}"), value, encode_entry, decode)
    };
    let changes = changes()
        .into_iter()
        .map(|(name, change)| (name.to_owned(), Command::Batch(Batch::of(vec![change]))));
    let others = commands()
        .into_iter()
        .map(|(name, command)| (name.to_owned(), command));
    others.chain(changes).map(of).collect()
}

/// Backends had no weight at first.
fn weightless() -> Sample {
    let value = vec![Change::PoolAdd {
        pool: pool("web"),
        backend: backend(1),
        weight: 1,
    }];
    let add = v1::PoolAdd {
        pool: "web".to_owned(),
        address: "10.0.0.1:8080".to_owned(),
        weight: None,
    };
    let bytes = v1::Change {
        change: Some(v1::change::Change::PoolAdd(add)),
    }
    .encode_to_vec();
    sample(
        "Change/pool-add-without-weight",
        value,
        move |_| bytes.clone(),
        |bytes| from_changes(vec![v1::Change::decode(bytes).unwrap()]).unwrap(),
    )
}

pub(super) fn entry(request: u8, command: Command) -> Entry {
    Entry {
        feature_level: 2,
        request_id: RequestId([request; 16]),
        origin_node: "n1".to_owned(),
        typist: Typist {
            address: "127.0.0.1:4000".to_owned(),
            token: Some("ops".to_owned()),
        },
        time: UnixMillis(1_700_000_000_000 + u64::from(request)),
        deadline: UnixMillis(1_700_000_005_000),
        command,
    }
}

pub(super) fn pool(name: &str) -> PoolName {
    PoolName::parse(name).unwrap()
}

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn backend(last: u8) -> BackendAddress {
    BackendAddress::parse(&format!("10.0.0.{last}:8080")).unwrap()
}

fn token() -> TokenId {
    TokenId::parse("05146e824bf1").unwrap()
}

fn member(name: &str, key: u8) -> NewMember {
    NewMember {
        name: node(name),
        address: "10.0.0.1:7400".to_owned(),
        key_hash: KeyHash([key; 32]),
    }
}

pub(super) fn found() -> Command {
    Command::Found {
        name: "acme".to_owned(),
        id: FleetId([3; 16]),
        ca_certificate: vec![0x30, 1],
        founder: member("n1", 1),
    }
}

pub(super) fn issue(uses: Option<u32>) -> Command {
    Command::IssueToken {
        id: if uses.is_some() {
            token()
        } else {
            TokenId::parse("15146e824bf1").unwrap()
        },
        secret_hash: SecretHash([5; 32]),
        ttl_ms: 3_600_000,
        uses,
    }
}

pub(super) fn join() -> Command {
    Command::Join {
        token: token(),
        secret_hash: SecretHash([5; 32]),
        member: member("n2", 2),
    }
}

pub(super) fn wish(node_name: &str, wish: VoteWish) -> Command {
    Command::SetWish {
        node: node(node_name),
        wish,
    }
}

fn commands() -> Vec<(&'static str, Command)> {
    let conditional = Batch {
        changes: vec![Change::CreatePool(pool("a"))],
        if_version: Some(Version(3)),
        confirm: Some(60),
        from_file: true,
    };
    let to = Version(2);
    vec![
        ("batch", Command::Batch(conditional)),
        (
            "rollback",
            Command::Rollback {
                to,
                if_version: Some(Version(3)),
            },
        ),
        ("confirm", Command::Confirm),
        ("undo", Command::Undo(Version(3))),
        ("found", found()),
        ("issue-token", issue(Some(3))),
        ("issue-token-without-limit", issue(None)),
        ("join", join()),
        ("revoke-token", Command::RevokeToken(token())),
        ("remove-node", Command::RemoveNode(node("n2"))),
        ("wish-voter", wish("n2", VoteWish::Voter)),
        ("wish-learner", wish("n2", VoteWish::Learner)),
        ("wish-any", wish("n2", VoteWish::Any)),
    ]
}

fn set(object: &str, key: &str, value: &str) -> Change {
    Change::Set {
        object: object.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn direct(directive: Directive) -> Change {
    Change::Direct {
        service: "www".to_owned(),
        directive,
    }
}

fn certificate() -> Arc<Certificate> {
    Arc::new(Certificate {
        chain: vec![b"leaf"[..].into(), b"issuer"[..].into()],
        key: SealedKey {
            seal: SealId([6; 16]),
            sealed: b"sealed"[..].into(),
        },
    })
}

fn insert() -> HeaderRule {
    HeaderRule::Insert {
        name: "X-Node".to_owned(),
        value: Template::parse("${node:name}").unwrap(),
    }
}

/// A configuration with something in each of its parts.
#[expect(clippy::too_many_lines, reason = "one entry a part")]
pub(super) fn config() -> FleetConfig {
    let limit = |target: Option<&str>| Change::SetReproxyLimit {
        target: target.map(str::to_owned),
        limit: 9,
    };
    let drain = Change::PoolDrain {
        pool: pool("web"),
        backend: backend(1),
        draining: true,
    };
    let plugins = ["vhosts", "vpaths", "log", "accesscontrol", "redirect"];
    let mut all: Vec<Change> = plugins
        .map(|plugin| Change::SetLoaded {
            plugin: plugin.to_owned(),
            loaded: true,
        })
        .into();
    all.extend([
        Change::CreatePool(pool("web")),
        Change::PoolAdd {
            pool: pool("web"),
            backend: backend(1),
            weight: 3,
        },
        drain,
        set("web", "balance_method", "hash"),
        set("web", "hash_by", "cookie:Sid"),
        set("web", "load_header", "x-load"),
        set("web", "health_path", "/ok"),
        Change::CreatePool(pool("file")),
        set("file", "nodefile", "/nodes/${node:name}"),
        Change::CreateService(service("www")),
        set("www", "role", "selector"),
        set("www", "listen", "${node:ip}:80"),
        set("www", "plugins", "vhosts, vpaths, log, accesscontrol, redirect"),
        Change::CreateService(service("proxy")),
        set("proxy", "role", "reverse_proxy"),
        set("proxy", "pool", "web"),
        Change::Header {
            service: service("proxy"),
            rule: insert(),
        },
        Change::SetEnabled {
            service: service("proxy"),
            enabled: true,
        },
        Change::SetDefault {
            key: "persist_client".to_owned(),
            value: "on".to_owned(),
        },
        Change::SetVoters(5),
        Change::SetDeadVoterAfter(60),
        Change::SetConfigHistory(50),
        limit(None),
        limit(Some("a:80")),
        Change::SetMime {
            extension: "txt".to_owned(),
            kind: Some("text/x-own".to_owned()),
        },
        Change::PutScript {
            name: ScriptName::parse("own").unwrap(),
            source: "return 1".into(),
        },
        Change::PutCertificate {
            name: CertificateName::parse("www").unwrap(),
            certificate: certificate(),
        },
    ]);
    all.extend(directives().into_iter().map(|(_, directive)| direct(directive)));
    FleetConfig::default().with_batch(&Batch::of(all)).unwrap()
}

fn directives() -> Vec<(&'static str, Directive)> {
    let target = service("proxy");
    let log = |text| Directive::Log(LogTarget::parse(text).unwrap());
    vec![
        (
            "direct-vhost",
            Directive::Vhost {
                pattern: "*.a.com".to_owned(),
                target: target.clone(),
            },
        ),
        (
            "direct-vpath",
            Directive::Vpath {
                pattern: "^/a".to_owned(),
                target,
            },
        ),
        (
            "direct-access",
            Directive::Access(AccessRule::parse("deny", "netmask", "10.0.0.0/8").unwrap()),
        ),
        (
            "direct-redirect",
            Directive::Redirect {
                host: "a.com".to_owned(),
                target: "b.com".to_owned(),
            },
        ),
        ("direct-log", log("/log/${node:name}")),
        ("direct-log-command", log("| cat > x")),
    ]
}

#[expect(clippy::too_many_lines, reason = "one entry a change")]
fn changes() -> Vec<(&'static str, Change)> {
    let whole = config();
    let proxy = Arc::clone(whole.service("proxy").unwrap());
    let weighted = vec![(backend(1), 1), (backend(2), 5)];
    let placed = |after| Change::PoolPlace {
        pool: pool("web"),
        backend: Backend {
            address: backend(2),
            weight: 5,
            draining: true,
        },
        after,
    };
    let header = |rule| Change::Header {
        service: service("www"),
        rule,
    };
    let remove = HeaderRule::Remove {
        name: "X-Node".to_owned(),
    };
    let mime = |kind: Option<&str>| Change::SetMime {
        extension: "txt".to_owned(),
        kind: kind.map(str::to_owned),
    };
    let mut changes = vec![
        ("create-pool", Change::CreatePool(pool("web"))),
        ("create-service", Change::CreateService(service("www"))),
        ("set", set("www", "listen", "${node:ip}:80")),
        (
            "set-default",
            Change::SetDefault {
                key: "persist_client".to_owned(),
                value: "on".to_owned(),
            },
        ),
        (
            "set-enabled",
            Change::SetEnabled {
                service: service("www"),
                enabled: true,
            },
        ),
        (
            "pool-add",
            Change::PoolAdd {
                pool: pool("web"),
                backend: backend(1),
                weight: 3,
            },
        ),
        (
            "pool-remove",
            Change::PoolRemove {
                pool: pool("web"),
                backend: backend(1),
            },
        ),
        (
            "pool-drain",
            Change::PoolDrain {
                pool: pool("web"),
                backend: backend(1),
                draining: true,
            },
        ),
        (
            "set-backends",
            Change::SetBackends {
                object: "web".to_owned(),
                backends: weighted,
            },
        ),
        ("header-insert", header(insert())),
        ("header-remove", header(remove)),
        (
            "reproxy-limit",
            Change::SetReproxyLimit {
                target: Some("a:80".to_owned()),
                limit: 9,
            },
        ),
        (
            "reproxy-limit-of-all",
            Change::SetReproxyLimit {
                target: None,
                limit: 9,
            },
        ),
        (
            "set-loaded",
            Change::SetLoaded {
                plugin: "vhosts".to_owned(),
                loaded: true,
            },
        ),
        (
            "put-script",
            Change::PutScript {
                name: ScriptName::parse("own").unwrap(),
                source: "return 1".into(),
            },
        ),
        (
            "remove-script",
            Change::RemoveScript(ScriptName::parse("own").unwrap()),
        ),
        ("mime-set", mime(Some("text/x-own"))),
        ("mime-remove", mime(None)),
        ("set-voters", Change::SetVoters(5)),
        ("set-dead-voter-after", Change::SetDeadVoterAfter(60)),
        ("restore", Change::Restore(Arc::new(whole))),
        ("set-config-history", Change::SetConfigHistory(50)),
        ("remove-pool", Change::RemovePool(pool("web"))),
        ("remove-service", Change::RemoveService(service("www"))),
        ("pool-place", placed(Some(backend(1)))),
        ("pool-place-first", placed(None)),
        (
            "put-service",
            Change::PutService {
                name: service("proxy"),
                service: proxy,
            },
        ),
        (
            "put-certificate",
            Change::PutCertificate {
                name: CertificateName::parse("www").unwrap(),
                certificate: certificate(),
            },
        ),
        (
            "remove-certificate",
            Change::RemoveCertificate(CertificateName::parse("www").unwrap()),
        ),
    ];
    changes.extend(settings().map(|(name, setting)| (name, Change::Unset(setting))));
    let directives = directives().into_iter();
    changes.extend(directives.map(|(name, directive)| (name, direct(directive))));
    changes
}

fn settings() -> impl Iterator<Item = (&'static str, Setting)> {
    let header = |inserts| Setting::Header {
        service: service("www"),
        inserts,
        name: "X-Node".to_owned(),
    };
    let tunable = Setting::Tunable {
        object: "www".to_owned(),
        key: "listen".to_owned(),
    };
    [
        ("unset-tunable", tunable),
        ("unset-default", Setting::Default("pool".to_owned())),
        ("unset-header-insert", header(true)),
        ("unset-header-remove", header(false)),
        ("unset-reproxy-limit", Setting::ReproxyLimit("a:80".to_owned())),
        ("unset-voters", Setting::Voters),
        ("unset-dead-voter-after", Setting::DeadVoterAfter),
        ("unset-config-history", Setting::ConfigHistory),
    ]
    .into_iter()
}
