//! What a node answers when it is asked for everything that is shown, read into what the rest works with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cli::client::{ClientError, Server};

/// What the node that is asked knows by itself.
const OWN: [&str; 3] = ["cluster status json", "health", "effects"];

/// What every node has to be asked for: it takes as long as the slowest of them.
const OF_ALL: [&str; 3] = ["fleet sum nodes", "fleet sum backends", "fleet sum queues"];

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody answered.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node did not want to.
    #[error("{0}")]
    Refused(String),
    /// Something else answered, or a release from which this one cannot read.
    #[error("{0} does not answer like a node of fleetbal")]
    NoNode(String),
}

/// The fleet, as `cluster status json` has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Fleet {
    pub(super) cluster: Option<String>,
    /// The node that was asked.
    #[serde(rename = "self")]
    pub(super) own: String,
    pub(super) leader: Option<String>,
    pub(super) version: u64,
    pub(super) quorum: Quorum,
    pub(super) in_sync: bool,
    pub(super) nodes: Vec<Node>,
}

/// Who can decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Quorum {
    pub(super) voters: usize,
    pub(super) reachable: usize,
    pub(super) ok: bool,
    pub(super) tolerates: usize,
}

/// A node of the fleet; what is none is not known.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) role: Option<String>,
    pub(super) ready: Option<bool>,
    pub(super) not_ready_because: Option<String>,
    pub(super) version: Option<u64>,
    pub(super) lag: Option<u64>,
    pub(super) requests_total: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) queued: Option<u64>,
    pub(super) cpu_percent: Option<u64>,
}

/// A line of `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) pool: String,
    pub(super) backend: String,
    /// `up`, `down` or `draining`.
    pub(super) state: String,
    /// Seconds.
    pub(super) since: u64,
    pub(super) reason: Option<String>,
}

/// What all nodes together count of a backend, in whatever pools it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Requests that it answered.
    pub(super) requests: u64,
    /// Connections that were begun, and those that came about.
    pub(super) attempts: u64,
    pub(super) connects: u64,
    /// Of its last answers, how many there are and how many were 5xx.
    pub(super) last: u64,
    pub(super) last_5xx: u64,
    /// Connections that are open.
    pub(super) open: u64,
}

/// What waits for a service's backends, in all nodes together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Queue {
    pub(super) service: String,
    pub(super) high: Waiting,
    pub(super) normal: Waiting,
    pub(super) low: Waiting,
}

/// How many wait, and for how many seconds the first of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Waiting {
    pub(super) count: u64,
    pub(super) seconds: u64,
}

/// What the asked node knows by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Own {
    pub(super) fleet: Fleet,
    pub(super) health: Vec<Health>,
    /// What nodes cannot do of the configuration, a line each.
    pub(super) effects: Vec<String>,
}

/// What all nodes count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfAll {
    pub(super) backends: BTreeMap<String, Counted>,
    pub(super) queues: Vec<Queue>,
}

#[derive(Debug, Deserialize)]
struct Answers {
    results: Vec<LineAnswer>,
}

#[derive(Debug, Deserialize)]
struct LineAnswer {
    #[serde(default)]
    output: Vec<String>,
    error: Option<String>,
}

/// Asks a node for what it knows by itself.
pub(super) fn own(server: &Server) -> Result<Own, AskError> {
    let [status, health, effects] = ask(server, OWN)?;
    let fleet = status.first().and_then(|line| serde_json::from_str(line).ok());
    Ok(Own {
        fleet: fleet.ok_or_else(|| AskError::NoNode(server.name().to_owned()))?,
        health: health.iter().filter_map(|line| read_health(line)).collect(),
        effects: effects.into_iter().skip(1).collect(),
    })
}

/// Asks all nodes for what they count, through one of them.
pub(super) fn of_all(server: &Server) -> Result<OfAll, AskError> {
    let [nodes, backends, queues] = ask(server, OF_ALL)?;
    Ok(OfAll {
        backends: count(&nodes, &backends),
        queues: read_queues(&queues),
    })
}

fn ask<const N: usize>(server: &Server, lines: [&str; N]) -> Result<[Vec<String>; N], AskError> {
    let answer = server.commands(&lines)?;
    if answer.status != 200 {
        return Err(AskError::Refused(answer.text()));
    }
    let no_node = || AskError::NoNode(server.name().to_owned());
    let answers: Answers = serde_json::from_slice(&answer.body).map_err(|_| no_node())?;
    let outputs = answers.results.into_iter().map(|result| match result.error {
        Some(text) => Err(AskError::Refused(text)),
        None => Ok(result.output),
    });
    let outputs: Vec<_> = outputs.collect::<Result<_, _>>()?;
    outputs.try_into().map_err(|_| no_node())
}

/// `POOL ip:port STATE SINCE REASON`.
fn read_health(line: &str) -> Option<Health> {
    let mut words = line.splitn(5, ' ').map(str::to_owned);
    Some(Health {
        pool: words.next()?,
        backend: words.next()?,
        state: words.next()?,
        since: words.next()?.parse().ok()?,
        reason: words.next().filter(|reason| reason != "-"),
    })
}

/// `ip:port KEY FIGURE`, and `ip:port FIGURE` of the connections that are open.
fn count(nodes: &[String], open: &[String]) -> BTreeMap<String, Counted> {
    let mut all: BTreeMap<String, Counted> = BTreeMap::new();
    for line in nodes {
        let words: Vec<_> = line.split(' ').collect();
        let (Some(backend), Some(Ok(figure))) = (words.first(), words.last().map(|last| last.parse::<u64>()))
        else {
            continue;
        };
        let counted = all.entry((*backend).to_owned()).or_default();
        match words.get(1..words.len() - 1) {
            Some(["requests"]) => counted.requests = figure,
            Some(["attempts"]) => counted.attempts = figure,
            Some(["connects"]) => counted.connects = figure,
            Some(["responsecodes", code]) => {
                counted.last += figure;
                counted.last_5xx += if code.starts_with('5') { figure } else { 0 };
            }
            _ => {}
        }
    }
    for line in open {
        if let Some((backend, Ok(figure))) = line.split_once(' ').map(|(name, open)| (name, open.parse())) {
            all.entry(backend.to_owned()).or_default().open = figure;
        }
    }
    all
}

/// `SERVICE-CLASS.count FIGURE` and `SERVICE-CLASS.age FIGURE`.
fn read_queues(lines: &[String]) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for line in lines {
        let Some((service, class, what, figure)) = read_queue(line) else {
            continue;
        };
        if queues.last().is_none_or(|queue| queue.service != service) {
            queues.push(Queue {
                service: service.to_owned(),
                ..Queue::default()
            });
        }
        let waiting = queues.last_mut().and_then(|queue| match class {
            "highpri" => Some(&mut queue.high),
            "normal" => Some(&mut queue.normal),
            "lowpri" => Some(&mut queue.low),
            _ => None,
        });
        match (waiting, what) {
            (Some(waiting), "count") => waiting.count = figure,
            (Some(waiting), "age") => waiting.seconds = figure,
            _ => {}
        }
    }
    queues
}

fn read_queue(line: &str) -> Option<(&str, &str, &str, u64)> {
    let (key, figure) = line.split_once(' ')?;
    let (queue, what) = key.rsplit_once('.')?;
    let (service, class) = queue.rsplit_once('-')?;
    Some((service, class, what, figure.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn health_is_read_with_its_reason() {
        let read = read_health("web 10.0.0.1:80 down 12 Connection refused").unwrap();
        assert_eq!((read.state.as_str(), read.since), ("down", 12));
        assert_eq!(read.reason.as_deref(), Some("Connection refused"));
        assert_eq!(read_health("web 10.0.0.1:80 up 12 -").unwrap().reason, None);
        assert_eq!(read_health("nonsense"), None);
    }

    #[test]
    fn figures_of_backends_come_together() {
        let nodes = "b:1 attempts 5\nb:1 connects 3\nb:1 requests 9\nb:1 responsecodes 200 6\n\
            b:1 responsecodes 503 2\nn3 ERROR: no answer\n\nb:2 lastattempt 100";
        let all = count(&lines(nodes), &lines("b:1 2\nb:3 7\nn3 ERROR: no answer"));
        let expected = Counted {
            requests: 9,
            attempts: 5,
            connects: 3,
            last: 8,
            last_5xx: 2,
            open: 2,
        };
        assert_eq!(all.get("b:1"), Some(&expected));
        assert_eq!(all.get("b:2"), Some(&Counted::default()));
        assert_eq!(all.get("b:3").map(|counted| counted.open), Some(7));
        assert!(!all.contains_key("n3"));
    }

    #[test]
    fn queues_are_told_apart_by_service_and_class() {
        let text = "a-b-normal.age 3\na-b-normal.count 2\na-b-highpri.count 1\nwww-lowpri.age 4\nn3 ERROR: no answer";
        let queue = |service: &str| Queue {
            service: service.to_owned(),
            ..Queue::default()
        };
        let waiting = |count, seconds| Waiting { count, seconds };
        let expected = [
            Queue {
                high: waiting(1, 0),
                normal: waiting(2, 3),
                ..queue("a-b")
            },
            Queue {
                low: waiting(0, 4),
                ..queue("www")
            },
        ];
        assert_eq!(read_queues(&lines(text)), expected);
    }
}
