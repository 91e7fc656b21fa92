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
SET balance_method = hash
SET hash_by = header:X-User
SET load_header = X-Load
POOL web ADD 10.0.0.3 weight 5
POOL web DRAIN 10.0.0.3
CREATE SERVICE px
SET role = reverse_proxy
SET verify_backend_path = /a  b
SET pool = web
SET listen = ${node:ip}:80
SET persist_client = yes
SET server_tokens = off
HEADER px INSERT X-Foo: Bar = Baz
HEADER px REMOVE Cookie: x
HEADER px INSERT x-node:${node:label.Rack}
ENABLE px
SERVER max_reproxy_connections = 9
SERVER Max_Reproxy_Connections(Images.example:80) = 2
CREATE SERVICE raw
cluster set voters = 3
";
    let expected = "\
CREATE POOL web
  SET balance_method = hash
  SET hash_by = header:x-user
  SET load_header = x-load
  POOL ADD web 10.0.0.2:80
  POOL ADD web 10.0.0.1:8080
  POOL ADD web 10.0.0.3:80 weight 5
  POOL DRAIN web 10.0.0.3:80

CREATE SERVICE px
  SET role = reverse_proxy
  SET listen = ${node:ip}:80
  SET pool = web
  SET idle_timeout = 5
  SET persist_client = on
  SET server_tokens = 0
  SET verify_backend_path = /a b
  HEADER px INSERT x-foo: bar = Baz
  HEADER px REMOVE cookie
  HEADER px INSERT x-node: ${node:label.Rack}
ENABLE px

CREATE SERVICE raw
# DISABLE raw

DEFAULT idle_timeout = 5
SERVER max_reproxy_connections = 9
SERVER max_reproxy_connections(images.example:80) = 2
CLUSTER SET voters = 3";
    assert_eq!(dumped(script), expected);
    assert_eq!(dumped(expected), expected);
}

fn header() -> impl Strategy<Value = (&'static str, &'static str)> {
    let service = prop::sample::select(vec!["px", "Front", "s3"]);
    let header = prop::sample::select(vec![
        "INSERT X-Foo: Bar",
        "INSERT X-Foo: Bar=Baz: $ENV",
        "insert x-foo :0",
        "INSERT X-Bar: ${node:label.Rack}  ${node:name}",
        "REMOVE X-Foo",
        "REMOVE X-Bar: what",
        "INSERT Connection: close",
        "INSERT X-Foo",
    ]);
    (service, header)
}

fn plugin_line() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "LOAD Vhosts",
        "LOAD vpaths",
        "UNLOAD Vhosts",
        "VHOST Front A.com = px",
        "VHOST front *.a.com = s3",
        "VHOST * = later",
        "VPATH Front ^/a$ = px",
        "VPATH ^/[bc] = s3",
        "LOAD Log",
        "LOAD Highpri",
        "LOAD AccessControl",
        "UNLOAD Highpri",
        "SET px.highpri.uri_pattern = ^/fast",
        "SET Front.highpri.uri_pattern = none",
        "ACCESS DENY netmask 10.1.0.0/8",
        "ACCESS POLICY deny",
        "ACCESS RESET",
        "LOAD Redirect",
        "REDIRECT HOST *.A.com B.com",
        "UNLOAD log",
        "LOGNAME = /log/${node:name}",
        "LOGNAME Front = | tee  -a x",
        "LOGNAME px = \"/log/a b\"",
    ]);
    line.prop_map(str::to_owned)
}

fn setting() -> prop::sample::Select<&'static str> {
    prop::sample::select(vec![
        "role = reverse_proxy",
        "role = management",
        "role = selector",
        "plugins = vhosts, vpaths",
        "plugins = log",
        "plugins = highpri, accesscontrol",
        "plugins = none",
        "log_format = json",
        "log_format = perlbal",
        "default_service = px",
        "default_service = none",
        "latency = 5",
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
        "hash_by = cookie:Sid",
        "hash_by = client_address",
        "load_header = X-Load",
        "load_header = none",
        "nodefile = /nodes/${node:name}",
        "nodefile = undef",
        "error_retry_schedule = 0, .5 ,1",
        "upload_status_listeners = 127.0.0.1:7 , [::1]:8",
        "backend_http_version = 1.0",
        "high_priority_uri_pattern = ^/a b$",
        "high_priority_uri_pattern = undef",
        "reproxy_file_root = /srv/${node:name}/a  b",
        "reproxy_file_root = none",
        "high_priority_cookie = Vip",
        "queue_relief_chance = 030",
        "buffer_size = 12K",
        "max_backend_uses = 9",
    ])
}

/// Lines that are mostly right, about few objects, so that they meet each other.
fn line() -> impl Strategy<Value = String> {
    let pool = prop::sample::select(vec!["web", "Api", "p3"]);
    let service = prop::sample::select(vec!["px", "Front", "s3"]);
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2:81", "[::1]:82", "10.0.0.9:0"]);
    let setting = setting();
    prop_oneof![
        pool.clone().prop_map(|p| format!("CREATE POOL {p}")),
        service.clone().prop_map(|s| format!("CREATE SERVICE {s}")),
        (
            pool,
            prop::sample::select(vec!["ADD", "REMOVE", "DRAIN", "UNDRAIN"]),
            address.clone()
        )
            .prop_map(|(p, verb, a)| format!("POOL {p} {verb} {a}")),
        (address, 0..4u8).prop_map(|(a, weight)| format!("POOL ADD web {a} weight {weight}")),
        (service.clone(), setting.clone()).prop_map(|(s, set)| format!("SET {s}.{set}")),
        setting.clone().prop_map(|set| format!("SET {set}")),
        setting.prop_map(|set| format!("DEFAULT {set}")),
        (service, any::<bool>()).prop_map(|(s, on)| format!("{} {s}", if on { "ENABLE" } else { "DISABLE" })),
        (1..8u8).prop_map(|n| format!("CLUSTER SET voters = {n}")),
        plugin_line(),
        header().prop_map(|(service, header)| format!("HEADER {service} {header}")),
        (prop::sample::select(vec!["", "(A:80)", "([::1]:81)"]), 0..3u8)
            .prop_map(|(target, n)| format!("SERVER max_reproxy_connections{target} = {n}")),
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
