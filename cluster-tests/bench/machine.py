"""The machine: which CPU does what, what it allows, and what it was doing meanwhile."""

import atexit
import ctypes
import fcntl
import os
import platform
import resource
import shutil
import socket
import struct
import subprocess

from process import first_line, kernel_threads, may_come_first


class Layout:
    """Load and backend are never on a CPU of a proxy with one worker. With two workers, two CPUs are theirs; where
    there are only two, everybody shares them, and the comparison with one worker is made on both as well."""

    def __init__(self):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("two CPUs are needed: one for the proxy, one for load and backend")
        if len(cpus) >= 4:
            self.load, self.one, self.two = cpus[:2], [cpus[2]], [cpus[2], cpus[3]]
        else:
            self.load, self.one, self.two = cpus[:1], [cpus[1]], cpus[:2]
        # Paced load and its backend come before all else on their CPU, where that is allowed: there is nothing else on
        # that of other machines.
        self.first = may_come_first()
        # Who makes the load for two workers would otherwise be what is measured.
        self.load_for_two = self.load if len(cpus) >= 4 else self.two
        self.sent_away = 0

    def claim(self):
        """Sends those of the kernel's threads that may be anywhere to the CPUs of the load, until this process ends. They let
        nobody in before they are done, and some take milliseconds (one that looks through the memory twice a second, on
        some virtual machines): a tail that is no proxy's. Where this is not allowed, they stay."""
        ours = set(self.one) | (set(self.two) - set(self.load))
        for thread in kernel_threads():
            try:
                before = os.sched_getaffinity(thread)
                if not before & ours or not before & set(self.load):
                    continue
                os.sched_setaffinity(thread, before & set(self.load))
            except OSError:
                # Bound to where it is, or gone.
                continue
            atexit.register(_send_back, thread, before)
            self.sent_away += 1
        return self

    def describe(self):
        shown = {"load and backend": self.load, "a proxy with one worker": self.one, "two workers": self.two}
        cpus = "; ".join(f"{who}: CPU {','.join(map(str, cpus))}" for who, cpus in shown.items())
        cpus += f"; paced load and its backend {'come first' if self.first else 'share'} there"
        return cpus + f"; {self.sent_away} threads of the kernel were sent there"


def _send_back(thread, cpus):
    try:
        os.sched_setaffinity(thread, cpus)
    except OSError:
        # It has ended.
        return


def leave_the_network():
    """Goes into a network of its own, with a loopback and nothing else, and says where that is. In the host's, packet
    filters and connection tracking (Docker's, say) cost every packet about as much as a proxy does, and all contenders
    look alike."""
    new_network, set_flags, up = 0x40000000, 0x8914, 0x1
    if ctypes.CDLL(None, use_errno=True).unshare(new_network) != 0:
        return f"the host's network ({os.strerror(ctypes.get_errno())}), packet filters included"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, set_flags, struct.pack("16sH", b"lo", up))
    return f"a network namespace of its own, TCP by {_ordinary_congestion_control()}"


def _ordinary_congestion_control():
    """The kernel's own default, or what is nearest to it. BBR, the default of some machines, sets timers for what is sent, loopback
    or not: a cost that is the same for all, and makes them look alike."""
    setting = "/proc/sys/net/ipv4/tcp_congestion_control"
    for ordinary in ("cubic", "reno"):
        with open(setting, encoding="ascii") as f:
            if (found := f.read().strip()) in ("cubic", "reno"):
                return found
        try:
            with open(setting, "w", encoding="ascii") as f:
                f.write(ordinary)
        except OSError:
            # Where the host reserves it.
            continue
    with open(setting, encoding="ascii") as f:
        return f.read().strip()


def raise_descriptor_limit():
    """As many files as anybody may open. Children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def crowd(descriptors):
    """How many connections the largest load has: 10,000, or what leaves every one of them a backend's."""
    return min(10_000, (descriptors - 500) // 2)


def _version(command):
    """Nothing, where it is not installed: not every bench needs it."""
    return first_line(command) if shutil.which(command[0]) else ""


def describe(root):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    git = ["git", "-C", root]
    commit = subprocess.run(git + ["rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(git + ["status", "--porcelain"], capture_output=True, text=True, check=False)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "commit": commit.stdout.strip() + ("+" if dirty.stdout.strip() else ""),
        "wrk": _version(["wrk", "-v"]).split(" Copyright")[0],
    }
