//! The images and the compose file of `deploy/container`, on a real engine.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Result, client, wait};

use crate::packages::static_binary;

/// How long the engine may take for anything.
const ENGINE: Duration = Duration::from_mins(3);

/// The project; its containers, networks and volumes go with it.
struct Project {
    compose: &'static [&'static str],
}

impl Project {
    /// With whichever compose this machine has.
    fn new() -> Result<Self> {
        let plugin = run("docker", &["compose", "version"])?.code == Some(0);
        let compose: &[&str] = if plugin {
            &["docker", "compose"]
        } else {
            &["docker-compose"]
        };
        Ok(Self { compose })
    }

    fn compose(&self, arguments: &[&str]) -> Result<Ended> {
        let file = process::workspace().join("deploy/container/compose.yaml");
        let file = file.display().to_string();
        let mut line = self.compose.to_vec();
        line.extend(["--project-name", "fleetbal-test", "--file", &file]);
        line.extend(arguments);
        let (program, rest) = line.split_first().unwrap_or((&"docker", &[]));
        let ended = run(program, rest)?;
        ensure!(ended.code == Some(0), "{line:?}: {ended:?}");
        Ok(ended)
    }

    /// The engine's name of what runs a service.
    fn container(&self, service: &str) -> Result<String> {
        Ok(self
            .compose(&["ps", "--quiet", service])?
            .stdout
            .trim()
            .to_owned())
    }

    fn wait_fleet(&self, at: &str, wanted: &str) -> Result<()> {
        wait::for_true(format!("'{wanted}' at {at}"), Duration::from_mins(1), || {
            let ended = self.compose(&["exec", "-T", at, "/usr/bin/fleetbal", "cluster", "status"])?;
            ensure!(ended.stdout.contains(wanted), "{}", ended.stdout);
            Ok(true)
        })
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        drop(self.compose(&["--profile", "fourth", "down", "--volumes", "--timeout", "5"]));
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<Ended> {
    let mut command = Command::new(program);
    command.args(arguments);
    process::run(command, ENGINE)
}

fn wait_traffic(port: u16) -> Result<()> {
    wait::for_true(format!("traffic at port {port}"), wait::PATIENCE, || {
        Ok(client::get(([127, 0, 0, 1], port).into(), "/who")?.status()? == 200)
    })
}

/// Nobody's process, that can write to its volume alone, and that the engine knows to be well.
fn check_confined(project: &Project, node: &str) -> Result<()> {
    let container = project.container(node)?;
    let what =
        "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.State.Health.Status}}";
    wait::for_true(format!("{node} to be well"), Duration::from_mins(1), || {
        let told = run("docker", &["inspect", "--format", what, &container])?.stdout;
        ensure!(told.trim() == "65532:65532 true [ALL] healthy", "{told}");
        Ok(true)
    })
}

/// A network is cut, and healed: the others go on, and it catches up.
fn cut_and_heal(project: &Project) -> Result<()> {
    let container = project.container("n3")?;
    let network = "fleetbal-test_fleet";
    ensure!(run("docker", &["network", "disconnect", network, &container])?.code == Some(0));
    project.compose(&[
        "exec",
        "-T",
        "n1",
        "/usr/bin/fleetbal",
        "ctl",
        "CREATE",
        "POOL",
        "meanwhile",
    ])?;
    for port in [8081, 8082] {
        wait_traffic(port)?;
    }
    let connect = ["network", "connect", "--ip", "172.30.77.13", network, &container];
    ensure!(run("docker", &connect)?.code == Some(0));
    project.wait_fleet("n3", "in sync yes")
}

#[test]
#[ignore = "builds releases and needs Docker; see docs/CONTRIBUTING.md"]
fn the_compose_file_makes_a_fleet_that_grows_heals_and_is_replaced() -> Result {
    let engine = run("sh", &["-c", "docker info"])?;
    if engine.code != Some(0) {
        eprintln!(
            "SKIPPED: no Docker engine answers, so nothing was tested: {}",
            engine.stderr
        );
        return Ok(());
    }
    let mut images = Command::new(process::workspace().join("deploy/container/build.sh"));
    images.env("FLEETBAL_STATIC", static_binary()?);
    let built = process::run(images, Duration::from_mins(20))?;
    ensure!(built.code == Some(0), "{built:?}");
    let project = Project::new()?;
    project.compose(&["up", "--detach"])?;
    project.wait_fleet("n3", "quorum 3/3, tolerates 1, in sync yes")?;
    for (node, port) in [("n1", 8081), ("n2", 8082), ("n3", 8083)] {
        check_confined(&project, node)?;
        wait_traffic(port)?;
    }
    // A fourth one, by hand.
    project.compose(&["--profile", "fourth", "up", "--detach", "n4", "b4"])?;
    project.wait_fleet("n4", "in sync yes")?;
    wait_traffic(8084)?;
    let add = [
        "exec",
        "-T",
        "n4",
        "/usr/bin/fleetbal",
        "ctl",
        "POOL",
        "web",
        "ADD",
        "172.30.77.24:8000",
    ];
    project.compose(&add)?;
    cut_and_heal(&project)?;
    // Each is replaced by a new container; what they know is in their volumes.
    for (node, port) in [("n1", 8081), ("n2", 8082), ("n3", 8083)] {
        project.compose(&["up", "--detach", "--no-deps", "--force-recreate", node])?;
        project.wait_fleet("n4", "in sync yes")?;
        wait_traffic(port)?;
    }
    let dump = ["exec", "-T", "n1", "/usr/bin/fleetbal", "ctl", "dumpconfig"];
    let kept = project.compose(&dump)?.stdout;
    ensure!(
        kept.contains("CREATE POOL meanwhile") && kept.contains("172.30.77.24:8000"),
        "{kept}"
    );
    Ok(())
}
