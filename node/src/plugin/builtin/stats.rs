//! `Stats`: what a service does, and what it did last (Perlbal, reference section 8.2).

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::super::context::{Priority, RequestContext};
use super::super::hook::{Hook, Outcome, Point, Points};
use super::{Registered, Setup};

/// So many of the last requests are told.
const RECENT: usize = 100;

/// What is counted, in the order in which it is told.
const KEYS: [&str; 5] = [
    "files_reproxied",
    "files_sent",
    "proxy_requests",
    "proxy_requests_highpri",
    "web_requests",
];

const FILES_SENT: usize = 1;
const PROXY_REQUESTS: usize = 2;
const PROXY_REQUESTS_HIGHPRI: usize = 3;
const WEB_REQUESTS: usize = 4;

/// Figures of a service. They live on from one version to the next.
#[derive(Debug, Default)]
struct Figures {
    counts: [AtomicU64; KEYS.len()],
    recent: Mutex<VecDeque<String>>,
}

#[derive(Debug)]
struct Stats(Arc<Figures>);

/// When a backend was found for a request.
struct Assigned(Instant);

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let before: Option<&dyn Any> = setup.before.map(|hook| -> &dyn Any { hook });
    let before = before.and_then(|hook| hook.downcast_ref::<Stats>());
    Arc::new(Stats(
        before.map(|stats| Arc::clone(&stats.0)).unwrap_or_default(),
    ))
}

impl Figures {
    fn count(&self, key: usize) {
        if let Some(count) = self.counts.get(key) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remember(&self, request: &mut RequestContext) {
        let Some(took) = request
            .attached::<Assigned>()
            .map(|assigned| assigned.0.elapsed())
        else {
            return;
        };
        let took = took.as_secs_f64();
        let head = request.head();
        let host = head.field("Host").filter(|host| !host.is_empty());
        let host = String::from_utf8_lossy(host.unwrap_or(b"unknown")).into_owned();
        let line = format!(
            "{took:.4} http://{host}{}",
            String::from_utf8_lossy(head.target())
        );
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(line);
    }
}

impl Hook for Stats {
    fn points(&self) -> Points {
        Points::of(&[
            Point::StartWebRequest,
            Point::StartSendFile,
            Point::BackendClientAssigned,
            Point::BackendResponseReceived,
        ])
    }

    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome {
        if point == Point::StartWebRequest {
            self.0.count(WEB_REQUESTS);
        } else if point == Point::StartSendFile {
            self.0.count(FILES_SENT);
        } else if point == Point::BackendClientAssigned {
            let is_high = request.priority() == Some(Priority::High)
                || request.said().is_some_and(|said| said.high_priority);
            self.0.count(if is_high {
                PROXY_REQUESTS_HIGHPRI
            } else {
                PROXY_REQUESTS
            });
            request.attach(Box::new(Assigned(Instant::now())));
        } else if point == Point::BackendResponseReceived {
            self.0.remember(request);
        }
        Outcome::Next
    }
}

fn figures<'a>(services: &[Registered<'a>]) -> Vec<(&'a str, &'a Figures)> {
    let known = services.iter().filter_map(|registered| {
        let hook: &dyn Any = registered.hook;
        let stats = hook.downcast_ref::<Stats>()?;
        Some((registered.service.as_str(), &*stats.0))
    });
    known.collect()
}

/// `stats`.
pub(super) fn stats(services: &[Registered<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut totals = [0_u64; KEYS.len()];
    for (service, figures) in figures(services) {
        for ((key, count), total) in KEYS.iter().zip(&figures.counts).zip(&mut totals) {
            let count = count.load(Ordering::Relaxed);
            *total += count;
            lines.push(row(service, key, count));
        }
    }
    lines.extend(
        KEYS.iter()
            .zip(totals)
            .map(|(key, total)| row("total", key, total)),
    );
    lines
}

fn row(service: &str, key: &str, count: u64) -> String {
    format!("{service:<15} {key:<25} {count:>12}")
}

/// `recent`.
pub(super) fn recent(services: &[Registered<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    for (service, figures) in figures(services) {
        let recent = figures.recent.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(recent.iter().map(|line| format!("{service} {line}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::ServiceName;

    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn what_is_told_is_perlbals() {
        let hook = made(make, &["LOAD Stats", "SET px.plugins = stats"]);
        let service = ServiceName::parse("px").unwrap();
        let registered = Registered {
            service: &service,
            hook: &*hook,
        };
        for (target, priority) in [("/1", None), ("/2", Some(Priority::High)), ("/3", None)] {
            let mut request = asked(&format!("GET {target} HTTP/1.1\r\nHost: h:1\r\n\r\n"), "::1");
            if let Some(priority) = priority {
                request.set_priority(priority);
            }
            hook.run(Point::BackendClientAssigned, &mut request);
            hook.run(Point::BackendResponseReceived, &mut request);
        }
        let told = stats(&[registered]);
        assert_eq!(told.len(), 10);
        assert_eq!(told[2], "px              proxy_requests                       2");
        assert_eq!(told[3], "px              proxy_requests_highpri               1");
        assert_eq!(told[7], "total           proxy_requests                       2");
        let told = recent(&[registered]);
        assert_eq!(told.len(), 3);
        assert!(
            told[0].starts_with("px 0.00") && told[0].ends_with(" http://h:1/1"),
            "{told:?}"
        );
        for _ in 0..RECENT {
            let mut request = asked("GET /n HTTP/1.0\r\n\r\n", "::1");
            hook.run(Point::BackendClientAssigned, &mut request);
            hook.run(Point::BackendResponseReceived, &mut request);
        }
        let told = recent(&[registered]);
        assert_eq!(told.len(), RECENT);
        assert!(told[0].ends_with(" http://unknown/n"), "{told:?}");
    }
}
