# SPDX-License-Identifier: MIT
"""Views of rooms: a record may be put while its producer has views of it."""

from __future__ import annotations

import gc
import os
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import memlane
from memlane import ClosedError, Full, Ring, RoleTakenError, ShutDown, _core
from tests.support.processes import PATIENCE_S, Child, drained, wait_until
from tests.support.shared_bytes import DEPARTED, RingBytes
from tests.support.slices import rounds_without_a_slice

PAGE = 4096


def drained_to_the_end(ring: Ring) -> list[bytes]:
    """What a ring that was shut down gives; then it says that it has ended."""
    found = []
    while True:
        try:
            found.append(ring.get(timeout=PATIENCE_S))
        except ShutDown:
            return found


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A small ring without a name, of each kind."""
    with Ring(consumers=request.param, capacity=PAGE, producers=2, records=8) as made:
        yield made


def test_the_natural_code_puts_its_record(ring: Ring) -> None:
    """An array that is still there at the end of the `with` is no obstacle."""
    with ring.reserve(16) as room:
        a = np.frombuffer(room, "f4")
        a[:] = 1

    assert ring.get() == np.ones(4, "f4").tobytes()
    assert a.tolist() == [1, 1, 1, 1]


def test_the_bytes_under_a_view_are_used_for_no_other_record_before_it_has_died(ring: Ring) -> None:
    """However often the lane goes round, and whatever was got; then all the room is there again."""
    with ring.reserve(1000) as room:
        view = memoryview(room)
        view[:] = b"k" * 1000
    assert ring.get() == b"k" * 1000
    put = 0
    while True:
        try:
            ring.put_many([b"x" * 100] * 3, timeout=0)
        except Full:
            break
        put += len(drained(ring))
        assert bytes(view) == b"k" * 1000
    assert put > 0
    assert bytes(view) == b"k" * 1000
    drained(ring)
    del view, room

    ring.put(bytes(PAGE), timeout=0)
    assert ring.get() == bytes(PAGE)


def test_all_that_was_reserved_stays_occupied_though_less_was_committed(ring: Ring) -> None:
    """A view is as large as the room."""
    room = ring.reserve(PAGE - 64)
    view = memoryview(room)
    view[-1] = 42
    room.commit(8)
    assert len(ring.get()) == 8
    with pytest.raises(Full):
        ring.put(bytes(100), timeout=0)
    ring.put(bytes(64), timeout=0)

    assert view[-1] == 42


def test_arrays_of_a_room_become_read_only_when_it_is_committed(ring: Ring) -> None:
    """A kept view cannot corrupt the records that others read."""
    with ring.reserve(100) as room:
        a = room.array((2, 3), "f8")
        b = room.array(4, np.uint8)
        a[:] = 1.5
        b[0] = 0
        assert (a.shape, a.dtype, a.flags.writeable) == ((2, 3), np.float64, True)
        del b
    with pytest.raises(ValueError, match="read-only"):
        a[0, 0] = 2

    assert len(ring.get()) == 100
    assert a[1].tolist() == [1.5] * 3


def test_an_array_that_does_not_fit_or_holds_objects_is_refused(ring: Ring) -> None:
    """Both sizes are named; the room goes on."""
    with ring.reserve(16) as room:
        with pytest.raises(ValueError, match="24 bytes, the reservation has 16; reserve more"):
            room.array(3, "f8")
        with pytest.raises(ValueError, match="negative"):
            room.array(-1)
        with pytest.raises(TypeError, match="Python objects"):
            room.array(1, "O")
        for shape in (2.5, (2, 2.5), "23", np.int32, (np.int32,), True):
            with pytest.raises(TypeError, match="shape must be an int or a tuple of ints, got"):
                room.array(shape)  # type: ignore[arg-type]
        assert room.array((0, 3)).size == 0
    with pytest.raises(ClosedError):
        room.array(1)


def test_without_numpy_an_array_says_what_to_do(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else needs numpy."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    with ring.reserve(16) as room, pytest.raises(ImportError, match="needs numpy"):
        room.array(2)


@pytest.mark.parametrize("end", ["view dies", "by another thread", "by the collector"])
def test_a_put_that_waits_goes_on_when_the_last_view_has_died(end: str) -> None:
    """At once, whoever lets the view go: no slice is slept."""
    with (
        Ring(capacity=PAGE, producers=1, wait="sleep") as ring,
        RingBytes(ring) as shared,
        ThreadPoolExecutor(2) as pool,
    ):
        for slices in rounds_without_a_slice():
            with ring.reserve(PAGE) as room:
                views = [memoryview(room)]
            del room
            ring.get()
            waiting = pool.submit(ring.put, b"waits")
            wait_until(lambda: shared.half(shared.waiters_at(0)) >= 1, "a waiting put")
            if end == "by the collector":  # it may take a recheck interval by itself
                views.append(views)  # type: ignore[arg-type]
                del views
                gc.collect()
                waiting.result(PATIENCE_S)
            else:
                with slices:
                    if end == "view dies":
                        views.clear()
                    else:
                        pool.submit(views.clear).result(PATIENCE_S)
                    waiting.result(PATIENCE_S)
            ring.get()


def test_a_put_that_waits_for_the_claim_goes_on_though_views_live(ring: Ring) -> None:
    """The commit ends the claim; only the bytes are kept."""
    room = ring.reserve(8)
    view = memoryview(room)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ring.put, b"other")
        room.commit()
        waiting.result(PATIENCE_S)

    assert drained(ring) == [bytes(8), b"other"]
    assert bytes(view) == bytes(8)


def test_a_commit_under_views_wakes_who_waits_for_the_claim() -> None:
    """The views keep the bytes and nothing else: no slice is slept."""
    with (
        Ring(capacity=PAGE, producers=1, wait="sleep") as ring,
        RingBytes(ring) as shared,
        ThreadPoolExecutor(1) as pool,
    ):
        for slices in rounds_without_a_slice():
            room = ring.reserve(8)
            view = memoryview(room)
            waiting = pool.submit(ring.put, b"waits")
            wait_until(lambda: shared.half(shared.waiters_at(0)) >= 1, "a waiting put")
            with slices:
                room.commit()
                waiting.result(PATIENCE_S)
            assert bytes(view) == bytes(8)
            del view, room
            drained(ring)


@pytest.mark.parametrize("end", ["commit", "commit under a view", "abort"])
def test_a_claim_that_ends_before_a_put_lies_down_lets_it_go_on(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Nobody rings, since nobody waits yet; the put looks again, and sleeps no slice."""
    ended = 0
    with Ring(capacity=PAGE, wait="sleep") as ring, ThreadPoolExecutor(1) as pool:
        room = pool.submit(ring.reserve, 8).result(PATIENCE_S)
        view = memoryview(room) if "view" in end else None

        def meet() -> Any:
            """Here the put has been refused, and has told nobody of its wait."""
            nonlocal ended
            ended += 1
            pool.submit(room.abort if end == "abort" else room.commit).result(PATIENCE_S)
            return threading.Lock()

        monkeypatch.setattr("memlane._core.sender._Lock", meet)
        slept = _core.intervals_slept()
        ring.put(b"waits", timeout=PATIENCE_S)

        assert (1, 0) == (ended, _core.intervals_slept() - slept)
        assert drained(ring)[-1] == b"waits"
        del view


def test_views_of_several_rooms_may_die_in_any_order(ring: Ring) -> None:
    """The oldest decides what is free."""
    views: list[Any] = []
    for number in range(3):
        with ring.reserve(1000) as room:
            views.append(np.frombuffer(room, np.uint8))
            views[-1][:] = number
    del room
    drained(ring)
    views[1] = None
    with pytest.raises(Full):
        ring.put(bytes(2000), timeout=0)
    assert (views[0].max(), views[2].min()) == (0, 2)
    views[0] = None
    ring.put(bytes(2000), timeout=0)
    assert views[2].min() == 2


def test_a_lane_is_nobody_elses_before_the_last_view_has_died() -> None:
    """A closed handle keeps it, as with an open claim; then the next producer takes it."""
    with Ring(capacity=PAGE, producers=1) as ring, RingBytes(ring) as shared:
        sender = ring.producer()
        with sender.reserve(16) as room:
            view = memoryview(room)
            view[:] = b"k" * 16
        sender.close()
        with pytest.raises(RoleTakenError):
            ring.put(b"", timeout=0)
        assert bytes(view) == b"k" * 16
        del view, room
        assert shared.half(shared.owner_at(0)) == DEPARTED
        ring.put(b"mine", timeout=0)

        assert drained(ring) == [b"k" * 16, b"mine"]


def test_a_view_outlives_the_ring() -> None:
    """The memory goes with the last view."""
    before = len(os.listdir("/proc/self/fd"))
    ring = Ring(capacity=PAGE, producers=1)
    with ring.reserve(16) as room:
        view = memoryview(room)
        view[:] = b"k" * 16
    ring.close()
    assert len(os.listdir("/proc/self/fd")) > before
    assert bytes(view) == b"k" * 16
    del room, view

    assert len(os.listdir("/proc/self/fd")) == before


def test_the_last_view_may_die_while_the_commit_makes_it_read_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What runs there may drop the array and close the ring; the record is put all the same."""

    class Hooked(np.ndarray[Any, Any]):
        def setflags(self, **flags: Any) -> None:
            super().setflags(**flags)
            held.clear()
            sender.close()
            with pytest.raises(RoleTakenError):
                ring.put(b"other", timeout=0)

    numpy = types.ModuleType("numpy")
    numpy.dtype = np.dtype  # type: ignore[attr-defined]
    numpy.frombuffer = lambda *given: np.frombuffer(*given).view(Hooked)  # type: ignore[attr-defined]
    held: list[Any] = []

    def commit() -> None:
        room = sender.reserve(8)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "numpy", numpy)
            held.append(room.array(8))
        held[0][:] = 65
        room.commit()

    with Ring(capacity=PAGE, producers=1) as ring, RingBytes(ring) as shared:
        sender = ring.producer()
        commit()
        assert shared.half(shared.owner_at(0)) == DEPARTED
        assert drained(ring) == [b"A" * 8]


def test_a_committed_room_gives_no_new_views_and_is_committed_once(ring: Ring) -> None:
    """Whether or not one is still alive: what is refused changes nothing of the record."""
    for keeps in (True, False):
        room = ring.reserve(8)
        view = memoryview(room)
        view[:] = b"12345678"
        derived = np.asarray(view)
        if not keeps:
            del view, derived
        room.commit(4)
        for refused in (
            room.commit,
            room.__enter__,
            lambda: memoryview(room),  # noqa: B023
            lambda: room.array(1),  # noqa: B023
            lambda: room.write(b"x"),  # noqa: B023
            lambda: room.__setitem__(0, 1),  # noqa: B023
        ):
            with pytest.raises(ClosedError):
                refused()
        room.abort()
        if keeps:
            assert bytes(view) == bytes(memoryview(view)) == derived.tobytes() == b"12345678"
            with pytest.raises(Full):
                ring.put(bytes(PAGE), timeout=0)

        assert drained(ring) == [b"1234"]


def test_an_exception_under_views_puts_nothing_and_frees_the_lane_when_they_have_died(
    ring: Ring,
) -> None:
    """Until then the claim is open: this thread is told, others wait."""
    with pytest.raises(ZeroDivisionError), ring.reserve(8) as room:
        view = memoryview(room)
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="a view of an aborted one is alive"):
        ring.put(b"early", timeout=0)
    del view
    ring.put(b"then", timeout=0)

    assert drained(ring) == [b"then"]


@pytest.mark.parametrize("immediate", [False, True])
def test_views_of_a_ring_that_was_shut_down_keep_the_lane_until_they_have_died(
    ring: Ring, immediate: bool
) -> None:
    """However it ends; what was got or dropped is no matter."""
    with RingBytes(ring) as shared:
        sender = ring.producer()
        with sender.reserve(8) as room:
            view = memoryview(room)
            view[:] = b"12345678"
        ring.shutdown(immediate=immediate)
        with pytest.raises(ShutDown):
            sender.put(b"", timeout=0)
        assert drained_to_the_end(ring) == ([] if immediate else [b"12345678"])
        sender.close()
        assert shared.half(shared.owner_at(0)) != DEPARTED
        assert bytes(view) == b"12345678"
        del view, room
        assert shared.half(shared.owner_at(0)) == DEPARTED


def test_a_shutdown_between_leaves_the_views_and_says_so(ring: Ring) -> None:
    """A commit that fails puts nothing; the bytes stay until the views have died."""
    ring.put(b"first")
    room = ring.reserve(8)
    view = memoryview(room)
    ring.shutdown()
    assert ring.get() == b"first"
    with pytest.raises(ShutDown):
        ring.get()
    with pytest.raises(ShutDown):
        room.commit()
    view[:] = b"12345678"
    del view, room


def test_in_a_forked_child_the_end_of_a_view_does_nothing_to_the_parents(ring: Ring) -> None:
    """The child has a copy of each handle; bytes and lane are the parent's."""
    with ring.reserve(1000) as room:
        view = memoryview(room)
        view[:] = b"k" * 1000
    open_room = ring.reserve(8)
    open_view = memoryview(open_room)

    def child() -> None:
        nonlocal view, room, open_room, open_view
        open_room.commit()
        del view, room, open_room, open_view
        gc.collect()
        ring.put(b"child", timeout=0)
        ring.put(b"child", timeout=0)

    with Child(child) as forked:
        assert forked.wait() == 0
    del open_view
    open_room.abort()
    assert sorted(drained(ring)) == [b"child", b"child", b"k" * 1000]
    with pytest.raises(Full):
        ring.put(bytes(PAGE), timeout=0)
    assert bytes(view) == b"k" * 1000


def test_a_producer_that_is_killed_with_views_leaves_its_records_and_its_lane() -> None:
    """Nobody else knows of views, so nobody waits for a dead one's."""
    reading, writing = os.pipe()
    with Ring(capacity=PAGE, producers=1) as ring:

        def hold() -> None:
            with ring.reserve(2000) as room:
                view = memoryview(room)
                view[:] = b"k" * 2000
            os.write(writing, b"!")
            threading.Event().wait(PATIENCE_S)
            del view

        with Child(hold) as child:
            assert os.read(reading, 1) == b"!"
            child.kill()
        assert ring.get() == b"k" * 2000
        ring.put(bytes(PAGE), timeout=PATIENCE_S)
        assert len(ring.get()) == PAGE
    os.close(reading)
    os.close(writing)


def test_threads_with_views_lose_nothing_and_tear_nothing() -> None:
    """Three that put and keep views for a while, one that gets: every byte is as it was written."""
    total = 200
    with Ring(capacity=4 * PAGE, producers=1, records=16) as ring, ThreadPoolExecutor(3) as pool:

        def put(who: int) -> None:
            kept: list[Any] = []
            for number in range(total):
                with ring.reserve(200, timeout=PATIENCE_S) as room:
                    a = room.array(100, "u2")
                    a[:] = 1000 * who + number
                del room
                kept.append(a)
                if len(kept) > number % 3:
                    old = kept.pop(0)
                    assert old.min() == old.max()
                    del old
                del a
            assert all(array.min() == array.max() for array in kept)

        putters = [pool.submit(put, who) for who in range(3)]
        found: list[list[int]] = [[], [], []]
        for _ in range(3 * total):
            record = np.frombuffer(ring.get(timeout=PATIENCE_S), "u2")
            assert record.min() == record.max()
            found[record[0] // 1000].append(record[0] % 1000)
        for putter in putters:
            putter.result(PATIENCE_S)

        assert found == [list(range(total))] * 3


def test_a_dropped_room_is_a_warning_that_names_the_ring_and_what_to_do(name: str) -> None:
    """Nothing was put, and the lane is free; a weak reference sees it go."""
    with Ring.create(name, capacity=PAGE) as ring:
        room = ring.reserve(8)
        reference = weakref.ref(room)
        with pytest.warns(
            ResourceWarning, match=rf"reservation in ring .*{name}.* without a commit.*'with'"
        ):
            del room
        assert reference() is None
        ring.put(b"goes on", timeout=0)

        assert drained(ring) == [b"goes on"]
        ring.unlink()


def test_a_room_that_ended_or_is_a_parents_is_no_warning(ring: Ring) -> None:
    """Only who made it and forgot it is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for end in ("commit", "abort"):
            room = ring.reserve(8)
            getattr(room, end)()
            del room
        room = ring.reserve(8)

        def child() -> None:
            nonlocal room
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del room
            assert caught == []

        with Child(child) as forked:
            assert forked.wait() == 0
        room.abort()
    assert isinstance(ring, memlane.Ring)
