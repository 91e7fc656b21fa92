//! Pages that the two programs make themselves, and silences where fleetbal has a page.

use super::transcript::{Event, Message, Transcript};

/// Whether it is such a page; of which one without `Server` cannot be told but by its body.
fn is_own(message: &Message, server: &str) -> bool {
    let start = format!("\"<h1>{}", message.status());
    message.field("content-type") == Some("text/html")
        && message.field("server").is_none_or(|value| value == server)
        && (message.body.is_empty() || message.body.starts_with(&start))
}

/// Two pages of the same status, with or without a body both, differ in their words alone.
pub(crate) fn even_out(theirs: &mut Message, ours: &mut Message) -> bool {
    let same = is_own(theirs, "Perlbal")
        && is_own(ours, "fleetbal")
        && theirs.status() == ours.status()
        && theirs.field("server").is_some() == ours.field("server").is_some()
        && theirs.body.is_empty() == ours.body.is_empty();
    if !same {
        return false;
    }
    for message in [theirs, ours] {
        message.line = format!("HTTP/1.0 {} (its reason)", message.status());
        "(its words)".clone_into(&mut message.body);
        for (name, value) in &mut message.fields {
            match name.as_str() {
                "Content-Length" => "(its length)".clone_into(value),
                "Server" => "(its name)".clone_into(value),
                _ => {}
            }
        }
    }
    true
}

/// An error that promises what does not come.
pub(crate) fn promise(theirs: &mut Message, ours: &mut Message) -> bool {
    let promised = theirs.status() == "400"
        && theirs.field("connection") == Some("keep-alive")
        && ours.field("connection") == Some("close");
    if promised {
        theirs.fields.retain(|(name, _)| name != "Keep-Alive");
        for (_, value) in theirs.fields.iter_mut().filter(|(name, _)| name == "Connection") {
            "close".clone_into(value);
        }
    }
    promised
}

/// Where one client gets nothing, and the other a page of that status: the same, but for the page.
pub(crate) fn silence(status: &str, theirs: &mut Transcript, ours: &mut Transcript) -> bool {
    let mut any = false;
    for (theirs, ours) in theirs.clients.iter_mut().zip(&mut ours.clients) {
        let at = theirs
            .events
            .iter()
            .position(|event| *event == Event::ClosedUnanswered);
        let Some(at) = at else { continue };
        let Some(Event::Response(page)) = ours.events.get(at) else {
            continue;
        };
        if page.status() != status || !is_own(page, "fleetbal") {
            continue;
        }
        // What it says of the connection must be what becomes of it.
        let promised = match page.field("connection") {
            Some("close") => Event::Closed,
            _ => Event::Open,
        };
        if ours.events.get(at + 1) == Some(&promised) {
            any = true;
            drop(ours.events.drain(at..at + 2));
            theirs.events.remove(at);
        }
    }
    any
}

/// Where Perlbal passes a request on, or says something else, and fleetbal answers with a page of that status and
/// closes: both the same.
pub(crate) fn refused(status: &str, theirs: &mut Transcript, ours: &mut Transcript) -> bool {
    let ([their_client], [client]) = (theirs.clients.as_mut_slice(), ours.clients.as_mut_slice()) else {
        return false;
    };
    let [Event::Response(page), Event::Closed] = client.events.as_slice() else {
        return false;
    };
    let is_other = match their_client.events.first() {
        Some(Event::Response(answer)) => answer.status() != status,
        _ => false,
    };
    let is_refused = page.status() == status
        && is_own(page, "fleetbal")
        && page.field("connection") == Some("close")
        && is_other
        && ours.requests.is_empty();
    if is_refused {
        theirs.requests.clear();
        their_client.events.clear();
        client.events.clear();
    }
    is_refused
}
