# SPDX-License-Identifier: MIT
"""`memlane metrics`: as text, as JSON, and by HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import memlane
from tests.support.command import call

pytestmark = pytest.mark.machine


def test_metrics_of_a_region_or_of_an_object_are_printed(name: str) -> None:
    """In the format of OpenMetrics, or as a JSON object a line."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits").add(3)
        region.event("go")
        whole, told = call("metrics", name)
        assert "" == told
        line = f'memlane_counter_value{{region="{name}",object="hits"}} 3'
        assert line in whole.splitlines()
        assert whole.endswith("# EOF\n")
        one, _ = call("metrics", f"{name}/hits")
        assert line in one
        assert "memlane_event_set" not in one
        lines = [json.loads(it) for it in call("metrics", name, "--json")[0].splitlines()]
        labels = {"region": name, "object": "hits"}
        assert {"metric": "memlane_counter_value", "labels": labels, "value": 3.0} in lines
        region.unlink()
    assert name in call("metrics", name, code=1)[1]


def test_metrics_are_served_until_an_interrupt(name: str) -> None:
    """Under the names of the address alone: no page of the internet can read them."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits").add(3)
        serving = subprocess.Popen(
            [sys.executable, "-m", "memlane", "metrics", name, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert serving.stdout is not None
            told = serving.stdout.readline().strip()
            assert told.startswith("http://127.0.0.1:")
            assert told.endswith("/metrics")
            with urllib.request.urlopen(told, timeout=60) as answer:
                assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
                assert b"memlane_counter_value" in answer.read()
            asked = urllib.request.Request(told, headers={"Host": "example.com"})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(asked, timeout=60)
            assert 403 == refused.value.code
            refused.value.close()
        finally:
            serving.send_signal(signal.SIGINT)
            rest, _ = serving.communicate(timeout=60)
        assert (0, "") == (serving.returncode, rest)
        region.unlink()
    assert "HOST:PORT" in call("metrics", "--listen", "localhost", code=2)[1]
