# SPDX-License-Identifier: MIT
"""`memlane.wait`: several things in one thread."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import memlane
from memlane import ClosedError, Empty, Region, Ring, RoleTakenError, ShutDown, Slot, Topic
from tests.support.children import PAGE, Gate, forever
from tests.support.processes import Child, wait_until
from tests.support.slices import rounds_without_a_slice


def test_rings_and_sockets_are_waited_for_together() -> None:
    """What is ready comes in the order in which it was asked for."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Ring(PAGE) as ring:
        assert [] == memlane.wait([ring, ours], 0)
        assert [] == memlane.wait([ring, ours], timeout=0.01)
        threading.Timer(0.01, ring.put, [b"a"]).start()
        assert [ring] == memlane.wait([ours, ring])
        theirs.send(b"x")
        assert [ours, ring] == memlane.wait([ours, ring])


def test_everything_that_has_a_descriptor_is_waited_for() -> None:
    """Pipes, connections, sentinels and pidfds, beside each kind of handle."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    read_end, write_end = os.pipe()
    with (
        receiving,
        sending,
        Region.create(None, "1 MiB") as region,
        Child(forever) as child,
    ):
        pidfd = os.pidfd_open(child.pid)
        topic = region.topic("news", capacity=PAGE, records=2, when_full="wait")
        subscriber, publisher = topic.subscribe(), topic.publisher()
        slot, table = region.slot("pose", "d"), region.table("sensors", 4, "d")
        ring = region.ring("frames", capacity=PAGE, consumers="many")
        reader, rows = region.slot("pose"), region.table("sensors")
        things = [ring.consumer(), subscriber, reader, rows, receiving, read_end, pidfd]
        changes: list[Callable[[], object]] = [
            lambda: ring.put(b"x"),
            lambda: publisher.publish(b"x"),
            lambda: slot.publish(1.5),
            lambda: table[3].publish(1.5),
            lambda: sending.send(b"x"),
            lambda: os.write(write_end, b"x"),
            child.kill,
        ]
        for count, change in enumerate(changes):
            assert things[:count] == memlane.wait(things, 0)
            change()
        assert things == memlane.wait(things)
        assert [(1.5,)] == [reader.read()]
        assert rows.read_all()[3] == (1.5,)
        assert [ring.get(), subscriber.get()] == [b"x", b"x"]
        assert things[4:] == memlane.wait(things)
        for descriptor in (pidfd, read_end, write_end):
            os.close(descriptor)


def test_a_producer_is_ready_when_there_is_room_since_it_found_none() -> None:
    with Ring(PAGE, records=2) as ring, ring.producer() as producer:
        assert [producer] == memlane.wait([producer], 0)
        producer.put_many([b"a", b"b"])
        with pytest.raises(memlane.Full):
            producer.put_nowait(b"c")
        assert [] == memlane.wait([producer], 0)
        threading.Timer(0.01, ring.get_many, [2]).start()
        assert [producer] == memlane.wait([producer])


@pytest.mark.parametrize("kind", ["ring", "slot", "subscriber", "room"])
def test_a_wait_learns_at_once_that_its_handle_is_closed_by_another_thread(kind: str) -> None:
    """No slice is slept to its end, beside a socket as well as alone."""
    ours, theirs = socket.socketpair()
    for beside in ([], [ours]):
        for slices in rounds_without_a_slice():
            with Region.create(None, "1 MiB") as region, slices:
                handle: Any
                if kind == "ring":
                    handle = region.ring("it", capacity=PAGE)
                elif kind == "slot":
                    handle = region.slot("it", "d")
                elif kind == "subscriber":
                    handle = region.topic("it", capacity=PAGE).subscribe()
                else:
                    handle = region.ring("it", capacity=PAGE, records=1).producer()
                    handle.put(b"x")
                    with pytest.raises(memlane.Full):
                        handle.put_nowait(b"y")
                timer = threading.Timer(0.02, handle.close)
                timer.start()
                with pytest.raises(ClosedError):
                    memlane.wait([handle, *beside])
                timer.join()
    ours.close()
    theirs.close()


def test_a_wait_is_woken_at_once_by_another_process() -> None:
    """Also beside a socket: no slice is slept to its end."""
    ours, theirs = socket.socketpair()

    def answer(jobs: Ring, results: Ring) -> None:
        for job in jobs:
            time.sleep(0.01)
            results.put(job)

    with (
        ours,
        theirs,
        Ring(PAGE) as jobs,
        Ring(PAGE) as results,
        Child(answer, jobs, results) as child,
    ):
        for things in ([results], [results, ours]):
            for slices in rounds_without_a_slice():
                with slices:
                    jobs.put(b"x")
                    assert [results] == memlane.wait(things)
                assert b"x" == results.get_nowait()
        jobs.shutdown()
        assert 0 == child.wait()


def test_the_end_and_a_removal_make_a_handle_ready() -> None:
    """What its verb would raise at once is something to do."""
    with Region.create(None, "1 MiB") as region:
        ring = region.ring("it", capacity=PAGE)
        threading.Timer(0.01, ring.shutdown).start()
        assert [ring] == memlane.wait([ring])
        with pytest.raises(ShutDown):
            ring.get_nowait()
        slot = region.slot("pose", "d")
        threading.Timer(0.01, region.remove, ["pose"]).start()
        with pytest.raises(ClosedError, match="removed"):
            memlane.wait([slot])


def test_a_thread_that_waits_with_a_handle_does_not_keep_others_from_it() -> None:
    with Ring(PAGE) as ring:
        found: list[bytes] = []

        def get_all() -> None:
            while True:
                memlane.wait([ring])
                try:
                    found.append(ring.get_nowait())
                except Empty:
                    pass
                except ShutDown:
                    return

        threads = [threading.Thread(target=get_all) for _ in range(3)]
        for thread in threads:
            thread.start()
        for i in range(500):
            ring.put(b"%d" % i)
        wait_until(lambda: len(found) == 500)
        ring.shutdown()
        for thread in threads:
            thread.join()
        assert sorted(b"%d" % i for i in range(500)) == sorted(found)


def test_a_signal_handler_runs_in_the_midst_of_a_wait_and_may_wait_itself() -> None:
    """Ctrl-C interrupts it; what another handler waits for is its own."""
    with Ring(PAGE) as ring, Ring(PAGE) as other:
        seen = []

        def handle(*_: object) -> None:
            other.put(b"x")
            seen.append(memlane.wait([other], 1))
            ring.put(b"x")

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGUSR1]).start()
            assert [ring] == memlane.wait([ring])
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert [[other]] == seen
        assert b"x" == ring.get_nowait()
        threading.Timer(0.02, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            memlane.wait([ring])


def test_a_forked_child_waits_with_a_descriptor_of_its_own() -> None:
    with Ring(PAGE, consumers="many") as ring, Ring(PAGE, producers=2) as back:
        assert [] == memlane.wait([ring, back], 0.001)

        def child() -> None:
            assert [ring] == memlane.wait([ring])
            back.put(ring.get_nowait())

        with Child(child) as process:
            ring.put(b"x")
            assert [back] == memlane.wait([back])
            assert b"x" == back.get_nowait()
            assert 0 == process.wait()


def test_what_cannot_be_waited_for_is_refused_and_nothing_is_taken() -> None:
    with Ring(PAGE) as ring, Topic(PAGE) as topic:
        ring.put(b"a")
        for wrong in (-1, float("nan"), -0.001):
            with pytest.raises(ValueError, match="timeout"):
                memlane.wait([ring], wrong)
        with pytest.raises(TypeError, match="timeout"):
            memlane.wait([ring], "soon")  # type: ignore[arg-type]
        things: list[tuple[object, str]] = [
            (object(), "wait takes handles"),
            (True, "wait takes handles"),
            (topic, r"what its subscribe\(\) or publisher\(\) returns"),
            (multiprocessing.Process(), "pass its sentinel"),
        ]
        for thing, text in things:
            with pytest.raises(TypeError, match=text):
                memlane.wait([ring, thing])
        closed = socket.socket()
        closed.close()
        for number in (closed, -1, 2**31, 999_999):
            with pytest.raises(ValueError, match=r"(is no open descriptor|is not open)"):
                memlane.wait([ring, number])
        assert b"a" == ring.get_nowait()
    with pytest.raises(ClosedError):
        memlane.wait([ring], 0)
    assert [] == memlane.wait([], 0)


def test_a_wait_for_a_role_that_a_live_process_has_is_refused() -> None:
    with Ring(PAGE) as ring, Gate() as gate:

        def consume() -> None:
            with pytest.raises(Empty):
                ring.get_nowait()
            gate.open()
            forever()

        with Child(consume):
            gate.wait()
            with pytest.raises(RoleTakenError):
                memlane.wait([ring], 0)


def test_a_reader_without_write_access_waits_for_what_nobody_can_wake_it_for(name: str) -> None:
    """By looking every five milliseconds, alone and beside other things."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Slot.create(name, "d") as slot, Slot.open(name, readonly=True) as reader:
        for things in ([reader], [reader, ours]):
            threading.Timer(0.02, slot.publish, [1.5]).start()
            assert [reader] == memlane.wait(things)
            reader.read()
        slot.unlink()
