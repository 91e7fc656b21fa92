#!/usr/bin/env python3
"""nginx and fleetbal side by side on the same files, in one run of about three minutes.

    cluster-tests/bench/files.py                everything; needs `cargo build --release`
    cluster-tests/bench/files.py --short        everything in under a minute: does it work at all?
    cluster-tests/bench/files.py --only 16k     some of it: sizes, and memory
    cluster-tests/bench/files.py --write-docs   puts its tables into docs/benchmarks.md

Debian packages: nginx-light wrk. How it measures: docs/benchmarks.md. Other bodies and errors end the run.
"""

import argparse
import os
import sys
import threading
import time

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import report  # noqa: E402
from cells import KIB, MIB, Cell, take_turns  # noqa: E402
from contenders import Contender, fleet_of_one, nginx_head, versions, write  # noqa: E402
from generators import finish_wrk, start_wrk  # noqa: E402
from machine import Layout, describe, leave_the_network, raise_descriptor_limit  # noqa: E402
from process import TooBusy, Trouble, in_a_directory, require  # noqa: E402
from recorder import HOST, Stream  # noqa: E402
from stage import Stage  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BEGIN, END = "<!-- files:begin -->", "<!-- files:end -->"
# With its cache, which it has not by default, nginx may send a file for a minute that was changed or removed;
# fleetbal looks at each request.
NAMES = ("nginx", "nginx with open_file_cache", "fleetbal")
MUST, AIM = 1.10, 1.0
SIZES = {"128": (128, "128 B"), "16k": (16 * KIB, "16 KiB"), "1m": (MIB, "1 MiB")}
HUGE, MEMORY_MUST = 1024 * MIB, 10
SETTLE = 1.0


class FileServer(Contender):
    """One of them, in front of a directory."""

    def __init__(self, name, d, root, options):
        super().__init__(name, d, root, 1, options)
        self.label = self.label.replace(" ", "-")

    def start(self, cpus):
        command = self._fleetbal() if self.name == "fleetbal" else self._nginx()
        return self._run(command, cpus)

    def _nginx(self):
        cached = "open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;" if "cache" in self.name else ""
        conf = nginx_head(self.dir, self.label, self.options.descriptors, self.workers)
        conf += f"""sendfile on; tcp_nopush on; {cached}
server {{ listen 127.0.0.1:{self.port} backlog=4096; root {self.backend}; }} }}"""
        return ["nginx", "-p", self.dir, "-c", write(f"{self.dir}/{self.label}.conf", conf)]

    def _fleetbal(self):
        conf = f"""CREATE SERVICE files
SET role = web_server
SET listen = 127.0.0.1:{self.port}
SET docroot = {self.backend}
SET persist_client = on
SET persist_client_idle_timeout = 300
ENABLE files
"""
        path = write(f"{self.dir}/{self.label}.conf", conf)
        return fleet_of_one(self.options.ours, f"{self.dir}/{self.label}", self.workers) + ["--config", path]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=f"{ROOT}/target/release/fleetbal", help="the fleetbal binary")
    parser.add_argument("--short", action="store_true", help="one round of half a second: figures are noise")
    parser.add_argument("--rounds", type=int, help="rounds of each size [5]")
    parser.add_argument("--seconds", type=int, help="seconds of each contender in each round [3]")
    parser.add_argument("--only", default=",".join([*SIZES, "memory"]), help="some of it, separated by commas [all]")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.short else 5)
    options.seconds = options.seconds or (1 if options.short else 3)
    options.only = options.only.split(",")
    if unknown := set(options.only) - {*SIZES, "memory"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if options.write_docs and (options.short or len(options.only) <= len(SIZES)):
        parser.error("--write-docs needs a whole run")
    return options


def content(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def make_files(directory):
    os.mkdir(directory)
    for size, _ in SIZES.values():
        with open(f"{directory}/{size}.bin", "wb") as f:
            f.write(content(size))
    with open(f"{directory}/huge.bin", "wb") as f:
        f.truncate(HUGE)


def get(server, path, take):
    """One GET; what comes goes to `take`, piece by piece."""
    with server.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        while piece := sock.recv(1 << 18):
            take(piece)


def check(server):
    """That it sends the files, and keeps connections."""
    with server.connect() as sock:
        stream = Stream(sock)
        for size, _ in SIZES.values():
            sock.sendall(f"GET /{size}.bin HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            first, fields, body = stream.message()
            if " 200 " not in first or body != content(size):
                raise Trouble(f"{server.name}: /{size}.bin is not the file: {first}, {len(body)} bytes")
            if not {"etag", "last-modified", "accept-ranges", "date"} <= {name for name, _ in fields}:
                raise Trouble(f"{server.name} says less than the rest: {fields}")


def measure(cell, server, stage, seconds):
    """From before the load to behind it: so many answers, so much CPU time."""
    before = server.process.cpu()[0]
    wrk = start_wrk(stage.dir, server.url(f"/{cell.body}.bin"), cell, seconds, stage.layout.load)
    try:
        result = finish_wrk(wrk, f"{server.name}, {cell.name}", cell.body)
    finally:
        if wrk.poll() is None:
            wrk.kill()
            wrk.wait()
    server.process.alive()
    cpu = server.process.cpu()[0] - before
    if cpu <= 0.02 * seconds:
        raise TooBusy(f"{server.name}, {cell.name}: it used {cpu:.3f} s of CPU time in {seconds} s")
    return result | {"cpu_us": cpu / result["requests"] * 1e6}


def memory(server):
    """MiB that it takes more than before while a file of 1 GiB goes out."""
    time.sleep(SETTLE)
    before, most, done = server.process.rss_mib(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.02):
            most[0] = max(most[0], server.process.rss_mib())

    watcher, came = threading.Thread(target=watch), [0]
    watcher.start()
    try:
        get(server, "/huge.bin", lambda piece: came.__setitem__(0, came[0] + len(piece)))
    finally:
        done.set()
        watcher.join()
    if not HUGE < came[0] < HUGE + 2 * KIB:
        raise Trouble(f"{server.name}: {came[0]} bytes came of a file of {HUGE}")
    return most[0] - before


def tables(results, names):
    rows = []
    for name, found in results["cpu"].items():
        what = SIZES[name][1]
        row = [f"64 connections, {what}", *[f"{report.median(found, one, 'cpu_us'):.2f}" for one in names]]
        for peer in names[:-1]:
            middle, low, high = report.ratio(found, "fleetbal", peer)
            row += [f"{middle:.2f} ({low:.2f}–{high:.2f})", report.verdict(middle, MUST, AIM)]
        rows.append(row)
    head = ["CPU time a request", *[f"{name} µs" for name in names]]
    for peer in names[:-1]:
        head += [f"fleetbal / {peer} (spread)", f"must {MUST:.2f}"]
    out = report.table(head, rows)
    if not results["memory"]:
        return out
    grown = results["memory"]
    row = ["a file of 1 GiB", *[f"{grown[name]:.1f}" for name in names],
           report.verdict(grown["fleetbal"], MEMORY_MUST, None)]
    return out + report.table(["memory while it goes out, MiB", *names, f"must {MEMORY_MUST}"], [row])


def run(options, directory):
    require(["nginx", "wrk", "taskset"])
    if not os.access(options.ours, os.X_OK):
        raise Trouble(f"{options.ours} is not there: cargo build --release")
    layout, network = Layout().claim(), leave_the_network()
    options.descriptors = raise_descriptor_limit()
    stage = Stage(directory, layout)
    machine, average, begun = describe(ROOT), os.getloadavg(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    os.sched_setaffinity(0, layout.load)
    root = f"{directory}/files"
    make_files(root)
    results = {"cpu": {}, "memory": {}}
    servers = {name: FileServer(name, directory, root, options) for name in NAMES}
    try:
        for server in servers.values():
            check(server.start(layout.one))
        stage.say("all send the same files")
        for name in (name for name in SIZES if name in options.only):
            size, what = SIZES[name]
            stage.say(what)
            cell = Cell(name, what, body=size)
            results["cpu"][name] = take_turns(servers, stage, options.rounds,
                                              lambda one, cell=cell: measure(cell, one, stage, options.seconds))
        for name, server in servers.items() if "memory" in options.only else ():
            results["memory"][name] = memory(server)
            stage.say(f"  {name}: +{results['memory'][name]:.1f} MiB for a file of 1 GiB")
    finally:
        for server in servers.values():
            server.stop()
    text = tables(results, NAMES)
    known = versions(options.ours, ("nginx", "fleetbal")).values()
    text += [f"{options.rounds} rounds of {options.seconds} s, medians; ratios are paired by round, with the lowest and the "
             f"highest; {len(stage.repeated)} measurements repeated.",
             f"{machine['cpus']} × {machine['cpu']}, Linux {machine['kernel']}; {layout.describe()}; {network}.",
             f"{'; '.join(known)}; {machine['wrk']}; commit {machine['commit']}.",
             f"Load average {average[0]:.1f} before, {os.getloadavg()[0]:.1f} after; {begun}, "
             f"{time.monotonic() - stage.begun:.0f} s."]
    print("\n" + "\n".join(text))
    if options.write_docs:
        report.write_docs(f"{ROOT}/docs/benchmarks.md", "\n".join(text), (BEGIN, END))


if __name__ == "__main__":
    in_a_directory("fleetbal-files-", run, arguments())
