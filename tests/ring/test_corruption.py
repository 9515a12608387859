# SPDX-License-Identifier: MIT
"""Whatever bytes a ring has: a clear error, never a crash, a hang or a wrong record."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import memlane
from memlane import CorruptedError, Empty, Ring, ShutDown
from tests.support.children import PAGE, killed_after
from tests.support.processes import PATIENCE_S, drained
from tests.support.shared_bytes import DEAD_TAG, DEPARTED, READY, TAKEN, RingBytes

pytestmark = pytest.mark.machine


def test_an_extent_out_of_bounds_is_called_corrupt(ring: Ring) -> None:
    """Neither read nor followed; each verb says so. (hazard 47)"""
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
    """`tail` says that there are records, the states say that there are none. (hazard 47)"""
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
    """More records than there are descriptors, or fewer than none. (hazard 47)"""
    ring.put_many([b"x"] * 8)
    with RingBytes(ring) as shared:
        shared.set_word(shared.head_at(0), 8 + head)
        for put in (lambda: ring.put(b""), lambda: ring.put_many([b""]), lambda: ring.reserve(1)):
            with pytest.raises(CorruptedError):
                put()


def test_an_adopter_of_a_corrupt_lane_says_so_and_does_not_keep_it() -> None:
    """Counters that contradict each other; the next one may try again. (hazard 47)"""
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
    its hints; without its words, too, it is as good as new. (hazard 66)
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
    All descriptors say the same: every call comes back, also at the end of the ring. (hazard 47)
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
    """Kind, number and high half in all combinations; each get comes back. (hazard 47)"""
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
    Too large is cut to the geometry; too small hides records from gets, not from the end. (hazard
    47)
    """
    with ring.producer() as one, ring.producer() as two, RingBytes(ring) as shared:
        one.put(b"1")
        two.put(b"2")
        shared.set_half(shared.LEASED, leased)
        ring.shutdown(immediate=immediate)

        assert sorted(ring) == ([] if immediate else [b"1", b"2"])


def test_wrong_shutdown_and_waiters_words_do_no_harm(ring: Ring) -> None:
    """Any value of the flag but 1 drops; announcements of nobody cost some posts. (hazard 47)"""
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
