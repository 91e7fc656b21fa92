"""Load: wrk, or our own where that is not fast enough, as fast as it goes; at a given pace our own, which never sleeps, or h2load
where others need the load's CPU. Whatever went wrong ends the run."""

import collections
import json
import math
import os
import re
import subprocess
import tempfile

from process import FIRST, TooBusy, Trouble, built_with, pinned
from recorder import HOST

UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
# wrk counts timeouts as errors; with ten thousand clients in one queue two seconds are not enough.
TIMEOUT = "10s"
PACED_START_MS = 3
# Where the paced load writes its log: a disk would stop it for milliseconds.
IN_MEMORY = "/dev/shm"


def start(stage, contender, cell, seconds, cpus):
    """The load of a cell."""
    if not cell.own_load():
        return start_wrk(stage.dir, contender.url(cell.path()), cell, seconds, cpus)
    address, ours = f"127.0.0.1:{contender.port}", contender.options.ours
    if cell.handshake:
        command = [built_with(ours, "tls-load"), address, cell.path(), f"{stage.dir}/www{cell.path()}", cell.handshake,
                   str(cell.connections), str(seconds)]
    else:
        command = [built_with(ours, "http-load"), address, cell.path(), str(cell.body), str(cell.connections),
                   str(seconds), str(len(cpus))]
    return _start_own(command, cpus)


def _start_own(command, cpus):
    return subprocess.Popen(pinned(cpus, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=os.environ | {"RUST_BACKTRACE": "0"})


def finish(process, contender, cell):
    """What came of it."""
    name = f"{contender.label}, {cell.name}"
    return _finish_own(process, name) if cell.own_load() else finish_wrk(process, name, cell.body)


def _said_by(process, name):
    """What a load of ours has to say. Every answer was the right one, or there is an error."""
    text, _ = process.communicate(timeout=60)
    if process.returncode != 0:
        raise Trouble(f"{name}: {text}")
    return json.loads(text)


def _finish_own(process, name):
    found = _said_by(process, name)
    if found["requests"] == 0:
        raise TooBusy(f"{name}: no request was answered")
    return {"requests": found["requests"], "per_second": found["requests"] / found["seconds"], "errors": 0}


def start_wrk(d, url, cell, seconds, cpus):
    command = ["wrk", f"-t{len(cpus)}", f"-c{cell.connections}", f"-d{math.ceil(seconds)}s", "--timeout", TIMEOUT]
    command += ["-H", f"Host: {HOST}"] + (["-H", "Connection: close"] if cell.close else [])
    if cell.upload:
        script = f"{d}/upload-{cell.upload}.lua"
        with open(script, "w", encoding="ascii") as f:
            f.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {cell.upload})\n')
        command += ["-s", script]
    return subprocess.Popen(pinned(cpus, command + [url]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish_wrk(process, name, body):
    """Requests answered, and how many a second; errors, and answers too short to be whole, end the run."""
    text, _ = process.communicate(timeout=60)
    for bad in (r"Non-2xx or 3xx responses: .*", r"Socket errors: .*", r"unable to .*"):
        if found := re.search(bad, text):
            raise Trouble(f"{name}: {found.group(0)}")
    found = re.search(r"(\d+) requests in [^,]*, ([\d.]+)([KMGT]?B) read", text)
    if process.returncode != 0 or not found:
        raise Trouble(f"{name}: wrk failed: {text}")
    requests, read = int(found.group(1)), float(found.group(2)) * UNITS[found.group(3)]
    if requests == 0:
        raise TooBusy(f"{name}: no request was answered")
    # wrk shows three or four digits.
    if read < 0.99 * requests * body:
        raise Trouble(f"{name}: {requests} answers of {body} bytes cannot be in {read:.0f} bytes")
    return {"requests": requests, "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
            "errors": 0}


def paced(contender, path, body, pace):
    """Response times in µs at a pace of so many requests a second, from when each was due; the beginning is left out, and
    what was due or under way while the load was stopped is counted as missed."""
    command = [built_with(contender.options.ours, "paced-load"), f"127.0.0.1:{contender.port}", path, str(body),
               str(pace.connections), f"{pace.rate:.1f}", str(pace.warm), str(pace.seconds)]
    name = f"{contender.label}, paced"
    found = _said_by(_start_own(_ahead(pace) + command, pace.cpus), name)
    if not found["took"]:
        raise TooBusy(f"{name}: no request was answered")
    times = collections.Counter(float(f"{took:.1e}") for took in found["took"])
    return _times(found["took"]) | {"asked_per_second": pace.rate, "missed": found["missed"], "errors": 0,
                                    "times": {str(int(took)): count for took, count in sorted(times.items())}}


def _ahead(pace):
    """Of a command: ahead of all else on its CPU."""
    return ["chrt", "-f", str(FIRST)] if pace.first else []


def _times(took):
    """How many there are, and what is said of them."""
    took = sorted(took)

    def at(part):
        return took[min(len(took) - 1, int(len(took) * part))]

    return {"requests": len(took), "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": took[-1]}


def h2load(d, url, name, pace):
    """Response times in µs at a pace of so many requests a second; beginning and end are left out.

    By count: by duration, h2load 1.52 may never end. Connections are opened one by one, so that their requests are
    not all due at the same time."""
    with tempfile.TemporaryDirectory(prefix="fleetbal-bench-",
                                     dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else d) as place:
        return _h2load(f"{place}/h2load.log", url, name, pace)


def _h2load(log, url, name, pace):
    command = ["h2load", "--h1", "-t1", f"-c{pace.connections}", f"--rps={pace.rate / pace.connections:.3f}",
               f"-n{int(pace.rate * pace.seconds)}", "-r1", f"--rate-period={PACED_START_MS}ms",
               f"--log-file={log}", url]
    try:
        done = subprocess.run(pinned(pace.cpus, _ahead(pace) + command), capture_output=True, text=True, check=False,
                              timeout=2 * pace.seconds + 20)
    except subprocess.TimeoutExpired:
        raise Trouble(f"{name}: paced requests were not answered in time") from None
    if done.returncode != 0 or not os.path.exists(log):
        raise Trouble(f"{name}: h2load failed: {done.stdout}{done.stderr}")
    answers, bad = [], 0
    with open(log, encoding="ascii") as f:
        for line in f:
            start, status, took = line.split("\t")
            answers.append((int(start), int(took)))
            bad += status != "200"
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    if bad or not answers or not failed or any(int(count) for count in failed.groups()):
        raise Trouble(f"{name}: {bad} of {len(answers)} paced requests failed: {done.stdout}")
    begin = min(answers)[0] + pace.warm * 1e6
    # Connections end in the order in which they began.
    end = max(answers)[0] - 2 * PACED_START_MS * pace.connections * 1e3
    kept = [took for start, took in answers if begin <= start < end]
    if not kept:
        raise Trouble(f"{name}: nothing was left of {len(answers)} paced requests")
    return _times(kept) | {"per_second": len(kept) / (end - begin) * 1e6}
