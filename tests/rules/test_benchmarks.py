# SPDX-License-Identifier: MIT
"""The benchmark runs from a plain checkout, without the libraries that it compares."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.machine

COMMAND = [sys.executable, str(ROOT / "benchmarks" / "bench.py")]


def test_the_benchmark_measures_memlane_beside_a_peer_and_writes_what_it_found(
    tmp_path: Path,
) -> None:
    """Figures are reproduced with one command, and all that they rest on is in the results."""
    results = tmp_path / "results.json"
    alternatives = ["--alternative", "memlane", "--alternative", "multiprocessing.Pipe"]
    keys = ["64B-wait", "256KiB", "trip-wait", "topic-3"]
    cases = [word for key in keys for word in ("--case", key)]
    quick = ["--rounds", "1", "--seconds", "0.01", "--patience", "0", "--json", str(results)]
    done = subprocess.run(
        [*COMMAND, *alternatives, *cases, *quick], capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)

    found = json.loads(results.read_text())
    assert keys == [case["key"] for case in found["cases"]]
    for case in found["cases"]:
        libraries = [one for one in case["candidates"] if not one["limit"]]
        names = {
            "256KiB": ["memlane", "memlane, reserve", "multiprocessing.Pipe"],
            "topic-3": ["memlane", "memlane, overwrite"],
        }.get(case["key"], ["memlane", "multiprocessing.Pipe"])
        assert names == [one["name"] for one in libraries]
        for one in libraries:
            assert one["failure"] is None
            assert all(0 < sample for sample in one["samples"])
    assert {
        "memlane",
        "memlane, reserve",
        "memlane, overwrite",
        "multiprocessing.Pipe",
    } == set(found["versions"])


def test_the_benchmark_lists_peers_that_are_not_installed_with_the_reason() -> None:
    """The results say why a library is missing."""
    done = subprocess.run([*COMMAND, "--list"], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    for alternative, module in (("memlane", "memlane"), ("kickmsg", "kickmsg"), ("pyzmq", "zmq")):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{alternative} ")]
        installed = importlib.util.find_spec(module) is not None
        assert installed == ("skipped: not installed" not in line), line
