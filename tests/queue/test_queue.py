# SPDX-License-Identifier: MIT
"""A queue of objects does what multiprocessing's does, over processes that live and die."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue as stdlib_queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import memlane
from memlane import Empty, Full, LayoutError, Queue, ShutDown
from memlane.errors import QueueClosedError
from tests.support.processes import forked, wait_until

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def q() -> Iterator[Queue]:
    with Queue() as made:
        yield made


def held_nbytes(q: Queue) -> int:
    """Bytes of memory that an unnamed queue has."""
    return os.fstat(q.region._member.base).st_blocks * 512


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- over processes -----------------------------------------------------------------------------


def put_three(out: Queue, marked: str) -> None:
    for number in range(3):
        out.put((marked, number))


@pytest.mark.parametrize("method", METHODS)
def test_results_of_joined_workers_are_got_before_a_sentinel_that_is_put_behind(
    method: str,
) -> None:
    context: Any = multiprocessing.get_context(method)
    with Queue() as q:
        q.put("first")
        workers = [context.Process(target=put_three, args=(q, str(n))) for n in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        q.put(None)

        found = list(iter(q.get, None))

        assert "first" == found[0]
        assert 7 == len(found)
        for n in range(2):
            assert [(str(n), number) for number in range(3)] == [
                one for one in found if one[0] == str(n)
            ]


ITS: Queue | None = None


def remember(given: Queue) -> None:
    global ITS
    ITS = given


def put_into_global(obj: object) -> None:
    assert ITS is not None
    ITS.put(obj)


def test_a_queue_goes_to_a_pool_by_its_initializer_and_through_another_queue(q: Queue) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=remember, initargs=(q,)) as pool:
        pool.submit(put_into_global, [1, 2]).result()
    with Queue() as other:
        other.put({"inside": q})
        again = other.get()["inside"]
        again.put("by the way")
        again.close()

    assert [1, 2] == q.get()
    assert "by the way" == q.get()


def test_a_maxsize_bounds_the_whole_queue_over_processes() -> None:
    with Queue(3) as q:
        q.put("parent")
        assert 0 == end_of(forked(lambda: q.put_many([1, 2])))

        assert q.full()
        with pytest.raises(Full, match="3 of 3 objects") as caught:
            q.put(4, timeout=0.01)
        assert (3, 3) == (caught.value.records, caught.value.max_records)
        assert 0 == end_of(forked(lambda: full_in_child(q)))
        assert "parent" == q.get()
        q.put_nowait(5)


def put_and_wait(q: Queue, stop: Queue, obj: object) -> None:
    q.put(obj)
    stop.get()


def full_in_child(q: Queue) -> None:
    with pytest.raises(Full):
        q.put_nowait("more")


def test_a_put_that_waits_for_a_get_of_another_process_goes_on_at_once() -> None:
    with Queue(1) as q:
        q.put("first")
        child = forked(lambda: q.put("second"))
        wait_until(lambda: q.stats()["waiting_producers"] == 1)

        assert "first" == q.get()
        assert "second" == q.get(timeout=5)
        assert 0 == end_of(child)


def test_permits_of_a_killed_producer_come_back_with_its_lane() -> None:
    with Queue(2) as q:

        def put_and_die() -> None:
            q.put("there")
            os.kill(os.getpid(), signal.SIGKILL)

        for _ in range(8):
            assert -signal.SIGKILL == end_of(forked(put_and_die))
            assert "there" == q.get(timeout=5)
        q.put(1)
        q.put(2)
        assert q.full()


def test_more_living_processes_than_lanes_may_put() -> None:
    with Queue(producers=2) as q, Queue() as stop:
        children = [forked(put_and_wait, q, stop, n) for n in range(6)]

        assert list(range(6)) == sorted(q.get(timeout=10) for _ in children)
        stop.put_many(range(6))
        assert [0] * 6 == [end_of(child) for child in children]


def test_what_a_killed_consumer_had_in_hand_another_one_gets(q: Queue) -> None:
    def borrow_and_die() -> None:
        with q.borrow():
            os.kill(os.getpid(), signal.SIGKILL)

    q.put_many(["a", "b"])
    assert -signal.SIGKILL == end_of(forked(borrow_and_die))

    assert ["a", "b"] == sorted([q.get(timeout=5), q.get(timeout=5)])
    assert 1 == q.stats()["redelivered"]


def test_rounds_of_killed_producers_and_consumers_lose_nothing_that_was_acknowledged() -> None:
    """What a put has returned for is got, but for what a killed consumer had got itself."""
    with Queue() as q, Queue() as acknowledged, Queue() as got:

        def produce(round_number: int) -> None:
            for number in range(100_000):
                q.put((round_number, number, b"x" * (number % 700)))
                acknowledged.put((round_number, number))

        def consume() -> None:
            while True:
                found = q.get()
                assert len(found[2]) == found[1] % 700
                got.put(found[:2])

        for round_number in range(12):
            children = [forked(lambda n=round_number: produce(n)), forked(consume)]
            time.sleep(0.02 + 0.005 * round_number)
            for child in children:
                os.kill(child, signal.SIGKILL)
                assert -signal.SIGKILL == end_of(child)
        left = []
        with pytest.raises(Empty):
            while True:
                left.append(q.get(timeout=0.3)[:2])
        acks, gets = _all_of(acknowledged), _all_of(got)
        missing = set(acks) - set(left) - set(gets)

        assert len(acks) > 100
        assert len(missing) <= 12  # one in the hands of each consumer between its get and its put
        assert len(set(left)) == len(left)


def _all_of(q: Queue) -> list[Any]:
    found = []
    while True:
        try:
            found.append(q.get(timeout=0.3))
        except Empty:
            return found


# ---- memory -------------------------------------------------------------------------------------


def test_a_program_that_puts_all_before_anybody_gets_works_and_memory_is_given_back(
    q: Queue,
) -> None:
    idle = held_nbytes(q)
    block = os.urandom(1 << 16)
    for _ in range(1600):
        q.put(block)
    full = held_nbytes(q)
    for _ in range(1600):
        assert block == q.get()

    assert idle < 1 << 18
    assert full > 100 << 20
    assert held_nbytes(q) < 2 << 20


def test_many_small_objects_leave_little_behind(q: Queue) -> None:
    for _ in range(3):
        q.put_many(range(30_000))
        assert list(range(30_000)) == [q.get() for _ in range(30_000)]

    assert held_nbytes(q) < 2 << 20


def test_a_queue_of_64_idle_producers_holds_less_than_a_mebibyte() -> None:
    with Queue() as q, Queue() as stop:
        children = [forked(put_and_wait, q, stop, n) for n in range(63)]
        for _ in children:
            q.get(timeout=20)

        assert held_nbytes(q) < 1 << 20
        stop.put_many([None] * 63)
        assert {0} == {end_of(child) for child in children}


def test_a_limit_of_memory_is_full_with_need_free_and_limit(
    q: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the kernel kills a process, as it does beyond the limit of a container."""
    from memlane import _limits

    limit = _limits.Limit(3 << 20, 64 << 20, "/sys/fs/cgroup/memory.max")
    monkeypatch.setattr(_limits, "tightest", lambda: limit)
    q.put(1)

    with pytest.raises(Full, match="below the limit of 67108864 bytes in /sys/fs/cgroup") as caught:
        q.put(bytes(8 << 20))

    facts = caught.value
    assert ("memory", 3 << 20, 64 << 20) == (facts.cause, facts.free, facts.limit)
    assert facts.need >= 8 << 20
    assert 1 == q.get()
    q.put("it goes on")
    assert "it goes on" == q.get()


# ---- objects ------------------------------------------------------------------------------------


def test_an_object_that_cannot_be_pickled_is_an_error_of_put_and_leaves_nothing(q: Queue) -> None:
    with pytest.raises(Exception, match="pickle"):
        q.put(lambda: None)

    assert q.empty()
    q.put("next")
    assert "next" == q.get()


class Fragile:
    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("no such object")


def test_an_object_that_cannot_be_unpickled_is_gone_and_the_queue_goes_on(q: Queue) -> None:
    q.put(Fragile())
    q.put("next")

    with pytest.raises(RuntimeError, match="no such object") as caught:
        q.get()

    assert "could not be decoded" in caught.value.__notes__[0]
    assert "next" == q.get()
    q.task_done()
    q.join(timeout=1)  # nobody has to say that the first one is done


def test_get_many_returns_what_can_be_unpickled_and_the_next_get_raises(q: Queue) -> None:
    """Of several that cannot be each is told once, and each counts as done."""
    q.put_many([1, Fragile(), 2, Fragile(), 3])
    assert [1, 2, 3] == q.get_many(10)
    q.put(4)
    with pytest.raises(RuntimeError):
        q.get()
    with pytest.raises(RuntimeError):
        next(q.records())
    assert 4 == q.get()
    q.put(Fragile())
    with pytest.raises(RuntimeError):
        q.get_many(10)
    for _ in range(4):
        q.task_done()
    q.join(timeout=0)


def test_memory_of_an_array_that_is_gone_is_used_for_the_next_one_and_never_while_it_lives(
    q: Queue,
) -> None:
    """Arrays that are kept stay what they are, however many come and go behind them."""
    kept: dict[int, Any] = {}
    addresses = set()
    for i in range(300):
        q.put(np.full(100_000 + i % 7, i, "i4"))
        array = q.get()
        addresses.add(array.ctypes.data)
        if i % 3 == 0:
            kept[i] = array[i % 5 :]
        if i % 5 == 0:
            kept.pop(max(kept), None)
        for number, found in kept.items():
            assert (found == number).all()
    assert len(addresses) < 300


def test_arrays_come_out_writable_and_in_place_where_they_are_borrowed(q: Queue) -> None:
    array = np.arange(100_000.0)
    q.put({"array": array, "n": 1})
    q.put([array, array[:5]])

    found = q.get()["array"]
    found += 1
    with q.borrow() as (first, second):
        assert not first.flags.writeable
        assert np.array_equal(array, first)
        assert np.array_equal(array[:5], second)

    assert np.array_equal(array + 1, found)


@pytest.mark.parametrize(
    ("codec", "obj"),
    [("bytes", b"abc"), ("json", {"a": [1, 2]}), ((lambda obj: str(obj).encode(), int), 17)],
)
def test_a_codec_carries_its_objects(codec: Any, obj: object) -> None:
    with Queue(codec=codec) as q:
        q.put(obj)
        assert obj == q.get()


def test_a_peer_with_another_codec_is_refused(name: str) -> None:
    with Queue.create(name, codec="json") as q:
        with pytest.raises(LayoutError, match="codec='json', expected 'pickle'"):
            Queue.open(name)
        with Queue.open(name, codec="json") as other:
            other.put([1])
        assert [1] == q.get()
        q.unlink()


# ---- tasks, the end -----------------------------------------------------------------------------


def test_a_join_waits_for_tasks_and_not_for_those_of_the_dead(q: Queue) -> None:
    def get_and_die() -> None:
        q.get()
        os.kill(os.getpid(), signal.SIGKILL)

    q.put_many(["a", "b"])
    assert -signal.SIGKILL == end_of(forked(get_and_die))
    with pytest.raises(TimeoutError):
        q.join(timeout=0.05)
    q.get()
    with pytest.raises(TimeoutError):
        q.join(timeout=0.05)
    child = forked(q.join)
    q.task_done()

    q.join(timeout=5)
    assert 0 == end_of(child)
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_shutdown_lets_what_is_there_be_got_and_wakes_all_who_wait() -> None:
    with Queue(1) as q:
        q.put("left")
        ends: list[object] = []

        def waits() -> None:
            try:
                q.put("more")
            except ShutDown:
                ends.append("put")

        thread = threading.Thread(target=waits)
        thread.start()
        wait_until(lambda: q.stats()["waiting_producers"] == 1)
        q.shutdown()
        thread.join(5)

        assert ["put"] == ends
        assert "left" == q.get()
        with pytest.raises(ShutDown):
            q.get()
        with pytest.raises(ShutDown):
            q.put(1)
        assert [] == list(q)
        if sys.version_info >= (3, 13):
            assert issubclass(ShutDown, stdlib_queue.ShutDown)


def test_an_immediate_shutdown_drops_what_is_left_and_ends_a_join(q: Queue) -> None:
    q.put_many(range(10))
    child = forked(q.join)
    time.sleep(0.05)
    q.shutdown(immediate=True)

    assert 0 == q.qsize()
    assert 0 == end_of(child)
    with pytest.raises(ShutDown):
        q.get()


def test_a_queue_that_is_closed_says_so_as_both_kinds_of_multiprocessing_do() -> None:
    q = Queue()
    q.close()
    q.close()
    q.join_thread()
    q.cancel_join_thread()

    for call in (lambda: q.put(1), q.get, q.empty, q.qsize, q.task_done, q.join):
        with pytest.raises(ValueError, match="is closed"):
            call()
        with pytest.raises(OSError, match="is closed"):
            call()
    assert "x" == str(pickle.loads(pickle.dumps(QueueClosedError("x"))))


def test_a_negative_timeout_does_not_wait(q: Queue) -> None:
    with pytest.raises(Empty):
        q.get(timeout=-1)
    with pytest.raises(Empty):
        q.get(True, -0.5)
    with Queue(1) as bounded:
        bounded.put(1, timeout=-1)
        with pytest.raises(Full):
            bounded.put(2, True, -1)


def test_records_until_processes_end_gives_all_that_they_have_put(q: Queue) -> None:
    process = multiprocessing.get_context("fork").Process(target=put_three, args=(q, "x"))
    process.start()

    assert [("x", 0), ("x", 1), ("x", 2)] == list(q.records(until=process))


def test_wait_tells_of_a_queue_that_has_something(q: Queue) -> None:
    assert [] == memlane.wait([q], timeout=0)
    child = forked(lambda: q.put(1))
    assert [q] == memlane.wait([q], timeout=5)
    assert 1 == q.get()
    assert 0 == end_of(child)


def test_a_queue_of_a_region_is_found_by_its_name(name: str) -> None:
    with memlane.Region.create(name, "64 MiB") as region:
        made = region.queue("jobs", 5, capacity="1 MiB", producers=4)
        made.put("x")
        assert "x" == region.queue("jobs").get()
        assert 5 == region["jobs"].maxsize  # type: ignore[attr-defined]
        with pytest.raises(LayoutError, match="maxsize=5, expected 6"):
            region.queue("jobs", 6, capacity="1 MiB")
        region.unlink()


# ---- against queue.Queue ------------------------------------------------------------------------


class AgainstTheStandardLibrary(RuleBasedStateMachine):
    """Two handles of one queue in one process beside a queue.Queue: the same results and errors."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = Queue(4)
        self.other = pickle.loads(pickle.dumps(self.ours))
        self.theirs: stdlib_queue.Queue[object] = stdlib_queue.Queue(4)
        self.in_hand = 0

    def teardown(self) -> None:
        self.other.close()
        self.ours.close()

    def handle(self, first: bool) -> Queue:
        return self.ours if first else self.other

    @rule(obj=st.integers() | st.text() | st.binary(max_size=70_000), first=st.booleans())
    def put(self, obj: object, first: bool) -> None:
        try:
            self.theirs.put_nowait(obj)
        except stdlib_queue.Full:
            with pytest.raises(stdlib_queue.Full):
                self.handle(first).put_nowait(obj)
        else:
            self.handle(first).put(obj)

    @rule(first=st.booleans())
    def get(self, first: bool) -> None:
        try:
            expected = self.theirs.get_nowait()
        except stdlib_queue.Empty:
            with pytest.raises(stdlib_queue.Empty):
                self.handle(first).get_nowait()
        else:
            assert expected == self.handle(first).get()
            self.in_hand += 1

    @rule(first=st.booleans())
    def done(self, first: bool) -> None:
        if self.in_hand == 0:
            return
        self.in_hand -= 1
        self.theirs.task_done()
        self.handle(first).task_done()

    @rule(first=st.booleans())
    def look(self, first: bool) -> None:
        handle = self.handle(first)
        assert self.theirs.qsize() == handle.qsize() == len(handle)
        assert self.theirs.empty() == handle.empty()
        assert self.theirs.full() == handle.full()
        if self.theirs.unfinished_tasks == 0:
            handle.join(timeout=1)
        else:
            with pytest.raises(TimeoutError):
                handle.join(timeout=0)


TestAgainstTheStandardLibrary = AgainstTheStandardLibrary.TestCase
TestAgainstTheStandardLibrary.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None
)
