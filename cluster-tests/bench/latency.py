"""Response times at a pace that every contender can keep: a share of what the slower peer does at most."""

from dataclasses import dataclass

from cells import Cell
from contenders import PEERS
from generators import finish_wrk, h2load, start_wrk
from process import Trouble

SHARE = 0.6
CONNECTIONS = 64


@dataclass
class Pace:
    """How fast, and for how long."""

    rate: float
    seconds: int
    warm: float
    cpus: list
    # Whether the load is put ahead of all else on its CPU, as if that were a machine of its own.
    first: bool
    connections: int = CONNECTIONS


def capacity(contenders, stage):
    """Requests a second of the slower peer, by a short load."""
    cell, most = Cell("capacity", ""), []
    for name in contenders:
        if name not in PEERS and any(peer in contenders for peer in PEERS):
            continue
        wrk = start_wrk(stage.dir, contenders[name].url(cell.path()), cell, 1, stage.layout.load)
        most.append(finish_wrk(wrk, f"{name}, capacity", cell.body)["per_second"])
    return min(most)


def run(contenders, stage, options):
    rate = SHARE * capacity(contenders, stage)
    pace = Pace(rate=rate, seconds=options.paced_seconds, warm=0.3 if options.short else 1.0, cpus=stage.layout.load,
                first=stage.layout.first)
    if stage.layout.first:
        for contender in contenders.values():
            contender.server.process.come_first()
    stage.say(f"  {rate:.0f} requests a second over {CONNECTIONS} connections")
    rows = []
    for number in range(options.rounds):
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        row = {name: None for name in contenders}
        for name in order:
            row[name] = h2load(stage.dir, contenders[name].url("/body/128"), f"{name}, paced", pace)
            contenders[name].process.alive()
            kept = row[name]["per_second"] / rate
            # Behind its pace, the load waits for the contender, and slow answers go uncounted.
            if kept < 0.95:
                if not options.short:
                    raise Trouble(f"{name}: only {kept:.0%} of the pace was kept")
                stage.say(f"  {name}: only {kept:.0%} of the pace was kept")
        rows.append(row)
        shown = "  ".join(f"{name} {row[name]['p50']}/{row[name]['p99']}/{row[name]['p999']}/{row[name]['max']}"
                          for name in contenders)
        stage.say(f"  round {number + 1}: p50/p99/p99.9/max µs: {shown}")
    return rows
