# SPDX-License-Identifier: MIT
"""Threads of one process share regions: what one closes, another opens (docs/locking.md)."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import memlane
import memlane._region.semaphores
from tests.support.processes import Child, output_of, unrelated, wait_until
from tests.support.region_files import file_of
from tests.support.stepping import ROWS, Table, row_byte

COLLECTED_UNDER_THE_LOCK = """
import gc, sys, warnings
import memlane.region

warnings.simplefilter("ignore")
ring = memlane.Ring(capacity=4096)
cycle = [ring]
cycle.append(cycle)
del ring, cycle
with memlane._region.open_regions.open_regions.lock():  # as while another region is opened
    gc.collect()
print("through")
"""


def test_a_forgotten_region_that_the_collector_closes_while_one_is_opened_hangs_nobody() -> None:
    """The collector runs at any moment, also in a thread that holds the lock of the registry."""
    assert "through" == output_of(unrelated(COLLECTED_UNDER_THE_LOCK)).strip()


def test_a_region_that_is_closed_by_one_thread_while_another_opens_it_is_open_for_that_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening never hands out what somebody else's close has just ended."""
    first = memlane.Region.create(name, 4096)
    give_out = memlane.Region._from_handle

    def close_in_between(*args: Any, **facts: Any) -> memlane.Region:
        first.close()
        return give_out(*args, **facts)

    monkeypatch.setattr(memlane.Region, "_from_handle", close_in_between)
    with memlane.Region.open(name) as second:
        second.join()

        assert 1 == len(second.participants())
        second.unlink()


def test_a_put_that_may_not_wait_does_not_wait_for_a_thread_that_waits_for_a_lane() -> None:
    """Each call keeps its own timeout, also while another thread is still without a lane."""
    with memlane.Ring(capacity=4096, producers=1) as ring:

        def hold_the_lane() -> None:
            ring.put(b"first")
            signal.pause()

        with Child(hold_the_lane):
            wait_until(lambda: len(ring), "the lane to be taken")
            waiting = threading.Thread(target=ring.put, args=(b"second",), kwargs={"timeout": 30})
            waiting.start()
            wait_until(lambda: ring.region._member.tag, "the thread to look for a lane")
            with pytest.raises(memlane.RoleTakenError):
                ring.put_nowait(b"third")

            assert waiting.is_alive()
        waiting.join()

        assert [b"first", b"second"] == ring.get_many(3)


def amid(
    monkeypatch: pytest.MonkeyPatch, module: object, function: str, step: Callable[[], object]
) -> None:
    """Have *step* run once, in the midst of the next call of a function of Python."""
    usual = getattr(module, function)

    def interrupted(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(module, function, usual)
        step()
        return usual(*args, **options)

    monkeypatch.setattr(module, function, interrupted)


#: Functions of Python that taking a row or a lane calls, or once called.
STEPS = [
    (random, "randrange"),
    (os, "fstat"),
    (os.path, "basename"),
    (memlane._region.semaphores.DoorbellSet, "make"),
]


@pytest.mark.parametrize(("module", "function"), STEPS)
def test_a_join_in_the_midst_of_a_join_takes_no_second_row(
    module: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers and the collector may do the same step; the row is given back at the end."""
    with memlane.Region.create(None, 4096) as region, Table(file_of(region)) as table:
        amid(monkeypatch, module, function, region.join)
        region.join()
        monkeypatch.undo()
        odd = [row for row in range(ROWS) if table.generation(row) % 2]
        assert [table.row_of(os.getpid())] == odd
        assert [region._member.tag % 1024] == odd
        region.close()

        assert [] == [row for row in odd if table.generation(row) % 2]
        assert [] == [row for row in range(ROWS) if table.is_locked(row_byte(row))]


@pytest.mark.parametrize(("module", "function"), [*STEPS, (os, "fstatvfs")])
def test_a_put_in_the_midst_of_a_first_put_takes_no_second_lane(
    module: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both records come through the one lane of this process; the other is left to others."""
    with memlane.Ring(capacity=4096, producers=2) as ring:
        amid(monkeypatch, module, function, lambda: ring.put(b"handler"))
        ring.put(b"interrupted")
        monkeypatch.undo()

        assert ["alive"] == [lane["producer"] for lane in ring.stats()["lanes"]]
        received = sorted(ring.get_many(3))
    assert b"interrupted" == received.pop()
    assert [] == received or [b"handler"] == received


def test_a_ring_that_is_shut_down_while_a_lane_is_looked_for_is_shut_down_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A first put finds the lanes closed in between: it says why nobody will ever get one."""
    with memlane.Ring(capacity=4096, producers=1) as ring:

        def end() -> None:
            ring.shutdown()
            with pytest.raises(memlane.ShutDown):
                ring.get()

        amid(monkeypatch, os, "fstatvfs", end)
        with pytest.raises(memlane.ShutDown):
            ring.put(b"too late")
