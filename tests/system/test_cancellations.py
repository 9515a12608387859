# SPDX-License-Identifier: MIT
"""Waits that are canceled take nothing and leave nothing undone. More of them: `make stress`."""

from __future__ import annotations

import pytest

from memlane import _event_loops
from tests.system import cancellations


@pytest.mark.parametrize("loop", cancellations.LOOPS)
@pytest.mark.parametrize("side", [cancellations.gets, cancellations.puts])
def test_canceled_waits_lose_and_double_no_record_and_no_wake_up(
    side: object, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At random moments, in two threads, beside another process; a lost wake-up is a hang."""
    pytest.importorskip(loop)
    monkeypatch.setattr(_event_loops, "SLICE_S", 1e6)
    monkeypatch.setattr(_event_loops, "POLL_S", 1e6)
    assert callable(side)

    came = side(loop, 500, seed=1)

    assert came["canceled"] >= 500
    assert came.total() > came["canceled"]
