//! Where the lines of a log go.

use std::fmt;

use crate::model::template::{Template, VariableError};

/// A file, or a command whose standard input the lines are. Each node fills in the variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Lines are appended to it.
    File(Template),
    /// A shell starts it.
    Command(Template),
}

impl LogTarget {
    /// Reads what stands behind `LOGNAME =`: quotes around a file are not part of its name (as in the talk's plugin).
    ///
    /// # Errors
    /// When a `${…}` names no variable.
    pub fn parse(text: &str) -> Result<Self, VariableError> {
        Ok(match text.trim().trim_matches('"').strip_prefix('|') {
            Some(command) => Self::Command(Template::parse(command.trim_start())?),
            None => Self::File(Template::parse(text.trim().trim_matches('"'))?),
        })
    }

    /// What is named, without what tells a command from a file.
    pub fn template(&self) -> &Template {
        match self {
            Self::File(template) | Self::Command(template) => template,
        }
    }

    /// Whether it says something, and its line would be read as it is.
    pub(super) fn is_plain(&self) -> bool {
        let text = self.template().to_string();
        let is_text = !text.is_empty() && !text.contains('#') && !text.contains(char::is_control);
        is_text && Self::parse(&self.to_string()).as_ref() == Ok(self)
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{path}"),
            Self::Command(command) => write!(f, "| {command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_commands() {
        for (text, printed) in [
            ("/var/log/ws.log", "/var/log/ws.log"),
            ("\"/var/log/a b.log\"", "/var/log/a b.log"),
            ("|cronolog /x", "| cronolog /x"),
            ("| cronolog \"/x y\" -z", "| cronolog \"/x y\" -z"),
            ("/log/${node:name}", "/log/${node:name}"),
        ] {
            let target = LogTarget::parse(text).unwrap();
            assert_eq!(target.to_string(), printed);
            assert!(target.is_plain(), "{text}");
        }
        for text in ["", "|", "\"\"", "a\nb", "a#b"] {
            assert!(!LogTarget::parse(text).unwrap().is_plain(), "{text:?}");
        }
        let bar = LogTarget::File(Template::parse("|x").unwrap());
        assert!(!bar.is_plain(), "it would be read as a command");
        assert!(LogTarget::parse("/log/${nothing}").is_err());
    }
}
