//! `docs/reference.md`: written from the tables in the code, so that it cannot say anything else.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Arg;
use fleetbal_raft::model::{Kind, Scope, TUNABLES, Tunable};
use regex::Regex;

use crate::cli;
use crate::manage::parse::COMMANDS;

const HEAD: &str = "# Reference\n\nWritten from the code by `FLEETBAL_WRITE_DOCS=1 cargo test --workspace --lib -- reference`; \
                    a test fails where it says\nanything else.\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A cell of a table: one line, and no end of the cell.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn code(text: impl AsRef<str>) -> String {
    format!("`{}`", text.as_ref())
}

fn told(arg: &Arg) -> String {
    cell(&arg.get_help().map(ToString::to_string).unwrap_or_default())
}

fn values(arg: &Arg) -> String {
    let takes = arg.get_action().takes_values();
    let names = arg.get_value_names().filter(|_| takes).unwrap_or_default();
    names.iter().fold(String::new(), |text, name| text + " " + name)
}

fn flags(out: &mut String) {
    out.push_str("\n## Flags of a node\n\nA flag beats its variable, a variable beats the line `CLUSTER key = value` of the config file.\n\n");
    out.push_str("| flag | variable | meaning |\n| --- | --- | --- |\n");
    let command = cli::description();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(long) = arg.get_long() else { continue };
        let variable = arg
            .get_env()
            .map(|name| code(name.to_string_lossy()))
            .unwrap_or_default();
        let flag = code(format!("--{long}{}", values(arg)));
        writeln!(out, "| {} | {variable} | {} |", cell(&flag), told(arg)).unwrap();
    }
}

fn subcommands(out: &mut String, command: &clap::Command, lead: &str) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("{lead} {}", sub.get_name());
        if sub.has_subcommands() {
            subcommands(out, sub, &name);
            continue;
        }
        let own: Vec<_> = sub
            .get_arguments()
            .filter(|arg| !arg.is_hide_set() && !arg.is_global_set())
            .collect();
        let spelled = own.iter().fold(name, |text, arg| {
            let text = text + " ";
            match arg.get_long() {
                Some(long) => text + &format!("[--{long}{}]", values(arg)),
                None => text + &arg.get_id().as_str().to_uppercase(),
            }
        });
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "| {} | {} |", cell(&code(spelled)), cell(&about)).unwrap();
    }
}

fn commands(out: &mut String) {
    out.push_str("\n## Command lines\n\nThose that ask a node take `--server IP:PORT` (`FLEETBAL_SERVER`) and `--token-file FILE`.\n\n");
    out.push_str("| command | meaning |\n| --- | --- |\n");
    subcommands(out, &cli::description(), "fleetbal");
    out.push_str("\n## Management commands\n\n`help` prints them; [parity](parity.md) and the [handbook](handbook.md) tell of each.\n\n");
    out.push_str(&COMMANDS.map(code).join(", "));
    out.push('\n');
}

fn kind(kind: Kind) -> String {
    if let Kind::OneOf(words) = kind {
        return words.join(", ");
    }
    if let Kind::SomeOf(words) = kind {
        return format!("some of {}", words.join(", "));
    }
    let words = [
        (Kind::Bool, "on, off"),
        (Kind::Int, "number"),
        (Kind::Size, "bytes, `k` or `m`"),
    ];
    let known = words.iter().find(|(known, _)| *known == kind);
    known.map_or_else(
        || format!("{kind:?}").to_lowercase(),
        |(_, word)| (*word).to_owned(),
    )
}

fn scope(tunable: &Tunable) -> String {
    match tunable.scope {
        Scope::Every => "every".to_owned(),
        Scope::Only(role) => role.to_string(),
    }
}

fn tunables(out: &mut String) {
    out.push_str("\n## Tunables of services\n\n`SET service.name = value`.\n\n");
    out.push_str("| tunable | role | value | default | meaning |\n| --- | --- | --- | --- | --- |\n");
    for tunable in TUNABLES {
        let (name, value) = (code(tunable.key), kind(tunable.kind));
        let default = tunable.default.map(code).unwrap_or_default();
        writeln!(
            out,
            "| {name} | {} | {} | {default} | {} |",
            scope(tunable),
            cell(&value),
            cell(tunable.help)
        )
        .unwrap();
    }
}

/// All sources of the product, without tests.
fn sources() -> Vec<String> {
    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                below(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !name.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for part in ["node/src", "raft/src"] {
        below(&root().join(part), &mut found);
    }
    found.sort();
    let read = found.iter().map(|path| fs::read_to_string(path).unwrap());
    read.map(|text| text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned())
        .collect()
}

/// A literal as it is printed: a line that `\` continues is one.
fn literal(text: &str) -> String {
    let continued = Regex::new(r"\\\n\s*").unwrap();
    cell(&continued.replace_all(text, "").replace("\\\"", "\""))
}

fn metrics(out: &mut String) {
    out.push_str("\n## Metrics\n\n`/metrics` on a management port, or on `--metrics`.\n\n| metric | kind | meaning |\n| --- | --- | --- |\n");
    let family =
        Regex::new(r#"\.family\(\s*"([a-z_]+)",\s*Kind::([A-Za-z]+),\s*"((?:[^"\\]|\\[\s\S])*)""#).unwrap();
    let mut rows = BTreeSet::new();
    for source in sources() {
        for found in family.captures_iter(&source) {
            let kind = found[2].to_lowercase();
            rows.insert(format!(
                "| {} | {kind} | {} |",
                code(&found[1]),
                literal(&found[3])
            ));
        }
    }
    assert!(rows.len() > 10, "{rows:?}");
    out.extend(rows.into_iter().map(|row| row + "\n"));
}

fn log_lines(out: &mut String) {
    out.push_str("\n## Lines of the log\n\nOn standard error, `--log-format` and `--log-level` say how; what stands in `{}` is filled in.\n\n");
    out.push_str("| level | line |\n| --- | --- |\n");
    let call = Regex::new(r#"tracing::(error|warn|info)!\(([^"]*)"((?:[^"\\]|\\[\s\S])*)""#).unwrap();
    let mut rows = BTreeSet::new();
    for source in sources() {
        for found in call.captures_iter(&source) {
            rows.insert(format!("| {} | {} |", &found[1], literal(&found[3])));
        }
    }
    assert!(rows.len() > 30, "{rows:?}");
    out.extend(rows.into_iter().map(|row| row + "\n"));
}

#[test]
fn reference_says_what_the_code_does() {
    let mut wanted = HEAD.to_owned();
    for part in [flags, commands, tunables, metrics, log_lines] {
        part(&mut wanted);
    }
    let path = root().join("docs/reference.md");
    if std::env::var_os("FLEETBAL_WRITE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = wanted
        .lines()
        .zip(found.lines())
        .find(|(wanted, found)| wanted != found);
    assert!(
        wanted == found,
        "docs/reference.md is not what the code says (first: {differs:?}); run\n  \
         FLEETBAL_WRITE_DOCS=1 cargo test --workspace --lib -- reference\nand commit the file"
    );
}
