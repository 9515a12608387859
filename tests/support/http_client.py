# SPDX-License-Identifier: MIT
"""A client of web servers whose workers are killed: it asks until it is answered."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

from tests.support.processes import PATIENCE_S


def free_port() -> int:
    """A port of the loopback that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Client:
    """Each request has a connection of its own: a worker that is killed takes some with it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.end = time.monotonic() + PATIENCE_S

    def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET, by whichever worker."""
        while True:
            assert time.monotonic() < self.end, f"no answer to {path}"
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                client.request("GET", path)
                answer = client.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            finally:
                client.close()

    def status(self, path: str) -> int:
        return self.ask(path)[0]

    def text(self, path: str) -> str:
        status, said = self.ask(path)
        assert status == 200, said
        return said.decode()

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))
