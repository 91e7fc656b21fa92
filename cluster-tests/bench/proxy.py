#!/usr/bin/env python3
"""CPU time per proxied request of nginx, HAProxy and fleetbal, side by side in one run.

Every contender proxies the same backend (an nginx) with one worker, alone on CPU 1; load generator and backend share
CPU 0. CPU time comes from the kernel's own accounting (/proc/PID/task/*/schedstat, nanoseconds), so it says the same
on a noisy machine. Contenders take turns within a round; ratios are paired by round, and their medians are printed.
A response that is not the backend's body, or any error, ends the run.

Debian packages: nginx-light haproxy wrk. fleetbal: `cargo build --release`.

    bench/proxy.py [--ours target/release/fleetbal] [--rounds 7] [--seconds 4]
                   [--conns 64] [--body 128] [--close] [--fleet] [--json FILE]

--close  one connection a request
--fleet  fleetbal as the only node of a fleet (with its control plane), not standalone
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

LOAD_CPU, PROXY_CPU = 0, 1


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 0.3).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"nothing listens on {port}:\n{open(log).read()}")


def start(command, cpu, log):
    with open(log, "ab") as out:
        return subprocess.Popen(["taskset", "-c", str(cpu)] + command, stdout=out, stderr=out, start_new_session=True)


def stop(process):
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(5)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def descendants(pid):
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pid):
    """User and system time of a process, its threads and its children."""
    total = 0
    for member in descendants(pid):
        for task in os.listdir(f"/proc/{member}/task"):
            with open(f"/proc/{member}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
    return total / 1e9


def rss_mib(pid):
    total = 0
    for member in descendants(pid):
        with open(f"/proc/{member}/status") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    return total / 1024


def first_line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


NGINX_HEAD = """daemon off; master_process off; worker_processes 1; pid {d}/{n}.pid; error_log {d}/{n}.err;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
client_body_temp_path {d}/{n}1; proxy_temp_path {d}/{n}2; fastcgi_temp_path {d}/{n}3;
uwsgi_temp_path {d}/{n}4; scgi_temp_path {d}/{n}5;
"""


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def backend(d, port, size):
    with open(f"{d}/x", "wb") as f:
        f.write(b"x" * size)
    text = "x" * size
    where = f'default_type text/plain; return 200 "{text}";' if size <= 2000 else f"root {d};"
    conf = NGINX_HEAD.format(d=d, n="backend")
    conf += f"sendfile on; server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ {where} }} }} }}"
    return ["nginx", "-p", d, "-c", write(f"{d}/backend.conf", conf)]


def nginx(d, port, to):
    conf = NGINX_HEAD.format(d=d, n="nginx") + f"""
upstream u {{ server 127.0.0.1:{to}; keepalive 2048; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ proxy_pass http://u; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}"""
    return ["nginx", "-p", d, "-c", write(f"{d}/nginx.conf", conf)]


def haproxy(d, port, to):
    conf = f"""global
 nbthread 1
 maxconn 8192
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 option forwardfor
 http-reuse always
frontend f
 bind 127.0.0.1:{port} backlog 8192
 default_backend b
backend b
 balance roundrobin
 server s1 127.0.0.1:{to}
"""
    return ["haproxy", "-f", write(f"{d}/haproxy.cfg", conf)]


def fleetbal(binary, d, port, to, fleet):
    conf = f"""CREATE POOL a
POOL a ADD 127.0.0.1:{to}
CREATE SERVICE balancer
SET role = reverse_proxy
SET listen = 127.0.0.1:{port}
SET pool = a
SET persist_client = on
SET persist_backend = on
SET backend_persist_cache = 2048
ENABLE balancer
"""
    command = [os.path.abspath(binary), "--config", write(f"{d}/fleetbal.conf", conf), "--workers", "1"]
    if fleet:
        command += ["--node", "n1", "--data-dir", f"{d}/n1", "--init", "--cluster", "bench"]
        command += ["--cluster-listen", f"127.0.0.1:{free_port()}", "--management", f"127.0.0.1:{free_port()}"]
    return command


def load(url, options, seconds):
    command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{options.conns}", f"-d{seconds}s", "--latency"]
    command += (["-H", "Connection: close"] if options.close else []) + [url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for bad in (r"Non-2xx or 3xx responses: .*", r"Socket errors: .*"):
        if found := re.search(bad, text):
            sys.exit(f"{url}: {found.group(0)}")
    return {
        "requests": int(re.search(r"(\d+) requests in", text).group(1)),
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        "p99": re.search(r"99%\s+(\S+)", text).group(1),
    }


def measure(contenders, options):
    rounds = []
    for number in range(options.rounds):
        # A B C, then C B A: what drifts with time hits all alike.
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        row = {}
        for name in order:
            process, port = contenders[name]
            url = f"http://127.0.0.1:{port}/x"
            load(url, options, 1)
            before = cpu_seconds(process.pid)
            row[name] = load(url, options, options.seconds)
            row[name]["cpu_us"] = (cpu_seconds(process.pid) - before) / row[name]["requests"] * 1e6
            row[name]["rss_mib"] = rss_mib(process.pid)
        rounds.append(row)
        shown = "  ".join(f"{name} {row[name]['cpu_us']:.2f}" for name in contenders)
        print(f"round {number + 1}: CPU µs a request: {shown}", flush=True)
    return rounds


def report(rounds, contenders):
    def median(name, what):
        return statistics.median(row[name][what] for row in rounds)

    print(f"\n{'':10}{'req/s':>10}{'CPU µs/req':>12}{'p99':>10}{'RSS MiB':>9}")
    for name in contenders:
        print(f"{name:10}{median(name, 'per_second'):10.0f}{median(name, 'cpu_us'):12.2f}"
              f"{rounds[-1][name]['p99']:>10}{median(name, 'rss_mib'):9.1f}")
    ratios = {}
    for peer in ("nginx", "haproxy"):
        if "fleetbal" in contenders and peer in contenders:
            paired = [row["fleetbal"]["cpu_us"] / row[peer]["cpu_us"] for row in rounds]
            ratios[peer] = statistics.median(paired)
            print(f"fleetbal/{peer}: CPU time a request {ratios[peer]:.3f} "
                  f"(rounds from {min(paired):.3f} to {max(paired):.3f})")
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default="target/release/fleetbal")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--conns", type=int, default=64)
    parser.add_argument("--body", type=int, default=128)
    parser.add_argument("--close", action="store_true")
    parser.add_argument("--fleet", action="store_true")
    parser.add_argument("--without-ours", action="store_true", help="the peers alone")
    parser.add_argument("--json")
    options = parser.parse_args()
    lacking = [tool for tool in ("nginx", "haproxy", "wrk", "taskset") if not shutil.which(tool)]
    if lacking:
        sys.exit(f"not installed: {' '.join(lacking)} (Debian: apt-get install nginx-light haproxy wrk)")

    d = tempfile.mkdtemp(prefix="fleetbal-bench-")
    ports = {name: free_port() for name in ("backend", "nginx", "haproxy", "fleetbal")}
    commands = {
        "nginx": nginx(d, ports["nginx"], ports["backend"]),
        "haproxy": haproxy(d, ports["haproxy"], ports["backend"]),
    }
    versions = {"nginx": first_line(["nginx", "-v"]), "haproxy": first_line(["haproxy", "-v"])}
    if not options.without_ours:
        commands["fleetbal"] = fleetbal(options.ours, d, ports["fleetbal"], ports["backend"], options.fleet)
        versions["fleetbal"] = first_line([os.path.abspath(options.ours), "--version"])
    for version in versions.values():
        print(version)
    print(f"{options.conns} connections{', one a request' if options.close else ''}, {options.body}-byte bodies")

    processes = []
    try:
        processes.append(start(backend(d, ports["backend"], options.body), LOAD_CPU, f"{d}/backend.log"))
        wait_port(ports["backend"], processes[0], f"{d}/backend.log")
        contenders = {}
        for name, command in commands.items():
            process = start(command, PROXY_CPU, f"{d}/{name}.log")
            processes.append(process)
            wait_port(ports[name], process, f"{d}/{name}.log")
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[name]}/x", timeout=10) as response:
                if response.read() != b"x" * options.body:
                    sys.exit(f"{name} does not pass the backend's body")
            contenders[name] = (process, ports[name])
        rounds = measure(contenders, options)
    finally:
        for process in processes:
            stop(process)
        shutil.rmtree(d, ignore_errors=True)
    ratios = report(rounds, contenders)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"versions": versions, "options": vars(options), "ratios": ratios, "rounds": rounds}, f, indent=1)


main()
