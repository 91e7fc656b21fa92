"""Before anything is measured: does every contender do the same work?

A backend of our own records what reaches it from each contender - method, target, version, fields, body, and over how
many connections - and a client of our own reads what comes back. What is not exactly as expected ends the run.
"""

import socket
import threading
import time

from backend import body
from process import Trouble

HOST = "bench.example"
# A connection's own business; what it says is checked, not how.
OF_THE_HOP = {"connection", "keep-alive"}
# Who answered and when: a proxy may say so itself.
OF_THE_ANSWERER = OF_THE_HOP | {"server", "date"}
BODY, UPLOAD = 20_000, 16_384


class Stream:
    """Messages of HTTP/1.1, read from a socket to the byte."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.rest += data

    def _until(self, end):
        while end not in self.rest:
            self._more()
        found, self.rest = self.rest.split(end, 1)
        return found

    def _exactly(self, count):
        while len(self.rest) < count:
            self._more()
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def message(self):
        """(first line, [(name, value)], body)"""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        said = dict(fields)
        content = b""
        if said.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                content += self._exactly(size)
                self._exactly(2)
            self._exactly(2)
        elif "content-length" in said:
            content = self._exactly(int(said["content-length"]))
        return first, fields, content


class Recorder:
    """A backend that keeps what it gets."""

    def __init__(self, hosts, port):
        self.seen, self.connections, self.lock = [], 0, threading.Lock()
        self.open = set()
        self.listeners = [socket.create_server((host, port), backlog=128) for host in hosts]
        for listener in self.listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        stream, number = Stream(sock), None
        try:
            while True:
                first, fields, content = stream.message()
                # Probes are not part of the work.
                if "/record/" in first:
                    with self.lock:
                        if number is None:
                            self.connections += 1
                            number = self.connections
                        self.seen.append((first, fields, content))
                answer = body(BODY)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(answer)}\r\nX-Mark: 7\r\n\r\n"
                sock.sendall(head.encode() + answer)
        except (EOFError, OSError, ValueError):
            sock.close()

    def take(self):
        with self.lock:
            seen, connections = self.seen, self.connections
            self.seen, self.connections = [], 0
        return seen, connections

    def stop(self):
        # Blocked in accept, it would not notice being closed.
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                sock.close()


COMMON = [("host", HOST), ("user-agent", "bench"), ("accept", "*/*")]
FORWARDED = ("x-forwarded-for", "127.0.0.1")
LENGTH = ("content-length", str(UPLOAD))
CHUNKED = ("transfer-encoding", "chunked")
# (method, fields beyond the common ones, bytes of the body, what the backend should get, requests in a row)
SERIES = {
    "keep-alive": ("GET", [], b"", b"", 4),
    "upload": ("POST", [LENGTH], body(UPLOAD), body(UPLOAD), 3),
    "chunked upload": ("POST", [CHUNKED], b"4000\r\n" + body(UPLOAD) + b"\r\n0\r\n\r\n", body(UPLOAD), 2),
    "one connection a request": ("GET", [("connection", "close")], b"", b"", 1),
    "another connection": ("GET", [("connection", "close")], b"", b"", 1),
}


def check(contender, recorder):
    """Ends the run where this contender does not do the work that is compared."""

    def demand(what, got, wanted):
        if got != wanted:
            raise Trouble(f"{contender.label} does other work than the rest: {what}\n got      {got}\n expected {wanted}")

    recorder.take()
    total = 0
    for series, (method, extra, sent, received, count) in SERIES.items():
        with contender.connect() as sock:
            stream = Stream(sock)
            for number in range(count):
                target = f"/record/{series.replace(' ', '-')}/{number}"
                lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in COMMON + extra]
                try:
                    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
                    first, fields, content = stream.message()
                except (EOFError, OSError) as error:
                    raise Trouble(f"{contender.label}, {series}, request {number + 1}: the client's connection "
                                  f"ended ({error!r})") from None
                demand(f"{series}: status line", first.split(" ", 2)[:2], ["HTTP/1.1", "200"])
                demand(f"{series}: body to the client", content == body(BODY), True)
                names = sorted(name for name, _ in fields if name not in OF_THE_ANSWERER)
                demand(f"{series}: fields to the client", names, ["content-length", "content-type", "x-mark"])
                keeps = not any(name == "connection" and "close" in value.lower() for name, value in fields)
                demand(f"{series}: it keeps the client's connection", keeps, ("connection", "close") not in extra)
                _compare(demand, series, recorder, (method, target, extra, received), contender)
            if ("connection", "close") in extra:
                demand(f"{series}: it closes the connection", sock.recv(1), b"")
        total += count
        # The other side of the close is with the contender when the next connection comes.
        time.sleep(0.02)
    _, connections = recorder.take()
    # Each worker has connections of its own.
    if not 1 <= connections <= contender.workers:
        raise Trouble(f"{contender.label} opened {connections} connections to the backend for {total} requests; "
                      f"{contender.workers} would have done: it does not reuse them as the rest do")


def _compare(demand, series, recorder, asked, contender):
    method, target, extra, received = asked
    # The others would have to be told to.
    tells_of_tls = [("x-forwarded-proto", "https")] if contender.tls and contender.name == "fleetbal" else []
    with recorder.lock:
        seen, recorder.seen = recorder.seen, []
    demand(f"{series}: requests to the backend", len(seen), 1)
    first, fields, content = seen[0]
    demand(f"{series}: request line", first, f"{method} {target} HTTP/1.1")
    # Nobody is measured with chunks; whoever has all of them at once may say how long they are together.
    own = OF_THE_HOP | ({"transfer-encoding", "content-length"} if CHUNKED in extra else set())
    wanted = sorted(COMMON + [FORWARDED] + tells_of_tls + [field for field in extra if field[0] not in own])
    got = sorted(field for field in fields if field[0] not in own)
    demand(f"{series}: fields to the backend", got, wanted)
    closing = [value for name, value in fields if name == "connection" and value.lower() != "keep-alive"]
    demand(f"{series}: options of the backend's connection", closing, [])
    demand(f"{series}: body to the backend", content == received, True)


def check_bodies(contender, sizes):
    """What the real backend sends arrives unchanged."""
    for path, wanted in [(f"/body/{size}", body(size)) for size in sizes] + [("/upload", str(UPLOAD).encode())]:
        with contender.connect() as sock:
            head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
            if path == "/upload":
                head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {UPLOAD}\r\n\r\n".encode() + body(UPLOAD)
            sock.sendall(head)
            first, _, content = Stream(sock).message()
        if " 200 " not in first or content != wanted:
            raise Trouble(f"{contender.label}: {path} is not the backend's answer: {first}, {len(content)} bytes")
