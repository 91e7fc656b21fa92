//! `selector`: services that hand their requests to others.

use fleetbal_raft::model::{Change, Directive, HeaderRule, ServiceName, Template};

use crate::fixture::{Origin, Proxy, add, enable, service, set};

fn name(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn of(object: &str, key: &str, value: &str) -> Change {
    Change::Set {
        object: object.into(),
        key: key.into(),
        value: value.into(),
    }
}

/// A service over a pool of its own with one backend.
pub(crate) fn proxy(called: &str, origin: &Origin) -> Vec<Change> {
    let pool = fleetbal_raft::model::PoolName::parse(&format!("{called}_pool")).unwrap();
    let Change::PoolAdd { backend, weight, .. } = add(origin.address) else {
        unreachable!()
    };
    vec![
        Change::CreatePool(pool.clone()),
        Change::PoolAdd {
            pool: pool.clone(),
            backend,
            weight,
        },
        Change::CreateService(name(called)),
        of(called, "role", "reverse_proxy"),
        of(called, "pool", pool.as_str()),
        of(called, "persist_backend", "on"),
    ]
}

fn load(plugin: &str) -> Change {
    Change::SetLoaded {
        plugin: plugin.into(),
        loaded: true,
    }
}

fn vhost(on: &str, pattern: &str, target: &str) -> Change {
    Change::Direct {
        service: on.into(),
        directive: Directive::Vhost {
            pattern: pattern.into(),
            target: name(target),
        },
    }
}

fn vpath(on: &str, pattern: &str, target: &str) -> Change {
    Change::Direct {
        service: on.into(),
        directive: Directive::Vpath {
            pattern: pattern.into(),
            target: name(target),
        },
    }
}

/// A selector before the services `a` and `b`.
fn selector(settings: &[(&str, &str)], a: &Origin, b: &Origin) -> Proxy {
    let mut selecting = Proxy::start(&[], &[]);
    let mut changes = vec![load("vhosts"), load("vpaths")];
    changes.extend(proxy("a", a));
    changes.extend(proxy("b", b));
    changes.push(enable(false));
    changes.push(set("role", "selector"));
    changes.extend(settings.iter().map(|(key, value)| set(key, value)));
    changes.push(enable(true));
    selecting.change(changes);
    selecting
}

/// Makes the service a selector that hands everything to a service with this backend.
pub(crate) fn hand_all_to_a(selecting: &mut Proxy, origin: &Origin) {
    let mut changes = proxy("a", origin);
    changes.extend([
        enable(false),
        set("role", "selector"),
        set("persist_client", "on"),
        set("default_service", "a"),
        enable(true),
    ]);
    selecting.change(changes);
}

fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_kept_connection_is_handed_on_anew() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let settings = [("plugins", "vhosts"), ("persist_client", "on")];
    let mut selecting = selector(&settings, &a, &b);
    selecting.change(vec![vhost("s", "a.com", "a"), vhost("s", "*.b.com", "b")]);
    let mut client = selecting.client().await;
    for (host, answer) in [
        ("a.com", "a"),
        ("B.com:80", "b"),
        ("w.b.com.", "b"),
        ("a.com", "a"),
    ] {
        let response = client.ask(&get(host, "/")).await;
        assert_eq!((response.status(), response.text()), (200, answer), "{host}");
        assert!(
            response.has("Connection: keep-alive"),
            "the selector's setting counts"
        );
    }
    let lost = client.ask(&get("c.com", "/")).await;
    assert_eq!(lost.status(), 404);
    assert!(
        lost.text().ends_with("Not Found (no configured vhost)"),
        "{}",
        lost.text()
    );
    // The connection has survived that; a rule holds from the next request on.
    selecting.change(vec![vhost("s", "*", "a")]);
    assert_eq!(client.ask(&get("c.com", "/")).await.text(), "a");
    // Pipelined requests go where each of them belongs.
    client
        .send(format!("{}{}", get("w.b.com", "/1"), get("a.com", "/2")))
        .await;
    assert_eq!(client.response().await.text(), "b");
    assert_eq!(client.response().await.text(), "a");
    assert!(selecting.stats.service(&name("b")).requests_total() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_where_their_heads_go() {
    let (a, b) = (Origin::echo().await, Origin::echo().await);
    let settings = [
        ("plugins", "vpaths"),
        ("persist_client", "on"),
        ("default_service", "b"),
    ];
    let mut selecting = selector(&settings, &a, &b);
    selecting.change(vec![vpath("s", "^/api/", "a"), vpath("s", "^/api/v2", "nobody")]);
    let mut client = selecting.client().await;
    let body = "x".repeat(300_000);
    for path in ["/api/v2", "/other"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let response = client.ask(&format!("{head}{body}")).await;
        assert_eq!(
            (response.status(), response.text().len()),
            (200, path.len() + body.len())
        );
    }
    assert_eq!((a.seen().len(), b.seen().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_selectors_ends_at_a_service_or_in_an_error() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let mut selecting = selector(&[("plugins", "vhosts")], &a, &b);
    let inner = |rules: Vec<Change>| {
        let mut changes = vec![
            Change::CreateService(name("inner")),
            of("inner", "role", "selector"),
            of("inner", "persist_client", "on"),
            of("inner", "plugins", "vpaths"),
        ];
        changes.extend(rules);
        changes
    };
    selecting.change(inner(vec![
        vpath("inner", "^/b", "b"),
        vpath("inner", "^/round", "s"),
        vpath("inner", "^/m", "manage"),
        Change::CreateService(name("manage")),
        of("manage", "role", "management"),
        vhost("s", "*", "inner"),
    ]));
    let response = selecting.get("/b").await;
    assert_eq!(response.text(), "b");
    assert!(
        response.has("Connection: close"),
        "the outermost selector's setting counts"
    );
    for (path, message) in [
        (
            "/round",
            "Services hand this request over to each other without end.",
        ),
        ("/m", "Can't map to service type management"),
    ] {
        let response = selecting.get(path).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(response.text().ends_with(message), "{}", response.text());
    }
    assert_eq!(selecting.get("/nowhere").await.status(), 404);
    selecting.change(vec![set("plugins", "none")]);
    let response = selecting.get("/").await;
    assert_eq!(response.status(), 500);
    assert!(response.text().ends_with("No service selector configured."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_edits_what_it_hands_on() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let settings = [("plugins", "vhosts"), ("persist_client", "on"), ("latency", "1")];
    let mut selecting = selector(&settings, &a, &b);
    let header = |rule| Change::Header {
        service: service(),
        rule,
    };
    selecting.change(vec![
        vhost("s", "a.com;using:b.com", "b"),
        vhost("s", "*", "a"),
        header(HeaderRule::Insert {
            name: "x-via".into(),
            value: Template::parse("sel").unwrap(),
        }),
        header(HeaderRule::Remove { name: "x-old".into() }),
    ]);
    let mut client = selecting.client().await;
    let ask = "\r\nGET / HTTP/1.1\r\nhost:a.com\r\nX-Old:1\r\nX-New:\r\nConnection: keep-alive\r\n\r\n";
    client.ask(ask).await;
    assert_eq!(
        client.ask(&get("a.com", "/__using/b.com/word?q")).await.text(),
        "b"
    );
    let unknown = client.ask(&get("a.com", "/__using/c.com/word")).await;
    assert_eq!(unknown.status(), 404);
    assert!(
        unknown
            .text()
            .ends_with("Vhost twiddling not configured for requested pair.")
    );
    assert_eq!(
        a.seen()[0].head,
        "GET / HTTP/1.1\r\nhost: a.com\r\nX-New: \r\nx-via: sel\r\nX-Forwarded-For: 127.0.0.1\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    let twiddled = b.seen()[0].head.clone();
    assert!(
        twiddled.contains("\r\nHost: b.com\r\n") && twiddled.contains("\r\nx-via: sel\r\n"),
        "{twiddled}"
    );
    // One of HTTP/1.0 stays one, also where it was edited.
    let mut old = selecting.client().await;
    let response = old.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(response.has("Connection: close"), "{}", response.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hosts_are_told_apart() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let settings = [("plugins", "vhosts"), ("persist_client", "on")];
    let mut selecting = selector(&settings, &a, &b);
    let hosts = (0..1000).map(|at| {
        vhost(
            "s",
            &format!("h{at}.example"),
            if at % 3 == 0 { "a" } else { "b" },
        )
    });
    selecting.change(hosts.collect());
    let mut client = selecting.client().await;
    for at in [0, 1, 500, 501, 998, 999] {
        let wanted = if at % 3 == 0 { "a" } else { "b" };
        assert_eq!(
            client.ask(&get(&format!("h{at}.example"), "/")).await.text(),
            wanted
        );
    }
    // Registered again, the table is a new one (as in Perlbal).
    selecting.change(vec![set("plugins", "vhosts")]);
    assert_eq!(client.ask(&get("h1.example", "/")).await.status(), 404);
}
