# SPDX-License-Identifier: MIT
"""Who is killed under load loses nothing and holds nobody up. The long form is `make stress`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("crash.py")
ROUNDS = 25


@pytest.mark.parametrize("kind", ["memfd", "named"])
@pytest.mark.parametrize("victim", ["producer", "consumer", "both", "writer"])
def test_successors_of_a_killed_process_go_on_with_nothing_lost_torn_or_left_behind(
    victim: str, kind: str
) -> None:
    """Promises 1, 2 and 4: nobody hangs, and no record is torn, lost once committed, or left."""
    run = subprocess.run(
        [
            sys.executable,
            str(HARNESS),
            "--json",
            "--rounds",
            str(ROUNDS),
            "--victim",
            victim,
            "--kind",
            kind,
        ],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert run.returncode in (0, 1), run.stderr
    (summary,) = json.loads(run.stdout)
    wrong = {
        what: summary[what] for what in ("lost", "torn", "twice", "hangs", "left") if summary[what]
    }
    assert wrong == {}, run.stderr
    assert summary["rounds"] == ROUNDS
    assert summary["committed"] > ROUNDS
