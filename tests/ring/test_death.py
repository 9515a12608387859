# SPDX-License-Identifier: MIT
"""A producer or consumer that dies: what becomes of its records, and what the others are told."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memlane import Empty, Full, PeerGoneError, Ring
from tests.support.children import PAGE, Gate, forever, killed_after, of_one_consumer
from tests.support.processes import PATIENCE_S, Child, drained, wait_until
from tests.support.shared_bytes import DEAD_TAG, DEPARTED, FREE, NEVER, RingBytes

pytestmark = pytest.mark.machine

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
    """Released means done with, though `head` could not pass it yet. (hazard 44)"""
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
    Marked free, `head` not moved: passed, not handed out again, and its room comes back. (hazard
    44)
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
    While a loan is out, a copy goes by the marks; when it returns, `head` passes them all. (hazard
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
    """
    With one lane only: the successor's records come behind the dead one's, nothing is waited for.
    """
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
    Killed after the commit and before `tail`: the record counts, also if head is past tail. (hazard
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
    """Each lane goes to one of them; orders are kept across the adoption. (hazard 38)"""
    with Ring(capacity=PAGE, producers=2) as ring:

        def dead(who: int) -> None:
            killed_after(lambda: ring.put_many([b"dead%d" % who] * 3))

        # Two at a time hold two lanes; both are dead before the successors come.
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
                ring.put(b"successor%d:%d" % (who, number), timeout=PATIENCE_S)

        with Child(inherit, 0) as one, Child(inherit, 1) as two:
            found = [ring.get(timeout=PATIENCE_S) for _ in range(106)]
            assert (one.wait(), two.wait()) == (0, 0)
        for who in (0, 1):
            assert found.count(b"dead%d" % who) == 3
            assert [r for r in found if r.startswith(b"successor%d" % who)] == [
                b"successor%d:%d" % (who, number) for number in range(50)
            ]
        assert drained(ring) == []


def test_an_adopter_that_is_killed_in_adoption_is_adopted_in_turn() -> None:
    """Owner taken and nothing else done yet: the next one does it all again. (hazard 38)"""
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
