use proptest::prelude::*;

use super::super::script::interpret;
use super::*;

fn environment(name: &str) -> Option<String> {
    (name == "ENV").then(|| "Env Value".to_owned())
}

fn dumped(script: &str) -> String {
    dump(&interpret(script.as_bytes(), environment).unwrap().config).join("\n")
}

#[test]
fn prints_perlbals_layout() {
    let script = "\
DEFAULT idle_timeout = 5
CREATE POOL Web
POOL Web ADD 10.0.0.2
POOL ADD Web 10.0.0.1:8080
SET balance_method = round_robin
CREATE SERVICE px
SET role = reverse_proxy
SET verify_backend_path = /a  b
SET pool = web
SET listen = ${node:ip}:80
SET persist_client = yes
SET server_tokens = off
ENABLE px
CREATE SERVICE raw
cluster set voters = 3
";
    let expected = "\
CREATE POOL web
  SET balance_method = round_robin
  POOL ADD web 10.0.0.2:80
  POOL ADD web 10.0.0.1:8080

CREATE SERVICE px
  SET role = reverse_proxy
  SET listen = ${node:ip}:80
  SET pool = web
  SET idle_timeout = 5
  SET persist_client = on
  SET server_tokens = 0
  SET verify_backend_path = /a b
ENABLE px

CREATE SERVICE raw
# DISABLE raw

DEFAULT idle_timeout = 5
CLUSTER SET voters = 3";
    assert_eq!(dumped(script), expected);
    assert_eq!(dumped(expected), expected);
}

/// Lines that are mostly right, about few objects, so that they meet each other.
fn line() -> impl Strategy<Value = String> {
    let pool = prop::sample::select(vec!["web", "Api", "p3"]);
    let service = prop::sample::select(vec!["px", "Front", "s3"]);
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2:81", "[::1]:82", "10.0.0.9:0"]);
    let setting = prop::sample::select(vec![
        "role = reverse_proxy",
        "role = management",
        "listen = ${node:ip}:80",
        "listen = 8080",
        "pool = web",
        "pool = api",
        "persist_client = on",
        "persist_client_timeout = 7",
        "idle_timeout = 030",
        "server_tokens = no",
        "verify_backend_path = /x $ENV  = y",
        "verify_backend_path = *",
        "trusted_upstream_proxies = 10.0.0.0/8 , 1.1.1.1",
        "balance_method = round_robin",
        "balance_method = random",
    ]);
    prop_oneof![
        pool.clone().prop_map(|p| format!("CREATE POOL {p}")),
        service.clone().prop_map(|s| format!("CREATE SERVICE {s}")),
        (pool, address, any::<bool>())
            .prop_map(|(p, a, add)| format!("POOL {p} {} {a}", if add { "ADD" } else { "REMOVE" })),
        (service.clone(), setting.clone()).prop_map(|(s, set)| format!("SET {s}.{set}")),
        setting.clone().prop_map(|set| format!("SET {set}")),
        setting.prop_map(|set| format!("DEFAULT {set}")),
        (service, any::<bool>()).prop_map(|(s, on)| format!("{} {s}", if on { "ENABLE" } else { "DISABLE" })),
        (1..8u8).prop_map(|n| format!("CLUSTER SET voters = {n}")),
    ]
}

/// The lines that were not refused, one at a time as at a management port.
fn accepted(lines: &[String]) -> String {
    let mut script = String::new();
    for line in lines {
        let longer = format!("{script}{line}\n");
        if interpret(longer.as_bytes(), environment).is_ok() {
            script = longer;
        }
    }
    script
}

proptest! {
    #[test]
    fn a_dump_fed_back_dumps_the_same(lines in prop::collection::vec(line(), 0..40)) {
        let once = dumped(&accepted(&lines));
        prop_assert_eq!(dumped(&once), once);
    }
}
