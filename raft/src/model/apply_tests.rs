use super::super::address::BackendAddress;
use super::super::level::FEATURE_LEVEL;
use super::*;

fn pool(name: &str) -> PoolName {
    PoolName::parse(name).unwrap()
}

fn backend(address: &str) -> BackendAddress {
    BackendAddress::parse(address).unwrap()
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
        .with_batch(&Batch::of(changes.to_vec()))
        .map_err(|refusal| refusal.text)
}

fn sample() -> FleetConfig {
    let backend = backend("10.0.0.1");
    let changes = [
        Change::CreatePool(pool("web")),
        Change::PoolAdd {
            pool: pool("web"),
            backend,
            weight: 1,
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
    let refusal = config.with_batch(&Batch::of(changes)).unwrap_err();
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
            ..Batch::default()
        })
        .unwrap_err();
    assert_eq!(
        refusal.text,
        "the configuration is at version 1, not 7; nothing was changed"
    );
    assert_eq!(refusal.change, Refusal::WHOLE);
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
fn refuses_what_a_proxy_or_pool_cannot_be_set_to() {
    let config = sample();
    let cases = [
        (
            set("web", "hash_by", "X"),
            "Value of 'hash_by' must be one of: client_address, uri, header:NAME, cookie:NAME",
        ),
        (set("web", "load_header", "a b"), "'a b' is not a header name"),
        (
            set("www", "max_backend_uses", "many"),
            "Expecting integer value for parameter 'max_backend_uses'",
        ),
        (
            set("www", "error_retry_schedule", "soon"),
            "Expecting up to 100 numbers of seconds, separated by commas, for parameter 'error_retry_schedule'",
        ),
        (
            set("www", "backend_http_version", "2"),
            "Value of 'backend_http_version' must be one of: 1.0, 1.1",
        ),
        (
            set("www", "high_priority_uri_pattern", "("),
            "Invalid regular expression",
        ),
        (
            set("www", "queue_relief_chance", "101"),
            "Expecting integer value between 0 and 100, inclusive.",
        ),
        (
            Change::PoolAdd {
                pool: pool("web"),
                backend: backend("10.0.0.1"),
                weight: 0,
            },
            "weight must be a number from 1 to 1000",
        ),
        (
            Change::PoolDrain {
                pool: pool("web"),
                backend: backend("10.0.0.9"),
                draining: true,
            },
            "backend 10.0.0.9:80 is not in pool 'web'",
        ),
        (
            Change::PoolDrain {
                pool: pool("nope"),
                backend: backend("10.0.0.9"),
                draining: true,
            },
            "Pool 'nope' not found",
        ),
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
        weight: 1,
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

#[test]
fn draining_ends_where_the_backend_is_added_again() {
    let drain = |draining| Change::PoolDrain {
        pool: pool("web"),
        backend: backend("10.0.0.1"),
        draining,
    };
    let state = |config: &FleetConfig| {
        let pool = config.pool("web").unwrap();
        (pool.backends()[0].weight, pool.backends()[0].draining)
    };
    let drained = apply(&sample(), &[drain(true)]).unwrap();
    assert_eq!(state(&drained), (1, true));
    let again = apply(&drained, &[drain(true)]).unwrap();
    assert_eq!(again.version, drained.version);
    assert_eq!(state(&apply(&drained, &[drain(false)]).unwrap()), (1, false));
    let add = Change::PoolAdd {
        pool: pool("web"),
        backend: backend("10.0.0.1"),
        weight: 3,
    };
    assert_eq!(state(&apply(&drained, &[add]).unwrap()), (3, false));
}

#[test]
fn a_services_balance_method_is_its_pools() {
    let method = |config: &FleetConfig, name: &str| config.pool(name).map(|pool| pool.balance_method.name());
    let config = apply(&sample(), &[set("www", "balance_method", "hash")]).unwrap();
    assert_eq!(method(&config, "web"), Some("hash"));
    let more = [
        Change::CreateService(service("b")),
        set("b", "role", "reverse_proxy"),
        set("b", "balance_method", "weighted"),
    ];
    assert_eq!(
        apply(&config, &more).unwrap_err(),
        "Attempt to vivify pool b_pool but one or more pools have already been created manually.  Please set \
         balance_method on a previously created pool."
    );
    let config = apply(&FleetConfig::default(), &more).unwrap();
    assert_eq!(method(&config, "b_pool"), Some("weighted"));
    let users = config.service("b").unwrap().pool().map(PoolName::as_str);
    assert_eq!(users, Some("b_pool"));
    let third = [
        Change::CreateService(service("c")),
        set("c", "role", "reverse_proxy"),
        set("c", "balance_method", "random"),
    ];
    assert_eq!(
        method(&apply(&config, &third).unwrap(), "c_pool"),
        Some("random"),
        "nobody made b_pool"
    );
    let without_role = [
        Change::CreateService(service("d")),
        set("d", "balance_method", "hash"),
    ];
    assert_eq!(
        apply(&config, &without_role).unwrap_err(),
        "The 'balance_method' option can only be set on a 'reverse_proxy' service"
    );
}

#[test]
fn a_nodefile_says_who_is_in_the_pool_and_not_who_drains() {
    let drain = Change::PoolDrain {
        pool: pool("web"),
        backend: backend("10.0.0.1"),
        draining: true,
    };
    let listed = |object: &str, members: &[(&str, u32)]| Change::SetBackends {
        object: object.to_owned(),
        backends: members.iter().map(|(a, weight)| (backend(a), *weight)).collect(),
    };
    let members = [("10.0.0.2", 2), ("10.0.0.1", 1)];
    let set = set("www", "nodefile", "/etc/${node:name}.nodes");
    let config = apply(&sample(), &[drain, set, listed("www", &members)]).unwrap();
    let web = config.pool("web").unwrap();
    assert_eq!(
        web.nodefile.as_ref().map(ToString::to_string).as_deref(),
        Some("/etc/${node:name}.nodes")
    );
    let state: Vec<_> = web.backends().iter().map(|b| (b.weight, b.draining)).collect();
    assert_eq!(state, [(2, false), (1, true)]);
    let again = apply(&config, &[listed("web", &members)]).unwrap();
    assert_eq!(again.version, config.version, "equal content is no change");
    assert_eq!(
        apply(&config, &[listed("web", &[("10.0.0.2", 0)])]).unwrap_err(),
        "weight must be a number from 1 to 1000"
    );
    for word in ["none", "undef", "null", "\"\"", "''"] {
        let set = Change::Set {
            object: "web".into(),
            key: "nodefile".into(),
            value: word.into(),
        };
        let config = apply(&config, &[set]).unwrap();
        assert!(config.pool("web").unwrap().nodefile.is_none(), "{word}");
        assert_eq!(config.pool("web").unwrap().backends().len(), 2);
    }
}

#[test]
fn patterns_and_paths_can_be_taken_back() {
    let value = |config: &FleetConfig, key: &str| {
        let value = config.service("www").unwrap().value(key);
        value.map(|value| value.to_string())
    };
    for (key, text) in [
        ("high_priority_uri_pattern", "^/a"),
        ("reproxy_file_root", "/srv"),
    ] {
        let config = apply(&sample(), &[set("www", key, text)]).unwrap();
        assert_eq!(value(&config, key).as_deref(), Some(text));
        for word in ["none", "null", "undef"] {
            let config = apply(&config, &[set("www", key, word)]).unwrap();
            assert_eq!(value(&config, key), None, "{key} = {word}");
        }
    }
}

#[test]
fn the_old_timeout_sets_both() {
    let default = Change::SetDefault {
        key: "persist_client_timeout".into(),
        value: "7".into(),
    };
    let config = apply(&sample(), &[default, set("www", "persist_client_timeout", "8")]).unwrap();
    let defaults: Vec<_> = config.defaults().collect();
    assert_eq!(
        defaults,
        [("idle_timeout", "7"), ("persist_client_idle_timeout", "7")]
    );
    let www = config.service("www").unwrap();
    assert_eq!(www.number("idle_timeout"), 8);
    assert_eq!(www.number("persist_client_idle_timeout"), 8);
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
