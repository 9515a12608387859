# SPDX-License-Identifier: MIT
"""What `close` of a region meets: calls under way in other threads, in handlers, in itself."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memlane import ClosedError, Region, _core
from processes import Child


def in_a_child(function: Callable[[], object]) -> None:
    """Run what kills the process where it goes wrong."""
    with Child(function) as child:
        assert 0 == child.wait()


# ---- calls under way -----------------------------------------------------------------------------


def test_closing_while_an_object_is_made_is_a_closed_error_and_leaves_nothing_of_it(
    name: str,
) -> None:
    """Another thread, or a handler, may close at any step; the region is as it was before."""

    def work() -> None:
        region = Region.create(name, "4 MiB")
        region.counter("before")
        blocks = os.stat(f"/dev/shm/memlane.{name}").st_blocks

        def initialise(_offset: int) -> None:
            region.close()

        with region._creating(None), pytest.raises(ClosedError, match="closed while 'half'"):
            region._member.add_entry(
                b"half", _core.KIND_COUNTER, 1 << 20, (), b"", 1 << 20, initialise
            )

        assert region._member.closed
        with Region.open(name) as again:
            assert ["before"] == list(again)
            assert blocks >= os.stat(f"/dev/shm/memlane.{name}").st_blocks
            again.counter("after")
            again.unlink()

    in_a_child(work)


def test_the_descriptor_of_a_region_is_kept_until_an_object_in_it_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its number may be another file's by then, and that file would be made longer."""
    look = os.fstatvfs

    def work() -> None:
        region = Region.create(None, "4 MiB")
        region.join()
        foreign = tmp_path / "of-somebody-else"

        def closing(descriptor: int) -> os.statvfs_result:
            room = look(descriptor)
            region.close()
            with open(foreign, "w") as other:
                os.dup(other.fileno())  # stays open, whatever its number
            return room

        monkeypatch.setattr(os, "fstatvfs", closing)
        with pytest.raises(ClosedError):
            region.slot("pose", 8)
        assert 0 == foreign.stat().st_size
        assert region._member.closed

    in_a_child(work)


@pytest.mark.parametrize("verb", ["entries", "participants"])
def test_a_list_survives_a_collector_that_closes_the_region(verb: str) -> None:
    """Up to Python 3.11 the collector runs wherever something is allocated, finalizers and all."""

    def work() -> None:
        region = Region.create(None, "16 MiB")
        for number in range(300):
            region.counter(f"c{number}")
        region.join()
        member = region._member
        closed: list[bool] = []

        def close(phase: str, _facts: object) -> None:
            if phase == "start" and not closed:
                closed.append(True)
                region.close()

        gc.collect()
        gc.callbacks.append(close)
        gc.set_threshold(1)
        try:
            found = getattr(member, verb)()
        except ClosedError:
            found = None
        gc.set_threshold(700)
        gc.callbacks.remove(close)
        assert sys.version_info >= (3, 12) or closed
        assert found is None or len(found) == (300 if verb == "entries" else 1)
        with pytest.raises(ClosedError):
            getattr(member, verb)()
            region.close()
            getattr(member, verb)()

    in_a_child(work)


def test_a_handle_of_a_ring_is_refused_whose_region_is_closed_while_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looking for its doorbell runs Python, and with it anything that closes the region."""

    def work() -> None:
        region = Region.create(None, "4 MiB")
        region.ring("q", capacity=4096).close()
        bells = region._member.doorbells
        assert bells is not None
        look = bells.at

        def closing(offset: int, make: bool) -> _core.Doorbell:
            region.close()
            return look(offset, make)

        region._member.roles.clear()
        monkeypatch.setattr(bells, "at", closing)
        with pytest.raises(ClosedError):
            region.ring("q").put(b"x")
        assert region._member.closed

    in_a_child(work)


def test_a_doorbell_of_a_closed_region_is_a_closed_error() -> None:
    """Its bytes are gone with the region, and nobody may look there."""

    def work() -> None:
        region = Region.create(None, "4 MiB")
        ring = region.ring("q", capacity=4096)
        bells = region._member.doorbells
        assert bells is not None
        entry = region._find("q")
        assert entry is not None
        bell = bells.at(entry[2] + 128, False)
        ring.close()
        region.close()
        for look in (lambda: bell.kind, lambda: bell.file, bell.forget, bell.attach_unnamed):
            with pytest.raises(ClosedError):
                look()

    in_a_child(work)


def test_what_is_pinned_in_a_with_outlives_a_close_until_its_end() -> None:
    """Python code of the library pins by `with`; a new call is refused from the close on."""
    region = Region.create(None, "1 MiB")
    member = region._member

    with member.pinned():
        region.close()
        assert not member.closed
        with pytest.raises(ClosedError):
            member.entries()
    assert member.closed
    with pytest.raises(ClosedError), member.pinned():
        pass
