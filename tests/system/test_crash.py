# SPDX-License-Identifier: MIT
"""
A process that is killed under load loses nothing and holds nobody up. The long form is `make
stress`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests import ROOT
from tests.support.processes import PATIENCE_S
from tests.system.crash import MIXES, SLOT, TOPICS

pytestmark = pytest.mark.machine

HARNESS = "tests.system.crash"
ROUNDS = 12
HARMLESS = {"mix", "kind", "rounds", "kills", "stops", "records", "again", "unnoted"}


def _run(mix: str, kind: str) -> tuple[dict[str, Any], str]:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            HARNESS,
            "--json",
            "--rounds",
            str(ROUNDS),
            "--mix",
            mix,
            "--kind",
            kind,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
    )
    assert run.returncode in (0, 1), run.stderr
    (summary,) = json.loads(run.stdout)
    return summary, run.stderr


@pytest.mark.parametrize("kind", ["memfd", "named"])
@pytest.mark.parametrize("mix", [*MIXES, SLOT, *TOPICS])
def test_whoever_is_killed_or_stopped_the_others_go_on_with_nothing_lost_torn_or_left_behind(
    mix: str, kind: str
) -> None:
    """Promises 1, 2 and 4: nobody hangs, no record is torn, lost once committed, handed out twice
    but for what a dead one had in hand, and nothing is left."""
    summary, said = _run(mix, kind)
    wrong = {
        what: count
        for what, count in summary.items()
        if count and what not in HARMLESS and not what.endswith("_ms")
    }
    assert wrong == {}, said
    assert summary["rounds"] == ROUNDS
    assert summary["records"] > ROUNDS
