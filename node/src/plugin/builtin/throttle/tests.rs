use super::super::tests::{asked, made};
use super::*;

const LINES: &[&str] = &["LOAD Throttle", "SET px.plugins = throttle"];

fn throttle(lines: &[&str]) -> Arc<dyn Hook> {
    made(make, &[LINES, lines].concat())
}

fn ask(hook: &dyn Hook, target: &str, peer: &str) -> (String, RequestContext) {
    let mut request = asked(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), peer);
    let said = match hook.run(Point::StartProxyRequest, &mut request) {
        Outcome::Next => "passes".to_owned(),
        Outcome::Answer(answer) => answer.status.to_string(),
        Outcome::Wait(time) => format!("waits {}", time.as_secs()),
        other @ (Outcome::Close
        | Outcome::Service(_)
        | Outcome::Fetch(_)
        | Outcome::Collect(_)
        | Outcome::Stream(_)) => format!("{other:?}"),
    };
    (said, request)
}

fn said(hook: &dyn Hook, target: &str, peer: &str) -> String {
    ask(hook, target, peer).0
}

#[test]
fn who_asks_too_often_waits_longer_and_longer_and_is_banned() {
    let lines = ["SET px.ban_threshold = 4", "SET px.max_delay = 5"];
    let hook = throttle(&lines);
    let told: Vec<_> = (0..6).map(|_| said(&*hook, "/", "10.0.0.1")).collect();
    assert_eq!(told, ["passes", "waits 3", "waits 5", "waits 5", "Close", "403"]);
    assert_eq!(said(&*hook, "/", "10.0.0.2"), "passes");
    let lines = ["SET px.ban_threshold = 1", "SET px.ban_expiration = 0"];
    let hook = throttle(&lines);
    let told: Vec<_> = (0..3).map(|_| said(&*hook, "/", "10.0.0.1")).collect();
    assert_eq!(told, ["passes", "Close", "passes"]);
}

#[test]
fn a_client_may_ask_again_behind_its_delay() {
    let memory = Memory::default();
    let ip = "10.0.0.1".parse().unwrap();
    let second = Duration::from_secs(1);
    let pace = Pace {
        threshold: second * 60,
        initial_delay: second * 3,
        max_delay: second * 300,
        max_concurrent: 2,
        ban_threshold: 0,
        ban_expiration: second,
    };
    let start = Instant::now();
    let at = |seconds: u32| memory.pace(ip, start + second * seconds, &pace);
    assert_eq!(at(0), Verdict::Pass);
    assert_eq!(at(59), Verdict::Wait(second * 3));
    assert_eq!(at(61), Verdict::Wait(second * 6));
    assert_eq!(at(67), Verdict::Pass);
    assert_eq!(at(127), Verdict::Pass);
}

#[test]
fn requests_in_progress_are_counted_by_client() {
    let hook = throttle(&["SET px.default_action = allow"]);
    let (first, held) = ask(&*hook, "/", "10.0.0.1");
    let (second, _held) = ask(&*hook, "/", "10.0.0.1");
    assert_eq!((first.as_str(), second.as_str()), ("passes", "passes"));
    assert_eq!(said(&*hook, "/", "10.0.0.1"), "403");
    assert_eq!(said(&*hook, "/", "10.0.0.2"), "passes");
    drop(held);
    assert_eq!(said(&*hook, "/", "10.0.0.1"), "passes");
}

#[test]
fn only_what_matches_waits() {
    let lines = [
        "SET px.path_regex = ^/slow",
        "SET px.method_regex = ^GET$",
        "SET px.throttle_threshold_seconds = 9",
    ];
    let hook = throttle(&lines);
    let told = ["/slow", "/other", "/slow?x", "/other"].map(|target| said(&*hook, target, "::1"));
    assert_eq!(told, ["passes", "passes", "waits 3", "passes"]);
    let hook = throttle(&["SET px.method_regex = ^POST$"]);
    let told = ["/", "/"].map(|target| said(&*hook, target, "::1"));
    assert_eq!(told, ["passes", "passes"]);
}

#[test]
fn who_is_listed_is_left_alone_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (white, black) = (dir.path().join("white"), dir.path().join("black"));
    std::fs::write(&white, "# ours\n10.1.0.0/16 # all\n\n::1\nnonsense\n").unwrap();
    std::fs::write(&black, "10.2.0.1\n").unwrap();
    let lines = [
        format!("SET px.whitelist_file = {}", white.display()),
        format!("SET px.blacklist_file = {}", black.display()),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let hook = throttle(&lines);
    for _ in 0..3 {
        assert_eq!(said(&*hook, "/", "10.1.9.9"), "passes");
        assert_eq!(said(&*hook, "/", "::1"), "passes");
        assert_eq!(said(&*hook, "/", "10.2.0.1"), "403");
    }
    let delays = throttle(
        &[
            &lines[..],
            &[
                "SET px.blacklist_action = throttle",
                "SET px.default_action = allow",
            ],
        ]
        .concat(),
    );
    let told = ["/", "/"].map(|target| said(&*delays, target, "10.2.0.1"));
    assert_eq!(told, ["passes", "waits 3"]);
    std::fs::write(&black, "10.2.0.2\n").unwrap();
    reload(&*hook, Which::Blacklist).unwrap();
    assert_eq!(said(&*hook, "/", "10.2.0.2"), "403");
    std::fs::write(&black, "nobody\n").unwrap();
    let error = reload(&*hook, Which::Blacklist).unwrap_err().to_string();
    let path = black.display();
    assert_eq!(
        error,
        format!("Couldn't load {path}: {path} contains no recognizable CIDRs")
    );
    assert_eq!(said(&*hook, "/", "10.2.0.2"), "403");
    std::fs::remove_file(&black).unwrap();
    let error = reload(&*hook, Which::Blacklist).unwrap_err().to_string();
    assert_eq!(error, format!("Couldn't load {path}: No such file or directory"));
    let error = reload(&*throttle(&[]), Which::Whitelist).unwrap_err().to_string();
    assert_eq!(error, "no whitelist file configured");
}

#[test]
fn only_logging_lets_everybody_through() {
    let hook = throttle(&["SET px.log_only = on", "SET px.max_concurrent = 0"]);
    for _ in 0..3 {
        assert_eq!(said(&*hook, "/", "10.0.0.1"), "passes");
    }
}

#[test]
fn what_is_remembered_outlives_a_change_of_the_service() {
    let hook = throttle(&[]);
    assert_eq!(said(&*hook, "/", "10.0.0.1"), "passes");
    let lines = [LINES, &["SET px.initial_delay = 7"]].concat();
    let later = super::super::tests::made_after(make, &lines, Some(&*hook));
    assert_eq!(said(&*later, "/", "10.0.0.1"), "waits 7");
}
