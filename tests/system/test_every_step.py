# SPDX-License-Identifier: MIT
"""
A process killed or stopped between any two instructions spoils nothing: a sample of the points. All
of them: `make every-step`.
"""

from __future__ import annotations

import pytest

from tests.system.every_step import NotHereError, Stepping, every_step
from tests.system.every_step_operations import OPERATIONS

pytestmark = pytest.mark.machine

#: A sample, for seconds, and the same one each time: to look for more is what the long form is for.
POINTS = 4
#: Of operations that sweep, while which no other test runs.
POINTS_ALONE = 2


@pytest.fixture(scope="module")
def stepping() -> Stepping:
    try:
        return Stepping()
    except NotHereError as error:
        pytest.skip(f"cannot single-step here: {error}")


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(name, marks=pytest.mark.sweeps if make().sweeps else ())
        for name, make in OPERATIONS.items()
    ],
)
def test_whoever_dies_or_stops_at_any_instruction_is_survived(
    operation: str, stepping: Stepping
) -> None:
    """
    Promises 1, 2 and 4: nothing hangs, nothing is torn, lost or doubled, nothing is left behind;
    a process that was only stopped goes on as if nothing had been.
    """
    for how in ("kill", "stop"):
        try:
            made = OPERATIONS[operation]()
            points = POINTS_ALONE if made.sweeps else POINTS
            summary = every_step(stepping, made, how, sample=points)
        except NotHereError as error:
            pytest.skip(f"cannot single-step here: {error}")
        assert summary.rounds >= points
        assert summary.instructions > 0


def test_the_points_of_a_put_lie_before_and_behind_its_commit(stepping: Stepping) -> None:
    """What is sampled above is worth it: a record that is put is whole from one point on."""
    summary = every_step(stepping, OPERATIONS["put-fits:one"](), "kill", stride=8)
    assert {"done", "nothing"} == set(summary.outcomes)
    assert 0 == summary.missed
    assert summary.instructions + summary.system_calls == summary.points
