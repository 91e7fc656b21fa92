//! Requests that plugins in Lua send themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::fixture::{Origin, Proxy, ok, until};
use crate::plugins::{ask, plug};

/// Asks `WHERE` whether somebody may see what he asks for.
const ASKING: &str = r#"
return {
    register = function(service)
        service:register_hook("start_proxy_request", function(request)
            local path = request:uri()
            if path == "/plain" then
                return
            end
            local answer, why = fleetbal.http({
                url = "http://WHERE/may" .. path,
                method = "POST",
                headers = { ["X-Key"] = request:header("x-key") or "none" },
                body = "who: " .. request:peer(),
                timeout = if path == "/never" then 0.05 else 20,
            })
            if not answer then
                return request:respond(504, {}, why)
            end
            if answer.status ~= 200 then
                return request:page(answer.status, answer.body)
            end
            request:set_header("X-Who", answer.headers["x-who"])
        end)
    end,
}
"#;

fn asking(origin: &Origin) -> String {
    ASKING.replace("WHERE", &origin.address.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_asks_somebody_else_and_goes_on_by_the_answer() {
    let judge = Origin::start(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        Some(match path {
            "/may/yes" => b"HTTP/1.1 200 OK\r\nX-Who: anna\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "/may/large" => ok(&"x".repeat(1024 * 1024 + 1)),
            _ => b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!".to_vec(),
        })
    })
    .await;
    let origin = Origin::echo().await;
    let mut proxy = Proxy::start(&[origin.address], &[("plugin_on_error", "deny")]);
    plug(&mut proxy, "Asking", &asking(&judge));
    let mut client = proxy.client().await;
    let yes = client
        .ask("GET /yes HTTP/1.1\r\nHost: h\r\nX-Key: k\r\n\r\n")
        .await;
    assert_eq!((yes.status(), yes.text()), (200, "/yes"));
    assert!(
        origin.seen()[0].head.contains("X-Who: anna\r\n"),
        "{}",
        origin.seen()[0].head
    );
    let asked = judge.seen()[0].clone();
    assert!(
        asked.head.starts_with("POST /may/yes HTTP/1.1\r\n"),
        "{}",
        asked.head
    );
    let lower = asked.head.to_ascii_lowercase();
    assert!(lower.contains(&format!("host: {}\r\n", judge.address)), "{lower}");
    assert!(lower.contains("x-key: k\r\n"), "{lower}");
    assert!(asked.body.starts_with(b"who: 127."));
    let no = ask(&mut client, "/no").await;
    assert_eq!((no.status(), no.text()), (403, "<h1>403 - Forbidden</h1>\nno!"));
    let large = ask(&mut client, "/large").await;
    assert_eq!(large.status(), 504);
    assert!(large.text().contains("length limit exceeded"), "{}", large.text());
    drop(judge);
    let gone = ask(&mut client, "/gone").await;
    assert_eq!(gone.status(), 504);
    assert!(gone.text().contains("/may/gone: "), "{}", gone.text());
    assert_eq!(ask(&mut client, "/plain").await.text(), "/plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_meanwhile_and_only_its_own_time_counts() {
    let (release, released) = mpsc::channel::<()>();
    let (released, is_asked) = (Mutex::new(released), Arc::new(AtomicBool::new(false)));
    let asked = Arc::clone(&is_asked);
    let judge = Origin::start(move |_| {
        asked.store(true, Ordering::SeqCst);
        // Others of this runtime go on.
        tokio::task::block_in_place(|| released.lock().unwrap().recv().ok())?;
        Some(b"HTTP/1.1 200 OK\r\nX-Who: anna\r\nContent-Length: 0\r\n\r\n".to_vec())
    })
    .await;
    let origin = Origin::echo().await;
    let settings = [("plugin_on_error", "deny"), ("plugin_time_limit", "200")];
    let mut proxy = Proxy::start(&[origin.address], &settings);
    plug(&mut proxy, "Asking", &asking(&judge));
    let mut waiting = proxy.client().await;
    waiting.send("GET /yes HTTP/1.1\r\nHost: h\r\n\r\n").await;
    until("the judge to be asked", || is_asked.load(Ordering::SeqCst)).await;
    let mut other = proxy.client().await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(300) {
        assert_eq!(ask(&mut other, "/plain").await.text(), "/plain");
    }
    release.send(()).unwrap();
    assert_eq!(waiting.response().await.text(), "/yes");
    // Nobody answers any more.
    let never = ask(&mut other, "/never").await;
    assert_eq!(never.status(), 504);
    assert!(never.text().ends_with("no answer in 0.05 s"), "{}", never.text());
    drop(release);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_asks_too_and_no_hook_that_may_not_wait() {
    let other = Origin::saying("news").await;
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let source = r#"
return {
    register = function(service)
        fleetbal.after(0, function()
            local answer = fleetbal.http({ url = "http://WHERE/" })
            fleetbal.shared.set("news", answer.body)
        end)
        service:register_hook("modify_response_headers", function(request)
            local is_good, why = pcall(fleetbal.http, { url = "http://WHERE/" })
            local first = string.split(tostring(why), "\n")[1]
            request:set_response_header("X-Why", if is_good then "-" else first)
            request:set_response_header("X-News", fleetbal.shared.get("news") or "none")
        end)
    end,
}"#;
    plug(
        &mut proxy,
        "News",
        &source.replace("WHERE", &other.address.to_string()),
    );
    let mut client = proxy.client().await;
    let began = Instant::now();
    let answer = loop {
        let answer = ask(&mut client, "/").await;
        if answer.has("X-News: news") {
            break answer;
        }
        assert!(began.elapsed() < crate::fixture::PATIENCE, "{}", answer.head);
    };
    assert!(
        answer
            .head
            .contains("fleetbal.http is for timers and for hooks that may wait"),
        "{}",
        answer.head
    );
    assert_eq!(other.seen().len(), 1);
}
