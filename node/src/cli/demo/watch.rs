//! The live part: a line whenever something changes.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::DemoError;
use super::nodes::{Fate, Nodes};
use super::screen::Screen;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Follows the fleet until the end, or for ever; tells each change once.
pub(super) async fn follow(
    screen: &Screen,
    nodes: &mut Nodes<'_>,
    end: Option<Instant>,
) -> Result<(), DemoError> {
    let start = Instant::now();
    let mut told = String::new();
    while end.is_none_or(|end| Instant::now() < end) {
        for (number, fate) in nodes.tend()? {
            let text = match fate {
                Fate::Ended => format!("n{number} is gone"),
                Fate::StartedAgain => {
                    let pid = nodes.pid(number).unwrap_or_default();
                    format!("n{number} is started again, pid {pid}")
                }
            };
            screen.event(start.elapsed(), &text);
        }
        if let Some(status) = any_status(nodes).await {
            let summary = summary(&status);
            if summary != told {
                screen.event(start.elapsed(), &summary);
                told = summary;
            }
            screen.live(&requests(&status));
        }
        let rest = end.map_or(LOOK, |end| {
            end.saturating_duration_since(Instant::now()).min(LOOK)
        });
        tokio::time::sleep(rest).await;
    }
    Ok(())
}

/// Of the first node that knows a leader; where none does, of the first that answers. One that has just started
/// knows nobody yet.
async fn any_status(nodes: &Nodes<'_>) -> Option<Value> {
    let mut leaderless = None;
    for number in 1..=nodes.count() {
        if nodes.pid(number).is_none() {
            continue;
        }
        let Some(status) = nodes.status(number).await else {
            continue;
        };
        if status.get("leader").is_some_and(Value::is_string) {
            return Some(status);
        }
        leaderless = leaderless.or(Some(status));
    }
    leaderless
}

/// What is worth a line when it changes: who leads, which version, and each node's state.
fn summary(status: &Value) -> String {
    let text = |value: Option<&Value>| match value.and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => "-".to_owned(),
    };
    let version = status.get("version").and_then(Value::as_u64).unwrap_or_default();
    let quorum = |key| {
        let quorum = status.get("quorum").and_then(|quorum| quorum.get(key));
        quorum.and_then(Value::as_u64).unwrap_or_default()
    };
    let nodes = status.get("nodes").and_then(Value::as_array);
    let members: Vec<String> = nodes
        .into_iter()
        .flatten()
        .map(|node| format!("{} {}", text(node.get("name")), text(node.get("state"))))
        .collect();
    format!(
        "leader {}, version {version}, quorum {}/{}: {}",
        text(status.get("leader")),
        quorum("reachable"),
        quorum("voters"),
        members.join(", ")
    )
}

/// What changes all the time.
fn requests(status: &Value) -> String {
    let nodes = status.get("nodes").and_then(Value::as_array);
    let counts: Vec<String> = nodes
        .into_iter()
        .flatten()
        .filter_map(|node| {
            let name = node.get("name")?.as_str()?;
            let count = node.get("requests_total")?.as_u64()?;
            Some(format!("{name} {count}"))
        })
        .collect();
    format!("requests: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_no_news_but_a_death_is() {
        let status = |state: &str, requests: u64| {
            serde_json::json!({
                "leader": "n1", "version": 4, "quorum": {"voters": 3, "reachable": 3},
                "nodes": [{"name": "n1", "state": state, "requests_total": requests}],
            })
        };
        assert_eq!(
            summary(&status("alive", 1)),
            "leader n1, version 4, quorum 3/3: n1 alive"
        );
        assert_eq!(summary(&status("alive", 1)), summary(&status("alive", 2)));
        assert_ne!(summary(&status("alive", 1)), summary(&status("dead", 1)));
        assert_eq!(requests(&status("alive", 7)), "requests: n1 7");
    }
}
