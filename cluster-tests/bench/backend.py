"""The backend: an nginx that also counts. Its count is what CPU time is divided by."""

import http.client
import os
import re
import time

from contenders import nginx_head, write
from process import Process, Trouble

SMALL = 2000


def body(size):
    """Of a size, and of no other: text that does not repeat within what any buffer holds."""
    line = b"".join(b"%07d " % number for number in range(size // 8 + 1))
    return line[:size]


class Backend:
    """One contender's own: of all their idle connections together, one process could not hold as many.

    Answers `/body/SIZE` from memory or the page cache, and `/upload` once it has read all of the body."""

    def __init__(self, d, address, sizes, files, cpus):
        self.address, self.status, self.asked = address, None, 0
        name = f"backend-{address}"
        locations = ""
        os.makedirs(f"{d}/www/body", exist_ok=True)
        for size in sizes:
            if size <= SMALL:
                locations += f'location = /body/{size} {{ return 200 "{body(size).decode()}"; }}\n'
            # Who makes the load may want to compare.
            with open(f"{d}/www/body/{size}", "wb") as f:
                f.write(body(size))
        # `return` answers before the body is read; a proxy reads it first. Each upload counts as two requests.
        conf = nginx_head(d, name, files) + f"""sendfile on; open_file_cache max=100 inactive=1h;
upstream self {{ server {address}; keepalive 1024; keepalive_requests 1000000000; }}
server {{ listen {address} backlog=4096; default_type text/plain; root {d}/www;
{locations}
location = /upload {{ proxy_pass http://self/taken; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Length $content_length; }}
location = /taken {{ return 200 "$http_x_length"; }}
location = /status {{ stub_status; }} }} }}"""
        command = ["nginx", "-p", d, "-c", write(f"{d}/{name}.conf", conf)]
        host, port = address.split(":")
        self.process = Process(name, command, cpus, f"{d}/{name}.log").wait_port(int(port), host)

    def counts(self):
        """(connections accepted, requests begun) so far; asking counts neither."""
        if not self.status:
            self.status = http.client.HTTPConnection(self.address, timeout=30)
        self.status.request("GET", "/status")
        text = self.status.getresponse().read().decode()
        found = re.search(r"(\d+) (\d+) (\d+)", text)
        if not found:
            raise Trouble(f"the backend does not count: {text}")
        self.asked += 1
        return int(found.group(1)), int(found.group(3)) - self.asked

    def quiet_counts(self):
        """The same, once nobody is served any more: a load that ends leaves requests behind."""
        before, deadline = self.counts(), time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.03)
            now = self.counts()
            if now == before:
                return now
            before = now
        raise Trouble("the backend is still busy 10 s after the load has ended")

    def stop(self):
        if self.status:
            self.status.close()
        self.process.stop()
