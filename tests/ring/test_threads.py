# SPDX-License-Identifier: MIT
"""What threads may expect: shared roles, waits in order, closing under others; the fast path."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from memlane import ClosedError, Empty, Ring, ShutDown, Slot
from tests.support.processes import PATIENCE_S, Child, drained, output_of, unrelated, wait_until
from tests.support.shared_bytes import RingBytes, SlotBytes
from tests.support.slices import rounds_without_a_slice

PAGE = 4096
LARGE = 8 << 20  # copied without the GIL, for some milliseconds


# ---- sharing a role ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 200_000], ids=["small", "large"])
@pytest.mark.parametrize("verb", ["get", "get_many", "get_into", "borrow", "iteration"])
def test_threads_that_get_share_the_records_none_twice_none_torn(verb: str, size: int) -> None:
    """Two in one consumer, also while copying without the GIL. (hazard 52)"""
    total = 400
    capacity = max(16 * size, PAGE)
    with Ring(capacity=capacity, producers=1, records=16) as ring, ThreadPoolExecutor(3) as pool:

        def whole(record: bytes) -> int:
            number = struct.unpack("q", record[:8])[0]
            assert record == struct.pack("q", number) + bytes([number % 251]) * size
            return int(number)

        def take() -> list[int]:
            found: list[int] = []
            buffer = bytearray(size + 8)
            try:
                while True:
                    if verb == "get":
                        found.append(whole(ring.get(timeout=PATIENCE_S)))
                    elif verb == "get_many":
                        found += map(whole, ring.get_many(3, timeout=PATIENCE_S))
                    elif verb == "get_into":
                        nbytes = ring.get_into(buffer, timeout=PATIENCE_S)
                        found.append(whole(bytes(buffer[:nbytes])))
                    elif verb == "borrow":
                        with ring.borrow(timeout=PATIENCE_S) as record:
                            found.append(whole(bytes(record)))
                    else:
                        found += map(whole, ring)
                        return found
            except ShutDown:
                return found

        takers = [pool.submit(take) for _ in range(2)]
        for number in range(total):
            record = struct.pack("q", number) + bytes([number % 251]) * size
            ring.put(record, timeout=PATIENCE_S)
        ring.shutdown()
        found = [taker.result(PATIENCE_S) for taker in takers]

        assert [sorted(numbers) for numbers in found] == found  # each saw them in order
        assert sorted(found[0] + found[1]) == list(range(total))


@pytest.mark.parametrize("size", [0, 200_000], ids=["small", "large"])
def test_threads_that_put_share_a_lane_none_lost_none_torn(size: int) -> None:
    """Each thread's records are in its order, whatever verb it uses. (hazard 52)"""
    total = 120
    capacity = max(8 * size, PAGE)
    with Ring(capacity=capacity, producers=1, records=8) as ring, ThreadPoolExecutor(3) as pool:

        def put(who: int) -> None:
            for number in range(0, total, 3):
                records = [
                    struct.pack("ii", who, number + i) + bytes([who]) * size for i in range(3)
                ]
                if who == 0:
                    for record in records:
                        ring.put(record, timeout=PATIENCE_S)
                elif who == 1:
                    assert ring.put_many(records, timeout=PATIENCE_S) == 3
                else:
                    for record in records:
                        with ring.reserve(len(record), timeout=PATIENCE_S) as room:
                            room.write(record)

        putters = [pool.submit(put, who) for who in range(3)]
        found: list[list[int]] = [[], [], []]
        for _ in range(3 * total):
            record = ring.get(timeout=PATIENCE_S)
            who, number = struct.unpack("ii", record[:8])
            assert record[8:] == bytes([who]) * size
            found[who].append(number)
        for putter in putters:
            putter.result(PATIENCE_S)

        assert found == [list(range(total))] * 3


@pytest.mark.parametrize("words", [4, 20_000], ids=["small", "large"])
@pytest.mark.parametrize("writers", ["one", "many"])
def test_threads_that_publish_one_slot_count_every_version_and_tear_none(
    writers: Any, words: int
) -> None:
    """Two in publish, one reading: all words of a value are equal. (hazard 52)"""
    turns = 200
    with (
        Slot.create(None, np.dtype(("<u8", (words,))), writers=writers) as slot,
        ThreadPoolExecutor(2) as pool,
    ):

        def publish(who: int) -> list[int]:
            return [slot.publish(np.full(words, 2 * n + who, np.uint64)) for n in range(turns)]

        publishers = [pool.submit(publish, who) for who in (0, 1)]
        seen = set()
        slot.wait_newer(0, timeout=PATIENCE_S)
        while slot.version < 2 * turns:
            value = slot.read()
            assert int(value.min()) == int(value.max())
            seen.add(int(value[0]))
            assert not any(p.done() and p.exception() for p in publishers)
        versions = [publisher.result(PATIENCE_S) for publisher in publishers]

        assert sorted(versions[0] + versions[1]) == list(range(1, 2 * turns + 1))
        assert [sorted(each) for each in versions] == versions


def test_records_of_many_threads_through_a_small_ring_come_once_and_in_order() -> None:
    """Three putters on one lane, two getters: the numbers of each putter are complete, in order."""
    total = 1500
    with Ring(capacity=PAGE, producers=1, records=4) as ring, ThreadPoolExecutor(5) as pool:

        def put(who: int) -> None:
            for number in range(total):
                ring.put(struct.pack("ii", who, number), timeout=PATIENCE_S)

        def get() -> list[tuple[int, int]]:
            return [struct.unpack("ii", record) for record in ring]

        getters = [pool.submit(get) for _ in range(2)]
        for putter in [pool.submit(put, who) for who in range(3)]:
            putter.result(PATIENCE_S)
        ring.shutdown()
        found = [getter.result(PATIENCE_S) for getter in getters]

        for who in range(3):
            mine = [[number for thread, number in each if thread == who] for each in found]
            assert [sorted(numbers) for numbers in mine] == mine
            assert sorted(mine[0] + mine[1]) == list(range(total))


def test_puts_that_had_to_wait_go_in_the_order_they_came() -> None:
    """Whatever their size: a small one does not overtake a large one that waits."""
    with Ring(capacity=PAGE, producers=1, records=8) as ring, ThreadPoolExecutor(6) as pool:
        ring.put_many([b"x" * 512] * 8)
        waiting = []
        for number in range(6):
            record = bytes([number]) * (3000 if number == 0 else 1)
            thread = Sleeper()
            waiting.append(pool.submit(ring.put, record, timeout=thread))
            thread.wait_until_asleep()
        found: list[bytes] = []
        while len(found) < 14:
            found.append(ring.get(timeout=PATIENCE_S))
        for put in waiting:
            put.result(PATIENCE_S)

        assert [record[0] for record in found[8:]] == list(range(6))


class Sleeper:
    """A timeout that tells which thread has begun to wait with it."""

    thread = 0

    def __float__(self) -> float:
        self.thread = threading.get_native_id()
        return PATIENCE_S

    def wait_until_asleep(self) -> None:
        wait_until(lambda: self.thread, "the call to begin")
        looks = 0

        def is_asleep() -> bool:
            # Between two looks we have no GIL, so a thread that only wanted that is not asleep in
            # the second.
            nonlocal looks
            with open(f"/proc/self/task/{self.thread}/stat") as stat:
                state = stat.read().rpartition(")")[2].split()[0]
            looks = looks + 1 if state == "S" else 0
            return looks == 5

        wait_until(is_asleep, "the call to sleep")


def wait_announced(shared: RingBytes, count: int = 1) -> None:
    """Wait until that many puts have announced themselves at the first lane."""
    wait_until(lambda: shared.half(shared.waiters_at(0)) >= count, "a waiting put")


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_the_end_of_a_claim_wakes_a_put_that_waits_for_it(end: str) -> None:
    """In front of a lane with room nobody sleeps on: the put goes on as soon as it can."""
    with (
        Ring(capacity=PAGE, producers=1, wait="sleep") as ring,
        RingBytes(ring) as shared,
        ThreadPoolExecutor(1) as pool,
    ):
        ring.put(b"first")
        for slices in rounds_without_a_slice():
            room = ring.reserve(1)
            waiting = pool.submit(ring.put, b"waited")
            wait_announced(shared)
            with slices:
                getattr(room, end)()
                waiting.result(PATIENCE_S)
            drained(ring)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the collector runs between two steps of Python only"
)
def test_a_put_that_met_a_claim_looks_for_its_end_and_not_for_a_consumer() -> None:
    """
    The claim ends after the put has met it and before it announces itself, so nobody rings. Its
    second look sees that the claim is gone; that nobody got a record does not matter.
    """
    thresholds = gc.get_threshold()
    for slices in rounds_without_a_slice():
        met, ended = threading.Event(), threading.Event()
        kept: list[Any] = []

        class Timeout:
            def __float__(self) -> float:
                gc.disable()
                kept.extend([] for _ in range(100))  # noqa: B023
                gc.enable()  # so that the next allocation collects: the one behind the first try
                return PATIENCE_S

        def collected(phase: str, _info: dict[str, int]) -> None:
            if phase == "start" and kept and threading.get_ident() == putter:  # noqa: B023
                met.set()  # noqa: B023
                ended.wait(PATIENCE_S)  # noqa: B023

        with Ring(capacity=PAGE, producers=1, wait="sleep") as ring, ThreadPoolExecutor(1) as pool:
            ring.put(b"first")
            putter = pool.submit(threading.get_ident).result()
            pool.submit(ring.put, b"second").result()
            room = ring.reserve(1)
            gc.callbacks.append(collected)
            gc.set_threshold(1)
            try:
                waiting = pool.submit(ring.put, b"third", timeout=Timeout())
                assert met.wait(PATIENCE_S)
                with slices:
                    room.commit()
                    ended.set()
                    waiting.result(PATIENCE_S)
            finally:
                gc.set_threshold(*thresholds)
                gc.callbacks.remove(collected)


def test_a_put_second_in_the_queue_goes_on_as_soon_as_the_first_has_gone() -> None:
    """One after the other, each by the one before: no slice is slept between them."""
    with (
        Ring(capacity=PAGE, producers=1, records=3, wait="sleep") as ring,
        RingBytes(ring) as shared,
        ThreadPoolExecutor(3) as pool,
    ):
        ring.put_many([b"x"] * 3)
        # in the first one the consumer does not know the doorbell yet
        for slices in rounds_without_a_slice():
            waiting = []
            for number in range(3):
                thread = Sleeper()
                waiting.append(pool.submit(ring.put, b"%d" % number, timeout=thread))
                thread.wait_until_asleep()
            wait_announced(shared)
            with slices:
                assert len(ring.get_many(3)) == 3
                for put in waiting:
                    put.result(PATIENCE_S)
        assert ring.get_many(3) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("which", ["one of two handles", "the last handle"])
def test_a_put_whose_handle_is_closed_does_not_sleep_on(which: str) -> None:
    """ClosedError at once, also where other handles still use the lane."""
    for slices in rounds_without_a_slice():
        with (
            Ring(capacity=PAGE, producers=1, records=1, wait="sleep") as ring,
            RingBytes(ring) as shared,
            ThreadPoolExecutor(1) as pool,
        ):
            other = pickle.loads(pickle.dumps(ring))
            (other if which == "the last handle" else ring).put(b"")
            waiting = pool.submit(other.put, b"")
            wait_announced(shared)
            with slices:
                other.close()
                with pytest.raises(ClosedError):
                    waiting.result(PATIENCE_S)


# ---- closing under others ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", ["get", "get_many", "get_into", "borrow", "put", "put_many", "reserve"]
)
@pytest.mark.parametrize("wait", ["adaptive", "sleep", "spin"])
def test_a_waiting_call_ends_when_another_thread_closes_the_ring(verb: str, wait: Any) -> None:
    """ClosedError, and the memory was there until then. (hazard 53)"""
    ring = Ring(capacity=PAGE, records=2, wait=wait)
    calls: dict[str, Callable[[], object]] = {
        "get": ring.get,
        "get_many": lambda: ring.get_many(2),
        "get_into": lambda: ring.get_into(bytearray(1)),
        "borrow": ring.borrow,
        "put": lambda: ring.put(b""),
        "put_many": lambda: ring.put_many([b"", b""]),
        "reserve": lambda: ring.reserve(1),
    }
    is_put = verb in ("put", "put_many", "reserve")
    if is_put:
        ring.put_many([b"", b""])
    started = threading.Event()

    def call() -> None:
        started.set()
        calls[verb]()

    with ThreadPoolExecutor(1) as pool, RingBytes(ring) as shared:
        waiting = pool.submit(call)
        started.wait()
        if wait != "spin":
            at = shared.waiters_at(0) if is_put else shared.WAITERS
            wait_until(lambda: shared.half(at), "a waiting call")
        ring.close()
        with pytest.raises(ClosedError):
            waiting.result(PATIENCE_S)


@pytest.mark.parametrize("verb", ["put", "put_many", "write"])
def test_a_large_put_under_way_is_finished_before_the_lane_is_given_back(
    verb: str, name: str
) -> None:
    """
    Closing in the middle of the copy: the record is whole, the memory is still there. (hazard 53)
    """
    record = b"\xaa" * LARGE
    with Ring.create(name, capacity=LARGE, producers=1) as keeper:
        ring = Ring.open(name)

        def put() -> None:
            if verb == "put":
                ring.put(record)
            elif verb == "put_many":
                assert ring.put_many([record]) == 1
            else:
                with ring.reserve(LARGE) as room:
                    room.write(record)

        with ThreadPoolExecutor(1) as pool, RingBytes(keeper) as shared:
            # One lease more, so that the memory is in place and the copy is what takes time.
            with keeper.producer() as first:
                first.put(b"")
            assert keeper.get() == b""
            putting = pool.submit(put)
            at = shared.bytes_at(0)
            wait_until(lambda: shared.read(at, 1) == b"\xaa" or putting.done(), "the copy")
            ring.close()
            putting.result(PATIENCE_S)
        assert keeper.get_nowait() == record
        assert keeper.stats()["lanes"][0]["producer"] == "departed"
        keeper.unlink()


@pytest.mark.parametrize("waiter", [False, True], ids=["alone", "a put waits"])
def test_a_large_get_under_way_is_finished_before_the_memory_goes(waiter: bool) -> None:
    """Closing in the middle of copying out: the record is whole. (hazard 53)"""
    record = b"\xaa" * LARGE
    ring = Ring(capacity=LARGE, producers=1, records=8)
    ring.put(b"")
    ring.get()  # both roles are taken: the fast path
    ring.put(record)
    buffer = bytearray(LARGE)
    with ThreadPoolExecutor(2) as pool:
        if waiter:
            with RingBytes(ring) as shared:
                putting = pool.submit(ring.put, record)
                wait_until(lambda: shared.half(shared.waiters_at(0)), "a waiting put")
        getting = pool.submit(ring.get_into, buffer)
        wait_until(lambda: buffer[0] == 0xAA, "the copy")
        ring.close()

        assert getting.result(PATIENCE_S) == LARGE
        if waiter:
            try:
                putting.result(PATIENCE_S)
            except ClosedError:
                pass
    assert buffer == record


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("verb", ["get", "get_many", "publish", "read"])
def test_large_copies_of_the_fast_path_survive_a_close_at_any_moment(verb: str, turn: int) -> None:
    """
    A call that began returns what it would have, or ClosedError; the process lives. (hazard 53)
    """
    size = 1 << 20
    record = b"\xaa" * size
    thing: Any
    if verb in ("publish", "read"):
        thing = Slot.create(None, size)
        thing.publish(record)
    else:
        thing = Ring(capacity=5 * size, producers=1, records=16)
        thing.put(b"")
        thing.get()
        thing.put_many([record] * 4)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: thing.get_nowait(),
        "get_many": lambda: thing.get_many(4, timeout=0),
        "publish": lambda: thing.publish(record),
        "read": lambda: thing.read(),
    }
    done = 0

    def work() -> None:
        nonlocal done
        while True:
            try:
                found = calls[verb]()
                assert verb == "publish" or found in (record, [record])
            except Empty:
                pass
            done += 1

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        wait_until(lambda: done > turn // 2, "some calls")
        thing.close()
        with pytest.raises(ClosedError):
            working.result(PATIENCE_S)


def test_a_get_that_waited_for_the_copy_of_another_thread_survives_a_close() -> None:
    """It finds the ring closed when its turn comes, and looks no more. (hazard 53)"""
    record = bytes(4 << 20)

    def drain(ring: Ring) -> None:
        while True:
            ring.get()

    def close_while_two_get() -> None:
        for moment in range(20):
            ring = Ring(capacity=3 * len(record), producers=1, records=16)
            ring.put_many([record] * 2)
            with ThreadPoolExecutor(2) as pool:
                draining = [pool.submit(drain, ring) for _ in range(2)]
                time.sleep(moment * 0.0005)
                ring.close()
                for one in draining:
                    with pytest.raises(ClosedError):
                        one.result(PATIENCE_S)

    with Child(close_while_two_get) as child:
        assert 0 == child.wait()


def test_a_handler_may_close_the_ring_that_a_get_waits_at() -> None:
    """
    A get behind another thread's copy ends with ClosedError, not with the process. (hazard 53)
    """
    record = bytes(8 << 20)

    def close_in_a_handler() -> None:
        for moment in range(20):
            ring = Ring(capacity=2 * len(record), producers=1, records=16)
            ring.put_many([record, b"small"])
            with ThreadPoolExecutor(1) as pool:
                begun = threading.Event()

                def get(ring: Ring = ring, begun: threading.Event = begun) -> None:
                    begun.set()
                    ring.get()

                getting = pool.submit(get)

                def close(_number: int, _frame: Any, ring: Ring = ring) -> None:
                    ring.close()
                    getting.exception(PATIENCE_S)  # noqa: B023

                signal.signal(signal.SIGALRM, close)
                begun.wait()
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + moment * 0.0001)
                with pytest.raises(ClosedError):
                    while True:
                        ring.get()

    with Child(close_in_a_handler) as child:
        assert 0 == child.wait()


def test_a_room_aborted_under_a_write_keeps_its_memory_until_the_write_is_through() -> None:
    """Another thread aborts the room and closes the ring while bytes are copied in. (hazard 53)"""
    record = bytes(16 << 20)

    def abort_while_writing() -> None:
        for _ in range(4):
            ring = Ring(capacity=len(record), producers=1, records=16)
            room = ring.reserve(len(record))
            with RingBytes(ring) as shared, ThreadPoolExecutor(1) as pool:
                shared.write(shared.bytes_at(0), b"\xff")
                writing = pool.submit(room.write, record)
                wait_until(lambda: shared.read(shared.bytes_at(0), 1) == b"\0", "the copy")
                room.abort()
                ring.close()
                assert len(record) == writing.result(PATIENCE_S)

    with Child(abort_while_writing) as child:
        assert 0 == child.wait()


def test_a_reserve_that_waited_for_a_copy_gives_a_whole_room_or_closed_error() -> None:
    """Never a room of a ring that was closed meanwhile. (hazard 53)"""
    record = bytes(4 << 20)

    def reserve(ring: Ring) -> None:
        with ring.reserve(64) as room:
            room.write(bytes(64))

    def close_while_reserving() -> None:
        unraisable: list[Any] = []
        sys.unraisablehook = unraisable.append
        sys.setswitchinterval(1e-6)
        for moment in range(60):
            ring = Ring(capacity=3 * len(record), producers=1, records=16)
            ring.put(b"")
            with ThreadPoolExecutor(2) as pool:
                calls = [pool.submit(ring.put, record), pool.submit(reserve, ring)]
                time.sleep(moment % 12 * 0.0003)
                ring.close()
                for call in calls:
                    assert isinstance(call.exception(PATIENCE_S), ClosedError | None)
        assert [] == [str(one.exc_value) for one in unraisable]

    with Child(close_while_reserving) as child:
        assert 0 == child.wait()


def test_a_waiting_publisher_among_many_ends_when_the_slot_is_closed() -> None:
    """It waits for one that is inside, and is told. (hazard 53)"""
    slot = Slot.create(None, 8, writers="many")
    slot.publish(bytes(8))
    with ThreadPoolExecutor(1) as pool, SlotBytes(slot) as shared:
        # Our own tag: another thread of this process is inside.
        table = shared.word(40 - shared.object)
        row = slot.region.participants()[0].row
        generation = shared.word(table + 64 * row - shared.object)
        shared.set_half(shared.writer_at, generation % 2**22 << 10 | row)
        publishing = pool.submit(slot.publish, bytes(8))
        assert not publishing.done()
        slot.close()
        with pytest.raises(ClosedError):
            publishing.result(PATIENCE_S)


def test_handles_closed_by_one_thread_and_used_by_others_end_well() -> None:
    """Producers and consumers come and go in threads; what was put is got."""
    with Ring(capacity=PAGE, producers=4, records=8) as ring, ThreadPoolExecutor(4) as pool:

        def come_and_go(who: int) -> int:
            count = 0
            for turn in range(60):
                with ring.producer() as sender:
                    for _ in range(turn % 4):
                        sender.put(b"%d" % who, timeout=PATIENCE_S)
                        count += 1
            return count

        putting = [pool.submit(come_and_go, who) for who in range(3)]
        got = 0
        while not all(each.done() for each in putting) or len(ring):
            with ring.consumer() as receiver:
                try:
                    got += len(receiver.get_many(3, timeout=0.01))
                except Empty:
                    pass
        assert sum(each.result() for each in putting) == got


# ---- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "put", "wait_newer"])
@pytest.mark.parametrize("wait", ["adaptive", "sleep", "spin"])
def test_a_wait_runs_signal_handlers_and_ends_with_their_exception(verb: str, wait: Any) -> None:
    """As Ctrl-C does; a handler that returns does not end it."""
    seen: list[int] = []
    begun = threading.Event()

    def handler(_number: int, _frame: object) -> None:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt

    def interrupt() -> None:
        begun.wait()
        for count in range(3):
            os.kill(os.getpid(), signal.SIGALRM)
            wait_until(lambda: len(seen) > count, "the handler")  # noqa: B023

    old = signal.signal(signal.SIGALRM, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with Ring(capacity=PAGE, records=1, wait=wait) as ring, Slot.create(None, "d") as slot:
            calls: dict[str, Callable[[], object]] = {
                "get": ring.get,
                "put": lambda: ring.put(b""),
                "wait_newer": lambda: slot.wait_newer(0),
            }
            if verb == "put":
                ring.put(b"")
            with pytest.raises(KeyboardInterrupt):
                begun.set()
                calls[verb]()
            if verb != "put":
                ring.put(b"")
            assert ring.get() == b""
    finally:
        begun.set()
        thread.join()
        signal.signal(signal.SIGALRM, old)
    assert len(seen) == 3


def test_a_waiting_thread_lets_others_run() -> None:
    """The GIL is free while one waits, however it waits."""
    ways: list[Any] = ["adaptive", "sleep", "spin"]
    for wait in ways:
        with Ring(capacity=PAGE, wait=wait) as ring, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ring.get)
            for _ in range(100):
                time.sleep(0)  # gives the GIL away, and needs it again
            ring.put(b"x")

            assert waiting.result(PATIENCE_S) == b"x"


# ---- the fast path -------------------------------------------------------------------------------


#: read, write, exit_group
CALLS = {"x86_64": (0, 1, 231), "aarch64": (63, 64, 94)}


class Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction)))


def forbid_system_calls() -> bool:
    """From now on any system call but read, write and the end kills this process."""
    allowed = CALLS[os.uname().machine]
    load, equal, end = 0x20, 0x15, 0x06
    kill, allow = 0x80000000, 0x7FFF0000
    steps = [(load, 0, 0, 0)]
    steps += [(equal, len(allowed) - n, 0, number) for n, number in enumerate(allowed)]
    steps += [(end, 0, 0, kill), (end, 0, 0, allow)]
    program = Program(len(steps), (Instruction * len(steps))(*[Instruction(*s) for s in steps]))
    libc = ctypes.CDLL(None)
    return bool(
        libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
        and libc.prctl(22, 2, ctypes.byref(program), 0, 0)
        == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    )


@pytest.mark.skipif(
    os.uname().machine not in CALLS, reason="system calls are not known by number here"
)
@pytest.mark.parametrize("what", ["ring", "batches", "loans", "slot", "nothing", "a system call"])
def test_the_fast_path_makes_no_system_call(what: str) -> None:
    """1,000 puts that find room, and gets, in a process that any system call would kill."""
    record = b"x" * 64
    with Ring(capacity="64 KiB", producers=2) as ring, Slot.create(None, 64) as slot:

        def work() -> None:
            if what == "ring":
                for _ in range(1000):
                    ring.put(record)
                    ring.put_nowait(record)
                    ring.get()
                    ring.get_nowait()
            elif what == "batches":
                for _ in range(1000):
                    ring.put_many([record, record])
                    ring.get_many(2)
            elif what == "loans":
                for _ in range(1000):
                    with ring.reserve(64) as room:
                        room.write(record)
                    with ring.borrow():
                        pass
            elif what == "slot":
                for _ in range(1000):
                    slot.publish(record)
                    slot.read()
            elif what == "a system call":
                os.getppid()

        def run() -> None:
            gc.disable()
            work()
            work()  # roles are taken, free lists are full
            if not forbid_system_calls():
                os._exit(77)
            work()
            os._exit(0)

        with Child(run) as child:
            status = child.wait()
        if status == 77:
            pytest.skip("no seccomp filters here")

        assert status == (-signal.SIGSYS if what == "a system call" else 0)


@pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="this Python does not count")
@pytest.mark.parametrize(
    "buffer", [b"x" * 64, bytearray(64), memoryview(bytes(64))], ids=lambda b: type(b).__name__
)
def test_a_put_that_finds_room_allocates_nothing(buffer: Any) -> None:
    """As many blocks after 1,000 puts as before; get leaves only its results."""
    with Ring(capacity="1 MiB", producers=1, records=4096) as ring:
        put, get = ring.put, ring.get_nowait
        for _ in range(100):
            put(buffer)
            get()
        turns = list(range(1000))

        def growth() -> tuple[int, int]:
            before = sys.getallocatedblocks()
            for _ in turns:
                put(buffer)
            after_puts = sys.getallocatedblocks()
            for _ in turns:
                get()
            return abs(after_puts - before), abs(sys.getallocatedblocks() - after_puts)

        gc.disable()
        try:
            # another thread of the test runner may work amid a round, and a block for each put is
            # a thousand in every round
            rounds = [growth() for _ in range(9)]
        finally:
            gc.enable()

        assert min(puts for puts, _ in rounds) <= 2
        assert min(gets for _, gets in rounds) <= 10


CLOSED_DURING_A_COPY = """
import sys, threading
from memlane import ClosedError, Ring

NBYTES = 8 << 20
ring = Ring(capacity=NBYTES + 64, producers=1, consumers=sys.argv[1])
ring.put(b"the role is taken")
assert ring.get()
ring.put(b"x" * NBYTES)
begins = threading.Lock()
begins.acquire()
found = []

def get():
    begins.release()
    try:
        found.append(ring.get_many(3)[0] if sys.argv[2] == "get_many" else ring.get())
    except ClosedError:
        found.append("closed before the copy began")

sys.setswitchinterval(1000)  # nobody gets the interpreter's lock who is not given it: by the copy
thread = threading.Thread(target=get)
thread.start()
begins.acquire()
ring.close()
thread.join()
print("whole" if [b"x" * NBYTES] == found else found)
"""


@pytest.mark.parametrize("verb", ["get", "get_many"])
@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_ring_that_is_closed_while_a_record_is_copied_out_stays_mapped_until_that_is_done(
    consumers: str, verb: str
) -> None:
    """The copy lets other threads run, and one of them closes the ring at once."""
    program = unrelated(CLOSED_DURING_A_COPY, consumers, verb)
    assert output_of(program) in ("whole\n", "['closed before the copy began']\n")
