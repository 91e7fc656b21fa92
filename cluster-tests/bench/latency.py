"""Response times at a pace that every contender can keep: a share of what the slower peer does at most."""

import collections
import statistics
from dataclasses import dataclass

from cells import Cell
from contenders import PEERS
from generators import finish, paced, start
from process import TooBusy

SHARE = 0.6
# Windows in each round, and their seconds: the first of them do not count. Where the machine is a virtual one, its host stops
# the proxy's CPU for some milliseconds a few times a second, which no window escapes that takes as long; of many short ones the
# median does. Less than a second goes without a pause: that is how long the kernel lets a load work that comes first.
WINDOWS, WARM, SECONDS = 20, 0.1, 0.1
CONNECTIONS = 64
# Nothing that a proxy does takes so many µs: a window with such an answer is one in which somebody was stopped.
STOPPED = 1000
BODY = 128
# How often it is looked how much the slower peer does: the machine is faster and slower by a fifth for seconds at a time.
LOOKS = 5


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
    """Requests a second of the slower peer, by short loads."""
    cell, most = Cell("capacity", ""), []
    for name in contenders:
        if name not in PEERS and any(peer in contenders for peer in PEERS):
            continue
        load = start(stage, contenders[name], cell, 1, stage.layout.load)
        most.append(finish(load, contenders[name], cell)["per_second"])
    return min(most)


def run(contenders, stage, options):
    rate = SHARE * statistics.median(capacity(contenders, stage) for _ in range(1 if options.short else LOOKS))
    pace = Pace(rate=rate, seconds=WARM + SECONDS, cpus=stage.layout.load, first=stage.layout.first, warm=WARM)
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


def together(rows, name, part):
    """What part of all requests of all windows took at most, in µs to two digits."""
    times = collections.Counter()
    for row in rows:
        times.update({int(took): count for took, count in row[name]["times"].items()})
    left = part * times.total()
    for took in sorted(times):
        left -= times[took]
        if left < 0:
            return took
    return max(times)


def missed(rows, name):
    """What part of the requests of these windows nobody saw answered, as the load was stopped."""
    lost, seen = (sum(row[name][what] for row in rows) for what in ("missed", "requests"))
    return lost / (lost + seen)


def _backends_come_first(contenders, do):
    for contender in contenders.values():
        contender.server.process.come_first(do)


def window(contender, stage, pace, is_short):
    """One contender's response times."""
    found = paced(contender, f"/body/{BODY}", BODY, pace)
    contender.process.alive()
    lost = missed([{contender.name: found}], contender.name)
    if lost > 0.4 and not is_short:
        raise TooBusy(f"{contender.name}, paced: the load was stopped for {lost:.0%} of the time")
    return found
