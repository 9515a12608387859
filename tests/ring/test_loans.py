# SPDX-License-Identifier: MIT
"""What rooms and borrowed records promise: no copy, and no view that dangles."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from memlane import (
    ClosedError,
    Empty,
    Full,
    Record,
    RecordTooLargeError,
    Region,
    Reservation,
    Ring,
    RoleTakenError,
)
from tests.support.processes import PATIENCE_S, Child, unrelated, wait_until
from tests.support.shared_bytes import DEAD_TAG, FREE, RingBytes
from tests.support.stepping import ROW_NBYTES, TABLE_OFFSET

PAGE = 4096


of_one_consumer = pytest.mark.parametrize("ring", ["one"], indirect=True)


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A small ring without a name, of each kind."""
    with Ring(consumers=request.param, capacity=PAGE, producers=2, records=4) as made:
        yield made


def array_of(loan: Any, dtype: Any) -> Any:
    """An array that is a view of a loan."""
    return np.frombuffer(loan, dtype)


# ---- borrowed records ----------------------------------------------------------------------------


def test_a_borrowed_record_is_its_bytes_in_place_and_read_only(ring: Ring) -> None:
    """The buffer protocol, an index, a slice, a length; nothing can be written through it."""
    ring.put(b"01234567")
    with ring.borrow() as record, RingBytes(ring) as shared:
        view = memoryview(record)
        assert (bytes(record), len(record), record[0], record[1:3]) == (b"01234567", 8, 48, b"12")
        assert (view.readonly, view.nbytes, view.format, view.c_contiguous) == (True, 8, "B", True)
        array = array_of(record, "<u8")
        assert not array.flags.writeable
        with pytest.raises(TypeError):
            view[0] = 1
        with pytest.raises(TypeError):
            record[0] = 1  # type: ignore[index]
        shared.write(shared.bytes_at(0), b"x")  # it is the memory itself
        assert (record[0], bytes(view)[:2]) == (ord("x"), b"x1")
        del view, array
    with pytest.raises(ClosedError, match="borrow another"):
        memoryview(record)
    record.release()
    assert bool(record)


def test_an_item_of_a_record_is_that_of_its_bytes_or_an_error(ring: Ring) -> None:
    ring.put(b"\x80ab")
    ring.put(b"")
    with ring.borrow() as record:
        assert list(b"\x80ab") * 2 == [record[at] for at in range(-3, 0)] + [
            record[at] for at in range(3)
        ]
        for at in (3, -4, 2**64, -(2**64)):
            with pytest.raises(IndexError, match=r"3 bytes|out of range"):
                record[at]
    with pytest.raises(ClosedError):
        record[0]
    with ring.borrow() as nothing, pytest.raises(IndexError, match="0 bytes"):
        nothing[0]


def test_large_records_are_written_where_the_last_one_was_if_the_consumer_keeps_up() -> None:
    """Then the memory is still in the processor's cache."""
    with Ring(capacity="1 MiB") as ring, RingBytes(ring) as shared:
        for number in range(6):
            with ring.reserve(100_000) as room:
                room.write(bytes([number]) * 100_000)
            assert shared.extent(0, 100_000) == shared.word(shared.extent_at(0, number))
            with ring.borrow() as record:
                assert (number, number) == (record[0], record[-1])
        ring.put(bytes(100_000))
        ring.put(bytes(100_000))
        assert shared.extent(100_000, 100_000) == shared.word(shared.extent_at(0, 7))


def test_a_borrowed_record_keeps_its_room_until_it_is_released(ring: Ring) -> None:
    """Gets go on behind it; its bytes do not change while the ring turns over."""
    ring.put(b"kept" * 100)
    record = ring.borrow()
    for turn in range(3):
        ring.put(b"%d" % turn * 400)
        assert ring.get() == b"%d" % turn * 400
    with pytest.raises(Full):
        ring.put_nowait(b"4 descriptors are in use: the kept one and the three behind it")

    assert bytes(record) == b"kept" * 100
    record.release()
    for turn in range(20):
        ring.put(b"%d" % turn * 900)
        assert ring.get() == b"%d" % turn * 900


@of_one_consumer
@pytest.mark.parametrize("view", ["memoryview", "numpy", "slice of a slice"])
def test_a_record_is_released_when_the_last_view_of_it_dies(ring: Ring, view: str) -> None:
    """After its `with`, too: views keep it, however they were made."""
    ring.put(b"01234567")
    with RingBytes(ring) as shared, ring.borrow() as record:
        kept: Any
        if view == "memoryview":
            kept = memoryview(record)
        elif view == "numpy":
            kept = array_of(record, np.uint8)
        else:
            kept = memoryview(record)[2:][1:]
        record.release()
        assert shared.word(shared.head_at(0)) == 0
        with pytest.raises(ClosedError):
            memoryview(record)
        assert bytes(kept)[-1:] == b"7"
        del kept
        gc.collect()

        assert shared.word(shared.head_at(0)) == 1


def test_loans_released_in_any_order_give_all_their_room_back(ring: Ring) -> None:
    """By threads, too; nothing is freed before the oldest of them. (hazard 44)"""
    orders = [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)]
    with ThreadPoolExecutor(2) as pool:
        for order in orders * 25:
            ring.put_many([b"%d" % n * 300 for n in range(4)])
            loans = [ring.borrow() for _ in range(4)]
            assert [bytes(loan) for loan in loans] == [b"%d" % n * 300 for n in range(4)]
            list(pool.map(Record.release, [loans[n] for n in order]))
            assert len(ring) == 0
    assert ring.put_many([b"x" * 1000] * 4, timeout=0) == 4


def test_a_record_that_nobody_kept_is_released(ring: Ring) -> None:
    """Dropping the loan is releasing it."""
    ring.put_many([b"1", b"2"])
    ring.borrow()
    gc.collect()

    assert len(ring) == 1
    assert ring.get() == b"2"


def test_a_waiting_put_goes_on_when_a_loan_is_released(ring: Ring) -> None:
    """Releasing rings for room like getting."""
    ring.put_many([b"x"] * 4)
    record = ring.borrow()
    with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
        putting = pool.submit(ring.put, b"y", timeout=PATIENCE_S)
        wait_until(lambda: shared.half(shared.waiters_at(0)), "a waiting put")
        record.release()
        putting.result(PATIENCE_S)
    assert ring.get_many(9) == [b"x", b"x", b"x", b"y"]


# ---- who was taken for dead ----------------------------------------------------------------------


@contextlib.contextmanager
def taken_for_dead(ring: Ring) -> Iterator[None]:
    """As the shared bytes show it: another one has the role, or has marked the row dead."""
    with RingBytes(ring) as shared:
        if ring.stats()["consumers"] == "one":
            at = RingBytes.CONSUMER
            kept = shared.half(at)
            shared.set_half(at, DEAD_TAG)
            yield
            shared.set_half(at, kept)
        else:
            at = TABLE_OFFSET + ROW_NBYTES * ring.region.participants()[0].row - shared.object
            generation = shared.word(at)
            shared.set_word(at, generation + 1)
            yield
            shared.set_word(at, generation)


def test_a_consumer_that_was_taken_for_dead_borrows_nothing_of_its_successors(ring: Ring) -> None:
    """Its next call raises, whichever it is; the records stay for the successor."""
    ring.put_many([b"first", b"second"])
    with ring.borrow(timeout=0) as first:
        assert b"first" == bytes(first)
    with taken_for_dead(ring):
        for _ in range(2):
            with pytest.raises(ClosedError, match="taken for dead"):
                ring.borrow(timeout=0)
    assert b"second" == ring.get(timeout=0)


@pytest.mark.parametrize("nbytes", [4, 100_000])
def test_a_consumer_that_is_taken_for_dead_while_it_copies_returns_nothing(nbytes: int) -> None:
    """
    What it copied may be another record by then. The very copy writes the successor's tag, since
    the buffer it goes to is the word of the role.
    """
    with Ring(capacity="1 MiB", producers=1) as ring, RingBytes(ring) as shared:
        ring.put(b"joins")
        ring.get()
        end = shared.object + RingBytes.CONSUMER + 4
        before = bytes(shared._view[end - nbytes : end])
        ring.put(before[:-4] + DEAD_TAG.to_bytes(4, "little"))
        with shared._view[end - nbytes : end] as buffer:
            with pytest.raises(ClosedError, match="taken for dead"):
                ring.get_into(buffer, timeout=0)
            buffer[-4:] = before[-4:]
        assert nbytes == len(ring.get(timeout=0))


# ---- many loans, and giving one back -------------------------------------------------------------


def test_each_borrowed_record_is_released_when_the_next_one_is_asked_for(ring: Ring) -> None:
    """One loan at a time; the last one goes with the end of the ring."""
    ring.put_many([b"1", b"2", b"3"])
    ring.shutdown()
    found: list[tuple[bytes, int]] = []
    earlier: Record | None = None
    for record in ring.borrowed():
        if earlier is not None:
            with pytest.raises(ClosedError):
                bytes(earlier)
        found.append((bytes(record), record.sequence))
        earlier = record
    assert [(b"1", 0), (b"2", 1), (b"3", 2)] == found
    with RingBytes(ring) as shared:
        assert shared.state(2, FREE) == shared.word(shared.state_at(0, 2)) or 3 == shared.word(
            shared.head_at(0)
        )
    with pytest.raises(ClosedError):
        memoryview(record)


def test_many_loans_are_released_together(ring: Ring) -> None:
    """At least one and at most as many as asked for, in order; only the first is waited for."""
    ring.put_many([b"1", b"2", b"3"])
    with ring.borrow_many(2) as loans, ring.borrow_many(9) as rest:
        assert ([b"1", b"2"], [b"3"]) == (
            [bytes(one) for one in loans],
            [bytes(one) for one in rest],
        )
        assert (b"2", 2, [b"1"]) == (bytes(loans[-1]), len(loans), [bytes(x) for x in loans[:1]])
        with pytest.raises(Empty):
            ring.borrow_many(1, timeout=0)
    for record in loans:
        with pytest.raises(ClosedError):
            memoryview(record)
    assert 0 == len(ring)
    with pytest.raises(ValueError, match="most"):
        ring.borrow_many(0)


BORROWS: dict[str, Callable[[Ring], Iterator[Record]]] = {
    "borrow": lambda ring: iter(lambda: ring.borrow(timeout=0), None),
    "borrow_many": lambda ring: iter(ring.borrow_many(64)),
    "borrowed": lambda ring: ring.borrowed(timeout=0),
}


@pytest.mark.parametrize("verb", BORROWS)
@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_record_tells_which_producer_put_it_and_when_among_its_records(
    consumers: Any, verb: str
) -> None:
    """The number of its lane, whoever borrows it and however; still told when it was released."""
    with Ring(consumers=consumers, capacity=PAGE, producers=3, records=4) as ring:
        handles = [ring.producer() for _ in range(3)]
        for at, producer in enumerate(handles):
            producer.put_many([b"%d %d" % (at, number) for number in range(3)])
        found: list[tuple[bytes, Record]] = []
        with contextlib.suppress(Empty):
            for record in BORROWS[verb](ring):
                found.append((bytes(record), record))
        for _, record in found:
            record.release()
        # Each producer was the first one in its lane, in the order of the puts.
        assert {
            b"%d %d" % (at, number): (at, number) for at in range(3) for number in range(3)
        } == {text: (record.producer, record.sequence) for text, record in found}
        with pytest.raises(AttributeError):
            found[0][1].producer = 1  # type: ignore[misc]


def test_a_successor_in_a_lane_has_its_number_and_goes_on_counting(ring: Ring) -> None:
    """So the two together name a record for good, and the statistics say whose lane it is now."""
    with ring.producer() as first, ring.producer() as second:
        first.put(b"first")
        second.put(b"second")
    ring.put(b"successor")
    records = {bytes(record): record for record in ring.borrow_many(9)}
    assert {b"first": (0, 0), b"second": (1, 0), b"successor": (0, 1)} == {
        text: (record.producer, record.sequence) for text, record in records.items()
    }
    lane = ring.stats()["lanes"][records[b"successor"].producer]
    assert (os.getpid(), 0) == (lane["pid"], lane["lane"])


def test_an_array_of_a_record_is_a_read_only_view_of_its_first_bytes(ring: Ring) -> None:
    ring.put(np.arange(6, dtype="<f8").tobytes() + b"tail")
    with ring.borrow() as record:
        array = record.array((2, 3), "<f8")
        assert ((2, 3), [0.0, 1.0, 2.0]) == (array.shape, array[0].tolist())
        assert not array.flags.writeable
        with pytest.raises(ValueError, match=r"larger than this record of 52 bytes"):
            record.array(7, "<f8")
        assert weakref.ref(record)() is record
    with pytest.raises(ClosedError):
        record.array(1, "u1")
    assert 5.0 == array[1, 2]


def test_an_array_of_a_record_keeps_its_bytes_when_the_record_is_released() -> None:
    """As every view does: the room is not used for another record before the array has died."""
    with Ring(capacity=PAGE, producers=1, records=64) as ring:
        ring.put(b"a" * 1000)
        record = ring.borrow()
        array = record.array(1000, "u1")
        record.release()
        del record
        with pytest.raises(Full):
            for _ in range(8):
                ring.put(b"b" * 1000, timeout=0)
                ring.get()
        assert (array == ord("a")).all()
        del array
        ring.put(b"b" * 1000, timeout=0)


def test_a_record_that_is_given_back_goes_to_another_consumer_or_comes_again() -> None:
    """To one that sleeps, too, and without a recheck interval; it is not called redelivered."""
    with Ring(consumers="many", capacity=PAGE, producers=2, records=8) as ring:
        ring.put_many([b"1", b"2"])
        record = ring.borrow()
        with memoryview(record), pytest.raises(BufferError, match=r"1 views.*del them"):
            record.give_back()
        record.give_back()
        with pytest.raises(ClosedError):
            record.give_back()
        record.release()
        again = [ring.borrow() for _ in range(2)]
        assert [b"1", b"2"] == sorted(map(bytes, again))
        assert [False, False] == [one.redelivered for one in again]
        with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
            getting = pool.submit(ring.get, timeout=PATIENCE_S)
            wait_until(lambda: shared.half(shared.WAITERS), "a waiting get")
            again[0].give_back()
            assert bytes(getting.result(PATIENCE_S)) in (b"1", b"2")
        again[1].release()
        assert (0, 0) == (len(ring), ring.stats()["redelivered"])


@of_one_consumer
def test_where_there_is_one_consumer_nothing_can_be_given_back(ring: Ring) -> None:
    """The error says so, and the loan stays as it was."""
    ring.put(b"x")
    with ring.borrow() as record:
        with pytest.raises(ValueError, match=r"one consumer.*keep it.*put a copy.*\"many\""):
            record.give_back()
        assert b"x" == bytes(record)
    assert 0 == len(ring)


# ---- rooms ---------------------------------------------------------------------------------------


def test_a_view_kept_by_a_traceback_cannot_touch_the_next_record(ring: Ring) -> None:
    """
    While a writable view of an aborted claim lives, the claim stays open: puts wait. (hazard 55)
    """
    kept: list[BaseException] = []

    def fails() -> None:
        with ring.reserve(64) as room:
            view = array_of(room, np.uint8)
            view[:] = 1
            raise ZeroDivisionError

    try:
        fails()
    except ZeroDivisionError as error:
        kept.append(error)
    views = [
        frame.f_locals["view"]
        for frame, _ in traceback.walk_tb(kept[0].__traceback__)
        if "view" in frame.f_locals
    ]
    assert len(views) == 1
    with pytest.raises(RuntimeError, match="claim open"):
        ring.put(b"mine")
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(Full):
            pool.submit(ring.put, b"theirs", timeout=0.02).result()
        waiting = pool.submit(ring.put, b"waited", timeout=PATIENCE_S)
        views[0][:] = 99  # still its own bytes
        assert not waiting.done()
        views.clear()
        kept.clear()
        gc.collect()
        waiting.result(PATIENCE_S)
    ring.put(b"mine")

    assert ring.get_many(9) == [b"waited", b"mine"]


def test_a_second_reserve_by_the_same_thread_is_an_error_that_says_so(ring: Ring) -> None:
    """It would wait for itself. Other lanes are not concerned."""
    with ring.reserve(4) as room:
        for verb in (lambda: ring.reserve(4), lambda: ring.put(b""), lambda: ring.put_many([b""])):
            with pytest.raises(RuntimeError, match="this thread has a claim open"):
                verb()
        with ring.producer() as other:
            other.put(b"other lane")
        room.write(b"room")

    assert sorted(ring.get_many(9)) == [b"other lane", b"room"]


@pytest.mark.parametrize("end", ["commit", "abort", "drop", "raise"])
def test_another_thread_waits_for_the_end_of_the_claim(ring: Ring, end: str) -> None:
    """However it ends; a timeout is Full."""
    room: Reservation | None = ring.reserve(8)
    assert room is not None
    with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
        with pytest.raises(Full):
            pool.submit(ring.put, b"", timeout=0).result()
        with pytest.raises(Full):
            pool.submit(ring.put, b"", timeout=0.02).result()
        waiting = pool.submit(ring.put, b"waited", timeout=PATIENCE_S)
        wait_until(lambda: shared.half(shared.waiters_at(0)), "a waiting put")
        if end == "commit":
            room.commit()
        elif end == "abort":
            room.abort()
        elif end == "raise":
            with pytest.raises(ZeroDivisionError), room:
                raise ZeroDivisionError
        elif end == "drop":
            with pytest.warns(ResourceWarning, match="dropped without a commit"):
                room = None
        room = None
        waiting.result(PATIENCE_S)

    assert ring.get_many(9)[-1] == b"waited"


@pytest.mark.parametrize("nbytes", [8, 16, 33, 64, 65, 4096, (1 << 20) + 5])
@pytest.mark.parametrize("shift", [1, 8, 64])
def test_a_view_of_a_room_can_be_written_to_another_place_in_it(nbytes: int, shift: int) -> None:
    """Bytes that move up or down over themselves are not lost."""
    data = os.urandom(nbytes + shift)
    with Ring(capacity=1 << 22, producers=1) as ring:
        for up in (True, False):
            with ring.reserve(len(data)) as room:
                room.write(data)
                with memoryview(room) as view:
                    if up:
                        assert nbytes == room.write(view[:nbytes], shift)
                    else:
                        assert nbytes == room.write(view[shift:])
            moved = data[:shift] + data[:nbytes] if up else data[shift:] + data[nbytes:]
            assert moved == ring.get()


@pytest.mark.parametrize("nbytes", [PAGE + 1, 1 << 40, (1 << 62) - 1])
def test_a_room_that_can_never_fit_is_refused_at_once_where_records_wait(nbytes: int) -> None:
    """RecordTooLargeError, which no look for room comes before."""

    def reserve() -> None:
        with Ring(capacity=PAGE, producers=1) as ring:
            ring.put(b"waits")
            with pytest.raises(RecordTooLargeError):
                ring.reserve(nbytes, timeout=0)
            assert b"waits" == ring.get()

    with Child(reserve) as child:
        assert 0 == child.wait()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="buffers made in Python came with 3.12")
def test_what_is_written_may_end_the_room_while_it_gives_its_bytes() -> None:
    """ClosedError, and nothing is written where the ring was."""

    def write() -> None:
        ring = Ring(capacity=PAGE)
        room = ring.reserve(64)

        class Treacherous:
            def __buffer__(self, _flags: int) -> memoryview:
                room.abort()
                ring.close()
                return memoryview(b"x" * 64)

        with pytest.raises(ClosedError):
            room.write(Treacherous())

    with Child(write) as child:
        assert 0 == child.wait()


def test_a_claim_shows_in_no_shared_byte_but_its_own(ring: Ring) -> None:
    """Made in private state: dying with it has done nothing."""
    with RingBytes(ring) as shared:
        ring.put(b"x")
        before = shared.read(0, shared.bytes_at(0))
        with ring.reserve(100) as room:
            room.write(b"y" * 100)
            assert shared.read(0, shared.bytes_at(0)) == before
            assert shared.read(shared.bytes_at(0) + 8, 100) == b"y" * 100
            room.abort()
        assert shared.read(0, shared.bytes_at(0)) == before


# ---- closing with loans out ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["record", "room"])
@pytest.mark.parametrize("closed", ["handle", "ring", "region"])
def test_a_view_outlives_whatever_is_closed(kind: str, closed: str) -> None:
    """
    Row, role and memory stay until the last loan has died; only new work is refused. (hazard 56)
    """
    region = Region.create(None, "1 MiB")
    ring = region.ring("r", capacity=PAGE)
    sender, receiver = ring.producer(), ring.consumer()
    sender.put(b"01234567")
    loan: Any = receiver.borrow() if kind == "record" else sender.reserve(8)
    view = array_of(loan, np.uint8)
    if kind == "room":
        view[:] = list(b"01234567")
    if closed == "handle":
        sender.close()
        receiver.close()
    elif closed == "ring":
        ring.close()
    else:
        region.close()
    for use in (lambda: sender.put(b""), receiver.get) if closed != "ring" else (ring.get,):
        with pytest.raises(ClosedError):
            use()

    assert view.tobytes() == b"01234567"
    if kind == "room":
        view[0] = 1
        del view
        loan.commit()
    else:
        loan.release()
        assert view.tobytes() == b"01234567"
        del view
    del loan
    gc.collect()
    for thing in (sender, receiver, ring, region):
        thing.close()


@of_one_consumer
def test_a_role_is_given_back_when_the_last_loan_has_died(ring: Ring) -> None:
    """A closed consumer with a loan out is still the consumer; then another process can be it."""
    ring.put_many([b"1", b"2"])
    receiver = ring.consumer()
    record = receiver.borrow()
    receiver.close()

    def refused() -> None:
        with pytest.raises(RoleTakenError):
            ring.get()

    def gets() -> None:
        assert ring.get() == b"2"

    with Child(refused) as child:
        assert child.wait() == 0
    record.release()
    with Child(gets) as child:
        assert child.wait() == 0


def test_a_lane_is_given_back_when_its_claim_has_ended(ring: Ring) -> None:
    """A closed producer with a room open keeps its lane; the commit still counts."""
    sender = ring.producer()
    room = sender.reserve(5)
    sender.close()
    assert ring.stats()["lanes"][0]["producer"] == "alive"
    room.write(b"still")
    room.commit()

    assert ring.stats()["lanes"][0]["producer"] == "departed"
    assert ring.get() == b"still"


def test_a_consumer_used_again_while_a_loan_keeps_the_role_has_it_still(ring: Ring) -> None:
    """Closing and coming back before the loan has died is no change of consumers."""
    ring.put_many([b"1", b"2", b"3"])
    with ring.consumer() as one:
        record = one.borrow()
    with ring.consumer() as two:
        assert two.get() == b"2"
        record.release()
        assert two.get() == b"3"
        assert len(ring) == 0


# ---- forks ---------------------------------------------------------------------------------------


def test_loans_inherited_over_a_fork_do_nothing(ring: Ring) -> None:
    """
    The child can read them; releasing, committing, aborting and dropping them is not its business.
    """
    ring.put_many([b"lent", b"next"])
    record = ring.borrow()
    room = ring.reserve(4)
    room.write(b"room")

    def end_them() -> None:
        assert bytes(record) == b"lent"
        record.release()
        room.commit()
        gc.collect()
        with ring.producer() as own:
            own.put(b"own")

    def abort_and_drop() -> None:
        nonlocal record, room
        room.abort()
        del record, room
        gc.collect()

    for what in (end_them, abort_and_drop):
        with Child(what) as child:
            assert child.wait() == 0
    with RingBytes(ring) as shared:
        assert shared.word(shared.head_at(0)) == 0
    assert bytes(record) == b"lent"
    record.release()
    room.commit()

    assert sorted(ring.get_many(9)) == [b"next", b"own", b"room"]


def test_a_child_forked_while_threads_hold_everything_can_use_the_ring(ring: Ring) -> None:
    """
    A claim and a loan of the parent, and a thread of it that waits: the child's calls do not wait.
    """
    ring.put_many([b"1", b"2"])
    record, room = ring.borrow(), ring.reserve(8)
    with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
        waiting = pool.submit(ring.put, b"waited", timeout=PATIENCE_S)
        wait_until(lambda: shared.half(shared.waiters_at(0)), "a waiting put")

        def child_puts() -> None:
            ring.put(b"child", timeout=PATIENCE_S)
            with ring.reserve(6) as own:
                own.write(b"child2")

        with Child(child_puts) as child:
            assert child.wait() == 0
        room.abort()
        waiting.result(PATIENCE_S)
    record.release()

    assert sorted(ring.get_many(9)) == [b"2", b"child", b"child2", b"waited"]


# ---- the garbage collector -----------------------------------------------------------------------


def test_a_loan_dropped_by_the_collector_inside_a_get_does_not_deadlock(ring: Ring) -> None:
    """Collected at any allocation of get, put and borrow, in the same thread. (hazard 54)"""
    collected = 0

    class Cycle:
        """What only the collector frees."""

        def __init__(self, loan: Any) -> None:
            self.loan = loan
            self.view = memoryview(loan)
            self.me = self

        def __del__(self) -> None:
            nonlocal collected
            collected += 1

    old = gc.get_threshold()
    gc.freeze()  # what was there before is not looked at, so collecting is quick
    gc.set_threshold(1)  # whatever is allocated may collect
    try:
        for _ in range(300):
            gc.collect()
            ring.put_many([b"a" * 100, b"b" * 200, b"c"])
            Cycle(ring.borrow())
            assert ring.get() == b"b" * 200
            Cycle(ring.borrow())
            room = ring.reserve(50)
            room.abort()
            room_in_cycle: list[Any] = [room]
            room_in_cycle.append(room_in_cycle)
            del room, room_in_cycle
            with pytest.raises(Empty):
                ring.get_many(5, timeout=0)
    finally:
        gc.set_threshold(*old)
        gc.unfreeze()
    gc.collect()

    assert collected == 600
    assert len(ring) == 0
    assert ring.put_many([b"x"] * 4, timeout=0) == 4


def test_loans_dropped_by_a_callback_of_the_collector_do_not_deadlock(ring: Ring) -> None:
    """
    A callback that releases, gets and puts while a get of the same thread allocates. (hazard 54)
    """
    loans: list[Any] = []
    depth = 0

    def callback(phase: str, _info: Any) -> None:
        nonlocal depth
        if phase == "start" or depth:
            return
        depth += 1
        try:
            loans.clear()
            try:
                ring.put_nowait(b"from the callback")
                ring.get_nowait()
            except (Full, Empty, RuntimeError):
                pass
        finally:
            depth -= 1

    old = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.freeze()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            try:
                ring.put_many([b"x" * 10, b"y" * 1000], timeout=0)
                loans.append(ring.borrow(timeout=0))
                loans.append([memoryview(loan) for loan in loans if not isinstance(loan, list)])
                ring.get_many(2, timeout=0)
            except (Full, Empty):
                pass
    finally:
        gc.set_threshold(*old)
        gc.callbacks.remove(callback)
        gc.unfreeze()
    loans.clear()
    gc.collect()
    while len(ring):
        ring.get_nowait()

    assert ring.put_many([b"x"] * 4, timeout=0) == 4


# ---- the end of the interpreter ------------------------------------------------------------------


EXITS = {
    "module globals": "record, room, view, other = a, b, memoryview(a), np.frombuffer(a, 'u1')",
    "cycles": "cycle = [a, b, memoryview(a)]; cycle.append(cycle)",
    "another module": """
import types
module = sys.modules["another"] = types.ModuleType("another")
module.loans = [a, b, memoryview(b)]
""",
    "another ring": """
class Keeper(memlane.Ring):
    pass
keeper = Keeper(capacity=4096)
keeper.loans = [a, b]
""",
    "at exit": "import atexit; atexit.register(lambda: (a.release(), b.abort(), ring.close()))",
    "a thread": """
import threading
threading.Thread(target=lambda: list(ring), daemon=True).start()
""",
    "closed": "view = memoryview(a); ring.close()",
    "a builtin": "import builtins; builtins.kept = (a, b, memoryview(b), ring)",
}


@pytest.mark.parametrize("how", EXITS)
def test_an_interpreter_may_end_with_loans_out(name: str, how: str) -> None:
    """In any order of destruction, without a word and without a crash. (hazard 56)"""
    code = f"""
import sys, memlane
import numpy as np
ring = memlane.Ring.open(sys.argv[1])
a, b = ring.borrow(timeout=600), ring.reserve(8)
{EXITS[how]}
print("end")
"""
    with Ring.create(name, capacity=PAGE, producers=2) as ring:
        ring.put_many([b"lent", b"next"])
        program = unrelated(code, name)
        out, err = program.communicate(timeout=PATIENCE_S)

        assert (program.returncode, out, err) == (0, "end\n", "")
        # What it had and did not release is handed out again, and the ring goes on.
        ring.put(b"goes on")
        found = ring.get_many(3)
        assert found[-1:] == [b"goes on"]
        assert set(found[:-1]) <= {b"lent", b"next"}
        ring.unlink()


def test_loans_that_threads_drop_at_the_same_time_are_each_released_once() -> None:
    """Views, records and handles die in several threads while gets go on. (hazard 44)"""
    total = 2000
    with Ring(capacity="64 KiB", producers=1, records=64) as ring, ThreadPoolExecutor(3) as pool:
        stop = threading.Event()
        lent: list[Any] = []

        def drop() -> None:
            while not stop.is_set() or lent:
                try:
                    lent.pop()
                except IndexError:
                    time.sleep(0)

        droppers = [pool.submit(drop) for _ in range(2)]
        putting = pool.submit(
            lambda: ring.put_many((b"%d" % n * 20 for n in range(total)), timeout=PATIENCE_S)
        )
        try:
            for number in range(total):
                if number % 3:
                    record = ring.borrow(timeout=PATIENCE_S)
                    assert bytes(record) == b"%d" % number * 20
                    lent.append(memoryview(record))
                    del record
                else:
                    assert ring.get(timeout=PATIENCE_S) == b"%d" % number * 20
        finally:
            stop.set()
        for dropper in droppers:
            dropper.result(PATIENCE_S)
        assert putting.result(PATIENCE_S) == total
        assert len(ring) == 0
        assert ring.put_many([b""] * 64, timeout=0) == 64


@of_one_consumer
def test_a_loan_costs_no_reference_to_the_ring_and_no_leak(ring: Ring) -> None:
    """Thousands of loans leave as many blocks as there were."""

    def use() -> None:
        for _ in range(1000):
            ring.put(b"x")
            with ring.borrow() as record:
                memoryview(record).release()
            with ring.reserve(3) as room:
                room.write(b"abc")
            ring.get()

    def growth() -> int:
        before = sys.getallocatedblocks()
        use()
        gc.collect()
        return sys.getallocatedblocks() - before

    # other threads, and caches of the interpreter, make single rounds grow; a leak shows in each
    assert min(growth() for _ in range(9)) < 100
    assert os.getpid() == ring.stats()["consumer_pid"]
