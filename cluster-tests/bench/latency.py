"""Response times at a pace that every contender can keep: a share of what the slower peer does at most."""

from dataclasses import dataclass

from cells import Cell
from contenders import PEERS
from generators import finish, h2load, start
from process import TooBusy

SHARE = 0.6
# Windows in each round, and their seconds. Where the machine is a virtual one, its host may stop it for milliseconds, which a
# long window does not escape; of many short ones the median does.
WINDOWS, SECONDS = 3, 2
CONNECTIONS = 64


@dataclass
class Pace:
    """How fast, and for how long."""

    rate: float
    seconds: float
    cpus: list
    # Whether the load is put ahead of all else on its CPU, as if that were a machine of its own.
    first: bool
    connections: int = CONNECTIONS
    # Seconds at the beginning that do not count.
    warm: float = 0.5


def capacity(contenders, stage):
    """Requests a second of the slower peer, by a short load."""
    cell, most = Cell("capacity", ""), []
    for name in contenders:
        if name not in PEERS and any(peer in contenders for peer in PEERS):
            continue
        load = start(stage, contenders[name], cell, 1, stage.layout.load)
        most.append(finish(load, contenders[name], cell)["per_second"])
    return min(most)


def run(contenders, stage, options):
    rate = SHARE * capacity(contenders, stage)
    pace = Pace(rate=rate, seconds=SECONDS, cpus=stage.layout.load, first=stage.layout.first)
    if stage.layout.first:
        _backends_come_first(contenders, True)
    stage.say(f"  {rate:.0f} requests a second over {CONNECTIONS} connections")
    rows = []
    for number in range(1 if options.short else options.rounds * WINDOWS):
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        row = {name: None for name in contenders}
        for name in order:
            row[name] = stage.patiently(lambda one=contenders[name]: window(one, stage, pace, options.short))
        rows.append(row)
        shown = "  ".join(f"{name} {row[name]['p50']}/{row[name]['p99']}/{row[name]['p999']}/{row[name]['max']}"
                          for name in contenders)
        stage.say(f"  window {number + 1}: p50/p99/p99.9/max µs: {shown}")
    if stage.layout.first:
        _backends_come_first(contenders, False)
    return rows


def _backends_come_first(contenders, do):
    for contender in contenders.values():
        contender.server.process.come_first(do)


def window(contender, stage, pace, is_short):
    """One contender's response times."""
    name = f"{contender.name}, paced"
    found = h2load(stage.dir, contender.url("/body/128"), name, pace)
    contender.process.alive()
    kept = found["per_second"] / pace.rate
    # Behind its pace, the load waits for the contender, and slow answers go uncounted.
    if kept < 0.95 and not is_short:
        raise TooBusy(f"{name}: only {kept:.0%} of the pace was kept")
    return found
