//! Any change, for property tests.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn header_rule() -> impl Strategy<Value = HeaderRule> {
    let name = || prop::sample::select(vec!["x-a", "X-A", "host", "connection", "a b"]);
    let value = prop::sample::select(vec!["0", "a: b=C", "${node:label.Rack}", "\r\n"]);
    prop_oneof![
        (name(), value).prop_map(|(name, value)| HeaderRule::Insert {
            name: name.to_owned(),
            value: Template::parse(value).unwrap(),
        }),
        name().prop_map(|name| HeaderRule::Remove {
            name: name.to_owned()
        }),
    ]
}

fn directive() -> impl Strategy<Value = Directive> {
    let target = || "[s-u]".prop_map(|name| ServiceName::parse(&name).unwrap());
    let host = prop::sample::select(vec!["a.com", "*.a.com", "*", "a!b", ""]);
    let path = prop::sample::select(vec!["^/a", "^/b", "("]);
    let access = prop::sample::select(vec![
        ("deny", "netmask", "10.0.0.0/8"),
        ("queue_low", "ip", "::1"),
        ("policy", "deny", ""),
        ("reset", "", ""),
    ]);
    let log = prop::sample::select(vec!["/log/${node:name}", "| cat > x", ""]);
    prop_oneof![
        access
            .prop_map(|(word, kind, value)| Directive::Access(AccessRule::parse(word, kind, value).unwrap())),
        "[ab]".prop_map(|host| Directive::Redirect {
            host,
            target: "c".to_owned()
        }),
        log.prop_map(|text| Directive::Log(LogTarget::parse(text).unwrap())),
        (host, target()).prop_map(|(pattern, target)| Directive::Vhost {
            pattern: pattern.to_owned(),
            target
        }),
        (path, target()).prop_map(|(pattern, target)| Directive::Vpath {
            pattern: pattern.to_owned(),
            target
        }),
    ]
}

fn setting() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        Just(("role", "reverse_proxy")),
        Just(("role", "management")),
        Just(("role", "selector")),
        Just(("role", "echo")),
        Just(("echo_delay", "2")),
        Just(("plugins", "vhosts, vpaths")),
        Just(("plugins", "log")),
        Just(("plugins", "highpri, accesscontrol")),
        Just(("highpri.uri_pattern", "none")),
        Just(("highpri.host_pattern", "^a")),
        Just(("max_content_length", "9")),
        Just(("log_format", "json")),
        Just(("plugins", "vpaths")),
        Just(("plugins", "own")),
        Just(("plugins", "atominject, atomstream")),
        Just(("ssl_certificates", "a, b")),
        Just(("ssl_certificates", "b")),
        Just(("ssl_certificates", "none")),
        Just(("default_service", "s")),
        Just(("default_service", "none")),
        Just(("listen", "${node:ip}:80")),
        Just(("pool", "p")),
        Just(("persist_client", "on")),
        Just(("backend_persist_cache", "7")),
        Just(("trusted_upstream_proxies", "10.0.0.0/8, 127.0.0.1")),
        Just(("nonsense", "1")),
        Just(("idle_timeout", "soon")),
        Just(("balance_method", "reported_load")),
        Just(("hash_by", "cookie:Sid")),
        Just(("nodefile", "/nodes/${node:name}")),
        Just(("nodefile", "undef")),
        Just(("load_header", "X-Load")),
        Just(("load_header", "none")),
        Just(("health_path", "/ok")),
        Just(("health_expect", "2xx,404")),
        Just(("health_interval", ".5")),
        Just(("health_timeout", "99")),
        Just(("panic_threshold", "0")),
        Just(("outlier_5xx", "5")),
        Just(("outlier_5xx", "none")),
        Just(("outlier_latency", "2.5")),
        Just(("outlier_eject_time", "1")),
        Just(("outlier_max_ejected", "101")),
        Just(("slow_start", "10")),
        Just(("error_retry_schedule", "0, .25,1")),
        Just(("upload_status_listeners", "127.0.0.1:7000")),
        Just(("backend_http_version", "1.0")),
        Just(("high_priority_uri_pattern", "^/(a|b)$")),
        Just(("high_priority_uri_pattern", "none")),
        Just(("buffer_uploads_path", "/var/${node:name}")),
        Just(("queue_relief_chance", "30")),
        Just(("buffer_size", "1k")),
        Just(("idle_timeout", "30")),
        Just(("idle_timeout", "31")),
    ]
}

fn plugin_change() -> impl Strategy<Value = Change> {
    let plugin = prop::sample::select(vec![
        "highpri",
        "accesscontrol",
        "redirect",
        "maxcontentlength",
        "log",
        "vhosts",
        "vpaths",
        "echoservice",
        "nosuch",
        "Own",
    ]);
    let script = || {
        prop::sample::select(vec!["Own", "OWN", "Vhosts"]).prop_map(|name| ScriptName::parse(name).unwrap())
    };
    prop_oneof![
        (script(), "return (1|2)").prop_map(|(name, source)| Change::PutScript {
            name,
            source: source.into()
        }),
        script().prop_map(Change::RemoveScript),
        (plugin, any::<bool>()).prop_map(|(plugin, loaded)| Change::SetLoaded {
            plugin: plugin.to_owned(),
            loaded
        }),
        ("[s-u]", directive()).prop_map(|(service, directive)| Change::Direct { service, directive }),
    ]
}

fn certificate() -> impl Strategy<Value = Change> {
    let name = || "[ab]".prop_map(|name| CertificateName::parse(&name).unwrap());
    let put = (name(), any::<u8>()).prop_map(|(name, bytes)| Change::PutCertificate {
        name,
        certificate: Arc::new(Certificate {
            chain: vec![[bytes % 2].into()],
            key: SealedKey {
                seal: SealId([1; 16]),
                sealed: [bytes].into(),
            },
        }),
    });
    prop_oneof![put, name().prop_map(Change::RemoveCertificate)]
}

fn mime() -> impl Strategy<Value = Change> {
    let kind = prop::option::of("video/x-[ab]");
    ("(txt|doc|flv)", kind).prop_map(|(extension, kind)| Change::SetMime { extension, kind })
}

/// A change that may or may not fit.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    let pool = || "[p-r]".prop_map(|n| PoolName::parse(&n).unwrap());
    let service = || "[s-u]".prop_map(|n| ServiceName::parse(&n).unwrap());
    let backend = || (0u8..4).prop_map(|n| BackendAddress::parse(&format!("10.0.0.{n}")).unwrap());
    prop_oneof![
        pool().prop_map(Change::CreatePool),
        service().prop_map(Change::CreateService),
        ("[p-u]", setting()).prop_map(|(object, (key, value))| Change::Set {
            object,
            key: key.to_owned(),
            value: value.to_owned()
        }),
        Just(Change::SetDefault {
            key: "persist_client".into(),
            value: "yes".into()
        }),
        (service(), any::<bool>()).prop_map(|(service, enabled)| Change::SetEnabled { service, enabled }),
        (pool(), backend(), 0u32..4).prop_map(|(pool, backend, weight)| Change::PoolAdd {
            pool,
            backend,
            weight
        }),
        (pool(), backend(), any::<bool>()).prop_map(|(pool, backend, draining)| Change::PoolDrain {
            pool,
            backend,
            draining
        }),
        (pool(), backend()).prop_map(|(pool, backend)| Change::PoolRemove { pool, backend }),
        ("[p-u]", prop::collection::vec((backend(), 0u32..4), 0..4))
            .prop_map(|(object, backends)| Change::SetBackends { object, backends }),
        (service(), header_rule()).prop_map(|(service, rule)| Change::Header { service, rule }),
        (prop::option::of("[a-c]:80"), 0u64..3)
            .prop_map(|(target, limit)| Change::SetReproxyLimit { target, limit }),
        plugin_change(),
        mime(),
        (0u32..8).prop_map(Change::SetVoters),
        (0u32..3).prop_map(Change::SetConfigHistory),
        pool().prop_map(Change::RemovePool),
        service().prop_map(Change::RemoveService),
        unset().prop_map(Change::Unset),
        certificate(),
        restored().prop_map(Change::Restore),
    ]
}

/// What a backup may hold, a service without its pool too: who sends one is not trusted to have made it.
fn restored() -> impl Strategy<Value = Arc<FleetConfig>> {
    (any::<u8>(), any::<bool>()).prop_map(|(version, whole)| {
        let mut config = FleetConfig {
            version: Version(version.into()),
            ..FleetConfig::default()
        };
        let mut service = Service::default();
        service.set_role(Role::ReverseProxy);
        service.set_tunable("pool", "p").unwrap();
        config
            .services
            .insert(ServiceName::parse("t").unwrap(), Arc::new(service));
        if whole {
            config.pools.insert(PoolName::parse("p").unwrap(), Arc::default());
        }
        Arc::new(config)
    })
}

fn unset() -> impl Strategy<Value = Setting> {
    let service = || "[s-u]".prop_map(|n| ServiceName::parse(&n).unwrap());
    prop_oneof![
        (
            service(),
            prop::sample::select(vec!["idle_timeout", "pool", "listen"])
        )
            .prop_map(|(service, key)| {
                Setting::Tunable {
                    object: service.to_string(),
                    key: key.to_owned(),
                }
            }),
        (service(), any::<bool>()).prop_map(|(service, inserts)| Setting::Header {
            service,
            inserts,
            name: "x-a".to_owned()
        }),
        Just(Setting::Default("pool".to_owned())),
        "[a-c]:80".prop_map(Setting::ReproxyLimit),
        Just(Setting::Voters),
        Just(Setting::ConfigHistory),
    ]
}
