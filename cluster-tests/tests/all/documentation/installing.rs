//! The blocks of `docs/running.md`.

use std::process::Command;

use anyhow::ensure;
use fleetbal_cluster_tests::{Result, process, wait};

use super::stage::{FLEET_CONF, Stage};
use super::{has, play};

/// Puts what the pages have of `deploy` there, so that a stand-in may take the place of a script in it.
fn copy_deploy(stage: &Stage) -> Result {
    let mut copy = Command::new("cp");
    copy.arg("--recursive")
        .arg(process::workspace().join("deploy"))
        .arg(stage.dir());
    let ended = process::run(copy, wait::PATIENCE)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

/// What builds the static binary for minutes is tested in `packages`.
fn built(stage: &Stage) -> Result {
    copy_deploy(stage)?;
    stage.stand_in(
        "deploy/static.sh",
        &format!("echo {}", process::binary()?.display()),
    )
}

pub(super) fn binary(stage: &Stage) -> Result {
    built(stage)?;
    let script = format!(
        "mkdir -p /etc/bash_completion.d\n{}/usr/bin/fleetbal --version\ngrep -c _fleetbal /etc/bash_completion.d/fleetbal\n\
         ls /usr/local/share/man/man1\n",
        stage.block("sh binary")?
    );
    play(stage, &script, &["fleetbal ", "fleetbal-cluster-roll.1"])
}

/// The package itself is tested in `debian`.
pub(super) fn debian(stage: &Stage) -> Result {
    stage.stand_in("deploy/debian/build.sh", "echo /tmp/fleetbal_0.1.0_amd64.deb")?;
    stage.stand_in("apt-get", "")?;
    stage.run(&stage.block("sh debian")?)?;
    let calls = stage.calls()?;
    ensure!(
        calls == "deploy/debian/build.sh \napt-get install /tmp/fleetbal_0.1.0_amd64.deb\n",
        "{calls}"
    );
    Ok(())
}

/// Starts the unit's command as systemd would: as its user, with its capability and its settings.
const SYSTEMCTL: &str = r"
unit=/etc/systemd/system/$3.service
start=$(sed -n 's/^ExecStart=//p' $unit)
set -a && . $(sed -n 's/^EnvironmentFile=-//p' $unit) && set +a
setpriv --reuid $(sed -n 's/^User=//p' $unit) --regid $(sed -n 's/^Group=//p' $unit) --clear-groups \
  --inh-caps +net_bind_service --ambient-caps +net_bind_service $start 2> unit.log &
";

pub(super) fn systemd(stage: &Stage) -> Result {
    built(stage)?;
    stage.stand_in("systemctl", SYSTEMCTL)?;
    // The real one, for our file alone.
    let tmpfiles = "exec /usr/bin/systemd-tmpfiles \"$@\" /usr/lib/tmpfiles.d/fleetbal.conf";
    stage.stand_in("systemd-tmpfiles", tmpfiles)?;
    let script = format!(
        "rmdir /etc/fleetbal\ninstall -m 755 \"$(deploy/static.sh)\" /usr/bin/fleetbal\n{}\
         until fleetbal cluster status; do sleep 0.1; done\ncurl --silent --include http://10.0.0.1/\n\
         stat --format '%n %U %a' /etc/fleetbal/fleetbal.env /var/lib/fleetbal\nps -C fleetbal -o user=\n",
        stage.block("sh systemd")?
    );
    let wanted = [
        "quorum 1/1",
        "HTTP/1.1 503",
        "/etc/fleetbal/fleetbal.env root 640",
        "/var/lib/fleetbal fleetbal 700",
    ];
    play(stage, &script, &wanted)?;
    has(&stage.calls()?, &["systemctl enable --now fleetbal"])
}

pub(super) fn replaced(stage: &Stage) -> Result {
    stage.file(
        "fleet.conf",
        &format!("SERVER pidfile = /run/fleetbal.pid\n{FLEET_CONF}"),
    )?;
    let script = format!(
        "founder fleet.conf\nold=$(cat /run/fleetbal.pid)\n{}\
         until [ \"$(cat /run/fleetbal.pid)\" != $old ] && fleetbal ctl proc | grep \"^pid: $(cat /run/fleetbal.pid)$\"; do sleep 0.1; done\n\
         wait $old\nfleetbal cluster status\nkill $(cat /run/fleetbal.pid)\n",
        stage.block("sh usr2")?
    );
    play(stage, &script, &["quorum 1/1"])
}

/// What a service manager on that machine would do.
const SSH: &str = r"
number=${1##*.}
kill $(cat n$number.pid)
while [ -e /proc/$(cat n$number.pid) ]; do sleep 0.05; done
fleetbal --node n$number --data-dir n$number --workers 1 --cluster-listen 10.0.0.$number:7400 \
  --management 127.0.0.$number:60000 > /dev/null 2>> n$number.log &
echo $! > n$number.pid
";

pub(super) fn rolled(stage: &Stage) -> Result {
    stage.file("fleet.conf", FLEET_CONF)?;
    stage.stand_in("ssh", SSH)?;
    let script = format!(
        "founder fleet.conf\njoiner 2\njoiner 3\n{}",
        stage.block("sh roll")?
    );
    if let Some(said) = stage.run_apart(&script)? {
        has(&said, &["all 3 nodes are done"])?;
        let calls = stage.calls()?;
        let mut calls: Vec<_> = calls.lines().collect();
        calls.sort_unstable();
        let wanted = [1, 2, 3].map(|number| format!("ssh 10.0.0.{number} systemctl restart fleetbal"));
        ensure!(calls == wanted, "{calls:?}");
    }
    Ok(())
}

/// What it is to run in a container is run here, at one node; the rest is noted. A real engine has the file in `containers`.
const DOCKER: &str = "if [ $2 = exec ]; then exec fleetbal ${@:5}; fi";

pub(super) fn composed(stage: &Stage) -> Result {
    copy_deploy(stage)?;
    stage.file("fleet.conf", FLEET_CONF)?;
    stage.stand_in("deploy/container/build.sh", "")?;
    stage.stand_in("docker", DOCKER)?;
    let script = format!(
        "founder fleet.conf\n{}fleetbal ctl show pool web\n",
        stage.block("sh compose")?
    );
    if let Some(said) = stage.run_apart(&script)? {
        has(&said, &["quorum 1/1", "172.30.77.24:8000"])?;
        has(
            &stage.calls()?,
            &[
                "docker compose up --detach",
                "docker compose --profile fourth up --detach n4 b4",
            ],
        )?;
    }
    Ok(())
}

/// Files that are to be applied are there; what is to run in a pod is run here, at one node.
const KUBECTL: &str = r#"
case $1 in
  apply) for word in "${@:2}"; do [ "$word" = -f ] || test -s "$word"; done ;;
  exec) words=("${@:5}"); exec fleetbal "${words[@]/founder/n2}" ;;
  create) grep -q . /dev/stdin ;;
esac
"#;

pub(super) fn kubernetes(stage: &Stage) -> Result {
    copy_deploy(stage)?;
    stage.file("fleet.conf", FLEET_CONF)?;
    stage.stand_in("kubectl", KUBECTL)?;
    let script = format!(
        "founder fleet.conf\njoiner 2\n{}echo left: $(fleetbal cluster members | grep -c -E '(^| )n[0-9] ')\n",
        stage.block("sh kubernetes")?
    );
    play(stage, &script, &["left: 1"])
}
