# SPDX-License-Identifier: MIT
"""What `Ring(consumers="many")` promises: each record to one process, whatever dies or stops."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memlane import (
    ClosedError,
    CorruptedError,
    Empty,
    Full,
    LayoutError,
    PeerGoneError,
    Ring,
    ShutDown,
    _core,
)
from tests.support.processes import PATIENCE_S, Child, drained, output_of, unrelated, wait_until
from tests.support.shared_bytes import DEAD_TAG, FREE, TAKEN, RingBytes
from tests.support.slices import rounds_without_a_slice

pytestmark = pytest.mark.machine

PAGE = 4096


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A small ring without a name."""
    with Ring(capacity=PAGE, producers=4, records=8, consumers="many") as made:
        yield made


class Pipe:
    """Lines from children to the test."""

    def __init__(self) -> None:
        read_end, self._write_end = os.pipe()
        self._lines = os.fdopen(read_end, "rb")

    def send(self, line: bytes) -> None:
        os.write(self._write_end, line + b"\n")

    def line(self) -> bytes:
        return self._lines.readline()[:-1]

    def close(self) -> None:
        os.close(self._write_end)

    def rest(self) -> list[bytes]:
        """All that is still to come, once every child is gone."""
        self.close()
        with self._lines:
            return self._lines.read().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    if not made._lines.closed:
        made.close()
        made._lines.close()


def holding(ring: Ring, pipe: Pipe, *, then: Callable[[Any], None] | None = None) -> Child:
    """A child with a borrowed record in hand, which it has told the pipe."""

    def hold() -> None:
        with ring.borrow() as record:
            pipe.send(bytes(record))
            if then is None:
                signal.pause()
            else:
                then(record)

    return Child(hold)


# ---- each record to one --------------------------------------------------------------------------


def test_each_record_goes_to_one_process_and_keeps_the_order_of_its_producer(pipe: Pipe) -> None:
    """Four processes get what two put; each sees the records of a producer in their order."""
    count = 3000
    ring = Ring(capacity=PAGE, producers=2, consumers="many")

    def consume(me: int) -> None:
        verbs: list[Callable[[], list[bytes]]] = [
            lambda: [ring.get()],
            lambda: ring.get_many(5),
            lambda: [borrowed(ring)],
        ]
        with contextlib.suppress(ShutDown):
            for verb in itertools.cycle(verbs):
                for record in verb():
                    pipe.send(b"%d %s" % (me, record))

    def produce(me: int) -> None:
        for number in range(count):
            ring.put(b"%d %d" % (me, number))

    consumers = [Child(consume, me) for me in range(4)]
    producers = [Child(produce, me) for me in range(2)]
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(pipe.rest()))
    with ring:
        reader.start()
        assert [child.wait() for child in producers] == [0, 0]
        ring.shutdown()
        assert [child.wait() for child in consumers] == [0, 0, 0, 0]
    reader.join()
    seen: dict[tuple[bytes, bytes], list[int]] = {}
    for line in lines:
        consumer, producer, number = line.split()
        seen.setdefault((consumer, producer), []).append(int(number))
    for numbers in seen.values():
        assert numbers == sorted(numbers)
    for producer in (b"0", b"1"):
        all_of = sorted(n for (_, p), numbers in seen.items() if p == producer for n in numbers)
        assert all_of == list(range(count))


def borrowed(ring: Ring) -> bytes:
    with ring.borrow() as record:
        return bytes(record)


def test_threads_of_one_process_compete_like_processes(ring: Ring) -> None:
    """No record twice, none lost, with no lock among them. (hazard 52)"""
    found: list[bytes] = []

    def consume() -> None:
        for record in ring.consumer():
            found.append(record)

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        ring.put(b"%d" % number)
    ring.shutdown()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert Tally(found) == Tally(b"%d" % number for number in range(2000))


def test_unrelated_programs_compete_for_a_named_ring(name: str) -> None:
    """Nobody is refused: a process that opens the ring may get."""
    with Ring.create(name, capacity=PAGE, consumers="many") as ring:
        programs = [
            unrelated(
                "import memlane, sys\n"
                "with memlane.Ring.open(sys.argv[1]) as ring:\n"
                "    print(sum(int(record) for record in ring))\n",
                name,
            )
            for _ in range(2)
        ]
        ring.put_many([b"%d" % number for number in range(500)])
        ring.shutdown()
        total = sum(int(output_of(program)) for program in programs)
        total += sum(int(record) for record in ring)
        ring.unlink()

    assert sum(range(500)) == total


def test_what_consumers_a_ring_has_is_part_of_its_geometry(name: str) -> None:
    """A process that asks for the other kind is told, not given a ring that refuses or robs."""
    with Ring.create(name, consumers="many") as ring:
        with pytest.raises(LayoutError, match="consumers='many', expected 'one'"):
            Ring.open_or_create(name, consumers="one")
        Ring.open_or_create(name, consumers="many").close()
        assert "many" == ring.stats()["consumers"]
        ring.unlink()


# ---- death ---------------------------------------------------------------------------------------


def test_what_a_killed_consumer_had_in_hand_goes_to_another_one_and_is_marked(
    ring: Ring, pipe: Pipe
) -> None:
    """The live ones lose nothing; of the dead one's record `redelivered` and `stats()` tell."""
    ring.put_many([b"in hand", b"other"])
    with holding(ring, pipe) as child:
        assert b"in hand" == pipe.line()
        with ring.borrow() as record:
            assert (b"other", False) == (bytes(record), record.redelivered)
        with pytest.raises(Empty):
            ring.get_nowait()
        child.kill()
        with ring.borrow(timeout=0) as record:
            assert (b"in hand", True) == (bytes(record), record.redelivered)

        assert 1 == ring.stats()["redelivered"]
        assert [] == drained(ring)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_no_python_runs_where_a_put_is_woken_by_one_that_never_woke_it_before(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A doorbell is attached behind a record that was taken, which a handler of a signal must not
    lose. (hazard 41)
    """
    with Ring(capacity=PAGE, records=8, consumers=kind, wait="sleep") as ring:
        ring.put_many([b"%d" % number for number in range(8)])

        def put() -> None:
            ring.put(b"late")

        def run(*_arguments: object) -> None:
            raise KeyboardInterrupt

        with Child(put) as child, RingBytes(ring) as shared:
            # the child's lane is another one: it waits for room in none
            assert 0 == child.wait()
            waiter = threading.Thread(target=ring.put, args=(b"last",))
            waiter.start()
            wait_until(lambda: shared.half(shared.waiters_at(0)), "the put to sleep")
            monkeypatch.setattr(ring.region._member.doorbells, "at", run)
            monkeypatch.setattr(ring.region._member.doorbells, "make", run)
            found: list[bytes] = []
            while len(found) < 10:
                found += ring.get_many(2, timeout=PATIENCE_S)
            waiter.join(PATIENCE_S)

        assert sorted([*(b"%d" % number for number in range(8)), b"last", b"late"]) == sorted(found)


@pytest.mark.parametrize("verb", ["get", "get_many", "get_into", "borrow"])
def test_every_verb_takes_over_from_the_dead(ring: Ring, pipe: Pipe, verb: str) -> None:
    """Also while it waits: within a recheck interval, with nobody to wake it."""
    ring.put(b"in hand")
    buffer = bytearray(7)
    with holding(ring, pipe) as child:
        assert b"in hand" == pipe.line()
        killer = threading.Timer(0.05, child.signal, [signal.SIGKILL])
        killer.start()
        if verb == "get":
            buffer[:] = ring.get(timeout=PATIENCE_S)
        elif verb == "get_many":
            buffer[:] = ring.get_many(9, timeout=PATIENCE_S)[0]
        elif verb == "get_into":
            assert 7 == ring.get_into(buffer, timeout=PATIENCE_S)
        else:
            with ring.borrow(timeout=PATIENCE_S) as record:
                buffer[:] = bytes(record)
        killer.join()

    assert b"in hand" == buffer


def test_a_stopped_consumer_keeps_what_it_has_and_nothing_else(ring: Ring, pipe: Pipe) -> None:
    """SIGSTOP for as long as you like: the others go on, it loses nothing, and ends its work."""

    ring.put(b"held")
    with holding(ring, pipe) as child:
        assert b"held" == pipe.line()
        child.stop()
        for number in range(100):
            ring.put(b"%d" % number)
            assert b"%d" % number == ring.get(timeout=PATIENCE_S)
            if number == 6:
                break  # seven behind the one that is held: the lane is full
        with pytest.raises(Empty):
            ring.get(timeout=0.25)  # some slices
        with ring.producer() as other:
            for number in range(50):
                other.put(b"%d" % number, timeout=PATIENCE_S)
                assert b"%d" % number == ring.get(timeout=PATIENCE_S)
        assert 0 == ring.stats()["redelivered"]
        child.go_on()


def test_one_that_was_stopped_goes_on_with_its_record(ring: Ring, pipe: Pipe) -> None:
    """After SIGCONT it releases what it held, and the room comes back."""
    ready, go = os.pipe()

    def release(record: Any) -> None:
        os.read(ready, 1)
        pipe.send(b"still " + bytes(record))

    ring.put(b"held")
    with holding(ring, pipe, then=release) as child:
        assert b"held" == pipe.line()
        child.stop()
        ring.put_many([b"x"] * 7)
        assert 7 == len(ring.get_many(9))
        with pytest.raises(Empty):
            ring.get_nowait()
        child.go_on()
        os.write(go, b"!")
        assert b"still held" == pipe.line()
        assert 0 == child.wait()
        assert 8 == ring.put_many([b"y"] * 8, timeout=PATIENCE_S)
        assert [b"y"] * 8 == drained(ring)
    os.close(ready)
    os.close(go)


def test_a_full_lane_goes_on_though_another_lane_stays_busy(ring: Ring, pipe: Pipe) -> None:
    """
    Lane A is full behind a dead consumer's record, lane B always has something. (hazard 40)
    """
    ring.put(b"a in hand")
    with holding(ring, pipe) as child:
        assert b"a in hand" == pipe.line()
        for _ in range(7):
            ring.put(b"a")
        child.kill()
    through = threading.Event()

    def wait_for_room() -> None:
        ring.put(b"a late", timeout=PATIENCE_S)
        through.set()

    waiter = threading.Thread(target=wait_for_room)
    waiter.start()
    found = []
    with ring.producer() as busy:
        while not through.is_set():
            with contextlib.suppress(Full):
                while True:
                    busy.put_nowait(b"b")
            found.append(ring.get(timeout=0))
    waiter.join(PATIENCE_S)
    found += drained(ring)

    assert 1 == found.count(b"a in hand")
    assert 7 == found.count(b"a")
    assert 1 == found.count(b"a late")


def test_a_producer_that_waits_for_room_is_served_by_the_next_consumer_to_come(
    ring: Ring, pipe: Pipe
) -> None:
    """The only consumer died with the oldest record in hand; a newcomer finds it. (hazard 39)"""
    ring.put_many([b"x"] * 8)
    with holding(ring, pipe) as child:
        assert b"x" == pipe.line()
        child.kill()

    def consume() -> None:
        found: list[bytes] = []
        while len(found) < 8:
            found += ring.get_many(8 - len(found))
        assert [b"x"] * 8 == found

    with pytest.raises(Full):
        ring.put(b"y", timeout=0.01)
    with Child(consume) as newcomer:
        ring.put(b"y", timeout=PATIENCE_S)
        assert 0 == newcomer.wait()
    assert b"y" == ring.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("moved", [False, True])
def test_a_take_that_was_cut_anywhere_is_finished_by_the_next(ring: Ring, moved: bool) -> None:
    """
    The tag of a dead consumer is in the state, `taken` has moved or not yet. (hazard 39)
    """
    ring.put_many([b"0", b"1", b"2"])
    with RingBytes(ring) as shared:
        shared.set_word(shared.state_at(0, 0), DEAD_TAG << 32 | 0 << 3 | TAKEN)
        if moved:
            shared.set_word(shared.taken_at(0), 1)

        assert [b"1", b"2", b"0"] == drained(ring)
        assert shared.state(0, FREE) == shared.word(shared.state_at(0, 0))
        assert 3 == shared.word(shared.taken_at(0))


def test_one_that_dies_while_it_takes_over_leaves_the_record_to_the_next(
    ring: Ring, pipe: Pipe
) -> None:
    """A line of consumers, each killed with the same record in hand. (hazard 39)"""
    ring.put(b"hot")
    for _ in range(5):
        with holding(ring, pipe) as child:
            assert b"hot" == pipe.line()
            child.kill()

    assert b"hot" == ring.get(timeout=PATIENCE_S)
    assert 5 == ring.stats()["redelivered"]


def test_what_was_handed_back_is_not_called_redelivered(ring: Ring) -> None:
    """Tag 0: taken by one that lives and could not hand it out. Nobody has seen it."""
    ring.put(b"back")
    with RingBytes(ring) as shared:
        shared.set_word(shared.state_at(0, 0), 0 << 32 | 0 << 3 | TAKEN)
        shared.set_word(shared.taken_at(0), 1)

    with ring.borrow(timeout=0) as record:
        assert (b"back", False) == (bytes(record), record.redelivered)
    assert 0 == ring.stats()["redelivered"]


def test_a_dead_hand_is_found_behind_more_live_ones_than_one_look_asks_for(pipe: Pipe) -> None:
    """A look asks the kernel about eight holders; the next look goes on behind them. (hazard 30)"""
    with Ring(capacity=PAGE, consumers="many") as ring:
        ring.put_many([b"%d" % number for number in range(21)])
        children = []
        for number in range(21):
            children.append(holding(ring, pipe))
            assert b"%d" % number == pipe.line()
        children[20].kill()
        found: list[bytes] = []

        def look() -> int:
            found.extend(drained(ring))
            return len(found)

        wait_until(look, "the record of the dead one")
        children[3].kill()
        wait_until(lambda: look() == 2, "the other one")
        for child in children:
            child.kill()

        assert [b"20", b"3"] == found


def test_an_empty_look_does_not_walk_over_what_was_freed_behind_a_held_record() -> None:
    """
    What is free stays free: a state there that would be found by a walk is found by the next pass,
    a recheck interval later at the earliest, and not by each look.
    """
    with Ring(capacity="1 MiB", producers=1, consumers="many") as ring, RingBytes(ring) as shared:
        ring.put_many([b"held", *[b"x"] * 100])
        with ring.borrow():
            assert 100 == len(ring.get_many(100))
            # the pass may be due just then, so not each try tells
            for number in range(1, 100):
                assert [] == drained(ring)
                shared.set_word(shared.state_at(0, number), DEAD_TAG << 32 | number << 3 | TAKEN)
                looks = 0
                while not drained(ring):
                    looks += 1
                if looks:
                    break
            assert looks > 0
            assert number == ring.stats()["redelivered"]


@pytest.mark.parametrize("timeout", [0, PATIENCE_S])
def test_one_look_takes_a_bounded_number_of_steps_and_who_waits_finishes_before_it_sleeps(
    timeout: float,
) -> None:
    """Behind a record that somebody keeps 20,000 were freed, and a dead hand is behind them all."""
    with (
        Ring(capacity="2 MiB", producers=1, consumers="many") as ring,
        RingBytes(ring) as shared,
    ):
        ring.put(b"held")
        with ring.borrow():
            for _ in range(20_000):
                ring.put(b"x")
                ring.get()
            ring.put(b"dead")
            last = 20_001
            shared.set_word(shared.state_at(0, last), DEAD_TAG << 32 | last << 3 | TAKEN)
            shared.set_word(shared.taken_at(0), last + 1)

            def look() -> None:
                looks, slept = 0, _core.intervals_slept()
                while not (found := once()):
                    looks += 1
                assert b"dead" == found
                assert slept == _core.intervals_slept()
                if timeout:
                    assert 0 == looks
                else:
                    assert (
                        20_000 // 1024 <= looks <= 20_000 // 512
                    )  # a get that finds nothing looks twice

            def once() -> bytes | None:
                try:
                    return ring.get(timeout=timeout)
                except Empty:
                    return None

            with Child(look) as child:
                assert 0 == child.wait()


def test_a_look_goes_on_behind_more_lanes_than_one_can_take_a_step_in() -> None:
    """Somebody keeps a record of each of 1,000 lanes; a dead hand has another one of the last."""
    with (
        Ring(capacity=PAGE, producers=1000, consumers="many") as ring,
        RingBytes(ring) as shared,
    ):
        producers = [ring.producer() for _ in range(1000)]
        for producer in producers:
            producer.put(b"held")
        loans = [ring.borrow() for _ in producers]
        producers[-1].put(b"dead")
        lane = max(of["lane"] for of in ring.stats()["lanes"])
        shared.set_word(shared.state_at(lane, 1), DEAD_TAG << 32 | 1 << 3 | TAKEN)
        shared.set_word(shared.taken_at(lane), 2)
        assert b"dead" == ring.get(timeout=PATIENCE_S)
        for loan in loans:
            loan.release()


def test_a_process_that_cannot_tell_who_lives_robs_nobody(ring: Ring) -> None:
    """It has closed its descriptors: whom it asks for is unknown to it, and unknown is not dead."""
    ring.put_many([b"parent's", b"child's"])
    with ring.borrow() as record:

        def look() -> None:
            assert b"child's" == ring.get(timeout=0)
            found = os.stat(ring.region._member.base)
            for number in map(int, os.listdir("/proc/self/fd")):
                with contextlib.suppress(OSError):
                    if os.path.samestat(found, os.fstat(number)):
                        os.close(number)
            for verb in (ring.get, ring.borrow, lambda timeout: ring.get_many(2, timeout=timeout)):
                with pytest.raises((Empty, ClosedError)):
                    verb(timeout=0)

        with Child(look) as child:
            assert 0 == child.wait()
        assert b"parent's" == bytes(record)
        with RingBytes(ring) as shared:
            assert shared.word(shared.state_at(0, 0)) >> 32 not in (0, DEAD_TAG)
    assert 0 == ring.stats()["redelivered"]


def test_a_consumer_that_was_taken_for_dead_releases_nothing_of_its_successor(
    ring: Ring, pipe: Pipe
) -> None:
    """It was taken for dead: its record bears another tag, which stays as it is. (hazard 45)"""
    ring.put(b"x")
    with RingBytes(ring) as shared:
        record = ring.borrow()
        shared.set_word(shared.state_at(0, 0), DEAD_TAG << 32 | 0 << 3 | TAKEN)
        record.release()

        assert DEAD_TAG << 32 | 0 << 3 | TAKEN == shared.word(shared.state_at(0, 0))
    assert b"x" == ring.get_nowait()


def test_a_child_neither_releases_nor_keeps_what_its_parent_had_in_hand(ring: Ring) -> None:
    """Its copy of the loan does nothing; the parent's stays, and ends with the parent's release."""
    ring.put_many([b"parent's", b"child's"])
    with ring.borrow() as record:

        def use() -> None:
            record.release()
            assert b"child's" == ring.get(timeout=0)
            with pytest.raises(Empty):
                ring.get_nowait()

        with Child(use) as child:
            assert 0 == child.wait()
        assert b"parent's" == bytes(record)
        assert [] == drained(ring)
    with RingBytes(ring) as shared:
        assert shared.state(0, FREE) == shared.word(shared.state_at(0, 0))


def test_too_small_a_buffer_leaves_the_record_to_others(ring: Ring) -> None:
    """A live consumer that cannot use the next record takes nothing. (hazard 41)"""
    ring.put(b"12345678")
    with pytest.raises(ValueError, match="8 bytes, the buffer 4"):
        ring.get_into(bytearray(4))

    def other() -> None:
        assert b"12345678" == ring.get_nowait()

    with Child(other) as child:
        assert 0 == child.wait()


# ---- waiting -------------------------------------------------------------------------------------


def test_one_record_wakes_one_of_many_sleepers(pipe: Pipe) -> None:
    """No herd: the others stay announced."""
    with Ring(capacity=PAGE, consumers="many", wait="sleep") as ring, RingBytes(ring) as shared:

        def get() -> None:
            pipe.send(ring.get())

        def sleep(count: int) -> bool:
            return shared.half(shared.WAITERS) == count

        children = [Child(get) for _ in range(6)]
        for left in range(6, 0, -1):
            # each announces itself anew once a recheck interval, so it may be absent for a moment
            wait_until(partial(sleep, left), "the sleepers")
            ring.put(b"wake")
            assert b"wake" == pipe.line()
        assert [0] * 6 == [child.wait() for child in children]


def test_a_starved_consumer_is_not_woken_for_every_record_and_sleeps_when_the_others_stop(
    pipe: Pipe,
) -> None:
    """While another one takes all, a waiter looks now and then; then the bell rings again."""
    rounds = 4000
    with Ring(capacity=PAGE, consumers="many", wait="sleep") as ring, RingBytes(ring) as shared:

        def get() -> None:
            for record in ring:
                if record != b"flow":
                    pipe.send(record)

        def woken(child: Child) -> int:
            """How often the child went to sleep while records flowed by."""
            before = child.switches()
            for _ in range(rounds):
                ring.put(b"flow")
                with contextlib.suppress(Empty):  # the child is faster now and then
                    ring.get_nowait()
            return child.switches() - before

        def asleep() -> bool:
            return shared.half(shared.WAITERS) == 1

        with Child(get) as child:
            # Where this process lost its processor the flow stood still, and the try says nothing.
            for _ in range(30):
                wait_until(asleep, "the child to sleep")
                if woken(child) < rounds // 16:
                    break
            else:
                pytest.fail("the child was woken all the time")

            def sleeps_after_a_question() -> bool:
                ring.put(b"question")
                assert b"question" == pipe.line()
                end = time.monotonic_ns() + 300_000  # in which one who stays away says nothing
                while time.monotonic_ns() < end:
                    if asleep():
                        return True
                    time.sleep(20e-6)  # it may want this processor
                return False

            assert any(sleeps_after_a_question() for _ in range(1000))
            wait_until(asleep, "the child to sleep again")
            ring.put(b"for you")
            ring.shutdown()
            assert 0 == child.wait()
            assert [b"for you"] == pipe.rest()


def test_a_killed_sleeper_costs_the_others_nothing_but_a_slice(pipe: Pipe) -> None:
    """What it swallowed, a token or an announcement, is made up for by a look. (hazard 29)"""
    with Ring(capacity=PAGE, consumers="many", wait="sleep") as ring, RingBytes(ring) as shared:

        def get() -> None:
            for record in ring:
                pipe.send(record)

        for _ in range(5):
            with Child(get) as victim, Child(get) as survivor:
                wait_until(lambda: shared.half(shared.WAITERS) >= 2, "both to sleep")
                victim.stop()
                ring.put_many([b"1", b"2"])
                victim.kill()
                assert [b"1", b"2"] == sorted([pipe.line(), pipe.line()])
                survivor.kill()
            shared.set_half(shared.WAITERS, 0)


# ---- the end -------------------------------------------------------------------------------------


def test_the_end_waits_for_what_others_have_in_hand(ring: Ring, pipe: Pipe) -> None:
    """If they die, waiting consumers get it; they finish it, and all come to the end."""
    ready, go = os.pipe()

    def until_told(_record: Any) -> None:
        os.read(ready, 1)

    ring.put(b"x")
    with holding(ring, pipe, then=until_told) as child:
        assert b"x" == pipe.line()
        ring.shutdown()
        with pytest.raises(Empty):
            ring.get(timeout=0.15)
        os.write(go, b"!")
        with pytest.raises(ShutDown):
            ring.get(timeout=PATIENCE_S)
        assert 0 == child.wait()
    os.close(ready)
    os.close(go)


def test_what_a_consumer_had_in_hand_when_it_died_comes_before_the_end(
    ring: Ring, pipe: Pipe
) -> None:
    """(hazard 51)"""
    ring.put(b"x")
    with holding(ring, pipe) as child:
        assert b"x" == pipe.line()
        ring.shutdown()
        killer = threading.Timer(0.05, child.signal, [signal.SIGKILL])
        killer.start()

        assert [b"x"] == list(ring)
        killer.join()


def test_who_holds_a_record_itself_does_not_wait_for_those_of_others(
    ring: Ring, pipe: Pipe
) -> None:
    """Two who hold a record each would wait for each other. (hazard 50)"""
    ring.put_many([b"theirs", b"mine"])
    with holding(ring, pipe) as child:
        assert b"theirs" == pipe.line()
        with ring.borrow() as record:
            ring.shutdown()
            with pytest.raises(ShutDown):
                ring.get(timeout=PATIENCE_S)
            assert b"mine" == bytes(record)
        child.kill()


def test_an_immediate_end_drops_what_is_left_and_waits_for_nobody(ring: Ring, pipe: Pipe) -> None:
    """Dropped unseen; what somebody has in hand is his to finish."""
    ring.put_many([b"x"] * 4)
    with holding(ring, pipe) as child:
        assert b"x" == pipe.line()
        ring.shutdown(immediate=True)
        with pytest.raises(ShutDown):
            ring.get(timeout=PATIENCE_S)
        assert 0 == len(ring)
        child.kill()
        with pytest.raises(ShutDown):
            ring.get(timeout=PATIENCE_S)


def test_all_who_wait_come_to_the_end(pipe: Pipe) -> None:
    """Sleepers are woken by the shutdown, and by the last one to finish."""
    with Ring(consumers="many", wait="sleep") as ring, RingBytes(ring) as shared:

        def consume() -> None:
            assert [] == list(ring)

        children = [Child(consume) for _ in range(5)]
        wait_until(lambda: shared.half(shared.WAITERS) == 5, "the sleepers")
        ring.shutdown()
        assert [0] * 5 == [child.wait() for child in children]


def test_a_ring_whose_producers_are_gone_says_so_to_all(ring: Ring) -> None:
    """`require_peer`: the backlog first, then at once."""

    def produce() -> None:
        ring.put(b"last")

    with Child(produce) as child:
        assert 0 == child.wait()

    def consume() -> None:
        with pytest.raises(PeerGoneError):
            ring.get(require_peer=True)

    assert b"last" == ring.get(require_peer=True)
    with Child(consume) as other:
        assert 0 == other.wait()
    with pytest.raises(PeerGoneError):
        ring.get(require_peer=True)


# ---- other ways to start processes ---------------------------------------------------------------


def _sum_up(ring: Ring) -> int:
    return sum(int(record) for record in ring)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_pool_compete_however_they_were_started(method: str) -> None:
    """A ring without a name goes to them as an argument; each becomes a consumer at first use."""
    context = multiprocessing.get_context(method)
    with (
        Ring(capacity=PAGE, consumers="many") as ring,
        ProcessPoolExecutor(2, mp_context=context) as pool,
    ):
        sums = [pool.submit(_sum_up, ring) for _ in range(2)]
        for number in range(300):
            ring.put(b"%d" % number, timeout=PATIENCE_S)
        ring.shutdown()
        assert sum(range(300)) == sum(future.result(PATIENCE_S) for future in sums)


# ---- handles and hostile bytes -------------------------------------------------------------------


def test_closing_with_a_record_in_hand_keeps_it_until_it_is_released(name: str) -> None:
    """The row lives as long as the loan: nobody takes the record over before. (hazard 56)"""
    with Ring.create(name, consumers="many") as ring:
        ring.put(b"x")
        user = Ring.open(name)
        record = user.borrow()
        user.close()
        with pytest.raises(ClosedError):
            user.get()
        assert b"x" == bytes(record)
        assert [] == drained(ring)
        record.release()
        assert [] == drained(ring)
        ring.unlink()


def test_an_extent_that_is_out_of_bounds_is_called_corrupt_and_nothing_is_taken(ring: Ring) -> None:
    """(hazard 47)"""
    ring.put(b"x")
    with RingBytes(ring) as shared:
        shared.set_word(shared.extent_at(0, 0), 2**64 - 1)
        for verb in (ring.get_nowait, ring.borrow, lambda: ring.get_many(3)):
            with pytest.raises(CorruptedError):
                verb()
        shared.set_word(shared.extent_at(0, 0), shared.extent(0, 1))
    assert b"x" == ring.get_nowait()


@pytest.mark.parametrize("taken", [3, 2**29, 2**63, 2**64 - 1])
def test_no_number_in_taken_makes_a_get_endless(ring: Ring, taken: int) -> None:
    """Wrong by a little or by much: an error or the data, in bounded time. (hazard 47)"""
    ring.put_many([b"x", b"y"])
    with RingBytes(ring) as shared:
        shared.set_word(shared.taken_at(0), taken)
        for timeout in (0.01, 0):
            with contextlib.suppress(Empty, CorruptedError):
                assert set(ring.get_many(9, timeout=timeout)) <= {b"x", b"y"}
        ring.shutdown(immediate=True)


def test_a_ring_of_many_consumers_can_be_opened_by_its_path(tmp_path: Path) -> None:
    """File, directory entry and geometry: the same as for one."""
    path = tmp_path / "ring.lane"
    with Ring.create(path, consumers="many") as ring:
        ring.put(b"x")
        with Ring.open(path) as again:
            assert "many" == again.stats()["consumers"]
        assert b"x" == ring.get()
        ring.unlink()


# ---- who is woken without a recheck interval in between
# -----------------------------------------------------


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_who_was_woken_and_sees_more_wakes_the_next_sleeper(consumers: Any) -> None:
    """Two records and one post: their producer was killed before the second one."""
    for slices in rounds_without_a_slice():
        with (
            Ring(capacity=PAGE, producers=1, consumers=consumers, wait="sleep") as ring,
            RingBytes(ring) as shared,
            ThreadPoolExecutor(2) as pool,
        ):
            ring.put(b"used")
            assert b"used" == ring.get()
            sleepers = [pool.submit(ring.get) for _ in range(2)]
            wait_until(lambda: shared.half(shared.WAITERS) == 2, "two sleepers")
            shared.stage(0, 2, 64, b"second")
            with slices:
                ring.put(b"first")
                found = {sleeper.result(PATIENCE_S) for sleeper in sleepers}
            assert {b"first", b"second"} == found


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_get_that_finds_nothing_wakes_a_put_that_has_room_however_little(consumers: Any) -> None:
    """One record of 64 was got, which rings for nobody; all others are on loan."""
    with (
        Ring(capacity="64 KiB", records=64, producers=1, consumers=consumers, wait="sleep") as ring,
        RingBytes(ring) as shared,
        ThreadPoolExecutor(1) as pool,
    ):
        for slices in rounds_without_a_slice():
            while ring.put_many([b"x"], timeout=0) and len(ring) % 64 != 1:
                ring.get()  # the record that is got below is not the first one of a quarter
            assert 63 == ring.put_many([b"x"] * 63)
            waiting = pool.submit(ring.put, b"waits")
            wait_until(lambda: shared.half(shared.waiters_at(0)) >= 1, "a waiting put")
            with slices:
                assert b"x" == ring.get()
                loans = ring.borrow_many(63)
                assert 63 == len(loans)
                with pytest.raises(Empty):
                    ring.get(timeout=0)
                waiting.result(PATIENCE_S)
            loans.release()
            assert b"waits" == ring.get()


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_put_whose_doorbell_was_not_known_is_woken_by_the_next_get(consumers: Any) -> None:
    """It is looked for before a record is taken, not once there are no more."""
    for slices in rounds_without_a_slice():
        with (
            Ring(capacity=PAGE, records=8, producers=1, consumers=consumers, wait="sleep") as ring,
            RingBytes(ring) as shared,
            ThreadPoolExecutor(1) as pool,
        ):
            assert 8 == ring.put_many([b"x"] * 8)
            waiting = pool.submit(ring.put, b"waits")
            wait_until(lambda: shared.half(shared.waiters_at(0)) >= 1, "a waiting put")
            with slices:
                for _ in range(3):  # a quarter is two
                    assert b"x" == ring.get()
                waiting.result(PATIENCE_S)
