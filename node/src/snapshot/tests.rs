use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, Batch, Change, HashBy, HeaderRule, Template};
use proptest::prelude::*;

use super::*;
use crate::http::Special;
use crate::http::special::{CookieRule, HeaderRules, HighPriority, Pattern};

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

fn add(name: &str, backend: &str) -> Change {
    Change::PoolAdd {
        pool: pool(name),
        backend: BackendAddress::parse(backend).unwrap(),
        weight: 1,
    }
}

fn remove(name: &str, backend: &str) -> Change {
    Change::PoolRemove {
        pool: pool(name),
        backend: BackendAddress::parse(backend).unwrap(),
    }
}

fn changed(config: &Arc<FleetConfig>, changes: Vec<Change>) -> Arc<FleetConfig> {
    let batch = Batch::of(changes);
    Arc::new(config.with_batch(&batch).unwrap())
}

fn sample() -> Arc<FleetConfig> {
    let mut changes = Vec::new();
    for (p, s) in [("a", "sa"), ("b", "sb")] {
        changes.push(Change::CreatePool(pool(p)));
        changes.push(add(p, "10.0.0.1"));
        changes.push(add(p, "10.0.0.2"));
        changes.push(Change::CreateService(service(s)));
        changes.push(set(s, "role", "reverse_proxy"));
        changes.push(set(s, "listen", "${node:ip}:80"));
        changes.push(set(s, "pool", p));
    }
    changed(&Arc::default(), changes)
}

fn variables() -> NodeVariables {
    NodeVariables {
        ip: Some("10.9.9.9".parse().unwrap()),
        ..NodeVariables::default()
    }
}

#[test]
fn compiles_settings() {
    let (mut publisher, view) = Publisher::new(variables());
    assert_eq!(view.load().version, Version(0));
    let config = changed(
        &sample(),
        vec![
            set("sa", "persist_client", "on"),
            set("sa", "idle_timeout", "0"),
            set("sa", "backend_persist_cache", "9"),
            set("sa", "verify_backend", "on"),
            set("sa", "verify_backend_path", "/up"),
            set("sa", "trusted_upstream_proxies", "10.0.0.0/8"),
        ],
    );
    publisher.publish(&config);
    let snapshot = view.load();
    let sa = snapshot.service("sa").unwrap();
    assert_eq!(sa.listen, Ok(Some("10.9.9.9:80".parse().unwrap())));
    assert_eq!(sa.pool.as_ref().unwrap().name.as_str(), "a");
    let settings = &sa.settings;
    assert!(settings.persist_client && !settings.persist_backend && settings.server_tokens);
    assert_eq!(settings.idle_timeout, None);
    assert_eq!(
        settings.persist_client_idle_timeout,
        Some(Duration::from_secs(30))
    );
    assert_eq!(settings.backend_persist_cache, 9);
    let verify = settings.verify_request.as_deref();
    assert_eq!(
        verify,
        Some(&b"OPTIONS /up HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"[..])
    );
    assert!(settings.trust.trusts("10.1.1.1".parse().unwrap()));
    assert!(!settings.trust.trusts("11.1.1.1".parse().unwrap()));
    assert_eq!(snapshot.service("sb").unwrap().settings.verify_request, None);
}

#[test]
fn compiles_queues_retries_uploads_and_reproxying() {
    let (mut publisher, view) = Publisher::new(variables());
    let config = changed(
        &sample(),
        vec![
            set("sa", "connect_ahead", "3"),
            set("sa", "queue_relief_chance", "40"),
            set("sa", "queue_limit", "99"),
            set("sa", "queue_timeout", "9999999999999999999"),
            set("sa", "max_backend_uses", "7"),
            set("sa", "error_retry_schedule", ".5,1"),
            set("sa", "buffer_uploads", "on"),
            set("sa", "buffer_uploads_path", "/up/${node:ip}"),
            set("sa", "buffer_upload_threshold_time", "0"),
            set("sa", "upload_status_listeners", "127.0.0.1:7000"),
            set("sa", "enable_reproxy", "on"),
            set("sa", "reproxy_file_root", "/srv/${node:label.rack}"),
        ],
    );
    publisher.publish(&config);
    let snapshot = view.load();
    let settings = &snapshot.service("sa").unwrap().settings;
    let queue = QueueSettings {
        connect_ahead: 3,
        relief_size: 0,
        relief_chance: 40,
        limit: Some(99),
        timeout: Some(Duration::from_hours(100 * 366 * 24)),
    };
    assert_eq!(settings.queue, queue);
    assert_eq!(settings.max_backend_uses, 7);
    let half = Duration::from_millis(500);
    let retries = RetrySettings {
        on_500: false,
        schedule: [half, 2 * half].into(),
    };
    assert_eq!(settings.retries, retries);
    let uploads = UploadSettings {
        memory: 100 * 1024,
        to_disk: true,
        directory: Ok(Some("/up/10.9.9.9".into())),
        threshold_size: Some(250 * 1024),
        threshold_time: None,
        threshold_rate: None,
        max_chunked: Some(200 << 20),
        status_listeners: ["127.0.0.1:7000".parse().unwrap()].into(),
    };
    assert_eq!(settings.uploads, uploads);
    let reproxy = ReproxySettings {
        enabled: true,
        cache_maxsize: 0,
        cache_epoch: 0,
        buffer_size: 50 * 1024,
        file_root: Err("this node has no label 'rack'".to_owned()),
    };
    assert_eq!(settings.reproxy, reproxy);
}

#[test]
fn compiles_header_rules_and_leaves_out_what_this_node_cannot_fill_in() {
    let (mut publisher, view) = Publisher::new(variables());
    let rule = |name: &str, value: Option<&str>| Change::Header {
        service: ServiceName::parse("sa").unwrap(),
        rule: match value {
            Some(value) => HeaderRule::Insert {
                name: name.to_owned(),
                value: Template::parse(value).unwrap(),
            },
            None => HeaderRule::Remove {
                name: name.to_owned(),
            },
        },
    };
    let config = changed(
        &sample(),
        vec![
            rule("x-node", Some("on ${node:ip}")),
            rule("x-rack", Some("${node:label.rack}")),
            rule("cookie", None),
        ],
    );
    publisher.publish(&config);
    let mut expected = HeaderRules::default();
    expected.remove("cookie").unwrap();
    expected.insert("x-node", b"on 10.9.9.9").unwrap();
    let snapshot = view.load();
    let special = |name| snapshot.service(name).unwrap().settings.special.as_ref();
    assert_eq!(
        special("sa").map(|special| &special.header_rules),
        Some(&expected)
    );
    assert_eq!(special("sb"), None);
}

#[test]
fn compiles_what_is_special_of_a_service_and_its_pool() {
    let (mut publisher, view) = Publisher::new(variables());
    let tunables = vec![
        set("sa", "backend_http_version", "1.0"),
        set("sa", "buffer_uploads", "on"),
        set("sa", "high_priority_cookie", "Tier"),
        set("sa", "high_priority_cookie_contents", "${node:ip}"),
        set("sa", "high_priority_uri_pattern", "^/a"),
        set("sa", "high_priority_host_pattern", "^b"),
        set("a", "balance_method", "hash"),
        set("a", "hash_by", "cookie:Sid"),
        set("b", "hash_by", "uri"),
        set("sb", "buffer_uploads", "on"),
    ];
    let config = changed(&sample(), tunables);
    publisher.publish(&config);
    let snapshot = view.load();
    let special = |name| snapshot.service(name).unwrap().settings.special.clone();
    let expected = Special {
        http10: true,
        buffers_chunked: true,
        header_rules: HeaderRules::default(),
        high_priority: HighPriority {
            cookie: Some(CookieRule {
                name: b"Tier".to_vec(),
                contents: b"10.9.9.9".to_vec(),
            }),
            uri: Pattern::parse("^/a").ok(),
            host: Pattern::parse("^b").ok(),
        },
        hash_by: Some(HashBy::Cookie("Sid".to_owned())),
    };
    assert_eq!(special("sa"), Some(expected));
    // What another method would hash by, and where bodies wait, changes no head.
    assert_eq!(special("sb"), None);
}

#[test]
fn a_cache_that_was_off_is_another_one() {
    let (mut publisher, view) = Publisher::new(variables());
    let mut config = changed(&sample(), vec![set("sa", "enable_reproxy", "on")]);
    let mut cache = |changes: &[(&str, &str)]| {
        let changes = changes.iter().map(|(key, value)| set("sa", key, value));
        config = changed(&config, changes.collect());
        publisher.publish(&config);
        view.load().service("sa").unwrap().settings.reproxy.cache()
    };
    assert_eq!(cache(&[]), None);
    let first = cache(&[("reproxy_cache_maxsize", "9")]).unwrap();
    assert_eq!(first.entries, 9);
    let smaller = cache(&[("reproxy_cache_maxsize", "2"), ("persist_client", "on")]).unwrap();
    assert_eq!((smaller.entries, smaller.epoch), (2, first.epoch));
    assert_eq!(cache(&[("reproxy_cache_maxsize", "0")]), None);
    let second = cache(&[("reproxy_cache_maxsize", "2")]).unwrap();
    assert_ne!(second.epoch, first.epoch);
    assert_eq!(cache(&[("enable_reproxy", "off")]), None);
    assert_ne!(cache(&[("enable_reproxy", "on")]).unwrap().epoch, second.epoch);
}

#[test]
fn settings_have_perlbals_defaults() {
    let (mut publisher, view) = Publisher::new(variables());
    publisher.publish(&sample());
    let snapshot = view.load();
    let plain = &snapshot.service("sb").unwrap().settings;
    assert_eq!(plain.queue.timeout, plain.idle_timeout);
    assert_eq!((plain.queue.limit, plain.buffer_size), (None, 256 * 1024));
    assert_eq!(plain.reproxy.file_root, Ok(None));
    assert_eq!(plain.retries.schedule.len(), 8);
}

#[test]
fn a_node_that_cannot_fill_in_an_address_says_why() {
    let (mut publisher, view) = Publisher::new(NodeVariables::default());
    publisher.publish(&sample());
    let snapshot = view.load();
    let error = snapshot.service("sa").unwrap().listen.clone().unwrap_err();
    assert_eq!(error, "this node has no advertised address");
}

#[test]
fn a_backend_keeps_its_state_while_it_is_in_the_pool() {
    let (mut publisher, view) = Publisher::new(variables());
    let first = sample();
    publisher.publish(&first);
    let before = view.load_full_for_test();
    let one = Arc::clone(&before.pool("a").unwrap().backends()[0]);
    one.count_answer(200, 1);
    let second = changed(
        &first,
        vec![add("a", "10.0.0.3"), set("a", "balance_method", "round_robin")],
    );
    publisher.publish(&second);
    let after = view.load_full_for_test();
    let a = after.pool("a").unwrap();
    assert!(a.holds(&one) && a.backends().len() == 3);
    assert!(!Arc::ptr_eq(
        before.service("sa").unwrap(),
        after.service("sa").unwrap()
    ));
    assert!(Arc::ptr_eq(
        before.service("sb").unwrap(),
        after.service("sb").unwrap()
    ));
    let third = changed(&second, vec![remove("a", "10.0.0.1")]);
    publisher.publish(&third);
    publisher.publish(&changed(&third, vec![add("a", "10.0.0.1")]));
    let again = view.load_full_for_test();
    assert!(!again.pool("a").unwrap().holds(&one), "it came back as another");
}

#[test]
fn never_goes_back() {
    let (mut publisher, view) = Publisher::new(variables());
    let first = sample();
    let second = changed(&first, vec![add("a", "10.0.0.3")]);
    publisher.publish(&second);
    publisher.publish(&first);
    assert_eq!(view.load().version, second.version);
}

#[test]
fn bars_end() {
    let (mut publisher, view) = Publisher::new(variables());
    publisher.publish(&sample());
    let snapshot = view.load();
    let backend = &snapshot.pool("a").unwrap().backends()[0];
    let now = Instant::now();
    assert!(!backend.is_barred(now) && !backend.skips_verification(now));
    backend.bar(now, false);
    assert!(backend.is_barred(now + Duration::from_millis(900)));
    assert!(!backend.is_barred(now + Duration::from_millis(1100)));
    // One that accepts connections but cannot be verified is asked less and less often, up to a limit.
    for seconds in [1, 2, 4, 8, 8] {
        backend.bar(now, true);
        assert!(backend.is_barred(now + Duration::from_millis(1000 * seconds - 100)));
        assert!(!backend.is_barred(now + Duration::from_millis(1000 * seconds + 100)));
    }
    backend.reached();
    assert!(!backend.is_barred(now));
    backend.bar(now, true);
    assert!(!backend.is_barred(now + Duration::from_millis(1100)));
    backend.skip_verification(now, Duration::from_mins(1));
    assert!(backend.skips_verification(now + Duration::from_secs(59)));
    assert!(!backend.skips_verification(now + Duration::from_secs(61)));
    assert_eq!(backend.connect_failures_total(), 7);
    let open = backend.count_connection();
    assert_eq!((backend.open_connections(), backend.connects_total()), (1, 1));
    drop(open);
    assert_eq!((backend.open_connections(), backend.connects_total()), (0, 1));
}

impl View {
    fn load_full_for_test(&self) -> Arc<Snapshot> {
        Arc::clone(&self.load())
    }
}

/// A change that is always accepted, of one object.
fn any_change() -> impl Strategy<Value = (&'static str, Change)> {
    let backend = (0..4u8).prop_map(|n| format!("10.0.0.{n}"));
    let pools = prop_oneof![Just("a"), Just("b")];
    prop_oneof![
        (pools.clone(), backend.clone()).prop_map(|(p, b)| (p, add(p, &b))),
        (pools, backend).prop_map(|(p, b)| (p, remove(p, &b))),
        prop_oneof![Just("sa"), Just("sb")]
            .prop_flat_map(|s| { (0..60u32).prop_map(move |n| (s, set(s, "idle_timeout", &n.to_string()))) }),
    ]
}

proptest! {
    #[test]
    fn what_is_not_changed_keeps_its_identity(changes in proptest::collection::vec(any_change(), 1..20)) {
        let (mut publisher, view) = Publisher::new(variables());
        let mut config = sample();
        publisher.publish(&config);
        for (object, change) in changes {
            let before = view.load_full_for_test();
            config = changed(&config, vec![change]);
            publisher.publish(&config);
            let after = view.load_full_for_test();
            for (name, pool) in before.pools() {
                let same = Arc::ptr_eq(pool, after.pool(name.as_str()).unwrap());
                prop_assert!(same || name.as_str() == object);
            }
            for (name, service) in before.services() {
                let same = Arc::ptr_eq(service, after.service(name.as_str()).unwrap());
                prop_assert!(same || name.as_str().ends_with(object));
            }
            // What it did not keep is what a publisher without a past would make of it.
            let (mut fresh, fresh_view) = Publisher::new(variables());
            fresh.publish(&config);
            let expected = fresh_view.load_full_for_test();
            for (name, service) in after.services() {
                let other = expected.service(name.as_str()).unwrap();
                prop_assert_eq!(&service.settings, &other.settings);
                let addresses = |view: &ServiceView| -> Vec<_> {
                    view.pool.as_ref().unwrap().backends().iter().map(|b| b.address()).collect()
                };
                prop_assert_eq!(addresses(service), addresses(other));
            }
        }
    }
}
