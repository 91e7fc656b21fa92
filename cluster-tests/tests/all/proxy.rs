//! What a client sees of the reverse proxy, through a real fleet.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::{Fleet, Plan, Result};

fn one_backend() -> Result<Fleet> {
    Fleet::start(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })
}

#[test]
fn bodies_of_all_sizes_pass_unharmed_both_ways() -> Result {
    let fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    for size in [0, 1, 127, 4096, 65_536, 1_000_000, 20_000_000] {
        let answer = http.request("GET", &format!("/size/{size}"), b"")?;
        ensure!(answer.body.len() == size, "{size} became {}", answer.body.len());
        ensure!(
            answer.body.iter().all(|&byte| byte == b'x'),
            "{size} bytes were changed"
        );
    }
    for size in [1, 5000, 3_000_000] {
        let body: Vec<u8> = (0..size)
            .map(|at: u32| at.to_le_bytes()[at as usize % 3])
            .collect();
        let answer = http.request("POST", "/echo", &body)?;
        ensure!(answer.body == body, "{size} bytes came back changed");
    }
    drop(http);
    fleet.passed()
}

#[test]
fn a_chunked_request_reaches_the_backend_whole() -> Result {
    let fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    http.send(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    )?;
    let answer = http.response(fleetbal_cluster_tests::message::Kind::Response)?;
    ensure!(answer.text() == "hello world", "came back as '{}'", answer.text());
    drop(http);
    fleet.passed()
}

#[test]
fn the_backend_is_told_the_client_and_spared_the_hop() -> Result {
    let mut fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    http.send(
        b"GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nX-Own: kept\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: keep-alive, X-Hop\r\nX-Hop: gone\r\nTE: trailers\r\n\r\n",
    )?;
    http.response(fleetbal_cluster_tests::message::Kind::Response)?;
    let requests = fleet.backend(1)?.requests();
    let seen = requests.first().context("the backend got nothing")?;
    ensure!(
        seen.start.starts_with("GET /a?b=c HTTP/1."),
        "it got '{}'",
        seen.start
    );
    ensure!(seen.header("host") == Some("shop.example"), "{:?}", seen.headers);
    ensure!(seen.header("x-own") == Some("kept"), "{:?}", seen.headers);
    ensure!(
        seen.header("x-forwarded-for") == Some("127.0.0.1"),
        "{:?}",
        seen.headers
    );
    ensure!(seen.header("x-hop").is_none(), "{:?}", seen.headers);
    drop(http);
    fleet.passed()
}

#[test]
fn connections_are_kept_on_both_sides() -> Result {
    let mut fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    for _ in 0..20 {
        let answer = http.request("GET", "/", b"")?;
        ensure!(!answer.closes(), "the proxy closes: {:?}", answer.headers);
    }
    ensure!(
        fleet.backend(1)?.connections() == 1,
        "{} connections",
        fleet.backend(1)?.connections()
    );
    drop(http);
    fleet.passed()
}

#[test]
fn pipelined_requests_are_answered_in_order() -> Result {
    let fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    http.send(b"GET /size/3 HTTP/1.1\r\nHost: a\r\n\r\nGET /size/5 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /size/7 HTTP/1.1\r\nHost: a\r\n\r\n")?;
    for wanted in [3, 5] {
        let answer = http.response(fleetbal_cluster_tests::message::Kind::Response)?;
        ensure!(
            answer.body.len() == wanted,
            "{} bytes, not {wanted}",
            answer.body.len()
        );
    }
    let head = http.response(fleetbal_cluster_tests::message::Kind::Bodyless)?;
    ensure!(head.header("content-length") == Some("7"), "{:?}", head.headers);
    drop(http);
    fleet.passed()
}

#[test]
fn round_robin_takes_them_in_turn() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    for _ in 0..5 {
        let mut turn = BTreeSet::new();
        for _ in 0..3 {
            turn.insert(http.request("GET", "/", b"")?.text());
        }
        ensure!(turn.len() == 3, "a turn met only {turn:?}");
    }
    drop(http);
    fleet.passed()
}

#[test]
fn random_meets_every_backend() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        // Without kept connections every request opens one, to a backend drawn anew.
        extra: "SET web.balance_method = random\nSET www.persist_backend = off\n".to_owned(),
        ..Plan::default()
    })?;
    fleet.wait_served_by(1, &["b1", "b2", "b3"])?;
    fleet.passed()
}

#[test]
fn a_get_outlives_its_kept_backend_connection() -> Result {
    let mut fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    http.request("GET", "/", b"")?;
    fleet.backend(1)?.stop();
    fleet.backend(1)?.restart()?;
    let before = fleet.backend(1)?.count();
    let answer = http.request("GET", "/again", b"")?;
    ensure!(answer.status()? == 200, "answered '{}'", answer.start);
    ensure!(
        fleet.backend(1)?.count() == before + 1,
        "the GET was seen more than once"
    );
    drop(http);
    fleet.passed()
}

#[test]
fn only_what_has_no_effect_is_sent_again() -> Result {
    let mut fleet = one_backend()?;
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    let answer = http.request("POST", "/hangup", b"an order")?;
    ensure!(answer.status()? >= 500, "answered '{}'", answer.start);
    ensure!(
        fleet.backend(1)?.count() == 1,
        "the POST was sent {} times",
        fleet.backend(1)?.count()
    );
    drop(http);
    let mut http = Http::connect(fleet.node(1)?.traffic())?;
    let answer = http.request("GET", "/hangup", b"")?;
    ensure!(answer.status()? >= 500, "answered '{}'", answer.start);
    ensure!(
        fleet.backend(1)?.count() == 3,
        "the GET was sent {} times",
        fleet.backend(1)?.count() - 1
    );
    drop(http);
    fleet.passed()
}
