//! A program on a terminal of its own: what it writes, what its user sees of that, and keys.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::ensure;
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use rustix::termios::tcsetwinsize;

use crate::{Result, wait};

/// How many lines and columns.
pub type Size = (u16, u16);

/// What was written, and what that shows.
struct Shown {
    written: String,
    screen: vt100::Parser,
}

/// A program that is used by hand.
pub struct Terminal {
    child: Child,
    keys: File,
    /// The program's end; it also keeps the terminal there when the program is gone.
    line: OwnedFd,
    shown: Arc<Mutex<Shown>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a terminal that shows:\n{}", self.screen())
    }
}

impl Terminal {
    /// Starts a command on a new terminal, which is its controlling one.
    ///
    /// # Errors
    /// When there is no terminal to be had, or the command cannot be started.
    pub fn open(command: &Command, (rows, columns): Size) -> Result<Self> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None)?;
        let end = || -> Result<Stdio> { Ok(Stdio::from(pty.slave.try_clone()?)) };
        let mut inside = Command::new("setsid");
        inside
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.stdin(end()?).stdout(end()?).stderr(end()?);
        let child = inside.spawn()?;
        drop(inside);
        let shown = Arc::new(Mutex::new(Shown {
            written: String::new(),
            screen: vt100::Parser::new(rows, columns, 0),
        }));
        let output = File::from(pty.master.try_clone()?);
        thread::spawn({
            let shown = Arc::clone(&shown);
            move || show(output, &shown)
        });
        Ok(Self {
            child,
            keys: File::from(pty.master),
            line: pty.slave,
            shown,
        })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that was written.
    pub fn written(&self) -> String {
        self.lock().written.clone()
    }

    /// What is on the screen now.
    pub fn screen(&self) -> String {
        self.lock().screen.screen().contents()
    }

    /// Waits until it is as a shell needs it: its lines are edited and echoed, its cursor is seen, and what was on it
    /// before is there again.
    ///
    /// # Errors
    /// When it does not become so, what is wrong.
    pub fn wait_restored(&self) -> Result {
        wait::for_true("a terminal as it was", wait::PATIENCE, || {
            self.check_plain()?;
            Ok(true)
        })
    }

    /// Whether it is like that.
    ///
    /// # Errors
    /// When it is not, what is wrong.
    pub fn check_plain(&self) -> Result {
        let flags = tcgetattr(self.line.as_fd())?.local_flags;
        let wanted = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        ensure!(flags.contains(wanted), "the terminal is raw: {flags:?}");
        let shown = self.lock();
        let screen = shown.screen.screen();
        ensure!(!screen.alternate_screen(), "it is on the other screen");
        ensure!(!screen.hide_cursor(), "its cursor is hidden");
        Ok(())
    }

    /// Gives it another size, as somebody does who pulls at its window.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn resize(&self, (rows, columns): Size) -> Result {
        self.lock().screen.screen_mut().set_size(rows, columns);
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(self.keys.as_fd(), size)?)
    }

    /// Presses keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn keys(&mut self, keys: &str) -> Result {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Presses keys, and waits until something is written behind what was there before.
    ///
    /// # Errors
    /// When it is not.
    pub fn press(&mut self, keys: &str, wanted: &str) -> Result {
        let before = self.written().len();
        self.keys(keys)?;
        self.see(before, wanted)
    }

    /// Waits until something is written behind that place.
    ///
    /// # Errors
    /// When it is not.
    pub fn see(&self, from: usize, wanted: &str) -> Result {
        wait::for_true(format!("'{wanted}' to be shown"), wait::PATIENCE, || {
            let written = self.written();
            let fresh = written.get(from..).unwrap_or_default();
            ensure!(fresh.contains(wanted), "{fresh:?}");
            Ok(true)
        })
    }

    /// Waits until the screen shows all of these, and none of those.
    ///
    /// # Errors
    /// When it does not.
    pub fn watch_for(&self, wanted: &[&str], unwanted: &[&str]) -> Result {
        let what = format!("a screen with {wanted:?} and without {unwanted:?}");
        wait::for_true(what, wait::PATIENCE, || {
            let screen = self.screen();
            let has = |text: &&str| screen.contains(*text);
            ensure!(wanted.iter().all(has) && !unwanted.iter().any(has), "\n{screen}");
            Ok(true)
        })
    }

    /// Waits for the program's end, and tells its exit code.
    ///
    /// # Errors
    /// When it does not end.
    pub fn wait(&mut self) -> Result<Option<i32>> {
        let child = &mut self.child;
        let status = wait::until("its end", wait::PATIENCE, || Ok(child.try_wait()?))?;
        Ok(status.code())
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is written until the terminal is gone.
fn show(mut output: File, shown: &Mutex<Shown>) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut bytes) {
        let fresh = bytes.get(..length).unwrap_or_default();
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.written.push_str(&String::from_utf8_lossy(fresh));
        shown.screen.process(fresh);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
