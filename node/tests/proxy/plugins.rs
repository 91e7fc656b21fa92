//! Plugins in Lua: each hook at its moment, what they can do, and what becomes of those that go wrong.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fleetbal_raft::model::{Change, ScriptName};

use crate::fixture::{Client, Origin, PATIENCE, Proxy, Response, ok, set};

fn push(name: &str, source: &str) -> Change {
    Change::PutScript {
        name: ScriptName::parse(name).unwrap(),
        source: source.into(),
    }
}

/// Pushes a plugin and loads it.
pub(crate) fn pushed(name: &str, source: &str) -> Vec<Change> {
    let loaded = Change::SetLoaded {
        plugin: name.to_owned(),
        loaded: true,
    };
    vec![push(name, source), loaded]
}

/// Pushes a plugin, and has the service use it.
pub(crate) fn plug(proxy: &mut Proxy, name: &str, source: &str) {
    let mut changes = pushed(name, source);
    changes.push(set("plugins", name));
    proxy.change(changes);
}

pub(crate) async fn ask(client: &mut Client, target: &str) -> Response {
    client
        .ask(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .await
}

/// Writes down every hook, and tells at `/trace`.
pub(crate) const TRACER: &str = r#"
local names = {
    "start_proxy_request", "start_web_request", "start_http_request", "proxy_read_request",
    "make_high_priority", "make_low_priority", "backend_client_assigned", "backend_response_received",
    "backend_write_verify", "backend_readable_verify", "start_file_reproxy", "reproxy_response_received",
    "modify_response_headers", "prepend_body", "reproxy_fh_finished", "start_serve_request", "start_send_file",
    "static_get_poststat_file_missing", "static_get_poststat_pre_send", "concat_get_poststat_file_missing",
    "concat_get_poststat_pre_send", "handle_put", "put_writeout", "return_to_base",
    "end_proxy_request", "end_web_request",
}
local shared = fleetbal.shared
return {
    register = function(service)
        for _, name in names do
            service:register_hook(name, function(request, extra)
                if request:uri() ~= "/trace" then
                    local line = name .. " " .. request:method() .. " " .. request:uri() .. " " .. tostring(extra)
                    shared.set("trace", (shared.get("trace") or "") .. line .. "\n")
                elseif name == "start_http_request" then
                    local trace = shared.get("trace") or ""
                    shared.delete("trace")
                    return request:respond(200, { ["Content-Type"] = "text/plain" }, trace)
                end
            end)
        end
    end,
}
"#;

pub(crate) async fn trace(client: &mut Client) -> Vec<String> {
    let told = ask(client, "/trace").await;
    assert_eq!(told.status(), 200);
    told.text().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hook_of_a_proxied_request_comes_at_its_moment() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/a?b").await.text(), "hi");
    let assigned = format!("backend_client_assigned GET /a?b {}", origin.address);
    let expected = [
        "start_proxy_request GET /a?b nil",
        "start_http_request GET /a?b nil",
        "proxy_read_request GET /a?b nil",
        "make_high_priority GET /a?b nil",
        "make_low_priority GET /a?b nil",
        &assigned,
        "backend_response_received GET /a?b 200",
        "modify_response_headers GET /a?b 200",
        "prepend_body GET /a?b 200",
        "end_proxy_request GET /a?b nil",
    ];
    assert_eq!(trace(&mut client).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hook_of_a_file_comes_at_its_moment() {
    let docroot = tempfile::tempdir().unwrap();
    std::fs::write(docroot.path().join("f.txt"), "file").unwrap();
    let mut proxy = Proxy::over_files(1, docroot.path(), &[]);
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/f%2etxt").await.text(), "file");
    let told = trace(&mut client).await;
    let modified = told[3]
        .strip_prefix("static_get_poststat_pre_send GET /f%2etxt ")
        .unwrap();
    assert!(modified.parse::<u64>().unwrap() > 1_000_000_000, "{modified}");
    assert_eq!(
        told[..3],
        [
            "start_web_request GET /f%2etxt nil",
            "start_http_request GET /f%2etxt nil",
            "start_serve_request GET /f%2etxt /f.txt",
        ]
    );
    assert_eq!(
        told[4..],
        [
            "start_send_file GET /f%2etxt nil",
            "modify_response_headers GET /f%2etxt 200",
            "end_web_request GET /f%2etxt nil",
        ]
    );
    assert_eq!(ask(&mut client, "/no").await.status(), 404);
    assert_eq!(
        trace(&mut client).await,
        [
            "start_web_request GET /no nil",
            "start_http_request GET /no nil",
            "start_serve_request GET /no /no",
            "static_get_poststat_file_missing GET /no nil",
            "end_web_request GET /no nil",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selectors_hooks_come_before_and_behind() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[], &[]);
    crate::selecting::hand_all_to_a(&mut proxy, &origin);
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/a").await.text(), "hi");
    let expected = ["start_http_request GET /a nil", "return_to_base GET /a nil"];
    assert_eq!(trace(&mut client).await, expected);
}

/// Does to a request what its path says.
const DOER: &str = r#"
local function of_request(request)
    local uri = request:uri()
    if uri == "/edit" then
        request:set_header("X-Set", "by " .. request:peer())
        request:remove_header("X-Gone")
        request:set_uri("/edited?" .. tostring(request:header("host")))
    elseif uri == "/wait" then
        fleetbal.shared.incr("waits")
        return request:wait(0.2)
    elseif uri == "/close" then
        return request:close()
    elseif uri == "/page" then
        return request:page(403, "Access denied.")
    elseif uri == "/bad" then
        request:set_uri("no path")
    elseif uri == "/waits" then
        return request:respond(200, {}, tostring(fleetbal.shared.get("waits")))
    elseif uri == "/other" then
        request:set_backend(request:header("x-backend"))
    end
end
local function of_answer(request, status)
    request:set_response_header("X-Seen", tostring(status))
    request:remove_response_header("X-Secret")
    request:add_response_header("Set-Cookie", "a=1")
    request:add_response_header("Set-Cookie", "b=2")
    if request:uri() == "/status" then
        request:set_status(418, "Teapot")
    end
end
return {
    register = function(service)
        service:register_hook("start_proxy_request", of_request)
        service:register_hook("backend_client_assigned", function(request, backend)
            request:set_header("X-Backend", backend)
        end)
        service:register_hook("modify_response_headers", of_answer)
        service:register_hook("prepend_body", function(request)
            request:prepend("<")
            request:prepend(">")
        end)
        service:register_hook("backend_response_received", function(request, status)
            if status == 503 then
                return request:respond(200, { ["X-Own"] = "yes" }, "sorry")
            end
        end)
    end,
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn they_change_requests_and_answers() {
    let answers = |request: &crate::fixture::Request| {
        let path = request.head.split(' ').nth(1).unwrap();
        Some(match path {
            "/chunked" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec()
            }
            "/503" => b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nX-Secret: s\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        })
    };
    let (one, two) = (Origin::start(answers).await, Origin::saying("two").await);
    let mut proxy = Proxy::start(&[one.address], &[]);
    plug(&mut proxy, "Doer", DOER);
    let mut client = proxy.client().await;
    let edited = client
        .ask("GET /edit HTTP/1.1\r\nHost: h\r\nX-Gone: 1\r\n\r\n")
        .await;
    assert_eq!(edited.text(), "<>hi");
    for line in [
        "Content-Length: 4",
        "X-Seen: 200",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
    ] {
        assert!(edited.has(line), "no {line} in {}", edited.head);
    }
    assert!(!edited.head.contains("X-Secret"), "{}", edited.head);
    let got = one.seen()[0].head.clone();
    assert!(got.starts_with("GET /edited?h HTTP/1.1\r\n"), "{got}");
    assert!(got.contains("X-Set: by 127.") && !got.contains("X-Gone"), "{got}");
    assert!(got.contains(&format!("X-Backend: {}\r\n", one.address)), "{got}");
    let chunked = ask(&mut client, "/chunked").await;
    assert_eq!(chunked.text(), "2\r\n<>\r\n2\r\nhi\r\n0\r\n\r\n");
    let status = ask(&mut client, "/status").await;
    assert!(
        status.head.starts_with("HTTP/1.1 418 Teapot\r\n"),
        "{}",
        status.head
    );
    let instead = ask(&mut client, "/503").await;
    assert_eq!(
        (instead.status(), instead.text(), instead.has("X-Own: yes")),
        (200, "sorry", true)
    );
    let page = ask(&mut client, "/page").await;
    assert_eq!(
        (page.status(), page.text()),
        (403, "<h1>403 - Forbidden</h1>\nAccess denied.")
    );
    // What it may not do is its mistake, and not the client's.
    assert_eq!(ask(&mut client, "/bad").await.status(), 200);
    let began = Instant::now();
    assert_eq!(ask(&mut client, "/wait").await.text(), "<>hi");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(ask(&mut client, "/waits").await.text(), "1", "it is asked once");
    proxy.change(vec![crate::fixture::add(two.address)]);
    they_choose_backends(&mut client, one.address, two.address).await;
    client.send("GET /close HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.rest().await, b"");
}

async fn they_choose_backends(client: &mut Client, one: SocketAddr, two: SocketAddr) {
    for (address, text) in [(two, "<>two"), (one, "<>hi"), (two, "<>two")] {
        let request = format!("GET /other HTTP/1.1\r\nHost: h\r\nX-Backend: {address}\r\n\r\n");
        assert_eq!(client.ask(&request).await.text(), text);
    }
}

/// Goes wrong in the way that the path says.
const FAULTY: &str = r#"
local kept = {}
return {
    register = function(service)
        service:register_hook("start_proxy_request", function(request)
            local uri = request:uri()
            if uri == "/loop" then
                while true do pcall(function() while true do end end) end
            elseif uri == "/eat" then
                while true do table.insert(kept, string.rep("x", 1000000)) end
            elseif uri == "/fail" then
                error("on purpose")
            end
            request:set_header("X-Plugin", "yes")
        end)
    end,
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_cut_off_while_traffic_goes_on() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[("plugin_max_errors", "7")]);
    plug(&mut proxy, "Faulty", FAULTY);
    let mut client = proxy.client().await;
    let has_plugin = || origin.seen().last().unwrap().head.contains("X-Plugin: yes");
    for target in ["/loop", "/eat", "/fail"] {
        assert_eq!(ask(&mut client, target).await.text(), "hi", "{target}");
        assert!(!has_plugin(), "{target}");
        assert_eq!(ask(&mut client, "/").await.text(), "hi", "after {target}");
        assert!(has_plugin(), "after {target}");
    }
    proxy.change(vec![set("plugin_on_error", "deny")]);
    let denied = ask(&mut client, "/fail").await;
    assert_eq!(
        (denied.status(), denied.text()),
        (500, "<h1>500 - Internal Server Error</h1>\nA plugin failed.")
    );
    // Other limits are another count.
    for _ in 0..6 {
        assert_eq!(ask(&mut client, "/fail").await.status(), 500);
    }
    assert_eq!(ask(&mut client, "/fail").await.text(), "hi", "it is off");
    assert!(!has_plugin());
    plug(&mut proxy, "Faulty", &format!("{FAULTY}-- another"));
    assert_eq!(
        ask(&mut client, "/fail").await.status(),
        500,
        "it was pushed again"
    );
}

const COUNTER: &str = r#"
return {
    register = function(service)
        service:register_hook("modify_response_headers", function(request)
            request:set_response_header("X-Count", tostring(fleetbal.shared.incr("n")))
        end)
    end,
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_what_they_count_also_over_a_push() {
    let origin = Origin::start(|_| Some(ok("hi"))).await;
    let mut proxy = Proxy::start_with(2, &[origin.address], &[]);
    plug(&mut proxy, "Counter", COUNTER);
    for number in 1..=20 {
        let answer = proxy.get("/").await;
        assert!(answer.has(&format!("X-Count: {number}")), "{}", answer.head);
    }
    proxy.change(vec![push("Counter", &COUNTER.replace("X-Count", "X-Number"))]);
    assert!(proxy.get("/").await.has("X-Number: 21"));
}

#[test]
fn a_file_that_is_no_plugin_is_refused_with_its_line() {
    let check = |source: &str| {
        let place = fleetbal::plugin::lua::Place {
            service: crate::fixture::service(),
            role: None,
        };
        fleetbal::plugin::lua::check(&ScriptName::parse("Own").unwrap(), source, &[place])
    };
    assert_eq!(check("return {}"), Ok(()));
    let register = |body: &str| format!("return {{\n register = function(service)\n{body}\n end }}");
    for (source, says) in [
        ("return {\n  x = = 1 }", "Own.lua:2: "),
        ("\n\nerror('no')", "Own.lua:3: no"),
        ("return 1", "Own.lua: it returns "),
        (
            "return { regsiter = function() end }",
            "Own.lua: the table has 'regsiter'",
        ),
        ("return { load = 1 }", "Own.lua: 'load' is a "),
        ("return { load = function()\n error('no') end }", "Own.lua:2: no"),
        (
            &register("service:register_hook('start', print)"),
            "there is no hook 'start'",
        ),
        ("while true do end", "plugin_time_limit"),
        (
            "local t = {} while true do t[#t + 1] = string.rep('x', 1000000) end",
            "memory",
        ),
        ("require('x')", "Own.lua:1: "),
        ("loadstring('x')", "Own.lua:1: "),
        ("io.open('/etc/passwd')", "Own.lua:1: "),
        ("os.execute('id')", "Own.lua:1: "),
        ("string.rep = nil", "Own.lua:1: "),
    ] {
        let refused = check(source).unwrap_err();
        assert!(refused.contains(says), "{source}: {refused}");
    }
}

/// The examples of the guide, by their names.
pub(crate) fn example(name: &str) -> String {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plugins.md")).unwrap();
    let mut blocks = guide
        .split("```lua\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap());
    let first = format!("-- {name}.lua");
    let block = blocks.find(|block| block.starts_with(&first));
    block.expect(name).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_guide_do_what_it_says() {
    let origin = Origin::echo().await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    let last = || origin.seen().last().unwrap().head.clone();

    plug(&mut proxy, "Hello", &example("Hello"));
    assert_eq!(ask(&mut client, "/hello").await.text(), "Hello from s\n");
    assert_eq!(ask(&mut client, "/other").await.text(), "/other");

    plug(&mut proxy, "Gate", &example("Gate"));
    assert_eq!(ask(&mut client, "/admin").await.status(), 403);
    let known = "GET /admin HTTP/1.1\r\nHost: h\r\nX-Key: sesame\r\n\r\n";
    assert_eq!(client.ask(known).await.text(), "/admin");
    assert!(!last().contains("sesame"), "{}", last());

    plug(&mut proxy, "Canary", &example("Canary"));
    let cookie = "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; canary=1\r\n\r\n";
    client.ask(cookie).await;
    assert!(last().contains("X-Canary: yes"), "{}", last());
    client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(!last().contains("X-Canary"), "{}", last());

    plug(&mut proxy, "Security", &example("Security"));
    let answer = ask(&mut client, "/").await;
    assert!(answer.has("X-Content-Type-Options: nosniff"), "{}", answer.head);

    plug(&mut proxy, "Minutes", &example("Minutes"));
    let began = Instant::now();
    while ask(&mut client, "/").await.has("X-Minute: nil") {
        assert!(began.elapsed() < PATIENCE, "no minute came");
    }

    let judge = Origin::start(|request| request.head.contains("x-path: /may").then(|| ok("go"))).await;
    let source = example("Judge").replace("127.0.0.1:9191", &judge.address.to_string());
    plug(&mut proxy, "Judge", &source);
    assert_eq!(ask(&mut client, "/may").await.text(), "/may");
    assert_eq!(ask(&mut client, "/no").await.status(), 503);

    plug(&mut proxy, "Limit", &example("Limit"));
    let mut statuses = Vec::new();
    let began = Instant::now();
    while statuses.last() != Some(&429) {
        assert!(began.elapsed() < PATIENCE, "nobody was limited: {statuses:?}");
        statuses.push(ask(&mut client, "/").await.status());
    }
    assert!(statuses.len() > 5 && statuses[..5] == [200; 5], "{statuses:?}");
}
