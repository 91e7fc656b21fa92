#!/usr/bin/env python3
"""What the control plane costs traffic: p99 of paced requests through a node of a fleet of three, with something going
on beside them and without, in turn.

    cluster-tests/bench/control_plane.py                a quarter of an hour; needs `cargo build --release`
    cluster-tests/bench/control_plane.py --short        everything once: does it work at all?
    cluster-tests/bench/control_plane.py --write-docs   puts its table into docs/benchmarks.md

Debian packages: nginx-light wrk nghttp2-client. How it measures: docs/benchmarks.md.
"""

import argparse
import http.client
import os
import re
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import report  # noqa: E402
from backend import Backend  # noqa: E402
from cells import Cell  # noqa: E402
from configuration import Manage  # noqa: E402
from contenders import versions, write  # noqa: E402
from generators import finish_wrk, h2load, start_wrk  # noqa: E402
from latency import CONNECTIONS, Pace  # noqa: E402
from machine import Layout, describe, leave_the_network, raise_descriptor_limit  # noqa: E402
from process import Process, TooBusy, Trouble, free_port, in_a_directory, require  # noqa: E402
from stage import Stage  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BEGIN, END = "<!-- control-plane:begin -->", "<!-- control-plane:end -->"
# The pace, as a part of what the node does at most. The other nodes, which carry each change out as well,
# share a CPU with load and backend: at a higher one it is these that are late.
SHARE = 0.3
# p99 with it, as a part of p99 without, at most.
LIMIT = 1.10
CHANGES_A_SECOND = 100
# The log's entries between two snapshots (raft/src/timing.rs).
SNAPSHOT_EVERY = 1_000
# Windows in each round: of many short ones (latency.py) more are free of what the machine's host does.
WINDOWS, SECONDS = 3, 2
# Other pools, with members: what changes touch, and what a snapshot holds.
POOLS, MEMBERS = 200, 5
# Nodes that stand alone, which do what the followers do where these have nothing to do.
ALONE = 2
# Members of the fleet whose gossip is measured: all fleets of 9 to 66 send as many messages, this one with two thirds of
# the digests of 50. More processes than these would starve on the other CPU, and gossip less.
GOSSIPERS = 32
PARTS = ("changes", "snapshots", "gossip", "scrapes")


class Fleet:
    """Nodes on addresses of their own, each with the same service. The first leads; one may be `measured`."""

    def __init__(self, stage, net, size, measured=None):
        self.stage, self.net, self.port, self.measured = stage, net, free_port(), measured
        self.cluster, self.nodes = free_port(), []
        self.management = [free_port() for _ in range(size)]
        self.dir = f"{stage.dir}/fleet-{net}"
        os.makedirs(self.dir)

    def start(self, backend):
        config = write(f"{self.dir}/fleet.conf", "".join(f"{line}\n" for line in self._lines(backend)))
        self._launch(0, ["--init", "--cluster", "bench", "--config", config])
        token = Manage(self.management[0]).ask(f"cluster token uses {len(self.management)}")
        for number in range(1, len(self.management)):
            self._launch(number, ["--join", f"{self.host(0)}:{self.cluster}", "--token", token.split()[0]])
        return self

    def host(self, number):
        return f"127.0.{self.net}.{number + 1}"

    def url(self):
        return f"http://{self.host(self.measured)}:{self.port}/body/128"

    def stop(self):
        for node in reversed(self.nodes):
            node.stop()

    def _lines(self, backend):
        yield "CREATE POOL web"
        yield f"POOL web ADD {backend}"
        for pool in range(POOLS):
            yield f"CREATE POOL other{pool}"
            for member in range(MEMBERS):
                yield f"POOL other{pool} ADD 10.1.{pool}.{member + 1}:80"
        yield "CREATE SERVICE balancer"
        yield "SET role = reverse_proxy"
        yield f"SET listen = ${{node:ip}}:{self.port}"
        yield "SET pool = web"
        yield "SET persist_client = on"
        yield "SET persist_client_idle_timeout = 300"
        yield "SET persist_backend = on"
        yield "SET backend_persist_cache = 1024"
        yield "ENABLE balancer"

    def _launch(self, number, flags):
        directory = f"{self.dir}/n{number + 1}"
        command = [os.path.abspath(self.stage.options.ours), "--workers", "1", "--node", f"n{number + 1}"]
        command += ["--data-dir", directory, "--cluster-listen", f"{self.host(number)}:{self.cluster}"]
        command += ["--management", f"127.0.0.1:{self.management[number]}"] + flags
        measured = number == self.measured
        cpus = self.stage.layout.one if measured else self.stage.layout.load
        # The others work on the CPU of load and backend, and must not be what is measured there.
        gives_way = not measured and not self.stage.layout.first
        command = ["nice", "-n", "19"] + command if gives_way else command
        node = Process(f"n{number + 1}", command, cpus, f"{directory}.log")
        self.nodes.append(node)
        node.wait_port(self.management[number]).wait_port(self.port, self.host(number))


class Nothing:
    """What everything is compared with."""

    # Seconds from one step to the next, and by how many at once they are done.
    every, hands = 60.0, 1

    def __init__(self, fleet):
        self.fleet = fleet

    def begin(self):
        """Starts what it takes, for all windows of a round."""

    def prepare(self):
        """Brings it to where a window may begin."""

    def step(self, hand):
        """Does it once."""

    def check(self, done, seconds):
        pass

    def finish(self):
        """Ends what was begun."""


class Bystanders(Nothing):
    """Beside a fleet as large that works on the CPU of load and backend, and holds those up as it does: what gossip is
    compared with. Requests go through a node of another fleet."""

    def __init__(self, fleet, stage, backend):
        super().__init__(fleet)
        self.stage, self.backend, self.net, self.large = stage, backend, 61, None

    def begin(self):
        self._start()

    def finish(self):
        if self.large:
            self.large.stop()

    def _start(self, measured=None):
        self.net += 1
        self.large = Fleet(self.stage, self.net, GOSSIPERS, measured)
        self.large.start(self.backend)
        self.stage.say(f"a fleet of {GOSSIPERS} runs")


class Gossip(Bystanders):
    """Requests go through a node of that fleet: a voter that does not lead, as what a leader says to the other 31 is not
    gossip. It changes places with the one that is measured otherwise: each CPU has as many nodes as without."""

    def __init__(self, fleet, stage, backend):
        super().__init__(None, stage, backend)
        self.net, self.other = 11, fleet.nodes[0]

    def begin(self):
        self.other.move(self.stage.layout.load)
        self._start(measured=1)
        self.fleet = self.large

    def finish(self):
        super().finish()
        self.other.move(self.stage.layout.one)


class Changes(Nothing):
    """`POOL other… ADD` and `REMOVE`, typed at the node that is measured, or at others instead."""

    # Each waits for its answer; one alone would be held up by the slowest disk.
    every, hands = 1 / CHANGES_A_SECOND, 4
    # What is there already, by whomever, would be no change.
    member = "10.200.0.1:80"

    def __init__(self, fleet, typed_at=None):
        super().__init__(fleet)
        typed_at = typed_at or [fleet]
        self.manage = [[Manage(each.management[0]) for each in typed_at] for _ in range(self.hands)]
        self.typed = [0] * self.hands

    def step(self, hand):
        typed = self.typed[hand] = self.typed[hand] + 1
        own = POOLS // self.hands
        word = "ADD" if typed // own % 2 == 0 else "REMOVE"
        for manage in self.manage[hand]:
            manage.ask(f"POOL other{hand * own + typed % own} {word} {self.member}")

    def check(self, done, seconds):
        if done < 0.9 * CHANGES_A_SECOND * seconds:
            raise TooBusy(f"only {done} changes in {seconds:.1f} s")


class Snapshots(Changes):
    """The same changes, with so many before that a snapshot falls due among them."""

    member = "10.200.0.2:80"
    # So many entries, or half of them, are left when it begins: it falls into the middle of a window.
    SPARE = CHANGES_A_SECOND * SECONDS // 2 + CHANGES_A_SECOND // 4

    # More, once a snapshot is large: it is put off until so much is in the log again.
    between = SNAPSHOT_EVERY

    def prepare(self):
        deadline, due = time.monotonic() + 60, None
        while not self.SPARE // 2 <= (left := self._left()) <= self.SPARE:
            if time.monotonic() > deadline:
                raise Trouble("no snapshot is made")
            if left > 0:
                self._many(left - self.SPARE if left > self.SPARE else left)
                due = None
            elif time.monotonic() > (due := due or time.monotonic()) + 1:
                self.between += SNAPSHOT_EVERY
            else:
                time.sleep(0.05)

    def _left(self):
        """The entries until a snapshot falls due; none, while one is made."""
        text = metrics(self.fleet.management[0])
        self.before = index(text, "snapshot")
        return self.before + self.between - index(text, "applied")

    def _many(self, count):
        hands = [Manage(self.fleet.management[0]) for _ in range(8)]

        def type_all(at, hand):
            for _ in range(-(-count // len(hands) // 2)):
                hand.ask(f"POOL other{at} ADD 10.201.0.1:80")
                hand.ask(f"POOL other{at} REMOVE 10.201.0.1:80")

        threads = [threading.Thread(target=type_all, args=pair) for pair in enumerate(hands)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def check(self, done, seconds):
        super().check(done, seconds)
        if index(metrics(self.fleet.management[0]), "snapshot") == self.before:
            raise TooBusy("no snapshot was made while it was measured")


def index(text, name):
    """The last entry of the log that is applied, or in the snapshot, by what `/metrics` says."""
    return int(re.search(rf"^fleetbal_raft_{name}_index (\d+)$", text, re.MULTILINE).group(1))


def metrics(port):
    """What `/metrics` of a node says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != 200 or "fleetbal_config_version" not in text:
        raise Trouble(f"/metrics answered {answer.status}")
    return text


class Scrapes(Nothing):
    """`/metrics`, each second."""

    every = 1.0

    def step(self, hand):
        metrics(self.fleet.management[0])

    def check(self, done, seconds):
        if done < seconds - 1:
            raise TooBusy(f"only {done} scrapes in {seconds:.1f} s")


class Doing:
    """Does something, step by step, beside what is measured."""

    def __init__(self, what):
        self.what, self.stop, self.error = what, threading.Event(), None
        self.done = [0] * what.hands
        self.threads = [threading.Thread(target=self._run, args=(hand,), daemon=True) for hand in range(what.hands)]

    def __enter__(self):
        self.what.prepare()
        self.begun = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.error:
            raise self.error
        if kind is None:
            self.what.check(sum(self.done), time.monotonic() - self.begun)

    def _run(self, hand):
        pause = self.what.every * len(self.done)
        due = time.monotonic() + self.what.every * hand
        try:
            while not self.stop.wait(max(0.0, due - time.monotonic())):
                self.what.step(hand)
                self.done[hand] += 1
                due = max(due + pause, time.monotonic() - 1.0)
        except (Trouble, OSError) as error:
            self.error = error


class FleetStage(Stage):
    """A run's, with what it was asked for."""

    def __init__(self, directory, layout, options):
        super().__init__(directory, layout)
        self.options = options


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=f"{ROOT}/target/release/fleetbal", help="the fleetbal binary")
    parser.add_argument("--short", action="store_true", help="one window: figures are noise")
    parser.add_argument("--only", help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="rounds [10]")
    parser.add_argument("--json", default=f"{ROOT}/target/control-plane.json", help="raw figures")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.short else 10)
    options.windows = 1 if options.short else WINDOWS
    if options.write_docs and (options.short or options.only):
        parser.error("--write-docs needs a whole run")
    options.only = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def capacity(stage, fleet):
    wrk = start_wrk(stage.dir, fleet.url(), Cell("capacity", ""), 1, stage.layout.load)
    return finish_wrk(wrk, "capacity", 128)["per_second"]


def measure(stage, three, alone, backend):
    nothing = Nothing(three)
    # Held up as by the followers, which stand for other machines; a little less: nobody sends them what they carry out.
    elsewhere = Changes(three, alone)
    parts = {
        "changes": (f"{CHANGES_A_SECOND} changes a second", elsewhere, Changes(three)),
        "snapshots": ("the same, while a snapshot is made", elsewhere, Snapshots(three)),
        "gossip": ("gossip as in a fleet of 50", Bystanders(three, stage, backend), Gossip(three, stage, backend)),
        "scrapes": ("a scrape of `/metrics` each second", nothing, Scrapes(three)),
    }
    parts = {name: parts[name] for name in stage.options.only}
    rate = SHARE * capacity(stage, three)
    pace = Pace(rate=rate, seconds=SECONDS, cpus=stage.layout.load, first=stage.layout.first)
    stage.say(f"{rate:.0f} requests a second over {CONNECTIONS} connections")

    def window(what):
        with Doing(what):
            found = h2load(stage.dir, what.fleet.url(), "paced", pace)
        what.fleet.nodes[what.fleet.measured].alive()
        found["kept"] = found["per_second"] / rate
        # Behind its pace, the load waits, and slow answers go uncounted.
        if found["kept"] < 0.95 and not stage.options.short:
            raise TooBusy(f"only {found['kept']:.0%} of the pace was kept")
        return found

    def windows(what):
        try:
            what.begin()
            return [stage.patiently(lambda: window(what)) for _ in range(stage.options.windows)]
        finally:
            what.finish()

    rows = {name: [] for name in parts}
    for number in range(stage.options.rounds):
        for name, (title, without, what) in parts.items():
            # A B, then B A: what drifts with time hits both alike.
            order = [without, what] if number % 2 == 0 else [what, without]
            found = {id(each): windows(each) for each in order}
            pairs = [{"without": one, "with": other} for one, other in zip(found[id(without)], found[id(what)])]
            rows[name] += pairs
            shown = ", ".join(f"{pair['without']['p99']}/{pair['with']['p99']}" for pair in pairs)
            stage.say(f"round {number + 1}, {title}: p99 without/with, µs: {shown}")
    return {"rate": rate, "titles": {name: title for name, (title, *_) in parts.items()}, "rows": rows}


def quiet(found):
    """The same of the lower quartiles: a host that stops the machine makes a window worse and never better."""
    def quartile(which):
        return sorted(row[which]["p99"] for row in found)[len(found) // 4]

    return f"{quartile('with') / quartile('without'):.2f}"


def lines(results):
    rows = []
    for name, title in results["titles"].items():
        found = results["rows"][name]
        without, beside = (statistics.median(row[which]["p99"] for row in found) for which in ("without", "with"))
        paired = [row["with"]["p99"] / row["without"]["p99"] for row in found]
        rows.append([title, f"{without:.0f}", f"{beside:.0f}", f"{beside / without:.2f}",
                     f"{min(paired):.2f}–{max(paired):.2f}", "met" if beside <= LIMIT * without else "**missed**",
                     quiet(found)])
    head = ["beside the traffic", "p99 without, µs", "with, µs", "ratio", "spread of pairs", f"{LIMIT:.2f} at most",
            "of the quieter quarter"]
    out = report.table(head, rows)
    machine, options = results["machine"], results["options"]
    kept = min(row[which]["kept"] for found in results["rows"].values() for row in found for which in row)
    out += [f"{results['rate']:,.0f} requests a second over {CONNECTIONS} connections, {options['rounds']} rounds of "
            f"{options['windows']} × {SECONDS} s each way, no errors; at least {kept:.0%} of the pace was kept, "
            f"{len(results['repeated'])} windows repeated; ratios are of the medians.",
            f"{machine['cpus']} × {machine['cpu']}, Linux {machine['kernel']}; {results['layout']}; {results['network']}; {results['version']}; "
            f"commit {machine['commit']}; {results['begun']}, {results['took']:.0f} s."]
    return out


def run(options, directory):
    require(["nginx", "wrk", "h2load", "taskset", "chrt", "nice"])
    if not os.access(options.ours, os.X_OK):
        raise Trouble(f"{options.ours} is not there: cargo build --release")
    layout, descriptors, machine = Layout().claim(), raise_descriptor_limit(), describe(ROOT)
    network = leave_the_network()
    stage = FleetStage(directory, layout, options)
    begun = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    os.sched_setaffinity(0, layout.load)
    backend = Backend(directory, f"127.0.0.1:{free_port()}", (128,), descriptors, layout.load)
    if layout.first:
        backend.process.come_first()
    fleet, alone = Fleet(stage, 11, 3, measured=0), [Fleet(stage, 101 + number, 1) for number in range(ALONE)]
    try:
        for each in [fleet, *alone]:
            each.start(backend.address)
        stage.say(f"a fleet of {len(fleet.nodes)} runs, and {ALONE} that stand alone")
        results = measure(stage, fleet, alone, backend.address)
    finally:
        for each in [fleet, *alone]:
            each.stop()
        backend.stop()
    results |= {"machine": machine, "layout": layout.describe(), "network": network, "version": versions(options.ours, ["fleetbal"])["fleetbal"],
                "options": {key: value for key, value in vars(options).items() if key != "json"}, "begun": begun,
                "repeated": stage.repeated, "took": time.monotonic() - stage.begun}
    text = "\n".join(lines(results))
    print(f"\n{text}")
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    report.write_json(options.json, results)
    if options.write_docs:
        report.write_docs(f"{ROOT}/docs/benchmarks.md", text, (BEGIN, END))


in_a_directory("fleetbal-control-plane-", run, arguments())
