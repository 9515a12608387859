# SPDX-License-Identifier: MIT
"""What `put(require_peer=True)` promises: it does not feed a ring that nobody reads any more."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memlane import Empty, Full, PeerGoneError, Region, Ring, RoleTakenError, ShutDown
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.shared_bytes import DEAD_TAG, RingBytes
from tests.support.slices import rounds_without_a_slice

PAGE = 4096


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    with Ring(consumers=request.param, capacity=PAGE, producers=4, records=8) as made:
        yield made


def fill(ring: Ring) -> None:
    while True:
        try:
            ring.put_nowait(b"filler")
        except Full:
            return


def become_consumer(ring: Ring, end: str) -> None:
    """Take the role, then end in one of several ways."""
    try:
        ring.get_nowait()
    except Empty:
        pass
    if end == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "waits":
        signal.pause()


def left_by(ring: Ring, end: str, method: str = "fork") -> None:
    """Have a process become a consumer of the ring, and end."""
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=become_consumer, args=(ring, end))
    child.start()
    child.join(PATIENCE_S)
    assert child.exitcode is not None


VERBS: list[Callable[[Ring], object]] = [
    lambda ring: ring.put(b"x", require_peer=True),
    lambda ring: ring.put(bytearray(b"x"), timeout=0, require_peer=True),
    lambda ring: ring.put_many([b"x"], require_peer=True),
    lambda ring: ring.reserve(1, require_peer=True),
    lambda ring: ring.producer().put(b"x", require_peer=True),
]


@pytest.mark.parametrize("room", ["empty", "full"])
@pytest.mark.parametrize("end", ["returns", "is killed"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_put_is_refused_once_every_consumer_is_gone_however_it_went(
    ring: Ring, method: str, end: str, room: str
) -> None:
    """Every verb, with room and without; a process that does not ask for it puts as ever."""
    for _ in range(2):
        left_by(ring, end, method)
    if room == "full":
        fill(ring)
    for verb in VERBS:
        with pytest.raises(PeerGoneError, match="no consumer of") as caught:
            verb(ring)
        assert isinstance(caught.value, ConnectionError)
        assert 2 == caught.value.died + caught.value.left
    with pytest.raises(PeerGoneError):
        ring.put(b"x", require_peer=True)
    if room == "empty":
        ring.put(b"who comes gets it")
    else:
        with pytest.raises(Full):
            ring.put(b"x", timeout=0)


def test_the_error_says_how_many_died_and_how_many_left(ring: Ring) -> None:
    """As facts, which travel."""
    for _ in range(2):
        left_by(ring, "is killed")
    with ring.consumer() as consumer, pytest.raises(Empty):
        consumer.get_nowait()
    left_by(ring, "is killed")
    with pytest.raises(PeerGoneError, match=r"\(3 died, 1 left\)") as caught:
        ring.put(b"x", require_peer=True)
    travelled = pickle.loads(pickle.dumps(caught.value))
    assert (3, 1) == (travelled.died, travelled.left)


def test_before_the_first_consumer_came_a_put_goes_in_and_then_waits() -> None:
    """Nobody is gone who never came."""
    with Ring(capacity=PAGE, records=2) as ring:
        assert 2 == ring.put_many([b"1", b"2", b"3"], timeout=0, require_peer=True)
        with pytest.raises(Full):
            ring.put(b"3", timeout=0.01, require_peer=True)
        assert b"1" == ring.get()
        ring.put(b"3", require_peer=True)


def test_a_put_that_waits_for_room_notices_that_the_last_consumer_is_killed(ring: Ring) -> None:
    """Without a timeout: the hang of a parent whose workers have died."""
    with (
        ThreadPoolExecutor(1) as pool,
        RingBytes(ring) as shared,
        Child(become_consumer, ring, "waits") as child,
    ):
        wait_until(lambda: shared.word(shared.CAME), "a consumer")
        fill(ring)
        waiting = pool.submit(ring.put, b"x", require_peer=True)
        wait_until(lambda: shared.half(shared.waiters_at(0)), "a put that waits")
        child.kill()
        with pytest.raises(PeerGoneError):
            waiting.result(PATIENCE_S)


@pytest.mark.parametrize("last", ["the only one", "one beside the dead"])
def test_a_consumer_that_leaves_wakes_a_put_that_requires_one(ring: Ring, last: str) -> None:
    """It does not sleep to the end of its slice to find that nobody is left."""
    with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
        ring._set_wait("sleep", False)
        for slices in rounds_without_a_slice():
            if last == "one beside the dead" and ring.stats()["consumers"] == "many":
                left_by(ring, "is killed")
            while len(ring):
                with ring.consumer() as other:
                    other.get_many(8)
            consumer = ring.consumer()
            ring.put(b"first")
            assert b"first" == consumer.get()
            fill(ring)
            waiting = pool.submit(ring.put, b"x", require_peer=True)
            wait_until(lambda: shared.half(shared.waiters_at(0)) >= 1, "a put that waits")
            with slices:
                consumer.close()
                with pytest.raises(PeerGoneError):
                    waiting.result(PATIENCE_S)


def test_one_of_many_consumers_that_lives_is_enough() -> None:
    """The dead beside it are nobody's business, however many they are."""
    with (
        Ring(capacity=PAGE, consumers="many", records=64) as ring,
        RingBytes(ring) as shared,
    ):
        for _ in range(20):
            left_by(ring, "is killed")
        with pytest.raises(Empty):
            ring.get_nowait()
        ring.put(b"x", require_peer=True)
        ring.put(b"x", require_peer=True)
        assert 21 == shared.word(shared.CAME)
        assert b"x" == ring.get()


def test_a_consumer_that_comes_anew_ends_the_refusal(ring: Ring) -> None:
    """Puts go on as if nothing had been."""
    left_by(ring, "is killed")
    with pytest.raises(PeerGoneError):
        ring.put(b"x", require_peer=True)
    with ring.consumer() as consumer:
        with pytest.raises(Empty):
            consumer.get_nowait()
        ring.put(b"x", require_peer=True)
        assert b"x" == consumer.get()
    with pytest.raises(PeerGoneError):
        ring.put(b"x", require_peer=True)


def test_a_consumer_with_a_loan_stays_one_until_it_gives_it_back(ring: Ring) -> None:
    """It may yet come back for more, and its loan is to be read."""
    ring.put(b"x")
    with ring.consumer() as consumer:
        loan = consumer.borrow()
    ring.put(b"y", require_peer=True)
    loan.release()
    with pytest.raises(PeerGoneError):
        ring.put(b"z", require_peer=True)


def test_a_batch_of_which_some_went_in_tells_how_many_before_it_is_refused() -> None:
    """Nothing is lost count of."""
    with Ring(capacity=PAGE, records=2) as ring, ThreadPoolExecutor(1) as pool:
        consumer = ring.consumer()
        with pytest.raises(Empty):
            consumer.get_nowait()
        putting = pool.submit(ring.put_many, [b"1", b"2", b"3"], require_peer=True)
        wait_until(lambda: len(ring) == 2, "two records")
        consumer.close()
        assert 2 == putting.result(PATIENCE_S)


def test_a_put_that_waits_for_a_lane_is_refused_too() -> None:
    """It would wait for a producer whose records nobody gets."""
    with Ring(capacity=PAGE, producers=1, records=2) as ring:
        holder = ring.producer()
        holder.put(b"x")
        consumer = ring.consumer()
        assert b"x" == consumer.get()
        with pytest.raises(RoleTakenError):
            ring.put(b"y", timeout=0, require_peer=True)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ring.put, b"y", require_peer=True)
            consumer.close()
            with pytest.raises(PeerGoneError):
                waiting.result(PATIENCE_S)


def test_a_ring_that_is_shut_down_says_that_and_not_who_is_gone(ring: Ring) -> None:
    """It is what whoever ended it wanted to be known."""
    left_by(ring, "is killed")
    ring.shutdown()
    with pytest.raises(ShutDown):
        ring.put(b"x", require_peer=True)


def test_words_of_the_table_that_nobody_sound_wrote_are_nobody() -> None:
    """A tag in another row's word, and one of a row that there is not."""
    with (
        Ring(capacity=PAGE, consumers="many") as ring,
        RingBytes(ring) as shared,
    ):
        shared.set_word(shared.CAME, 1)
        shared.set_half(shared.consumer_at(3), DEAD_TAG)
        shared.set_half(shared.consumer_at(1023), 0xFFFFFFFF)
        with pytest.raises(PeerGoneError):
            ring.put(b"x", require_peer=True)
        shared.set_half(shared.consumer_at(DEAD_TAG % 1024), DEAD_TAG)
        shared.set_word(shared.DIED, 2**64 - 1)
        with pytest.raises(PeerGoneError) as caught:
            ring.put(b"x", require_peer=True)
        assert 0 == shared.half(shared.consumer_at(DEAD_TAG % 1024))
        assert 0 <= caught.value.died <= 1


# ---- of a handle ---------------------------------------------------------------------------------


def refuses(ring: Any) -> bool:
    try:
        ring.put(b"x", timeout=0)
    except PeerGoneError:
        return True
    return False


def answer(ring: Ring, queue: Any) -> None:
    queue.put(refuses(ring))


def test_a_handle_that_requires_peers_does_so_in_every_call_and_wherever_it_goes() -> None:
    """Its producers, its copies, and what comes out of pickle in a child."""
    context = multiprocessing.get_context("spawn")
    with Ring(capacity=PAGE, require_peer=True) as ring:
        assert not refuses(ring)
        left_by(ring, "returns")
        assert refuses(ring)
        with pytest.raises(PeerGoneError):
            ring.put_nowait(b"x")
        with pytest.raises(PeerGoneError):
            ring.put_many([b"x"])
        with pytest.raises(PeerGoneError):
            ring.reserve(1)
        with ring.producer() as producer:
            assert refuses(producer)
        copied = copy.copy(ring)
        assert refuses(copied)
        copied.close()
        queue = context.SimpleQueue()
        child = context.Process(target=answer, args=(ring, queue))
        child.start()
        assert queue.get()
        child.join(PATIENCE_S)


def test_every_way_to_a_ring_takes_the_flag_and_each_handle_has_its_own() -> None:
    """create, open, open_or_create, region.ring: two handles of one ring may differ."""
    name = f"peers-{uuid.uuid4().hex}"
    with Ring.create(name, capacity=PAGE, require_peer=True) as ring:
        try:
            left_by(ring, "returns")
            assert refuses(ring)
            with Ring.open(name, require_peer=True) as other:
                assert refuses(other)
            with Ring.open_or_create(name, capacity=PAGE, require_peer=True) as other:
                assert refuses(other)
            with Ring.open(name) as other:
                assert not refuses(other)
        finally:
            ring.unlink()
    with Region.create(None, "1 MiB") as region:
        ring = region.ring("r", capacity=PAGE, require_peer=True)
        left_by(ring, "returns")
        assert refuses(ring)
        assert not refuses(region.ring("r"))
        assert refuses(region.ring("r", require_peer=True))


GETS: dict[str, Callable[[Any, int], object]] = {
    "get": lambda rx, _: rx.get(timeout=PATIENCE_S),
    "get_nowait": lambda rx, _: rx.get_nowait(),
    "get_many": lambda rx, _: rx.get_many(3, timeout=PATIENCE_S),
    "get_into": lambda rx, _: rx.get_into(bytearray(8), timeout=PATIENCE_S),
    "borrow": lambda rx, _: rx.borrow(timeout=PATIENCE_S),
    "borrow_many": lambda rx, _: rx.borrow_many(3, timeout=PATIENCE_S),
    "borrowed": lambda rx, _: next(iter(rx.borrowed(timeout=PATIENCE_S))),
    "iteration": lambda rx, _: next(iter(rx)),
    "records": lambda rx, _: next(iter(rx.records(timeout=PATIENCE_S))),
    "records until": lambda rx, living: next(iter(rx.records(until=living, timeout=PATIENCE_S))),
}


@pytest.mark.parametrize("verb", GETS)
@pytest.mark.parametrize("consumers", ["one", "many"])
def test_each_verb_that_gets_by_a_handle_that_requires_peers_is_refused(
    consumers: Any, verb: str
) -> None:
    """By the ring and by its consumers, once the producers are gone and all is read; not before."""
    living = os.pidfd_open(os.getpid())
    with Region.create(None, "1 MiB") as region:
        plain = region.ring("r", capacity=PAGE, consumers=consumers)
        ring = region.ring("r", require_peer=True)
        for handle in (ring, ring.consumer()):
            with plain.producer() as producer:
                producer.put(b"last")
            GETS[verb](handle, living)
            # Iteration has no timeout: a call that would wait is ended by this.
            watchdog = threading.Timer(PATIENCE_S, plain.shutdown)
            watchdog.start()
            try:
                with pytest.raises(PeerGoneError, match="no producer of"):
                    GETS[verb](handle, living)
            finally:
                watchdog.cancel()
                watchdog.join()
            with pytest.raises(Empty):
                plain.get(timeout=0)
    os.close(living)
