//! The intended differences, each with an id: what both do and why is in `differences.txt`, and so in the docs. Those
//! that show as a rule have a function here that makes both records even; the others are listed line by line in their
//! exchanges.

use std::fs;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Result, process};

use super::pages;
use super::transcript::{Event, Message, NOW, Transcript};

/// An intended difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What exchanges call it.
    pub(crate) id: String,
    /// What Perlbal does.
    pub(crate) perlbal: String,
    /// What fleetbal does.
    pub(crate) fleetbal: String,
    /// Why.
    pub(crate) why: String,
}

/// All of them, in the order in which they are applied.
///
/// # Errors
/// When a line has not four parts.
pub(crate) fn differences() -> Result<Vec<Difference>> {
    let path = process::workspace().join("cluster-tests/tests/differential/differences.txt");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(read).collect()
}

fn read(line: &str) -> Result<Difference> {
    let mut parts = line.split(" | ").map(str::to_owned);
    let mut next = || parts.next().with_context(|| format!("a part is missing: {line}"));
    let difference = Difference {
        id: next()?,
        perlbal: next()?,
        fleetbal: next()?,
        why: next()?,
    };
    ensure!(parts.next().is_none(), "too many parts: {line}");
    Ok(difference)
}

/// Makes even what the difference is about, in both records; whether there was anything.
fn even_out_one(id: &str, theirs: &mut Transcript, ours: &mut Transcript) -> bool {
    match id {
        "http11-to-backend" => each_request(theirs, ours, version),
        "http11-to-client" => each_response(theirs, ours, version),
        "hop-by-hop-removed" => each_request(theirs, ours, hop_by_hop),
        "hop-by-hop-removed-from-answer" => each_response(theirs, ours, hop_by_hop_answer),
        "repeated-fields-apart" => each_request(theirs, ours, repeated),
        "repeated-fields-apart-in-answer" => each_response(theirs, ours, repeated),
        "trailing-blanks-cut" => each_request(theirs, ours, trailing_blanks),
        "trailing-blanks-cut-in-answer" => each_response(theirs, ours, trailing_blanks),
        "other-reproxy-fields-removed" => each_response(theirs, ours, other_reproxy_fields),
        "cached-fields-in-order" => each_response(theirs, ours, cached_fields),
        "reproxied-fields-last" => each_response(theirs, ours, reproxied_fields),
        "own-fields-last" => each_request(theirs, ours, own_fields),
        "own-fields-last-in-answer" => each_response(theirs, ours, own_fields),
        "keep-alive-without-max" => each_response(theirs, ours, keep_alive_max),
        "etag" => each_response(theirs, ours, etag),
        "server-name" => each_response(theirs, ours, server_name),
        "length-in-order" => each_response(theirs, ours, length_in_order),
        "page-text" => each_response(theirs, ours, pages::even_out),
        "error-says-close" => each_response(theirs, ours, pages::promise),
        _ => match id.split_once('-') {
            Some(("silence", status)) => pages::silence(status, theirs, ours),
            Some(("refused", status)) => pages::refused(status, theirs, ours),
            _ => false,
        },
    }
}

/// Makes even what those of `all` are about that are `wanted`; those that had something to do.
pub(crate) fn even_out(
    all: &[Difference],
    wanted: impl Fn(&str) -> bool,
    theirs: &mut Transcript,
    ours: &mut Transcript,
) -> Vec<String> {
    let mut shown = Vec::new();
    for difference in all.iter().filter(|difference| wanted(&difference.id)) {
        if even_out_one(&difference.id, theirs, ours) {
            shown.push(difference.id.clone());
        }
    }
    shown
}

/// Applies a rule to each pair of requests.
fn each_request(
    theirs: &mut Transcript,
    ours: &mut Transcript,
    rule: fn(&mut Message, &mut Message) -> bool,
) -> bool {
    let mut any = false;
    for (theirs, ours) in theirs.requests.iter_mut().zip(&mut ours.requests) {
        let (theirs, ours) = (&mut theirs.message, &mut ours.message);
        any = is_pair(theirs, ours) && rule(theirs, ours) || any;
    }
    any
}

/// Whether they are the same request: method and target.
fn is_pair(theirs: &Message, ours: &Message) -> bool {
    let what = |message: &Message| message.line.rsplit_once(' ').map(|(what, _)| what.to_owned());
    what(theirs) == what(ours)
}

/// Applies a rule to each pair of responses.
fn each_response(
    theirs: &mut Transcript,
    ours: &mut Transcript,
    rule: fn(&mut Message, &mut Message) -> bool,
) -> bool {
    let clients = theirs.clients.iter_mut().zip(&mut ours.clients);
    let pairs = clients.flat_map(|(theirs, ours)| theirs.events.iter_mut().zip(&mut ours.events));
    let mut any = false;
    for (theirs, ours) in pairs {
        if let (Event::Response(theirs), Event::Response(ours)) = (theirs, ours) {
            any = theirs.status() == ours.status() && rule(theirs, ours) || any;
        }
    }
    any
}

fn version(theirs: &mut Message, ours: &mut Message) -> bool {
    let is_so = theirs.line.contains("HTTP/1.0") && ours.line.contains("HTTP/1.1");
    if is_so {
        ours.line = ours.line.replacen("HTTP/1.1", "HTTP/1.0", 1);
    }
    is_so
}

/// Names of the corpus that begin so are named by a `Connection` field.
const NAMED: &str = "x-hop";

fn hop_by_hop(theirs: &mut Message, ours: &mut Message) -> bool {
    without(theirs, ours, &["te", "keep-alive", "upgrade", "proxy-connection"])
}

fn hop_by_hop_answer(theirs: &mut Message, ours: &mut Message) -> bool {
    without(theirs, ours, &["upgrade", "proxy-connection"])
}

/// Leaves out what only Perlbal passes on.
fn without(theirs: &mut Message, ours: &Message, names: &[&str]) -> bool {
    let before = theirs.fields.len();
    theirs.fields.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        let is_hop = names.contains(&name.as_str()) || name.starts_with(NAMED);
        !is_hop || ours.field(&name).is_some()
    });
    theirs.fields.len() != before
}

/// Merges fields of one name; cookies of answers stay apart, one behind the other.
fn repeated(_: &mut Message, ours: &mut Message) -> bool {
    let mut merged: Vec<(String, String)> = Vec::new();
    for (name, value) in &ours.fields {
        let is_known = |(known, _): &(String, String)| known.eq_ignore_ascii_case(name);
        let last = merged.iter().rposition(is_known);
        match last {
            Some(at) if name.eq_ignore_ascii_case("set-cookie") => {
                merged.insert(at + 1, (name.clone(), value.clone()));
            }
            Some(_) => {
                if let Some((_, known)) = merged.iter_mut().find(|field| is_known(field)) {
                    *known = format!("{known}, {value}");
                }
            }
            None => merged.push((name.clone(), value.clone())),
        }
    }
    let did = merged != ours.fields;
    ours.fields = merged;
    did
}

fn trailing_blanks(theirs: &mut Message, _: &mut Message) -> bool {
    let mut did = false;
    for (_, value) in &mut theirs.fields {
        let cut = value.trim_end_matches([' ', '\\', 't']);
        // `\t` is shown with two characters; a value that ends in one of them alone stays.
        if value.ends_with(' ') || value.ends_with(r"\t") {
            *value = cut.to_owned();
            did = true;
        }
    }
    did
}

/// Leaves out what only Perlbal's side shows of the fields that are for the proxy.
fn other_reproxy_fields(theirs: &mut Message, ours: &mut Message) -> bool {
    let before = theirs.fields.len();
    theirs.fields.retain(|(name, _)| {
        !name.to_ascii_lowercase().starts_with("x-reproxy-") || ours.field(name).is_some()
    });
    theirs.fields.len() != before
}

/// Only what the proxy put together from its cache has a `Date` of now. Perlbal's order is another each time.
fn cached_fields(theirs: &mut Message, ours: &mut Message) -> bool {
    let is_cached = |message: &Message| message.field("date") == Some(NOW);
    let both = is_cached(theirs) && is_cached(ours);
    if both {
        for message in [theirs, ours] {
            message.fields.sort();
        }
    }
    both
}

fn reproxied_fields(theirs: &mut Message, ours: &mut Message) -> bool {
    last(
        theirs,
        ours,
        &["Accept-Ranges", "Content-Range", "Content-Length"],
    )
}

fn etag(theirs: &mut Message, ours: &mut Message) -> bool {
    let is_told = ours.field("etag").is_some() && theirs.field("etag").is_none();
    if is_told {
        ours.fields.retain(|(name, _)| name != "ETag");
    }
    is_told
}

/// Of what is no page.
fn server_name(theirs: &mut Message, ours: &mut Message) -> bool {
    let is_so = theirs.field("server") == Some("Perlbal") && ours.field("server") == Some("fleetbal");
    for (_, value) in ours
        .fields
        .iter_mut()
        .filter(|(name, _)| is_so && name == "Server")
    {
        "Perlbal".clone_into(value);
    }
    is_so
}

fn length_in_order(theirs: &mut Message, ours: &mut Message) -> bool {
    last(theirs, ours, &["Content-Length"])
}

const OWN: [&str; 4] = [
    "Connection",
    "Keep-Alive",
    "X-Forwarded-For",
    "X-Proxy-Capabilities",
];

fn own_fields(theirs: &mut Message, ours: &mut Message) -> bool {
    last(theirs, ours, &OWN)
}

/// Puts fields to the end, in one order and spelling; whether they stood elsewhere on one side.
fn last(theirs: &mut Message, ours: &mut Message, last: &[&str]) -> bool {
    let names =
        |message: &Message| -> Vec<String> { message.fields.iter().map(|(name, _)| name.clone()).collect() };
    let differ = names(theirs) != names(ours);
    for message in [theirs, ours] {
        for own in last {
            let of_it = |(name, _): &(String, String)| name.eq_ignore_ascii_case(own);
            let (own_fields, mut fields): (Vec<_>, Vec<_>) = message.fields.drain(..).partition(of_it);
            fields.extend(
                own_fields
                    .into_iter()
                    .map(|(_, value)| ((*own).to_owned(), value)),
            );
            message.fields = fields;
        }
    }
    differ
}

fn keep_alive_max(theirs: &mut Message, _: &mut Message) -> bool {
    let mut did = false;
    for (_, value) in theirs.fields.iter_mut().filter(|(name, _)| name == "Keep-Alive") {
        if let Some(cut) = value.strip_suffix(", max=100") {
            *value = cut.to_owned();
            did = true;
        }
    }
    did
}
