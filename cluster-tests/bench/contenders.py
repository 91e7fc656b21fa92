"""nginx, HAProxy and fleetbal, set up for the same work.

All of them: HTTP/1.1 on both sides, connections kept open on both sides and reused for any client, Host passed on,
X-Forwarded-For with the client's address, bodies streamed both ways without files, no access log unless it is asked
for, no limits in reach. With `--access-log` all of them write the line that is called combined to a file, each in the way
that it has of its own: nginx and HAProxy with a write for each request, nginx to its `access_log` without a buffer, HAProxy
to its standard output, which is the file (it opens none itself, and who wants a file otherwise pays a syslog daemon that
no figure here would show); fleetbal from a thread of its own, whose time counts.
`recorder.py` checks that this is so; nothing here is taken on trust.
"""

import os
import socket
import ssl
import subprocess
import time

from process import Process, Trouble, built_with, first_line, free_port

NAMES = ("nginx", "haproxy", "fleetbal")
PEERS = ("nginx", "haproxy")
# Passes bytes on and reads none of them (cluster-tests/src/bin/bare-forwarder.rs): what no proxy can go below on this
# machine. It adds no field and knows no request, so it is not compared with the others, but shown beside them.
FLOOR = "floor"

# What all of them agree on with clients; `tls.py` checks that they do. Session tickets are on, as by default.
VERSION, SUITE = "TLSv1.3", "TLS_AES_256_GCM_SHA384"

# Mistakes in nginx's settings that a run must not survive; `--spoil` makes them, to see that it does not.
SPOILERS = {
    "host": ("proxy_set_header Host $http_host;", ""),
    "forwarded": ("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", ""),
    "extra": ("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_set_header X-Real-IP $remote_addr;"),
    "version": ("proxy_http_version 1.1;", ""),
    "reuse": ('proxy_set_header Connection "";', 'proxy_set_header Connection close;'),
    "body": ("proxy_pass http://u;", 'return 200 "another";'),
    "errors": ("proxy_http_version 1.1;", "proxy_http_version 1.1; limit_conn z 20;"),
    "client": ("keepalive_requests 1000000000; #client", "keepalive_requests 1;"),
}

# The same of what it speaks with clients.
TLS_SPOILERS = {
    "version": (f"ssl_protocols {VERSION}", "ssl_protocols TLSv1.2"),
    "suite": (f"Ciphersuites {SUITE}", "Ciphersuites TLS_AES_128_GCM_SHA256"),
    "group": (f"Ciphersuites {SUITE};", f"Ciphersuites {SUITE}; ssl_ecdh_curve secp384r1;"),
    "tickets": ("ssl_session_tickets on", "ssl_session_tickets off"),
}

# keepalive_requests and worker_connections have defaults that would cost nginx connections.
NGINX = """daemon off; master_process {master}; worker_processes {workers}; {user} pid {d}/{n}.pid;
error_log {d}/{n}.err; worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{ access_log {access}; keepalive_requests 1000000000; #client
keepalive_timeout 300s; server_tokens on; client_max_body_size 0; client_body_buffer_size 2m;
client_body_temp_path {d}/{n}1; proxy_temp_path {d}/{n}2; fastcgi_temp_path {d}/{n}3;
uwsgi_temp_path {d}/{n}4; scgi_temp_path {d}/{n}5;
"""


# In each of the lines of a request that was answered.
LINE = b'" 200 '


def has_line(path):
    """Whether a request that was answered is in a log, near its beginning."""
    if not os.path.exists(path):
        return False
    with open(path, "rb") as log:
        return LINE in log.read(65536)


def nginx_head(d, name, files, workers=1, access="off"):
    user = "user root;" if os.geteuid() == 0 and workers > 1 else ""
    # With less than a sixteenth of them free, nginx closes connections of clients.
    return NGINX.format(d=d, n=name, files=files, connections=files * 5 // 4, workers=workers, user=user,
                        access=access, master="on" if workers > 1 else "off")


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def certificate(d):
    """The path of a certificate with its key, and of the key: of the kind that most sites have now."""
    pair, key = f"{d}/tls.pem", f"{d}/tls.key"
    if not os.path.exists(pair):
        command = ["openssl", "req", "-x509", "-nodes", "-batch", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", "/CN=bench.example", "-keyout", key, "-out", pair]
        subprocess.run(command, check=True, capture_output=True)
        with open(key, encoding="ascii") as made, open(pair, "a", encoding="ascii") as both:
            both.write(made.read())
    return pair, key


class Contender:
    """One of them, with so many workers, in front of a backend; with `tls` its clients speak that."""

    def __init__(self, name, d, backend, workers, options, tls=False):
        self.name, self.dir, self.backend, self.workers = name, d, backend, workers
        self.options, self.tls = options, tls
        self.label = f"{name}-{workers}-{free_port()}"
        self.port = free_port()
        # The backend, once it is not the recorder any more.
        self.process = self.server = None

    def start(self, cpus):
        command = {"nginx": self._nginx, "haproxy": self._haproxy, "fleetbal": self._fleetbal,
                   FLOOR: self._floor}[self.name]()
        return self._run(command, cpus)

    def _run(self, command, cpus):
        log = f"{self.dir}/{self.label}.log"
        self.process = Process(self.label, command, cpus, log).wait_port(self.port)
        return self

    def stop(self):
        for part in (self.process, self.server):
            if part:
                part.stop()
        self.process = self.server = None

    def url(self, path):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"

    def connect(self, context=None, session=None):
        """A client's connection."""
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        return (context or self.context()).wrap_socket(sock, session=session) if self.tls else sock

    @staticmethod
    def context():
        """What its clients speak: whoever answers is good."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _nginx(self):
        conf = nginx_head(self.dir, self.label, self.options.descriptors, self.workers, self._log("off"))
        # reuseport: without it one of two workers gets most of the connections. Buffers: with those it has by
        # default, or with files, a body of 1 MiB costs it twice as much.
        reuse = "reuseport" if self.workers > 1 else ""
        tls = ""
        if self.tls:
            pair, key = certificate(self.dir)
            tls = (f"ssl_certificate {pair}; ssl_certificate_key {key}; ssl_protocols {VERSION}; ssl_session_tickets on; "
                   f"ssl_conf_command Ciphersuites {SUITE};")
        conf += f"""limit_conn_zone $binary_remote_addr zone=z:1m;
upstream u {{ server {self.backend}; keepalive 16384; keepalive_requests 1000000000; keepalive_timeout 300s; }}
server {{ listen 127.0.0.1:{self.port} {"ssl" if self.tls else ""} backlog=4096 {reuse}; {tls}
location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; }} }} }}"""
        if self.options.spoil:
            before, after = (SPOILERS | TLS_SPOILERS if self.tls else SPOILERS)[self.options.spoil]
            if before not in conf:
                raise Trouble(f"nothing to spoil: {before!r}")
            conf = conf.replace(before, after)
        return ["nginx", "-p", self.dir, "-c", write(f"{self.dir}/{self.label}.conf", conf)]

    def check_log(self):
        """Whether the lines are written that were asked for."""
        path, give_up = self._log(""), time.monotonic() + 5
        # What HAProxy writes goes where its process writes.
        path = path and (f"{self.dir}/{self.label}.log" if self.name == "haproxy" else path)
        while path and not has_line(path):
            if time.monotonic() > give_up:
                raise Trouble(f"{self.name} writes no access log")
            time.sleep(0.05)

    def _log(self, without):
        """Where a contender logs, in the format that is called combined."""
        return f"{self.dir}/{self.label}.access" if self.options.access_log else without

    def _haproxy(self):
        pair = certificate(self.dir)[0] if self.tls else ""
        tls = f"ssl crt {pair} ssl-min-ver {VERSION} ciphersuites {SUITE}" if self.tls else ""
        # Spliced, large bodies cost it less. The pool ratios and the purge delay: or it closes idle connections to
        # the backend under many clients.
        logs = """ log stdout len 2048 format raw local0 info
 log-format "%ci - - [%trl] %{+Q}r %ST %B %{+Q}[capture.req.hdr(0)] %{+Q}[capture.req.hdr(1)]"
 capture request header Referer len 512
 capture request header User-Agent len 512
""" if self._log("") else ""
        # Limits: or it asks for two descriptors for each of 10,000 idle connections, and does not start.
        conf = f"""global
 nbthread {self.workers}
 maxconn {self.options.descriptors // 2 + 40}
 no strict-limits
 tune.pool-high-fd-ratio 100
 tune.pool-low-fd-ratio 100
defaults
 mode http
 timeout connect 5s
 timeout client 300s
 timeout server 300s
 option forwardfor
 option splice-auto
 http-reuse always
frontend f
 bind 127.0.0.1:{self.port} backlog 4096 {tls}
 maxconn {self.options.descriptors // 2 + 40}
{logs} default_backend b
backend b
 balance roundrobin
 server s1 {self.backend} pool-purge-delay 300s
"""
        return ["haproxy", "-f", write(f"{self.dir}/{self.label}.cfg", conf)]

    def _fleetbal(self):
        conf = f"""CREATE POOL a
POOL a ADD {self.backend}
CREATE SERVICE balancer
SET role = reverse_proxy
SET listen = 127.0.0.1:{self.port}
SET pool = a
SET persist_client = on
SET persist_client_idle_timeout = 300
SET persist_backend = on
SET backend_persist_cache = 16384
"""
        if self.tls:
            pair, key = certificate(self.dir)
            conf += f"SET enable_ssl = on\nSET ssl_cert_file = {pair}\nSET ssl_key_file = {key}\n"
            conf += f"SET ssl_protocols = {VERSION}\nSET ssl_cipher_list = {SUITE}\n"
        conf += self._fleetbal_log() + "ENABLE balancer\n"
        path = write(f"{self.dir}/{self.label}.conf", conf)
        return fleet_of_one(self.options.ours, f"{self.dir}/{self.label}", self.workers) + ["--config", path]

    def _fleetbal_log(self):
        path = self._log("")
        return path and f"LOAD Log\nLOGNAME balancer = {path}\nSET plugins = log\nSET log_format = combined\n"

    def _floor(self):
        return [built_with(self.options.ours, "bare-forwarder"), f"127.0.0.1:{self.port}", self.backend]


def fleet_of_one(binary, directory, workers, init=True):
    """A node of a fleet of its own: consensus, gossip and management run in the process that is measured."""
    command = [os.path.abspath(binary), "--workers", str(workers), "--node", "n1", "--data-dir", directory]
    command += ["--cluster-listen", f"127.0.0.1:{free_port()}", "--management", f"127.0.0.1:{free_port()}"]
    return command + (["--init", "--cluster", "bench"] if init else [])


def versions(binary, names):
    commands = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"],
                "fleetbal": [os.path.abspath(binary), "--version"]}
    return {name: first_line(commands[name]) for name in names}
