# SPDX-License-Identifier: MIT
"""`memlane top --web`: one page with live rates, by server-sent events, on the loopback."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from memlane import MemlaneError
from memlane.cli.top import View, is_stuck, sorted_by

_PAGE = Path(__file__).with_name("top.html")
#: Nothing but the page itself and its events; no other page may have it in a frame.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'"
)


class Server(ThreadingHTTPServer):
    """
    Serves the page and its events.

    A browser sends the name that it was given in Host. Another name than ours is refused, so that
    no page of the internet whose name leads to this address can read what is here.
    """

    daemon_threads = True

    def __init__(self, view: View, every: float, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self._view, self._every = view, every
        self._changed = threading.Condition()
        self._event, self._count = b"", 0
        bound, self.port = str(self.server_address[0]), int(self.server_address[1])
        self.names = {f"{name}:{self.port}" for name in ("localhost", "127.0.0.1", bound, host)}
        self.url = f"http://{host}:{self.port}/"

    def look(self) -> None:
        """Look once, and tell all pages."""
        self._view.look()
        rows = sorted_by(self._view.objects(), "object")
        told = {"time": time.time(), "objects": [{**row, "stuck": is_stuck(row)} for row in rows]}
        with self._changed:
            self._event, self._count = f"data: {json.dumps(told)}\n\n".encode(), self._count + 1
            self._changed.notify_all()

    def look_on(self) -> None:
        """Look again and again, until the program ends."""
        while True:
            try:
                self.look()
            except (MemlaneError, OSError):
                pass  # gone for now; the page shows the last look
            time.sleep(self._every)

    def event_behind(self, count: int) -> tuple[bytes, int]:
        """The next event, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != count)
            return self._event, self._count


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "memlane"

    def do_GET(self) -> None:
        if self.headers.get("Host", "") not in self.server.names:
            self.send_error(403, "another name than that of this server")
        elif self.path == "/":
            self._begin("text/html; charset=utf-8")
            self.wfile.write(_PAGE.read_bytes())
        elif self.path == "/events":
            self._begin("text/event-stream")
            self._events()
        else:
            self.send_error(404)

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()

    def _events(self) -> None:
        count = 0
        try:
            while True:
                event, count = self.server.event_behind(count)
                self.wfile.write(event)
        except OSError:
            pass  # the page was closed

    def log_message(self, *_arguments: Any) -> None:
        """A line for each request would be noise."""


def web(pattern: str | None, every: float, host: str, port: int) -> int:
    """
    Serve until Ctrl-C; the address is printed.

    Raises:
        RegionNotFoundError, MemlaneError, OSError: what was asked for is not there, or the address
            is taken.
        ValueError: *pattern* can be no name.
    """
    try:
        with Server(View(pattern), every, host, port) as server:
            server.look()
            print(server.url, flush=True)
            threading.Thread(target=server.look_on, daemon=True).start()
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0
