# SPDX-License-Identifier: MIT
"""Sleepers are woken, whatever the dead and the stopped swallow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import posix_ipc
import pytest

from memlane import Empty, Full, Ring, ShutDown, Slot
from memlane._region import semaphores as semaphores_module
from tests.support.doorbells import (
    SLEEPERS,
    bell_at,
    id_of,
    ring_of,
    stop_all_asleep,
    stop_asleep,
    tokens,
    value_of,
    waiting,
)
from tests.support.processes import Child, output_of, unrelated, wait_until
from tests.support.region_files import (
    LANE_DOORBELL,
    LANE_WAITERS,
    RING_DOORBELL,
    RING_WAITERS,
    bytes_of,
    semaphores,
)

pytestmark = pytest.mark.machine

# ---- waking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backing", SLEEPERS)
def test_a_sleeping_get_is_woken_by_a_put_of_the_parent(
    backing: str, name: str, tmp_path: Path
) -> None:
    """A child that waits gets the record, and both sides have the doorbell."""

    def receive() -> None:
        assert b"wake up" == ring.get()
        assert bell_at(ring).attached

    with ring_of(backing, name, tmp_path) as ring:
        with Child(receive) as child:
            if backing != "anonymous":
                wait_until(lambda: waiting(ring), "the child to sleep")
            ring.put(b"wake up")
            assert 0 == child.wait()
        assert bell_at(ring).attached
        ring.unlink()


@pytest.mark.parametrize("backing", SLEEPERS)
def test_a_sleeping_put_is_woken_by_a_get_of_the_parent(
    backing: str, name: str, tmp_path: Path
) -> None:
    """A child that waits for room puts its record as soon as there is some."""

    def send() -> None:
        for number in range(9):
            ring.put(b"%d" % number)

    with ring_of(backing, name, tmp_path, records=2) as ring:
        with Child(send) as child:
            if backing != "anonymous":
                wait_until(lambda: waiting(ring, LANE_WAITERS), "the child to sleep")
            received = [ring.get() for _ in range(9)]
            assert 0 == child.wait()
        ring.unlink()

    assert [b"%d" % number for number in range(9)] == received


@pytest.mark.parametrize("backing", ["named", "path"])
def test_unrelated_programs_wake_each_other(backing: str, name: str, tmp_path: Path) -> None:
    """They share nothing but the name, and both sleep at the same semaphores."""
    with ring_of(backing, name, tmp_path) as ring:
        program = unrelated(
            "import memlane, pathlib, sys\n"
            "where = pathlib.Path(sys.argv[1]) if '/' in sys.argv[1] else sys.argv[1]\n"
            "with memlane.Ring.open(where, wait='sleep') as ring:\n"
            "    for _ in range(3):\n"
            "        print(ring.get(), flush=True)",
            str(ring.name),
        )
        assert program.stdout is not None
        for number in range(3):
            wait_until(lambda: waiting(ring), "the program to sleep")
            ring.put(b"%d" % number)
            assert f"b'{number}'\n" == program.stdout.readline()
        assert "" == output_of(program)
        ring.unlink()


@pytest.mark.parametrize("backing", ["named", "path", "memfd"])
def test_a_put_leaves_one_token_for_one_who_sleeps(backing: str, name: str, tmp_path: Path) -> None:
    """The sleeper is woken by the doorbell itself, not found awake by chance at the next look."""
    with ring_of(backing, name, tmp_path) as ring:
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.put(b"one")
            after_one = tokens(ring), waiting(ring)
            ring.put(b"two")
            after_two = tokens(ring), waiting(ring)
            child.go_on()
            assert 0 == child.wait()
        ring.unlink()

    assert (1, 0) == after_one
    assert (1, 0) == after_two


@pytest.mark.parametrize("backing", ["named", "path", "memfd"])
def test_nobody_is_rung_for_when_nobody_sleeps(backing: str, name: str, tmp_path: Path) -> None:
    """The fast path touches no semaphore: a thousand records leave no token at either side."""
    with ring_of(backing, name, tmp_path, records=16) as ring:
        for _ in range(100):
            ring.put_many([b"x"] * 10)
            assert 10 == len(ring.get_many(10))
        with pytest.raises(Empty):
            ring.get_nowait()
        ring.put_many([b"x"] * 16)
        with pytest.raises(Full):
            ring.put_nowait(b"x")
        left = tokens(ring), tokens(ring, LANE_DOORBELL)
        ring.unlink()

    assert (0, 0) == left


def test_put_many_rings_once_for_each_who_sleeps() -> None:
    """Two threads sleep, ten records come: two tokens, and both go home with a record."""
    with Ring(wait="sleep") as ring:
        received: list[bytes] = []
        threads = [threading.Thread(target=lambda: received.append(ring.get())) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: waiting(ring) == 2, "both threads to sleep")
        ring.put_many([b"%d" % number for number in range(10)])
        for thread in threads:
            thread.join()

        assert {b"0", b"1"} == set(received)
        assert 8 == len(ring)


@pytest.mark.parametrize("backing", SLEEPERS)
def test_shutdown_wakes_everybody(backing: str, name: str, tmp_path: Path) -> None:
    """Sleeping gets and puts come to their end."""

    announced = backing != "anonymous"  # else there is no doorbell, and a process that waits polls

    def wait_for_end(wait: Callable[[], Any]) -> None:
        with pytest.raises(ShutDown):
            wait()

    def fill_and_wait_for_end() -> None:
        ring.put(b"x")
        wait_for_end(lambda: ring.put(b"y"))

    with ring_of(backing, name, tmp_path) as ring:
        with Child(wait_for_end, ring.get) as getter:
            wait_until(lambda: waiting(ring) if announced else getter.state() == "S")
            ring.shutdown()
            assert 0 == getter.wait()
        ring.unlink()
    with ring_of(backing, name, tmp_path, records=1) as ring:
        with Child(fill_and_wait_for_end) as putter:
            wait_until(lambda: waiting(ring, LANE_WAITERS) if announced else len(ring))
            ring.shutdown()
            assert 0 == putter.wait()
        ring.unlink()


def test_a_doorbell_outlives_the_name(name: str) -> None:
    """Unlinked semaphores ring on for those who have them."""
    with Ring.create(name, wait="sleep") as ring:
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.unlink()
            ring.put(b"still rings")
            child.go_on()
            assert 0 == child.wait()
        ring.put(b"and for a lane leased after that")
        assert b"and for a lane leased after that" == ring.get()
        assert {} == semaphores(id_of(ring))


# ---- what the dead and the stopped swallow -------------------------------------------------------


def test_a_waker_killed_before_its_post_costs_a_slice(name: str) -> None:
    """It took the announcement and died: the sleeper looks again by itself. (hazard 29)"""
    with Ring.create(name, wait="sleep") as ring:
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            with bytes_of(ring) as raw:
                raw.set_half(RING_WAITERS, 0)  # taken away ...
            ring.put(b"committed")
            assert 0 == tokens(ring)  # ... and never posted
            child.go_on()
            assert 0 == child.wait()
        ring.unlink()


def test_a_sleeper_killed_with_its_token_keeps_nobody_asleep(name: str) -> None:
    """
    The record it was woken for goes to the next consumer, who sleeps and wakes as usual. (hazard
    29)
    """
    with Ring.create(name, wait="sleep") as ring:
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.put(b"for the dead")
            child.kill()
        first = ring.get()
        with Child(ring.put, b"for the living"):
            second = ring.get()
        ring.unlink()

    assert [b"for the dead", b"for the living"] == [first, second]


def test_a_token_that_somebody_swallowed_costs_a_slice(name: str) -> None:
    """If another one takes the token, the sleeper it was meant for looks again. (hazard 29)"""
    with Ring.create(name, wait="sleep") as ring:
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.put(b"the token is gone")
            with bytes_of(ring) as raw:
                number = (raw.begin + RING_DOORBELL) // 64
            semaphore = posix_ipc.Semaphore(
                f"/memlane.{semaphores_module.set_of(id_of(ring))}.{number}"
            )
            semaphore.acquire(0)
            semaphore.close()
            child.go_on()
            assert 0 == child.wait()
        ring.unlink()


def test_each_watcher_of_a_slot_has_a_doorbell_of_its_own(name: str) -> None:
    """
    Four watchers, one publish: a token for each, so that one who loops eats nobody's. (hazard 31)
    """
    with Slot.create(name, "q", watchers=8) as slot:
        armed_at = 8 * 128 + 8

        def armed() -> int:
            with bytes_of(slot) as raw:
                return raw.word(armed_at)

        def watch(last: int) -> None:
            version = 0
            while version < last:
                version = slot.wait_newer(version)[1]

        children = [Child(watch, last) for last in (1, 1, 1, 2)]
        stop_all_asleep(children, lambda: armed().bit_count() == 4)
        slot.publish((1,))
        numbers = [number for number in semaphores(id_of(slot)) if number]
        left = [value_of(id_of(slot), number) for number in numbers]
        for child in children:
            child.go_on()
        assert [0] * 3 == [child.wait() for child in children[:3]]
        slot.publish((2,))
        assert 0 == children[3].wait()
        slot.unlink()

    assert 4 == len(numbers)
    assert [1] * 4 == left


def test_more_watchers_than_doorbells_poll(name: str) -> None:
    """A waiter without a doorbell still sees the new value; so does a read-only one."""
    with Slot.create(name, "q", watchers=1) as slot:
        children = [Child(slot.wait_newer, 0) for _ in range(3)]
        with Slot.open(name, readonly=True) as reader:
            threads = [threading.Thread(target=reader.wait_newer, args=(0,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            slot.publish((1,))
            for thread in threads:
                thread.join()
        assert [0] * 3 == [child.wait() for child in children]
        slot.unlink()
