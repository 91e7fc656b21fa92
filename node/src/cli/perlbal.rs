//! Perlbal's own options as its users write them: one dash or two, and no more letters than it takes.

use std::ffi::OsString;

/// Perlbal's options.
const OPTIONS: [&str; 4] = ["config", "daemon", "help", "version"];

/// The arguments with Perlbal's options written in full. What stands behind a subcommand's name is left as it is.
pub(super) fn in_full(arguments: Vec<OsString>, subcommands: &[String]) -> Vec<OsString> {
    let mut is_over = false;
    let expand = |argument: OsString| {
        let text = argument.to_str().unwrap_or_default();
        is_over |= text == "--" || subcommands.iter().any(|name| name == text);
        if is_over {
            return argument;
        }
        match option(text) {
            Some(full) => full.into(),
            None => argument,
        }
    };
    let mut arguments = arguments.into_iter();
    let program = arguments.next();
    program.into_iter().chain(arguments.map(expand)).collect()
}

/// One of Perlbal's, with its value where that is behind an equals sign.
fn option(text: &str) -> Option<String> {
    let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    let full = OPTIONS
        .iter()
        .find(|full| !name.is_empty() && full.starts_with(name))?;
    Some(match value {
        Some(value) => format!("--{full}={value}"),
        None => format!("--{full}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perlbals_options_in_any_form() {
        let read = |line: &str| {
            let arguments = line.split(' ').map(OsString::from).collect();
            let full = in_full(arguments, &["ctl".to_owned()]);
            let words: Vec<_> = full.iter().map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        };
        assert_eq!(read("fleetbal -c FILE -d"), "fleetbal --config FILE --daemon");
        assert_eq!(read("fleetbal -conf=a=b --dae"), "fleetbal --config=a=b --daemon");
        assert_eq!(read("fleetbal --v"), "fleetbal --version");
        assert_eq!(
            read("fleetbal --check --data-dir d --cl x"),
            "fleetbal --check --data-dir d --cl x"
        );
        assert_eq!(read("fleetbal -V"), "fleetbal -V");
        assert_eq!(read("fleetbal ctl -c --v"), "fleetbal ctl -c --v");
    }
}
