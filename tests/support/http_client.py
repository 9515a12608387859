# SPDX-License-Identifier: MIT
"""Web servers whose workers are killed, and a client of them that asks until it is answered."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.support.processes import PATIENCE_S


def free_port() -> int:
    """A port of the loopback that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(example: str, *arguments: str) -> Iterator[None]:
    """An example that serves; it ends well by a Ctrl-C, and leaves nothing in /dev/shm."""
    program = subprocess.Popen(
        [sys.executable, ROOT / "examples" / example, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield
    finally:
        program.send_signal(signal.SIGINT)
        try:
            told, _ = program.communicate(timeout=60)
        finally:
            if program.returncode is None:
                os.killpg(program.pid, signal.SIGKILL)
                program.communicate()
    assert 0 == program.returncode, told
    name = Path(example).stem.replace("_", "-")
    assert not list(Path("/dev/shm").glob(f"*{name}-{program.pid}*"))


class Client:
    """Each request has a connection of its own: a worker that is killed takes some with it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.end = time.monotonic() + PATIENCE_S

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of a request, by whichever worker."""
        while True:
            assert time.monotonic() < self.end, f"no answer to {method} {path}"
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                client.request(method, path)
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
