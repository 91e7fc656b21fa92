//! Management, side by side: the same lines typed at the real Perlbal and at fleetbal, and every answer compared.
//!
//! The talks are in `cases/management.talk`:
//!
//! ```text
//! config LINE          for both sides of every talk behind it; `config` alone forgets them
//! talk NAME            two fresh processes, and a connection to the management port of each
//! > LINE               typed at both; the answers must be the same
//! = TEXT               a line of Perlbal's answer
//! differs WHY          the answers are not the same:
//! - TEXT               only Perlbal says that
//! + TEXT               only fleetbal says that
//! ! get PATH           a request that is answered
//! ! keep PATH          one that is answered, on a connection that stays open
//! ! hold PATH          one that the backend takes its time for
//! ```
//!
//! Places: `{own}` is the address of the side, `{b1}` its backend, `{dir}` a directory. In answers, what no two processes
//! have in common is made even: see [`even`].

mod even;
mod talks;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use fleetbal_cluster_tests::backend::Backend;
use fleetbal_cluster_tests::ports::Net;
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Result, client, process, wait};

use self::talks::{Step, Talk};
use super::compare::difference;
use super::sides::{self, Program};
use super::table;
use super::text::Places;

/// Longer than any answer takes.
const ANSWER: Duration = Duration::from_secs(30);

/// The commands of Perlbal that its own `help` does not list (reference, section 2.4).
const UNLISTED: [&str; 5] = ["xs", "quit", "exit", "vhost", "vpath"];

#[test]
fn management_answers_as_perlbal_does() -> Result {
    let talks = talks::read()?;
    let mut report = String::new();
    let mut wrong = 0;
    let played = std::thread::scope(|scope| {
        let talking: Vec<_> = talks.iter().map(|talk| scope.spawn(|| both(talk))).collect();
        talking
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    for (talk, played) in talks.iter().zip(played) {
        let played = played.map_err(|_| anyhow!("a thread panicked"))?;
        let found = match played {
            Ok((theirs, ours)) => complaints(talk, &theirs, &ours),
            Err(error) => vec![format!("{error:#}")],
        };
        for complaint in found {
            wrong += 1;
            writeln!(report, "\n==== {}\n{complaint}", talk.name)?;
        }
    }
    ensure!(wrong == 0, "{wrong} answers are not as listed:\n{report}");
    Ok(())
}

#[test]
fn every_command_of_perlbal_is_typed() -> Result {
    let talks = talks::read()?;
    let steps = talks.iter().flat_map(|talk| &talk.steps);
    let typed: BTreeSet<_> = steps
        .filter_map(|step| match step {
            Step::Type(typed) => typed.line.split([' ', '=']).next().map(str::to_lowercase),
            Step::Get(_) | Step::Keep(_) | Step::Hold(_) => None,
        })
        .collect();
    let missing: Vec<_> = even::LISTED
        .iter()
        .chain(&UNLISTED)
        .filter(|command| !typed.contains(**command))
        .collect();
    ensure!(missing.is_empty(), "nobody types {missing:?}");
    Ok(())
}

#[test]
fn the_table_of_management_is_true() -> Result {
    let mut text = String::from("| line | Perlbal | fleetbal | why |\n| --- | --- | --- | --- |\n");
    let talks = talks::read()?;
    let mut count = 0;
    let mut seen = BTreeSet::new();
    for step in talks.iter().flat_map(|talk| &talk.steps) {
        let Step::Type(typed) = step else { continue };
        count += 1;
        if let Some(why) = &typed.why
            && seen.insert((why, &typed.rest))
        {
            let only = |sign: &str| {
                let lines = typed.rest.iter().filter_map(|line| line.strip_prefix(sign));
                let lines: Vec<_> = lines
                    .map(|line| format!("`{}`", line.trim().replace('|', "\\|")))
                    .collect();
                match lines.as_slice() {
                    [first, second, rest @ ..] if rest.len() > 1 => {
                        format!("{first} {second} and {} more", rest.len())
                    }
                    lines => lines.join(" "),
                }
            };
            writeln!(
                text,
                "| `{}` | {} | {} | {why} |",
                typed.line.replace('|', "\\|"),
                only("- "),
                only("+ ")
            )?;
        }
    }
    writeln!(text, "\n{count} lines in {} talks.", talks.len())?;
    table::replace("management", &text)
}

/// The lines of each answer.
type Answers = Vec<Vec<String>>;

/// The answers of both sides.
fn both(talk: &Talk) -> Result<(Answers, Answers)> {
    let net = Net::claim()?;
    let play = |program| Side::start(program, talk, &net)?.play(talk);
    let theirs = play(Program::Perlbal).context("with Perlbal")?;
    let ours = play(Program::Fleetbal).context("with fleetbal")?;
    Ok((theirs, ours))
}

/// What is not as listed, line by line.
fn complaints(talk: &Talk, theirs: &[Vec<String>], ours: &[Vec<String>]) -> Vec<String> {
    let typed = talk.steps.iter().filter_map(|step| match step {
        Step::Type(typed) => Some(typed),
        Step::Get(_) | Step::Keep(_) | Step::Hold(_) => None,
    });
    let mut complaints = Vec::new();
    for (typed, (theirs, ours)) in typed.zip(theirs.iter().zip(ours)) {
        let missing: Vec<_> = typed.facts.iter().filter(|fact| !theirs.contains(fact)).collect();
        if !missing.is_empty() {
            complaints.push(format!(
                "> {}\nPerlbal does not say {missing:?} but {theirs:#?}",
                typed.line
            ));
        }
        let rest = difference(theirs, ours);
        if rest != typed.rest {
            complaints.push(format!("> {}\ndiffers\n{}", typed.line, rest.join("\n")));
        }
    }
    complaints
}

/// A program, and what is held open around it.
struct Side {
    process: Process,
    management: SocketAddr,
    traffic: SocketAddr,
    backend: Backend,
    places: Places,
    held: Vec<TcpStream>,
    _dir: tempfile::TempDir,
}

impl Side {
    fn start(program: Program, talk: &Talk, net: &Net) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (own, number): (Ipv4Addr, _) = match program {
            Program::Perlbal => (net.node(11), 11),
            Program::Fleetbal => (net.node(12), 12),
        };
        let backend = Backend::start("b1", net.backend(number))?;
        let mut places = Places::new();
        places.insert("own".to_owned(), own.to_string());
        places.insert("b1".to_owned(), backend.address().to_string());
        places.insert("dir".to_owned(), dir.path().display().to_string());
        fs::write(dir.path().join("nodes"), format!("{}\n", backend.address()))?;
        for (file, service, role) in [
            ("included.conf", "inc", "web_server"),
            ("broken.conf", "bro", "wizard"),
        ] {
            let lines = format!("CREATE SERVICE {service}\nSET role = {role}\n");
            fs::write(dir.path().join(file), lines)?;
        }
        let config = dir.path().join("perlbal.conf");
        let lines = talk.config.iter().map(|line| talks::fill(line, &places) + "\n");
        fs::write(&config, lines.collect::<String>())?;
        let mut command = sides::command(program, &config, dir.path())?;
        if program == Program::Fleetbal {
            command.arg("--workers=1");
        }
        // What `$NAME` stands for.
        command.env("TALK", "spoken");
        let log = dir.path().join("log");
        let mut process = Process::start(command, &log)?;
        let management = SocketAddr::from((own, talks::MANAGEMENT));
        wait::for_true(format!("{program:?} to start"), wait::PATIENCE, || {
            ensure!(process.ended()?.is_none(), "{}", fs::read_to_string(&log)?);
            Ok(TcpStream::connect(management).is_ok())
        })?;
        Ok(Self {
            process,
            management,
            traffic: (own, talks::TRAFFIC).into(),
            backend,
            places,
            held: Vec::new(),
            _dir: dir,
        })
    }

    /// A connection to the service: that the management port listens does not say that all others do.
    fn reach(&self) -> Result<TcpStream> {
        wait::until("the service to listen", wait::PATIENCE, || {
            let stream = TcpStream::connect(self.traffic)?;
            stream.set_read_timeout(Some(wait::PATIENCE))?;
            Ok(Some(stream))
        })
    }

    /// The answers to the lines of a talk, made even.
    fn play(mut self, talk: &Talk) -> Result<Vec<Vec<String>>> {
        let mut typist = Typist::connect(self.management)?;
        let mut answers = Vec::new();
        let mut answered = 0;
        for step in &talk.steps {
            match step {
                Step::Type(typed) => {
                    let line = talks::fill(&typed.line, &self.places);
                    let answer = typist.ask(&line).with_context(|| format!("after '{line}'"))?;
                    answers.push(self.even(&line, answer));
                }
                Step::Get(path) => {
                    client::Http::over(self.reach()?)?.request("GET", path, b"")?;
                    answered += 1;
                    Self::counted(&mut typist, answered)?;
                }
                Step::Hold(path) => {
                    let mut stream = self.reach()?;
                    let before = self.backend.count();
                    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: talk\r\n\r\n").as_bytes())?;
                    self.held.push(stream);
                    wait::for_true("the request to be there", wait::PATIENCE, || {
                        Ok(self.backend.count() > before)
                    })?;
                }
                Step::Keep(path) => {
                    let stream = self.reach()?;
                    let mut http = client::Http::over(stream.try_clone()?)?;
                    http.request("GET", path, b"")?;
                    self.held.push(stream);
                }
            }
        }
        Ok(answers)
    }

    /// Waits until so many requests are counted: a client may see the answer before.
    fn counted(typist: &mut Typist, requests: u64) -> Result {
        wait::for_true("requests to be counted", wait::PATIENCE, || {
            let pool = typist.ask("show pool web")?;
            Ok(pool.iter().any(|line| line.ends_with(&format!(" {requests}"))))
        })
    }

    fn even(&self, line: &str, answer: Vec<String>) -> Vec<String> {
        even::even(line, answer, &self.places, self.process.pid())
    }
}

/// Whoever types. Behind each line goes one that is no command: its answer ends that of the line.
struct Typist {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    number: u32,
}

impl Typist {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self {
            stream,
            reader,
            number: 0,
        })
    }

    /// The lines of an answer; a connection that ended is a last line that says so.
    fn ask(&mut self, line: &str) -> Result<Vec<String>> {
        self.number += 1;
        let last = format!("talk_end_{}", self.number);
        let typed = format!("{line}\r\n{last}\r\n");
        self.stream.write_all(typed.as_bytes()).or_else(gone)?;
        let end = format!("ERROR: unknown command: {last}");
        let mut lines = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let read = self.reader.read_until(b'\n', &mut bytes).or_else(reset)?;
            if read == 0 {
                lines.push("(closed)".to_owned());
                return Ok(lines);
            }
            let text = String::from_utf8_lossy(&bytes);
            // What a plugin's loader says has line ends of its own.
            let text = text.trim_end_matches(['\r', '\n']);
            if text == end {
                return Ok(lines);
            }
            lines.push(text.to_owned());
        }
    }
}

/// Whoever was told to end the connection may do so before it has read everything.
fn gone(error: std::io::Error) -> std::io::Result<()> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    if matches!(error.kind(), BrokenPipe | ConnectionReset) {
        Ok(())
    } else {
        Err(error)
    }
}

fn reset(error: std::io::Error) -> std::io::Result<usize> {
    gone(error).map(|()| 0)
}

/// The file with the talks.
fn file() -> std::path::PathBuf {
    process::workspace().join("cluster-tests/tests/differential/cases/management.talk")
}
