# SPDX-License-Identifier: MIT
"""Bytes in shared memory are not trusted. The long form is `make fuzz`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import ROOT
from tests.support.processes import PATIENCE_S
from tests.system.fuzz_region import WAYS

HARNESS = "tests.system.fuzz_region"
pytestmark = pytest.mark.machine
INPUTS = {"rest": 300, "between": 1500, "fire": 700}


@pytest.mark.parametrize("way", WAYS)
def test_any_byte_spoilt_gives_data_or_a_typed_error_and_never_a_crash_or_a_hang(way: str) -> None:
    """Corrupted at rest before it is opened, between two verbs, or by another process at
    full speed."""
    run = subprocess.run(
        [sys.executable, "-m", HARNESS, "--json", "--way", way, "--inputs", str(INPUTS[way])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
    )
    assert run.returncode in (0, 1), run.stderr
    (result,) = json.loads(run.stdout)
    wrong = {what: result[what] for what in ("crashes", "untyped", "hangs") if result[what]}
    assert wrong == {}, run.stderr
    assert result["inputs"] == INPUTS[way]
    assert result["outcome"]["data"] > 0
    assert result["outcome"]["CorruptedError" if way != "rest" else "open: CorruptedError"] > 0
