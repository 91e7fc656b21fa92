"""Medians of paired ratios, against what the design asks for; as text, as JSON, as a table in the docs."""

import json
import statistics

import configuration
import latency
import memory
from contenders import FLOOR, PEERS
from process import Trouble

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def median(rows, name, what):
    return statistics.median(row[name][what] for row in rows)


def ratio(rows, one, other, what="cpu_us"):
    """(median, lowest, highest) of one to other, round by round."""
    paired = [row[one][what] / row[other][what] for row in rows]
    return statistics.median(paired), min(paired), max(paired)


def verdict(value, must, aim):
    if must is None:
        return ""
    return "aim met" if aim is not None and value <= aim else "met" if value <= must else "**missed**"


def table(head, rows):
    aligned = "| " + " | ".join(["---"] + ["---:"] * (len(head) - 1)) + " |"
    return ["| " + " | ".join(head) + " |", aligned] + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def floor(rows, peers):
    """What passing bytes on takes, and as a part of each peer's."""
    if FLOOR not in rows[0]:
        return "–"
    parts = ", ".join(f"{ratio(rows, FLOOR, peer)[0]:.2f}" for peer in peers)
    return f"{median(rows, FLOOR, 'cpu_us'):.2f} ({parts})"


def cpu_table(results, cells, names):
    peers = [peer for peer in PEERS if peer in names and "fleetbal" in names]
    has_floor = any(FLOOR in rows[0] for rows in results.values())
    head = ["CPU time a request", *[f"{name} µs" for name in [*names] + [FLOOR] * has_floor]]
    for peer in peers:
        head += [f"fleetbal / {peer} (spread)", "must / aim", ""]
    rows = []
    for cell in cells:
        if cell.name not in results:
            continue
        found = results[cell.name]
        row = [cell.what, *[f"{median(found, name, 'cpu_us'):.2f}" for name in names]]
        row += [floor(found, peers)] * has_floor
        for peer in peers:
            at = PEERS.index(peer)
            must, aim = (cell.must[at] if cell.must else None), (cell.aim[at] if cell.aim else None)
            middle, low, high = ratio(found, "fleetbal", peer)
            row += [f"{middle:.2f} ({low:.2f}–{high:.2f})", f"{must:.2f} / {aim:.2f}" if must else "–",
                    verdict(middle, must, aim)]
        rows.append(row)
    return table(head, rows)


def workers_table(results, names):
    one, two = results["cpu"].get("two1"), results["cpu"].get("two2")
    if not one or not two:
        return []
    rows = []
    for name in names:
        paired = [after[name]["cpu_us"] / before[name]["cpu_us"] for before, after in zip(one, two)]
        middle = statistics.median(paired)
        limits = ("1.10 / 1.03", verdict(middle, 1.10, 1.03)) if name == "fleetbal" else ("–", "")
        rows.append([name, f"{middle:.2f} ({min(paired):.2f}–{max(paired):.2f})", *limits])
    return table(["two workers against one", "CPU time a request (spread)", "must / aim", ""], rows)


def latency_table(results, names):
    names, rows = [*names, FLOOR], []
    for what, title in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"), ("max", "longest")):
        values = {name: median(results["latency"], name, what) for name in names}
        peers = [values[name] for name in PEERS if name in values]
        judged = ""
        if what in ("p99", "p999") and peers and "fleetbal" in values:
            best = min(peers)
            judged = "aim met" if values["fleetbal"] < best else "met" if values["fleetbal"] == best else "**missed**"
        rows.append([title, *[f"{values[name]:.0f}" for name in names], judged])
    for part, title in ((0.99, "p99 of all windows together"), (0.999, "p99.9 of all windows together")):
        rows.append([title, *[str(latency.together(results["latency"], name, part)) for name in names], ""])
    stopped = [sum(row[name]["max"] > latency.STOPPED for row in results["latency"]) for name in names]
    rows.append([f"windows with one above {latency.STOPPED:,} µs", *[f"{count / len(results['latency']):.0%}" for count in stopped], ""])
    left_out = [latency.missed(results["latency"], name) for name in names]
    rows.append(["left out, as the load was stopped", *[f"{part:.1%}" for part in left_out], ""])
    rate = results["latency"][0][names[0]]["asked_per_second"]
    return table([f"response time, µs, at {rate:,.0f} requests a second over {latency.CONNECTIONS} connections", *names, "the better peer's"], rows)


def memory_table(results, names):
    found = results["memory"]
    rows = [["none (all of it)", *[f"{found[name]['empty']:.1f}" for name in names], "–", ""]]
    for count in (step for step in memory.STEPS if str(step) in found[names[0]]):
        must, aim = memory.MUST[count], memory.AIM[count]
        judged = verdict(found["fleetbal"][str(count)], must, aim) if "fleetbal" in found else ""
        rows.append([f"{count:,} (above that)", *[f"{found[name][str(count)]:.1f}" for name in names],
                     f"{must} / {aim}", judged])
    return table(["idle connections, MiB resident", *names, "must / aim", ""], rows)


def configuration_table(results):
    found = results["configuration"]
    rows = []
    for what, title, unit in (("load", "load, until the last service listens", 1), ("restart", "restart, the same", 1),
                              ("add", "one more `POOL ADD`, median", 1)):
        rows.append([title, f"{found[what] * 1e3:.1f} ms", f"{configuration.MUST[what] * 1e3:.0f} / "
                     f"{configuration.AIM[what] * 1e3:.0f} ms", verdict(found[what], configuration.MUST[what],
                                                                    configuration.AIM[what])])
    for what in ("pool", "backend", "service"):
        rows.append([f"memory for one {what}", f"{found[f'kib_per_{what}']:.2f} KiB", "–", ""])
    rows.append(["memory of the node with all of it", f"{found['rss_mib']['all']:.1f} MiB", "–", ""])
    return table([f"{configuration.POOLS:,} pools of {configuration.BACKENDS} backends, {configuration.POOLS:,} services",
                  "", "must / aim", ""], rows)


def lines(results, cells, names):
    out = []
    if results["cpu"]:
        # How two workers compare with one is a table of its own.
        out += cpu_table(results["cpu"], [cell for cell in cells if cell.name != "two1"], names)
        out += workers_table(results, names)
    out += latency_table(results, names) if results["latency"] else []
    out += memory_table(results, names) if results["memory"] else []
    out += configuration_table(results) if results["configuration"] else []
    machine, versions = results["machine"], results["versions"]
    errors = sum(row[name]["errors"] for rows in [*results["cpu"].values(), results["latency"]] for row in rows
                 for name in row)
    sent = sum(row[name]["requests"] for rows in [*results["cpu"].values(), results["latency"]] for row in rows
               for name in row)
    options = results["options"]
    out += [
        f"{sent:,} requests, {errors} errors, {len(results['repeated'])} measurements repeated; {options['rounds']} rounds of {options['seconds']} s (load), "
        f"{len(results['latency'])} of {latency.SECONDS} s (paced), medians; ratios are paired by round, with the lowest and the highest.",
        f"{machine['cpus']} × {machine['cpu']}, Linux {machine['kernel']}; {results['layout']}; {results['network']}.",
        f"{'; '.join(versions.values())}; {machine['wrk']}; commit {machine['commit']}.",
        f"Load average {results['load_average'][0]} before, {results['load_average'][1]} after; "
        f"{results['begun']}, {results['took']:.0f} s.",
    ]
    return out


def write_json(path, results):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
        f.write("\n")


def write_docs(path, text, markers=(BEGIN, END)):
    begin, end = markers
    with open(path, encoding="utf-8") as f:
        page = f.read()
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise Trouble(f"{path} has no place for the table: {begin} … {end}")
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{before}{begin}\n\n{text}\n\n{end}{after}")
