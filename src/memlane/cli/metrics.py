# SPDX-License-Identifier: MIT
"""`memlane metrics`: what goes through all objects, in the format of OpenMetrics."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from memlane import MemlaneError, inspection
from memlane.metrics import Family, Gathering, text

_KIND = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Looks:
    """Looks at the regions that a pattern names; one at a time."""

    def __init__(self, pattern: str | None) -> None:
        self._pattern, self._gathering = pattern, Gathering()
        self._lock = threading.Lock()

    def look(self) -> list[Family]:
        """
        Raises:
            RegionNotFoundError: a name leads to nothing.
            MemlaneError, OSError: the one region that was named cannot be read.
            ValueError: the pattern can be no name.
        """
        with self._lock, contextlib.ExitStack() as opened:
            if self._pattern is None:
                targets = list(inspection.regions())
            else:
                targets = list(inspection.matching(self._pattern))
            found = []
            for target in targets:
                try:
                    found.append((target.name, opened.enter_context(target.open())))
                except (MemlaneError, OSError):
                    if len(targets) == 1 and self._pattern is not None:
                        raise
            objects = {target.object for target in targets}
            return self._gathering.look(found, objects.pop() if len(objects) == 1 else None)


class Server(ThreadingHTTPServer):
    """Serves /metrics, under the names that it was given alone, as `memlane top --web`."""

    daemon_threads = True

    def __init__(self, looks: Looks, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.looks = looks
        bound, self.port = str(self.server_address[0]), int(self.server_address[1])
        self.names = {f"{name}:{self.port}" for name in ("localhost", "127.0.0.1", bound, host)}
        self.url = f"http://{host}:{self.port}/metrics"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "memlane"

    def do_GET(self) -> None:
        if self.headers.get("Host", "") not in self.server.names:
            self.send_error(403, "another name than that of this server")
            return
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "metrics are at /metrics")
            return
        try:
            said = text(self.server.looks.look()).encode()
        except (MemlaneError, OSError) as error:
            self.send_error(503, inspection.error_text(error).encode("ascii", "replace").decode())
            return
        self.send_response(200)
        self.send_header("Content-Type", _KIND)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(said)

    def log_message(self, *_arguments: Any) -> None:
        """A line for each request would be noise."""


def metrics(pattern: str | None, listen: str | None, as_json: bool) -> int:
    """
    Print the metrics, or serve them until Ctrl-C.

    Raises:
        RegionNotFoundError, MemlaneError, OSError: what was asked for is not there, or the address
            is taken.
        ValueError: *pattern* can be no name, or *listen* no address.
    """
    looks = Looks(pattern)
    if listen is None:
        found = looks.look()
        if as_json:
            for family in found:
                for labels, value in family.samples:
                    named = {"metric": family.name, "labels": dict(labels), "value": value}
                    print(json.dumps(named))
        else:
            print(text(found), end="")
        return 0
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--listen takes HOST:PORT, such as 127.0.0.1:9464, got {listen!r}")
    try:
        with Server(looks, host.strip("[]") or "127.0.0.1", int(port)) as server:
            looks.look()
            print(server.url, flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0
