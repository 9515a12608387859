# SPDX-License-Identifier: MIT
"""What `Lock` and `RLock` promise: one at a time, and the next one is told of a death."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import multiprocessing
import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import memlane
from memlane import ClosedError, LayoutError, Lock, OwnerDied, Region, RLock
from tests.support.children import forever, killed_after
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.shared_bytes import SharedBytes
from tests.support.slices import rounds_without_a_slice


def hold(lock: Lock) -> None:
    """Until the process is killed."""
    lock.acquire()
    forever()


def take_and_tell(lock: Lock) -> tuple[bool, bool]:
    """Whether it was taken, and whether the owner before died."""
    taken, told = lock.acquire(), lock.owner_died
    lock.release()
    return taken, told


def test_a_lock_is_taken_by_one_and_given_back() -> None:
    """The faces of threading and of multiprocessing."""
    with contextlib.closing(Lock()) as lock:
        assert not lock.locked()
        assert lock.acquire()
        assert (lock.locked(), lock.owner, lock.owner_died) == (True, os.getpid(), False)
        options: list[dict[str, Any]] = [{"block": False}, {"blocking": False}]
        options += [{"timeout": 0}, {"timeout": 0.01}, {"block": True, "timeout": 0.01}]
        assert [lock.acquire(**it) for it in options] == [False] * 5
        assert not lock.acquire(False)
        lock.release()
        with lock as same:
            assert same is lock
            assert lock.locked()
        assert lock.stats() == {"owner": None, "deaths": 0}


def test_a_thread_that_would_wait_for_itself_is_told() -> None:
    """For ever; an RLock is taken again, and free after as many releases."""
    with (
        contextlib.closing(Lock()) as lock,
        lock,
        pytest.raises(RuntimeError, match="use an RLock"),
    ):
        lock.acquire()
    with contextlib.closing(RLock()) as lock, lock:
        with lock:
            assert lock.acquire(False)
            lock.release()
        assert lock.locked()
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(lock.acquire, False).result()
            with pytest.raises(RuntimeError, match="another thread has it"):
                pool.submit(lock.release).result()
    with contextlib.closing(RLock()) as lock:
        lock.acquire()
        lock.release()
        assert not lock.locked()


def test_only_the_thread_that_has_it_gives_it_back() -> None:
    """Nobody, another process and another thread are told apart."""
    with contextlib.closing(Lock()) as lock:
        with pytest.raises(RuntimeError, match="nobody has it"):
            lock.release()
        with Child(hold, lock) as child:
            wait_until(lock.locked)
            with pytest.raises(RuntimeError, match=f"process {child.pid} has it"):
                lock.release()
            assert lock.owner == child.pid
        with lock:

            def release() -> None:
                with pytest.raises(RuntimeError, match=f"process {os.getppid()} has it"):
                    lock.release()
                assert not lock.acquire(False)

            with Child(release) as child:  # of a fork with the lock in hand
                assert child.wait() == 0


def test_the_lock_of_a_dead_owner_goes_to_the_next_one_who_is_told_once() -> None:
    """At once, also without waiting; until its release."""
    with contextlib.closing(Lock()) as lock:
        options: list[dict[str, Any]] = [{}, {"block": False}, {"timeout": 0}]
        for how in options:
            killed_after(lock.acquire)
            assert lock.acquire(**how)
            assert lock.owner_died
            lock.release()
            assert not lock.owner_died
            with lock:
                assert not lock.owner_died
        assert lock.deaths == 3


def test_a_handle_may_raise_instead_and_with_gives_the_lock_back_first() -> None:
    """`acquire` has the lock when it raises."""
    with contextlib.closing(Lock(on_owner_died="raise")) as lock:
        killed_after(lock.acquire)
        with pytest.raises(OwnerDied, match="half done"):
            lock.acquire()
        assert lock.owner == os.getpid()
        lock.release()
        killed_after(lock.acquire)
        with pytest.raises(OwnerDied), lock:
            raise AssertionError("the body ran")
        assert not lock.locked()
        with lock:
            pass
        with pytest.raises(ValueError, match="on_owner_died"):
            Lock(on_owner_died="ignore")  # type: ignore[arg-type]


def test_a_waiter_gets_the_lock_of_an_owner_that_dies_meanwhile() -> None:
    """Within a recheck interval, and it is told."""
    with (
        contextlib.closing(Lock()) as lock,
        Child(hold, lock) as child,
        ThreadPoolExecutor(1) as pool,
    ):
        wait_until(lock.locked)
        waiting = pool.submit(take_and_tell, lock)
        time.sleep(0.02)
        child.kill()
        assert waiting.result(PATIENCE_S) == (True, True)


def test_a_release_wakes_the_one_that_waits() -> None:
    """In another process; no recheck interval passes."""
    with contextlib.closing(Lock()) as lock:

        def hold_briefly(gate: int) -> None:
            with lock:
                os.write(gate, b"!")
                time.sleep(0.02)

        for slices in rounds_without_a_slice():
            read_end, write_end = os.pipe()
            with Child(hold_briefly, write_end):
                os.read(read_end, 1)
                with slices:
                    assert lock.acquire(timeout=PATIENCE_S)
                lock.release()
            os.close(read_end)
            os.close(write_end)


def test_a_waiter_that_is_killed_takes_nothing_along() -> None:
    """With one doorbell for all: it is used again."""
    with contextlib.closing(Lock(watchers=1)) as lock:
        with lock:

            def wait() -> None:
                threading.Thread(target=lock.acquire, daemon=True).start()
                time.sleep(0.02)

            killed_after(wait)
        with ThreadPoolExecutor(1) as pool:
            with lock:
                waiting = pool.submit(take_and_tell, lock)
                time.sleep(0.02)
            assert waiting.result(PATIENCE_S) == (True, False)


NUMBER, TOLD, INSIDE, OWN = range(
    4
)  # words of what the lock protects; behind them one of each child


def count(lock: Lock, memory: memoryview, me: int) -> None:
    """Note a death that is told, then count, in steps that a death may part."""
    while True:
        with lock:
            memory[TOLD] += lock.owner_died
            memory[INSIDE] = 1
            number = memory[NUMBER]
            if number % 3 == 0:
                time.sleep(0.0005)
            memory[NUMBER] = number + 1
            memory[OWN + me] += 1
            memory[INSIDE] = 0


def test_owners_killed_at_random_leave_an_exact_count_and_are_told_once_each() -> None:
    """While one is killed the others are stopped: so it is known whether it died with the lock."""
    words = mmap.mmap(-1, 4096)
    memory = memoryview(words).cast("Q")
    randomly = random.Random(3)
    died = unnoted = 0
    with contextlib.closing(Lock()) as lock:
        children = [Child(count, lock, memory, me) for me in range(4)]
        try:
            for _ in range(25):
                time.sleep(0.01 * randomly.random())
                assert not any(child.has_ended() for child in children)
                at = randomly.randrange(4)
                for child in children:
                    child.stop()
                owner = lock.owner
                children[at].kill()
                if owner == children[at].pid:
                    died += 1
                    unnoted += (
                        memory[INSIDE] == 0
                    )  # it may have been told, and died before its note
                children[at] = Child(count, lock, memory, at)
                for child in children:
                    child.go_on()
        finally:
            for child in children:
                child.stop()
            owner = lock.owner
            for child in children:
                child.kill()
        died += owner in [child.pid for child in children]
        with lock:
            memory[TOLD] += lock.owner_died
            assert lock.deaths == died
            assert died - unnoted <= memory[TOLD] <= died
            # a number that two had counted, or that was lost, would part the two by more
            assert 0 <= memory[NUMBER] - sum(memory[OWN : OWN + 4]) <= died
        assert died > 0
    memory.release()
    words.close()


def test_a_lock_is_found_by_its_name_and_travels(name: str) -> None:
    """By open, in a region, and in a pickle; RLock is another handle of the same bytes."""
    lock = Lock.create(name, on_owner_died="raise")
    with lock:
        with contextlib.closing(Lock.open(name)) as same:
            assert not same.acquire(False)
        with contextlib.closing(Lock.open_or_create(name)) as same:
            assert same.locked()
    with contextlib.closing(RLock.open(name)) as again, again:
        assert again.acquire(False)
        again.release()
    lock.unlink()
    lock.close()
    with Region.create(None, "64 KiB") as region:
        with region.lock("l"):
            assert region["l"].locked()  # type: ignore[attr-defined]
        with pytest.raises(LayoutError, match="is a Lock, expected a Event"):
            region.event("l")


def _under_lock(lock: Any, counter: Any) -> None:
    for _ in range(200):
        with lock:
            counter.exchange(counter.value + 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_unnamed_lock_travels_to_child_processes(method: str) -> None:
    """What it protects is exact."""
    context: Any = multiprocessing.get_context(method)
    with contextlib.closing(Lock()) as lock, memlane.Counter.create(None) as counter:
        children = [context.Process(target=_under_lock, args=(lock, counter)) for _ in range(2)]
        for child in children:
            child.start()
        _under_lock(lock, counter)
        for child in children:
            child.join()
        assert counter.value == 600


def test_a_closed_lock_says_so_and_was_released() -> None:
    """By the handle that had it."""
    with Region.create(None, "64 KiB") as region:
        lock, other = region.lock("l"), region.lock("l")
        lock.acquire()
        lock.close()
        assert not other.locked()
        for call in (lock.acquire, lock.release, lock.locked, lambda: lock.owner_died, lock.stats):
            with pytest.raises(ClosedError, match="closed"):
                call()


def test_threads_of_one_process_keep_each_other_out() -> None:
    """None is lost, and none is starved."""
    with contextlib.closing(Lock()) as lock:
        total = 0

        def work() -> None:
            nonlocal total
            for _ in range(300):
                with lock:
                    before = total
                    time.sleep(0)
                    total = before + 1

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert total == 1200


def test_a_wait_is_interrupted_by_a_signal() -> None:
    """And leaves the lock to others."""
    with contextlib.closing(Lock()) as lock:
        with Child(hold, lock):
            wait_until(lock.locked)
            timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                lock.acquire()
            timer.join()
        assert lock.acquire(timeout=PATIENCE_S)
        lock.release()


def test_an_event_loop_awaits_a_lock() -> None:
    """Tasks of one loop keep each other out, and other processes."""
    with contextlib.closing(Lock()) as lock:

        async def work() -> int:
            total = 0
            awaited = memlane.aio.wrap(lock)

            async def one() -> None:
                nonlocal total
                for _ in range(20):
                    async with awaited:
                        before = total
                        await asyncio.sleep(0)
                        total = before + 1

            await asyncio.gather(*(one() for _ in range(4)))
            async with awaited:
                assert not await awaited.acquire(timeout=0.01)
            return total

        assert asyncio.run(work()) == 80
        with Child(hold, lock) as child:
            wait_until(lock.locked)
            assert memlane.wait([lock], timeout=0) == []
            child.kill()
            assert memlane.wait([lock], timeout=PATIENCE_S) == [lock]


def test_spoilt_bytes_of_a_lock_end_in_an_error_of_ours() -> None:
    """Whatever another process has written: no call hangs that has a timeout."""
    randomly = random.Random(5)
    calls: list[Callable[[Lock], object]] = [
        *(lambda it: it.acquire(timeout=0), lambda it: it.release(), lambda it: it.locked()),
        *(lambda it: it.owner, lambda it: it.acquire(timeout=0.001), lambda it: it.stats()),
    ]
    for _ in range(60):
        with contextlib.closing(Lock(watchers=2)) as lock, SharedBytes(lock) as shared:
            lock.acquire(False)
            for _ in range(randomly.choice((1, 20))):
                at = randomly.randrange(0, 640 + 256, 8)
                shared.set_word(at, randomly.choice((0, 1, 2**64 - 1, randomly.getrandbits(64))))
            for call in calls:
                with contextlib.suppress(RuntimeError):
                    call(lock)
            shared.set_word(0, 0)


def test_a_lock_that_nobody_closed_is_not_told_to_be_used_in_a_with(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """That would acquire it: the warning says to call close()."""
    warnings.simplefilter("always")
    Lock.create(None).release  # noqa: B018 - dropped at once
    gc.collect()
    assert ["unnamed lock was never closed; call its close()"] == [
        str(warning.message) for warning in recwarn if warning.category is ResourceWarning
    ]


def test_statistics_of_a_region_do_not_take_its_locks() -> None:
    """Also those that this thread has."""
    with memlane.Region.create(None, "1 MiB") as region:
        with region.lock("db") as lock:
            stats = region.stats()["objects"]["db"]
            assert os.getpid() == stats["owner"]
        assert not lock.locked()
        assert region.stats()["objects"]["db"]["owner"] is None
