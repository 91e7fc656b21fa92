//! Command lines of the documentation, run as they are written there. Where what they call cannot be had in a test (a
//! package manager, a container engine), a stand-in notes what it was called with, and does what can be done.

use std::fs;

use anyhow::ensure;
use fleetbal_cluster_tests::documentation::{blocks, pages};
use fleetbal_cluster_tests::{Backend, Result, ports, process};

use stage::{FLEET_CONF, Stage};

mod installing;
mod stage;

/// Makes a test of each line, and the list of the blocks that they run.
macro_rules! documented {
    ($($test:ident: $page:literal, [$($info:literal),+] => $run:path;)+) => {
        /// The blocks that are run: their page, and what stands behind their fence.
        const RUN: &[(&str, &str)] = &[$($(($page, $info)),+),+];

        $(#[test]
        fn $test() -> Result {
            $run(&Stage::new($page)?)
        })+
    };
}

documented! {
    the_readme_has_a_demo: "README.md", ["sh demo"] => demo;
    the_readme_has_the_gates_test: "README.md", ["sh tests"] => gate;
    the_readme_builds: "README.md", ["sh build"] => build;
    three_nodes_by_hand: "README.md", ["sh by-hand"] => by_hand;
    in_perlbals_place: "README.md", ["sh perlbal"] => in_place_of_perlbal;
    the_way_from_perlbal: "docs/migrating.md", ["sh migrating"] => migrating;
    secrets_of_the_handbook: "docs/handbook.md", ["conf secrets", "sh over-http"] => secrets;
    the_handbooks_transaction: "docs/handbook.md", ["conf transaction"] => transaction;
    the_handbooks_file: "docs/handbook.md", ["sh file"] => file;
    the_handbooks_backup: "docs/handbook.md", ["sh backup"] => backup;
    the_handbooks_tls: "docs/handbook.md", ["conf tls"] => tls;
    the_handbooks_certificates: "docs/handbook.md", ["sh certificates"] => certificates;
    plugins_are_pushed: "docs/plugins.md", ["sh push", "lua"] => plugins;
    a_node_is_lost: "docs/security.md", ["sh lost"] => lost;
    settings_of_the_kernel: "docs/tuning.md", ["conf sysctl"] => kernel;
    the_binary_is_installed: "docs/running.md", ["sh binary"] => installing::binary;
    the_package_is_installed: "docs/running.md", ["sh debian"] => installing::debian;
    the_unit_is_installed: "docs/running.md", ["sh systemd"] => installing::systemd;
    a_process_is_replaced: "docs/running.md", ["sh usr2"] => installing::replaced;
    a_fleet_is_rolled: "docs/running.md", ["sh roll"] => installing::rolled;
    containers_are_composed: "docs/running.md", ["sh compose"] => installing::composed;
    kubernetes_is_told: "docs/running.md", ["sh kubernetes"] => installing::kubernetes;
}

#[test]
fn every_block_is_run_or_says_why_not() -> Result {
    let mut bad = Vec::new();
    for page in pages()? {
        for block in blocks(&page)? {
            let is_run = RUN.contains(&(page.as_str(), block.info.as_str()));
            if is_run == block.reason().is_some() {
                bad.push(format!("{page}:{}: '{}'", block.line, block.info));
            }
        }
    }
    ensure!(
        bad.is_empty(),
        "blocks that no test runs, without '# Not run by a test: REASON' as their first line, or with it although one does: \
         {bad:#?}"
    );
    Ok(())
}

/// All of these stand in what was printed.
fn has(said: &str, wanted: &[&str]) -> Result {
    for wanted in wanted {
        ensure!(said.contains(wanted), "no '{wanted}' in\n{said}");
    }
    Ok(())
}

/// Runs a script apart, and looks for these in what it prints.
fn play(stage: &Stage, script: &str, wanted: &[&str]) -> Result {
    let Some(said) = stage.run_apart(script)? else {
        eprintln!("SKIPPED");
        return Ok(());
    };
    has(&said, wanted)
}

/// Runs blocks that need nothing but 127.0.0.1 and backends at these ports of it: where it can, on a machine of their own,
/// for here any connection may have port 60000.
fn play_plain(stage: &Stage, script: &str, backends: &[(&str, u16)]) -> Result<String> {
    let binary = env!("CARGO_BIN_EXE_sample-backend");
    let start = |(name, port): &(&str, u16)| format!("{binary} {name} 127.0.0.1:{port} & ");
    let started: String = backends.iter().map(start).collect();
    // In a shell of their own: `jobs` are those of the page.
    if let Some(said) = stage.run_apart(&format!("({started})\n{script}"))? {
        return Ok(said);
    }
    let _net = ports::claim_plain_net()?;
    let start = |(name, port): &(&str, u16)| Backend::start(name, ([127, 0, 0, 1], *port).into());
    let _backends = backends.iter().map(start).collect::<Result<Vec<_>>>()?;
    stage.run(script)
}

/// Cargo has built it already; the demo that it starts ends by itself.
fn demo(stage: &Stage) -> Result {
    stage.stand_in("cargo", "exec fleetbal \"${@:4}\" --seconds 2")?;
    play(stage, &stage.block("sh demo")?, &["quorum 3/3", "curl http://"])?;
    ensure!(
        stage.calls()? == "cargo run --release -- demo\n",
        "{}",
        stage.calls()?
    );
    Ok(())
}

/// It is what runs this.
fn gate(stage: &Stage) -> Result {
    let gate = fs::read_to_string(process::workspace().join(".ci/run"))?;
    let line = stage.block("sh tests")?;
    has(&gate, &[&format!("    if {} ", line.trim_end())])
}

fn build(stage: &Stage) -> Result {
    let binary = process::binary()?;
    let then = format!(
        "mkdir -p target/release && ln -s {} target/release/",
        binary.display()
    );
    stage.stand_in("cargo", &then)?;
    let said = stage.run(&format!(
        "{}command -v fleetbal\nfleetbal --version\n",
        stage.block("sh build")?
    ))?;
    ensure!(said.contains("target/release/fleetbal\nfleetbal "), "{said}");
    ensure!(stage.calls()? == "cargo build --release\n", "{}", stage.calls()?);
    Ok(())
}

fn by_hand(stage: &Stage) -> Result {
    let said = play_plain(stage, &stage.block("sh by-hand")?, &[("b1", 9001), ("b2", 9002)])?;
    has(
        &said,
        &[
            "quorum 3/3",
            "POOL ADD web 127.0.0.1:9002",
            "listen = ${node:ip}:8080",
        ],
    )
}

/// Perlbal's own sample, as far as it goes.
const PERLBAL: &str = "CREATE POOL web\n  POOL web ADD 127.0.0.1:9001\n\nCREATE SERVICE www\n  SET role = reverse_proxy\n  \
                       SET listen = 127.0.0.1:8080\n  SET pool = web\nENABLE www\n\nCREATE SERVICE mgmt\n  SET role = management\n  \
                       SET listen = 127.0.0.1:60000\nENABLE mgmt\n";

fn in_place_of_perlbal(stage: &Stage) -> Result {
    stage.file("perlbal.conf", PERLBAL)?;
    // It stays in the foreground, as Perlbal does.
    let script = format!(
        "mkdir -p /etc/perlbal && cp perlbal.conf /etc/perlbal/\n({}) 2> fleetbal.log &\n\
         until fleetbal ctl show service; do sleep 0.1; done\n",
        stage.block("sh perlbal")?
    );
    play(stage, &script, &["www 127.0.0.1:8080 ENABLED"])
}

fn migrating(stage: &Stage) -> Result {
    stage.file("perlbal.conf", PERLBAL)?;
    let said = play_plain(stage, &stage.block("sh migrating")?, &[("b1", 9001)])?;
    has(
        &said,
        &[
            "perlbal.conf: OK",
            "www 127.0.0.1:8080 ENABLED",
            "web nodes 1",
            "fleet.conf: OK",
        ],
    )
}

fn secrets(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    stage.file("changes.txt", "CREATE POOL blue\nPOOL blue ADD 10.0.0.7:80\n")?;
    let http = stage.block("sh over-http")?;
    let script = format!(
        "printf 'deploy admin s3cret\\nlook read other\\n' > /etc/fleetbal/n1.tokens\nfounder fleet.conf\n{}SECRET=s3cret\n{http}\
         fleetbal ctl show pool blue\nSECRET=wrong\n{http}\nSECRET=other\n{http}",
        stage.typed("conf secrets")?
    );
    let ok = "{\"ok\":true,\"results\":[{\"line\":1,\"ok\":true},";
    play(stage, &script, &[ok, "10.0.0.7:80", "\"ok\":false"])
}

fn transaction(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    let typed = stage.typed("conf transaction")?;
    let script = format!(
        "founder fleet.conf\n{{ for number in {{1..41}}; do echo CREATE POOL p$number; done; }} | fleetbal ctl\n{typed}\
         fleetbal ctl config version\nif {{\n{typed}\n}}; then exit 1; fi\n"
    );
    play(stage, &script, &["version 43"])
}

fn file(stage: &Stage) -> Result {
    stage.file("first.conf", FLEET_CONF)?;
    let script = format!(
        "founder first.conf\n{}fleetbal ctl config version\n",
        stage.block("sh file")?
    );
    play(stage, &script, &["fleet.conf: OK", "version 1"])
}

fn backup(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    let script = format!(
        "founder fleet.conf\nmkdir -p /var/backups\n{}test -s /var/backups/acme.fleetbal\n\
         fleetbal cluster restore --replace /var/backups/acme.fleetbal\n",
        stage.block("sh backup")?
    );
    play(stage, &script, &[])
}

fn tls(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    let script = format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=www -keyout /etc/fleetbal/www.key \
         -out /etc/fleetbal/www.pem 2> openssl.log\nfounder fleet.conf\n{}\
         until curl --insecure --silent --show-error --output /dev/null --write-out 'TLS %{{http_code}}' https://10.0.0.1:8080/; \
         do sleep 0.1; done\n",
        stage.typed("conf tls")?
    );
    play(stage, &script, &["TLS 503"])
}

fn certificates(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    let script = format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=www -addext subjectAltName=DNS:a.example \
         -keyout privkey.pem -out fullchain.pem 2> openssl.log\nfounder fleet.conf\n{}\
         until curl --insecure --silent --show-error --output /dev/null --write-out 'TLS %{{http_code}}' https://10.0.0.1:8080/; \
         do sleep 0.1; done\n",
        stage.block("sh certificates")?
    );
    play(stage, &script, &["a.example", "TLS 503"])
}

fn plugins(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    let mut names = Vec::new();
    for block in blocks("docs/plugins.md")? {
        let first = block.text.lines().next().unwrap_or_default();
        if let Some(name) = first.strip_prefix("-- ").filter(|_| block.info == "lua") {
            stage.file(name, &block.text)?;
            names.push(name.trim_end_matches(".lua").to_owned());
        }
    }
    let script = format!(
        "founder fleet.conf\n{}for name in {}; do fleetbal plugin push $name.lua; fleetbal ctl load $name; done\n\
         fleetbal ctl set www.plugins = {}\ncurl --silent --include http://10.0.0.1:8080/hello\n",
        stage.block("sh push")?,
        names.join(" "),
        names.join(", ")
    );
    ensure!(names.len() > 3, "only {names:?} were found");
    play(stage, &script, &["Hello from www"])
}

fn lost(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    let script = format!(
        "founder fleet.conf\njoiner 2\njoiner 3\nkill -9 $(cat n3.pid)\nfleetbal cluster token > /dev/null\n\
         ID=$(fleetbal cluster tokens | grep -oE '[0-9a-f]{{8,}}' | head -n 1)\n{}\
         echo left: $(fleetbal cluster tokens | grep -c $ID)\nfleetbal cluster members\n",
        stage.block("sh lost")?
    );
    play(stage, &script, &["left: 0", "n2"])
}

/// Those that a network of its own has are set there; the others are at least there.
fn kernel(stage: &Stage) -> Result {
    let block = stage.block("conf sysctl")?;
    stage.file("sysctl.conf", &block)?;
    let keys = block.lines().filter_map(|line| line.split_once(" = "));
    let paths: Vec<_> = keys
        .map(|(key, _)| format!("/proc/sys/{}", key.replace('.', "/")))
        .collect();
    ensure!(paths.len() > 2, "only {paths:?} were found");
    for path in paths {
        ensure!(fs::exists(&path)?, "there is no {path}");
    }
    let script = "while IFS='= ' read -r key value; do\n  path=/proc/sys/${key//.//}\n  \
                  [ ! -e $path ] || { echo $value > $path; echo $key $(cat $path); }\ndone < sysctl.conf\n";
    play(
        stage,
        script,
        &[
            "net.core.somaxconn 4096",
            "net.ipv4.ip_local_port_range 1024 65535",
        ],
    )
}
