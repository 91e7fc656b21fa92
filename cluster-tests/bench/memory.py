"""Resident memory with idle client connections, above that of a node with none."""

import selectors
import socket
import time

from contenders import Contender
from process import Trouble, free_port
from recorder import HOST, Stream

# Design, section 9: MiB above an empty node.
STEPS = (64, 1_000, 10_000)
MUST = {64: 5, 1_000: 15, 10_000: 100}
AIM = {64: 2, 1_000: 8, 10_000: 60}
# What allocators keep for a moment is given back, or is not.
SETTLE, SETTLE_SHORT = 1.0, 0.3


def run(names, stage, options):
    results = {}
    for name in names:
        contender = Contender(name, stage.dir, f"127.0.0.1:{free_port()}", 1, options)
        try:
            contender.server = stage.backend(contender.backend)
            contender.start(stage.layout.one)
            results[name] = _one(contender, options)
        finally:
            contender.stop()
        shown = ", ".join(f"{count}: +{results[name][str(count)]:.1f}" for count in steps(options))
        stage.say(f"  {name}: {results[name]['empty']:.1f} MiB empty; {shown}")
    return results


def steps(options):
    return STEPS[:2] if options.short else STEPS


def _one(contender, options):
    settle = SETTLE_SHORT if options.short else SETTLE
    time.sleep(settle)
    found = {"empty": contender.process.rss_mib()}
    request = f"GET /body/128 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    clients = []
    try:
        for count in steps(options):
            while len(clients) < count:
                client = socket.create_connection(("127.0.0.1", contender.port), 10)
                clients.append(client)
                client.sendall(request)
                first, _, _ = Stream(client).message()
                if " 200 " not in first:
                    raise Trouble(f"{contender.label}: connection {len(clients)} was answered {first}")
            time.sleep(settle)
            found[str(count)] = contender.process.rss_mib() - found["empty"]
        _demand_open(contender, clients)
    except OSError as error:
        raise Trouble(f"{contender.label}: connection {len(clients)}: {error}") from None
    finally:
        for client in clients:
            client.close()
    return found


def _demand_open(contender, clients):
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        closed = len(selector.select(0))
    if closed:
        raise Trouble(f"{contender.label} closed {closed} idle connections")
