# SPDX-License-Identifier: MIT
"""What `Event` promises: all that wait go on when it is set."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import memlane
from memlane import ClosedError, Event, Region
from tests.support.children import killed_after
from tests.support.processes import PATIENCE_S, Child
from tests.support.slices import rounds_without_a_slice


def later(call: Callable[[], object]) -> None:
    time.sleep(0.02)
    call()


def test_an_event_is_set_and_cleared_and_waited_for() -> None:
    """The face of threading.Event."""
    with Event() as event:
        assert (event.is_set(), event.wait(0), event.wait(0.01)) == (False, False, False)
        event.set()
        event.set()
        assert (event.is_set(), event.wait(), event.wait(0)) == (True, True, True)
        assert event.stats() == {"set": True}
        event.clear()
        event.clear()
        assert (event.is_set(), event.wait(timeout=0)) == (False, False)
        with pytest.raises(ValueError, match="timeout"):
            event.wait(-1)


def test_all_that_wait_are_woken_in_all_processes() -> None:
    """Also if it is cleared again at once; no recheck interval passes."""
    with Event() as event, Event() as ready:

        def wait() -> None:
            ready.set()
            assert event.wait(PATIENCE_S)

        for slices in rounds_without_a_slice():
            event.clear()
            ready.clear()
            with ThreadPoolExecutor(2) as pool, Child(wait) as child:
                waiting = [pool.submit(event.wait, PATIENCE_S) for _ in range(2)]
                ready.wait()
                time.sleep(0.02)
                with slices:
                    event.set()
                    event.clear()
                    assert [it.result(PATIENCE_S) for it in waiting] == [True, True]
                assert child.wait() == 0


def test_more_waiters_than_doorbells_and_dead_ones_hinder_nobody() -> None:
    """With one doorbell."""
    with Event(watchers=1) as event:

        def wait() -> None:
            threading.Thread(target=event.wait, daemon=True).start()
            time.sleep(0.02)

        killed_after(wait)
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(event.wait, PATIENCE_S) for _ in range(3)]
            event.set()
            assert all(it.result(PATIENCE_S) for it in waiting)


def test_an_event_is_found_by_its_name_and_read_without_write_access(name: str) -> None:
    """A reader polls."""
    with Event.create(name) as event:
        with Event.open(name, readonly=True) as reader, Child(later, event.set):
            assert not reader.is_set()
            with pytest.raises(PermissionError):
                reader.set()
            assert reader.wait(PATIENCE_S)
        with Event.open_or_create(name) as same:
            assert same.is_set()
        event.unlink()
    with Region.create(None, "64 KiB") as region:
        region.event("go").set()
        assert region["go"].is_set()  # type: ignore[attr-defined]


def test_an_event_is_waited_for_among_others() -> None:
    """By `wait`, by its descriptor, and in an event loop."""
    with Event() as event, Event() as other:
        assert memlane.wait([event, other], timeout=0) == []
        with Child(later, other.set):
            assert memlane.wait([event, other], timeout=PATIENCE_S) == [other]
        descriptor = other.fileno()
        assert memlane.wait([descriptor], timeout=PATIENCE_S) == [descriptor]
        other.clear()
        assert not other.is_set()
        assert memlane.wait([descriptor], timeout=0) == []

        async def wait() -> bool:
            awaited = memlane.aio.wrap(event)
            assert not await awaited.wait(timeout=0.01)
            asyncio.get_running_loop().call_later(0.01, event.set)
            return await awaited.wait()

        assert asyncio.run(wait())


def test_a_closed_event_says_so() -> None:
    """For each call."""
    event = Event()
    event.close()
    for call in (event.set, event.clear, event.is_set, event.wait, event.fileno, event.stats):
        with pytest.raises(ClosedError, match="closed"):
            call()
