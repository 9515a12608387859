# SPDX-License-Identifier: MIT
"""`put` and `get`: the same bytes out, in order, of every size."""

from __future__ import annotations

import array
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memlane import Empty, Full, RecordTooLargeError, Ring, ShutDown
from tests.support.children import PAGE
from tests.support.processes import PATIENCE_S, Child, drained, output_of, unrelated
from tests.support.shared_bytes import RingBytes

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
    print(ring.get(timeout=600))
"""

        assert output_of(unrelated(code, name)) == "b'early'\n"
        ring.unlink()


def test_records_stay_in_a_named_ring_that_nobody_has_open(name: str) -> None:
    """
    The ring after everyone left: the next process to open it finds the backlog, and both roles
        free.
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
    `max_record` is a promise once the ring is empty, wherever the last record ended. (hazard 43)
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
    """Empty records occupy room too, so full and empty never look the same. (hazard 43)"""
    with Ring(capacity=PAGE, producers=1, records=1000) as ring:
        for record in (b"", b"1", b"12345678"):
            assert ring.put_many([record] * 1000, timeout=0) == PAGE // 8
            assert len(ring) == PAGE // 8
            with pytest.raises(Full):
                ring.put_nowait(b"")
            assert drained(ring) == [record] * (PAGE // 8)


def test_a_ring_of_one_record_hands_them_over_one_by_one() -> None:
    """N = 1 is a ring like any other. (hazard 43)"""
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
    Record numbers live in 29 bits of a state and in 64 of a counter; both wrap unseen. (hazard 43)
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
    """Its memory is not reserved: reading it would allocate, or be a SIGBUS. (hazard 46)"""
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
