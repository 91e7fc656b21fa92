//! `Throttle`: clients that ask too often wait, and those that go on are banned for a while (Perlbal, reference section
//! 8.2). What it remembers of clients is this node's, of all its workers, and survives a change of the service.

mod list;
mod memory;

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::{Service, Value};
use regex::bytes::Regex;

use super::super::answer::Answer;
use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::{Setup, options};
use list::List;
pub use list::ReloadError;
use memory::{Memory, Pace, Verdict};

#[derive(Debug)]
struct Throttle {
    rules: Rules,
    whitelist: List,
    blacklist: List,
    memory: Arc<Memory>,
}

#[derive(Debug)]
struct Rules {
    pace: Pace,
    delays_others: bool,
    denies_blacklisted: bool,
    path: Option<Regex>,
    method: Option<Regex>,
    log_only: bool,
    logged: Vec<String>,
}

/// Which of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those who are left alone.
    Whitelist,
    /// Those who are refused or delayed.
    Blacklist,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let before: Option<&dyn Any> = setup.before.map(|hook| -> &dyn Any { hook });
    let before = before.and_then(|hook| hook.downcast_ref::<Throttle>());
    let list = |key: &str, before: Option<&List>| {
        let path = setup.service.value(key).and_then(Value::into_text);
        List::of(path.and_then(|path| path.expand(setup.fill).ok()), before)
    };
    Arc::new(Throttle {
        rules: Rules::of(setup.service),
        whitelist: list("whitelist_file", before.map(|before| &before.whitelist)),
        blacklist: list("blacklist_file", before.map(|before| &before.blacklist)),
        memory: before
            .map(|before| Arc::clone(&before.memory))
            .unwrap_or_default(),
    })
}

impl Rules {
    fn of(service: &Service) -> Self {
        let word = |key: &str| service.value(key).map(|value| value.to_string());
        let seconds = |key: &str| Duration::from_secs(service.number(key));
        Self {
            pace: Pace {
                threshold: seconds("throttle_threshold_seconds"),
                initial_delay: seconds("initial_delay"),
                max_delay: seconds("max_delay"),
                max_concurrent: service.number("max_concurrent"),
                ban_threshold: service.number("ban_threshold"),
                ban_expiration: seconds("ban_expiration"),
            },
            delays_others: word("default_action").as_deref() == Some("throttle"),
            denies_blacklisted: word("blacklist_action").as_deref() == Some("deny"),
            path: options::pattern(service, "path_regex"),
            method: options::pattern(service, "method_regex"),
            log_only: service.flag("log_only"),
            logged: match service.value("log_events") {
                Some(Value::Words(words)) => words.to_vec(),
                _ => Vec::new(),
            },
        }
    }

    /// Whether a request is one of those that may have to wait.
    fn are_about(&self, request: &RequestContext) -> bool {
        let head = request.head();
        let fits = |pattern: &Option<Regex>, text: &[u8]| {
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
        };
        fits(&self.path, head.target()) && fits(&self.method, head.method())
    }

    /// Logs what is wanted to be.
    fn log(&self, event: &str, text: impl FnOnce() -> String) {
        let is_wanted = |wanted: &String| wanted == event || wanted == "all";
        if self.logged.iter().any(is_wanted) {
            tracing::info!("{}", text());
        }
    }
}

impl Hook for Throttle {
    fn points(&self) -> Points {
        Points::of(&[Point::StartProxyRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let facts = request.facts();
        let ip = facts.observed.unwrap_or(facts.peer).to_canonical();
        let outcome = self.judge(ip, request);
        if self.rules.log_only {
            Outcome::Next
        } else {
            outcome
        }
    }
}

fn forbidden() -> Outcome {
    Outcome::Answer(Box::new(Answer::page(403, "Forbidden.\n")))
}

impl Throttle {
    fn judge(&self, ip: IpAddr, request: &mut RequestContext) -> Outcome {
        let rules = &self.rules;
        if self.whitelist.has(ip) {
            rules.log("whitelisted", || format!("Letting whitelisted ip {ip} through"));
            return Outcome::Next;
        }
        let now = Instant::now();
        if self.memory.unban(ip, now) {
            rules.log("unban", || format!("Unbanning {ip}"));
        }
        if self.memory.is_banned(ip, now) {
            rules.log("banned", || format!("Denying banned IP {ip}"));
            return forbidden();
        }
        let is_blacklisted = self.blacklist.has(ip);
        if is_blacklisted && rules.denies_blacklisted {
            rules.log("blacklisted", || format!("Denying blacklisted IP {ip}"));
            return forbidden();
        }
        let Some(in_progress) = self.memory.begin(ip, &rules.pace) else {
            rules.log("concurrent", || {
                format!("Too many concurrent connections from {ip}")
            });
            return forbidden();
        };
        request.attach(Box::new(in_progress));
        if is_blacklisted {
            rules.log("blacklisted", || format!("Throttling blacklisted IP {ip}"));
        } else if !rules.delays_others || !rules.are_about(request) {
            return Outcome::Next;
        }
        self.pace(ip, request, now)
    }

    fn pace(&self, ip: IpAddr, request: &RequestContext, now: Instant) -> Outcome {
        let rules = &self.rules;
        let uri = || String::from_utf8_lossy(request.head().target()).into_owned();
        match self.memory.pace(ip, now, &rules.pace) {
            Verdict::Pass => Outcome::Next,
            Verdict::Wait(time) => {
                let seconds = time.as_secs();
                rules.log("throttled", || {
                    format!("Throttling {ip} for {seconds}: {}", uri())
                });
                Outcome::Wait(time)
            }
            Verdict::Ban => {
                let seconds = rules.pace.ban_expiration.as_secs();
                rules.log("ban", || format!("Banning {ip} for {seconds}s: {}", uri()));
                Outcome::Close
            }
        }
    }
}

/// Reads a list of a service anew on this node.
///
/// # Errors
/// When there is none, or it cannot be read; then the one that there was still holds.
pub fn reload(hook: &dyn Hook, which: Which) -> Result<(), ReloadError> {
    let hook: &dyn Any = hook;
    let Some(throttle) = hook.downcast_ref::<Throttle>() else {
        return Ok(());
    };
    let list = match which {
        Which::Whitelist => &throttle.whitelist,
        Which::Blacklist => &throttle.blacklist,
    };
    list.reload(which)
}

#[cfg(test)]
mod tests;
