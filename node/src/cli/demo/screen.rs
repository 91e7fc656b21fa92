//! What the demo prints. Colours only for a terminal, and never with `NO_COLOR`.

use std::error::Error;
use std::io::{IsTerminal, Stderr, Stdout, Write, stderr, stdout};
use std::time::Duration;

/// The terminal, or whatever standard output is.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stdout,
    err: Stderr,
    terminal: bool,
    colours: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const CYAN: &str = "36";

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: stdout(),
            err: stderr(),
            terminal,
            colours: terminal && !refused,
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A reader that went away ends nothing: the fleet is still there to be used.
    fn write(&self, text: &str) {
        let mut out = self.out.lock();
        if out.write_all(text.as_bytes()).is_ok() {
            drop(out.flush());
        }
    }

    pub(super) fn blank(&self) {
        self.write("\n");
    }

    pub(super) fn line(&self, text: &str) {
        self.write(&format!("  {text}\n"));
    }

    pub(super) fn title(&self, text: &str) {
        self.write(&format!("{}\n", self.paint(BOLD, text)));
    }

    pub(super) fn heading(&self, text: &str) {
        self.write(&format!("\n{}\n", self.paint(BOLD, text)));
    }

    /// Something that was done, and how long it took.
    pub(super) fn step(&self, text: &str, took: Duration, pid: Option<u32>) {
        let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let took = self.paint(DIM, &format!("({}{pid})", time(took)));
        self.write(&format!("  {} {text} {took}\n", self.paint(GREEN, "✓")));
    }

    pub(super) fn detail(&self, text: &str) {
        self.write(&format!("      {text}\n"));
    }

    /// Something to type, and what it is for.
    pub(super) fn command(&self, command: &str, purpose: &str) {
        let padded = format!("{command:<38}");
        let purpose = self.paint(DIM, &format!("# {purpose}"));
        self.write(&format!("  {} {purpose}\n", self.paint(CYAN, &padded)));
    }

    /// Something that happened so long after the start.
    pub(super) fn event(&self, at: Duration, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let at = self.paint(DIM, &format!("{:>6.1} s", at.as_secs_f64()));
        self.write(&format!("{clear}  {at}  {text}\n"));
    }

    /// The last line of a terminal, written over and over.
    pub(super) fn live(&self, text: &str) {
        if self.terminal {
            self.write(&format!("\r\x1b[K  {}", self.paint(DIM, text)));
        }
    }

    pub(super) fn error(&self, error: &dyn Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        drop(writeln!(self.err.lock(), "fleetbal demo: {text}"));
    }
}

fn time(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{:.1} ms", took.as_secs_f64() * 1000.0)
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}
