//! What a command is answered, and that as Perlbal's bytes.

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing at all: blank lines, `verbose off`, a plain `shutdown`.
    Silent,
    /// Done. Prints `OK` where the connection is verbose.
    Done,
    /// Done. Prints this line, also where the connection is not verbose.
    Said(String),
    /// Data; ends with a line `.`.
    Lines(Vec<String>),
    /// `dumpconfig`: data that can be fed back, so it ends with `OK` or nothing.
    Dump(Vec<String>),
    /// Nothing was changed, or not what was asked for.
    Refused(String),
}

impl Reply {
    /// Of what was done, or why it was not.
    pub fn of(outcome: Result<(), String>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(text) => Self::Refused(text),
        }
    }
}

/// Appends a reply as it goes over the wire.
pub fn render(reply: &Reply, verbose: bool, out: &mut Vec<u8>) {
    match reply {
        Reply::Silent => {}
        Reply::Done => ok(verbose, out),
        Reply::Said(text) => line(text, out),
        Reply::Lines(lines) => {
            all(lines, out);
            line(".", out);
        }
        Reply::Dump(lines) => {
            all(lines, out);
            ok(verbose, out);
        }
        Reply::Refused(text) => line(&format!("ERROR: {text}"), out),
    }
}

fn all(lines: &[String], out: &mut Vec<u8>) {
    for text in lines {
        line(text, out);
    }
}

fn ok(verbose: bool, out: &mut Vec<u8>) {
    if verbose {
        line("OK", out);
    }
}

/// One line whatever the text holds: a line end in it would be read as the end of the answer.
fn line(text: &str, out: &mut Vec<u8>) {
    out.extend(
        text.bytes()
            .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }),
    );
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply, verbose: bool) -> String {
        let mut out = Vec::new();
        render(reply, verbose, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_as_perlbal_does() {
        let lines = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(text(&Reply::Silent, true), "");
        assert_eq!(text(&Reply::Done, true), "OK\r\n");
        assert_eq!(text(&Reply::Done, false), "");
        assert_eq!(
            text(&Reply::Said("flv removed.".to_owned()), false),
            "flv removed.\r\n"
        );
        assert_eq!(text(&Reply::Lines(lines()), false), "a\r\nb\r\n.\r\n");
        assert_eq!(text(&Reply::Lines(Vec::new()), true), ".\r\n");
        assert_eq!(text(&Reply::Dump(lines()), true), "a\r\nb\r\nOK\r\n");
        assert_eq!(text(&Reply::Dump(lines()), false), "a\r\nb\r\n");
        assert_eq!(
            text(&Reply::Refused("a\r\n.\n".to_owned()), false),
            "ERROR: a  . \r\n"
        );
    }
}
