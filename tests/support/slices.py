# SPDX-License-Identifier: MIT
"""Wake-ups that come, told by the slices that sleepers of this process slept to their end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import pytest

from memlane import _core

#: Rounds without a recheck interval, one after the other, that say that the wake-up comes.
IN_A_ROW = 3
#: Rounds within which they must be there; a wake-up that is lost shows in every one of them.
ROUNDS = 100


class Slices:
    """How many slices were slept to their end inside `with`."""

    count = 0

    def __enter__(self) -> Self:
        self._before = _core.intervals_slept()
        return self

    def __exit__(self, *_error: object) -> None:
        self.count += _core.intervals_slept() - self._before


def rounds_without_a_slice() -> Iterator[Slices]:
    """
    Rounds of a test until some in a row slept no recheck interval. A recheck interval may end by
    chance in the midst of one, on a slow machine in many, so single rounds say nothing.
    """
    counts: list[int] = []
    while len(counts) < ROUNDS:
        slices = Slices()
        yield slices
        counts.append(slices.count)
        if len(counts) >= IN_A_ROW and not any(counts[-IN_A_ROW:]):
            return
    pytest.fail(f"slept to their end in each round: {counts}")
