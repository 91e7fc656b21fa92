//! The talks, read from their file.

use std::fs;

use anyhow::{Context, bail};
use fleetbal_cluster_tests::Result;

use crate::text::Places;

/// Where both sides listen for what is typed.
pub(crate) const MANAGEMENT: u16 = 60000;
/// Where both sides listen for requests.
pub(crate) const TRAFFIC: u16 = 8080;

/// What is typed at two processes, and what is done around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Talk {
    pub(crate) name: String,
    pub(crate) config: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Type(Typed),
    Get(String),
    Keep(String),
    Hold(String),
}

/// A line, and what is known of its answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    pub(crate) line: String,
    /// Lines of Perlbal's answer.
    pub(crate) facts: Vec<String>,
    /// Why the answers differ.
    pub(crate) why: Option<String>,
    /// How they do.
    pub(crate) rest: Vec<String>,
}

/// All talks.
///
/// # Errors
/// When a line of the file cannot be read.
pub(crate) fn read() -> Result<Vec<Talk>> {
    let text = fs::read_to_string(super::file())?;
    let mut talks: Vec<Talk> = Vec::new();
    let mut config = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        add(line, &mut talks, &mut config).with_context(|| format!("line {}: {line}", number + 1))?;
    }
    Ok(talks)
}

fn add(line: &str, talks: &mut Vec<Talk>, config: &mut Vec<String>) -> Result {
    let (sign, text) = line.split_once(' ').unwrap_or((line, ""));
    let text = text.to_owned();
    match sign {
        "config" if text.is_empty() => config.clear(),
        "config" => config.push(text),
        "talk" => talks.push(Talk {
            name: text,
            config: config.clone(),
            steps: Vec::new(),
        }),
        _ => {
            let talk = talks.last_mut().context("no talk has begun")?;
            step(sign, text, &mut talk.steps)?;
        }
    }
    Ok(())
}

fn step(sign: &str, text: String, steps: &mut Vec<Step>) -> Result {
    if sign == ">" {
        steps.push(Step::Type(Typed {
            line: text,
            ..Typed::default()
        }));
        return Ok(());
    }
    if sign == "!" {
        let (what, rest) = text.split_once(' ').context("what is to be done?")?;
        steps.push(match what {
            "get" => Step::Get(rest.to_owned()),
            "keep" => Step::Keep(rest.to_owned()),
            "hold" => Step::Hold(rest.to_owned()),
            _ => bail!("nobody can {what}"),
        });
        return Ok(());
    }
    let last = steps.iter_mut().rev().find_map(|step| match step {
        Step::Type(typed) => Some(typed),
        Step::Get(_) | Step::Keep(_) | Step::Hold(_) => None,
    });
    let typed = last.context("nothing was typed")?;
    match sign {
        "=" => typed.facts.push(text),
        "differs" => typed.why = Some(text),
        "-" | "+" => typed.rest.push(format!("{sign} {text}")),
        _ => bail!("what is that?"),
    }
    Ok(())
}

/// Puts the places of a side into a line.
pub(crate) fn fill(line: &str, places: &Places) -> String {
    places.iter().fold(line.to_owned(), |line, (name, place)| {
        line.replace(&format!("{{{name}}}"), place)
    })
}
