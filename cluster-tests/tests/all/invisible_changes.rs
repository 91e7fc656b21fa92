//! P7 on one node: whatever becomes of backends, of the pool and of every tunable, no GET fails whose answer had not
//! begun.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Load, Manage, Result, Shape, wait};
use fleetbal_raft::model::{Role, TUNABLES};

use super::standalone::Place;

/// Each answer takes so long that a backend which is killed always has requests.
const TARGET: &str = "/slow/15";

/// What is set, by tunable: another value, then what it is taken back to. `{dir}` is a directory.
const VALUES: &[(&str, &str, &str)] = &[
    ("accesscontrol.use_observed_ip", "on", "off"),
    ("always_trusted", "on", "off"),
    ("backend_http_version", "1.0", "1.1"),
    ("backend_persist_cache", "0", "2"),
    ("blind_proxy", "on", "off"),
    ("buffer_backend_connect", "0", "100k"),
    ("buffer_size", "1k", "256k"),
    ("buffer_size_reproxy_url", "1k", "50k"),
    ("buffer_upload_threshold_rate", "1000", "0"),
    ("buffer_upload_threshold_size", "1", "250k"),
    ("buffer_upload_threshold_time", "1", "5"),
    ("buffer_uploads_path", "{dir}", "none"),
    ("buffer_uploads", "on", "off"),
    ("client_sndbuf_size", "64k", "0"),
    ("connect_ahead", "3", "0"),
    ("enable_error_retries", "on", "off"),
    ("enable_reproxy", "on", "off"),
    ("error_retry_schedule", "0,1", "0,.25,.50,1,1,1,1,1"),
    ("highpri.host_pattern", "^127", "none"),
    ("highpri.uri_pattern", "slow", "none"),
    ("high_priority_cookie", "tier", "other"),
    ("high_priority_cookie_contents", "gold", "other"),
    ("high_priority_host_pattern", "^127", "none"),
    ("high_priority_uri_pattern", "slow", "none"),
    ("idle_timeout", "20", "30"),
    ("log_format", "json", "perlbal"),
    ("ban_expiration", "30", "60"),
    ("ban_threshold", "1", "0"),
    ("blacklist_action", "throttle", "deny"),
    ("blacklist_file", "{dir}/list", "none"),
    ("default_action", "allow", "throttle"),
    ("initial_delay", "0", "3"),
    ("log_events", "all", "none"),
    ("max_concurrent", "100", "2"),
    ("max_delay", "1", "300"),
    ("method_regex", "^POST$", "none"),
    ("path_regex", "^/none", "none"),
    ("throttle_threshold_seconds", "1", "60"),
    ("whitelist_file", "{dir}/list", "none"),
    ("max_backend_uses", "2", "0"),
    ("max_chunked_request_size", "1", "200m"),
    ("max_content_length", "1000", "0"),
    ("notmodified.host_pattern", "^127", "none"),
    ("persist_backend", "off", "on"),
    ("persist_client", "off", "on"),
    ("persist_client_idle_timeout", "20", "30"),
    ("plugin_max_errors", "0", "100"),
    ("plugin_memory_limit", "1m", "16m"),
    ("plugin_on_error", "deny", "ignore"),
    ("plugin_time_limit", "20", "10"),
    ("pool", "other", "web"),
    ("queue_limit", "1000", "0"),
    ("queue_relief_chance", "50", "0"),
    ("queue_relief_size", "1", "0"),
    ("queue_timeout", "20", "0"),
    ("reproxy_cache_maxsize", "100", "0"),
    ("reproxy_file_root", "{dir}", "none"),
    ("send_backend_port", "on", "off"),
    ("send_backend_proto", "on", "off"),
    ("server_tokens", "off", "on"),
    ("ssl_ca_path", "{dir}", "none"),
    ("ssl_cert_file", "/etc/passwd", "certs/server-cert.pem"),
    ("ssl_cipher_list", "ECDHE+AESGCM", "ALL:!LOW:!EXP"),
    ("ssl_key_file", "/etc/passwd", "certs/server-key.pem"),
    ("ssl_protocols", "TLSv1.3", "TLSv1.2 TLSv1.3"),
    ("ssl_verify_mode", "1", "0"),
    ("trusted_upstream_proxies", "127.0.0.0/8", "10.0.0.0/8"),
    ("upload_status_listeners", "127.0.0.1:9", "127.0.0.2:9"),
    ("verify_backend", "on", "off"),
    ("verify_backend_path", "/probe", "*"),
];

/// Plugins that bring tunables along.
const PLUGINS: [&str; 7] = [
    "AccessControl",
    "Highpri",
    "Log",
    "MaxContentLength",
    "NotModified",
    "Throttle",
    "XFFExtras",
];

/// Tunables with a test of their own here.
const APART: &[(&str, &str)] = &[
    (
        "listen",
        "who connects to the old address is refused; see `moving_the_listener_…`",
    ),
    ("log_only", "clients wait without it, as they should"),
    (
        "enable_ssl",
        "who speaks plainly afterwards is told so; see `tls.rs`",
    ),
    (
        "ssl_certificates",
        "it names what was brought in before; open connections outlast its change in `certs.rs`",
    ),
    ("role", "it sets others back; see `setting_the_role_again_…`"),
];

/// One node with two workers before three backends, each a process of its own.
struct Scene {
    place: Place,
    backends: Vec<Option<Process>>,
    _node: Process,
    manage: Manage,
}

impl Scene {
    fn set(method: &str) -> Result<Self> {
        let place = Place::new()?;
        let backends = (1..=3).map(|number| Ok(Some(backend(&place, number)?)));
        let backends = backends.collect::<Result<Vec<_>>>()?;
        let node = place.net.node(1);
        let adds = |pool| -> String {
            let add = |number| format!("POOL {pool} ADD {}\n", place.net.backend(number));
            (1..=3).map(add).collect()
        };
        let config = format!(
            "{}CREATE POOL web\n{}CREATE POOL other\n{}SET web.balance_method = {method}\n\
             CREATE SERVICE www\nSET role = reverse_proxy\nSET listen = {node}:8080\nSET pool = web\n\
             SET persist_client = on\nSET persist_backend = on\nSET plugins = {}\nSET log_only = on\nSET log_events = none\nENABLE www\n\
             CREATE SERVICE mgmt\nSET role = management\nSET listen = {node}:60000\nENABLE mgmt\n",
            PLUGINS.map(|plugin| format!("LOAD {plugin}\n")).concat(),
            adds("web"),
            adds("other"),
            PLUGINS.join(", "),
        );
        std::fs::write(place.dir.path().join("list"), "10.0.0.1\n")?;
        let mut command = place.command(&config)?;
        command.args(["--workers", "2"]);
        let log = place.dir.path().join("log");
        let mut process = Process::start(command, &log)?;
        let manage = wait::until("the node to take commands", wait::PATIENCE, || {
            let ended = process.ended()?;
            Ok(Some(match ended {
                Some(_) => Err(ended),
                None => Ok(Manage::connect((node, 60000).into())?),
            }))
        })?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let manage = manage.map_err(|ended| anyhow::anyhow!("it ended with {ended:?}:\n{}", said()))?;
        let scene = Self {
            place,
            backends,
            _node: process,
            manage,
        };
        wait::for_true("three backends", wait::PATIENCE, || {
            Ok((1..=3).all(|number| std::net::TcpStream::connect(scene.place.net.backend(number)).is_ok()))
        })?;
        Ok(scene)
    }

    fn at(&self, port: u16) -> SocketAddr {
        (self.place.net.node(1), port).into()
    }

    fn load(&self, kept: usize, fresh: usize) -> Result<Load> {
        let target = TARGET.to_owned();
        Load::of(self.at(8080), &Shape { kept, fresh, target })
    }

    fn kill(&mut self, number: usize) -> Result {
        let backend = self.backends.get_mut(number - 1).and_then(Option::take);
        backend.context("it does not run")?.kill()
    }

    fn start(&mut self, number: u8) -> Result {
        let place = self.backends.get_mut(usize::from(number) - 1);
        *place.context("no such backend")? = Some(backend(&self.place, number)?);
        Ok(())
    }
}

fn backend(place: &Place, number: u8) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample-backend"));
    command.args([format!("b{number}"), place.net.backend(number).to_string()]);
    Process::start(command, &place.dir.path().join(format!("b{number}.log")))
}

/// Waits until that backend has answered more requests of the load.
fn wait_served_by(load: &Load, name: &str) -> Result {
    let count = || load.so_far().bodies.get(name).copied().unwrap_or(0);
    let goal = count() + 10;
    wait::for_true(format!("answers of {name}"), wait::PATIENCE, || {
        Ok(count() >= goal)
    })
}

fn backends_come_and_go(method: &str) -> Result {
    let mut scene = Scene::set(method)?;
    let load = scene.load(16, 8)?;
    for number in [1, 2, 3] {
        let name = format!("b{number}");
        let address = scene.place.net.backend(number);
        wait_served_by(&load, &name)?;
        scene.kill(number.into())?;
        load.pass(200)?;
        scene.start(number)?;
        wait_served_by(&load, &name)?;
        for (there, back) in [("REMOVE", "ADD"), ("DRAIN", "UNDRAIN")] {
            scene.manage.change(&format!("POOL web {there} {address}"))?;
            load.pass(100)?;
            scene.manage.change(&format!("POOL web {back} {address}"))?;
            wait_served_by(&load, &name)?;
        }
    }
    load.finish().expect_flawless()
}

#[test]
fn backends_that_come_and_go_fail_no_get_with_random() -> Result {
    backends_come_and_go("random")
}

#[test]
fn backends_that_come_and_go_fail_no_get_with_round_robin() -> Result {
    backends_come_and_go("round_robin")
}

#[test]
fn a_change_of_any_tunable_fails_no_get() -> Result {
    let mut scene = Scene::set("random")?;
    let dir = scene.place.dir.path().display().to_string();
    let load = scene.load(16, 8)?;
    let taken = TUNABLES
        .iter()
        .filter(|one| one.applies_to(Some(Role::ReverseProxy)));
    for tunable in taken.filter(|one| APART.iter().all(|(apart, _)| *apart != one.key)) {
        let key = tunable.key;
        let values = VALUES.iter().find(|(known, ..)| *known == key);
        let (_, there, back) = values.with_context(|| format!("no values of {key} are listed here"))?;
        for value in [there, back] {
            let value = value.replace("{dir}", &dir);
            scene.manage.change(&format!("SET www.{key} = {value}"))?;
            load.pass(60)?;
            let report = load.so_far();
            report
                .expect_flawless()
                .with_context(|| format!("with {key} = {value}"))?;
        }
    }
    load.finish().expect_flawless()
}

#[test]
fn all_values_are_of_tunables_that_exist_and_differ() -> Result {
    let known = |key: &str| TUNABLES.iter().any(|one| one.key == key);
    for (key, there, back) in VALUES {
        ensure!(known(key), "there is no {key}");
        ensure!(there != back, "{key} does not change");
    }
    for (key, _) in APART {
        ensure!(known(key), "there is no {key}");
    }
    Ok(())
}

#[test]
fn moving_the_listener_fails_no_get_of_a_kept_connection() -> Result {
    let mut scene = Scene::set("random")?;
    let load = scene.load(16, 0)?;
    for (port, old) in [(8081, 8080), (8080, 8081)] {
        let node = scene.place.net.node(1);
        scene.manage.change(&format!("SET www.listen = {node}:{port}"))?;
        load.pass(200)?;
        let moved = Load::of(
            scene.at(port),
            &Shape {
                kept: 0,
                fresh: 4,
                target: TARGET.to_owned(),
            },
        )?;
        moved.pass(50)?;
        moved.finish().expect_flawless()?;
        let refused = std::net::TcpStream::connect(scene.at(old));
        ensure!(refused.is_err(), "{old} is still listened at");
    }
    load.finish().expect_flawless()
}

#[test]
fn setting_the_role_again_fails_no_get() -> Result {
    let mut scene = Scene::set("random")?;
    // The role sets back that Throttle only logs.
    let others = PLUGINS.into_iter().filter(|plugin| *plugin != "Throttle");
    let others = others.collect::<Vec<_>>().join(", ");
    scene.manage.change(&format!("SET www.plugins = {others}"))?;
    let load = scene.load(16, 8)?;
    scene.manage.change("SET www.role = reverse_proxy")?;
    load.pass(200)?;
    scene.manage.change("SET www.persist_client = on")?;
    scene.manage.change("SET www.persist_backend = on")?;
    load.pass(200)?;
    load.finish().expect_flawless()
}
