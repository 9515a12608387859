# SPDX-License-Identifier: MIT
"""What `Ring` promises: the same bytes out, in order, whatever dies; errors that help."""

from __future__ import annotations

import array
import contextlib
import itertools
import os
import pickle
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import memlane
from memlane import (
    ClosedError,
    CorruptedError,
    Counter,
    Empty,
    Full,
    LayoutError,
    PeerGoneError,
    RecordTooLargeError,
    Ring,
    RoleTakenError,
    ShutDown,
)
from processes import PATIENCE_S, Child, drained, output_of, unrelated, wait_until
from shared_bytes import DEAD_TAG, DEPARTED, FREE, NEVER, NONE, READY, TAKEN, RingBytes

PAGE = 4096


of_one_consumer = pytest.mark.parametrize("ring", ["one"], indirect=True)


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A small ring without a name, of each kind."""
    with Ring(consumers=request.param, capacity=PAGE, producers=4, records=8) as made:
        yield made


def forever() -> None:
    """What a child does until it is killed."""
    while True:
        time.sleep(PATIENCE_S)


class Gate:
    """A pipe by which a child says that it is through."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def open(self) -> None:
        os.write(self.write_end, b"!")

    def wait(self) -> None:
        assert os.read(self.read_end, 1) == b"!"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def killed_after(work: Callable[[], object]) -> None:
    """Have a child do some work, then kill it while it holds whatever it has."""
    with Gate() as gate:

        def run() -> None:
            kept = work()
            gate.open()
            forever()
            del kept

        with Child(run) as child:
            gate.wait()
            child.kill()


# ---- bytes in, the same bytes out ----------------------------------------------------------------


RECORDS: dict[str, Any] = {
    "bytes": b"abc",
    "empty": b"",
    "bytearray": bytearray(b"abcd"),
    "memoryview": memoryview(b"_abcde_")[1:6],
    "array": array.array("d", [1.5, -2.5]),
    "numpy": np.arange(7, dtype=np.int16),
    "numpy 2d": np.arange(6, dtype=">f8").reshape(2, 3),
    "numpy scalar": np.float64(1.25),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_any_contiguous_buffer_comes_out_as_the_same_bytes(ring: Ring, kind: str) -> None:
    """A record is the bytes of any contiguous buffer, by each verb."""
    record = RECORDS[kind]
    expected = bytes(memoryview(record))
    ring.put(record)
    ring.put_nowait(record)
    assert ring.put_many([record, record]) == 2
    with ring.reserve(len(expected)) as room:
        room.write(record)

    assert [expected] * 5 == drained(ring)


@pytest.mark.parametrize(
    "record",
    [memoryview(b"abcdef")[::2], np.arange(8)[::2], np.asfortranarray(np.ones((2, 3)))],
    ids=["memoryview", "numpy strided", "numpy Fortran order"],
)
def test_a_buffer_with_gaps_is_a_buffer_error_and_nothing_goes_in(ring: Ring, record: Any) -> None:
    """Only contiguous buffers are records; the error is BufferError whoever made the buffer."""
    for put in (ring.put, ring.put_nowait, lambda gaps: ring.put_many([b"a", gaps])):
        with pytest.raises(BufferError, match="contiguous"):
            put(record)
    with pytest.raises(BufferError, match="contiguous"), ring.reserve(64) as room:
        room.write(record)

    assert drained(ring) == []


@pytest.mark.parametrize("record", ["text", 5, None, [1, 2], 1.5])
def test_what_is_no_buffer_is_a_type_error_and_nothing_goes_in(ring: Ring, record: Any) -> None:
    """A str has no bytes of its own: encode it. Nothing is guessed."""
    with pytest.raises(TypeError):
        ring.put(record)
    with pytest.raises(TypeError):
        ring.put_many([b"good", record])
    with pytest.raises(TypeError):
        ring.put_many("text")  # type: ignore[arg-type]

    assert drained(ring) == []


def test_a_record_is_copied_before_put_returns(ring: Ring) -> None:
    """What happens to the buffer after `put` does not change the record."""
    record = bytearray(b"before")
    ring.put(record)
    record[:] = b"after!"
    record.append(0)  # no export is left behind

    assert ring.get() == b"before"


def test_a_record_put_before_any_consumer_exists_waits_for_the_first_one(name: str) -> None:
    """A ring needs nobody at its other end."""
    with Ring.create(name, capacity=PAGE) as ring:
        ring.put(b"early")
        code = """
import sys, memlane
with memlane.Ring.open(sys.argv[1]) as ring:
    print(ring.get(timeout=60))
"""

        assert output_of(unrelated(code, name)) == "b'early'\n"
        ring.unlink()


def test_records_stay_in_a_named_ring_that_nobody_has_open(name: str) -> None:
    """
    The ring after everyone left: whoever opens it next finds the backlog, and both roles free.
    """
    with Ring.create(name, capacity=PAGE) as ring:
        ring.put_many([b"one", b"two"])
        assert ring.get() == b"one"
    with Ring.open(name) as ring:
        ring.put(b"three")

        assert drained(ring) == [b"two", b"three"]
        ring.unlink()


@pytest.mark.parametrize("kind", ["memfd", "anonymous", "named", "file"])
@pytest.mark.parametrize("wait", ["adaptive", "spin", "sleep"])
def test_a_sleeping_getter_is_woken_in_every_kind_of_region(
    kind: str, wait: Any, name: str, tmp_path: Path
) -> None:
    """Records cross a fork both ways, and each way to wait comes to its end."""
    if kind in ("memfd", "anonymous"):
        ring = Ring(capacity=PAGE, records=2, wait=wait, anonymous=kind == "anonymous")
    else:
        ring = Ring.create(
            name if kind == "named" else tmp_path / "ring", capacity=PAGE, records=2, wait=wait
        )

    records = [b"%d" % number for number in range(50)]

    def produce() -> None:
        for record in records:
            ring.put(record, timeout=PATIENCE_S)

    with ring:
        with Child(produce) as child:
            found = [ring.get(timeout=PATIENCE_S) for _ in records]
            assert child.wait() == 0

        assert records == found
        if kind in ("named", "file"):
            ring.unlink()


# ---- put_many, get_many, get_into ----------------------------------------------------------------


def test_put_many_takes_any_iterable_also_one_that_runs_only_once(ring: Ring) -> None:
    """Generators and mixed buffers are as good as lists; the count comes back."""
    assert ring.put_many(b"%d" % i for i in range(3)) == 3
    mixed: list[Any] = [b"a", bytearray(b"b"), array.array("b", [99])]
    assert ring.put_many(iter(mixed)) == 3
    assert ring.put_many([]) == 0
    assert ring.put_many(iter(())) == 0

    assert drained(ring) == [b"0", b"1", b"2", b"a", b"b", b"c"]


def test_put_many_waits_until_all_are_in_while_somebody_gets(ring: Ring) -> None:
    """More records than the ring holds go in step by step, in order."""
    records = [b"%d" % i * (i % 50) for i in range(500)]
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(ring.put_many, records, timeout=PATIENCE_S)
        found: list[bytes] = []
        while len(found) < len(records):
            found += ring.get_many(64, timeout=PATIENCE_S)

        assert putting.result() == 500
    assert records == found


def test_put_many_returns_at_its_deadline_how_many_went_in(ring: Ring) -> None:
    """Some fit: their number. None fits: Full. Nothing is taken back."""
    assert ring.put_many([b"x"] * 20, timeout=0) == 8
    began = time.monotonic()
    with pytest.raises(Full):
        ring.put_many([b"y"], timeout=0.05)
    assert time.monotonic() - began >= 0.05
    with pytest.raises(Full):
        ring.put_many([b"y"], timeout=0)

    assert drained(ring) == [b"x"] * 8


def test_put_many_returns_how_many_went_in_if_the_ring_is_shut_down_meanwhile(ring: Ring) -> None:
    """A shutdown in the middle is no reason to forget what went in."""
    with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
        putting = pool.submit(ring.put_many, [b"x"] * 20)
        wait_until(lambda: shared.half(shared.waiters_at(0)), "a waiting producer")
        ring.shutdown()

        assert putting.result(PATIENCE_S) == 8
    with pytest.raises(ShutDown):
        ring.put_many([b"y"])
    assert list(ring) == [b"x"] * 8


@pytest.mark.parametrize("broken", ["item", "generator", "size"])
def test_put_many_with_a_bad_item_puts_nothing_and_the_next_put_goes_alone(
    ring: Ring, broken: str
) -> None:
    """All are looked at before the first goes in: no phantom follows the next record. (trap 36)"""

    def records() -> Iterator[Any]:
        yield b"a"
        yield b"b"
        if broken == "generator":
            raise ZeroDivisionError
        yield "no buffer" if broken == "item" else bytes(PAGE + 1)

    with pytest.raises((TypeError, ZeroDivisionError, RecordTooLargeError)):
        ring.put_many(records())
    ring.put(b"alone")

    assert ring.get() == b"alone"
    with pytest.raises(Empty):
        ring.get_nowait()
    assert len(ring) == 0


def test_a_batch_staged_by_a_killed_producer_does_not_follow_the_adopters_record(
    ring: Ring,
) -> None:
    """Killed before the first of a batch was committed: the whole batch never was. (trap 37)"""
    killed_after(lambda: ring.put(b"committed"))
    with RingBytes(ring) as shared:
        # As put_many leaves it if it is killed just before its one compare-and-swap.
        shared.stage(0, 2, 16, b"phantom2")
        shared.stage(0, 3, 24, b"phantom3")
        ring.put(b"adopted")

        assert drained(ring) == [b"committed", b"adopted"]
        assert shared.word(shared.state_at(0, 2)) == shared.state(2, NONE)
        assert shared.word(shared.state_at(0, 3)) == shared.state(3, NONE)
    ring.put_many([b"next", b"one"])
    assert drained(ring) == [b"next", b"one"]


def test_get_many_takes_what_is_there_and_waits_only_for_the_first(ring: Ring) -> None:
    """At least one, at most as many as asked for."""
    ring.put_many([b"1", b"2", b"3"])

    assert ring.get_many(2) == [b"1", b"2"]
    assert ring.get_many(5) == [b"3"]
    with pytest.raises(Empty):
        ring.get_many(5, timeout=0)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="most"):
            ring.get_many(wrong)
    for other in (True, 1.5, "2"):
        with pytest.raises(TypeError, match="most"):
            ring.get_many(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("consumers", ["one", "many"])
@pytest.mark.parametrize("nbytes", [0, 1, 100, 5_000, 40_000, 100_000])
def test_a_batch_may_end_early_and_the_next_one_goes_on_behind_it(
    nbytes: int, consumers: Any
) -> None:
    """At least one record, at most as many as asked for; all of them, in order, over the calls."""
    count = 700 if nbytes <= 100 else 20
    put = [bytes([number % 256]) * nbytes for number in range(count)]
    with Ring(capacity="4 MiB", producers=1, records=1024, consumers=consumers) as ring:
        assert count == ring.put_many(put)
        found: list[bytes] = []
        while len(found) < count:
            batch = ring.get_many(300)
            assert 1 <= len(batch) <= 300
            assert sum(map(len, batch)) <= 65536 or len(batch) == 1
            batch.append(b"of the caller's")  # it is a list like any other
            found += batch[:-1]
        assert put == found
        assert 0 == len(ring)


def test_get_many_collects_from_the_lanes_of_all_producers(ring: Ring) -> None:
    """One call serves every lane; each producer's records are in its order."""
    with ring.producer() as one, ring.producer() as two:
        one.put_many([b"a1", b"a2"])
        two.put_many([b"b1", b"b2"])
        found = ring.get_many(10)

    assert sorted(found) == [b"a1", b"a2", b"b1", b"b2"]
    assert [record for record in found if record[:1] == b"a"] == [b"a1", b"a2"]
    assert [record for record in found if record[:1] == b"b"] == [b"b1", b"b2"]


def test_get_into_fills_the_front_of_a_buffer_and_leaves_the_rest(ring: Ring) -> None:
    """The length comes back; bytes behind it are not touched."""
    ring.put_many([b"abc", b"", b"01234567"])
    buffer = bytearray(b"--------")
    words: Any = np.zeros(1, dtype=np.uint64)

    assert ring.get_into(buffer) == 3
    assert buffer == b"abc-----"
    assert ring.get_into(buffer) == 0
    assert buffer == b"abc-----"
    assert ring.get_into(words) == 8
    assert words.tobytes() == b"01234567"


def test_get_into_a_buffer_that_is_too_small_leaves_the_record_in_the_ring(ring: Ring) -> None:
    """The error names both sizes; the record is still the next one."""
    ring.put_many([b"12345", b"next"])
    buffer = bytearray(4)

    with pytest.raises(ValueError, match=r"5 bytes.*4"):
        ring.get_into(buffer)
    with pytest.raises(BufferError):
        ring.get_into(b"read-only!")
    assert buffer == bytearray(4)
    assert drained(ring) == [b"12345", b"next"]


# ---- rooms ---------------------------------------------------------------------------------------


def test_a_room_is_put_at_the_end_of_its_with(ring: Ring) -> None:
    """Written in place, by slices, by views, by `write`; seen by nobody before the end."""
    with ring.reserve(8) as room:
        room[:] = b"01234567"
        room[2] = ord("x")
        room.write(b"yz", 6)
        assert (len(room), room[0], room[2:4]) == (8, ord("0"), b"x3")
        with pytest.raises(Empty):
            ring.get_nowait()

    assert drained(ring) == [b"01x345yz"]


def test_a_room_can_be_committed_in_part_or_aborted(ring: Ring) -> None:
    """`commit(n)` puts the first n bytes; `abort` and an exception put nothing."""
    with ring.reserve(100) as room:
        room.write(b"short")
        room.commit(5)
    with ring.reserve(100) as room:
        room.abort()
    with pytest.raises(ZeroDivisionError), ring.reserve(100) as room:
        room[:] = bytes(100)
        raise ZeroDivisionError
    with ring.reserve(0):
        pass

    assert drained(ring) == [b"short", b""]


def test_a_room_refuses_what_does_not_fit_and_use_after_its_end(ring: Ring) -> None:
    """More than was reserved is a ValueError; a room that is done with is closed."""
    room = ring.reserve(4)
    for too_much in (
        lambda: room.commit(5),
        lambda: room.write(b"12345"),
        lambda: room.write(b"1", 4),
    ):
        with pytest.raises(ValueError, match="reserve more"):
            too_much()
    with pytest.raises(TypeError):
        room.commit(True)
    room.commit()
    for use in (room.commit, lambda: room.write(b""), lambda: memoryview(room), room.__enter__):
        with pytest.raises(ClosedError):
            use()
    room.abort()

    assert len(ring.get()) == 4


@pytest.mark.parametrize(
    "frame",
    [
        b"\1" * 24,
        array.array("d", [1.5, 2.5, 3.5]),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(12, dtype=np.int16),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_a_slice_of_a_room_takes_any_contiguous_buffer_of_as_many_bytes(
    ring: Ring, frame: Any
) -> None:
    """As a slice of a mapping does: what the elements are does not matter."""
    with ring.reserve(32) as room:
        room[:8] = b"abcdefgh"
        room[8:] = frame
        room[0:8:2] = b"ACEG"
        room[-1] = 7

    assert ring.get() == b"AbCdEfGh" + bytes(memoryview(frame))[:-1] + b"\7"


def test_a_slice_of_a_room_says_both_sizes_and_what_else_there_is(ring: Ring) -> None:
    """Nothing is written where it does not fit, and objects are not taken for bytes."""
    with ring.reserve(8) as room:
        room[:] = b"as it is"
        with pytest.raises(ValueError, match=r"8 bytes.* 12.*room\.write"):
            room[:] = np.zeros(3, np.float32)
        with pytest.raises(TypeError):
            room[:] = np.array([None])
        with pytest.raises(TypeError):
            room[:] = "as it is"  # type: ignore[call-overload]
        for index in (8, -9):
            with pytest.raises(IndexError):
                room[index] = 1

    assert ring.get() == b"as it is"


def test_a_room_that_ends_while_an_index_is_converted_is_not_written(ring: Ring) -> None:
    """What is passed is asked for before the room is looked at."""
    room = ring.reserve(4)
    room[:] = b"done"
    with pytest.raises(ClosedError):
        room[Meddling(0, room.commit)] = 1
    room = ring.reserve(4)
    room[:] = b"done"
    with pytest.raises(ClosedError):
        room[Meddling(0, room.commit) :] = b"0000"

    assert drained(ring) == [b"done", b"done"]


class Meddling:
    """A number, or a truth, that does something while it is converted."""

    def __init__(self, value: int, meddle: Callable[[], object]) -> None:
        self.value, self.meddle = value, meddle

    def __index__(self) -> int:
        self.meddle()
        return self.value

    def __bool__(self) -> bool:
        self.meddle()
        return bool(self.value)


@pytest.mark.parametrize("meddle", ["commit", "abort"])
def test_a_room_that_ends_while_its_length_is_converted_is_not_committed_again(
    ring: Ring, meddle: str
) -> None:
    """The number is asked for before the room is looked at: one room is one record at most."""
    room = ring.reserve(4)
    room.write(b"once")

    def end() -> None:
        getattr(room, meddle)()
        ring.put(b"other")

    with pytest.raises(ClosedError):
        room.commit(Meddling(4, end))  # type: ignore[arg-type]

    assert drained(ring) == ([b"once", b"other"] if meddle == "commit" else [b"other"])


def test_a_handle_that_is_closed_while_immediate_is_asked_for_shuts_nothing_down(name: str) -> None:
    """What a caller passes is converted before the handle is looked at."""
    with Ring.create(name, capacity=PAGE) as ring:
        other = Ring.open(name)
        with pytest.raises(ClosedError):
            other.shutdown(Meddling(1, other.close))  # type: ignore[arg-type]

        assert ring.stats()["shutdown"] == "no"
        ring.unlink()


@pytest.mark.parametrize("nbytes", [-1, True, 1.5, "many"])
def test_reserve_takes_only_a_number_of_bytes(ring: Ring, nbytes: Any) -> None:
    """No claim is left behind by a bad size."""
    with pytest.raises((TypeError, ValueError)):
        ring.reserve(nbytes)
    ring.put(b"goes on")

    assert ring.get() == b"goes on"


# ---- sizes ---------------------------------------------------------------------------------------


def test_a_record_that_can_never_fit_is_refused_at_once_with_both_sizes(ring: Ring) -> None:
    """Also by a full ring and with a timeout: waiting would not help."""
    ring.put_many([b"x"] * 8)
    for put in (
        lambda: ring.put(bytes(PAGE + 1)),
        lambda: ring.put_many([b"", bytes(PAGE + 1)]),
        lambda: ring.reserve(PAGE + 1),
    ):
        with pytest.raises(RecordTooLargeError, match=f"{PAGE + 1}.*{PAGE}") as caught:
            put()
        assert (caught.value.nbytes, caught.value.max_record) == (PAGE + 1, PAGE)
        assert isinstance(caught.value, ValueError)
        assert pickle.loads(pickle.dumps(caught.value)).nbytes == PAGE + 1
    assert len(drained(ring)) == 8


@pytest.mark.parametrize("small", [0, 1, 7, 8, 9, PAGE // 2, PAGE - 8, PAGE])
def test_a_record_as_large_as_the_ring_fits_after_any_other(small: int) -> None:
    """
    `max_record` is a promise once the ring is empty, wherever the last record ended. (trap 43)
    """
    with Ring(capacity=PAGE, producers=1, records=4) as ring:
        for turn in range(6):
            ring.put(bytes([turn]) * small)
            assert ring.get() == bytes([turn]) * small
            ring.put(bytes([turn]) * PAGE, timeout=0)
            with pytest.raises(Full):
                ring.put_nowait(b"")
            assert ring.get() == bytes([turn]) * PAGE


def test_a_ring_is_full_of_tiny_records_and_of_bytes_at_the_same_count() -> None:
    """Empty records occupy room too, so full and empty never look the same. (trap 43)"""
    with Ring(capacity=PAGE, producers=1, records=1000) as ring:
        for record in (b"", b"1", b"12345678"):
            assert ring.put_many([record] * 1000, timeout=0) == PAGE // 8
            assert len(ring) == PAGE // 8
            with pytest.raises(Full):
                ring.put_nowait(b"")
            assert drained(ring) == [record] * (PAGE // 8)


def test_a_ring_of_one_record_hands_them_over_one_by_one() -> None:
    """N = 1 is a ring like any other. (trap 43)"""
    with Ring(capacity=PAGE, producers=1, records=1) as ring:
        assert (ring.max_records, ring.max_record, ring.capacity) == (1, PAGE, PAGE)
        for turn in range(20):
            ring.put(b"%d" % turn)
            with pytest.raises(Full):
                ring.put_nowait(b"")
            with ring.borrow() as record:
                assert bytes(record) == b"%d" % turn
                with pytest.raises(Full):
                    ring.put_nowait(b"")


@pytest.mark.parametrize("start", [2**29 - 3, 2**32 - 3, 2**61 - 3, 2**63 - 3, 2**64 - 3])
@pytest.mark.parametrize("records", [1, 3, 4])
def test_a_ring_goes_on_where_its_counters_pass_a_power_of_two(start: int, records: int) -> None:
    """
    Record numbers live in 29 bits of a state and in 64 of a counter; both wrap unseen. (trap 43)
    """
    with Ring(capacity=PAGE, producers=1, records=records) as ring, RingBytes(ring) as shared:
        shared.set_word(shared.tail_at(0), start)
        shared.set_word(shared.head_at(0), start)
        for turn in range(12):
            assert ring.put_many([b"%d" % turn] * records) == records
            with pytest.raises(Full):
                ring.put_nowait(b"")
            assert len(ring) == records
            loans = [ring.borrow(timeout=0) for _ in range(records)]
            assert [bytes(loan) for loan in loans] == [b"%d" % turn] * records
            for loan in reversed(loans):
                loan.release()
            ring.put(b"copied")
            assert drained(ring) == [b"copied"]
        assert shared.word(shared.head_at(0)) == (start + 12 * (records + 1)) % 2**64


def test_a_lane_that_was_never_leased_is_never_touched(name: str) -> None:
    """Its memory is not reserved: reading it would allocate, or be a SIGBUS. (trap 46)"""
    with Ring.create(name, capacity="1 MiB", producers=16) as ring:

        def allocated() -> int:
            return os.stat(f"/dev/shm/memlane.{name}").st_blocks * 512

        before = allocated()
        with pytest.raises(Empty):
            ring.get_nowait()
        with pytest.raises(Empty):
            ring.get(timeout=0.01, require_peer=True)
        ring.stats()
        assert (allocated(), len(ring)) == (before, 0)
        ring.put(b"x")
        one_lane = allocated() - before
        assert one_lane >= 2**20
        ring.get()
        ring.shutdown()
        with pytest.raises(ShutDown):
            ring.get()
        ring.stats()

        assert allocated() == before + one_lane
        ring.unlink()


def test_a_batch_that_found_no_room_has_seen_what_was_released() -> None:
    """The next one is placed by that look, and not by an older one."""
    with Ring(capacity=PAGE, producers=1, records=8) as ring:
        assert 3 == ring.put_many([b"", bytes(2048), b""])
        ring.get_many(2)
        assert 2 == ring.put_many([bytes(2048), b""])
        ring.get()
        with pytest.raises(Full):
            ring.put_many([bytes(2048)], timeout=0)  # sees that the first three are gone
        ring.get_many(2)

        # Behind those that were there at that look, then around the end, and there it is full.
        assert 2 == ring.put_many([bytes(1680), bytes(2048), bytes(25)], timeout=0)


# ---- against a model -----------------------------------------------------------------------------


@dataclass
class Held:
    """A record that occupies room: waiting, lent, or released behind one that is."""

    data: bytes
    offset: int
    released: bool = False
    loan: memlane.Record | None = None


class Model:
    """
    One lane as the documentation has it: a deque of records, and a circular allocator of bytes.

    The producer looks at what was released only when it finds no room by what it saw last.
    """

    def __init__(self, capacity: int, most: int) -> None:
        self.capacity, self.most = capacity, most
        self.held: deque[Held] = deque()  # what the producer has not seen released
        self.gone = 0  # how many of them were released at the front meanwhile
        self.write = 0

    def place(self, nbytes: int) -> int | None:
        """Where a record goes, or None if the ring is full."""
        found = self._place(nbytes)
        if found is None:
            for _ in range(self.gone):
                self.held.popleft()
            self.gone = 0
            found = self._place(nbytes)
        return found

    def _place(self, nbytes: int) -> int | None:
        occupied = max(8, -(-nbytes // 8) * 8)
        if not self.held:
            return 0
        if len(self.held) == self.most:
            return None
        oldest = self.held[0].offset
        if self.write > oldest:
            if occupied <= self.capacity - self.write:
                return self.write
            return 0 if occupied <= oldest else None
        return self.write if occupied <= oldest - self.write else None

    def put(self, data: bytes) -> bool:
        offset = self.place(len(data))
        if offset is None:
            return False
        self.held.append(Held(data, offset))
        self.write = offset + max(8, -(-len(data) // 8) * 8)
        return True

    def in_use(self) -> list[Held]:
        return list(self.held)[self.gone :]

    def waiting(self) -> list[Held]:
        return [held for held in self.in_use() if not held.released and held.loan is None]

    def release(self, held: Held) -> None:
        held.released, held.loan = True, None
        while self.gone < len(self.held) and self.held[self.gone].released:
            self.gone += 1


SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from([PAGE // 2, PAGE - 8, PAGE]), st.integers(0, PAGE)
)


class RingAgainstModel(RuleBasedStateMachine):
    """Any verbs in any order: the bytes, the lengths, Full and Empty are those of the model."""

    @initialize(
        records=st.sampled_from([1, 2, 3, 8]), start=st.sampled_from([0, 2**29 - 3, 2**64 - 2])
    )
    def begin(self, records: int, start: int) -> None:
        self.ring = Ring(capacity=PAGE, producers=1, records=records)
        with RingBytes(self.ring) as shared:
            shared.set_word(shared.tail_at(0), start)
            shared.set_word(shared.head_at(0), start)
        self.model = Model(PAGE, records)
        self.made = 0

    def data(self, nbytes: int) -> bytes:
        self.made += 1
        return (b"%d," % self.made * (nbytes // 2 + 1))[:nbytes]

    @rule(nbytes=SIZES)
    def put(self, nbytes: int) -> None:
        data = self.data(nbytes)
        if self.model.put(data):
            self.ring.put(data, timeout=0)
        else:
            with pytest.raises(Full):
                self.ring.put_nowait(data)

    @rule(sizes=st.lists(SIZES, max_size=10))
    def put_many(self, sizes: list[int]) -> None:
        batch = [self.data(nbytes) for nbytes in sizes]
        expected = 0
        while expected < len(batch) and self.model.put(batch[expected]):
            expected += 1
        if batch and expected == 0:
            with pytest.raises(Full):
                self.ring.put_many(batch, timeout=0)
        else:
            assert self.ring.put_many(iter(batch), timeout=0) == expected

    @rule(nbytes=SIZES, share=st.floats(0, 1), end=st.sampled_from(["commit", "part", "abort"]))
    def reserve(self, nbytes: int, share: float, end: str) -> None:
        if self.model.place(nbytes) is None:
            with pytest.raises(Full):
                self.ring.reserve(nbytes, timeout=0)
            return
        data = self.data(nbytes)
        with self.ring.reserve(nbytes, timeout=0) as room:
            room.write(data)
            if end == "abort":
                room.abort()
                return
            if end == "part":
                data = data[: int(nbytes * share)]
                room.commit(len(data))
        assert self.model.put(data)

    @rule(verb=st.sampled_from(["get", "get_into"]))
    def get(self, verb: str) -> None:
        waiting = self.model.waiting()
        buffer = bytearray(PAGE)
        if not waiting:
            with pytest.raises(Empty):
                self.ring.get_nowait() if verb == "get" else self.ring.get_into(buffer, timeout=0)
            return
        if verb == "get":
            assert self.ring.get(timeout=0) == waiting[0].data
        else:
            nbytes = self.ring.get_into(buffer, timeout=0)
            assert bytes(buffer[:nbytes]) == waiting[0].data
        self.model.release(waiting[0])

    @rule(most=st.integers(1, 10))
    def get_many(self, most: int) -> None:
        waiting = self.model.waiting()[:most]
        if not waiting:
            with pytest.raises(Empty):
                self.ring.get_many(most, timeout=0)
            return
        assert self.ring.get_many(most, timeout=0) == [held.data for held in waiting]
        for held in waiting:
            self.model.release(held)

    @rule()
    def borrow(self) -> None:
        waiting = self.model.waiting()
        if not waiting:
            with pytest.raises(Empty):
                self.ring.borrow(timeout=0)
            return
        waiting[0].loan = self.ring.borrow(timeout=0)

    @rule(which=st.integers(0, 7))
    def release(self, which: int) -> None:
        lent = [held for held in self.model.in_use() if held.loan is not None]
        if lent:
            held = lent[which % len(lent)]
            assert held.loan is not None
            held.loan.release()
            self.model.release(held)

    @invariant()
    def is_like_the_model(self) -> None:
        if not hasattr(self, "ring"):
            return
        assert len(self.ring) == len(self.model.in_use())
        for held in self.model.in_use():
            if held.loan is not None:
                assert bytes(held.loan) == held.data

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            for held in self.model.held:
                held.loan = None
            self.ring.close()


TestRingAgainstModel = RingAgainstModel.TestCase
TestRingAgainstModel.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


# ---- timeouts ------------------------------------------------------------------------------------


BAD_TIMEOUTS: list[Any] = [-1, -0.001, float("nan"), float("-inf"), "1", True, False, b"", [1]]
VERBS: dict[str, Callable[[Ring, Any], object]] = {
    "put": lambda ring, timeout: ring.put(b"", timeout=timeout),
    "put_many": lambda ring, timeout: ring.put_many([b""], timeout=timeout),
    "reserve": lambda ring, timeout: ring.reserve(1, timeout=timeout),
    "get": lambda ring, timeout: ring.get(timeout=timeout),
    "get_many": lambda ring, timeout: ring.get_many(1, timeout=timeout),
    "get_into": lambda ring, timeout: ring.get_into(bytearray(8), timeout=timeout),
    "borrow": lambda ring, timeout: ring.borrow(timeout=timeout),
}


@pytest.mark.parametrize("timeout", BAD_TIMEOUTS, ids=repr)
def test_a_bad_timeout_is_refused_whether_or_not_one_would_wait(ring: Ring, timeout: Any) -> None:
    """Negative or not a number: ValueError; no number: TypeError. The ring is unchanged."""
    ring.put(b"kept")
    ring.get()  # both roles are taken: this is the fast path
    is_number = isinstance(timeout, (int, float)) and type(timeout) is not bool
    kind = ValueError if is_number else TypeError
    for records in (1, 8):
        ring.put_many([b"kept"] * records)
        for verb in VERBS.values():
            with pytest.raises(kind, match="timeout"):
                verb(ring, timeout)

        assert drained(ring) == [b"kept"] * records


def test_a_wait_lasts_at_least_its_timeout(ring: Ring) -> None:
    """Empty and Full come not before their time, and are those of the queue module, too."""
    for wait in (
        lambda: ring.get(timeout=0.03),
        lambda: ring.get_many(2, timeout=0.03),
        lambda: ring.get_into(bytearray(8), timeout=0.03),
        lambda: ring.borrow(timeout=0.03),
    ):
        began = time.monotonic()
        with pytest.raises(queue.Empty):
            wait()
        assert time.monotonic() - began >= 0.03
    ring.put_many([b"x"] * 8)
    for wait in (lambda: ring.put(b"", timeout=0.03), lambda: ring.reserve(1, timeout=0.03)):  # type: ignore[assignment]
        began = time.monotonic()
        with pytest.raises(queue.Full):
            wait()
        assert time.monotonic() - began >= 0.03
    assert len(drained(ring)) == 8


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, np.float32(5), 10**12])
def test_any_number_of_seconds_is_a_timeout(ring: Ring, timeout: Any) -> None:
    """Huge ones wait for ever; numpy's numbers are numbers."""
    ring.put(b"x", timeout=timeout)

    assert ring.get(timeout=timeout) == b"x"


# ---- roles ---------------------------------------------------------------------------------------


def test_producers_have_lanes_of_their_own_and_each_keeps_its_order(ring: Ring) -> None:
    """One that fills its lane does not take the others' room."""
    with ring.producer() as one, ring.producer() as two:
        assert one.put_many([b"a%d" % i for i in range(8)]) == 8
        with pytest.raises(Full):
            one.put_nowait(b"")
        assert two.put_many([b"b%d" % i for i in range(8)]) == 8
        found = drained(ring)

    # Lanes are served in turn, starting after the last one served.
    expected = [b"%c%d" % (letter, i) for i in range(8) for letter in b"ab"]
    assert found == expected


def test_producer_number_n_plus_one_is_refused_at_once_with_the_holders(ring: Ring) -> None:
    """With timeout=0 nothing is waited for; the text says what to do, the pids who it is."""
    handles = [ring.producer() for _ in range(4)]
    for handle in handles:
        handle.put(b"x")
    with pytest.raises(
        RoleTakenError, match=r"producers=4.*pid.*create the ring with more"
    ) as caught:
        ring.put(b"one too many", timeout=0)

    assert caught.value.role == "producer"
    assert caught.value.pids == (os.getpid(),) * 4
    with pytest.raises(RoleTakenError):
        ring.put_nowait(b"one too many")
    handles[2].close()
    ring.put(b"now there is one")
    assert len(drained(ring)) == 5


def test_a_producer_with_a_timeout_waits_for_a_lane(ring: Ring) -> None:
    """At least as long as it said, and no longer than until a lane is given back."""
    handles = [ring.producer() for _ in range(4)]
    for handle in handles:
        handle.put(b"x")
    began = time.monotonic()
    with pytest.raises(RoleTakenError):
        ring.put(b"", timeout=0.05)
    assert time.monotonic() - began >= 0.05

    with ThreadPoolExecutor(1) as pool:
        started = threading.Event()

        def wait_for_a_lane() -> None:
            started.set()
            ring.put(b"patient", timeout=PATIENCE_S)

        waiting = pool.submit(wait_for_a_lane)
        started.wait()
        handles[0].close()
        waiting.result(PATIENCE_S)
    assert b"patient" in drained(ring)


@pytest.mark.parametrize("verb", ["put", "put_many", "reserve"])
@pytest.mark.parametrize("end", ["closed", "killed"])
def test_without_a_timeout_a_producer_waits_until_a_lane_is_free(verb: str, end: str) -> None:
    """None waits: for a lane as for room, whether its holder gives it back or dies."""
    with Ring(capacity=PAGE, producers=1) as ring, Gate() as gate, Gate() as leave:

        def hold() -> None:
            ring.put(b"first")
            gate.open()
            leave.wait()
            ring.close()
            forever()

        calls: dict[str, Callable[[], object]] = {
            "put": lambda: ring.put(b"second"),
            "put_many": lambda: ring.put_many([b"second"]),
            "reserve": lambda: ring.reserve(6).commit(),
        }
        with Child(hold) as child, ThreadPoolExecutor(1) as pool:
            gate.wait()
            started = threading.Event()

            def call() -> None:
                started.set()
                calls[verb]()

            waiting = pool.submit(call)
            started.wait()
            with pytest.raises(RoleTakenError):
                ring.put(b"", timeout=0.02)
            assert not waiting.done()
            if end == "killed":
                child.kill()
            else:
                leave.open()
            waiting.result(PATIENCE_S)

        assert len(ring) == 2


def test_a_wait_for_a_lane_ends_with_the_shutdown_and_with_a_close() -> None:
    """What makes a lane useless ends the wait for one."""
    for end, error in (("shutdown", ShutDown), ("close", ClosedError)):
        with Ring(capacity=PAGE, producers=1) as ring, ThreadPoolExecutor(1) as pool:
            holder = ring.producer()
            holder.put(b"")
            waiting = pool.submit(ring.put, b"")
            with pytest.raises(RoleTakenError):
                ring.put(b"", timeout=0.02)
            getattr(ring, end)()
            with pytest.raises(error):
                waiting.result(PATIENCE_S)


def test_the_error_names_the_processes_that_hold_the_lanes() -> None:
    """Who is asked to close one can be found."""
    with Ring(capacity=PAGE, producers=2) as ring, Gate() as gate:

        def hold() -> None:
            ring.put(b"x")
            gate.open()
            forever()

        with Child(hold) as one, Child(hold) as two:
            gate.wait()
            gate.wait()
            with pytest.raises(RoleTakenError) as caught:
                ring.put(b"", timeout=0)
            assert sorted(caught.value.pids) == sorted([one.pid, two.pid])
            assert all(str(pid) in str(caught.value) for pid in (one.pid, two.pid))
            assert pickle.loads(pickle.dumps(caught.value)).pids == caught.value.pids
        ring.put(b"adopts")
        assert len(drained(ring)) == 3


@of_one_consumer
def test_a_second_process_is_refused_as_consumer_with_the_pid_of_the_first(ring: Ring) -> None:
    """With consumers="one" the role is a process's; nothing is waited for."""
    ring.put_many([b"1", b"2"])
    assert ring.get() == b"1"

    def try_it() -> None:
        for verb in (ring.get, ring.get_nowait, ring.borrow, lambda: ring.get_many(2)):
            with pytest.raises(RoleTakenError, match="close it there first") as caught:
                verb()
            assert caught.value.pids == (os.getppid(),)
            assert caught.value.role == "consumer"
        with pytest.raises(RoleTakenError), ring.consumer() as other:
            other.get(timeout=0.01)

    with Child(try_it) as child:
        assert child.wait() == 0
    assert drained(ring) == [b"2"]


@of_one_consumer
def test_handles_of_the_consumer_share_the_role_until_the_last_is_closed(ring: Ring) -> None:
    """In one process there is one consumer, however many handles lead to it."""
    ring.put_many([b"1", b"2", b"3", b"4"])
    with ring.consumer() as one, ring.consumer() as two:
        assert (one.get(), two.get()) == (b"1", b"2")
        one.close()
        with pytest.raises(ClosedError):
            one.get()

        def refused() -> None:
            with pytest.raises(RoleTakenError):
                ring.get()

        with Child(refused) as child:
            assert child.wait() == 0
        assert two.get() == b"3"

    def taken() -> None:
        assert ring.get() == b"4"

    with Child(taken) as child:
        assert child.wait() == 0


@pytest.mark.parametrize("leave", ["close", "with", "dropped", "ring"])
def test_roles_are_given_back_however_a_handle_ends(name: str, leave: str) -> None:
    """
    `close`, the end of a `with`, the last reference, closing the ring: the role is free at once.
    """
    with Ring.create(name, capacity=PAGE, producers=1) as ring:
        user = Ring.open(name)
        sender, receiver = user.producer(), user.consumer()
        sender.put(b"1")
        assert receiver.get() == b"1"
        if leave == "close":
            sender.close()
            receiver.close()
        elif leave == "with":
            with sender, receiver:
                pass
        elif leave == "dropped":
            del sender, receiver
        else:
            user.close()
        assert (ring.stats()["lanes"][0]["producer"], ring.stats()["consumer"]) == (
            "departed",
            None,
        )
        ring.put(b"2")
        assert ring.get() == b"2"
        user.close()
        ring.unlink()


def test_a_closed_handle_refuses_everything_and_closing_twice_is_fine() -> None:
    """ClosedError says that you closed it; queries, too."""
    ring = Ring(capacity=PAGE)
    sender, receiver = ring.producer(), ring.consumer()
    sender.put(b"x")
    sender.close()
    receiver.close()
    for use in (
        lambda: sender.put(b""),
        lambda: sender.put_nowait(b""),
        lambda: sender.put_many([b""]),
        lambda: sender.put_many([]),
        lambda: sender.reserve(1),
        receiver.get,
        receiver.get_nowait,
        lambda: receiver.get_many(1),
        lambda: receiver.get_into(bytearray(1)),
        receiver.borrow,
        lambda: next(receiver),
    ):
        with pytest.raises(ClosedError):
            use()
    assert ring.get() == b"x"
    ring.close()
    ring.close()
    for use_ring in (
        lambda: ring.put(b""),
        ring.get,
        ring.shutdown,
        lambda: len(ring),
        ring.stats,
        ring.producer,
        ring.consumer,
        lambda: ring.capacity,
        ring.__enter__,
    ):
        with pytest.raises(ClosedError):
            use_ring()
    assert (ring.closed, sender.closed, receiver.closed) == (True, True, True)
    assert bool(ring)
    assert bool(sender)
    sender.close()


def test_handles_have_only_the_verbs_of_their_role(ring: Ring) -> None:
    """A producer cannot get, a consumer cannot put."""
    sender, receiver = ring.producer(), ring.consumer()

    assert [verb for verb in ("get", "borrow", "get_many") if hasattr(sender, verb)] == []
    assert [verb for verb in ("put", "reserve", "put_many") if hasattr(receiver, verb)] == []


# ---- several producers ---------------------------------------------------------------------------


def test_records_of_several_processes_and_threads_come_once_and_in_order_each() -> None:
    """Each producer's numbers come out complete and in its order, also through a small ring."""
    total = 600
    with Ring(capacity=PAGE, producers=4, records=16) as ring:

        def produce(who: int, sender: Any) -> None:
            numbers = iter(range(total))
            for number in numbers:
                if number % 7 == 0:
                    batch = [number, *itertools.islice(numbers, 4)]
                    sender.put_many([b"%d:%d" % (who, n) for n in batch], timeout=PATIENCE_S)
                else:
                    sender.put(b"%d:%d" % (who, number), timeout=PATIENCE_S)

        with Child(produce, 0, ring) as one, Child(produce, 1, ring) as two:
            with ThreadPoolExecutor(2) as pool:
                threads = [pool.submit(produce, who, ring.producer()) for who in (2, 3)]
                found: list[list[int]] = [[], [], [], []]
                for _ in range(4 * total):
                    who, number = ring.get(timeout=PATIENCE_S).split(b":")
                    found[int(who)].append(int(number))
                for thread in threads:
                    thread.result()
            assert (one.wait(), two.wait()) == (0, 0)
        assert found == [list(range(total))] * 4
        assert drained(ring) == []


# ---- death ---------------------------------------------------------------------------------------


@of_one_consumer
def test_what_a_killed_consumer_had_in_hand_goes_to_its_successor_at_once(ring: Ring) -> None:
    """Borrowed and not released: it comes again, in order, with what was behind it."""
    ring.put_many([b"got", b"in hand", b"too", b"waiting"])

    def consume() -> Any:
        assert ring.get() == b"got"
        return ring.borrow(), ring.borrow()

    killed_after(consume)

    assert drained(ring) == [b"in hand", b"too", b"waiting"]


@of_one_consumer
def test_a_successor_passes_what_a_killed_consumer_released_out_of_order(ring: Ring) -> None:
    """Released means done with, though `head` could not pass it yet. (trap 44)"""
    ring.put_many([b"0", b"1", b"2", b"3", b"4"])

    def consume() -> Any:
        kept = [ring.borrow() for _ in range(4)]
        kept[1].release()
        kept[3].release()
        return kept

    killed_after(consume)

    assert drained(ring) == [b"0", b"2", b"4"]
    assert ring.put_many([b"x"] * 8, timeout=0) == 8  # nothing of the lane is lost
    assert len(drained(ring)) == 8


@of_one_consumer
def test_a_successor_finishes_a_release_that_was_cut_between_its_two_steps(ring: Ring) -> None:
    """
    Marked free, `head` not moved: passed, not handed out again, and its room comes back. (trap 44)
    """
    ring.put_many([b"%d" % i for i in range(8)])
    with RingBytes(ring) as shared:
        shared.set_state(0, 0, FREE)
        shared.set_state(0, 1, FREE)

        assert ring.get_nowait() == b"2"
        assert shared.word(shared.head_at(0)) == 3
        assert ring.put_many([b"new"] * 8, timeout=0) == 3
    assert drained(ring) == [b"3", b"4", b"5", b"6", b"7", b"new", b"new", b"new"]


@of_one_consumer
def test_a_get_between_the_two_steps_of_a_release_does_not_lose_the_records_in_front(
    ring: Ring,
) -> None:
    """
    While a loan is out, a copy goes by the marks; when it returns, `head` passes them all. (trap
    44)
    """
    ring.put_many([b"%d" % i for i in range(8)])
    with RingBytes(ring) as shared:
        first, second = ring.borrow(), ring.borrow()
        assert ring.get() == b"2"
        second.release()
        assert ring.get() == b"3"
        assert shared.word(shared.head_at(0)) == 0
        with pytest.raises(Full):
            ring.put_nowait(b"")
        first.release()
        assert shared.word(shared.head_at(0)) == 4
        assert ring.put_many([b"new"] * 8, timeout=0) == 4
    assert len(drained(ring)) == 8


def test_a_successor_adopts_the_lane_of_a_killed_producer_backlog_and_all() -> None:
    """With one lane only: the heir's records come behind the dead one's, nothing is waited for."""
    with Ring(capacity=PAGE, producers=1) as ring:

        def produce() -> Any:
            ring.put_many([b"1", b"2"])
            room = ring.reserve(100)  # a claim that never is
            room.write(b"never")
            return room

        killed_after(produce)
        ring.put(b"3")

        assert drained(ring) == [b"1", b"2", b"3"]
        assert ring.stats()["lanes"][0]["pid"] == os.getpid()


@pytest.mark.parametrize("ahead", [True, False], ids=["consumed", "not consumed"])
def test_an_adopter_finds_a_record_whose_producer_died_before_the_hint(ahead: bool) -> None:
    """
    Killed after the commit and before `tail`: the record counts, also if head is past tail. (trap
    38)
    """
    with Ring(capacity=PAGE, producers=1, records=4) as ring, RingBytes(ring) as shared:
        killed_after(lambda: ring.put_many([b"1", b"2", b"3"]))
        shared.set_word(shared.tail_at(0), 1)
        found = drained(ring) if ahead else []
        ring.put(b"4")
        found += drained(ring)

        assert found == [b"1", b"2", b"3", b"4"]
        assert shared.word(shared.tail_at(0)) == 4


def test_two_adopters_share_the_lanes_of_the_dead_and_every_backlog_comes_out() -> None:
    """Each lane goes to one of them; orders are kept across the adoption. (trap 38)"""
    with Ring(capacity=PAGE, producers=2) as ring:

        def dead(who: int) -> None:
            killed_after(lambda: ring.put_many([b"dead%d" % who] * 3))

        # Two at a time hold two lanes; both are dead before the heirs come.
        with Gate() as gate:

            def hold(who: int) -> None:
                ring.put_many([b"dead%d" % who] * 3)
                gate.open()
                forever()

            with Child(hold, 0) as one, Child(hold, 1) as two:
                gate.wait()
                gate.wait()
                one.kill()
                two.kill()

        def inherit(who: int) -> None:
            for number in range(50):
                ring.put(b"heir%d:%d" % (who, number), timeout=PATIENCE_S)

        with Child(inherit, 0) as one, Child(inherit, 1) as two:
            found = [ring.get(timeout=PATIENCE_S) for _ in range(106)]
            assert (one.wait(), two.wait()) == (0, 0)
        for who in (0, 1):
            assert found.count(b"dead%d" % who) == 3
            assert [r for r in found if r.startswith(b"heir%d" % who)] == [
                b"heir%d:%d" % (who, number) for number in range(50)
            ]
        assert drained(ring) == []


def test_an_adopter_that_is_killed_in_adoption_is_adopted_in_turn() -> None:
    """Owner taken and nothing else done yet: the next one does it all again. (trap 38)"""
    with Ring(capacity=PAGE, producers=1) as ring, RingBytes(ring) as shared:
        killed_after(lambda: ring.put_many([b"1", b"2"]))
        shared.set_half(shared.owner_at(0), DEAD_TAG)
        ring.put(b"3")

        assert drained(ring) == [b"1", b"2", b"3"]


def test_a_lane_that_was_leased_by_a_process_that_died_at_once_is_found_again() -> None:
    """Owner taken, `leased` not raised yet: the next lessee raises it."""
    with Ring(capacity=PAGE, producers=2) as ring, RingBytes(ring) as shared:
        ring.put(b"0")
        killed_after(lambda: ring.put(b"1"))
        assert shared.half(shared.LEASED) == 2
        assert ring.get() == b"0"
        assert ring.get() == b"1"
        shared.set_half(shared.LEASED, 1)
        with ring.producer() as sender:
            sender.put(b"2")

            assert ring.get(timeout=PATIENCE_S) == b"2"


def test_a_departed_lane_is_taken_before_a_fresh_one(ring: Ring) -> None:
    """
    A producer that comes and goes does not use up memory: the lane goes on behind its backlog.
    """
    for turn in range(5):
        with ring.producer() as sender:
            sender.put(b"%d" % turn)

    assert len(ring.stats()["lanes"]) == 1
    assert drained(ring) == [b"0", b"1", b"2", b"3", b"4"]
    with RingBytes(ring) as shared:
        assert [shared.half(shared.owner_at(lane)) for lane in range(4)] == [DEPARTED] + [NEVER] * 3


# ---- require_peer --------------------------------------------------------------------------------


def test_require_peer_waits_for_the_first_producer(ring: Ring) -> None:
    """Nobody has come yet is not: everybody is gone."""
    with pytest.raises(Empty):
        ring.get(timeout=0.01, require_peer=True)
    with ring.producer() as sender:
        with pytest.raises(Empty):
            ring.get(timeout=0, require_peer=True)
        sender.put(b"x")
        assert ring.get(require_peer=True) == b"x"
        with pytest.raises(Empty):
            ring.get(timeout=0.01, require_peer=True)


@pytest.mark.parametrize("end", ["close", "kill"])
def test_require_peer_ends_when_all_producers_are_gone_and_the_ring_is_drained(end: str) -> None:
    """However they went, and however many they were; what they left comes first."""
    count = 12
    with Ring(capacity=PAGE, producers=count) as ring:
        with Gate() as gate:

            def produce() -> None:
                with ring.producer() as sender:
                    sender.put(b"left")
                    if end == "close":
                        sender.close()
                    gate.open()
                    forever()

            children = [Child(produce) for _ in range(count)]
            try:
                for _ in children:
                    gate.wait()
            finally:
                for child in children:
                    child.kill()

        assert [ring.get(require_peer=True) for _ in range(count)] == [b"left"] * count
        for verb in (
            lambda: ring.get(require_peer=True),
            lambda: ring.get_many(2, require_peer=True),
            lambda: ring.get_into(bytearray(8), require_peer=True),
            lambda: ring.borrow(require_peer=True),
        ):
            with pytest.raises(PeerGoneError) as caught:
                verb()
            assert isinstance(caught.value, ConnectionError)
        with pytest.raises(Empty):
            ring.get_nowait()
        ring.put(b"somebody came back")
        assert ring.get(require_peer=True) == b"somebody came back"


def test_require_peer_notices_a_producer_that_is_killed_while_one_waits(ring: Ring) -> None:
    """Its death ends the wait, without a timeout."""
    with Gate() as gate, ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:

        def produce() -> None:
            ring.put(b"last words")
            gate.open()
            forever()

        with Child(produce) as child:
            gate.wait()
            assert ring.get(require_peer=True) == b"last words"
            waiting = pool.submit(ring.get, require_peer=True)
            wait_until(lambda: shared.half(shared.WAITERS), "a waiting consumer")
            child.kill()
            with pytest.raises(PeerGoneError):
                waiting.result(PATIENCE_S)


# ---- shutdown ------------------------------------------------------------------------------------


def test_a_shut_down_ring_is_drained_then_at_its_end(ring: Ring) -> None:
    """Puts raise at once; gets go on until nothing is left; iteration ends."""
    with ring.producer() as sender, ring.consumer() as receiver:
        ring.put_many([b"1", b"2"])
        sender.put(b"3")
        ring.shutdown()
        for put in (lambda: ring.put(b""), lambda: sender.put_nowait(b""), lambda: ring.reserve(1)):
            with pytest.raises(ShutDown):
                put()

        assert sorted(receiver) == [b"1", b"2", b"3"]
        for get in (ring.get, receiver.get_nowait, lambda: ring.get_many(3), ring.borrow):
            with pytest.raises(ShutDown):
                get()
        assert list(ring) == []
        ring.shutdown()
        assert ring.stats()["shutdown"] == "drain"


def test_an_immediate_shutdown_drops_what_is_left(ring: Ring) -> None:
    """Nothing more is handed out, also after a draining one."""
    ring.put_many([b"1", b"2", b"3"])
    ring.shutdown()
    assert ring.get() == b"1"
    ring.shutdown(immediate=True)

    with pytest.raises(ShutDown):
        ring.get()
    assert (len(ring), ring.stats()["shutdown"]) == (0, "immediate")


def test_a_put_that_waits_in_a_full_ring_without_a_consumer_ends_with_the_shutdown(
    ring: Ring,
) -> None:
    """Nobody needs to make room first. (trap 48)"""
    ring.put_many([b"x"] * 8)
    with ThreadPoolExecutor(2) as pool, RingBytes(ring) as shared:
        waiting: list[Future[Any]] = [
            pool.submit(ring.put, b"y"),
            pool.submit(ring.put_many, [b"y"]),
        ]
        wait_until(lambda: shared.half(shared.waiters_at(0)), "the first of two waiting puts")
        ring.shutdown()
        for put in waiting:
            with pytest.raises(ShutDown):
                put.result(PATIENCE_S)
    assert list(ring) == [b"x"] * 8


def test_a_put_in_another_process_ends_with_the_shutdown(ring: Ring) -> None:
    """The flag and the doorbells are shared. (trap 48)"""

    def produce() -> None:
        with pytest.raises(ShutDown):
            while True:
                ring.put(b"x", timeout=PATIENCE_S)

    with Child(produce) as child, RingBytes(ring) as shared:
        wait_until(lambda: shared.half(shared.waiters_at(0)), "a waiting producer")
        ring.shutdown()

        assert child.wait() == 0
    assert list(ring) == [b"x"] * 8


def test_consumers_come_to_an_end_though_a_producer_never_pauses() -> None:
    """A shutdown is not outrun: every record that was put is got, then it is over. (trap 48)"""
    with Ring(capacity="64 KiB", producers=2) as ring, Counter.create(None) as put:

        def produce() -> None:
            try:
                while True:
                    ring.put(b"x" * 100)
                    put.add()
            except ShutDown:
                pass

        with Child(produce) as one, Child(produce) as two:
            got = sum(1 for _ in range(2000) if ring.get(timeout=PATIENCE_S))
            ring.shutdown()
            got += sum(1 for _ in ring)
            assert (one.wait(), two.wait()) == (0, 0)
        assert put.value == got


def test_a_commit_that_comes_after_the_end_is_told_so_and_reaches_nobody(ring: Ring) -> None:
    """
    A put that has passed the flag and was paused: ShutDown, and the record is not handed out. (trap
    49)
    """
    room = ring.reserve(8)
    room.write(b"too late")
    ring.shutdown()
    with pytest.raises(ShutDown):
        ring.get()

    with pytest.raises(ShutDown):
        room.commit()
    assert drained_to_the_end(ring) == []
    assert len(ring) == 0


def test_a_commit_before_the_lane_is_closed_counts(ring: Ring) -> None:
    """The other order: whoever was told that it is in, is right. (trap 49)"""
    with ring.reserve(7) as room:
        room.write(b"in time")
        ring.shutdown()

    assert drained_to_the_end(ring) == [b"in time"]


def drained_to_the_end(ring: Ring) -> list[bytes]:
    return list(ring)


def test_a_batch_that_meets_a_closed_lane_is_not_in_and_leaves_nothing_behind(ring: Ring) -> None:
    """
    The lane was closed between the look at the flag and the commit: void, all of it. (trap 49)
    """
    ring.put(b"1")
    with RingBytes(ring) as shared:
        shared.set_word(shared.state_at(0, 1), shared.state(1, 4))
        with pytest.raises(ShutDown):
            ring.put_many([b"2", b"3", b"4"])

        assert [shared.word(shared.state_at(0, s)) & 7 for s in (2, 3)] == [NONE, NONE]
        ring.shutdown()
    assert drained_to_the_end(ring) == [b"1"]


def test_a_consumer_that_holds_its_own_loans_sees_the_end(ring: Ring) -> None:
    """It does not wait for itself, whether it holds one record or all of them. (trap 50)"""
    for held in (1, 8):
        with Ring(capacity=PAGE, records=8) as shut:
            shut.put_many([b"x"] * held)
            loans = [shut.borrow() for _ in range(held)]
            shut.shutdown()
            with pytest.raises(ShutDown):
                shut.get(timeout=PATIENCE_S)
            assert [bytes(loan) for loan in loans] == [b"x"] * held
            for loan in loans:
                loan.release()
            with pytest.raises(ShutDown):
                shut.get()


def test_what_a_consumer_had_in_hand_when_it_died_comes_before_the_end(ring: Ring) -> None:
    """Also though it had closed the lanes already. (trap 51)"""
    ring.put_many([b"1", b"2"])
    ring.shutdown()

    def consume() -> Any:
        assert ring.get() == b"1"
        kept = ring.borrow()
        with pytest.raises(ShutDown):
            ring.get()
        return kept

    killed_after(consume)

    assert drained_to_the_end(ring) == [b"2"]


def test_the_backlog_of_a_producer_that_left_is_drained_through_a_shutdown(ring: Ring) -> None:
    """Closed, killed or alive: what was put is got."""
    with ring.producer() as sender:
        sender.put(b"closed")
    killed_after(lambda: ring.producer().put(b"killed"))
    ring.shutdown()

    assert sorted(drained_to_the_end(ring)) == [b"closed", b"killed"]


def test_a_shutdown_of_a_ring_that_nobody_ever_used_ends_it(ring: Ring) -> None:
    """No producer, no consumer, no lane: still over, for both."""
    ring.shutdown()

    with pytest.raises(ShutDown):
        ring.get()
    with pytest.raises(ShutDown):
        ring.put(b"")
    with pytest.raises(ShutDown):
        ring.producer().put(b"", timeout=0.01)


# ---- facts ---------------------------------------------------------------------------------------


@of_one_consumer
def test_len_and_stats_tell_what_waits_and_who_is_there(ring: Ring) -> None:
    """Counts are exact while nothing moves; stats are plain dicts and lists."""
    assert (len(ring), ring.stats()["lanes"], ring.stats()["consumer"]) == (0, [], None)
    with ring.producer() as sender:
        sender.put_many([b"1", b"2", b"3"])
        ring.put(b"4")
        assert ring.get() == b"1"
        stats = ring.stats()

        assert len(ring) == 3
        assert stats["records"] == 3
        assert (stats["capacity"], stats["max_records"], stats["producers"]) == (PAGE, 8, 4)
        assert (stats["consumer"], stats["consumer_pid"]) == ("alive", os.getpid())
        alive = {"producer": "alive", "pid": os.getpid(), "loans": 0}
        alive |= {"times_full": 0, "waiting_producers": 0}
        assert all(lane.pop("oldest_age") >= 0 for lane in stats["lanes"])
        assert stats["lanes"] == [
            {**alive, "lane": 0, "put": 3, "got": 1, "records": 2},
            {**alive, "lane": 1, "put": 1, "got": 0, "records": 1},
        ]
    assert ring.stats()["lanes"][0]["producer"] == "departed"
    assert bool(ring)


@of_one_consumer
def test_stats_show_the_dead(ring: Ring) -> None:
    """A lane whose producer was killed, and a consumer that was."""

    def use() -> None:
        ring.put_many([b"1", b"2"])
        ring.get()

    killed_after(use)

    assert ring.stats()["lanes"][0]["producer"] == "dead"
    assert ring.stats()["consumer"] == "dead"


def test_geometry_is_what_was_asked_for_rounded_up_to_pages() -> None:
    """`capacity` is per producer; `records` is exact, capacity / 64 unless asked."""
    with Ring(capacity=1) as small, Ring(capacity="8 KiB", producers=2, records=5) as asked:
        assert (small.capacity, small.max_record, small.max_records, small.producers) == (
            PAGE,
            PAGE,
            64,
            16,
        )
        assert (asked.capacity, asked.max_records, asked.producers) == (8192, 5, 2)
        assert asked.put_many([b""] * 9, timeout=0) == 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": -1}, ValueError),
        ({"capacity": "8 MB"}, ValueError),
        ({"capacity": 1.5}, TypeError),
        ({"capacity": True}, TypeError),
        ({"capacity": 2**35 + 1}, ValueError),
        ({"producers": 0}, ValueError),
        ({"producers": 1001}, ValueError),
        ({"producers": "4"}, TypeError),
        ({"records": 0}, ValueError),
        ({"records": 2**24 + 1}, ValueError),
        ({"records": True}, TypeError),
        ({"consumers": "two"}, ValueError),
        ({"consumers": 1}, ValueError),
        ({"wait": "busy"}, ValueError),
    ],
    ids=str,
)
def test_a_geometry_out_of_range_is_refused(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """At once, by name; nothing is clamped and nothing is made."""
    with pytest.raises(error, match=next(iter(arguments))):
        Ring(**arguments)


def test_open_or_create_checks_the_geometry_of_what_is_there(name: str) -> None:
    """Another capacity, number of producers or records is a LayoutError with both."""
    with Ring.open_or_create(name, capacity=PAGE, producers=2, records=8) as ring:
        with Ring.open_or_create(name, capacity=PAGE, producers=2, records=8) as same:
            same.put(b"x")
            assert ring.get() == b"x"
        for other in ({"capacity": 2 * PAGE}, {"producers": 3}, {"records": 9}):
            asked: dict[str, Any] = {"capacity": PAGE, "producers": 2, "records": 8, **other}
            with pytest.raises(LayoutError, match=next(iter(other))) as caught:
                Ring.open_or_create(name, **asked)
            assert caught.value.expected == next(iter(other.values()))
        ring.unlink()


def test_several_handles_of_one_ring_in_a_process_share_its_roles(name: str) -> None:
    """The default producer is the process's, whichever handle it was reached by."""
    with Ring.create(name, capacity=PAGE, producers=1) as one, Ring.open(name) as two:
        one.put(b"1")
        two.put(b"2")
        one.close()
        two.put(b"3")

        assert drained(two) == [b"1", b"2", b"3"]
        two.unlink()


@pytest.mark.parametrize("what", ["ring", "producer", "consumer"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_handle_arrives_without_its_role(ring: Ring, what: str, protocol: int) -> None:
    """It takes one at first use: here a lane of its own, and the consumer's role of the process."""
    ring.put(b"1")
    sent: Any = {"ring": ring, "producer": ring.producer(), "consumer": ring.consumer()}[what]
    if what == "producer":
        sent.put(b"1")
    arrived = pickle.loads(pickle.dumps(sent, protocol))
    if what != "consumer":
        arrived.put(b"2")
    if what != "producer":
        assert arrived.get() == b"1"
    if what == "producer":
        assert len(ring.stats()["lanes"]) == 3
    getattr(arrived, "ring", arrived).close()
    arrived.close()


# ---- what is not trusted -------------------------------------------------------------------------


def test_an_extent_out_of_bounds_is_called_corrupt(ring: Ring) -> None:
    """Neither read nor followed; each verb says so. (trap 47)"""
    ring.put(b"abc")
    with RingBytes(ring) as shared:
        for extent in (
            shared.extent(0, PAGE + 1),
            shared.extent(PAGE, 1),
            shared.extent(PAGE - 8, 9),
            shared.extent(8 * (2**32 - 1), 8),
            2**64 - 1,
        ):
            shared.set_word(shared.extent_at(0, 0), extent)
            for verb in (
                ring.get_nowait,
                ring.get,
                lambda: ring.get_many(3),
                lambda: ring.get_into(bytearray(PAGE)),
                ring.borrow,
            ):
                with pytest.raises(CorruptedError, match="unlink the region") as caught:
                    verb()
                assert isinstance(caught.value, ValueError)
        shared.set_word(shared.extent_at(0, 0), shared.extent(0, 3))
    assert ring.get() == b"abc"


def test_get_many_hands_out_what_it_took_before_it_met_what_is_corrupt(ring: Ring) -> None:
    """Records taken from one lane are not lost to an error in the next."""
    with ring.producer() as first, ring.producer() as second:
        first.put(b"good")
        second.put(b"spoilt")
        with RingBytes(ring) as shared:
            shared.set_word(shared.extent_at(1, 0), shared.extent(0, PAGE + 1))
        assert ring.get_many(10) == [b"good"]
        with pytest.raises(CorruptedError):
            ring.get_many(10)


def test_a_hint_beyond_the_states_is_called_corrupt_after_a_second_look(ring: Ring) -> None:
    """`tail` says that there are records, the states say that there are none. (trap 47)"""
    ring.put(b"abc")
    with RingBytes(ring) as shared:
        for state in (0, 2**64 - 1, shared.state(8, READY), shared.state(0, 7)):
            shared.set_word(shared.state_at(0, 0), state)
            with pytest.raises(CorruptedError):
                ring.get(timeout=0)
            with pytest.raises(CorruptedError):
                ring.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("head", [1, 9, 2**63, 2**64 - 9])
def test_a_head_that_cannot_be_is_called_corrupt_by_the_producer(ring: Ring, head: int) -> None:
    """More records than there are descriptors, or fewer than none. (trap 47)"""
    ring.put_many([b"x"] * 8)
    with RingBytes(ring) as shared:
        shared.set_word(shared.head_at(0), 8 + head)
        for put in (lambda: ring.put(b""), lambda: ring.put_many([b""]), lambda: ring.reserve(1)):
            with pytest.raises(CorruptedError):
                put()


def test_an_adopter_of_a_corrupt_lane_says_so_and_does_not_keep_it() -> None:
    """Counters that contradict each other; the next one may try again. (trap 47)"""
    with Ring(capacity=PAGE, producers=1, records=4) as ring, RingBytes(ring) as shared:
        killed_after(lambda: ring.put(b"x"))
        for tail in (5, 2**62):
            shared.set_word(shared.tail_at(0), tail)
            with pytest.raises(CorruptedError):
                ring.put(b"y")
            assert shared.half(shared.owner_at(0)) == DEPARTED
        shared.set_word(shared.tail_at(0), 1)
        shared.set_word(shared.extent_at(0, 0), 2**64 - 1)
        with pytest.raises(CorruptedError):
            ring.put(b"y")


@pytest.mark.parametrize("whole", [False, True])
def test_a_hole_that_somebody_punched_is_corrupt_or_empty_but_no_crash(
    ring: Ring, whole: bool
) -> None:
    """
    Seals do not keep anybody from punching holes. Without descriptors and bytes a lane contradicts
    its hints; without its words, too, it is as good as new. (trap 66)
    """
    ring.put_many([b"x"] * 3)
    with RingBytes(ring) as shared:
        at = shared.object + (0 if whole else shared.state_at(0, 0))
        shared.punch(at)
        with pytest.raises(Empty if whole else CorruptedError):
            ring.get(timeout=0.01)
        with contextlib.suppress(memlane.MemlaneError):
            ring.put(b"y", timeout=0.01)
        with contextlib.suppress(memlane.MemlaneError):
            ring.get_many(9, timeout=0.01)
        ring.shutdown(immediate=True)
        with pytest.raises(ShutDown):
            ring.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("kind", range(8))
def test_no_state_makes_a_loop_endless(ring: Ring, kind: int) -> None:
    """
    All descriptors say the same: every call comes back, also at the end of the ring. (trap 47)
    """
    ring.put_many([b"x"] * 3)
    with RingBytes(ring) as shared:
        for s in range(8):
            shared.set_state(0, s, kind)
            shared.set_word(shared.extent_at(0, s), shared.extent(0, 8))
        for verb in (
            lambda: ring.get_many(100, timeout=0),
            lambda: ring.put_many([b"y"] * 100, timeout=0),
            lambda: ring.put(b"y", timeout=0.01),
            lambda: ring.get(timeout=0.01),
            ring.producer().close,
            ring.shutdown,
            lambda: ring.get(timeout=0),
            lambda: ring.get(timeout=0.01),
        ):
            try:
                verb()
            except memlane.MemlaneError:
                pass


@pytest.mark.parametrize(("nbytes", "at_least", "at_most"), [(16384, 1, 4), (1 << 20, 1, 1)])
def test_a_batch_of_large_records_ends_early_and_loses_nothing(
    nbytes: int, at_least: int, at_most: int
) -> None:
    """It holds as much memory at a time as costs nothing; small records come in full batches."""
    with Ring(capacity="64 MiB", producers=1) as ring:
        put = [bytes([number]) * nbytes for number in range(20)]
        assert 20 == ring.put_many(put)
        got: list[bytes] = []
        while len(got) < 20:
            batch = ring.get_many(256)
            assert at_least <= len(batch) <= at_most
            got += batch
        assert put == got
        ring.put_many([b"12345678"] * 2000)
        assert 2000 == len(ring.get_many(5000))


class Endless(BaseException):
    """Raised in the midst of a call that should be over."""


@contextlib.contextmanager
def watchdog(what: str) -> Iterator[None]:
    """Ctrl-C after PATIENCE_S, so that a loop without end is a failure that says where."""

    def bark(_signal: int, _frame: object) -> None:
        raise Endless(what)

    kept = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)


@pytest.mark.parametrize("consumers", ["one", "many"])
@pytest.mark.parametrize("end", ["no", "drain", "immediate"])
def test_of_what_can_be_in_the_next_descriptor_nothing_makes_a_get_endless(
    consumers: Any, end: str
) -> None:
    """Kind, number and high half in all combinations; each get comes back. (trap 47)"""
    for kind, number, high in itertools.product(
        range(8), (1, 0, 2, 1 + 4, 1 + 2**28, 2**29 - 3), (0, 1, 77, DEAD_TAG, 2**32 - 1)
    ):
        with (
            Ring(consumers=consumers, producers=1, records=4, capacity=PAGE) as ring,
            RingBytes(ring) as shared,
            watchdog(f"{kind=} {number=} {high=}"),
        ):
            ring.put(b"x")
            assert b"x" == ring.get()
            shared.set_word(shared.state_at(0, 1), high << 32 | number << 3 | kind)
            if end != "no":
                ring.shutdown(immediate=end == "immediate")
            for timeout in (0, 0.001, *([] if end == "no" else [None])):
                if timeout is None and may_be_in_a_live_hand(kind, number, high):
                    continue
                with contextlib.suppress(Empty, ShutDown, memlane.CorruptedError):
                    ring.get(timeout=timeout)


def may_be_in_a_live_hand(kind: int, number: int, high: int) -> bool:
    """Then the end waits for it, as it should."""
    return kind == TAKEN and number == 1 and high not in (0, DEAD_TAG)


@pytest.mark.parametrize("leased", [0, 1, 5, 2**32 - 1])
@pytest.mark.parametrize("immediate", [False, True])
def test_a_wrong_number_of_lanes_does_not_hang_the_end_of_the_ring(
    ring: Ring, leased: int, immediate: bool
) -> None:
    """
    Too large is cut to the geometry; too small hides records from gets, not from the end. (trap 47)
    """
    with ring.producer() as one, ring.producer() as two, RingBytes(ring) as shared:
        one.put(b"1")
        two.put(b"2")
        shared.set_half(shared.LEASED, leased)
        ring.shutdown(immediate=immediate)

        assert sorted(ring) == ([] if immediate else [b"1", b"2"])


def test_wrong_shutdown_and_waiters_words_do_no_harm(ring: Ring) -> None:
    """Any value of the flag but 1 drops; announcements of nobody cost some posts. (trap 47)"""
    with RingBytes(ring) as shared:
        shared.set_half(shared.WAITERS, 2**32 - 1)
        ring.put_many([b"x"] * 8)
        shared.set_half(shared.waiters_at(0), 2**32 - 1)
        assert drained(ring) == [b"x"] * 8
        ring.put(b"dropped")
        shared.set_half(shared.SHUTDOWN, 77)
        with pytest.raises(ShutDown):
            ring.get()
        with pytest.raises(ShutDown):
            ring.put(b"")
