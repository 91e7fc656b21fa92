//! `fleetbal cluster roll -- COMMAND…`: goes round the fleet, one node at a time, and stops where anything is amiss.

use std::process::{Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::super::client::{Answer, ClientError, Server};
use super::super::exit;
use super::{Health, Member};

/// Between two looks at the fleet.
const LOOK: Duration = Duration::from_millis(250);

/// A node counts as drained when no request has come to it for so long.
const QUIET: Duration = Duration::from_secs(1);

/// How long it waits at first for a fleet that is whole.
const FIT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "The command finds the node in its environment:\n  \
    FLEETBAL_ROLL_NODE     its name\n  \
    FLEETBAL_ROLL_ADDRESS  its cluster port, IP:PORT\n  \
    FLEETBAL_ROLL_HOST     the IP of that\n\
    It has to return when the node runs again.\n\n\
    Example:\n  \
    fleetbal cluster roll -- sh -c 'ssh \"$FLEETBAL_ROLL_HOST\" systemctl restart fleetbal'")]
pub(super) struct RollArgs {
    /// How long the clients of a drained node may take to go elsewhere; it goes on as soon as none comes
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_timeout: u64,
    /// How long a node may take to be ready and caught up after the command
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    ready_timeout: u64,
    /// What is run for each node
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
enum RollError {
    /// Nothing was begun.
    #[error("{0}")]
    Unfit(String),
    /// Nobody answered, at the very beginning.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something went wrong at a node.
    #[error("stopped at {node}: {reason}")]
    Stopped {
        /// Which.
        node: String,
        /// What.
        reason: String,
    },
}

pub(super) fn roll(server: &Server, args: &RollArgs) -> ExitCode {
    let mut walk = Walk {
        server,
        args,
        done: Vec::new(),
        left: Vec::new(),
    };
    match walk.all() {
        Ok(()) => {
            println!("all {} nodes are done", walk.done.len());
            ExitCode::SUCCESS
        }
        Err(RollError::Client(error)) => super::report(&error),
        Err(error @ RollError::Unfit(_)) => {
            eprintln!("fleetbal: {error}; nothing was begun");
            ExitCode::from(exit::FAILED)
        }
        Err(error @ RollError::Stopped { .. }) => {
            eprintln!("fleetbal: {error}");
            walk.tell_where_it_stands();
            ExitCode::from(exit::FAILED)
        }
    }
}

/// The nodes behind and ahead.
struct Walk<'a> {
    server: &'a Server,
    args: &'a RollArgs,
    done: Vec<String>,
    left: Vec<Member>,
}

impl Walk<'_> {
    fn all(&mut self) -> Result<(), RollError> {
        let fleet = self.fit_fleet()?;
        let leader = fleet.leader.clone().unwrap_or_default();
        self.left = fleet.nodes;
        self.left.retain(|node| node.state != "left");
        // The leader last, so that leadership moves once.
        self.left
            .sort_by_key(|node| (node.name == leader, node.name.clone()));
        while let Some(node) = self.left.first().cloned() {
            self.one(&node).map_err(|reason| RollError::Stopped {
                node: node.name.clone(),
                reason,
            })?;
            self.left.remove(0);
            self.done.push(node.name);
        }
        Ok(())
    }

    /// The fleet, where one node may be away. A voter that was slow for a moment is waited for.
    fn fit_fleet(&self) -> Result<Health, RollError> {
        let give_up = Instant::now() + FIT;
        loop {
            let fleet = self.status()?;
            match fit(&fleet) {
                Ok(()) => return Ok(fleet),
                Err(error) if Instant::now() >= give_up => return Err(error),
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn one(&self, node: &Member) -> Result<(), String> {
        let name = &node.name;
        let is_safe = |fleet: &Health| fleet.is_fine() && fleet.quorum.tolerates > 0;
        let fleet = self.until(self.args.ready_timeout, "the fleet to be whole", is_safe)?;
        if fleet.leader.as_ref() == Some(name) {
            self.hand_over(name, &fleet)?;
        }
        println!("{name}: draining");
        self.command(&format!("on {name} drain node"))?;
        self.wait_quiet(name)?;
        println!("{name}: running the command");
        let status = self.run(node)?;
        if !status.success() {
            return Err(format!(
                "the command ended with {status}; the node is still drained"
            ));
        }
        self.undrain(name)?;
        self.until(
            self.args.ready_timeout,
            "it to be ready and caught up",
            Health::is_fine,
        )?;
        println!("{name}: ready");
        Ok(())
    }

    /// Lets another voter lead, one that was done before where there is one.
    fn hand_over(&self, leader: &str, fleet: &Health) -> Result<(), String> {
        let voters = fleet.nodes.iter().filter(|node| node.role == "voter");
        let heir = voters.min_by_key(|node| (!self.done.contains(&node.name), node.name.clone()));
        let heir = heir.ok_or("it leads, and no other node has a vote")?;
        println!("{leader}: leads; {} takes over", heir.name);
        self.command(&format!("cluster transfer {}", heir.name))
    }

    /// Waits until the others know that it drains, and its clients have gone elsewhere, or had their time.
    fn wait_quiet(&self, name: &str) -> Result<(), String> {
        let is_known = |fleet: &Health| fleet.node(name).is_some_and(|node| node.ready == Some(false));
        self.until(
            self.args.ready_timeout,
            "the fleet to know that it drains",
            is_known,
        )?;
        let give_up = Instant::now() + Duration::from_secs(self.args.drain_timeout);
        let (mut requests, mut since) = (None, Instant::now());
        while Instant::now() < give_up && since.elapsed() < QUIET {
            thread::sleep(LOOK);
            let now = self
                .status()
                .ok()
                .and_then(|fleet| fleet.node(name)?.requests_total);
            if now.is_none() || now != requests {
                (requests, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    fn run(&self, node: &Member) -> Result<ExitStatus, String> {
        let (program, arguments) = self.args.command.split_first().ok_or("there is no command")?;
        let host = node.address.rsplit_once(':').map_or("", |(host, _)| host);
        Command::new(program)
            .args(arguments)
            .env("FLEETBAL_ROLL_NODE", &node.name)
            .env("FLEETBAL_ROLL_ADDRESS", &node.address)
            .env("FLEETBAL_ROLL_HOST", host.trim_matches(['[', ']']))
            .status()
            .map_err(|error| format!("cannot run {program}: {error}; the node is still drained"))
    }

    /// As soon as it answers, and as long as that takes.
    fn undrain(&self, name: &str) -> Result<(), String> {
        let give_up = Instant::now() + Duration::from_secs(self.args.ready_timeout);
        loop {
            match self.command(&format!("on {name} undrain node")) {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() >= give_up => {
                    return Err(format!("it did not come back: {reason}; it is still drained"));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn status(&self) -> Result<Health, RollError> {
        let lines = match self.server.ask("cluster status json")? {
            Answer::Lines(lines) => lines,
            Answer::Refused(text) => return Err(RollError::Unfit(text)),
        };
        let line = lines.first().map_or("", String::as_str);
        serde_json::from_str(line).map_err(|error| {
            RollError::Unfit(format!("cannot read what the node told of the fleet: {error}"))
        })
    }

    /// Asks until the fleet is so; the node that is asked may itself be the one that is away.
    fn until(&self, seconds: u64, what: &str, is_so: impl Fn(&Health) -> bool) -> Result<Health, String> {
        let give_up = Instant::now() + Duration::from_secs(seconds);
        loop {
            let last = match self.status() {
                Ok(fleet) if is_so(&fleet) => return Ok(fleet),
                Ok(fleet) => fleet.amiss(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= give_up {
                return Err(format!("waited {seconds} s for {what}: {last}"));
            }
            thread::sleep(LOOK);
        }
    }

    fn command(&self, line: &str) -> Result<(), String> {
        match self.server.ask(line) {
            Ok(Answer::Lines(_)) => Ok(()),
            Ok(Answer::Refused(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tell_where_it_stands(&self) {
        let list = |names: Vec<&str>| match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let done = list(self.done.iter().map(String::as_str).collect());
        let left = list(self.left.iter().skip(1).map(|node| node.name.as_str()).collect());
        eprintln!("fleetbal: done: {done}; not begun: {left}");
        if let Some(node) = self.left.first() {
            let name = &node.name;
            eprintln!(
                "fleetbal: when {name} is well, `fleetbal ctl on {name} undrain node` gives it traffic again"
            );
        }
    }
}

/// Whether one node may be away.
fn fit(fleet: &Health) -> Result<(), RollError> {
    if !fleet.is_fine() {
        return Err(RollError::Unfit(fleet.amiss()));
    }
    if fleet.quorum.tolerates == 0 {
        let voters = fleet.quorum.voters;
        return Err(RollError::Unfit(format!(
            "the fleet tolerates the loss of no node ({voters} voters), so none may be stopped; join more nodes"
        )));
    }
    Ok(())
}
