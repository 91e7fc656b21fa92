//! The daemon itself, and `--check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fleetbal_raft::identity::DataDir;

use super::{daemon, exit};
use crate::boot::{self, BootError, Place, Process, Takeover};
use crate::daemon::SystemLog;
use crate::handover::{Predecessor, Program};
use crate::manage::script::{self, Script, ScriptError};
use crate::os_settings::{self, PidFile, ServerSetting};
use crate::priority;
use crate::settings::{LogFormat, RunFlags, Settings, config_file};
use crate::sockets::Sockets;

/// Threads of the control plane: consensus, gossip, management. Traffic has its own.
const CONTROL_THREADS: usize = 2;

/// What Perlbal says, and what ends it, where a configuration would do nothing at all.
const NOTHING_TO_DO: &str = "No services or management port configured.  Nothing to do.  Stopping.";

/// Runs a node until it is asked to end.
pub(super) fn run(flags: RunFlags) -> ExitCode {
    // Asked before anybody replaces the file.
    let program = Program::current();
    // Whoever takes over is in the background already, in the session of the process before.
    let in_background = flags.daemon && !flags.check && !flags.take_over;
    if in_background && !daemon::is_in_background() {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        return daemon::start(&arguments);
    }
    if in_background && let Err(problem) = daemon::leave_session() {
        return config_error(problem);
    }
    if let Err(problem) = start_log(&flags) {
        eprintln!("fleetbal: {problem}");
        return ExitCode::from(exit::USAGE);
    }
    let file = config_file(&flags);
    let script = match file.as_deref().map(script::read).transpose() {
        Ok(script) => script.unwrap_or_default(),
        Err(error) => return report_script(&error),
    };
    if flags.check {
        return check_passed(file.as_deref());
    }
    for line in &script.output {
        println!("{line}");
    }
    let sockets = match Sockets::from_service_manager() {
        Ok(sockets) => sockets,
        Err(problem) => return config_error(problem),
    };
    let takes_over = flags.take_over;
    let settings = match Settings::build(flags, &script.settings) {
        Ok(settings) => settings,
        Err(error) => return config_error(error),
    };
    if !takes_over && does_nothing(&settings, &script) {
        return config_error(NOTHING_TO_DO);
    }
    let pidfile = match set_up_process(&script.server) {
        Ok(pidfile) => pidfile,
        Err(problem) => return config_error(problem),
    };
    let mut process = Process {
        settings: &settings,
        script: &script,
        sockets: &sockets,
        program,
        takeover: None,
    };
    if takes_over {
        process.takeover = match takeover(&settings, &sockets, pidfile) {
            Ok(takeover) => Some(takeover),
            Err(problem) => return config_error(problem),
        };
        return boot(process, file.as_deref());
    }
    let written = pidfile.map(|path| PidFile::write(path)).transpose();
    match written {
        Ok(_written) => boot(process, file.as_deref()),
        Err(problem) => config_error(problem),
    }
}

/// Checks what can be checked while another process is the node, and waits until that one passes what it has.
fn takeover(settings: &Settings, sockets: &Sockets, pidfile: Option<&PathBuf>) -> Result<Takeover, String> {
    let predecessor = Predecessor::at_stdin().map_err(|error| format!("standard input: {error}"))?;
    let predecessor = predecessor.ok_or_else(|| {
        "--take-over is for a process that another one starts at USR2, and not for the command line"
            .to_owned()
    })?;
    if let Some(clustered) = &settings.cluster {
        DataDir::check_readable(&clustered.data_dir).map_err(|error| error.to_string())?;
    }
    let mut inheritance = predecessor
        .inherit()
        .map_err(|error| format!("the process before this one keeps its place: {error}"))?;
    sockets.take(std::mem::take(&mut inheritance.sockets));
    let place = Place {
        predecessor,
        pidfile: pidfile.cloned(),
    };
    Ok(Takeover { place, inheritance })
}

/// Carries out the `SERVER` lines of a config file that are about this process; which pidfile is to be written: the last.
fn set_up_process(settings: &[ServerSetting]) -> Result<Option<&PathBuf>, String> {
    let mut pidfile = None;
    for setting in settings {
        if let ServerSetting::PidFile(path) = setting {
            pidfile = Some(path);
        } else {
            os_settings::apply(setting)?;
        }
    }
    Ok(pidfile)
}

/// Reads and checks a config file.
pub(super) fn check(file: &Path) -> ExitCode {
    match script::read(file) {
        Ok(_) => check_passed(Some(file)),
        Err(error) => report_script(&error),
    }
}

fn check_passed(file: Option<&Path>) -> ExitCode {
    match file {
        Some(file) => println!("{}: OK", file.display()),
        None => println!("no config file: OK"),
    }
    ExitCode::SUCCESS
}

fn boot(process: Process<'_>, file: Option<&Path>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .on_thread_start(priority::give_way)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("fleetbal: cannot start threads: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    let outcome = runtime.block_on(Box::pin(boot::run(process)));
    // Whatever still blocks must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let BootError::Script { line, text, remedy } = &error {
                println!("ERROR: {text}");
                let file = file.unwrap_or(Path::new("-")).display();
                eprintln!("{file}:{line}: {text}{remedy}");
            }
            eprintln!("fleetbal: {error}");
            error.exit_code()
        }
    }
}

fn does_nothing(settings: &Settings, script: &Script) -> bool {
    let serves = script.config.services().any(|(_, service)| service.enabled);
    settings.cluster.is_none() && settings.management.is_none() && !serves
}

/// As Perlbal: the `ERROR:` on stdout, that the start failed on stderr; and where the mistake is.
fn report_script(error: &ScriptError) -> ExitCode {
    if let ScriptError::Line { text, .. } = error {
        println!("ERROR: {text}");
        eprintln!("{error}");
        eprintln!("Error starting up.");
    } else {
        eprintln!("{error}");
    }
    ExitCode::from(exit::CONFIG)
}

fn config_error(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("fleetbal: {error}");
    ExitCode::from(exit::CONFIG)
}

fn start_log(flags: &RunFlags) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(quiet(&flags.log_level))
        .map_err(|error| format!("--log-level '{}': {error}", flags.log_level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let colours =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    if flags.daemon {
        let system = log
            .with_writer(SystemLog::at(crate::daemon::LOG))
            .with_ansi(false);
        let outcome = system.without_time().with_level(false).try_init();
        return outcome.map_err(|error| format!("cannot write a log: {error}"));
    }
    let outcome = match flags.log_format {
        LogFormat::Text => log.with_ansi(colours).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    outcome.map_err(|error| format!("cannot write a log: {error}"))
}

/// A bare level is about fleetbal's own words; the libraries under it warn at most. openraft warns of every heartbeat
/// that a dead member does not answer, which `cluster status` says once, and of every call after a failure of the
/// store, which is said once; what sled says of a damaged store, the store
/// says in one sentence.
fn quiet(level: &str) -> String {
    let levels = ["error", "warn", "info", "debug", "trace"];
    if !levels.contains(&level.to_ascii_lowercase().as_str()) {
        return level.to_owned();
    }
    let libraries = ["chitchat", "h2", "hyper", "tonic", "tower", "rustls"];
    let most = if level.eq_ignore_ascii_case("error") {
        "error"
    } else {
        "warn"
    };
    let quieter = libraries.iter().fold(level.to_owned(), |filter, library| {
        format!("{filter},{library}={most}")
    });
    quieter + ",openraft=error,openraft::raft::raft_inner=off,sled=off"
}
