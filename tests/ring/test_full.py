# SPDX-License-Identifier: MIT
"""What Full says: what the lane is full of, and whose it is."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from memlane import Empty, Full, LayoutError, RecordTooLargeError, Region, Ring
from tests.support.processes import Child, wait_until
from tests.support.shared_bytes import RingBytes

PAGE = 4096


def full(put: Callable[[], object]) -> Full:
    with pytest.raises(Full) as caught:
        put()
    travelled = pickle.loads(pickle.dumps(caught.value))
    assert str(travelled) == str(caught.value)
    assert travelled.cause == caught.value.cause
    return caught.value


def fill(ring: Any, record: bytes) -> Full:
    while True:
        try:
            ring.put_nowait(record)
        except Full as error:
            return error


def test_records_or_bytes_are_used_up_and_both_are_told_always() -> None:
    """Which of the two it is, and of how many."""
    with Ring(capacity="64 KiB", records=4) as ring:
        error = fill(ring, b"x" * 100)
        assert ("records", 4, 4, 416, 65536) == (
            error.cause,
            error.records,
            error.max_records,
            error.nbytes,
            error.capacity,
        )
        assert "(4 of 4 records, 416 of 65,536 bytes); no consumer has come yet" in str(error)
    with Ring(capacity=PAGE, records=64) as ring:
        error = fill(ring, b"x" * 1000)
        assert ("bytes", 4, 64, 4000, PAGE) == (
            error.cause,
            error.records,
            error.max_records,
            error.nbytes,
            error.capacity,
        )
        assert "(4 of 64 records, 4,000 of 4,096 bytes)" in str(error)


def test_bytes_in_use_are_counted_around_the_end_of_the_lane() -> None:
    """The gap that a record did not fit into is used up, too."""
    with Ring(capacity=PAGE, records=64) as ring:
        fill(ring, b"x" * 1000)
        ring.get()
        ring.put_nowait(b"y" * 1000)
        error = full(lambda: ring.put_nowait(b"z" * 1000))
        assert (4, PAGE) == (error.records, error.nbytes)
        assert "; get some records, or wait with a longer timeout" in str(error)


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_loan_that_this_very_process_keeps_is_told(consumers: Any) -> None:
    """A view that was forgotten makes an emptied ring full: "get some" would be bad advice."""
    with Ring(capacity=PAGE, records=4, consumers=consumers) as ring:
        ring.put(b"kept")
        loan = ring.borrow()
        fill(ring, b"x")
        while True:
            try:
                ring.get_nowait()
            except Empty:
                break
        error = full(lambda: ring.put_nowait(b"x"))
        assert ("on loan", 1, (os.getpid(),)) == (error.cause, error.on_loan, error.holders)
        assert "1 record is on loan to this process; release it" in str(error)
        loan.release()
        ring.put_nowait(b"x")
        assert 0 == error.views


def test_a_loan_of_another_process_is_told_with_its_pid() -> None:
    """Of competing consumers the shared bytes say who has what in hand."""
    with Ring(capacity=PAGE, records=4, consumers="many") as ring, RingBytes(ring) as shared:

        def hold() -> None:
            loans = [ring.borrow() for _ in range(2)]
            threading.Event().wait()
            del loans

        fill(ring, b"x")
        with Child(hold) as child:
            wait_until(lambda: shared.word(shared.taken_at(0)) == 2, "two loans")
            error = full(lambda: ring.put_nowait(b"x"))
            assert ("on loan", 2, (child.pid,)) == (error.cause, error.on_loan, error.holders)
            assert f"2 records are on loan to pid {child.pid}; release them" in str(error)


def test_views_of_committed_rooms_are_told() -> None:
    """They fill the lane of their own process, whatever the consumer does."""
    with Ring(capacity=PAGE, records=4) as ring:
        with ring.reserve(PAGE) as room:
            view = memoryview(room)
        assert PAGE == len(ring.get())
        error = full(lambda: ring.put_nowait(b"x"))
        assert ("views", 1, PAGE) == (error.cause, error.views, error.nbytes)
        assert "views of a committed reservation are alive; del them" in str(error)
        view.release()
        ring.put_nowait(b"x")


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_that_every_consumer_is_gone_is_told(consumers: Any) -> None:
    """Also to a caller that has not asked for it."""
    with Ring(capacity=PAGE, records=4, consumers=consumers) as ring:
        assert "records" == fill(ring, b"x").cause
        with ring.consumer() as consumer:
            consumer.get()
        error = fill(ring, b"x")
        assert "nobody left" == error.cause
        assert "no consumer of it is left" in str(error)


def test_a_room_that_another_thread_has_open_is_no_full_lane() -> None:
    """There is room behind it: what is waited for is its end."""
    with Ring(capacity=PAGE, records=4) as ring:
        opened = []
        thread = threading.Thread(target=lambda: opened.append(ring.reserve(8)))
        thread.start()
        thread.join()
        error = full(lambda: ring.put_nowait(b"x"))
        assert ("claim", 0) == (error.cause, error.records)
        opened[0].abort()
        ring.put_nowait(b"x")


# ---- what can never fit --------------------------------------------------------------------------


def test_a_record_beyond_the_limit_of_all_rings_is_told_that_limit() -> None:
    """A larger capacity would not help."""
    with Ring(capacity=PAGE) as ring:
        with pytest.raises(RecordTooLargeError, match=r"4294967288 \(4 GiB - 8\)"):
            ring.reserve(2**32)
        with pytest.raises(RecordTooLargeError, match="larger capacity"):
            ring.reserve(PAGE + 1)


def test_a_ring_promises_no_more_records_than_its_capacity_has_room_for() -> None:
    """An empty one takes 8 bytes. A process that asks for as many again finds the same ring."""
    with Ring(capacity=PAGE, records=1_000_000) as ring:
        assert 512 == ring.max_records
        error = fill(ring, b"")
        assert ("records", 512, PAGE) == (error.cause, error.records, error.nbytes)
    with Region.create(None, "1 MiB") as region:
        ring = region.ring("r", capacity=PAGE, records=1000)
        assert 512 == region.ring("r", capacity=PAGE, records=1000).max_records
        assert 512 == region.ring("r", records=1000).max_records
        with pytest.raises(LayoutError, match="records=512"):
            region.ring("r", records=511)


# ---- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_what_is_dropped_at_the_end_does_not_count(consumers: Any) -> None:
    """A process that waits for an empty ring does not wait for ever."""
    with Ring(capacity=PAGE, consumers=consumers) as ring:
        ring.put(b"x")
        assert not ring.is_shut_down
        ring.shutdown()
        assert ring.is_shut_down
        assert 1 == len(ring)
        ring.shutdown(immediate=True)
        assert ring.is_shut_down
        assert 0 == len(ring)
        assert 0 == ring.stats()["records"]


def test_who_polls_is_told_what_is_so_now_each_time() -> None:
    """A text that was kept speaks of what it was made for, and each error is its own."""
    with Ring(capacity=PAGE, records=2, consumers="many") as ring:
        ring.put_many([b"x", b"yy"])
        first, second = full(lambda: ring.put_nowait(b"z")), full(lambda: ring.put_nowait(b"z"))
        assert str(first) == str(second)
        assert "no consumer has come yet" in str(second)
        second.records = 7
        assert 2 == full(lambda: ring.put_nowait(b"z")).records == first.records
        with ring.borrow():
            error = full(lambda: ring.put_nowait(b"z"))
            assert ("on loan", 1, (os.getpid(),)) == (error.cause, error.on_loan, error.holders)
        ring.put_nowait(b"a longer one")
        error = full(lambda: ring.put_nowait(b"z"))
        assert ("records", 0, (), 24) == (error.cause, error.on_loan, error.holders, error.nbytes)
        assert "(2 of 2 records, 24 of 4,096 bytes); get some records" in str(error)
