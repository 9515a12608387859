# SPDX-License-Identifier: MIT
"""What `close` of a region meets: calls under way in other threads, in handlers, in itself."""

from __future__ import annotations

import copy
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import memlane
from memlane import (
    ClosedError,
    Counter,
    Empty,
    LayoutError,
    Region,
    RegionExistsError,
    Ring,
    Slot,
    SlotTable,
    _core,
)
from memlane._region.attachment import Attachment, _rebuild
from memlane._region.directory import Creating
from memlane._region.open_regions import open_regions
from memlane._region.semaphores import DoorbellSet
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.region_files import SHARED_MEMORY, mount, needs_mounts, own_mounts


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

        def initialize(_offset: int) -> None:
            region.close()

        creating = Creating(region._member, None)
        with creating, pytest.raises(ClosedError, match="closed while 'half'"):
            region._member.add_entry(
                b"half", _core.KIND_COUNTER, 1 << 20, (), b"", 1 << 20, initialize
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


def test_a_put_is_refused_whose_region_is_closed_while_its_semaphore_is_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making the semaphore of a lane runs Python, and with it anything that closes the region."""

    def work() -> None:
        region = Region.open(name)
        ring = region["q"]
        assert isinstance(ring, Ring)
        bells = region._member.doorbells
        assert isinstance(bells, DoorbellSet)
        make = bells.make

        def closing(bell: _core.Doorbell) -> None:
            region.close()
            make(bell)

        monkeypatch.setattr(bells, "make", closing)
        with pytest.raises(ClosedError):
            ring.put(b"x")

    with Region.create(name, "4 MiB") as region:
        region.ring("q", capacity=4096).close()
        in_a_child(work)
        region.unlink()


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
        for look in (lambda: bell.kind, lambda: bell.note_named(1, 1), bell.forget):
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


# ---- close itself --------------------------------------------------------------------------------


class Interrupted(Exception):
    """What the handler of a signal raises."""


def interrupted_at_line(number: int, function: Callable[[], object]) -> bool:
    """
    Run a function, with an exception in front of the line of ours that is reached as the
    *number*-th; whether there was one.
    """
    lines = 0

    def look(frame: FrameType, event: str, _what: object) -> Any:
        nonlocal lines
        if "memlane" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines == number:
                raise Interrupted
        return look

    sys.settrace(look)
    try:
        function()
    except Interrupted:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize("kind", ["region", "ring"])
def test_a_close_that_is_interrupted_at_any_line_is_done_by_the_next_one(kind: str) -> None:
    """Row, presence, mapping and descriptors go, and no exception is lost."""
    number, descriptors = 0, len(os.listdir("/proc/self/fd"))
    while True:
        number += 1
        if kind == "region":
            region = Region.create(None, "4 MiB")
            rings = [region.ring(f"q{at}", capacity=4096) for at in range(2)]
            thing: Region | Ring = region
        else:
            thing = Ring(capacity=4096)
            region, rings = thing.region, [thing]
        rings[0].put(b"x")
        rings[0].producer().put(b"y")
        member = region._member

        was_interrupted = interrupted_at_line(number, thing.close)
        thing.close()

        assert member.closed, number
        assert all(ring.closed for ring in rings)
        assert 0 == member.handles
        if not was_interrupted:
            break
    del region, rings, thing, member
    gc.collect()
    assert number > 5
    assert descriptors == len(os.listdir("/proc/self/fd"))


def test_a_handle_of_a_region_that_is_lost_on_its_way_is_counted_no_more() -> None:
    """An exception between counting a handle and giving it out must not keep the region open."""
    region = Region.create(None, "1 MiB")
    member = region._member
    lost = member.handle()

    assert 2 == member.handles
    del lost
    assert 1 == member.handles
    region.close()
    assert member.closed


def test_an_object_that_is_made_while_its_region_is_closed_is_closed_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The close has not seen it, so it looks itself, and its maker is told."""
    region = Region.create(None, "4 MiB")
    made: list[Any] = []

    class Closing(weakref.WeakSet[Any]):
        def add(self, item: Any) -> None:
            made.append(item)
            region.close()
            super().add(item)

    region._objects = Closing()
    with pytest.raises(ClosedError):
        region.ring("q", capacity=4096)

    assert [True] == [ring.closed for ring in made]
    assert region._member.closed


# ---- the order of locks --------------------------------------------------------------------------


def test_who_unpickles_a_handle_waits_for_presence_without_the_registry_lock(name: str) -> None:
    """The thread that is waited for may need that lock: it opens the region in the same process."""
    region = Region.create(name, "1 MiB")
    build, (kind, region_id, _, readonly, _pid, _base, *rest) = region.__reduce__()
    assert build is _rebuild
    region.close()
    made: list[Attachment] = []
    alone = os.open(f"/dev/shm/memlane.{name}", os.O_RDWR)
    assert _core.presence_lock(alone, True)

    waiting = threading.Thread(
        target=lambda: made.append(build(kind, region_id, name, readonly, 2**22 - 7, 3, *rest))
    )
    descriptors = len(os.listdir("/proc/self/fd"))
    waiting.start()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) > descriptors, "its descriptor")
    for _ in range(100):
        assert open_regions.lock().acquire(timeout=PATIENCE_S)
        open_regions.lock().release()
    assert waiting.is_alive()
    os.close(alone)
    waiting.join()

    made[0].unlink()
    made[0].close()


# ---- descriptors that this process closed itself -------------------------------------------------


@pytest.mark.parametrize("again", ["open", "open_or_create", "pickle"])
@pytest.mark.parametrize("joined", [False, True])
def test_a_region_whose_descriptors_were_closed_is_attached_anew_when_it_is_opened_again(
    name: str, again: str, joined: bool
) -> None:
    """Every daemon closes what it does not know. The old handle stays lost, the new one works."""

    def work() -> None:
        lost = Ring.create(name, capacity=4096)
        reduced = lost.region.__reduce__()
        if joined:
            lost.put(b"before")
        os.closerange(3, 1024)
        if again == "open":
            found = Ring.open(name)
        elif again == "open_or_create":
            found = Ring.open_or_create(name, capacity=4096)
        else:
            region = reduced[0](*reduced[1])
            found = Ring.__new__(Ring)._take_region(region)
        assert found.region._member is not lost.region._member
        found.put(b"x")
        assert [b"before", b"x"] == found.get_many(2) if joined else b"x" == found.get()
        with pytest.raises(ClosedError):
            lost.put(b"y")
        lost.close()
        found.put(b"z")
        assert b"z" == found.get()
        assert [True] == [each.alive for each in found.region.participants()]
        with Ring.open(name) as third:
            assert third.region._member is found.region._member
        found.unlink()
        found.close()

    in_a_child(work)


# ---- what a region is asked for ------------------------------------------------------------------


def test_a_handler_that_makes_an_object_amid_one_of_its_thread_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would wait for itself, with no timeout for ever; the interrupted one goes on."""
    look = os.fstatvfs
    with Region.create(None, "4 MiB") as region:
        region.join()

        def nested(descriptor: int) -> os.statvfs_result:
            monkeypatch.setattr(os, "fstatvfs", look)
            with pytest.raises(RuntimeError, match="this thread is making an object"):
                region.counter("nested", timeout=None)
            return look(descriptor)

        monkeypatch.setattr(os, "fstatvfs", nested)
        region.slot("outer", 8)
        region.counter("after")

        assert ["outer", "after"] == list(region)


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, 10**400])
def test_a_timeout_beyond_what_a_clock_counts_is_as_long_as_can_be(timeout: float) -> None:
    """Legal values, each of which waits only where there is something to wait for."""
    with Region.create(None, "4 MiB") as region:
        region.counter("n", timeout=timeout).add(1)
        ring = region.ring("q", capacity=4096, timeout=timeout)
        ring.put(b"x", timeout=timeout)
        assert b"x" == ring.get(timeout=timeout)


def test_memory_is_given_back_by_whole_pages_of_whatever_length() -> None:
    """What lies beside an object on a page of 64 KiB stays as it is."""
    assert (0x20000, 0x10000) == _core.pages_within(0x15000, 8192, 65536)
    assert (0x20000, 0x30000) == _core.pages_within(0x15000, 0x20000, 65536)
    assert (0x15000, 0x17000) == _core.pages_within(0x15000, 8192, 4096)


def test_an_existing_region_that_is_smaller_than_asked_is_told_with_both_sizes(name: str) -> None:
    """Found at once, and not when an object does not fit."""
    with Region.create(name, "1 MiB") as region:
        with Region.open_or_create(name, "1 MiB"):
            pass
        with pytest.raises(LayoutError, match="expected 2097152") as met:
            Region.open_or_create(name, "2 MiB")
        region.unlink()
    assert (1 << 20, 2 << 20) == (met.value.found, met.value.expected)


def test_a_region_without_room_is_refused_at_once() -> None:
    """Its first object would be refused, with advice that comes too late."""
    with pytest.raises(ValueError, match="nbytes must be at least 1"):
        Region.create(None, 0)


def test_a_name_that_is_taken_is_told_with_whether_anybody_has_it_open(name: str) -> None:
    """After a crash nobody has, and a sweep removes it."""
    with Region.create(name, "1 MiB") as region:
        with pytest.raises(RegionExistsError, match="in use") as met:
            Region.create(name, "1 MiB")
        assert met.value.in_use is True
    with pytest.raises(RegionExistsError, match=r"nobody has it open.*memlane sweep") as met:
        Region.create(name, "1 MiB")
    assert met.value.in_use is False
    region.unlink()


@pytest.mark.parametrize("kind", ["ring", "slot", "table", "counter"])
def test_a_copy_is_a_handle_of_its_own(kind: str) -> None:
    """Closing it leaves the original open, whether that has a region to itself or not."""
    made: dict[str, Callable[[], Any]] = {
        "ring": lambda: Ring(capacity=4096),
        "slot": lambda: Slot.create(None, 8),
        "table": lambda: SlotTable.create(None, 2, 8),
        "counter": lambda: Counter.create(None),
    }
    with made[kind]() as thing:
        copied = copy.copy(thing)
        assert copied.region is not thing.region
        copied.close()
        assert (False, True) == (thing.closed, copied.closed)
    with Region.create(None, "4 MiB") as region:
        region.counter("n")
        shared: Any = region["n"]
        copy.copy(shared).close()
        assert 1 == shared.add(1)


def test_a_label_is_seen_in_messages_repr_and_proc_and_travels_by_pickle() -> None:
    """Of five unnamed rings a program can tell which one it is."""
    with Ring(capacity=4096, label="tasks") as ring:
        assert "tasks" == ring.label
        assert "labeled 'tasks'" in repr(ring)
        assert "memfd:memlane:tasks" in Path("/proc/self/maps").read_text()
        with pytest.raises(Empty, match="labeled 'tasks'"):
            ring.get_nowait()
        assert "tasks" == copy.copy(ring).label
        child: list[str | None] = []
        build, found = ring.region.__reduce__()
        with build(*found) as again:
            child.append(again.label)
        assert ["tasks"] == child
    for wrong, error in ((1, TypeError), ("", ValueError), ("a\n", ValueError)):
        with pytest.raises(error):
            Ring(label=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for what has no name"):
        Region.create("named", "1 MiB", label="x")


@needs_mounts
def test_a_ring_in_a_file_works_without_a_usable_place_for_semaphores(tmp_path: Path) -> None:
    """Strict sandboxes have none: it polls, as one does who cannot open them."""

    def work() -> None:
        own_mounts()
        mount("tmpfs", SHARED_MEMORY, "size=0,nr_inodes=1")
        with Ring.create(tmp_path / "ring.lane", capacity=4096) as ring:
            ring.put(b"x")
            assert b"x" == ring.get()
            with Ring.open(tmp_path / "ring.lane") as other:
                other.put(b"y")
                assert b"y" == ring.get()
            ring.unlink()
        assert [] == memlane.sweep()

    in_a_child(work)
