use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, Batch, Change};
use proptest::prelude::*;

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

fn add(name: &str, backend: &str) -> Change {
    Change::PoolAdd {
        pool: pool(name),
        backend: BackendAddress::parse(backend).unwrap(),
    }
}

fn remove(name: &str, backend: &str) -> Change {
    Change::PoolRemove {
        pool: pool(name),
        backend: BackendAddress::parse(backend).unwrap(),
    }
}

fn changed(config: &Arc<FleetConfig>, changes: Vec<Change>) -> Arc<FleetConfig> {
    let batch = Batch {
        changes,
        if_version: None,
    };
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
    one.count_request();
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
    backend.bar(now, Duration::from_secs(1));
    assert!(backend.is_barred(now + Duration::from_millis(900)));
    assert!(!backend.is_barred(now + Duration::from_millis(1100)));
    backend.skip_verification(now, Duration::from_mins(1));
    assert!(backend.skips_verification(now + Duration::from_secs(59)));
    assert!(!backend.skips_verification(now + Duration::from_secs(61)));
    assert_eq!(backend.connect_failures_total(), 1);
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
