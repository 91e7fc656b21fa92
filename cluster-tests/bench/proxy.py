#!/usr/bin/env python3
"""nginx, HAProxy and fleetbal side by side on the same work, in one run of about half an hour.

    cluster-tests/bench/proxy.py                    everything; needs `cargo build --release`
    cluster-tests/bench/proxy.py --short            everything in under a minute: does it work at all?
    cluster-tests/bench/proxy.py --only 64,latency  some of it: cells by name, latency, memory, configuration
    cluster-tests/bench/proxy.py --check            whether all do the same work, and nothing else
    cluster-tests/bench/proxy.py --write-docs       puts its tables into docs/benchmarks.md

Debian packages: nginx-light haproxy wrk. How it measures: docs/benchmarks.md. Whatever would make the
comparison unfair or void (other bodies, other fields to the backend, no reuse of connections, errors) ends the run.
"""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import cells  # noqa: E402
import configuration  # noqa: E402
import latency  # noqa: E402
import memory  # noqa: E402
import report  # noqa: E402
from backend import Backend  # noqa: E402
from contenders import FLOOR, NAMES, SPOILERS, Contender, versions  # noqa: E402
from machine import Layout, crowd, describe, leave_the_network, raise_descriptor_limit  # noqa: E402
from process import Trouble, built_with, free_port, in_a_directory, require  # noqa: E402
from recorder import Recorder, check, check_bodies  # noqa: E402
from stage import Stage  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHORT_CROWD = 2_000
# What --short leaves out, as there are others like it.
LONG = ("up16k", "10000")
OTHERS = ("latency", "memory", "configuration")


class ProxyStage(Stage):
    """A run's, with its backends."""

    def __init__(self, directory, layout, descriptors):
        super().__init__(directory, layout)
        self.descriptors = descriptors

    def backend(self, address):
        return Backend(self.dir, address, cells.SIZES, self.descriptors, self.layout.load)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=f"{ROOT}/target/release/fleetbal", help="the fleetbal binary")
    parser.add_argument("--short", action="store_true", help="one round of half a second: figures are noise")
    parser.add_argument("--check", action="store_true", help="see that all do the same work; measure nothing")
    parser.add_argument("--rounds", type=int, help="rounds of each cell [12]")
    parser.add_argument("--seconds", type=float, help="measured seconds of each contender in each round [0.6]")
    parser.add_argument("--only", help="names of cells and parts, separated by commas")
    parser.add_argument("--contenders", default=",".join(NAMES), help="who takes part [all]")
    parser.add_argument("--json", default=f"{ROOT}/target/bench.json", help="raw figures [target/bench.json]")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--access-log", action="store_true", help="all write one, in the format `combined`")
    parser.add_argument("--spoil", choices=SPOILERS, help="make a mistake in nginx's settings: the run must fail")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.short else 12)
    options.seconds = options.seconds or (0.4 if options.short else 0.6)
    options.names = [name for name in NAMES if name in options.contenders.split(",")]
    if options.write_docs and (options.short or options.check or options.only or options.names != list(NAMES)):
        parser.error("--write-docs needs a whole run")
    return options


def wanted(options, matrix):
    everything = [cell.name for cell in matrix] + list(OTHERS)
    usual = [name for name in everything if name not in LONG] if options.short else everything
    chosen = options.only.split(",") if options.only else usual
    if unknown := set(chosen) - set(everything):
        raise Trouble(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    # One of them says nothing without the other.
    if "two1" in chosen or "two2" in chosen:
        chosen = [*chosen, "two1", "two2"]
    return [cell for cell in matrix if cell.name in chosen], [part for part in OTHERS if part in chosen]


def kind(cell):
    """Which of the processes serves a cell."""
    return cell.name if cell.name.startswith("two") else "one"


def staff(options, name):
    """Who works in a kind of cells: the floor has one thread, and two of it would be no news."""
    return options.names + ([FLOOR] if name == "one" else [])


def start(stage, options, chosen):
    """All processes, checked against the recording backend, then in front of the real one."""
    kinds = {"one": (1, stage.layout.one)}
    if any(kind(cell).startswith("two") for cell in chosen):
        kinds |= {"two1": (1, stage.layout.two), "two2": (2, stage.layout.two)}
    port = free_port()
    # To one address there are 28,000 ports, and each contender may keep 10,000 connections.
    seats = {(name, who): f"127.0.0.{10 + at}" for at, (name, who) in
             enumerate((name, who) for name in kinds for who in staff(options, name))}
    recorder = Recorder(seats.values(), port)
    teams = {name: {} for name in kinds}
    try:
        for (name, who), host in seats.items():
            workers, cpus = kinds[name]
            teams[name][who] = Contender(who, stage.dir, f"{host}:{port}", workers, options)
            teams[name][who].start(cpus)
            if who != FLOOR:
                check(teams[name][who], recorder)
        stage.say("all sent the same to the backend and to the client, and reused connections")
        recorder.stop()
        for team in teams.values():
            for contender in team.values():
                contender.server = stage.backend(contender.backend)
                check_bodies(contender, cells.SIZES)
                if contender.name != FLOOR:
                    contender.check_log()
        stage.say("all passed the backend's bodies on unchanged")
    except BaseException:
        stop(teams)
        raise
    return teams


def stop(teams):
    for team in teams.values():
        for contender in team.values():
            contender.stop()


def measure(stage, options, chosen, others):
    results = {"cpu": {}, "latency": [], "memory": {}, "configuration": {}}
    teams = start(stage, options, chosen)
    try:
        # First: behind thousands of connections, all of them answer 1 % of all requests milliseconds later.
        if "latency" in others:
            stage.say("latency")
            results["latency"] = latency.run(teams["one"], stage, options)
        paired = [cell for cell in chosen if kind(cell).startswith("two")]
        for cell in chosen:
            if cell in paired:
                continue
            stage.say(cell.what)
            results["cpu"][cell.name] = cells.run_cell(cell, teams[kind(cell)], stage, options.rounds, options.seconds)
        for number in range(options.rounds if paired else 0):
            # One and two workers in the same round, so that they pair.
            for cell in paired if number % 2 == 0 else reversed(paired):
                stage.say(cell.what)
                rows = cells.run_cell(cell, teams[kind(cell)], stage, 1, options.seconds)
                results["cpu"].setdefault(cell.name, []).extend(rows)
        if "memory" in others:
            stage.say("memory with idle connections")
            results["memory"] = memory.run(options.names, stage, options)
    finally:
        stop(teams)
    if "configuration" in others and "fleetbal" in options.names:
        stage.say(f"configuration: {configuration.POOLS} pools of {configuration.BACKENDS}, as many services")
        results["configuration"] = configuration.run(stage, options)
    return results


def run(options, directory):
    require(["nginx", "haproxy", "wrk", "taskset", "chrt"])
    binaries = [built_with(options.ours, name) for name in ("bare-forwarder", "http-load", "paced-load")]
    for binary in binaries + [options.ours] * ("fleetbal" in options.names):
        if not os.access(binary, os.X_OK):
            raise Trouble(f"{binary} is not there: cargo build --release")
    layout, network = Layout().claim(), leave_the_network()
    options.descriptors = raise_descriptor_limit()
    matrix = cells.matrix(SHORT_CROWD if options.short else crowd(options.descriptors))
    chosen, others = wanted(options, matrix)
    stage = ProxyStage(directory, layout, options.descriptors)
    machine, average, begun = describe(ROOT), os.getloadavg(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    os.sched_setaffinity(0, layout.load)
    if options.check:
        stop(start(stage, options, chosen))
        return
    results = measure(stage, options, chosen, others)
    results |= {
        "machine": machine, "layout": layout.describe(), "network": network, "versions": versions(options.ours, options.names),
        "options": {key: value for key, value in vars(options).items() if key != "json"}, "begun": begun,
        "load_average": ["/".join(f"{value:.1f}" for value in values) for values in (average, os.getloadavg())],
        "repeated": stage.repeated, "took": time.monotonic() - stage.begun,
    }
    text = "\n".join(report.lines(results, chosen, options.names))
    print(f"\n{text}")
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    report.write_json(options.json, results)
    if options.write_docs:
        report.write_docs(f"{ROOT}/docs/benchmarks.md", text)


in_a_directory("fleetbal-bench-", run, arguments())
