"""CPU time a request: the cells of the matrix, measured in rounds in which the contenders take turns."""

import math
import time
from dataclasses import dataclass

from contenders import FLOOR
from generators import finish, start
from process import TooBusy, Trouble

KIB, MIB = 1 << 10, 1 << 20
# Fewer requests a second than these are no measurement.
MEANINGFUL = 25


@dataclass
class Cell:
    """One kind of work."""

    name: str
    what: str
    body: int = 128
    connections: int = 64
    upload: int = 0
    close: bool = False
    workers: int = 1
    # With TLS: what each request begins with, where it has a connection of its own; `full` or `resumed`.
    handshake: str = ""
    # Whether it asks for more than anybody can do.
    most: bool = False
    # Against nginx and HAProxy, as ratios of CPU time; none where the design asks for nothing.
    must: tuple = ()
    aim: tuple = ()

    def path(self):
        return "/upload" if self.upload else f"/body/{self.body}"

    def own_load(self):
        """wrk takes about as much for a request as a proxy does, more than that for a handshake, and resumes no session."""
        return self.most or bool(self.handshake)

    def requests_at_backend(self):
        return 2 if self.upload else 1


def matrix(crowd):
    return [
        Cell("64", "64 connections, 128 B", must=(0.90, 0.80), aim=(0.80, 0.70)),
        Cell("most", "64 connections, 128 B, more load than any can carry", most=True),
        Cell("16k", "64 connections, 16 KiB", body=16 * KIB, must=(0.90, 0.80), aim=(0.75, 0.66)),
        Cell("1m", "64 connections, 1 MiB", body=MIB, must=(1.0, 1.0), aim=(0.85, 0.85)),
        Cell("up16k", "64 connections, uploads of 16 KiB", upload=16 * KIB, body=0),
        Cell("up1m", "64 connections, uploads of 1 MiB", upload=MIB, body=0),
        Cell("close", "64 at a time, one connection a request", close=True, must=(1.05, 1.05), aim=(0.95, 0.95)),
        Cell("1000", "1,000 connections, 128 B", connections=1000, must=(0.85, 0.80), aim=(0.70, 0.65)),
        Cell("10000", f"{crowd:,} connections, 128 B", connections=crowd),
        # Both on two CPUs, so that only the number of workers differs.
        Cell("two1", "one worker on two CPUs, 64 connections, 128 B"),
        Cell("two2", "two workers on two CPUs, 64 connections, 128 B", workers=2),
    ]


SIZES = (128, 16 * KIB, MIB)


def measure(cell, contender, stage, seconds):
    """One contender at one cell. Warm-up and end of the load are outside of what is measured."""
    # Opening thousands of connections takes a while, and is not what these cells are about.
    warm = (0.3 if seconds < 1 else 0.5) + cell.connections / 5_000
    lasting = warm + seconds + 0.3
    if not cell.own_load():
        # wrk knows whole seconds.
        lasting = math.ceil(lasting)
    cpus = stage.layout.load_for_two if cell.name.startswith("two") else stage.layout.load
    first = contender.server.quiet_counts()
    load = start(stage, contender, cell, lasting, cpus)
    try:
        begun = time.monotonic()
        time.sleep(max(0, warm))
        before = _sample(contender)
        left = lasting - 0.1 - (time.monotonic() - begun)
        time.sleep(max(0.05, min(seconds, left)))
        after = _sample(contender)
        late = left < seconds / 2 or time.monotonic() - begun > lasting + 1
        rss = contender.process.rss_mib()
        result = finish(load, contender, cell)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    contender.process.alive()
    if late:
        raise TooBusy(f"{contender.label}, {cell.name}: the machine was too busy to look at it in time")
    last = contender.server.quiet_counts()
    return result | _judge(cell, contender, (first, before, after, last), result) | {"rss_mib": rss}


def _sample(contender):
    threads, ticks = contender.process.cpu()
    accepted, requests = contender.server.counts()
    return time.monotonic(), threads, ticks, accepted, requests


def _judge(cell, contender, samples, result):
    first, before, after, last = samples
    name = f"{contender.label}, {cell.name}"
    requests = (after[4] - before[4]) / cell.requests_at_backend()
    cpu, ticks = after[1] - before[1], after[2] - before[2]
    if requests < MEANINGFUL * (after[0] - before[0]) or cpu <= 0:
        raise TooBusy(f"{name}: only {requests:.0f} requests in {after[0] - before[0]:.2f} s")
    # What ended threads used is in the ticks alone.
    if abs(cpu - ticks) > 0.06 + 0.05 * cpu:
        raise Trouble(f"{name}: threads used {cpu:.3f} s of CPU time, their processes {ticks:.2f} s")
    # Every answer is the backend's, and none was fetched twice. What was under way at the end is in one count only.
    at_backend = (last[1] - first[1]) / cell.requests_at_backend()
    allowed = 2 * cell.connections + 0.002 * at_backend + 5
    if abs(at_backend - result["requests"]) > allowed:
        raise Trouble(f"{name}: clients got {result['requests']} answers, the backend gave {at_backend:.0f}")
    opened = after[3] - before[3]
    # As many as there are clients may still be missing when it begins.
    if opened > 0.02 * requests + cell.connections:
        raise Trouble(f"{name}: {opened} connections to the backend were opened for {requests:.0f} requests: "
                      "it does not reuse them")
    return {"cpu_us": cpu / requests * 1e6, "measured_requests": requests, "backend_connections_opened": opened,
            "seconds": after[0] - before[0], "cpu_share": cpu / (after[0] - before[0])}


def run_cell(cell, contenders, stage, rounds, seconds):
    # It keeps no connection for another client.
    contenders = {name: one for name, one in contenders.items() if name != FLOOR or not cell.close}
    return take_turns(contenders, stage, rounds, lambda one: measure(cell, one, stage, seconds))


def take_turns(contenders, stage, rounds, work):
    """What `work` finds of each contender, round by round."""
    rows = []
    for number in range(rounds):
        # A B C, then C B A: what drifts with time hits all alike.
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        row = {name: None for name in contenders}
        for name in order:
            row[name] = stage.patiently(lambda one=contenders[name]: work(one))
        rows.append(row)
        shown = "  ".join(f"{name} {row[name]['cpu_us']:.2f}" for name in contenders)
        stage.say(f"  round {number + 1}: CPU µs a request: {shown}")
    return rows
