use std::sync::Mutex;

use super::*;

/// Writes down where it was asked, and answers what it is told to.
#[derive(Debug)]
struct Told {
    name: &'static str,
    points: Points,
    says: fn(Point) -> Outcome,
    log: Arc<Mutex<Vec<String>>>,
}

impl Hook for Told {
    fn points(&self) -> Points {
        self.points
    }

    fn run(&self, point: Point, _request: &mut RequestContext) -> Outcome {
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {}", self.name, point.name()));
        (self.says)(point)
    }
}

type Link = (&'static str, Points, fn(Point) -> Outcome);

struct Chain {
    hooks: Arc<Hooks>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Chain {
    fn new(role: Role, links: &[Link]) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let hooks = links.iter().map(|(name, points, says)| {
            let hook: Arc<dyn Hook> = Arc::new(Told {
                name,
                points: *points,
                says: *says,
                log: Arc::clone(&log),
            });
            (Plugin::Vhosts, hook)
        });
        let hooks = Hooks::new(Some(role), hooks.collect::<Vec<_>>()).unwrap();
        Self { hooks, log }
    }

    fn run(&self, context: &mut RequestContext) -> (Outcome, Vec<String>) {
        let outcome = self.hooks.run(self.hooks.start(), context);
        (outcome, std::mem::take(&mut *self.log.lock().unwrap()))
    }
}

const START: Points = Points::of(&[Point::StartProxyRequest, Point::StartHttpRequest]);

#[test]
fn every_point_has_a_name_and_a_bit_of_its_own() {
    for (number, point) in Point::ALL.into_iter().enumerate() {
        assert_eq!(Point::find(point.name()), Some(point));
        assert_eq!(point.bit(), 1 << number, "{}", point.name());
    }
    assert_eq!(Point::find("start"), None);
}

/// The rows of the guide's table of hooks: names, and what is said of when they come.
fn rows() -> Vec<(String, String)> {
    let guide = include_str!("../../../docs/plugins.md");
    let section = guide
        .split("## Hooks\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| {
        let (names, rest) = row.split_once(" | ").unwrap();
        let when = rest.split(" | ").next().unwrap().to_owned();
        names
            .split(", ")
            .map(move |name| (name.trim_matches('`').to_owned(), when.clone()))
            .collect::<Vec<_>>()
    });
    rows.flatten().collect()
}

#[test]
fn the_guide_has_a_row_for_each_hook_of_perlbals() {
    let reference = [
        "manage_command.NAME pre_event_loop start_proxy_request start_web_request start_http_request",
        "proxy_read_request make_high_priority make_low_priority backend_client_assigned backend_write_verify",
        "backend_readable_verify backend_response_received reproxy_response_received start_file_reproxy",
        "modify_response_headers prepend_body start_serve_request start_send_file reproxy_fh_finished",
        "static_get_poststat_file_missing concat_get_poststat_file_missing static_get_poststat_pre_send",
        "concat_get_poststat_pre_send handle_put put_writeout return_to_base end_proxy_request end_web_request",
    ];
    let mut expected: Vec<_> = reference.iter().flat_map(|names| names.split(' ')).collect();
    let rows = rows();
    let mut told: Vec<_> = rows.iter().map(|(name, _)| name.as_str()).collect();
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected);
    let types = include_str!("../../../docs/fleetbal.d.luau");
    for (name, when) in &rows {
        let is_here = !when.starts_with("never: ");
        let is_point = Point::find(name).is_some();
        assert_eq!(is_point || name == "manage_command.NAME", is_here, "{name}");
        assert_eq!(types.contains(&format!("\"{name}\"")), is_here, "{name}");
    }
    assert!(Point::ALL.iter().all(|point| expected.contains(&point.name())));
}

#[test]
fn all_are_asked_in_order_until_one_ends_the_chain() {
    let close = |point| {
        if point == Point::StartHttpRequest {
            Outcome::Close
        } else {
            Outcome::Next
        }
    };
    let chain = Chain::new(
        Role::ReverseProxy,
        &[
            ("a", START, |_| Outcome::Next),
            ("b", Points::of(&[Point::StartHttpRequest]), close),
            ("c", START, |_| Outcome::Next),
        ],
    );
    let (outcome, asked) = chain.run(&mut RequestContext::default());
    assert_eq!(outcome, Outcome::Close);
    let points = [
        "a start_proxy_request",
        "c start_proxy_request",
        "a start_http_request",
        "b start_http_request",
    ];
    assert_eq!(asked, points);
}

#[test]
fn it_goes_on_behind_whoever_asked_to_wait() {
    let wait = |_| Outcome::Wait(Duration::from_secs(1));
    let next = |_| Outcome::Next;
    let chain = Chain::new(
        Role::ReverseProxy,
        &[
            ("a", START, next),
            ("b", Points::of(&[Point::StartProxyRequest]), wait),
            ("c", START, next),
        ],
    );
    let mut context = RequestContext::default();
    let (outcome, asked) = chain.run(&mut context);
    assert_eq!(outcome, wait(Point::StartProxyRequest));
    assert_eq!(asked, ["a start_proxy_request", "b start_proxy_request"]);
    let (outcome, asked) = chain.run(&mut context);
    assert_eq!(outcome, Outcome::Next);
    let rest = [
        "c start_proxy_request",
        "a start_http_request",
        "c start_http_request",
    ];
    assert_eq!(asked, rest);
}

#[test]
fn a_service_asks_where_its_role_comes_to() {
    let all = Points::of(&Point::ALL);
    let chain = Chain::new(Role::WebServer, &[("a", all, |_| Outcome::Next)]);
    assert!(!chain.hooks.has(Point::StartProxyRequest) && chain.hooks.has(Point::StartWebRequest));
    let (_, asked) = chain.run(&mut RequestContext::default());
    assert_eq!(asked, ["a start_web_request", "a start_http_request"]);
    chain.hooks.end(&mut RequestContext::default());
    assert_eq!(*chain.log.lock().unwrap(), ["a end_web_request"]);
    assert!(chain.hooks.are_asked());
    // What the role never comes to is not asked for.
    let proxied = Points::of(&[Point::StartProxyRequest]);
    let chain = Chain::new(Role::WebServer, &[("a", proxied, |_| Outcome::Next)]);
    assert!(!chain.hooks.are_asked());
    let none: [(Plugin, Arc<dyn Hook>); 0] = [];
    assert!(Hooks::new(Some(Role::WebServer), none).is_none());
}
