"""What a large configuration costs a fleetbal node: 1,000 pools of 10 backends, 1,000 services, in real processes."""

import os
import socket
import statistics
import time

from contenders import fleet_of_one, write
from process import Process, Trouble, free_port

POOLS, BACKENDS = 1_000, 10
# Design, section 9: seconds.
MUST = {"load": 2.0, "add": 0.020, "restart": 1.0}
AIM = {"load": 0.5, "add": 0.005, "restart": 0.3}
WITHIN = 120


def lines(pools, backends, services, port):
    for pool in range(pools):
        yield f"CREATE POOL p{pool}"
        for backend in range(backends):
            yield f"POOL p{pool} ADD 10.{pool // 250}.{pool % 250}.{backend + 1}:80"
        if pool < services:
            yield f"CREATE SERVICE s{pool}"
            yield "SET role = reverse_proxy"
            yield f"SET listen = {address(pool)}:{port}"
            yield f"SET pool = p{pool}"
            yield f"ENABLE s{pool}"


def address(service):
    """Each listens on an address of loopback of its own."""
    return f"127.1.{service // 250}.{service % 250 + 1}"


class Manage:
    """A management connection."""

    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port), 30).makefile("rwb")

    def ask(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        answer = self.file.readline().decode().strip()
        if not answer or answer.startswith("ERROR"):
            raise Trouble(f"{line!r} was answered {answer!r}")
        return answer


class Node:
    """A node with so many objects."""

    def __init__(self, stage, options, name, shape):
        self.stage, self.options, self.shape, self.port = stage, options, shape, free_port()
        self.directory, self.log = f"{stage.dir}/{name}", f"{stage.dir}/{name}.log"
        self.config = write(f"{stage.dir}/{name}.conf", "".join(f"{line}\n" for line in lines(*shape, self.port)))
        self.process = self.management = None

    def start(self, init):
        """Seconds until its last service listens; where it has none, until management does."""
        command = fleet_of_one(self.options.ours, self.directory, 1, init)
        command += ["--config", self.config] if init else []
        self.management = int(command[command.index("--management") + 1].rsplit(":", 1)[1])
        begun = time.monotonic()
        self.process = Process(os.path.basename(self.directory), command, self.stage.layout.one, self.log)
        services = self.shape[2]
        if services:
            self.process.wait_port(self.port, address(services - 1), WITHIN, pause=0.002)
        self.process.wait_port(self.management, within=WITHIN, pause=0.002)
        self._wait_configured()
        took = time.monotonic() - begun
        # All of them, not just the last.
        for service in range(services):
            self.process.wait_port(self.port, address(service), within=WITHIN)
        return took

    def _wait_configured(self):
        if not self.shape[0]:
            return
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                Manage(self.management).ask(f"SHOW POOL p{self.shape[0] - 1}")
                return
            except Trouble:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def settled_rss(self):
        """Once it has stayed the same for a second."""
        seen = []
        for _ in range(40):
            seen = [*seen[-4:], self.process.rss_mib()]
            if len(seen) == 5 and max(seen) - min(seen) < 0.1:
                break
            time.sleep(0.25)
        return seen[-1]

    def stop(self):
        if self.process:
            self.process.stop(30)


def run(stage, options):
    found, rss = {}, {}
    shapes = {"empty": (0, 0, 0), "pools": (POOLS, 0, 0), "backends": (POOLS, BACKENDS, 0),
              "all": (POOLS, BACKENDS, POOLS)}
    for name, shape in shapes.items():
        node = Node(stage, options, f"configuration-{name}", shape)
        try:
            took = node.start(init=True)
            rss[name] = node.settled_rss()
            if name == "all":
                found = {"load": took} | _change(node) | _restart(node)
        finally:
            node.stop()
    found["rss_mib"] = rss
    found["kib_per_pool"] = (rss["pools"] - rss["empty"]) / POOLS * 1024
    found["kib_per_backend"] = (rss["backends"] - rss["pools"]) / (POOLS * BACKENDS) * 1024
    found["kib_per_service"] = (rss["all"] - rss["backends"]) / POOLS * 1024
    stage.say(f"  load {found['load']:.3f} s, POOL ADD p50 {found['add'] * 1e3:.1f} ms (longest {found['add_longest'] * 1e3:.1f}), "
              f"restart {found['restart']:.3f} s")
    stage.say("  KiB a pool {kib_per_pool:.2f}, a backend {kib_per_backend:.2f}, a service {kib_per_service:.2f}"
              .format(**found))
    return found


def _change(node):
    manage = Manage(node.management)
    times = []
    for number in range(50):
        begun = time.monotonic()
        manage.ask(f"POOL p{number * 19 % POOLS} ADD 10.200.0.1:80")
        times.append(time.monotonic() - begun)
    return {"add": statistics.median(times), "add_longest": max(times)}


def _restart(node):
    node.stop()
    took = node.start(init=False)
    manage = Manage(node.management)
    manage.ask(f"POOL p{POOLS - 1} ADD 10.200.0.2:80")
    return {"restart": took}
