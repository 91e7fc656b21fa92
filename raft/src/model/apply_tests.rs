use super::super::address::BackendAddress;
use super::*;

fn pool(name: &str) -> PoolName {
    PoolName::parse(name).unwrap()
}

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn set(object: &str, key: &str, value: &str) -> Change {
    Change::Set {
        object: object.into(),
        key: key.into(),
        value: value.into(),
    }
}

fn apply(config: &FleetConfig, changes: &[Change]) -> Result<FleetConfig, String> {
    config
        .with_batch(&Batch {
            changes: changes.to_vec(),
            if_version: None,
        })
        .map_err(|refusal| refusal.text)
}

fn sample() -> FleetConfig {
    let backend = BackendAddress::parse("10.0.0.1").unwrap();
    let changes = [
        Change::CreatePool(pool("web")),
        Change::PoolAdd {
            pool: pool("web"),
            backend,
        },
        Change::CreateService(service("www")),
        set("www", "role", "reverse_proxy"),
        set("www", "listen", "${node:ip}:80"),
        set("www", "pool", "web"),
        Change::SetEnabled {
            service: service("www"),
            enabled: true,
        },
    ];
    apply(&FleetConfig::default(), &changes).unwrap()
}

#[test]
fn a_batch_is_one_version() {
    let config = sample();
    assert_eq!(config.version, Version(1));
    let www = config.service("www").unwrap();
    assert_eq!(www.pool().map(PoolName::as_str), Some("web"));
    assert!(www.enabled);
    assert_eq!(config.pool("web").unwrap().backends().len(), 1);
}

#[test]
fn no_change_is_no_version() {
    let config = sample();
    let same = apply(&config, &[set("www", "pool", "web")]).unwrap();
    assert_eq!(same.version, config.version);
}

#[test]
fn a_refused_batch_changes_nothing_and_names_the_change() {
    let config = sample();
    let changes = vec![Change::CreatePool(pool("a")), Change::CreatePool(pool("a"))];
    let refusal = config
        .with_batch(&Batch {
            changes,
            if_version: None,
        })
        .unwrap_err();
    assert_eq!(
        refusal,
        Refusal {
            text: "pool 'a' already exists".into(),
            change: 1
        }
    );
    let changes = vec![Change::CreatePool(pool("a"))];
    let refusal = config
        .with_batch(&Batch {
            changes,
            if_version: Some(Version(7)),
        })
        .unwrap_err();
    assert_eq!(
        refusal.text,
        "the configuration is at version 1, not 7; nothing was changed"
    );
}

#[test]
fn refuses_in_perlbals_words() {
    let config = sample();
    let cases = [
        (Change::CreateService(service("web")), "pool 'web' already exists"),
        (Change::CreatePool(pool("www")), "service 'www' already exists"),
        (set("nope", "pool", "web"), "service/pool 'nope' does not exist"),
        (set("www", "pool", "nope"), "Pool 'nope' not found"),
        (set("www", "role", "Management"), "Role not valid for service www"),
        (set("www", "nope", "1"), "Unknown service parameter 'nope'"),
        (
            set("www", "persist_client", "2"),
            "Expecting boolean value for parameter 'persist_client'",
        ),
        (
            set("www", "persist_client_timeout", "x"),
            "Expecting integer value for parameter 'persist_client_timeout'",
        ),
        (
            set("web", "balance_method", "sendstats"),
            "Unknown balance method",
        ),
        (
            Change::SetEnabled {
                service: service("www"),
                enabled: true,
            },
            "service www is already enabled",
        ),
        (
            Change::SetEnabled {
                service: service("x"),
                enabled: true,
            },
            "service 'x' does not exist",
        ),
        (Change::SetVoters(4), "voters must be an odd number from 1 to 7"),
    ];
    for (change, text) in cases {
        assert_eq!(apply(&config, &[change]).unwrap_err(), text);
    }
}

#[test]
fn a_role_sets_defaults_and_takes_its_own_tunables_only() {
    let config = apply(&sample(), &[Change::CreateService(service("b"))]).unwrap();
    assert_eq!(
        apply(&config, &[set("b", "pool", "web")]).unwrap_err(),
        "The 'pool' option can only be set on a 'reverse_proxy' service"
    );
    let default = Change::SetDefault {
        key: "persist_client".into(),
        value: "on".into(),
    };
    let config = apply(&config, &[default, set("b", "role", "reverse_proxy")]).unwrap();
    assert!(config.service("b").unwrap().flag("persist_client"));
    assert!(
        !config.service("www").unwrap().flag("persist_client"),
        "has its role already"
    );
    let config = apply(
        &config,
        &[set("b", "idle_timeout", "7"), set("b", "role", "reverse_proxy")],
    )
    .unwrap();
    assert_eq!(config.service("b").unwrap().number("idle_timeout"), 30);
}

#[test]
fn removing_and_adding_again_moves_to_the_end() {
    let backends = ["10.0.0.1", "10.0.0.2", "10.0.0.1"].map(|a| BackendAddress::parse(a).unwrap());
    let adds = backends.map(|backend| Change::PoolAdd {
        pool: pool("web"),
        backend,
    });
    let config = apply(&sample(), &adds).unwrap();
    let order: Vec<_> = config
        .pool("web")
        .unwrap()
        .backends()
        .iter()
        .map(|b| b.address.to_string())
        .collect();
    assert_eq!(order, ["10.0.0.2:80", "10.0.0.1:80"]);
}

fn entry(time: u64, command: Command) -> Entry {
    Entry {
        feature_level: FEATURE_LEVEL,
        request_id: super::super::change::RequestId([0; 16]),
        origin_node: "n1".into(),
        typist: "127.0.0.1:1".into(),
        time: UnixMillis(time),
        deadline: UnixMillis(time + 5000),
        command,
    }
}

#[test]
fn tokens_expire_run_out_and_keep_names_apart() {
    let member = |name: &str| NewMember {
        name: NodeName::parse(name).unwrap(),
        address: "127.0.0.1:7400".into(),
        key_hash: super::super::fleet::KeyHash([1; 32]),
    };
    let id = TokenId::parse("ab").unwrap();
    let good = SecretHash([7; 32]);
    let mut state = FleetState::default();
    let found = Command::Found {
        name: "acme".into(),
        id: super::super::fleet::FleetId([3; 16]),
        ca_certificate: vec![1],
        founder: member("n1"),
    };
    assert_eq!(state.apply(&entry(0, found.clone())), Answer::Done);
    let issue = Command::IssueToken {
        id: id.clone(),
        secret_hash: good,
        ttl_ms: 100,
        uses: Some(2),
    };
    assert_eq!(state.apply(&entry(0, issue)), Answer::Done);
    let join = |name: &str, secret_hash, at| {
        entry(
            at,
            Command::Join {
                token: id.clone(),
                secret_hash,
                member: member(name),
            },
        )
    };
    let text = |answer: Answer| {
        let Answer::Refused(refusal) = answer else {
            panic!("{answer:?}")
        };
        refusal.text
    };
    assert!(text(state.apply(&join("n2", SecretHash([8; 32]), 1))).contains("secret is wrong"));
    assert_eq!(state.apply(&join("n2", good, 1)), Answer::Joined(2));
    assert!(text(state.apply(&join("n2", good, 2))).contains("'n2' is taken"));
    assert!(text(state.apply(&join("n3", good, 100))).contains("expired"));
    assert_eq!(state.apply(&join("n3", good, 99)), Answer::Joined(3));
    assert!(text(state.apply(&join("n4", good, 99))).contains("used up"));
    assert!(text(state.apply(&entry(5, found))).contains("founded already"));
    assert_eq!(state.members().len(), 3);
}

#[test]
fn a_later_releases_command_is_refused_by_name() {
    let mut state = FleetState::default();
    let mut later = entry(0, Command::Batch(Batch::default()));
    later.feature_level = FEATURE_LEVEL + 1;
    let Answer::Refused(refusal) = state.apply(&later) else {
        panic!("applied")
    };
    assert!(refusal.text.contains("feature level 2"), "{}", refusal.text);
}
