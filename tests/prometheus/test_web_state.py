# SPDX-License-Identifier: MIT
"""examples/web_state.py, asked by HTTP clients while its workers are killed."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.http_client import Client, free_port, served

pytestmark = pytest.mark.machine

HITS, KILLS = 40, 4


def metric(text: str, name: str) -> float:
    """The sum of all samples of that name, whatever their labels."""
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_counters_limits_cache_and_metrics_outlive_workers_that_are_killed(server: str) -> None:
    """Whichever worker answers: no request is forgotten, and no limit begins anew."""
    for needed in (server, "starlette", "prometheus_client"):
        pytest.importorskip(needed)
    port = free_port()
    with served("web_state.py", "--port", str(port), "--server", server):
        client = Client(port)
        known = int(client.json("/")["hits"])
        assert known == 1
        found = client.json("/cached/7")["found"]
        assert found.startswith("49 by ")
        for number in range(HITS):
            answer = client.json("/")
            known += 1
            assert answer["hits"] >= known
            if number % (HITS // KILLS) == 0:
                os.kill(answer["worker"], signal.SIGKILL)
                assert found == client.json("/cached/7")["found"]
        allowed = [client.status("/limited/anna") for _ in range(8)]
        assert 429 == allowed[-1]
        assert allowed.count(200) <= 5
        assert 200 == client.status("/limited/bert")
        said = client.text("/metrics")
        hits = client.json("/")["hits"]
        assert HITS + 1 <= metric(said, 'requests_total{path="/"}') <= hits + KILLS
        assert 8 <= metric(said, 'requests_total{path="/limited"}')
        assert 1 <= metric(said, "workers ") <= 4
        assert metric(said, "memlane_counter_value") >= HITS
        assert metric(said, "memlane_map_keys") >= 3
