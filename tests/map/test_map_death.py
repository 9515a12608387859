# SPDX-License-Identifier: MIT
"""What is left of a map when processes are killed or stopped in the midst of it, or spoil it."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import memlane
from memlane import CorruptedError, Full, Map
from tests.support.children import forever, killed_after
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.shared_bytes import DEAD_TAG, SharedBytes, tag_of
from tests.support.slices import rounds_without_a_slice

KEYS, WORKERS, KILLS = 1000, 8, 25
FREE, USED, REMOVED = range(3)


class SharedMap(SharedBytes):
    """The bytes of a map: its buckets and its entries."""

    def __init__(self, m: Map[Any]) -> None:
        super().__init__(m)
        entries, key_nbytes, value_nbytes, copies, watchers, _ = m.region._entries()[0].geometry[:6]
        unit = 8 if value_nbytes < 64 else 64
        buckets = 2
        while buckets < entries:
            buckets *= 2
        self.buckets, self.buckets_at = buckets, 128 + watchers * 128
        free_at = self.buckets_at + 32 * buckets
        self.entries_at = -(-(free_at + 8 * -(-entries // 64)) // 64) * 64
        stamps = 32 + -(-key_nbytes // 8) * 8
        copies_at = -(-(stamps + 16 * copies) // unit) * unit
        self.stride = -(-(copies_at + copies * -(-value_nbytes // unit) * unit) // 64) * 64
        self.entries = entries

    def entry_of(self, state: int = USED) -> int:
        """Where the first entry of that state is."""
        for number in range(self.entries):
            at = self.entries_at + number * self.stride
            if self.word(at + 8) >> 24 & 3 == state:
                return at
        raise AssertionError(f"no entry has the state {state}")

    def tag_of(self, m: Map[Any], pid: int) -> int:
        """That of a participant, from its row in the table."""
        [row] = [row.row for row in m.region.participants() if row.pid == pid]
        generation = self.word(self.word(40 - self.object) + 64 * row - self.object)
        return tag_of(row, generation)

    def hold(self, at: int, tag: int) -> None:
        """Have a process be inside of a change of the entry there."""
        self.set_half(at + 16, tag)


def add_and_stay(m: Map[Any]) -> None:
    m.add("free")
    forever()


def test_a_stopped_writer_holds_up_writers_of_its_own_key_alone() -> None:
    """Readers and other keys go on; `timeout` ends the wait, and names the process."""
    with Map(entries=8, value="q") as m, SharedMap(m) as shared:
        m["held"] = 1
        at = shared.entry_of()
        m["free"] = 2
        with Child(add_and_stay, m) as child:
            wait_until(lambda: m["free"] == 3)
            shared.hold(at, shared.tag_of(m, child.pid))
            for call in (
                lambda timeout: m.set("held", 5, timeout=timeout),
                lambda timeout: m.add("held", timeout=timeout),
                lambda timeout: m.pop("held", timeout=timeout),
                lambda timeout: m.compare_remove("held", m.version("held"), timeout=timeout),
            ):
                for timeout in (0, 0.01):
                    with pytest.raises(TimeoutError, match=rf"process {child.pid} is inside"):
                        call(timeout)
            assert (m["held"], dict(m)) == (1, {"held": 1, "free": 3})
            m["free"] = 4
            m["new"] = 5
            for number in range(5):
                m[number] = number
            with pytest.raises(Full):
                m["more"] = 1
            writer = threading.Thread(target=m.set, args=("held", 6))
            writer.start()
            child.kill()
            writer.join(PATIENCE_S)
            assert m["held"] == 6


def test_a_stopped_writer_holds_up_no_event_loop() -> None:
    """Other tasks run while one awaits a key, which it gets when the writer is gone."""
    with Map(entries=8, value="q") as m, SharedMap(m) as shared:
        m["held"] = 1
        at = shared.entry_of()
        m["free"] = 2
        with Child(add_and_stay, m) as child:
            wait_until(lambda: m["free"] == 3)
            shared.hold(at, shared.tag_of(m, child.pid))

            async def change() -> None:
                a = memlane.aio.wrap(m)
                for call in (
                    lambda: a.set("held", 5, timeout=0.01),
                    lambda: a.add("held", timeout=0),
                    lambda: a.setdefault("held", 7, timeout=0.01),
                    lambda: a.compare_exchange("held", m.version("held"), 5, timeout=0.01),
                ):
                    assert await _outcome(call) == 1
                adding = asyncio.create_task(a.add("held", 8))
                assert await a.add("free") == 4
                assert not adding.done()
                child.kill()
                assert await adding == 9
                assert await a.set("free", 1) == m.version("free")
                assert await a.setdefault("new", 3) == 3
                assert await a.compare_exchange("new", m.version("new"), 4)

            asyncio.run(change())


async def _outcome(call: Callable[[], Any]) -> int:
    """1: it has waited in vain; or it needed no change."""
    try:
        return int(await call())
    except TimeoutError:
        return 1


def test_what_a_dead_writer_held_is_free_for_the_next_one() -> None:
    """At once, also with timeout=0: whatever it was doing."""
    with Map(entries=2, value="q") as m, SharedMap(m) as shared:
        m["k"] = 1
        at = shared.entry_of()
        for change in (lambda: m.set("k", 2, timeout=0), lambda: m.add("k", timeout=0)):
            shared.hold(at, DEAD_TAG)
            change()
        assert m["k"] == 3
        shared.hold(at, DEAD_TAG)
        assert m.pop("k", timeout=0) == 3
        m["a"], m["b"] = 1, 2
        shared.hold(shared.entry_of(), DEAD_TAG)
        m["a"], m["b"] = 3, 4
        shared.hold(shared.entries_at, DEAD_TAG)
        del m["a"]
        m["c"] = 5
        assert dict(m) == {"b": 4, "c": 5}


def test_entries_that_dead_processes_held_free_come_back_when_they_are_needed() -> None:
    """Killed between taking a free entry and putting the key into the map."""
    with Map(entries=20, value="q") as m, SharedMap(m) as shared:
        for number in range(20):
            shared.hold(shared.entries_at + number * shared.stride, DEAD_TAG)
        for number in range(20):
            m[number] = number
        assert len(m) == 20


MAGIC = 0x9E3779B97F4A7C15
VALUE = struct.Struct("6Q")


def sealed(key: int, number: int) -> tuple[int, ...]:
    """A value by which a mix of two is known, and one of another key."""
    return (key, number, *((key * 7919 + number + i) * MAGIC % 2**64 for i in range(4)))


def work(m: Map[Any], notes: memoryview, me: int, seed: int) -> None:
    """Change the own keys, noting each change before it and behind it; read those of all."""
    randomly = random.Random(seed)
    while True:
        for _ in range(20):
            key = randomly.randrange(KEYS)
            found = m.get(key)
            assert found is None or found == sealed(key, found[1]), (key, found)
        key = randomly.randrange(me, KEYS, WORKERS)
        number = notes[2 * key] + 1 if randomly.random() < 0.7 else 0  # 0: remove it
        notes[2 * key + 1] = number
        if number:
            m[key] = sealed(key, number)
        else:
            m.pop(key, None)
        notes[2 * key] = number


def test_eight_processes_that_are_killed_lose_no_key_and_leave_no_mix() -> None:
    """Each key of a dead process has the value before its last change, or the one behind."""
    memory = mmap.mmap(-1, 16 * KEYS)  # for each key: what is there, what is being done
    notes = memoryview(memory).cast("Q")
    randomly = random.Random(1)
    with Map(entries=KEYS, value="6Q", key_nbytes=8) as m:

        def start(me: int) -> Child:
            return Child(work, m, notes, me, randomly.random())

        children = [start(me) for me in range(WORKERS)]
        try:
            for _ in range(KILLS):
                time.sleep(randomly.random() * 0.02)
                me = randomly.randrange(WORKERS)
                assert not any(child.has_ended() for child in children)
                children[me].kill()
                for key in range(me, KEYS, WORKERS):
                    found = m.get(key)
                    allowed = [sealed(key, n) if n else None for n in notes[2 * key : 2 * key + 2]]
                    assert found in allowed, (key, allowed, found)
                    notes[2 * key] = notes[2 * key + 1] = found[1] if found else 0
                children[me] = start(me)
        finally:
            for child in children:
                child.kill()
        there = dict(m.items())
        assert len(there) == len(list(m)) == len(m)
        for key in range(KEYS):
            before, behind = notes[2 * key], notes[2 * key + 1]
            assert (there[key][1] if key in there else 0) in (before, behind)
            m[key] = sealed(key, 1)  # nothing is held by the dead, and there is room for all
        assert dict(m) == {key: sealed(key, 1) for key in range(KEYS)}
    notes.release()
    memory.close()


def later(change: Callable[[], object]) -> None:
    time.sleep(0.02)
    change()


def test_a_waiter_is_woken_by_each_kind_of_change() -> None:
    """By an insert, an update, an add and an exchange, in another process; not by a removal."""
    with Map(entries=8, value="q") as m:
        m["gone"] = 1
        changes: tuple[Callable[[], object], ...] = (
            lambda: m.setdefault("k", 1),
            lambda: m.set("k", 1),
            lambda: m.add("k"),
            lambda: m.compare_exchange("k", m.version("k"), 9),
        )
        for slices in rounds_without_a_slice():
            m.pop("k", None)
            for change in changes:
                before = m.version("k")
                with Child(later, change), slices:
                    value, version = m.wait_newer("k", before, timeout=PATIENCE_S)
                    assert (m["k"], m.version("k")) == (value, version)
        before = m.version("gone")
        threading.Timer(0.02, lambda: m.pop("gone")).start()
        with pytest.raises(TimeoutError, match="key 'gone'"):
            m.wait_newer("gone", before, timeout=0.05)
        with Child(later, lambda: m.set("gone", 3)):
            assert m.wait_newer("gone", before, timeout=PATIENCE_S)[0] == 3
        with pytest.raises(TimeoutError):
            m.wait_newer("k", m.version("k"), timeout=0)


def test_a_waiter_that_is_killed_leaves_its_doorbell_to_others() -> None:
    """With one doorbell for all."""
    with Map(entries=8, value="q", watchers=1) as m:

        def wait() -> None:
            threading.Thread(target=m.wait_newer, args=("k", 0), daemon=True).start()
            time.sleep(0.02)

        killed_after(wait)
        for slices in rounds_without_a_slice():
            m.pop("k", None)
            with Child(later, lambda: m.set("k", 1)), slices:
                assert m.wait_newer("k", 0, timeout=PATIENCE_S)[0] == 1


def test_a_reader_without_write_access_reads_and_waits_by_polling(name: str) -> None:
    """It leaves no trace in the map."""
    with Map.create(name, entries=8, value="q") as m:
        m["k"] = 1

        def read() -> None:
            with Map.open(name, readonly=True) as reader:
                assert dict(reader) == {"k": 1}
                assert reader.wait_newer("k", reader.version("k"), timeout=PATIENCE_S)[0] == 2
                assert len(memlane.wait([reader.watch("k", 0)], timeout=0)) == 1

        with Child(read) as child:
            time.sleep(0.05)
            m["k"] = 2
            assert child.wait() == 0
        m.unlink()


def test_a_watch_is_ready_when_its_key_is_newer() -> None:
    """In `wait`, by select, and by a descriptor that is closed with it."""
    with Map(entries=8, value="q") as m:
        m["k"] = 1
        with m.watch("k") as watch, m.watch("other", 0) as other:
            assert (watch.key, watch.version) == ("k", m.version("k"))
            assert memlane.wait([watch, other], timeout=0) == []
            with Child(later, lambda: m.add("k")):
                assert memlane.wait([other, watch], timeout=PATIENCE_S) == [watch]
            descriptor = watch.fileno()
            assert memlane.wait([descriptor], timeout=PATIENCE_S) == [descriptor]
            assert watch.wait_newer(timeout=0) == (2, m.version("k"))
            with pytest.raises(TimeoutError):
                watch.wait_newer(timeout=0)
            assert memlane.wait([descriptor], timeout=0) == []
            m["k"] = 3
            assert memlane.wait([descriptor], timeout=PATIENCE_S) == [descriptor]
            assert watch.wait_newer(timeout=0)[0] == 3
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(descriptor)


def test_an_event_loop_awaits_a_newer_value() -> None:
    """Other tasks run meanwhile; `timeout` ends it."""
    with Map(entries=8, value="q") as m:

        async def wait() -> Any:
            awaited = memlane.aio.wrap(m)
            with pytest.raises(TimeoutError):
                await awaited.wait_newer("k", 0, timeout=0.01)
            waiting = asyncio.ensure_future(awaited.wait_newer("k", 0))
            await asyncio.sleep(0.01)
            m["k"] = 5
            return await waiting

        assert asyncio.run(wait()) == (5, m.version("k"))


def spoil(shared: SharedMap, m: Map[Any], randomly: random.Random) -> None:
    end = shared.entries_at + shared.entries * shared.stride
    for _ in range(randomly.choice((1, 3, 30))):
        at = randomly.randrange(shared.buckets_at, end, 8)
        shared.set_word(at, randomly.choice((0, 1, 2**63, 2**64 - 1, randomly.getrandbits(64))))


def test_spoilt_bytes_end_in_an_error_of_ours_and_nothing_hangs() -> None:
    """Whatever another process has written: each call returns, or raises what it may."""
    randomly = random.Random(7)
    calls: list[Callable[[Map[Any]], object]] = [
        *(lambda m: m.get(3), lambda m: m.set(3, (1, 2), timeout=0), lambda m: list(m.items())),
        *(lambda m: m.pop(5, None, timeout=0), lambda m: m.set("new", (3, 4), timeout=0)),
        *(lambda m: len(m), lambda m: list(m), lambda m: m.setdefault(6, (5, 6), timeout=0)),
        lambda m: m.wait_newer(3, 0, timeout=0),
    ]
    seen = set()
    for _ in range(150):
        with Map(entries=6, value="2q", watchers=1, key_nbytes=8) as m, SharedMap(m) as shared:
            for number in range(5):
                m[number] = (number, number)
            spoil(shared, m, randomly)
            for call in calls:
                try:
                    call(m)
                except (CorruptedError, TimeoutError, Full) as error:
                    seen.add(type(error))
    assert {CorruptedError, TimeoutError, Full} == seen


def test_a_call_that_waits_for_a_writer_is_interrupted_by_a_signal() -> None:
    """Also one without a timeout."""
    with Map(entries=2, value="q") as m, SharedMap(m) as shared:
        m["k"] = 1
        shared.hold(shared.entry_of(), m.region._member.tag)  # another thread of ours
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            m["k"] = 2
        timer.join()
