# SPDX-License-Identifier: MIT
"""
What `Region.remove` promises: one object goes, its room is used again, and nobody writes into the
next one's.
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import random
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memlane import (
    ClosedError,
    CorruptedError,
    Counter,
    Empty,
    Region,
    Ring,
    Slot,
    SlotTable,
)
from memlane._region.directory import Creating
from memlane.shared_object import SharedObject
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.region_files import DIRECTORY, bytes_of, semaphores
from tests.support.shared_bytes import RingBytes, SlotBytes
from tests.support.slices import rounds_without_a_slice
from tests.support.stepping import Line, Stepped, line

pytestmark = pytest.mark.machine

__all__ = ["line"]

ENTRY_NBYTES, ENTRY_OFFSET, ENTRY_SEQUENCE = 1024, 72, 152
FREE, WRITING, VALID, REMOVED = range(4)
PAGE = 4096

#: One of each kind: how it is made, and what writes into it.
MAKE: dict[str, Callable[[Region, str], Any]] = {
    "ring": lambda region, name: region.ring(name, capacity=PAGE, producers=2, records=8),
    "many": lambda region, name: region.ring(
        name, capacity=PAGE, producers=2, records=8, consumers="many"
    ),
    "slot": lambda region, name: region.slot(name, "d"),
    "shared slot": lambda region, name: region.slot(name, "d", writers="many"),
    "table": lambda region, name: region.table(name, 3, "d"),
    "counter": lambda region, name: region.counter(name),
}
of_each_kind = pytest.mark.parametrize("kind", list(MAKE))


def use(made: Any) -> None:
    """What makes this process one that writes there."""
    if isinstance(made, Ring):
        made.put(b"record")
        assert b"record" == made.get()
    elif isinstance(made, Slot):
        made.publish((1.0,))
    elif isinstance(made, SlotTable):
        made[1].publish((1.0,))
    else:
        made.add(1)


def calls_on(made: Any) -> list[Callable[[], object]]:
    """Every call there is."""
    if isinstance(made, Counter):
        return [made.add, lambda: made.exchange(2), lambda: made.value, made.stats]
    if isinstance(made, SlotTable):
        made = made[1]
    if isinstance(made, Ring):
        sender, receiver = made.producer(), made.consumer()
        return [
            lambda: made.put(b"x"),
            lambda: made.put(b"x", timeout=0),
            lambda: made.put(bytearray(100_000)),
            lambda: made.put_nowait(b"x"),
            lambda: made.put_many([b"x", b"y"]),
            lambda: made.reserve(8),
            made.get,
            made.get_nowait,
            lambda: made.get(timeout=0, require_peer=True),
            lambda: made.get_many(5),
            lambda: made.get_into(bytearray(8)),
            made.borrow,
            lambda: next(made),
            made.shutdown,
            lambda: len(made),
            made.stats,
            lambda: made.capacity,
            lambda: made.max_record,
            lambda: made.max_records,
            lambda: made.producers,
            made.producer,
            made.consumer,
            lambda: sender.put(b"x"),
            lambda: sender.reserve(8),
            receiver.get,
            receiver.borrow,
            lambda: receiver.get_many(2),
        ]
    return [
        lambda: made.publish((2.0,)),
        made.read,
        made.read_versioned,
        lambda: made.read_into(bytearray(8)),
        lambda: made.version,
        lambda: made.age,
        lambda: made.nbytes,
        lambda: made.wait_newer(0),
        lambda: made.wait_newer(1, timeout=0),
    ]


def has_producer(ring: Ring) -> bool:
    return bool(ring.stats()["lanes"])


def place_of(region: Region, name: str) -> int:
    """Where in the region an object lies."""
    found = region._find(name)
    assert found is not None
    return found[2]


def states(region: Region) -> list[int]:
    """What the entries of the directory are, as far as any was ever in use."""
    with bytes_of(region) as shared:
        count = shared.word(512)
        return [
            shared.word(DIRECTORY + i * ENTRY_NBYTES + ENTRY_SEQUENCE) % 4 for i in range(count)
        ]


def found_index(region: Region, name: str) -> int:
    """The number of an object's entry in the directory."""
    found = region._find(name)
    assert found is not None
    return found[6]


@pytest.fixture(params=["memfd", "named", "anonymous"])
def region(request: pytest.FixtureRequest, name: str) -> Iterator[Region]:
    """A region that has room for few objects, wherever regions can be."""
    called = name if request.param == "named" else None
    with Region.create(called, "256 KiB", anonymous=request.param == "anonymous") as made:
        yield made
        made.unlink()


@pytest.fixture
def memfd() -> Iterator[Region]:
    with Region.create(None, "256 KiB") as made:
        yield made


# ---- the name, the handles, the room ----


@of_each_kind
@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
def test_every_call_on_a_removed_object_raises_closed_error(
    region: Region, kind: str, used: bool
) -> None:
    """Whatever is called, however often, and whether or not it was called before."""
    made = MAKE[kind](region, "gone")
    if used:
        use(made)
    calls = calls_on(made)
    region.remove("gone")
    for _ in range(2):
        for call in calls:
            with pytest.raises(ClosedError, match=r"'gone' of .* was removed"):
                call()
    made.close()


@of_each_kind
def test_the_name_and_the_room_are_used_again_for_one_that_begins_anew(
    region: Region, kind: str
) -> None:
    """Nothing of the one before is left in it, and the handles of the one before stay closed."""
    before = MAKE[kind](region, "pose")
    use(before)
    if isinstance(before, Ring):
        before.put_many([b"left"] * 5)
    place = place_of(region, "pose")
    region.remove("pose")
    assert "pose" not in region
    now = MAKE[kind](region, "pose")
    assert place == place_of(region, "pose")
    if isinstance(now, Ring):
        assert 0 == len(now)
        with pytest.raises(Empty):
            now.get_nowait()
    elif isinstance(now, Counter):
        assert 0 == now.value
    else:
        slot = now[1] if isinstance(now, SlotTable) else now
        assert 0 == slot.version
    use(now)
    for call in calls_on(before) if not isinstance(before, Ring | SlotTable) else []:
        with pytest.raises(ClosedError, match="was removed"):
            call()
    before.close()
    use(now)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(MAKE, 2)))
def test_room_of_one_kind_is_sound_for_any_other(memfd: Region, first: str, second: str) -> None:
    before = MAKE[first](memfd, "it")
    use(before)
    if isinstance(before, Ring):
        before.put_many([b"\xff" * 100] * 5)
    memfd.remove("it")
    now = MAKE[second](memfd, "it")
    for _ in range(20):
        use(now)
    before.close()
    use(now)


def test_an_object_that_is_not_there_is_a_key_error(region: Region) -> None:
    region.counter("there")
    for _ in range(2):
        with pytest.raises(KeyError, match="has no object 'gone'"):
            region.remove("gone")
    region.remove("there")
    with pytest.raises(KeyError, match="has no object 'there'"):
        region.remove("there")


def test_what_may_not_be_removed_stays(name: str) -> None:
    """Read-only, closed, and an object that has its region to itself."""
    with Region.create(name, "256 KiB") as made:
        made.counter("kept").add(7)
        with (
            Region.open(name, readonly=True) as reader,
            pytest.raises(PermissionError, match="read-only"),
        ):
            reader.remove("kept")
        assert 7 == made.counter("kept").value
        made.unlink()
    with pytest.raises(ClosedError):
        made.remove("kept")
    with Ring() as ring:
        with pytest.raises(ValueError, match="call unlink"):
            ring.region.remove("ring")
        ring.put(b"x")


def test_a_remover_waits_for_who_makes_an_object_as_long_as_its_timeout(memfd: Region) -> None:
    """And says which process it is."""
    memfd.counter("c")

    def make() -> None:
        memfd._member.join()
        with Creating(memfd._member, None):
            os.write(ready[1], b"x")
            threading.Event().wait(PATIENCE_S)

    ready = os.pipe()
    with Child(make) as maker:
        os.read(ready[0], 1)
        with pytest.raises(TimeoutError, match=f"process {maker.pid} has not finished"):
            memfd.remove("c", timeout=0)
        assert "c" in memfd
        maker.kill()
        memfd.remove("c", timeout=PATIENCE_S)
    for descriptor in ready:
        os.close(descriptor)


def test_other_objects_are_not_touched(region: Region) -> None:
    names = [f"object {i}" for i in range(6)]
    made = {name: region.counter(name) for name in names}
    for i, name in enumerate(names):
        made[name].add(i)
    region.remove(names[0])
    region.remove(names[3])
    assert [name for name in names if name not in (names[0], names[3])] == list(region)
    for i in (1, 2, 4, 5):
        assert i == made[names[i]].value


def test_more_objects_come_and_go_than_the_directory_has_entries(memfd: Region) -> None:
    """Entries are used again as room is."""
    memfd.counter("stays").add(1)
    for i in range(1100):
        memfd.counter(f"object {i}").add(i)
        memfd.remove(f"object {i}")
    assert ["stays"] == list(memfd)
    assert 2 == len(states(memfd))
    assert memfd._member.roles.keys() == {("counter", place_of(memfd, "stays"))}


def test_an_object_goes_to_the_first_gap_that_is_large_enough(memfd: Region) -> None:
    for name in "abcde":
        memfd.slot(name, 3 * PAGE if name == "b" else 100, copies=2, watchers=0)
    at = {name: place_of(memfd, name) for name in "abcde"}
    memfd.remove("b")
    memfd.remove("d")
    memfd.slot("large", 3 * PAGE, copies=2, watchers=0)
    assert at["b"] == place_of(memfd, "large")
    memfd.slot("small", 100, copies=2, watchers=0)
    assert at["d"] == place_of(memfd, "small")
    memfd.slot("last", 100, copies=2, watchers=0)
    assert at["e"] < place_of(memfd, "last")


def test_used_bytes_are_those_of_the_objects_there_are_wherever_they_lie(memfd: Region) -> None:
    """A gap is not in use, whether it is the last room or lies before others."""
    empty = memfd.stats()["used"]
    at = [empty]
    for name in "abc":
        memfd.slot(name, 3 * PAGE if name == "b" else 100, copies=2, watchers=0)
        at.append(memfd.stats()["used"])
    memfd.remove("b")
    assert at[3] - at[2] + at[1] == memfd.stats()["used"]
    memfd.remove("c")
    assert at[1] == memfd.stats()["used"]
    memfd.remove("a")
    assert empty == memfd.stats()["used"]
    with pytest.raises(ValueError, match=f"has {memfd.stats()['nbytes'] - empty} left"):
        memfd.ring("it", capacity="1 MiB")


def test_memory_of_a_removed_object_goes_back_to_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "region"
    with Region.create(path, "4 MiB") as made:
        before = os.stat(path).st_blocks
        ring = made.ring("large", capacity="2 MiB", producers=1)
        ring.put(b"x")
        assert os.stat(path).st_blocks >= before + (2 << 20) // 512
        ring.close()
        made.remove("large")
        assert os.stat(path).st_blocks <= before + 8  # the directory's page
        made.unlink()


# ---- sleepers ----


def sleeping_calls(region: Region) -> dict[str, Callable[[], object]]:
    """Calls that wait: for a record, for room, for a turn, for a value."""
    ring = MAKE["ring"](region, "gone")

    def full() -> object:
        while True:
            ring.put(b"x" * 500)

    return {
        "get": ring.get,
        "put": full,
        "borrow": ring.borrow,
        "get_many": lambda: ring.get_many(3),
    }


@pytest.mark.parametrize("what", ["get", "put", "borrow", "get_many"])
@pytest.mark.parametrize("wait", ["adaptive", "sleep", "spin"])
def test_a_call_that_waits_ends_when_its_ring_is_removed(
    region: Region, what: str, wait: str
) -> None:
    """In another process, too: it raises, and does not wait for its timeout."""

    def child() -> None:
        calls = sleeping_calls(region)
        region.ring("gone")._set_wait(wait, False)
        with pytest.raises(ClosedError, match="was removed"):
            calls[what]()

    made = MAKE["ring"](region, "gone")
    with Child(child) as waiter:
        if what == "put":
            wait_until(lambda: made.stats()["records"] == 8)
        else:
            wait_until(lambda: made.stats()["consumer_pid"] == waiter.pid)
        region.remove("gone")
        assert 0 == waiter.wait()


def test_a_reader_that_waits_for_a_value_ends_when_its_slot_is_removed(region: Region) -> None:
    slot = region.slot("gone", "d")

    def child() -> None:
        with pytest.raises(ClosedError, match="was removed"):
            slot.wait_newer(0)

    with Child(child) as waiter:
        wait_until(lambda: waiter.state() == "S")
        region.remove("gone")
        assert 0 == waiter.wait()


def test_threads_that_wait_end_when_this_very_process_removes_the_ring(memfd: Region) -> None:
    ring = MAKE["many"](memfd, "gone")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ring.get) for _ in range(4)]
        with bytes_of(ring) as shared:
            wait_until(lambda: shared.half(8) > 0)
        memfd.remove("gone")
        for each in waiting:
            with pytest.raises(ClosedError, match="was removed"):
                each.result(PATIENCE_S)
    memfd.counter("next")  # those in the calls kept the room; now it is used
    assert [VALID] == states(memfd)


@pytest.mark.parametrize("what", ["get", "competing get", "put", "wait_newer"])
@pytest.mark.parametrize("backing", ["memfd", "named"])
def test_who_sleeps_is_woken_by_the_removal_and_does_not_find_out_by_looking_again(
    what: str, backing: str, name: str
) -> None:
    """Every slice that a sleeper slept to its end is counted; a wake-up that is lost costs one."""
    with (
        Region.create(name if backing == "named" else None, "256 KiB") as made,
        ThreadPoolExecutor(1) as pool,
    ):
        for slices in rounds_without_a_slice():
            call, waiters = sleeper_of(made, what)
            waiting = pool.submit(call)
            wait_until(partial(any_of, waiters), "a sleeper")
            with slices:
                made.remove("it")
                with pytest.raises(ClosedError, match="was removed"):
                    waiting.result(PATIENCE_S)
        if backing == "named":
            made.unlink()


def any_of(waiters: Callable[[], int]) -> bool:
    return waiters() > 0


def sleeper_of(region: Region, what: str) -> tuple[Callable[[], object], Callable[[], int]]:
    """A call that sleeps, and what tells how many have announced that they do."""
    if what == "wait_newer":
        slot = region.slot("it", "d")

        def armed() -> int:
            with SlotBytes(slot, 64) as shared:
                return shared.word(shared.armed_at)

        return partial(slot.wait_newer, 0), armed
    ring = MAKE["many" if what == "competing get" else "ring"](region, "it")
    ring._set_wait("sleep", False)
    if what == "put":
        ring.put_many([b"x"] * 8)
        return partial(ring.put, b"x"), partial(announced, ring, True)
    return ring.get, partial(announced, ring, False)


def announced(ring: Ring, puts: bool) -> int:
    """How many threads have announced themselves: at the first lane, or as consumers."""
    with RingBytes(ring) as shared:
        return shared.half(shared.waiters_at(0) if puts else RingBytes.WAITERS)


def test_an_iteration_in_its_midst_ends_when_its_ring_is_removed(memfd: Region) -> None:
    """Records that are left are lost, whichever way the next one would have been got."""
    ring = MAKE["ring"](memfd, "gone")
    ring.put_many([b"1", b"2", b"3"])
    turns = ring.records(until=os.pidfd_open(os.getpid()))
    assert b"1" == next(turns)
    memfd.remove("gone")
    with pytest.raises(ClosedError, match="was removed"):
        next(turns)


@pytest.mark.parametrize("closes", ["region", "counter"])
def test_a_first_add_during_which_everything_is_closed_is_a_closed_error(
    memfd: Region, closes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining runs Python, and it another thread: nothing is looked at that is not mapped."""
    counter = memfd.counter("it")

    def close(*_arguments: object) -> int:
        (memfd if closes == "region" else counter).close()
        return 0

    def child() -> None:
        monkeypatch.setattr("random.randrange", close)
        with pytest.raises(ClosedError, match="closed"):
            counter.add(1)

    with Child(child) as adder:
        assert 0 == adder.wait()
    assert 0 == counter.value


#: First calls, by which a handle comes to hold a role or the room.
FIRST_CALLS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "put": ("ring", lambda ring: ring.put(b"x")),
    "put_many": ("ring", lambda ring: ring.put_many([b"x", b"y"])),
    "put require_peer": ("ring", lambda ring: ring.put(b"x", require_peer=True)),
    "reserve": ("ring", lambda ring: ring.reserve(8)),
    "get": ("ring", lambda ring: ring.get(timeout=0)),
    "borrow": ("ring", lambda ring: ring.borrow(timeout=0)),
    "competing get": ("many", lambda ring: ring.get(timeout=0)),
    "competing get_many": ("many", lambda ring: ring.get_many(5, timeout=0)),
    "shutdown": ("ring", lambda ring: ring.shutdown()),
    "publish": ("slot", lambda slot: slot.publish((2.0,))),
    "shared publish": ("shared slot", lambda slot: slot.publish((2.0,))),
    "table publish": ("table", lambda table: table[1].publish((2.0,))),
    "wait_newer": ("slot", lambda slot: slot.wait_newer(0)),
    "add": ("counter", lambda counter: counter.add(1)),
}


@pytest.mark.parametrize(
    ("first", "seam"),
    [(first, "random.randrange") for first in FIRST_CALLS]
    + [(first, "os.fstatvfs") for first in ("put", "put_many", "reserve")],
)
def test_a_handle_that_is_closed_amid_its_first_call_keeps_neither_room_nor_role(
    memfd: Region,
    first: str,
    seam: str,
    monkeypatch: pytest.MonkeyPatch,
    line: Callable[[], Line],
) -> None:
    """Joining and reserving memory run Python, and so another thread, which closes it there."""
    kind, call = FIRST_CALLS[first]
    made = MAKE[kind](memfd, "it")
    index = found_index(memfd, "it")
    closed, may_end = line(), line()

    def child() -> None:
        module, _, name = seam.partition(".")
        replaced = getattr(sys.modules[module], name)

        def close(*arguments: Any) -> Any:
            made.close()
            return replaced(*arguments)

        with monkeypatch.context() as patch, pytest.raises(ClosedError, match="closed"):
            patch.setattr(seam, close)
            call(made)
        assert not is_kept(memfd, index)
        closed.tell()
        may_end.hear()

    with Child(child) as user:
        closed.hear()
        if isinstance(made, Ring):
            lanes = made.stats()["lanes"]
            assert [] == [lane for lane in lanes if lane["producer"] == "alive"]
        use(made)
        memfd.remove("it")
        assert [FREE] == states(memfd)
        may_end.tell()
        assert 0 == user.wait()


def test_a_thread_that_comes_to_a_removed_object_late_leaves_the_room_to_one_that_writes_there(
    memfd: Region, monkeypatch: pytest.MonkeyPatch, line: Callable[[], Line]
) -> None:
    """While it joins another thread has reserved room to write in; then the object is removed."""
    ring, other = MAKE["ring"](memfd, "it"), memfd.ring("it")
    index = found_index(memfd, "it")
    written, may_end = line(), line()

    def child() -> None:
        rooms = []
        choose = random.randrange

        def meanwhile(stop: int) -> int:
            monkeypatch.setattr(random, "randrange", choose)
            rooms.append(other.reserve(4))
            return choose(stop)

        monkeypatch.setattr(random, "randrange", meanwhile)
        with pytest.raises((Empty, ClosedError)):
            ring.get_nowait()
        written.tell()
        may_end.hear()
        rooms[0].write(b"late")
        os._exit(0)

    byte, wanted = (1 << 61) + 2112 + index, (fcntl.F_OFD_SETLK, fcntl.F_RDLCK)
    with Stepped(child) as user:
        locked = 0
        for step in user.steps():
            if step.result is None and step.arguments[0] == written.writer:
                break  # it has got there
            if step.lock is not None and step.result is None and step.lock[1] == byte:
                locked += step.lock[::2] == wanted
                if locked == 2 and "it" in memfd:
                    memfd.remove("it")
        user.go_on()
        written.hear()
        if "it" in memfd:
            memfd.remove("it")
        memfd.counter("next")
        assert [REMOVED, VALID] == states(memfd)
        may_end.tell()
        assert 0 == user.wait()


# ---- who keeps the room ----


def test_room_of_an_object_is_kept_while_a_process_that_used_it_has_not_noticed(
    memfd: Region,
) -> None:
    """It may be stopped anywhere. When it calls again, closes or dies, the room is free."""
    ended = ["calls", "closes", "dies", "closes the region"]
    for end in ended:
        made = MAKE["ring"](memfd, "it")
        place = place_of(memfd, "it")
        go, done = os.pipe(), os.pipe()

        def child(end: str = end, go: Any = go, done: Any = done, made: Any = made) -> None:
            ring = memfd.ring("it")
            ring.put(b"x")
            os.write(done[1], b"1")
            os.read(go[0], 1)
            if end == "calls":
                with pytest.raises(ClosedError):
                    ring.put(b"x")
            elif end == "closes":
                ring.close()
                made.close()
            elif end == "closes the region":
                memfd.close()
            else:
                os._exit(0)
            os.write(done[1], b"2")
            os.read(go[0], 1)

        with Child(child) as user:
            os.read(done[0], 1)
            memfd.remove("it")
            assert REMOVED in states(memfd)
            memfd.counter("elsewhere")
            assert place != place_of(memfd, "elsewhere")
            memfd.remove("elsewhere")
            user.stop()  # and then it is not even asked
            memfd.counter("elsewhere")
            assert place != place_of(memfd, "elsewhere")
            user.go_on()
            os.write(go[1], b"1")
            if end == "dies":
                user.wait()
            else:
                assert b"2" == os.read(done[0], 1)
            memfd.counter("again")
            assert place == place_of(memfd, "again"), end
            os.write(go[1], b"2")
            user.wait()
        memfd.remove("again")
        memfd.remove("elsewhere")
        for descriptor in (*go, *done):
            os.close(descriptor)
        made.close()


def test_a_process_that_only_opened_an_object_does_not_keep_its_room(memfd: Region) -> None:
    made = MAKE["ring"](memfd, "it")
    place = place_of(memfd, "it")
    with Child(lambda: memfd.ring("it") and threading.Event().wait(PATIENCE_S)) as idle:
        wait_until(lambda: idle.state() == "S")
        memfd.remove("it")
        memfd.counter("again").add(1)
        assert place == place_of(memfd, "again")
    made.close()


@of_each_kind
def test_a_handle_that_is_closed_keeps_no_room_and_one_that_noticed_neither(
    memfd: Region, kind: str
) -> None:
    made, other = MAKE[kind](memfd, "it"), MAKE[kind](memfd, "it")
    use(made)
    use(other)
    entry = memfd._find("it")
    assert entry is not None
    made.close()
    assert is_kept(memfd, entry[6])
    other.close()
    del made, other
    gc.collect()
    assert not is_kept(memfd, entry[6])
    again = MAKE[kind](memfd, "it")
    use(again)
    assert is_kept(memfd, entry[6])
    memfd.remove("it")
    assert not is_kept(memfd, entry[6])
    with pytest.raises(ClosedError):
        use(again)
    assert [FREE] == states(memfd)


def is_kept(region: Region, index: int) -> bool:
    """Whether anybody holds a lock on the byte of an entry, through a description of our own."""
    descriptor = os.open(f"/proc/self/fd/{region._member.base}", os.O_RDWR | os.O_CLOEXEC)
    try:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, (1 << 61) + 2112 + index, 1, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
        return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["ring", "many"])
@pytest.mark.parametrize("loan", ["record", "view", "room"])
def test_a_loan_keeps_its_bytes_and_their_room_until_it_ends(
    memfd: Region, kind: str, loan: str
) -> None:
    """A removal takes nothing away from loans and reservations."""
    ring = MAKE[kind](memfd, "it")
    place = place_of(memfd, "it")
    kept: Any
    if loan == "room":
        kept = ring.reserve(4)
        kept[:] = b"1234"
    else:
        ring.put(b"1234")
        kept = ring.borrow()
    if loan == "view":
        kept = memoryview(kept)
    memfd.remove("it")
    for _ in range(3):
        with pytest.raises(ClosedError):
            ring.get_nowait()
    other = MAKE["slot"](memfd, "other")
    use(other)
    assert place != place_of(memfd, "other")
    assert b"1234" == bytes(kept)
    if loan == "room":
        kept.write(b"5678")
        with pytest.raises(ClosedError, match="was removed"):
            kept.commit()
    elif loan == "record":
        kept.release()
    del kept
    gc.collect()
    MAKE["slot"](memfd, "again")
    assert place == place_of(memfd, "again")
    use(other)


def test_a_thread_that_waits_elsewhere_does_not_keep_the_room(memfd: Region) -> None:
    """A call on one object is no use of another one."""
    waits, used = MAKE["many"](memfd, "waits"), MAKE["many"](memfd, "it")
    use(used)
    place = place_of(memfd, "it")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waits.get)
        with bytes_of(waits) as shared:
            wait_until(lambda: shared.half(8) > 0)
        memfd.remove("it")
        MAKE["ring"](memfd, "again")
        assert place == place_of(memfd, "again")
        waits.put(b"x")
        assert b"x" == waiting.result(PATIENCE_S)


def test_who_finds_no_room_is_told_what_waits_and_for_whom(memfd: Region) -> None:
    slot = memfd.slot("it", 40_000, copies=2, watchers=0)

    def child() -> None:
        slot.publish(bytes(40_000))
        os.write(done[1], b"1")
        threading.Event().wait(PATIENCE_S)

    done = os.pipe()
    with Child(child) as user:
        os.read(done[0], 1)
        memfd.remove("it")
        with pytest.raises(ValueError, match=rf"81920 bytes .* has open.*{user.pid}"):
            memfd.ring("large", capacity="200 KiB", producers=1, records=1)
    memfd.ring("large", capacity="200 KiB", producers=1, records=1).put(b"x")
    for descriptor in done:
        os.close(descriptor)


def test_a_forked_child_has_its_own_say(memfd: Region) -> None:
    """The parent's use keeps no room for the child; the child's calls keep it as any other's."""
    counter = memfd.counter("it")
    counter.add(1)
    place = place_of(memfd, "it")

    def child() -> None:
        counter.add(1)
        os.write(done[1], b"1")
        os.read(go[0], 1)
        with pytest.raises(ClosedError, match="was removed"):
            counter.add(1)
        os.write(done[1], b"2")
        os.read(go[0], 1)

    go, done = os.pipe(), os.pipe()
    with Child(child) as user:
        os.read(done[0], 1)
        memfd.remove("it")
        memfd.counter("other").add(1)
        assert place != place_of(memfd, "other")
        os.write(go[1], b"1")
        os.read(done[0], 1)
        memfd.counter("again").add(1)
        assert place == place_of(memfd, "again")
        os.write(go[1], b"2")
        assert 0 == user.wait()
    for descriptor in (*go, *done):
        os.close(descriptor)


def test_a_put_that_is_stopped_in_its_copy_never_writes_into_another_object(name: str) -> None:
    """Objects come and go by hundreds beside it, and each holds what was published in it."""
    nbytes, slot_nbytes = 4 << 20, 1 << 18
    with Region.create(name, "16 MiB") as made:
        ring = made.ring("it", capacity=nbytes, producers=1, records=4)

        def child() -> None:
            # The consumer, too, so that the put never waits.
            while True:
                try:
                    ring.put(b"\xff" * nbytes)
                    ring.get_into(sink)
                except ClosedError:
                    return

        sink = bytearray(nbytes)
        with Child(child) as putter:
            wait_until(lambda: made.stats()["objects"]["it"]["lanes"])
            putter.stop()
            made.remove("it")
            values: dict[str, Slot] = {}
            for i in range(400):
                if i % 4 == 3:
                    made.remove(f"slot {i - 3}")
                    del values[f"slot {i - 3}"]
                if len(values) == 8:
                    first = next(iter(values))
                    made.remove(first)
                    del values[first]
                slot = made.slot(f"slot {i}", slot_nbytes, copies=2, watchers=0)
                slot.publish(bytes([i % 256]) * slot_nbytes)
                values[f"slot {i}"] = slot
                if i == 200:
                    putter.go_on()
                    assert 0 == putter.wait()
            for name_of, slot in values.items():
                number = int(name_of.partition(" ")[2])
                assert bytes([number % 256]) * slot_nbytes == slot.read()
        made.unlink()


def test_a_thread_in_a_large_put_without_the_gil_never_writes_into_another_object(
    memfd: Region,
) -> None:
    for _ in range(30):
        ring = memfd.ring("it", capacity=100_000, producers=1, records=2)
        with ThreadPoolExecutor(1) as pool:

            def fill(ring: Ring = ring) -> None:
                with pytest.raises(ClosedError, match="was removed"):
                    while True:
                        ring.put(b"\xff" * 90_000)
                        ring.get()

            filling = pool.submit(fill)
            wait_until(partial(has_producer, ring))
            memfd.remove("it")
            slot = memfd.slot("it", 40_000, copies=2, watchers=0)
            slot.publish(b"\x11" * 40_000)
            filling.result(PATIENCE_S)
            assert b"\x11" * 40_000 == slot.read()
            memfd.remove("it")


# ---- deaths, corrupted bytes ----


@of_each_kind
def test_one_store_is_the_removal_whatever_its_maker_does_next(memfd: Region, kind: str) -> None:
    """A remover that is killed then: the name is gone, handles are told, the room comes back."""
    made = MAKE[kind](memfd, "it")
    use(made)
    place = place_of(memfd, "it")
    calls = calls_on(made)
    with bytes_of(memfd) as shared:
        shared.set_word(DIRECTORY + ENTRY_SEQUENCE, shared.word(DIRECTORY + ENTRY_SEQUENCE) + 1)
    assert "it" not in memfd
    for call in calls:
        with pytest.raises(ClosedError, match="was removed"):
            call()
    now = MAKE[kind](memfd, "it")
    assert place == place_of(memfd, "it")
    use(now)


def test_an_entry_whose_writer_died_is_no_object_and_is_written_again(memfd: Region) -> None:
    memfd.counter("it").add(1)
    memfd.counter("other").add(2)
    with bytes_of(memfd) as shared:
        shared.set_word(DIRECTORY + ENTRY_SEQUENCE, 4 + WRITING)
    assert ["other"] == list(memfd)
    assert 0 == memfd.counter("it").value
    assert [VALID, VALID] == states(memfd)
    assert 2 == memfd.counter("other").value


def test_a_removed_entry_that_is_out_of_bounds_is_corrupted_and_gives_no_room_away(
    memfd: Region,
) -> None:
    memfd.counter("other")
    counter = memfd.counter("it")
    counter.add(1)
    with bytes_of(memfd) as shared:
        entry = DIRECTORY + 1024
        shared.set_word(entry + ENTRY_SEQUENCE, shared.word(entry + ENTRY_SEQUENCE) + 1)
        shared.set_word(entry + ENTRY_OFFSET, 1 << 40)
        with pytest.raises(CorruptedError, match="out of bounds"):
            memfd.counter("another")
        memfd.remove("other")
        assert [] == list(memfd)
        assert [FREE, REMOVED] == states(memfd)
    with pytest.raises(ClosedError):
        counter.add(1)


def test_semaphores_of_a_removed_object_are_removed_and_made_anew(name: str) -> None:
    with Region.create(name, "256 KiB") as made:
        before = semaphores(made._member.region_id)
        for _ in range(3):
            ring = MAKE["ring"](made, "it")
            slot = made.slot("slot", "d")

            def child() -> None:
                made.slot("slot").wait_newer(0)

            with Child(child) as waiter:
                wait_until(lambda: len(semaphores(made._member.region_id)) == len(before) + 2)
                use(slot)
                assert 0 == waiter.wait()
            use(ring)
            assert len(semaphores(made._member.region_id)) == len(before) + 3
            made.remove("it")
            made.remove("slot")
            assert before == semaphores(made._member.region_id)
        made.unlink()
    assert {} == semaphores(made._member.region_id)


# ---- for ever ----


def test_objects_come_and_go_while_another_process_uses_whatever_is_there(name: str) -> None:
    """It finds each one whole or not at all, and what it adds is never added to another one."""
    rounds = 400
    with Region.create(name, "256 KiB") as made:
        stop = made.counter("stop")

        def child() -> None:
            with Region.open(name) as opened:
                stopped = opened.counter("stop")
                while not stopped.value:
                    try:
                        found: SharedObject = opened["it"]
                        for _ in range(3):
                            use(found)
                    except (KeyError, ClosedError):
                        continue

        with Child(child) as user:
            kinds = [kind for kind in MAKE if kind not in ("ring", "slot", "table")]
            for i in range(rounds):
                kind = kinds[i % len(kinds)]
                it = MAKE[kind](made, "it")
                kept = MAKE["counter"](made, "kept")
                assert 0 == kept.add(0)
                made.remove("it")
                made.remove("kept")
                del it, kept
            stop.add(1)
            assert 0 == user.wait()
        made.unlink()


def test_thousands_of_objects_come_and_go(memfd: Region) -> None:
    """All in the room of one. MEMLANE_REMOVALS has more of them go."""
    for i in range(int(os.environ.get("MEMLANE_REMOVALS", 10_000))):
        memfd.counter("it").add(i)
        memfd.remove("it")
    assert [FREE] == states(memfd)
    assert {} == memfd._member.roles
