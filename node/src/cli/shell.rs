//! `fleetbal ctl` without a command: a shell on one management connection, with editing, history, completion and help
//! where it is used by hand, and plain lines in and out where it is not.

mod complete;
mod history;
mod talk;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::client::{Answer, ClientError, Server, print_lines, report};
use super::exit;
use crate::manage::manual;
use complete::{Helper, Names};
use talk::Talk;

/// Commands that may change which names there are.
const RENAMING: [&str; 6] = ["create", "commit", "config", "cluster", "load", "unload"];

/// Runs the shell to its end: by `quit`, end of input, or a node that is gone.
pub(super) fn run(server: &Server) -> ExitCode {
    let outcome = if io::stdin().is_terminal() {
        by_hand(server)
    } else {
        by_script(server)
    };
    outcome.unwrap_or_else(|error| report(&error))
}

/// Each line in turn; what was refused does not end it, but its exit code tells.
fn by_script(server: &Server) -> Result<ExitCode, ClientError> {
    let mut talk = server.talk()?;
    let mut refused = false;
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match local(&line) {
            Some(Said::End) => break,
            Some(Said::Nothing) => {}
            Some(Said::Text(text)) => print_lines(&text),
            None => refused |= !answer(&mut talk, &line, Colours(false))?,
        }
    }
    Ok(ExitCode::from(if refused { exit::FAILED } else { 0 }))
}

fn by_hand(server: &Server) -> Result<ExitCode, ClientError> {
    let mut talk = server.talk()?;
    let colours = Colours::of_terminal();
    let mut editor = match editor(colours) {
        Ok(editor) => editor,
        Err(error) => {
            eprintln!("fleetbal: no line editing: {error}");
            return by_script(server);
        }
    };
    let history = history::path();
    if let Some(path) = &history {
        // There is none at first.
        drop(editor.load_history(path));
    }
    name(&mut editor, &mut talk)?;
    let prompt = format!("{}> ", server.name());
    println!(
        "fleetbal {}; `help` lists the commands, `quit` ends",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            // What was typed is given up, and not the shell.
            Err(ReadlineError::Interrupted) => continue,
            Err(_) => break,
        };
        history::add(&mut editor, &line);
        match local(&line) {
            Some(Said::End) => break,
            Some(Said::Nothing) => {}
            Some(Said::Text(text)) => print_lines(&text),
            None => {
                answer(&mut talk, &line, colours)?;
                if first_word(&line).is_some_and(|word| RENAMING.contains(&word.as_str())) {
                    name(&mut editor, &mut talk)?;
                }
            }
        }
    }
    if let Some(path) = &history {
        history::save(&mut editor, path);
    }
    Ok(ExitCode::SUCCESS)
}

fn editor(colours: Colours) -> rustyline::Result<Editor<Helper, FileHistory>> {
    let config = Config::builder().auto_add_history(false).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Helper::new(colours.0)));
    Ok(editor)
}

/// Asks the fleet which names there are.
fn name(editor: &mut Editor<Helper, FileHistory>, talk: &mut Talk) -> Result<(), ClientError> {
    let names = Names::ask(talk)?;
    if let Some(helper) = editor.helper_mut() {
        helper.names = names;
    }
    Ok(())
}

/// What the shell answers itself.
enum Said {
    End,
    Nothing,
    Text(Vec<String>),
}

fn first_word(line: &str) -> Option<String> {
    line.split_whitespace().next().map(str::to_ascii_lowercase)
}

fn local(line: &str) -> Option<Said> {
    let typed = line.split('#').next().unwrap_or_default();
    let words: Vec<_> = typed.split_whitespace().map(str::to_ascii_lowercase).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Some(Said::Nothing),
        ["quit" | "exit"] => Some(Said::End),
        // Where success is silent, the end of an answer cannot be seen.
        ["verbose", "off"] => Some(Said::Text(vec!["always on in this shell".to_owned()])),
        ["help", name] => Some(Said::Text(help(name))),
        _ => None,
    }
}

/// What a command does.
pub(super) fn help(name: &str) -> Vec<String> {
    match manual::find(name) {
        None => vec![format!("there is no command '{name}'; `help` lists all")],
        Some(page) => {
            let forms = page.forms.iter().map(|form| format!("  {form}"));
            forms.chain([page.what.to_owned()]).collect()
        }
    }
}

/// Sends a line and prints its answer; whether it was not refused.
fn answer(talk: &mut Talk, line: &str, colours: Colours) -> Result<bool, ClientError> {
    match talk.ask(line)? {
        Answer::Lines(lines) => {
            print_lines(&lines);
            Ok(true)
        }
        Answer::Refused(text) => {
            // Whoever read it may have gone.
            drop(writeln!(
                io::stderr(),
                "{}",
                colours.red(&format!("ERROR: {text}"))
            ));
            Ok(false)
        }
    }
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
struct Colours(bool);

impl Colours {
    /// On a terminal, unless its user says otherwise (<https://no-color.org>).
    fn of_terminal() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!unwanted && io::stdout().is_terminal() && io::stderr().is_terminal())
    }

    fn red(self, text: &str) -> String {
        if self.0 {
            format!("\x1b[31m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lines_never_leave_the_shell() {
        let text = |line| match local(line) {
            Some(Said::Text(text)) => text.join("\n"),
            Some(Said::End) => "end".to_owned(),
            Some(Said::Nothing) => "nothing".to_owned(),
            None => "sent".to_owned(),
        };
        assert_eq!(text("  # a comment"), "nothing");
        assert_eq!(text("QUIT"), "end");
        assert_eq!(text("help"), "sent");
        assert!(text("help create").contains("CREATE POOL NAME"));
        assert!(text("help nonsense").contains("there is no command 'nonsense'"));
        assert_eq!(text("verbose on"), "sent");
    }
}
