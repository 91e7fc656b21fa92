//! What happened, in a sentence: the events of `/api/v1/events`, and what becomes of the connection itself.

use std::io::{self, BufRead};

use serde_json::Value;

use super::grid::Tone;
use crate::clock;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Happened {
    /// By this machine's clock.
    pub(super) at: String,
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Happened {
    /// Just now.
    pub(super) fn now(text: String, tone: Tone) -> Self {
        let at = clock::local(clock::now().0 / 1000, "%H:%M:%S");
        Self { at, text, tone }
    }
}

/// An event as it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    kind: String,
    data: String,
}

impl Event {
    /// The next event; none at the stream's end.
    pub(super) fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut event = Self::default();
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            let text = line.trim_end_matches(['\r', '\n']);
            match text.split_once(": ") {
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("data", data)) => data.clone_into(&mut event.data),
                _ if text.is_empty() && !event.kind.is_empty() => return Ok(Some(event)),
                // Comments keep the connection alive.
                _ => {}
            }
            line.clear();
        }
        Ok(None)
    }

    /// What it says.
    pub(super) fn told(&self) -> Option<Happened> {
        let data: Value = serde_json::from_str(&self.data).ok()?;
        let text = |key: &str| data.get(key).and_then(Value::as_str);
        let (text, tone) = match self.kind.as_str() {
            "change" => (change(&data), Tone::Plain),
            "health" => {
                let state = text("state")?;
                let reason = text("reason")
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default();
                let told = format!(
                    "backend {} {} is {state}{reason}",
                    text("pool")?,
                    text("backend")?
                );
                (told, Tone::of_state(state))
            }
            "member" => member(&data)?,
            "leader" => match text("leader") {
                Some(leader) => (format!("{leader} leads"), Tone::Plain),
                None => ("nobody leads".to_owned(), Tone::Bad),
            },
            "missed" => ("some events were missed".to_owned(), Tone::Soft),
            _ => return None,
        };
        Some(Happened::now(text, tone))
    }
}

fn change(data: &Value) -> String {
    let number = |key: &str| data.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or("-");
    let more = match number("changes") {
        0 | 1 => String::new(),
        changes => format!(" and {} more", changes - 1),
    };
    format!(
        "version {} at {} by {}: {}{more}",
        number("version"),
        text("node"),
        text("who"),
        text("summary")
    )
}

fn member(data: &Value) -> Option<(String, Tone)> {
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    let state = text("state")?;
    let is_ready = data.get("ready").and_then(Value::as_bool);
    let readiness = match (is_ready, text("not_ready_because")) {
        // Of whoever is dead nobody expects it.
        _ if state != "alive" => String::new(),
        (Some(true), _) => ", ready".to_owned(),
        (_, Some(reason)) => format!(", not ready: {reason}"),
        (Some(false), None) => ", not ready".to_owned(),
        (None, None) => String::new(),
    };
    let role = text("role").map(|role| format!(", {role}")).unwrap_or_default();
    let told = format!("node {} is {state}{role}{readiness}", text("node")?);
    let tone = match (state, is_ready) {
        ("alive", Some(false)) => Tone::Warning,
        _ => Tone::of_state(state),
    };
    Some((told, tone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_in_sentences() {
        let stream = concat!(
            ": events\n\n",
            "id: 7-0\nevent: change\ndata: {\"changes\":2,\"node\":\"n1\",\"summary\":\"POOL web ADD 10.0.0.4:80\",",
            "\"time\":\"2026-11-29T12:02:25Z\",\"version\":4,\"who\":\"10.0.0.9:39404\"}\n\n",
            ": nothing new\n\n",
            "id: 7-1\nevent: health\ndata: {\"pool\":\"web\",\"backend\":\"10.0.0.4:80\",\"state\":\"down\",",
            "\"reason\":\"Connection refused\"}\n\n",
            "event: member\ndata: {\"node\":\"n3\",\"state\":\"dead\",\"role\":\"voter\",\"ready\":false,",
            "\"not_ready_because\":\"dead\"}\n\n",
            "event: member\ndata: {\"node\":\"n2\",\"state\":\"alive\",\"role\":\"voter\",\"ready\":false,",
            "\"not_ready_because\":\"draining\"}\n\n",
            "event: leader\ndata: {\"leader\":null,\"term\":3}\n\n",
            "event: of a later release\ndata: {}\n\n",
            "event: missed\ndata: {}\n\nevent: cut",
        );
        let mut stream = stream.as_bytes();
        let (mut told, mut ids) = (Vec::new(), Vec::new());
        while let Some(event) = Event::read(&mut stream).unwrap() {
            ids.extend(event.id.clone());
            told.extend(event.told().map(|happened| (happened.text, happened.tone)));
        }
        let expected = [
            (
                "version 4 at n1 by 10.0.0.9:39404: POOL web ADD 10.0.0.4:80 and 1 more",
                Tone::Plain,
            ),
            ("backend web 10.0.0.4:80 is down: Connection refused", Tone::Bad),
            ("node n3 is dead, voter", Tone::Bad),
            ("node n2 is alive, voter, not ready: draining", Tone::Warning),
            ("nobody leads", Tone::Bad),
            ("some events were missed", Tone::Soft),
        ];
        assert_eq!(told, expected.map(|(text, tone)| (text.to_owned(), tone)));
        assert_eq!(ids, ["7-0", "7-1"]);
    }
}
