//! The exchanges, read from `cases/AREA.exchange`.
//!
//! ```text
//! section 4.4                       the section of the reference that this area is about
//! set persist_client = on           for every exchange of the file
//! shows http11-to-backend           the differences that every exchange shows which has no `shows` of its own
//!
//! exchange NAME
//! about what it is about, in a few words
//! set KEY = VALUE                   a setting of the service
//! config LINE                       a line behind the service's settings
//! pool {b1} {b2}                    the members of its pool; `{b1}` where it is left out
//! file NAME TEXT                    a file in the directory `{dir}`
//! shows ID ID                       those of `differences.txt` that show, and no other
//! > GET / HTTP/1.1                  a line that the client sends, its CR LF added
//! >| bytes                          bytes that it sends, as they are
//! >! read 200                       reads a response, which is a 200 on Perlbal's side
//! < HTTP/1.1 200 OK                 a line that the backend answers
//! <| bytes                          bytes that it answers
//! <! close                          what else it does
//! = TEXT                            a line of what was seen on Perlbal's side
//! differs ID                        what is left of the differences, line by line:
//! - TEXT                            only with Perlbal
//! + TEXT                            only with fleetbal
//! ```
//!
//! Steps of the client: `read CODE`, `read-head CODE` (the answer to HEAD), `read none` (closed without a byte),
//! `read silence` (nothing comes, and it stays open), `read any`, `pause MS`, `client NAME` (another
//! connection), `await N` (until the backends have N requests), `opened N` (until they have been connected to N times),
//! `up N` (see `late`), `release` (see `hold`), `shut`, `close`. Steps of a backend: `backend N`, `answer` (the next
//! answer begins; the last is repeated), `probe` (the answer to OPTIONS; several as with `answer`), `early` (answers a
//! head, not a whole request), `serial` (one connection at a time), `late` (nobody listens there until `up N`),
//! `pause MS`, `hold` (until `release`), `shut`, `close`.
//!
//! Words alone on a line: `slow` (it waits for a timeout), `anywhere` (which backend gets a request on which connection
//! is left to chance, and left out), `interleaved` (in which order requests come on different connections is left to
//! chance), `counts` (how many connections the backends had in the end belongs to what is seen).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use fleetbal_cluster_tests::{Result, process};

use super::rules::{self, Difference};
use super::text;

/// How many there are at least.
pub(crate) const WANTED: usize = 150;

/// What a backend answers where nothing is said.
const PLAIN_ANSWER: &str = r"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// All exchanges.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    /// The differences that they may show.
    pub(crate) differences: Vec<Difference>,
    /// In the order of their files and lines.
    pub(crate) exchanges: Vec<Exchange>,
}

/// What both sides may do differently without being different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Chance {
    /// Nothing.
    #[default]
    None,
    /// In which order requests come on different connections.
    Order,
    /// Which backend gets a request, and on which connection.
    Place,
}

/// One exchange: what is configured, sent, answered and expected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchange {
    /// `AREA/NAME`.
    pub(crate) name: String,
    /// The section of the reference.
    pub(crate) section: String,
    /// What it is about.
    pub(crate) about: String,
    /// `KEY = VALUE`.
    pub(crate) settings: Vec<String>,
    /// Further lines of configuration.
    pub(crate) config: Vec<String>,
    /// Members of the pool.
    pub(crate) pool: Vec<String>,
    /// Files in its directory: name and content.
    pub(crate) files: Vec<(String, String)>,
    /// Ids of the differences that rules make even.
    pub(crate) shows: Vec<String>,
    /// What is left of the differences.
    pub(crate) rest: Vec<String>,
    /// Ids of the differences that `rest` shows.
    pub(crate) rest_ids: Vec<String>,
    /// Lines that Perlbal's side shows.
    pub(crate) facts: Vec<String>,
    /// What the client does.
    pub(crate) steps: Vec<Step>,
    /// What each backend answers, by number.
    pub(crate) backends: BTreeMap<usize, Script>,
    /// Whether it waits for a timeout, so that it should begin first.
    pub(crate) is_slow: bool,
    /// What is left to chance of the requests that reach the backends.
    pub(crate) chance: Chance,
    /// Whether connections to the backends are counted.
    pub(crate) counts: bool,
}

impl Exchange {
    /// Whether its clients speak TLS; the service's certificate is `{dir}/tls.pem`, its key `{dir}/tls.key`.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.settings.iter().any(|setting| setting == "enable_ssl = on")
    }

    /// What the service is called: names of Perlbal are words.
    pub(crate) fn service(&self) -> String {
        self.name.replace(['/', '-', '.'], "_")
    }
}

/// What a client does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sends bytes, with their escapes.
    Send(String),
    /// Waits, in milliseconds, so that the bytes before and behind come apart.
    Pause(u64),
    /// Reads a response.
    Read {
        /// Whether it answers HEAD.
        bodiless: bool,
        /// What Perlbal's side gets: a status, `none`, `silence` or `any`.
        wanted: String,
    },
    /// Goes on with the connection of that name.
    Client(String),
    /// Waits until the backends have had so many requests.
    Await(usize),
    /// Waits until the backends have been connected to so many times.
    Opened(usize),
    /// Lets a backend listen that is late.
    Up(usize),
    /// Lets one `hold` of a backend end.
    Release,
    /// Ends its sending side.
    Shut,
    /// Closes its connection.
    Close,
}

/// What a backend does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// To the first request, the second …; the last is repeated.
    pub(crate) answers: Vec<Answer>,
    /// To OPTIONS, likewise; where there is none, OPTIONS is a request like others.
    pub(crate) probes: Vec<Answer>,
    /// Whether it takes one connection at a time.
    pub(crate) serial: bool,
    /// Whether it does not listen at first.
    pub(crate) late: bool,
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Whether it comes before the body was read.
    pub(crate) early: bool,
    /// Step by step.
    pub(crate) acts: Vec<Act>,
}

/// What a backend does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Sends bytes, with their escapes.
    Send(String),
    /// Waits, in milliseconds.
    Pause(u64),
    /// Waits for `release`.
    Hold,
    /// Ends its sending side.
    Shut,
    /// Closes the connection.
    Close,
}

impl Corpus {
    /// Reads all files; `FLEETBAL_EXCHANGES` may name a part of the names that are wanted.
    ///
    /// # Errors
    /// When a line is not understood, or a name is used twice.
    pub(crate) fn read() -> Result<Self> {
        let dir = process::workspace().join("cluster-tests/tests/differential/cases");
        let mut paths: Vec<_> = fs::read_dir(&dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        // Talks with the management port are beside them.
        paths.retain(|path: &PathBuf| path.extension().is_some_and(|kind| kind == "exchange"));
        paths.sort();
        let mut corpus = Self {
            differences: rules::differences()?,
            ..Self::default()
        };
        for path in paths {
            let area = path.file_stem().context("a file without a name")?;
            let text = fs::read_to_string(&path)?;
            let exchanges =
                parse(&area.to_string_lossy(), &text).with_context(|| path.display().to_string())?;
            corpus.exchanges.extend(exchanges);
        }
        let mut names: Vec<_> = corpus.exchanges.iter().map(Exchange::service).collect();
        names.sort();
        let twice = names.windows(2).find(|pair| pair.first() == pair.last());
        ensure!(twice.is_none(), "two exchanges are called {twice:?}");
        Ok(corpus)
    }
}

fn parse(area: &str, text: &str) -> Result<Vec<Exchange>> {
    let mut common = Exchange::default();
    let mut done: Vec<Exchange> = Vec::new();
    let mut reader: Option<Reader> = None;
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let read = if let Some(name) = line.strip_prefix("exchange ") {
            done.extend(reader.take().map(Reader::finish));
            reader = Some(Reader::new(format!("{area}/{name}"), &common));
            Ok(())
        } else if let Some(reader) = &mut reader {
            reader.line(line)
        } else {
            setting(&mut common, line)
        };
        read.with_context(|| format!("line {}: {line}", number + 1))?;
    }
    done.extend(reader.map(Reader::finish));
    Ok(done)
}

/// A line that says something of an exchange, or of all exchanges of a file.
fn setting(exchange: &mut Exchange, line: &str) -> Result {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "section" => rest.clone_into(&mut exchange.section),
        "about" => rest.clone_into(&mut exchange.about),
        "set" => exchange.settings.push(rest.to_owned()),
        "config" => exchange.config.push(rest.to_owned()),
        "pool" => exchange.pool = rest.split(' ').map(str::to_owned).collect(),
        "file" => {
            let (name, content) = rest.split_once(' ').context("a file without content")?;
            exchange.files.push((name.to_owned(), content.to_owned()));
        }
        "shows" => exchange.shows = text::words(rest),
        "slow" => exchange.is_slow = true,
        "anywhere" => exchange.chance = Chance::Place,
        "interleaved" => exchange.chance = Chance::Order,
        "counts" => exchange.counts = true,
        _ => bail!("'{word}' is not known"),
    }
    Ok(())
}

/// Collects the lines of one exchange.
struct Reader {
    exchange: Exchange,
    backend: usize,
    probe: bool,
}

impl Reader {
    fn new(name: String, common: &Exchange) -> Self {
        let exchange = Exchange {
            name,
            ..common.clone()
        };
        Self {
            exchange,
            backend: 1,
            probe: false,
        }
    }

    fn line(&mut self, line: &str) -> Result {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            ">" => self.send(&format!(r"{rest}\r\n")),
            ">|" => self.send(rest),
            ">!" => self.step(rest)?,
            "<" => self.act(Act::Send(format!(r"{rest}\r\n"))),
            "<|" => self.act(Act::Send(rest.to_owned())),
            "<!" => self.backend_step(rest)?,
            "=" => self.exchange.facts.push(rest.to_owned()),
            "-" | "+" => self.exchange.rest.push(line.to_owned()),
            "differs" => self.exchange.rest_ids.extend(text::words(rest)),
            _ => setting(&mut self.exchange, line)?,
        }
        Ok(())
    }

    fn send(&mut self, bytes: &str) {
        if let Some(Step::Send(sent)) = self.exchange.steps.last_mut() {
            sent.push_str(bytes);
        } else {
            self.exchange.steps.push(Step::Send(bytes.to_owned()));
        }
    }

    fn step(&mut self, text: &str) -> Result {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let step = match word {
            "pause" => Step::Pause(rest.parse()?),
            "read" | "read-head" => Step::Read {
                bodiless: word == "read-head",
                wanted: rest.to_owned(),
            },
            "client" => Step::Client(rest.to_owned()),
            "await" => Step::Await(rest.parse()?),
            "opened" => Step::Opened(rest.parse()?),
            "up" => Step::Up(rest.parse()?),
            "release" => Step::Release,
            "shut" => Step::Shut,
            "close" => Step::Close,
            _ => bail!("no step of a client"),
        };
        self.exchange.steps.push(step);
        Ok(())
    }

    fn script(&mut self) -> &mut Script {
        self.exchange.backends.entry(self.backend).or_default()
    }

    fn answer(&mut self) -> &mut Answer {
        let probe = self.probe;
        let script = self.script();
        let answers = if probe {
            &mut script.probes
        } else {
            &mut script.answers
        };
        if answers.is_empty() {
            answers.push(Answer::default());
        }
        let last = answers.len() - 1;
        #[expect(
            clippy::indexing_slicing,
            reason = "there is one, or it has just been put there"
        )]
        &mut answers[last]
    }

    fn act(&mut self, act: Act) {
        let acts = &mut self.answer().acts;
        if let (Some(Act::Send(sent)), Act::Send(more)) = (acts.last_mut(), &act) {
            sent.push_str(more);
        } else {
            acts.push(act);
        }
    }

    fn backend_step(&mut self, text: &str) -> Result {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "backend" => {
                self.backend = rest.parse()?;
                self.probe = false;
            }
            "answer" => {
                self.probe = false;
                self.script().answers.push(Answer::default());
            }
            "probe" => {
                self.probe = true;
                self.script().probes.push(Answer::default());
            }
            "early" => self.answer().early = true,
            "serial" => self.script().serial = true,
            "late" => self.script().late = true,
            "pause" => self.act(Act::Pause(rest.parse()?)),
            "hold" => self.act(Act::Hold),
            "shut" => self.act(Act::Shut),
            "close" => self.act(Act::Close),
            _ => bail!("no step of a backend"),
        }
        Ok(())
    }

    fn finish(mut self) -> Exchange {
        if self.exchange.pool.is_empty() {
            self.exchange.pool.push("{b1}".to_owned());
        }
        self.exchange.backends.entry(1).or_default();
        for script in self.exchange.backends.values_mut() {
            if script.answers.is_empty() {
                let acts = vec![Act::Send(PLAIN_ANSWER.to_owned())];
                script.answers.push(Answer { early: false, acts });
            }
        }
        self.exchange
    }
}
