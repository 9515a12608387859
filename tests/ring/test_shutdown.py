# SPDX-License-Identifier: MIT
"""`shutdown`: what is still put and got, and when it ends."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from memlane import Counter, Ring, ShutDown
from tests.support.children import PAGE, killed_after
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.shared_bytes import NONE, RingBytes


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
    """Nobody needs to make room first. (hazard 48)"""
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
    """The flag and the doorbells are shared. (hazard 48)"""

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
    """A shutdown is not starved: every record that was put is got, then it is over. (hazard 48)"""
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
    A put that has passed the flag and was paused: ShutDown, and the record is not handed out.
    (hazard 49)
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
    """The other order: a put that has returned was right. (hazard 49)"""
    with ring.reserve(7) as room:
        room.write(b"in time")
        ring.shutdown()

    assert drained_to_the_end(ring) == [b"in time"]


def drained_to_the_end(ring: Ring) -> list[bytes]:
    return list(ring)


def test_a_batch_that_meets_a_closed_lane_is_not_in_and_leaves_nothing_behind(ring: Ring) -> None:
    """
    The lane was closed between the look at the flag and the commit: void, all of it. (hazard 49)
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
    """It does not wait for itself, whether it holds one record or all of them. (hazard 50)"""
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
    """Also though it had closed the lanes already. (hazard 51)"""
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
