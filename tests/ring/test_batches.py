# SPDX-License-Identifier: MIT
"""`put_many`, `get_many`, `get_into`."""

from __future__ import annotations

import array
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from memlane import Empty, Full, RecordTooLargeError, Ring, ShutDown
from tests.support.children import PAGE, killed_after
from tests.support.processes import PATIENCE_S, drained, wait_until
from tests.support.shared_bytes import NONE, RingBytes


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
    """
    All are looked at before the first goes in: no phantom follows the next record. (hazard 36)
    """

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
    """Killed before the first of a batch was committed: the whole batch never was. (hazard 37)"""
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
