//! Plugins in Lua: pushed through one node, they run on all.

use std::fs;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, client, wait};

/// Adds a line to each answer.
const VERSIONED: &str = "return { register = function(service)\n\
    service:register_hook('modify_response_headers', function(request)\n\
    request:set_response_header('X-Plugin', 'VERSION')\nend)\nend }\n";

/// Fails where it is asked to.
const FAULTY: &str = "return { register = function(service)\n\
    service:register_hook('start_proxy_request', function(request)\n\
    if request:uri() == '/fail' then\n\
    error('on purpose')\nend end)\nend }\n";

/// Runs `fleetbal plugin` against a node.
fn plugin(fleet: &Fleet, number: usize, arguments: &[&str]) -> Result<Ended> {
    let mut command = process::fleetbal()?;
    let server = fleet.node(number)?.management().to_string();
    command.arg("plugin").args(arguments).args(["--server", &server]);
    process::run(command, wait::PATIENCE)
}

/// Pushes a source as `Versioned.lua`.
fn push(fleet: &Fleet, number: usize, source: &str) -> Result<Ended> {
    let file = fleet.dir().join("Versioned.lua");
    fs::write(&file, source)?;
    plugin(fleet, number, &["push", file.to_str().context("no text")?])
}

/// Waits until all nodes answer with that version of the plugin.
fn wait_everywhere(fleet: &Fleet, version: &str) -> Result {
    for node in fleet.nodes() {
        wait::for_true("the plugin's version", wait::PATIENCE, || {
            Ok(client::get(node.traffic(), "/")?.header("x-plugin") == Some(version))
        })?;
    }
    Ok(())
}

/// What is told of the plugin, which is at its third version and was at its fourth; and that it goes.
fn tell_and_remove(fleet: &Fleet, before: u64) -> Result {
    let shown = plugin(fleet, 1, &["show", "Versioned"])?;
    ensure!(shown.stdout == VERSIONED.replace("VERSION", "3"), "{shown:#?}");
    let differs = plugin(fleet, 1, &["diff", "Versioned", &before.to_string()])?;
    ensure!(
        differs
            .stdout
            .contains("+ request:set_response_header('X-Plugin', '3')"),
        "{differs:#?}"
    );
    let listed = plugin(fleet, 3, &["list"])?;
    ensure!(
        listed.stdout.contains("Versioned") && listed.stdout.contains("www"),
        "{listed:#?}"
    );
    let used = plugin(fleet, 1, &["remove", "Versioned"])?;
    ensure!(
        used.code == Some(1) && used.stderr.contains("UNLOAD Versioned first"),
        "{used:#?}"
    );
    fleet.node(2)?.manage()?.change("UNLOAD Versioned")?;
    ensure!(
        plugin(fleet, 1, &["remove", "Versioned"])?.code == Some(0),
        "it is still there"
    );
    Ok(())
}

/// Pushes what is no plugin, which changes nothing; the version that this is of.
fn refuse_broken(fleet: &Fleet) -> Result<u64> {
    let before = fleet.node(1)?.version()?;
    let broken = push(fleet, 2, "return {\n  register = function( }\n")?;
    ensure!(
        broken.code == Some(1) && broken.stderr.contains("Versioned.lua:2:"),
        "{broken:#?}"
    );
    let hook = VERSIONED.replace("modify_response_headers", "no_such_hook");
    let broken = push(fleet, 2, &hook)?;
    ensure!(
        broken.code == Some(1) && broken.stderr.contains("there is no hook"),
        "{broken:#?}"
    );
    ensure!(
        fleet.node(1)?.version()? == before,
        "a refused push made a version"
    );
    Ok(before)
}

/// A plugin that fails once on n1 is off there, which n2 tells; it is not off anywhere else.
fn tell_of_failures(fleet: &Fleet) -> Result {
    let file = fleet.dir().join("Faulty.lua");
    fs::write(&file, FAULTY)?;
    let pushed = plugin(fleet, 1, &["push", file.to_str().context("no text")?])?;
    ensure!(pushed.code == Some(0), "{pushed:#?}");
    let mut manage = fleet.node(1)?.manage()?;
    manage.change("SET www.plugin_max_errors = 1")?;
    manage.change("LOAD Faulty")?;
    manage.change("SET www.plugins = Versioned, Faulty")?;
    client::get(fleet.node(1)?.traffic(), "/fail")?;
    wait::for_true("n2 to tell of it", wait::PATIENCE, || {
        let told = fleet.node(2)?.manage()?.data("effects")?;
        let mut about = told.iter().filter(|line| line.contains("plugin Faulty of www"));
        let is_told = about
            .next()
            .is_some_and(|line| line.starts_with("n1 ") && line.ends_with("Faulty.lua:4: on purpose"));
        ensure!(about.next().is_none(), "{told:#?}");
        Ok(is_told)
    })?;
    for (node, figure) in [(1, 1), (2, 0)] {
        let metrics = fleet.node(node)?.metrics()?;
        for line in [
            format!("fleetbal_plugin_failures_total{{plugin=\"Faulty\"}} {figure}"),
            format!("fleetbal_plugin_off{{plugin=\"Faulty\"}} {figure}"),
        ] {
            ensure!(
                metrics.lines().any(|known| known == line),
                "no {line} in {metrics}"
            );
        }
    }
    manage.change("SET www.plugins = Versioned")?;
    wait::for_true("it to be forgotten", wait::PATIENCE, || {
        let told = fleet.node(2)?.manage()?.data("effects")?;
        Ok(!told.iter().any(|line| line.contains("Faulty")))
    })
}

/// Brings a command along.
const COMMANDED: &str = "return { register = function(service)\n\
    service:register_hook('manage_command.greet', function(command)\n\
    if command.rest == 'nobody' then error('on purpose') end\n\
    if command.rest ~= '' then return { 'Hello', command.rest } end\nend)\nend }\n";

/// Commands of a plugin, typed at a node; a word that is taken is refused where it is typed.
fn take_commands(fleet: &Fleet) -> Result {
    let file = fleet.dir().join("Commanded.lua");
    let push = |source: &str| -> Result<Ended> {
        fs::write(&file, source)?;
        plugin(fleet, 1, &["push", file.to_str().context("no text")?])
    };
    let mut manage = fleet.node(1)?.manage()?;
    ensure!(manage.refused("greet all")? == "unknown command: greet");
    let taken = COMMANDED.replace("greet", "uptime");
    let taken_text = "Commanded.lua:2: 'uptime' is a command that every node has";
    ensure!(push(&taken)?.code == Some(0), "no service has it yet");
    manage.change("LOAD Commanded")?;
    let refused = manage.refused("SET www.plugins = Versioned, Commanded")?;
    ensure!(refused.contains(taken_text), "{refused}");
    ensure!(push(COMMANDED)?.code == Some(0));
    manage.change("SET www.plugins = Versioned, Commanded")?;
    let before = fleet.node(1)?.version()?;
    let refused = push(&taken)?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains(taken_text),
        "{refused:#?}"
    );
    ensure!(
        fleet.node(1)?.version()? == before,
        "a refused push made a version"
    );
    ensure!(manage.data("GREET  All of us")? == ["Hello", "all of us"]);
    ensure!(manage.refused("greet")? == "unknown command: greet");
    ensure!(manage.refused("greet nobody")? == "plugin Commanded: Commanded.lua:3: on purpose");
    manage.change("SET www.plugins = Versioned")?;
    ensure!(manage.refused("greet all")? == "unknown command: greet");
    manage.change("UNLOAD Commanded")
}

#[test]
fn a_push_changes_all_nodes_under_load_and_a_broken_one_changes_nothing() -> Result {
    let fleet = Fleet::start(&Plan {
        pooled: 2,
        ..Plan::default()
    })?;
    let first = push(&fleet, 1, &VERSIONED.replace("VERSION", "1"))?;
    ensure!(
        first.code == Some(0) && first.stdout.starts_with("plugin Versioned: version "),
        "{first:#?}"
    );
    let mut manage = fleet.node(2)?.manage()?;
    manage.change("LOAD Versioned")?;
    manage.change("SET www.plugins = Versioned")?;
    wait_everywhere(&fleet, "1")?;
    let mut loads = Vec::new();
    for node in fleet.nodes() {
        loads.push(Load::start(node.traffic(), 3)?);
    }
    for version in ["2", "3", "4"] {
        let pushed = push(&fleet, 3, &VERSIONED.replace("VERSION", version))?;
        ensure!(pushed.code == Some(0), "{pushed:#?}");
        wait_everywhere(&fleet, version)?;
    }
    let before = refuse_broken(&fleet)?;
    wait_everywhere(&fleet, "4")?;
    // The way back is that of every version.
    manage.change(&format!("config rollback {}", before - 1))?;
    wait_everywhere(&fleet, "3")?;
    for load in loads {
        load.finish().expect_flawless()?;
    }
    tell_of_failures(&fleet)?;
    take_commands(&fleet)?;
    tell_and_remove(&fleet, before)?;
    fleet.passed()
}
