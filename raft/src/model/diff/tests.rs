use proptest::prelude::*;

use super::super::address::BackendAddress;
use super::super::any_change::change;
use super::super::config::Version;
use super::super::name::ServiceName;
use super::super::pool::Backend;
use super::*;

/// What comes of changes, those left out that are refused.
fn made_of(changes: &[Change]) -> FleetConfig {
    let mut config = FleetConfig::default();
    for change in changes {
        let mut next = config.clone();
        if next.apply_all(std::slice::from_ref(change)).is_ok() {
            config = next;
        }
    }
    config
}

fn leads(from: &FleetConfig, to: &FleetConfig) -> Result<usize, TestCaseError> {
    let steps = diff(from, to);
    let mut config = from.clone();
    let outcome = config.apply_all(&steps);
    prop_assert!(outcome.is_ok(), "{outcome:?} of {steps:#?}");
    prop_assert!(
        config.says_the_same(to),
        "{steps:#?} lead from {from:#?} to {config:#?}, not to {to:#?}"
    );
    Ok(steps.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_difference_leads_from_one_to_the_other(
        shared in prop::collection::vec(change(), 0..60),
        ours in prop::collection::vec(change(), 0..60),
        theirs in prop::collection::vec(change(), 0..60),
    ) {
        let from = made_of(&[shared.clone(), ours].concat());
        let to = made_of(&[shared, theirs].concat());
        let steps = leads(&from, &to)?;
        leads(&to, &from)?;
        prop_assert_eq!(steps == 0, from.says_the_same(&to));
        prop_assert_eq!(diff(&to, &to), Vec::new());
    }

    #[test]
    fn any_order_of_backends_becomes_any_other(
        ours in prop::collection::vec((0_u8..40, 1_u32..3, any::<bool>()), 0..30),
        theirs in prop::collection::vec((0_u8..40, 1_u32..3, any::<bool>()), 0..30),
    ) {
        leads(&pool_of(&ours), &pool_of(&theirs))?;
    }
}

fn address(number: usize) -> BackendAddress {
    BackendAddress::parse(&format!("10.0.{}.{}", number / 250, number % 250)).unwrap()
}

fn pool_of(backends: &[(u8, u32, bool)]) -> FleetConfig {
    let mut pool = Pool::default();
    for (number, weight, draining) in backends {
        let address = address(usize::from(*number));
        pool.remove(address);
        pool.backends.push(Backend {
            address,
            weight: *weight,
            draining: *draining,
        });
    }
    one_pool(pool)
}

fn one_pool(pool: Pool) -> FleetConfig {
    let mut config = FleetConfig::default();
    config.pools.insert(PoolName::parse("web").unwrap(), pool.into());
    config
}

fn numbered(numbers: impl IntoIterator<Item = usize>) -> FleetConfig {
    let mut pool = Pool::default();
    pool.backends.extend(numbers.into_iter().map(|number| Backend {
        address: address(number),
        weight: 1,
        draining: false,
    }));
    one_pool(pool)
}

fn lines(from: &FleetConfig, to: &FleetConfig) -> Vec<String> {
    diff(from, to).iter().map(ToString::to_string).collect()
}

#[test]
fn a_long_list_costs_what_changed_in_it() {
    let all = || numbered(0..10_000);
    assert_eq!(lines(&all(), &numbered(0..10_001)), ["POOL web ADD 10.0.40.0:80"]);
    assert_eq!(
        lines(&numbered(0..10_001), &all()),
        ["POOL web REMOVE 10.0.40.0:80"]
    );
    let without = numbered((0..10_000).filter(|number| *number != 5000));
    assert_eq!(lines(&all(), &without), ["POOL web REMOVE 10.0.20.0:80"]);
    assert_eq!(
        lines(&without, &all()),
        ["POOL web ADD 10.0.20.0:80 behind 10.0.19.249:80"]
    );
    let moved = numbered((1..10_000).chain([0]));
    assert_eq!(lines(&all(), &moved), ["POOL web ADD 10.0.0.0:80"]);
    assert_eq!(lines(&moved, &all()), ["POOL web ADD 10.0.0.0:80 first"]);
    // Where hardly anything stays, one step is better than thousands.
    let turned = numbered((0..10_000).rev());
    assert_eq!(diff(&all(), &turned).len(), 1);
    let mut config = all();
    config.apply_all(&diff(&all(), &turned)).unwrap();
    assert!(config.says_the_same(&turned));
}

#[test]
fn names_each_thing_that_differs_once() {
    let service = ServiceName::parse("www").unwrap();
    let set = |key: &str, value: &str| Change::Set {
        object: "www".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let from = made_of(&[
        Change::CreateService(service.clone()),
        set("role", "reverse_proxy"),
        set("idle_timeout", "9"),
        set("persist_client", "on"),
    ]);
    let mut to = from.clone();
    to.version = Version(7);
    assert_eq!(diff(&from, &to), []);
    to.apply_all(&[
        set("idle_timeout", "30"),
        set("persist_client", "off"),
        set("queue_limit", "5"),
    ])
    .unwrap();
    assert_eq!(
        lines(&from, &to),
        [
            "SET www.queue_limit = 5",
            "- SET www.idle_timeout",
            "- SET www.persist_client"
        ]
    );
    assert_eq!(lines(&from, &FleetConfig::default()), ["- CREATE SERVICE www"]);
}

/// Names change hands between pools and services, and a management service cannot be disabled.
#[test]
fn finds_an_order_in_which_no_step_is_refused() {
    let set = |object: &str, key: &str, value: &str| Change::Set {
        object: object.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let (a, b) = (PoolName::parse("a").unwrap(), PoolName::parse("b").unwrap());
    let [x, y] = ["x", "y"].map(|name| ServiceName::parse(name).unwrap());
    let enable = |service: &ServiceName| Change::SetEnabled {
        service: service.clone(),
        enabled: true,
    };
    let from = made_of(&[
        Change::CreatePool(a),
        Change::CreateService(x.clone()),
        set("x", "role", "reverse_proxy"),
        set("x", "pool", "a"),
        Change::CreateService(y.clone()),
        set("y", "role", "management"),
        enable(&y),
    ]);
    let to = made_of(&[
        Change::CreatePool(b),
        Change::CreateService(x.clone()),
        set("x", "role", "reverse_proxy"),
        set("x", "pool", "b"),
        Change::CreateService(y),
        set("y", "role", "management"),
        Change::CreateService(ServiceName::parse("a").unwrap()),
    ]);
    leads(&from, &to).unwrap();
    leads(&to, &from).unwrap();
}
