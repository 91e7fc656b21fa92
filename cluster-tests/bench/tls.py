#!/usr/bin/env python3
"""nginx, HAProxy and fleetbal side by side in front of TLS clients, in one run of about three minutes.

    cluster-tests/bench/tls.py                  everything; needs `cargo build --release`
    cluster-tests/bench/tls.py --short          everything in under a minute: does it work at all?
    cluster-tests/bench/tls.py --only full      some of it: cells by name
    cluster-tests/bench/tls.py --write-docs     puts its tables into docs/benchmarks.md

Debian packages: nginx-light haproxy wrk openssl. How it measures: docs/benchmarks.md. Another version, suite, group or
certificate than the rest, tickets that resume nothing, other bodies and errors end the run.
"""

import argparse
import os
import ssl
import subprocess
import sys
import time

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import cells  # noqa: E402
import report  # noqa: E402
from backend import Backend, body  # noqa: E402
from cells import KIB, Cell  # noqa: E402
from contenders import NAMES, PEERS, SUITE, TLS_SPOILERS, VERSION, Contender, certificate, versions  # noqa: E402
from machine import Layout, describe, leave_the_network, raise_descriptor_limit  # noqa: E402
from process import Trouble, built_with, free_port, in_a_directory, require  # noqa: E402
from recorder import HOST, Recorder, Stream, check, check_bodies  # noqa: E402
from stage import Stage  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BEGIN, END = "<!-- tls:begin -->", "<!-- tls:end -->"
GROUP = "X25519"
SIZES = (128, 16 * KIB)
LIMITS = {"must": (1.0, 1.0), "aim": (0.90, 0.90)}
MATRIX = [
    Cell("128", "64 connections, 128 B", **LIMITS),
    Cell("16k", "64 connections, 16 KiB", body=16 * KIB, **LIMITS),
    Cell("full", "64 at a time, a full handshake a request", close=True, handshake="full", **LIMITS),
    Cell("resumed", "64 at a time, a resumed session a request", close=True, handshake="resumed", **LIMITS),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=f"{ROOT}/target/release/fleetbal", help="the fleetbal binary")
    parser.add_argument("--short", action="store_true", help="one round of half a second: figures are noise")
    parser.add_argument("--rounds", type=int, help="rounds of each cell [5]")
    parser.add_argument("--seconds", type=float, help="measured seconds of each contender in each round [2]")
    parser.add_argument("--only", help="names of cells, separated by commas")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--spoil", choices=TLS_SPOILERS, help="make a mistake in nginx's settings: the run must fail")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.short else 5)
    options.seconds = options.seconds or (0.4 if options.short else 2.0)
    options.access_log = False
    if options.write_docs and (options.short or options.only):
        parser.error("--write-docs needs a whole run")
    return options


def wanted(options):
    names = [cell.name for cell in MATRIX]
    chosen = options.only.split(",") if options.only else names
    if unknown := set(chosen) - set(names):
        raise Trouble(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return [cell for cell in MATRIX if cell.name in chosen]


def ask(sock):
    """One request on a connection; reads what comes with it, session tickets included."""
    sock.sendall(f"GET /body/128 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    first, _, content = Stream(sock).message()
    if " 200 " not in first or content != body(128):
        raise Trouble(f"another answer: {first}, {len(content)} bytes")
    while sock.recv(4096):
        pass


def check_tls(contender):
    """Ends the run where this contender agrees on something else than the rest, or resumes nothing."""
    with open(certificate(contender.dir)[0], encoding="ascii") as f:
        ours = ssl.PEM_cert_to_DER_cert(f.read().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    context = contender.context()
    with contender.connect(context) as sock:
        agreed = (sock.version(), sock.cipher()[0], sock.getpeercert(True) == ours, sock.session_reused)
        ask(sock)
        session = sock.session
    if agreed != (VERSION, SUITE, True, False):
        raise Trouble(f"{contender.label} agrees on (version, suite, is it our certificate, is it resumed) {agreed}")
    with contender.connect(context, session) as sock:
        if not sock.session_reused:
            raise Trouble(f"{contender.label} gives tickets that it does not take")
        ask(sock)
    command = ["openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{contender.port}"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10)
    if f"Server Temp Key: {GROUP}" not in said.stderr + said.stdout:
        raise Trouble(f"{contender.label} agrees on another group: {said.stderr}{said.stdout}")


def start(stage, options):
    """All of them, checked, then each in front of a backend of its own."""
    port = free_port()
    team = {name: Contender(name, stage.dir, f"127.0.0.{10 + at}:{port}", 1, options, True) for at, name in enumerate(NAMES)}
    recorder = Recorder([f"127.0.0.{10 + at}" for at in range(len(NAMES))], port)
    try:
        for contender in team.values():
            check(contender.start(stage.layout.one), recorder)
        stage.say("all sent the same to the backend and to the client, and reused connections")
        recorder.stop()
        for contender in team.values():
            contender.server = Backend(stage.dir, contender.backend, SIZES, options.descriptors, stage.layout.load)
            check_bodies(contender, SIZES)
            check_tls(contender)
        stage.say(f"all agree on {VERSION}, {SUITE}, {GROUP} and the certificate, and resume sessions")
    except BaseException:
        stop(team)
        raise
    return team


def stop(team):
    for contender in team.values():
        contender.stop()


def rates(results, chosen):
    """Handshakes a second: what a whole CPU is good for, and what there were, with the part of its CPU that they took.
    Below all of it, the load could do no more."""
    rows = []
    for cell in (cell for cell in chosen if cell.handshake):
        found = results[cell.name]
        whole = {name: 1e6 / report.median(found, name, "cpu_us") for name in NAMES}
        best = max(whole[peer] for peer in PEERS)
        rows.append([f"{cell.handshake}, of a whole CPU", *[f"{whole[name]:,.0f}" for name in NAMES],
                     report.verdict(best / whole["fleetbal"], 1.0, 0.90)])
        rows.append([f"{cell.handshake}, measured (part of a CPU)",
                     *[f"{report.median(found, name, 'per_second'):,.0f} ({report.median(found, name, 'cpu_share'):.0%})"
                       for name in NAMES], ""])
    return report.table(["handshakes a second", *NAMES, "the better peer's"], rows) if rows else []


def run(options, directory):
    require(["nginx", "haproxy", "wrk", "openssl", "taskset"])
    for binary in (options.ours, built_with(options.ours, "tls-load")):
        if not os.access(binary, os.X_OK):
            raise Trouble(f"{binary} is not there: cargo build --release")
    chosen = wanted(options)
    layout, network = Layout().claim(), leave_the_network()
    options.descriptors = raise_descriptor_limit()
    stage = Stage(directory, layout)
    machine, average, begun = describe(ROOT), os.getloadavg(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    os.sched_setaffinity(0, layout.load)
    results, team = {}, start(stage, options)
    try:
        for cell in chosen:
            stage.say(cell.what)
            results[cell.name] = cells.run_cell(cell, team, stage, options.rounds, options.seconds)
    finally:
        stop(team)
    text = report.cpu_table(results, chosen, NAMES) + rates(results, chosen)
    sent = sum(row[name]["requests"] for rows in results.values() for row in rows for name in row)
    text += [f"{sent:,} requests, no errors, {len(stage.repeated)} measurements repeated; {options.rounds} rounds of "
             f"{options.seconds} s, medians; ratios are paired by round, with the lowest and the highest.",
             f"{VERSION}, {SUITE}, {GROUP}, ECDSA P-256.",
             f"{machine['cpus']} × {machine['cpu']}, Linux {machine['kernel']}; {layout.describe()}; {network}.",
             f"{'; '.join(versions(options.ours, NAMES).values())}; {machine['wrk']}; commit {machine['commit']}.",
             f"Load average {average[0]:.1f} before, {os.getloadavg()[0]:.1f} after; {begun}, "
             f"{time.monotonic() - stage.begun:.0f} s."]
    print("\n" + "\n".join(text))
    if options.write_docs:
        report.write_docs(f"{ROOT}/docs/benchmarks.md", "\n".join(text), (BEGIN, END))


if __name__ == "__main__":
    in_a_directory("fleetbal-tls-", run, arguments())
