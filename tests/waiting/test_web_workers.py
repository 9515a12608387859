# SPDX-License-Identifier: MIT
"""examples/web_workers.py, asked by HTTP clients while its workers are killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import Any

import pytest

from tests.support.http_client import Client, free_port, served

pytestmark = pytest.mark.machine

NUMBERS, KILLS = 60, 3


def ask(client: Client, method: str, path: str) -> Any:
    """The answer when it is there; None where there is none to come."""
    while True:
        status, said = client.ask(path, method)
        if status == 200:
            return json.loads(said)
        if status == 202:
            return None


def test_web_workers_do_every_job_although_workers_are_killed_while_they_serve() -> None:
    """No job is lost, no request is counted twice, and other workers take the place of the dead."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    port = free_port()
    with served("web_workers.py", "--port", str(port)):
        client = Client(port)
        hits: list[int] = []
        squares: dict[int, int] = {}

        def post_and_hit() -> None:
            own = Client(port)
            for number in range(NUMBERS):
                ask(own, "POST", f"/jobs/{number}")
                hits.append(ask(own, "GET", "/")["hits"])

        first = ask(client, "GET", "/")
        posting = threading.Thread(target=post_and_hit)
        posting.start()
        for _ in range(KILLS):
            os.kill(ask(client, "GET", "/")["worker"], signal.SIGKILL)
            time.sleep(0.1)
        posting.join()
        for number in range(NUMBERS):
            squares[number] = ask(client, "GET", f"/jobs/{number}")["square"]
        last = ask(client, "GET", "/")["hits"]

        assert {number: number**2 for number in range(NUMBERS)} == squares
        assert sorted(set(hits)) == hits
        assert first["hits"] < hits[0] < hits[-1] < last
        assert last >= NUMBERS + KILLS + 2
