# SPDX-License-Identifier: MIT
"""What `records(until=...)` promises: it ends when the processes have ended and all is read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from memlane import Empty, PeerGoneError, Ring, ShutDown
from tests.support.processes import PATIENCE_S, Child
from tests.support.shared_bytes import RingBytes

PAGE = 4096


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    with Ring(consumers=request.param, capacity=PAGE, producers=4, records=8) as made:
        yield made


def put_numbers(ring: Ring, count: int, how: str) -> None:
    for number in range(count):
        ring.put(b"%d" % number)
    if how == "raises":
        sys.stderr.close()
        raise OSError("disk gone")
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("how", ["returns", "raises", "is killed"])
@pytest.mark.parametrize("count", [0, 100])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_records_end_when_the_process_has_ended_and_all_is_read(
    method: str, count: int, how: str
) -> None:
    """However it was started, however it ends, and whether or not it ever put anything."""
    context: Any = multiprocessing.get_context(method)
    with Ring(capacity=PAGE, producers=4, records=8) as ring:
        child = context.Process(target=put_numbers, args=(ring, count, how))
        child.start()

        assert numbers(count) == list(ring.records(until=child))
        child.join(PATIENCE_S)
        assert child.exitcode is not None
        assert [] == list(ring.records(until=[child, child.sentinel]))


def test_records_end_with_the_last_of_several_processes(ring: Ring) -> None:
    """A consumer's handle has them, too."""
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=put_numbers, args=(ring, 20, "returns")) for _ in range(3)]
    for child in children:
        child.start()
    with ring.consumer() as rx:
        assert sorted(numbers(20) * 3) == sorted(rx.records(until=children))
    for child in children:
        child.join()


@pytest.mark.parametrize("given", ["pidfd", "Popen"])
def test_the_end_of_a_program_is_seen_by_its_pidfd_or_popen(given: str) -> None:
    """Of whoever started it; the descriptor may be closed as soon as it was given."""
    program = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with Ring(capacity=PAGE) as ring:
        ring.put(b"before")
        until: Any = program if given == "Popen" else os.pidfd_open(program.pid)
        records = ring.records(until=until)
        if given == "pidfd":
            os.close(until)
        assert b"before" == next(records)
        program.communicate()
        assert [] == list(records)


def test_other_producers_cannot_keep_records_going_for_ever(ring: Ring) -> None:
    """What they put after the end was seen stays for others."""
    end = threading.Event()

    def go_on() -> None:
        with ring.producer() as other:
            while not end.is_set():
                try:
                    other.put(b"other", timeout=0.1)
                except Exception:
                    break

    thread = threading.Thread(target=go_on)
    with Child(put_numbers, ring, 20, "is killed") as child:
        pidfd = os.pidfd_open(child.pid)
        thread.start()
        try:
            mine = [record for record in ring.records(until=pidfd) if record != b"other"]
        finally:
            end.set()
            os.close(pidfd)
            thread.join()
    assert numbers(20) == mine


def test_a_record_whose_producer_died_before_it_moved_the_hint_is_read(ring: Ring) -> None:
    """Killed between the commit and the hint: it was put."""
    with Child(put_numbers, ring, 3, "is killed") as child, RingBytes(ring) as shared:
        pidfd = os.pidfd_open(child.pid)
        child.wait()
        shared.set_word(shared.tail_at(0), 2)
        assert numbers(3) == list(ring.records(until=pidfd))
        os.close(pidfd)


def test_records_end_with_the_ring_too_and_what_is_over_stays_over(ring: Ring) -> None:
    """Shut down and drained, while the process goes on."""
    with Child(signal.pause) as child:
        pidfd = os.pidfd_open(child.pid)
        ring.put(b"x")
        ring.shutdown()
        records = ring.records(until=pidfd)
        assert ([b"x"], []) == (list(records), list(records))
        os.close(pidfd)
    assert [] == list(ring.records())
    with pytest.raises(ShutDown):
        ring.get()


def test_records_may_have_a_timeout_for_each_and_go_on_behind_it(ring: Ring) -> None:
    with Child(signal.pause) as child:
        pidfd = os.pidfd_open(child.pid)
        records = ring.records(until=pidfd, timeout=0.01)
        with pytest.raises(Empty):
            next(records)
        ring.put(b"x")
        assert b"x" == next(records)
        os.close(pidfd)


def test_records_with_require_peer_say_how_many_producers_died_and_left(ring: Ring) -> None:
    """Before the first producer came nobody is missing."""
    with pytest.raises(Empty):
        next(ring.records(require_peer=True, timeout=0))
    with ring.producer() as other:
        other.put(b"other")  # before the child, whose lane it would take over if that has died
        with Child(put_numbers, ring, 2, "is killed") as child:
            child.wait()
    records = ring.records(require_peer=True, timeout=PATIENCE_S)
    assert sorted([*numbers(2), b"other"]) == sorted(next(records) for _ in range(3))
    with pytest.raises(PeerGoneError, match=r"1 died, 1 left") as raised:
        next(records)
    assert (1, 1) == (raised.value.died, raised.value.left)


def test_what_is_no_process_that_runs_is_refused_at_the_call(ring: Ring) -> None:
    """In one sentence, and before anything is taken."""
    ring.put(b"stays")
    context = multiprocessing.get_context("fork")
    fresh, closed = context.Process(target=int), context.Process(target=int)
    closed.start()
    closed.join()
    closed.close()
    wrong: list[tuple[Any, type[Exception], str]] = [
        (fresh, ValueError, "has not been started; start"),
        ([closed], ValueError, "is closed"),
        (2**30, ValueError, "no open descriptor.*not its pid"),
        (-1, ValueError, "no open descriptor"),
        ("child", TypeError, "until must be a multiprocessing.Process"),
        (1.5, TypeError, "until must be"),
        ([None], TypeError, "got None"),
        (True, TypeError, "got True"),
    ]
    for until, error, text in wrong:
        with pytest.raises(error, match=text):
            ring.records(until=until)
    assert b"stays" == ring.get()


def test_a_process_that_another_one_started_is_watched_by_its_sentinel(ring: Ring) -> None:
    """Only the parent may ask for the exit code."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=put_numbers, args=(ring, 5, "returns"))
    child.start()

    def consume() -> None:
        assert numbers(5) == list(ring.records(until=child))

    with Child(consume) as consumer:
        assert 0 == consumer.wait()
    child.join()
