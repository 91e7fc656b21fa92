//! `deploy/kubernetes`: whole, consistent, and of this release's flags. No cluster is needed, and none is tried.

use std::fs;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Result, wait};
use serde::Deserialize;
use serde_yaml_ng::Value;

const FILES: [&str; 5] = [
    "configmap",
    "founder",
    "poddisruptionbudget",
    "service",
    "statefulset",
];

fn objects() -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in FILES {
        let path = process::workspace().join(format!("deploy/kubernetes/{file}.yaml"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            objects.push(Value::deserialize(document).with_context(|| path.display().to_string())?);
        }
    }
    Ok(objects)
}

/// What is at a path of keys; `*` is each item of a list.
fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('/').fold(vec![value], |found, key| {
        let each = |value: &'a Value| match (key, value) {
            ("*", Value::Sequence(items)) => items.iter().collect(),
            _ => value.get(key).into_iter().collect::<Vec<_>>(),
        };
        found.into_iter().flat_map(each).collect()
    })
}

fn text(value: &Value, path: &str) -> String {
    let found = at(value, path);
    let first = found.first().and_then(|value| value.as_str());
    first.unwrap_or_default().to_owned()
}

fn texts(value: &Value, path: &str) -> Vec<String> {
    let found = at(value, path);
    found
        .iter()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn containers(objects: &[Value]) -> Vec<&Value> {
    let each = objects
        .iter()
        .flat_map(|object| at(object, "spec/template/spec/containers/*"));
    each.collect()
}

fn run(arguments: &[String]) -> Result<Ended> {
    let mut command = process::fleetbal()?;
    command.args(arguments);
    process::run(command, wait::PATIENCE)
}

#[test]
fn each_object_is_one_of_the_fleet() -> Result {
    let objects = objects()?;
    let kinds: Vec<_> = objects.iter().map(|object| text(object, "kind")).collect();
    let wanted = [
        "ConfigMap",
        "Job",
        "PodDisruptionBudget",
        "Service",
        "Service",
        "StatefulSet",
    ];
    ensure!(kinds == wanted, "{kinds:?}");
    for object in &objects {
        let name = text(object, "metadata/name");
        ensure!(
            name.starts_with("fleetbal") && !text(object, "apiVersion").is_empty(),
            "{object:?}"
        );
        ensure!(text(object, "metadata/labels/app") == "fleetbal", "{name}");
        let selected = [
            "spec/selector/app",
            "spec/selector/matchLabels/app",
            "spec/template/metadata/labels/app",
        ];
        for path in selected {
            let labels = texts(object, path);
            ensure!(labels.iter().all(|label| label == "fleetbal"), "{name} {path}");
        }
    }
    Ok(())
}

#[test]
fn ports_and_volumes_that_are_named_are_there() -> Result {
    let objects = objects()?;
    for container in containers(&objects) {
        let ports = texts(container, "ports/*/name");
        for kind in ["Startup", "Liveness", "Readiness"].map(str::to_lowercase) {
            for port in texts(container, &format!("{kind}Probe/httpGet/port")) {
                ensure!(
                    ports.contains(&port),
                    "{kind} asks at {port}, not one of {ports:?}"
                );
            }
        }
        for service in objects.iter().filter(|object| text(object, "kind") == "Service") {
            for port in texts(service, "spec/ports/*/targetPort") {
                ensure!(
                    ports.contains(&port),
                    "a service wants {port}, not one of {ports:?}"
                );
            }
        }
    }
    for object in &objects {
        let mut volumes = texts(object, "spec/template/spec/volumes/*/name");
        volumes.extend(texts(object, "spec/volumeClaimTemplates/*/metadata/name"));
        for mount in texts(object, "spec/template/spec/containers/*/volumeMounts/*/name") {
            ensure!(volumes.contains(&mount), "{mount} is not one of {volumes:?}");
        }
    }
    Ok(())
}

#[test]
fn flags_variables_and_configuration_are_known() -> Result {
    let objects = objects()?;
    let help = run(&["--help".to_owned()])?.stdout;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("fleetbal.conf");
    let config = objects.iter().find(|object| text(object, "kind") == "ConfigMap");
    let config = at(config.context("no ConfigMap")?, "data");
    let config = config
        .first()
        .and_then(|data| data.get("fleetbal.conf")?.as_str());
    fs::write(&path, config.context("no configuration")?)?;
    let containers = containers(&objects);
    ensure!(containers.len() == 2, "{} containers", containers.len());
    for container in containers {
        let mut arguments = texts(container, "args/*");
        for argument in &mut arguments {
            if argument == "/etc/fleetbal/fleetbal.conf" {
                *argument = path.display().to_string();
            }
        }
        if !arguments.contains(&"--config".to_owned()) {
            arguments.extend(["--config".to_owned(), path.display().to_string()]);
        }
        arguments.push("--check".to_owned());
        let ended = run(&arguments)?;
        ensure!(ended.code == Some(0), "{arguments:?}: {ended:?}");
        for name in texts(container, "env/*/name") {
            let known = help.contains(&format!("[env: {name}=")) || name == "POD_IP";
            ensure!(known, "there is no variable {name}");
        }
        let probe = texts(container, "readinessProbe/exec/command/*");
        if let Some((program, arguments)) = probe.split_first() {
            ensure!(program == "/usr/bin/fleetbal", "{program}");
            // Nobody answers here, which is not wrong usage.
            let nobody = ["--server", "127.0.0.1:9", "--timeout", "1"].map(str::to_owned);
            let ended = run(&[arguments, &nobody].concat())?;
            ensure!(ended.code == Some(4), "{ended:?}");
        }
    }
    Ok(())
}
