//! The layers of `docs/ARCHITECTURE.md`: nothing uses what is above it, and the data plane has never heard of
//! consensus, gossip or command lines.

#![expect(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up. A module may use its own layer and those before it.
const LAYERS: [&[&str]; 5] = [
    &[
        "clock",
        "command_words",
        "daemon",
        "files",
        "os_error",
        "os_settings",
        "priority",
        "http",
        "balance",
        "health",
        "plugin",
        "snapshot",
        "lifecycle",
        "service_manager",
        "sockets",
        "nodefile",
        "tls",
    ],
    &[
        "monitor",
        "access_log",
        "handover",
        "reproxy",
        "upload",
        "upstream",
    ],
    &["role", "listen", "workers"],
    &[
        "gossip",
        "cluster_port",
        "checks",
        "effects",
        "manage",
        "settings",
    ],
    &["boot", "cli"],
];

/// The data plane: of the replicated state it sees the model alone.
const DATA_PLANE: [&str; 14] = [
    "access_log",
    "files",
    "http",
    "plugin",
    "balance",
    "health",
    "snapshot",
    "tls",
    "reproxy",
    "upload",
    "upstream",
    "role",
    "listen",
    "workers",
];

/// What the data plane may see of the replicated part.
const IN_DATA_PLANE: [&str; 2] = ["fleetbal_raft::model", "fleetbal_raft::seal"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module of the crate's top level that a file belongs to, and whether the file is there for tests only.
fn place(root: &Path, file: &Path) -> (String, bool) {
    let inside = file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    let module = inside
        .split('/')
        .next()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned();
    let for_tests = ["test", "fixture"].iter().any(|word| inside.contains(word));
    (module, for_tests)
}

/// The modules that follow `crate::` in a line.
fn used(line: &str) -> impl Iterator<Item = &str> {
    let after = line.split("crate::").skip(1);
    after.filter_map(|rest| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
    })
}

#[test]
fn nothing_uses_what_is_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in files {
        let (module, for_tests) = place(&root, &file);
        if for_tests || matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no layer; give it one"));
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for other in used(line).filter(|other| *other != module) {
                checked += 1;
                let upward = layer(other).is_none_or(|other| other > own);
                if upward {
                    wrong.push(format!("{}: {module} uses {other}: {line}", file.display()));
                }
            }
            let rest = IN_DATA_PLANE
                .iter()
                .fold(line.to_owned(), |line, seen| line.replace(seen, ""));
            if DATA_PLANE.contains(&module.as_str()) && rest.contains("fleetbal_raft") {
                wrong.push(format!(
                    "{}: the data plane sees the model, and what opens sealed keys, alone: {line}",
                    file.display()
                ));
            }
        }
    }
    assert!(checked > 50, "only {checked} uses found: is the search broken?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
