"""The backend: an nginx that also counts. Its count is what CPU time is divided by."""

import http.client
import os
import re

from contenders import nginx_head, write
from process import Process, Trouble

SMALL = 2000


def body(size):
    """Of a size, and of no other: text that does not repeat within what any buffer holds."""
    line = b"".join(b"%07d " % number for number in range(size // 8 + 1))
    return line[:size]


class Backend:
    """Answers `/body/SIZE` from memory or the page cache, and `/upload` once it has read all of the body."""

    def __init__(self, d, port, sizes, files, cpus):
        self.port, self.status = port, None
        locations = ""
        os.makedirs(f"{d}/www/body", exist_ok=True)
        for size in sizes:
            if size <= SMALL:
                locations += f'location = /body/{size} {{ return 200 "{body(size).decode()}"; }}\n'
            else:
                with open(f"{d}/www/body/{size}", "wb") as f:
                    f.write(body(size))
        # `return` answers before the body is read; a proxy reads it first. Each upload counts as two requests.
        conf = nginx_head(d, "backend", files) + f"""sendfile on; open_file_cache max=100 inactive=1h;
upstream self {{ server 127.0.0.1:{port}; keepalive 1024; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096; default_type text/plain; root {d}/www;
{locations}
location = /upload {{ proxy_pass http://self/taken; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Length $content_length; }}
location = /taken {{ return 200 "$http_x_length"; }}
location = /status {{ stub_status; }} }} }}"""
        command = ["nginx", "-p", d, "-c", write(f"{d}/backend.conf", conf)]
        self.process = Process("backend", command, cpus, f"{d}/backend.log").wait_port(port)

    def counts(self):
        """(connections accepted, requests begun) so far; asking counts neither."""
        if not self.status:
            self.status = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.asked = 0
        self.status.request("GET", "/status")
        text = self.status.getresponse().read().decode()
        found = re.search(r"(\d+) (\d+) (\d+)", text)
        if not found:
            raise Trouble(f"the backend does not count: {text}")
        self.asked += 1
        return int(found.group(1)), int(found.group(3)) - self.asked

    def stop(self):
        if self.status:
            self.status.close()
        self.process.stop()
