//! Bytes as they were typed, made into a [`Line`] by Perlbal's reading rules.
//!
//! In this order: cut at `#`; expand `$NAME` from this process's environment; squeeze white space; fold everything
//! before the first `=`. Of the commands that Perlbal never had only the command words are folded (by the parser),
//! and `$` is kept. What a line *means* is not here.

/// The longest line that is read, in bytes, without its end.
pub const MAX_LINE: usize = 64 * 1024;

/// Commands that Perlbal does not have: their arguments keep their case and their `$`.
const FLEET_WORDS: [&str; 19] = [
    "abort", "auth", "barrier", "begin", "cert", "cluster", "commit", "config", "confirm", "drain",
    "effects", "fleet", "health", "on", "plugin", "ready", "sync", "undrain", "why",
];

/// Bytes that are no line of commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It does not begin with a word (Perlbal's text).
    #[error("invalid command")]
    NoWord,
    /// Not text.
    #[error("invalid command: the line is not UTF-8 text")]
    Encoding,
    /// Control characters that are no white space.
    #[error("invalid command: control characters in the line")]
    Control,
    /// Longer than [`MAX_LINE`].
    #[error("line too long: at most {MAX_LINE} bytes")]
    TooLong,
    /// An environment variable whose value could not be typed.
    #[error("${0} cannot be expanded: its value has '#', '$' or control characters in it")]
    Environment(String),
}

/// A line that begins with a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    word: String,
    rest: String,
}

impl Line {
    /// Reads one line, with or without its line end; none where there is nothing in it. `environment` looks a
    /// variable up; one that is not set is empty.
    ///
    /// # Errors
    /// When it is too long, no text, does not begin with a word, or expands to what could not be typed.
    pub fn read(
        bytes: &[u8],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, LineError> {
        if bytes.len() > MAX_LINE {
            return Err(LineError::TooLong);
        }
        let code = bytes.split(|byte| *byte == b'#').next().unwrap_or_default();
        let text = std::str::from_utf8(code).map_err(|_| LineError::Encoding)?;
        let typed = squeeze(text);
        if typed.chars().any(char::is_control) {
            return Err(LineError::Control);
        }
        let word = leading_word(&typed).to_ascii_lowercase();
        if FLEET_WORDS.contains(&word.as_str()) {
            let rest = typed.get(word.len()..).unwrap_or_default().to_owned();
            return Ok(Some(Self { word, rest }));
        }
        let folded = fold(&squeeze(&expand(&typed, environment)?));
        if folded.is_empty() {
            return Ok(None);
        }
        let word = leading_word(&folded).to_owned();
        if word.is_empty() {
            return Err(LineError::NoWord);
        }
        let rest = folded.get(word.len()..).unwrap_or_default().to_owned();
        Ok(Some(Self { word, rest }))
    }

    /// The first word, in lower case: it selects the command.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// Everything behind the first word, the blank included.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The words behind the first one; none where it is not followed by a blank (`show=service`).
    pub fn arguments(&self) -> Option<Vec<&str>> {
        match self.rest.strip_prefix(' ') {
            Some(arguments) => Some(arguments.split(' ').collect()),
            None if self.rest.is_empty() => Some(Vec::new()),
            None => None,
        }
    }
}

/// Replaces each `$NAME` by what `environment` says.
///
/// # Errors
/// When a value, or what it makes together with its neighbours, would be read in another way if it were typed.
pub(super) fn expand(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<String, LineError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = leading_word(after);
        rest = after.get(name.len()..).unwrap_or_default();
        if name.is_empty() {
            expanded.push('$');
            continue;
        }
        let value = environment(name).unwrap_or_default();
        let untypable = |c: char| c == '#' || c == '$' || (c.is_control() && c != '\t');
        let joins = expanded.ends_with('$') && value.starts_with(|c: char| is_word(c) || c == '{');
        if joins || value.contains(untypable) {
            return Err(LineError::Environment(name.to_owned()));
        }
        expanded.push_str(&value);
    }
    expanded.push_str(rest);
    if expanded.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    Ok(expanded)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The word characters (`\w` of Perl) that a text begins with.
pub(super) fn leading_word(text: &str) -> &str {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Whether a text is one word, all of it.
pub(super) fn is_one_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word)
}

fn squeeze(text: &str) -> String {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let mut words = text.split(blank).filter(|word| !word.is_empty());
    let mut squeezed = String::with_capacity(text.len());
    squeezed.push_str(words.next().unwrap_or_default());
    for word in words {
        squeezed.push(' ');
        squeezed.push_str(word);
    }
    squeezed
}

fn fold(text: &str) -> String {
    match text.split_once('=') {
        Some((before, after)) => format!("{}={after}", fold_words(before)),
        None => fold_words(text),
    }
}

/// In lower case, but for `${…}`: Perlbal expands those before it folds, so their case counts.
fn fold_words(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once("${") {
        let (name, after) = variable.split_once('}').unwrap_or((variable, ""));
        folded.push_str(&before.to_ascii_lowercase());
        folded.push_str("${");
        folded.push_str(name);
        if name.len() < variable.len() {
            folded.push('}');
        }
        rest = after;
    }
    folded.push_str(&rest.to_ascii_lowercase());
    folded
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
