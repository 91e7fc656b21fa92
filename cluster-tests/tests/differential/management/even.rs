//! What no two processes have in common, made even in their answers: addresses, ids of processes, descriptors, times and
//! ports that the system chose. Figures of the process itself count only by their form.

use crate::text::Places;

/// Commands whose figures are the process's own: each number is `N`.
const OWN_FIGURES: [&str; 4] = ["proc", "uptime", "version", "fd"];

/// Those whose lines have no order: by descriptor, of which no two programs have the same; or as Perl's hashes have them,
/// which is another order in each process.
const UNORDERED: [&str; 4] = ["socks", "queues", "nodes", "node"];

/// What Perlbal's `help` lists.
pub(super) const LISTED: [&str; 40] = [
    "aio",
    "backends",
    "create",
    "default",
    "disable",
    "dumpconfig",
    "enable",
    "fd",
    "gladiator",
    "header",
    "help",
    "leaks",
    "load",
    "mime",
    "node",
    "nodes",
    "noverify",
    "obj",
    "pending",
    "plugins",
    "pool",
    "proc",
    "prof",
    "queues",
    "reload",
    "reproxy_state",
    "server",
    "set",
    "show",
    "shutdown",
    "socks",
    "state",
    "states",
    "track",
    "unload",
    "uptime",
    "use",
    "varsize",
    "verbose",
    "version",
];

/// A number of so many digits is a time since the epoch.
const EPOCH: usize = 10;

/// Makes one answer even.
pub(crate) fn even(line: &str, answer: Vec<String>, places: &Places, pid: u32) -> Vec<String> {
    let command = line.split(' ').next().unwrap_or_default();
    let mut lines: Vec<_> = answer
        .into_iter()
        .map(|text| one(command, &text, places, pid))
        .collect();
    if UNORDERED.contains(&command) {
        lines.sort();
    }
    if command == "dumpconfig" {
        // Pools, then services, each with an empty line behind it: theirs in the order of a hash.
        let mut objects: Vec<_> = lines.split(String::is_empty).map(<[_]>::to_vec).collect();
        objects.sort();
        lines = objects.concat();
    }
    if command == "states" {
        // Connections that have ended stay for a moment.
        lines.retain(|line| !line.contains(" closed "));
    }
    if command == "help" {
        // Ours lists commands of its own as well.
        lines.retain(|line| line == "." || LISTED.contains(&line.as_str()));
    }
    lines
}

fn one(command: &str, text: &str, places: &Places, pid: u32) -> String {
    let mut text = text.to_owned();
    // Long ones first: a backend's address begins with the same numbers as another's.
    for name in ["dir", "b1", "own"] {
        if let Some(place) = places.get(name) {
            text = text.replace(place.as_str(), &format!("{{{name}}}"));
        }
    }
    if text.contains("{b1}") {
        // Columns are as wide as addresses are long.
        text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if text.starts_with("ERROR") {
        // Behind it: where this installation has looked.
        return match text.split_once(" in @INC") {
            Some((before, _)) => format!("{before} in @INC"),
            None => text,
        };
    }
    if OWN_FIGURES.contains(&command) {
        return numbers(&text, |_| Some("N"));
    }
    let pid = pid.to_string();
    text = numbers(&text, |number| {
        if number == pid {
            Some("PID")
        } else if number.len() == EPOCH {
            Some("TIME")
        } else {
            None
        }
    });
    if command == "socks" {
        text = socket(&text);
    }
    text
}

/// Replaces numbers (with decimals) by what `name` calls them.
fn numbers(text: &str, name: impl Fn(&str) -> Option<&'static str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = from.find(|c| !is_number(c)).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(name(number).unwrap_or(number));
        rest = after;
    }
    out + rest
}

/// A row of `socks`: what the system chose is left out.
fn socket(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>();
    let [descriptor, age, rest @ ..] = words.as_slice() else {
        return text.to_owned();
    };
    let is_row = age.ends_with('s') && age.trim_end_matches('s').parse::<u64>().is_ok();
    if !is_row || descriptor.parse::<u64>().is_err() {
        return text.to_owned();
    }
    let mut out = vec!["FD".to_owned(), "AGE".to_owned()];
    let mut before = "";
    for word in rest {
        out.push(match *word {
            // A client's own end.
            word if before == "to" && word.starts_with("127.0.0.1:") => "CLIENT".to_owned() + tail(word),
            word if word.starts_with("localport=") && word != "localport=8080;" => {
                "localport=PORT;".to_owned()
            }
            word if word.starts_with("client=") => "client=FD;".to_owned(),
            word => word.to_owned(),
        });
        before = word;
    }
    out.join(" ")
}

/// A colon or semicolon that ends a word.
fn tail(word: &str) -> &str {
    let end = word.trim_end_matches([':', ';']).len();
    word.get(end..).unwrap_or_default()
}
