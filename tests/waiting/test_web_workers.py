# SPDX-License-Identifier: MIT
"""examples/web_workers.py, asked by HTTP clients while its workers are killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine

NUMBERS, KILLS = 60, 3


class Client:
    """Asks until it is answered: a worker that is killed takes its connections with it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.end = time.monotonic() + PATIENCE_S

    def ask(self, method: str, path: str) -> Any:
        while True:
            assert time.monotonic() < self.end, f"no answer to {method} {path}"
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                client.request(method, path)
                answer = client.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            finally:
                client.close()
            if answer.status == 200:
                return json.loads(said)
            if answer.status == 202:
                return None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_web_workers_do_every_job_although_workers_are_killed_while_they_serve() -> None:
    """No job is lost, no request is counted twice, and other workers take the place of the dead."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "web_workers.py", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        client = Client(port)
        hits: list[int] = []
        squares: dict[int, int] = {}

        def post_and_hit() -> None:
            own = Client(port)
            for number in range(NUMBERS):
                own.ask("POST", f"/jobs/{number}")
                hits.append(own.ask("GET", "/")["hits"])

        first = client.ask("GET", "/")
        posting = threading.Thread(target=post_and_hit)
        posting.start()
        for _ in range(KILLS):
            os.kill(client.ask("GET", "/")["worker"], signal.SIGKILL)
            time.sleep(0.1)
        posting.join()
        for number in range(NUMBERS):
            squares[number] = client.ask("GET", f"/jobs/{number}")["square"]
        last = client.ask("GET", "/")["hits"]

        assert {number: number**2 for number in range(NUMBERS)} == squares
        assert sorted(set(hits)) == hits
        assert first["hits"] < hits[0] < hits[-1] < last
        assert last >= NUMBERS + KILLS + 2
    finally:
        server.send_signal(signal.SIGINT)
        try:
            told, _ = server.communicate(timeout=60)
        finally:
            if server.returncode is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.communicate()
    assert 0 == server.returncode, told
    assert not list(Path("/dev/shm").glob(f"*web-workers-{server.pid}*"))
