//! The two sides: the real Perlbal and fleetbal, each one process with a service for every exchange, both from the same
//! lines of configuration.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::ports::Net;
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::tls::Certificate;
use fleetbal_cluster_tests::{Result, wait};

use super::backend::{Place, Playing, Record};
use super::client::Steps;
use super::corpus::{Chance, Corpus, Exchange};
use super::text::{self, Places};
use super::transcript::Transcript;

/// The port of the first service.
const FIRST_PORT: u16 = 10_001;
const MANAGEMENT_PORT: u16 = 9_999;
/// From the port of a service to that of its backend that is late: below those that the system gives to others.
const LATE: u16 = 10_000;
/// Sun, 09 Sep 2001 01:46:40 GMT.
const FILE_DATE: Duration = Duration::from_secs(1_000_000_000);
/// Nobody listens there.
const REFUSED_PORT: u16 = 9_998;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Debian's.
    Perlbal,
    /// Ours.
    Fleetbal,
}

/// A running program with everything around it.
#[derive(Debug)]
pub(crate) struct Side {
    stages: Vec<Stage>,
    process: Process,
    dir: tempfile::TempDir,
}

/// What one exchange has on one side.
#[derive(Debug)]
struct Stage {
    service: SocketAddr,
    backends: BTreeMap<usize, Place>,
    places: Arc<Places>,
}

impl Side {
    /// Starts a program with all services; its addresses end in what is its own.
    ///
    /// # Errors
    /// When it does not start, or refuses the configuration.
    pub(crate) fn start(program: Program, corpus: &Corpus, net: &Net) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (own, backends) = match program {
            Program::Perlbal => (net.node(11), net.node(111)),
            Program::Fleetbal => (net.node(12), net.node(112)),
        };
        let mut stages = Vec::new();
        for (exchange, port) in corpus.exchanges.iter().zip(FIRST_PORT..) {
            stages.push(Stage::set(exchange, (own, port).into(), backends, dir.path())?);
        }
        let management = SocketAddr::from((own, MANAGEMENT_PORT));
        let config = dir.path().join("perlbal.conf");
        fs::write(&config, configuration(corpus, &stages, management)?)?;
        let log = dir.path().join("log");
        let mut process = Process::start(command(program, &config, dir.path())?, &log)?;
        // Each is connected to once: thousands of connections that nobody has accepted yet would be in the way.
        let mut services = stages
            .iter()
            .map(|stage| stage.service)
            .chain([management])
            .peekable();
        let ended = wait::until(format!("{program:?} to start"), wait::PATIENCE, || {
            let ended = process.ended()?;
            while services
                .next_if(|service| TcpStream::connect(service).is_ok())
                .is_some()
            {}
            let all = ended.is_some() || services.peek().is_none();
            Ok(all.then_some(ended))
        })?;
        let side = Self { stages, process, dir };
        ensure!(
            ended.is_none(),
            "{program:?} ended with {ended:?}:\n{}",
            side.said()
        );
        Ok(side)
    }

    /// Plays exchange number `number`.
    ///
    /// # Errors
    /// When the script does not come to its end.
    pub(crate) fn play(&self, number: usize, exchange: &Exchange) -> Result<Transcript> {
        let stage = self.stages.get(number).context("no such exchange")?;
        let record = Record::default();
        let playing = RefCell::new(Vec::new());
        let start = |number: usize| {
            let place = stage.backends.get(&number).context("no such backend")?;
            let script = exchange.backends.get(&number).context("no such backend")?;
            let backend = Playing::start(place, number, script, &stage.places, &record)?;
            playing.borrow_mut().push(backend);
            Ok(())
        };
        for (number, _) in exchange.backends.iter().filter(|(_, script)| !script.late) {
            start(*number)?;
        }
        let steps = Steps {
            service: stage.service,
            tls: exchange.speaks_tls(),
            places: &stage.places,
            record: &record,
            up: &start,
        };
        let clients = steps.play(&exchange.steps);
        let mut requests = record.requests();
        let clients = clients.with_context(|| format!("the backends got {requests:?}"))?;
        match exchange.chance {
            Chance::None => {}
            Chance::Order => requests.sort_by_key(|request| (request.backend, request.connection)),
            Chance::Place => {
                for request in &mut requests {
                    (request.backend, request.connection) = (0, 0);
                }
            }
        }
        Ok(Transcript {
            requests,
            clients,
            connections: exchange.counts.then(|| record.opened()),
        })
    }

    /// That it lives still.
    ///
    /// # Errors
    /// When it has ended: its log.
    pub(crate) fn lives(&mut self) -> Result {
        let ended = self.process.ended()?;
        ensure!(ended.is_none(), "it ended with {ended:?}:\n{}", self.said());
        Ok(())
    }

    /// Its log.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Stage {
    fn set(exchange: &Exchange, service: SocketAddr, backends: Ipv4Addr, dir: &Path) -> Result<Self> {
        let mut places = Places::new();
        let mut taken = BTreeMap::new();
        for (number, script) in &exchange.backends {
            let place = if script.late {
                Place::late((backends, service.port() + LATE).into())
            } else {
                Place::take(backends)?
            };
            places.insert(format!("b{number}"), place.address.to_string());
            taken.insert(*number, place);
        }
        let refused = SocketAddr::from((backends, REFUSED_PORT));
        places.insert("refused".to_owned(), refused.to_string());
        places.insert("service".to_owned(), service.to_string());
        let own = dir.join(exchange.service());
        fs::create_dir(&own)?;
        for (name, content) in &exchange.files {
            write_file(&own, Path::new(name), &text::bytes(content, &Places::new())?)?;
        }
        if exchange.speaks_tls() {
            Certificate::make(&own, "tls", "ec", &["tls.example"])?;
        }
        places.insert("dir".to_owned(), own.display().to_string());
        Ok(Self {
            service,
            backends: taken,
            places: Arc::new(places),
        })
    }
}

/// Writes a file below a directory. It and the directories on its way are of one date, on both sides.
fn write_file(directory: &Path, name: &Path, content: &[u8]) -> Result {
    let path = directory.join(name);
    let ways = name.ancestors().skip(1).map(|way| directory.join(way));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, content)?;
    for changed in std::iter::once(path).chain(ways) {
        File::open(&changed)?.set_modified(SystemTime::UNIX_EPOCH + FILE_DATE)?;
    }
    Ok(())
}

fn configuration(corpus: &Corpus, stages: &[Stage], management: SocketAddr) -> Result<String> {
    // With threads Perlbal finds no base of several files.
    let mut config = String::from("SERVER aio_mode = none\n");
    for (exchange, stage) in corpus.exchanges.iter().zip(stages) {
        let name = exchange.service();
        writeln!(config, "CREATE POOL {name}_pool")?;
        for member in exchange.pool.iter().filter(|member| *member != "none") {
            let member = text::line(member, &stage.places)?;
            writeln!(config, "POOL {name}_pool ADD {member}")?;
        }
        writeln!(config, "CREATE SERVICE {name}\nSET role = reverse_proxy")?;
        writeln!(config, "SET listen = {}\nSET pool = {name}_pool", stage.service)?;
        for setting in &exchange.settings {
            writeln!(config, "SET {}", text::line(setting, &stage.places)?)?;
        }
        for line in &exchange.config {
            let line = line.replace("{name}", &name);
            writeln!(config, "{}", text::line(&line, &stage.places)?)?;
        }
        writeln!(config, "ENABLE {name}")?;
    }
    writeln!(config, "CREATE SERVICE mgmt\nSET role = management")?;
    writeln!(config, "SET listen = {management}\nENABLE mgmt")?;
    Ok(config)
}

pub(crate) fn command(program: Program, config: &Path, dir: &Path) -> Result<Command> {
    let mut command = match program {
        Program::Perlbal => Command::new(perlbal()?),
        Program::Fleetbal => process::fleetbal()?,
    };
    command.arg(format!("--config={}", config.display()));
    command.current_dir(dir);
    Ok(command)
}

fn perlbal() -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join("perlbal"));
    found
        .find(|path| path.is_file())
        .context("perlbal is not installed: apt-get install perlbal")
}
