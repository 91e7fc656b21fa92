//! `fleetbal ctl`: by hand on a terminal, and by scripts.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::{Backend, Manage, Result, wait};
use nix::pty::{Winsize, openpty};

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

/// A shell on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(mut command: Command) -> Result<Self> {
        let size = Winsize {
            ws_row: 24,
            ws_col: 200,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None)?;
        let end = |end: &OwnedFd| -> Result<Stdio> { Ok(Stdio::from(end.try_clone()?)) };
        command
            .stdin(end(&pty.slave)?)
            .stdout(end(&pty.slave)?)
            .stderr(end(&pty.slave)?);
        let child = command.spawn()?;
        // Its ends are the child's alone now, so that the terminal closes with it.
        drop((command, pty.slave));
        let shown = Arc::new(Mutex::new(String::new()));
        let mut screen = File::from(pty.master.try_clone()?);
        thread::spawn({
            let shown = Arc::clone(&shown);
            move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = screen.read(&mut bytes) {
                    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
                    shown
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_str(&text);
                }
            }
        });
        Ok(Self {
            child,
            keys: File::from(pty.master),
            shown,
        })
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Presses keys, and waits until something is shown behind what was there before.
    fn press(&mut self, keys: &str, wanted: &str) -> Result {
        let before = self.shown().len();
        self.keys.write_all(keys.as_bytes())?;
        self.see(before, wanted)
    }

    fn see(&self, from: usize, wanted: &str) -> Result {
        wait::for_true(format!("'{wanted}' to be shown"), wait::PATIENCE, || {
            let shown = self.shown();
            let fresh = shown.get(from..).unwrap_or_default();
            ensure!(fresh.contains(wanted), "{fresh:?}");
            Ok(true)
        })
    }

    fn end(mut self, keys: &str) -> Result<Option<i32>> {
        self.keys.write_all(keys.as_bytes())?;
        let status = wait::until("the shell to end", wait::PATIENCE, || {
            Ok(self.child.try_wait()?)
        })?;
        Ok(status.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_shell_completes_helps_colours_and_remembers() -> Result {
    let desk = Desk::new()?;
    let mut terminal = Terminal::open(desk.ctl(&[])?)?;
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
    let mut terminal = Terminal::open(desk.ctl(&[])?)?;
    terminal.see(0, "> ")?;
    terminal.press("create pool typed\r", "OK")?;
    // What was made is completed at once; a context stays for the lines behind it.
    terminal.press("set balance_method = round_robin\r", "OK")?;
    terminal.press("show pool ty\t\r", "show pool typed")?;
    ensure!(terminal.end("quit\r")? == Some(0), "quit is no failure");
    let kept = std::fs::read_to_string(desk.history())?;
    ensure!(kept.lines().any(|line| line == "create pool typed"), "{kept}");
    let mode = std::fs::metadata(desk.history())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "mode {mode:o}");
    // The last line but one of the last time, and no colours.
    let mut command = desk.ctl(&[])?;
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::open(command)?;
    terminal.see(0, "> ")?;
    terminal.press(&format!("{UP}{UP}\r"), "show pool typed")?;
    terminal.press("frobnicate\r", "ERROR: unknown command: frobnicate")?;
    ensure!(!terminal.shown().contains("\x1b[31m"), "there are colours");
    ensure!(terminal.end("\x04")? == Some(0), "the end of input is no failure");
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
