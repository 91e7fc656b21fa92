"""Processes: started on given CPUs, waited for, measured by the kernel's own accounting, stopped."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")


class Trouble(Exception):
    """The run means nothing: it ends, and says why."""


class TooBusy(Trouble):
    """There was too little to measure, as on a machine with no time for us. Tried again, and said in the end."""


_given = set()


def free_port():
    """Below those that the system gives to clients: with thousands of these, one would be taken meanwhile. None twice:
    whoever was given one may not have taken it yet."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        first = int(f.read().split()[0])
    while True:
        port = random.randrange(10_000, max(first, 11_000))
        if port in _given:
            continue
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
                _given.add(port)
                return port
            except OSError:
                continue


def first_line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def require(tools):
    lacking = [tool for tool in tools if not shutil.which(tool)]
    if lacking:
        raise Trouble(f"not installed: {' '.join(lacking)} "
                      "(Debian: apt-get install nginx-light haproxy wrk nghttp2-client)")


def in_a_directory(prefix, run, options):
    """Runs a whole bench in a directory that is gone afterwards; ends the process with 1 where it means nothing."""
    directory = tempfile.mkdtemp(prefix=prefix)
    # Who is asked to end leaves nothing running behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("\nended before its time"))
    try:
        run(options, directory)
    except Trouble as trouble:
        sys.exit(f"\nTHE RUN IS VOID: {trouble}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


# Of the real-time classes the lowest; whatever is not in one waits for it.
FIRST = 1


def may_come_first():
    """Whether processes may be put ahead of all others."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIRST))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def kernel_threads():
    """Those of the kernel's threads that run now: all are children of the second process."""
    return _children().get(2, [])


def built_with(ours, name):
    """One of our own programs, as it was built with this fleetbal."""
    return os.path.join(os.path.dirname(os.path.abspath(ours)), name)


def pinned(cpus, command):
    return ["taskset", "-c", ",".join(map(str, cpus))] + command


class Process:
    """A started command with its log."""

    def __init__(self, name, command, cpus, log):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(pinned(cpus, command), stdout=out, stderr=out, start_new_session=True)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()[-4000:]

    def wait_port(self, port, host="127.0.0.1", within=60, pause=0.01):
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.popen.poll() is None:
            try:
                socket.create_connection((host, port), 0.3).close()
                return self
            except OSError:
                time.sleep(pause)
        raise Trouble(f"{self.name} does not listen on {host}:{port}:\n{self.said()}")

    def alive(self):
        if self.popen.poll() is not None:
            raise Trouble(f"{self.name} ended by itself:\n{self.said()}")

    def come_first(self, does=True):
        """Puts it ahead of all else on its CPU, or among all else again."""
        policy, priority = (os.SCHED_FIFO, FIRST) if does else (os.SCHED_OTHER, 0)
        for pid in self.members():
            os.sched_setscheduler(pid, policy, os.sched_param(priority))

    def move(self, cpus):
        """Lets it work on these, and on no others."""
        for pid in self.members():
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), cpus)

    def members(self):
        """It and its descendants."""
        children, found, todo = _children(), [], [self.popen.pid]
        while todo:
            found.append(todo.pop())
            todo += children.get(found[-1], [])
        return found

    def cpu(self):
        """User and system time so far, in seconds: (of every living thread, to the nanosecond; of the processes with
        threads that ended, to the kernel's tick)."""
        threads, ticks = 0, 0
        for member in self.members():
            for task in os.listdir(f"/proc/{member}/task"):
                with open(f"/proc/{member}/task/{task}/schedstat", encoding="ascii") as f:
                    threads += int(f.read().split()[0])
            stat = _stat(member)
            ticks += stat[11] + stat[12]
        return threads / 1e9, ticks / TICK

    def rss_mib(self):
        total = 0
        for member in self.members():
            with open(f"/proc/{member}/status", encoding="utf-8") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        return total / 1024

    def stop(self, within=10):
        try:
            os.killpg(self.popen.pid, signal.SIGTERM)
            self.popen.wait(within)
        except ProcessLookupError:
            self.popen.wait()
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()


def _children():
    """Of each process, by its number."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            children.setdefault(_stat(entry)[1], []).append(int(entry))
        except (OSError, IndexError):
            continue
    return children


def _stat(pid):
    """Fields of /proc/PID/stat behind the name: state, parent, … (the third of proc(5) is the first here)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return [fields[0]] + [int(field) for field in fields[1:20]]
