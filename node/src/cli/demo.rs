//! `fleetbal demo`: a whole fleet on loopback, with sample backends, to look at and to break.
//!
//! Every node is a process of this same binary with a data directory of its own, started with the flags that anybody
//! would type. The backends live in the demo's own process. Nothing is left behind.

mod backends;
mod client;
mod nodes;
mod place;
mod screen;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use backends::Backends;
use nodes::Nodes;
use place::Place;
use screen::Screen;

/// What `fleetbal demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// How many nodes the fleet has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Leave after so many seconds, instead of staying until Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
}

/// Why a demo ended early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// The operating system refused something.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// No port was free.
    #[error("no port from {0} on is free on the addresses of the demo")]
    NoPort(u16),
    /// A node ended while it was needed.
    #[error("{name} ended unasked; the end of its log:\n{log}")]
    NodeEnded {
        /// Which.
        name: String,
        /// The last lines of its log.
        log: String,
    },
    /// A node did not do what was waited for.
    #[error("{what} took too long: {last}; the end of the log:\n{log}")]
    TooLong {
        /// What was waited for.
        what: String,
        /// What was seen last.
        last: String,
        /// The last lines of the node's log.
        log: String,
    },
    /// A node refused a command.
    #[error("'{line}' was answered '{answer}'")]
    Refused {
        /// What was typed.
        line: String,
        /// What came back.
        answer: String,
    },
}

impl DemoError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

/// Runs the demo to its end.
pub fn run(options: &DemoOptions) -> ExitCode {
    let screen = Screen::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .map_err(DemoError::system("start a runtime"))
        .and_then(|runtime| runtime.block_on(until_signal(options, &screen)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The show, cut short by Ctrl-C or TERM; whatever ends it, everything that it started ends too.
async fn until_signal(options: &DemoOptions, screen: &Screen) -> Result<(), DemoError> {
    let listen = DemoError::system("listen for signals");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(listen)?;
    let listen = DemoError::system("listen for signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(listen)?;
    screen.title(&format!(
        "fleetbal demo: a fleet of {} on this machine, every node a process of its own",
        options.nodes
    ));
    let place = Place::find(options.nodes, screen)?;
    let backends = Backends::start(&place).await?;
    let mut nodes = Nodes::new(&place);
    let outcome = tokio::select! {
        outcome = show(options, screen, &backends, &mut nodes) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    screen.blank();
    screen.line("ending the fleet …");
    nodes.end().await;
    backends.stop().await;
    drop(place);
    if outcome.is_ok() {
        screen.line("done; nothing is left behind.");
    }
    outcome
}

async fn show(
    options: &DemoOptions,
    screen: &Screen,
    backends: &Backends,
    nodes: &mut Nodes<'_>,
) -> Result<(), DemoError> {
    let end = options
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    introduce(screen, backends);
    gather(screen, nodes).await?;
    print_status(screen, nodes).await?;
    invite(screen, nodes);
    change_the_pool(screen, backends, nodes).await?;
    screen.heading("Break it");
    let (name, pid) = nodes.leader_or_first().await;
    screen.line(&format!(
        "kill the leader, watch the others carry on; it is started again after {} seconds:",
        nodes::AWAY.as_secs()
    ));
    screen.command(&format!("kill -9 {pid}"), &format!("{name}, the leader"));
    screen.blank();
    match end {
        Some(_) => screen.line("Live, until time is up:"),
        None => screen.line("Live, until Ctrl-C:"),
    }
    watch::follow(screen, nodes, end).await
}

fn introduce(screen: &Screen, backends: &Backends) {
    screen.heading("Backends");
    for (name, address) in backends.list() {
        screen.line(&format!("{name}  http://{address}/  answers its name"));
    }
}

async fn gather(screen: &Screen, nodes: &mut Nodes<'_>) -> Result<(), DemoError> {
    screen.heading("Nodes");
    let took = nodes.found().await?;
    screen.step("n1 founds the fleet", took, nodes.pid(1));
    if nodes.count() > 1 {
        let token = nodes.token().await?;
        for number in 2..=nodes.count() {
            let took = nodes.join(number, &token).await?;
            screen.step(
                &format!("n{number} joins with a token of n1"),
                took,
                nodes.pid(number),
            );
        }
    }
    let took = nodes.wait_voters().await?;
    screen.step("all of them vote and are ready for traffic", took, None);
    Ok(())
}

async fn print_status(screen: &Screen, nodes: &Nodes<'_>) -> Result<(), DemoError> {
    let number = nodes.count().min(2);
    let lines = nodes.ask(number, "cluster status").await?;
    screen.heading(&format!("cluster status, typed at n{number}"));
    for line in lines {
        screen.line(&line);
    }
    Ok(())
}

fn invite(screen: &Screen, nodes: &Nodes<'_>) {
    screen.heading("Try it from another terminal");
    for number in 1..=nodes.count() {
        let address = nodes.traffic(number);
        screen.command(
            &format!("curl http://{address}/"),
            &format!("traffic through n{number}"),
        );
    }
    let management = nodes.management(nodes.count());
    screen.command(
        &format!("telnet {} {}", management.ip(), management.port()),
        "Perlbal's management protocol, at any node: help, show service, cluster status",
    );
    screen.command(
        &format!("curl http://{management}/metrics"),
        "for Prometheus; also /healthz and /readyz",
    );
    screen.command(&format!("http://{management}/"), "in a browser: the dashboard");
    screen.command(&format!("fleetbal top --server {management}"), "the fleet, live");
}

/// Takes a backend out at one node and in again at another, and shows that the traffic of all nodes follows.
async fn change_the_pool(screen: &Screen, backends: &Backends, nodes: &Nodes<'_>) -> Result<(), DemoError> {
    let Some((name, address)) = backends.list().last().cloned() else {
        return Ok(());
    };
    screen.heading("One command, the whole fleet");
    let all: Vec<String> = backends.list().iter().map(|(name, _)| name.clone()).collect();
    let rest: Vec<String> = all.iter().filter(|&other| *other != name).cloned().collect();
    let steps = [("REMOVE", nodes.count(), rest), ("ADD", 1, all)];
    for (word, number, expected) in steps {
        let line = format!("POOL web {word} {address}");
        let start = Instant::now();
        nodes.ask(number, &line).await?;
        screen.step(&format!("typed at n{number}: {line}"), start.elapsed(), None);
        nodes.ask(number, "barrier 10").await?;
        for other in 1..=nodes.count() {
            let served = nodes.wait_served_by(other, &expected).await?;
            screen.detail(&format!("n{other} now balances over {}", served.join(", ")));
        }
    }
    Ok(())
}
