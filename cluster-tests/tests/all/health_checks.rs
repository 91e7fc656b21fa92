//! Checks as backends see them: what they are asked, by whom, and what becomes of an answer.

use std::collections::BTreeSet;
use std::io::{BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::load::Load;
use fleetbal_cluster_tests::message::{Kind, Message};
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result, wait};

/// What stands at a backend's address in its place: it accepts, notes who asks, and answers nothing.
struct Husk {
    /// Who asked, in order: the node of a check, else what was said.
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Husk {
    /// Holds its connections open until the other side gives up, or closes each at once where it `hangs_up`.
    fn stand_at(address: SocketAddr, hangs_up: bool) -> Result<Self> {
        let listener = wait::until(format!("{address} to be free"), wait::PATIENCE, || {
            Ok(Some(TcpListener::bind(address)?))
        })?;
        listener.set_nonblocking(true)?;
        let (asked, is_over) = (Arc::default(), Arc::default());
        let (noted, ends) = (Arc::clone(&asked), Arc::clone(&is_over));
        let accepting = thread::spawn(move || accept(&listener, &noted, &ends, hangs_up));
        Ok(Self {
            asked,
            is_over,
            accepting: Some(accepting),
        })
    }

    fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}

impl Drop for Husk {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(self.accepting.take().map(JoinHandle::join));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, asked: &Mutex<Vec<String>>, is_over: &AtomicBool, hangs_up: bool) {
    let mut kept = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            Err(_) => return,
        };
        if !hangs_up {
            lock(asked).push("somebody".to_owned());
            kept.push(stream);
            continue;
        }
        let patience = Some(Duration::from_secs(1));
        let is_set = stream
            .set_nonblocking(false)
            .and(stream.set_read_timeout(patience));
        let head = is_set
            .map_err(Into::into)
            .and_then(|()| Message::read(&mut BufReader::new(&stream), Kind::Request));
        lock(asked).push(match head {
            Ok(Some(head)) => head.checker().unwrap_or(&head.start).to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        });
    }
}

fn wait_health(manage: &mut Manage, backend: &str, wanted: &str) -> Result {
    wait::for_true(format!("{backend} to be {wanted}"), wait::PATIENCE, || {
        let line = manage.health(backend)?;
        ensure!(line.contains(wanted), "it says: {line}");
        Ok(true)
    })
}

/// A node alone with one backend, which is checked ten times a second.
fn one_node() -> Result<(Fleet, String, Manage)> {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 1,
        extra: "SET web.health_interval = 0.1\nSET web.health_timeout = 0.2\n".to_owned(),
    })?;
    let backend = fleet.backend(1)?.address().to_string();
    let manage = fleet.node(1)?.manage()?;
    Ok((fleet, backend, manage))
}

#[test]
fn a_backend_is_asked_as_its_pool_says() -> Result {
    let (mut fleet, backend, mut manage) = one_node()?;
    for (method, path, host) in [
        ("GET", "/first", backend.as_str()),
        ("HEAD", "/are/you?well=1", "shop.example"),
        ("OPTIONS", "/last", "[::1]:80"),
    ] {
        manage.change(&format!("SET web.health_method = {method}"))?;
        if host != backend {
            manage.change(&format!("SET web.health_host = {host}"))?;
        }
        manage.change(&format!("SET web.health_path = {path}"))?;
        let start = format!("{method} {path} HTTP/1.1");
        wait::for_true(&start, wait::PATIENCE, || {
            let requests = fleet.backend(1)?.requests();
            let asked = requests.iter().find(|request| request.start == start);
            let asked = asked.context("it was not asked")?;
            ensure!(asked.header("host") == Some(host), "{asked:?}");
            ensure!(asked.checker() == Some("n1") && asked.closes(), "{asked:?}");
            Ok(true)
        })?;
        wait_health(&mut manage, &backend, " up ")?;
    }
    for (key, bad, wanted) in [
        ("health_method", "CONNECT", "an HTTP method other than CONNECT"),
        ("health_host", "a/b", "a host name or address"),
        ("health_path", "ok", "a path"),
        ("health_expect", "600", "status codes and ranges"),
        ("health_tcp", "perhaps", "on or off"),
        ("health_timeout", "0", "a number of seconds from 0.05 to 60"),
        ("health_fall", "0", "a number from 1 to 100, or none"),
        ("health_rise", "0", "a number from 1 to 100"),
        ("health_checkers", "0", "a number from 1 to "),
    ] {
        let text = manage.refused(&format!("SET web.{key} = {bad}"))?;
        ensure!(
            text.contains(wanted) && text.contains(key),
            "{key} = {bad}: {text}"
        );
    }
    fleet.passed()
}

#[test]
fn who_accepts_and_is_silent_passes_a_connect_and_no_question() -> Result {
    let (mut fleet, backend, mut manage) = one_node()?;
    fleet.backend(1)?.stop();
    let husk = Husk::stand_at(fleet.backend(1)?.address(), false)?;
    manage.change("SET web.health_tcp = on")?;
    wait::for_true("checks", wait::PATIENCE, || Ok(husk.asked().len() >= 5))?;
    wait_health(&mut manage, &backend, " up ")?;
    manage.change("SET web.health_path = /ok")?;
    wait_health(&mut manage, &backend, "no answer to the check within 0.2 s")?;
    ensure!(manage.health(&backend)?.contains(" down "));
    drop(husk);
    fleet.backend(1)?.restart()?;
    wait_health(&mut manage, &backend, " up ")?;
    // It answers, too late; with more patience it is in time.
    fleet.backend(1)?.delay(Duration::from_millis(500));
    wait_health(&mut manage, &backend, " down ")?;
    manage.change("SET web.health_timeout = 20")?;
    wait_health(&mut manage, &backend, " up ")?;
    fleet.passed()
}

#[test]
fn only_its_checkers_connect_to_a_dead_backend() -> Result {
    let mut fleet = Fleet::start(&Plan {
        extra: "SET web.health_path = /ok\nSET web.health_interval = 1\n".to_owned(),
        ..Plan::default()
    })?;
    let dead = fleet.backend(2)?.address();
    let mut loads = Vec::new();
    for number in 1..=3 {
        loads.push(Load::start(fleet.node(number)?.traffic(), 4)?);
    }
    fleet.backend(2)?.stop();
    let mut checkers = BTreeSet::new();
    // From then on nobody has to see for himself.
    wait::for_true("all to have the checkers' word", wait::PATIENCE, || {
        for number in 1..=3 {
            let why = fleet
                .node(number)?
                .manage()?
                .data(&format!("health why {dead}"))?;
            let rows = why.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let rows = rows.filter(|row| row.get(1) == Some(&"yes") && row.get(2) == Some(&"down"));
            let found: BTreeSet<_> = rows.filter_map(|row| Some((*row.first()?).to_owned())).collect();
            ensure!(found.len() == 2, "n{number} says: {why:?}");
            checkers = found;
        }
        Ok(true)
    })?;
    let husk = Husk::stand_at(dead, true)?;
    wait::for_true("both to have asked five times", wait::PATIENCE, || {
        let asked = husk.asked();
        let has_asked = |node: &String| asked.iter().filter(|name| *name == node).count() >= 5;
        Ok(checkers.iter().all(has_asked))
    })?;
    let asked: BTreeSet<_> = husk.asked().into_iter().collect();
    ensure!(asked == checkers, "{asked:?} connect, {checkers:?} check");
    drop(husk);
    fleet.backend(2)?.restart()?;
    for number in 1..=3 {
        fleet.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    for load in loads {
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}
