//! Every command line of fleetbal that stands in the documentation is one that this release takes.

use std::fs;
use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = pages
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages
}

/// The lines of a page's blocks, those that `\` continues as one.
fn commands(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside && (line == "```" || line.starts_with("```sh"));
            continues = false;
        } else if inside {
            let text = line.trim_end_matches('\\').trim().to_owned();
            match lines.last_mut().filter(|_| continues) {
                Some(last) => *last = format!("{last} {text}"),
                None => lines.push(text),
            }
            continues = line.ends_with('\\');
        }
    }
    lines
}

/// The words of the first command of fleetbal in a line, up to where the shell goes on with something else.
fn words(line: &str) -> Option<Vec<String>> {
    let start = line.split(' ').next() == Some("fleetbal");
    let after = [
        "until fleetbal ",
        "(umask 077; fleetbal ",
        "exec n1 /usr/bin/fleetbal ",
        "exec n4 /usr/bin/fleetbal ",
    ];
    let found = after
        .iter()
        .find_map(|lead| line.find(lead).map(|at| at + lead.len()));
    let rest = if start { Some("fleetbal".len()) } else { found }?;
    let mut words = vec!["fleetbal".to_owned(), String::new()];
    let mut quoted = None;
    for c in line.get(rest..)?.chars() {
        let word = words.last_mut()?;
        match (c, quoted) {
            ('\'' | '"', None) => quoted = Some(c),
            (_, Some(quote)) if c == quote => quoted = None,
            // A number right before it belongs to it.
            ('>', None) if word == "2" => {
                word.clear();
                break;
            }
            ('|' | '>' | '&' | ';' | '#' | ')', None) => break,
            (' ', None) => words.push(String::new()),
            _ => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

#[test]
fn takes_commands_apart_as_a_shell_would() {
    let told = |line: &str| words(line).map(|words| words.join("|"));
    assert_eq!(
        told("fleetbal ctl 'a b' > x").as_deref(),
        Some("fleetbal|ctl|a b")
    );
    assert_eq!(
        told("fleetbal cluster status 2> /dev/null").as_deref(),
        Some("fleetbal|cluster|status")
    );
    assert_eq!(
        told("until fleetbal cluster status | grep x; do").as_deref(),
        Some("fleetbal|cluster|status")
    );
    assert_eq!(told("cargo run"), None);
    assert_eq!(commands("```sh\na \\\n  b\n```\nc\n```\nd\n```\n"), ["a b", "d"]);
}

#[test]
fn every_documented_command_line_is_one() {
    let mut found = 0;
    for page in documents() {
        for line in commands(&fs::read_to_string(&page).unwrap()) {
            let Some(words) = words(&line) else { continue };
            found += 1;
            let parsed = super::description().try_get_matches_from(&words);
            let is_help = |error: &clap::Error| !error.use_stderr();
            if let Err(error) = parsed
                && !is_help(&error)
            {
                panic!("{}: {line}\n{words:?}\n{error}", page.display());
            }
        }
    }
    assert!(found > 20, "only {found} command lines were found");
}
