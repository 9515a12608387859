# SPDX-License-Identifier: MIT
"""Lanes and roles: the processes that may put and get, and for how long a call waits for that."""

from __future__ import annotations

import itertools
import os
import pickle
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from memlane import ClosedError, Full, Ring, RoleTakenError, ShutDown
from tests.support.children import PAGE, Gate, forever, of_one_consumer
from tests.support.processes import PATIENCE_S, Child, drained

pytestmark = pytest.mark.machine

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
    """The process that is asked to close one can be found."""
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
