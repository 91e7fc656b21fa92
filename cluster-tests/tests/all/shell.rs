//! `fleetbal ctl`: by hand on a terminal, and by scripts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::terminal::Size;
use fleetbal_cluster_tests::{Backend, Manage, Result, Terminal, wait};

use crate::standalone::Place;

/// Ctrl-P: the line before.
const UP: &str = "\x10";

/// A node with its backends, and a home for whoever types.
struct Desk {
    place: Place,
    _process: Process,
    _backends: [Backend; 2],
}

impl Desk {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let backends = [
            Backend::start("b1", place.net.backend(1))?,
            Backend::start("b2", place.net.backend(2))?,
        ];
        let process = place.start(&place.config())?;
        let management = (place.net.node(1), 60000).into();
        wait::until("management", wait::PATIENCE, || {
            Ok(Some(Manage::connect(management)?))
        })?;
        Ok(Self {
            place,
            _process: process,
            _backends: backends,
        })
    }

    fn ctl(&self, words: &[&str]) -> Result<Command> {
        let mut command = process::fleetbal()?;
        command.args(["ctl", "--server", &format!("{}:60000", self.place.net.node(1))]);
        command.args(words);
        command.env("XDG_STATE_HOME", self.place.dir.path().join("state"));
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        Ok(command)
    }

    fn history(&self) -> std::path::PathBuf {
        self.place.dir.path().join("state/fleetbal/history")
    }
}

/// Wide enough that no line is broken.
const SIZE: Size = (24, 200);

/// Types what ends a shell, and waits for that.
fn end(mut terminal: Terminal, keys: &str) -> Result<Option<i32>> {
    terminal.keys(keys)?;
    terminal.wait()
}

#[test]
fn a_shell_completes_helps_colours_and_remembers() -> Result {
    let desk = Desk::new()?;
    let mut terminal = Terminal::open(&desk.ctl(&[])?, SIZE)?;
    terminal.see(0, "> ")?;
    // Names of the fleet that runs.
    let backend = desk.place.net.backend(1).to_string();
    terminal.press("show po\t w\t\r", &backend)?;
    terminal.press("set www.persist_b\t = on\r", "OK")?;
    terminal.press(
        "frobnicate\r",
        "\x1b[31mERROR: unknown command: frobnicate\x1b[0m",
    )?;
    terminal.press("help create\r", "CREATE SERVICE NAME")?;
    terminal.press("auth something\r", "wrong secret")?;
    drop(terminal);
    let mut terminal = Terminal::open(&desk.ctl(&[])?, SIZE)?;
    terminal.see(0, "> ")?;
    terminal.press("create pool typed\r", "OK")?;
    // What was made is completed at once; a context stays for the lines behind it.
    terminal.press("set balance_method = round_robin\r", "OK")?;
    terminal.press("show pool ty\t\r", "show pool typed")?;
    ensure!(end(terminal, "quit\r")? == Some(0), "quit is no failure");
    let kept = std::fs::read_to_string(desk.history())?;
    ensure!(kept.lines().any(|line| line == "create pool typed"), "{kept}");
    let mode = std::fs::metadata(desk.history())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "mode {mode:o}");
    // The last line but one of the last time, and no colours.
    let mut command = desk.ctl(&[])?;
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::open(&command, SIZE)?;
    terminal.see(0, "> ")?;
    terminal.press(&format!("{UP}{UP}\r"), "show pool typed")?;
    terminal.press("frobnicate\r", "ERROR: unknown command: frobnicate")?;
    ensure!(!terminal.written().contains("\x1b[31m"), "there are colours");
    ensure!(
        end(terminal, "\x04")? == Some(0),
        "the end of input is no failure"
    );
    Ok(())
}

#[test]
fn scripts_see_by_the_exit_code() -> Result {
    let desk = Desk::new()?;
    let run = |words: &[&str]| process::run(desk.ctl(words)?, wait::PATIENCE);
    let shown = run(&["show", "pool"])?;
    ensure!(
        shown.code == Some(0) && shown.stdout.starts_with("web nodes 2\n"),
        "{shown:?}"
    );
    let refused = run(&["frobnicate"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(
        refused.stderr == "ERROR: unknown command: frobnicate\n",
        "{refused:?}"
    );
    let helped = run(&["help", "POOL"])?;
    ensure!(
        helped.code == Some(0) && helped.stdout.contains("POOL NAME ADD"),
        "{helped:?}"
    );
    // Lines of standard input are one session, and none of them ends it.
    let piped = |lines: &str| -> Result<(Option<i32>, String)> {
        let mut command = desk.ctl(&[])?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child
            .stdin
            .take()
            .context("no standard input")?
            .write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    let lines = "# made by a script\ncreate pool piped\nset balance_method = round_robin\nmime set q text/q\nshow pool piped\n";
    ensure!(
        piped(lines)? == (Some(0), "OK\nOK\nq set to text/q.\n".to_owned()),
        "{:?}",
        piped("show pool\n")?
    );
    let (code, said) = piped("frobnicate\nshow pool piped\nuptime\n")?;
    ensure!(code == Some(1) && said.contains("version "), "{code:?} {said}");
    Ok(())
}
