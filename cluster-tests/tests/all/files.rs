//! Files that real nodes serve and take: what a crash leaves of uploads, and what a node does that lacks its docroot.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::{Fleet, Result, client, wait};

use crate::standalone::Place;

/// How many clients put files at the same time, each its own.
const CLIENTS: usize = 4;

/// The files of one client.
const FILES: usize = 3;

/// The largest file that is put, in bytes.
const LARGEST: usize = 400_000;

/// What PUT number `number` puts: it says itself how long it has to be.
fn content(number: usize) -> Vec<u8> {
    let length = number.wrapping_mul(7_919) % LARGEST;
    let mut content = format!("{number} {length}\n").into_bytes();
    content.extend((0..length).map(|at| u8::try_from((at * 31 + number) % 251).unwrap_or_default()));
    content
}

/// Which PUT a file is of.
fn number_of(path: &Path) -> Result<usize> {
    let found = fs::read(path)?;
    let text = String::from_utf8_lossy(found.get(..found.len().min(20)).unwrap_or_default()).into_owned();
    let number = text.split(' ').next().unwrap_or_default().parse();
    let number = number.with_context(|| format!("{}: begins '{text}'", path.display()))?;
    ensure!(found == content(number), "{} is not whole", path.display());
    Ok(number)
}

/// Puts files until the node is gone: the number of the last PUT that was answered, by path.
fn put_until_it_ends(traffic: SocketAddr, own: usize, numbers: &AtomicUsize) -> BTreeMap<String, usize> {
    let mut answered = BTreeMap::new();
    let Ok(mut http) = Http::connect(traffic) else {
        return answered;
    };
    for file in 0.. {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let path = format!("c{own}/d/f{}", file % FILES);
        let Ok(response) = http.request("PUT", &format!("/{path}"), &content(number)) else {
            break;
        };
        if response.status().is_ok_and(|status| status == 200) {
            answered.insert(path, number);
        }
    }
    answered
}

/// Kills a node after each so many PUTs, until there were `puts`.
fn kill_between_puts(puts: usize, each: usize) -> Result {
    let place = Place::new()?;
    let (root, node) = (place.dir.path().join("root"), place.net.node(1));
    fs::create_dir(&root)?;
    let config = format!(
        "CREATE SERVICE store\nSET role = web_server\nSET listen = {node}:8080\nSET docroot = {}\n\
         SET persist_client = on\nSET enable_put = on\nENABLE store\n",
        root.display()
    );
    let traffic = SocketAddr::from((node, 8080));
    let numbers = AtomicUsize::new(0);
    while numbers.load(Ordering::SeqCst) < puts {
        let mut process = place.start(&config)?;
        wait::until("it to listen", wait::PATIENCE, || {
            Ok(Some(TcpStream::connect(traffic)?))
        })?;
        let goal = numbers.load(Ordering::SeqCst) + each;
        let answered: Result<Vec<_>> = thread::scope(|scope| {
            let start = |own| {
                scope.spawn({
                    let numbers = &numbers;
                    move || put_until_it_ends(traffic, own, numbers)
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(start).collect();
            let waited = wait::for_true("files to be put", wait::PATIENCE, || {
                Ok(numbers.load(Ordering::SeqCst) >= goal)
            });
            process.kill()?;
            waited?;
            let ends = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
            ends.map(|end| end.map_err(|_| anyhow::anyhow!("a client panicked")))
                .collect()
        });
        for (path, number) in answered?.into_iter().flatten() {
            let found = number_of(&root.join(&path))?;
            ensure!(found >= number, "{path} is of {found}, and {number} was answered");
        }
        check_all(&root)?;
    }
    Ok(())
}

/// That each file below a directory is whole.
fn check_all(root: &Path) -> Result {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            check_all(&path)?;
        } else {
            number_of(&path)?;
        }
    }
    Ok(())
}

#[test]
fn kills_between_puts_leave_whole_files() -> Result {
    kill_between_puts(80, 20)
}

#[test]
#[ignore = "takes a minute"]
fn a_hundred_kills_between_a_thousand_puts_leave_whole_files() -> Result {
    kill_between_puts(1_000, 10)
}

/// Waits until `effects` and `cluster status` of a node tell that n2, and no other, lacks something for `files`.
fn told_of_everywhere(fleet: &Fleet, number: usize, lacks: &str) -> Result {
    let node = fleet.node(number)?;
    wait::for_true(format!("{} to know of it", node.name), wait::PATIENCE, || {
        let mut manage = node.manage()?;
        let effects = manage.data("effects")?;
        let [_, told] = &effects[..] else {
            bail!("not one effect: {effects:#?}");
        };
        let words: Vec<_> = told.split_whitespace().collect();
        ensure!(
            matches!(&words[..], ["n2", "service", "files", "failed", _, ..]) && told.ends_with(lacks),
            "{told}"
        );
        let status = node.status()?;
        let because = status.node_text("n2", "not_ready_because")?;
        ensure!(because.contains(lacks), "n2 is not ready because of '{because}'");
        let table = manage.data("cluster status")?;
        for (name, ready) in [("n1", "yes"), ("n2", "no"), ("n3", "yes")] {
            ensure!(
                status.node(name, "ready")?.as_bool() == Some(ready == "yes"),
                "{name}: {status:?}"
            );
            let row = table.iter().find(|line| line.contains(&format!(" {name} ")));
            let row: Vec<_> = row
                .context("no row")?
                .trim_start_matches('*')
                .split_whitespace()
                .collect();
            ensure!(row.get(8) == Some(&ready), "{row:?}");
        }
        Ok(true)
    })
}

#[test]
fn a_docroot_that_one_node_lacks_is_an_effect_there() -> Result {
    let fleet = Fleet::of_three()?;
    let root = |number: usize| fleet.dir().join(format!("files-n{number}"));
    for number in [1, 3] {
        fs::create_dir(root(number))?;
        fs::write(root(number).join("a"), "text")?;
    }
    let mut manage = fleet.node(1)?.manage()?;
    for line in [
        "CREATE SERVICE files".to_owned(),
        "SET files.role = web_server".to_owned(),
        "SET files.listen = ${node:ip}:8081".to_owned(),
        format!(
            "SET files.docroot = {}/files-${{node:name}}",
            fleet.dir().display()
        ),
    ] {
        manage.change(&line)?;
    }
    let lacks = format!("docroot {}: No such file or directory", root(2).display());
    let said = manage.refused("ENABLE files")?;
    ensure!(said == format!("enabled, but n2: {lacks}"), "{said}");
    let at = |number: usize| -> Result<SocketAddr> { Ok((fleet.node(number)?.address, 8081).into()) };
    ensure!(client::get(at(1)?, "/a")?.text() == "text");
    // It answers, so that a client can act on it.
    ensure!(client::get(at(2)?, "/a")?.status()? == 503);
    let complains = |number: usize, of: &str| -> Result<bool> {
        let mut manage = fleet.node(number)?.manage()?;
        Ok(manage.data("effects")?.iter().any(|line| line.contains(of)))
    };
    for number in 1..=3 {
        told_of_everywhere(&fleet, number, &lacks)?;
    }
    ensure!(fleet.node(2)?.ready().is_err(), "it calls itself ready");
    fs::create_dir(root(2))?;
    fs::write(root(2).join("a"), "late")?;
    ensure!(client::get(at(2)?, "/a")?.text() == "late");
    wait::for_true("all to be well", wait::PATIENCE, || {
        Ok(!complains(3, "docroot")? && fleet.node(2)?.ready()?)
    })?;
    // One that goes is noticed as well.
    fs::rename(root(3), root(4))?;
    wait::for_true("the third to notice", wait::PATIENCE, || complains(1, "files-n3"))?;
    if client::get(at(3)?, "/a")?.status()? != 503 {
        bail!("it answers without its docroot");
    }
    fleet.passed()
}

#[test]
fn a_file_of_a_gibibyte_takes_no_memory() -> Result {
    const SIZE: u64 = 1 << 30;
    let place = Place::new()?;
    let (root, node) = (place.dir.path().join("root"), place.net.node(1));
    fs::create_dir(&root)?;
    fs::File::create(root.join("huge"))?.set_len(SIZE)?;
    fs::write(root.join("small"), "text")?;
    let process = place.start(&format!(
        "CREATE SERVICE files\nSET role = web_server\nSET listen = {node}:8080\nSET docroot = {}\nENABLE files\n",
        root.display()
    ))?;
    let traffic = SocketAddr::from((node, 8080));
    wait::until("it to listen", wait::PATIENCE, || {
        Ok(Some(TcpStream::connect(traffic)?))
    })?;
    ensure!(client::get(traffic, "/small")?.text() == "text");
    let before = process.resident()?;
    let mut io = TcpStream::connect(traffic)?;
    io.write_all(b"GET /huge HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let (mut came, mut most, mut piece) = (0, before, vec![0; 1 << 20]);
    for looked in 0.. {
        match io.read(&mut piece)? {
            0 => break,
            read => came += read as u64,
        }
        if looked % 64 == 0 {
            most = most.max(process.resident()?);
        }
    }
    ensure!((SIZE..SIZE + 1024).contains(&came), "{came} bytes came");
    let grown = most - before;
    ensure!(grown < 10 << 20, "it took {grown} bytes more");
    Ok(())
}
