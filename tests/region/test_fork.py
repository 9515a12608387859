# SPDX-License-Identifier: MIT
"""
Forks of every kind: a child is a stranger to its parent's row, roles, claims and loans, never hangs
on its parent's locks, and never keeps its parent alive.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import pytest

import memlane
from memlane import Empty, Region, Ring, RoleTakenError, _core
from memlane._region.directory import Creating
from tests.support.processes import PATIENCE_S, Child, output_of, unrelated, wait_until
from tests.support.stepping import CREATION_BYTE, Line, Table, line

__all__ = ["line"]

Lines = Callable[[], Line]

#: More than is copied with the GIL, so that other threads run meanwhile; long enough for a fork.
LARGE_NBYTES = 4 << 20


@pytest.fixture
def region() -> Iterator[Region]:
    """A region that its children have by fork alone."""
    with Region.create(None, "1 MiB") as made:
        yield made


def alive(region: Region) -> set[int]:
    """The pids of those who live in a region."""
    return {participant.pid for participant in region.participants() if participant.alive}


def numbers_of(region: Region) -> set[int]:
    """The descriptors through which this process has the file of a region open."""
    found = os.fstat(region._member.base)
    numbers = set()
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.path.samestat(found, os.fstat(number)):
                numbers.add(number)
        except OSError:
            continue  # the one of the listing
    return numbers


def runs(function: Callable[[], Any]) -> None:
    """Have a forked child run *function* to its good end."""
    with Child(function) as child:
        assert 0 == child.wait()


# ---- forks that skip the hooks -------------------------------------------------------------------

_interpreter = ctypes.PyDLL(None, use_errno=True)  # keeps the GIL, as os.fork does
_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220}.get(platform.machine())


def raw_clone() -> int:
    """The system call alone: no hook runs, in the C library or in Python."""
    if _CLONE is None:
        pytest.skip(f"the number of clone on {platform.machine()} is not known here")
    return int(_interpreter.syscall(_CLONE, signal.SIGCHLD, 0, 0, 0, 0))


def bare_fork() -> int:
    """`_Fork` of POSIX: the C library in order, no hooks."""
    if not hasattr(_interpreter, "_Fork"):
        pytest.skip("this C library has no _Fork")
    return int(_interpreter._Fork())


FORKS: dict[str, Callable[[], int]] = {
    "os.fork": os.fork,
    "_Fork": bare_fork,
    "clone": raw_clone,
}


class AnyFork(Child):
    """A child made by one of FORKS."""

    def __init__(self, fork: str, function: Callable[..., Any], *args: Any) -> None:
        usual, interval = os.fork, sys.getswitchinterval()
        os.fork = FORKS[fork]
        if fork != "os.fork":
            # Python's own hooks are skipped, too: a child that inherits another thread's request
            # for the GIL waits for ever for that thread to take it. So let old requests be met
            # here, and no new one be made before the fork, however long this machine stands still.
            sys.setswitchinterval(1000)
            time.sleep(0.01)

        def in_the_child() -> None:
            sys.setswitchinterval(interval)
            function(*args)

        try:
            super().__init__(in_the_child)
        finally:
            os.fork = usual
            sys.setswitchinterval(interval)


# ---- epochs, rows, roles -------------------------------------------------------------------------


class Forks(Protocol):
    """For a parent: fork a child with these steps, and wait until it ends."""

    def __call__(self, child: Callable[[], object], *, by: Callable[..., Any] = ...) -> None: ...


@contextmanager
def orphan(line: Lines, parent: Callable[[Forks], object]) -> Iterator[Child]:
    """
    A child whose parent is killed. *parent* forks it; then the parent is killed, and the child
    takes its steps. It lives while the body of the `with` runs, which gets the parent.
    """
    says, go, stay = line(), line(), line()

    def forks(child: Callable[[], object], *, by: Callable[..., Any] = Child) -> None:
        def steps() -> None:
            says.tell("forked")
            go.hear()
            child()
            says.tell("done")
            stay.hear()

        with by(steps) as made:
            made.wait()

    with Child(lambda: parent(forks)) as process:
        assert "forked" == says.hear()
        process.kill()
        go.tell()
        assert "done" == says.hear()

        yield process
        stay.tell()


@pytest.mark.parametrize("fork", FORKS)
def test_epochs_differ_in_every_generation(fork: str, line: Lines) -> None:
    """
    However it was made, a child, its child, and so on: each has another epoch than all before it,
    also when those in between have never called anything (hazard 16)
    """
    says = line()
    epochs: list[int] = []

    def descend(depth: int) -> None:
        if depth != 2:
            epochs.append(_core.fork_epoch())
        if depth < 5:
            with AnyFork(fork, descend, depth + 1) as child:
                assert 0 == child.wait()
        else:
            says.tell(" ".join(map(str, epochs)))

    descend(0)

    found = says.hear().split()
    assert 5 == len(found)
    assert 5 == len(set(found))
    assert "0" not in found


@pytest.mark.parametrize("fork", FORKS)
def test_child_takes_a_row_and_a_lane_of_its_own(region: Region, fork: str) -> None:
    """
    Child and grandchild put through the handle they inherited: each into its own lane, as a
    participant of its own, while parent and child live (hazard 16)
    """
    ring = region.ring("ring", capacity=4096, producers=3)
    ring.put(b"0")

    def put(depth: int) -> None:
        ring.put(str(depth).encode())
        tags.append(region._member.tag)
        assert depth + 1 == len(set(tags))
        assert depth + 1 == len(region.participants())
        assert depth + 1 == len(ring.stats()["lanes"])
        if depth < 2:
            with AnyFork(fork, put, depth + 1) as child:
                assert 0 == child.wait()

    tags = [region._member.tag]
    with AnyFork(fork, put, 1) as child:
        assert 0 == child.wait()

    assert [b"0", b"1", b"2"] == sorted(ring.get_many(3))
    assert {os.getpid()} == alive(region)


def put_one(ring: Ring, slot: memlane.Slot) -> None:
    ring.put(b"x")


def get_one(ring: Ring, slot: memlane.Slot) -> None:
    with pytest.raises(Empty):
        ring.get_nowait()


def publish_one(ring: Ring, slot: memlane.Slot) -> None:
    slot.publish(b"12345678")


@pytest.mark.parametrize("use", [put_one, get_one, publish_one])
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_that_closes_its_own_handle_gives_the_role_back(
    region: Region, fork: str, use: Callable[[Ring, memlane.Slot], None], line: Lines
) -> None:
    """
    The handles that the parent used before the fork are not users in the child: the role that the
    child took with a handle of its own is free when that is closed, though the child lives on.
    """
    used = region.ring("ring", capacity=4096, producers=2), region.slot("slot", 8)
    use(*used)
    says, go, stay = line(), line(), line()

    def child() -> None:
        go.hear()
        with region.ring("ring") as ring, region.slot("slot") as slot:
            use(ring, slot)
        says.tell("closed")
        stay.hear()

    with AnyFork(fork, child) as process:
        for handle in used:
            handle.close()
        go.tell()
        assert "closed" == says.hear()

        ring, slot = region.ring("ring"), region.slot("slot")
        assert process.pid in alive(region)
        assert {"departed"} >= {lane["producer"] for lane in ring.stats()["lanes"]}
        assert ring.stats()["consumer"] is None
        slot.publish(b"87654321")
        stay.tell()
        assert 0 == process.wait()


CALLS: dict[str, Callable[[Region, Ring, memlane.Slot, memlane.Counter], Any]] = {
    "put": lambda region, ring, slot, counter: ring.put(b"child"),
    "put_many": lambda region, ring, slot, counter: ring.put_many([b"child"]),
    "reserve": lambda region, ring, slot, counter: ring.reserve(8).abort(),
    "get": lambda region, ring, slot, counter: gets_or_is_refused(ring),
    "publish": lambda region, ring, slot, counter: publishes_or_is_refused(slot),
    "read": lambda region, ring, slot, counter: slot.read(),
    "version": lambda region, ring, slot, counter: slot.version,
    "wait_newer": lambda region, ring, slot, counter: slot.wait_newer(0),
    "add": lambda region, ring, slot, counter: counter.add(1),
    "value": lambda region, ring, slot, counter: counter.value,
    "len": lambda region, ring, slot, counter: len(ring),
    "stats": lambda region, ring, slot, counter: ring.stats(),
    "participants": lambda region, ring, slot, counter: region.participants(),
    "join": lambda region, ring, slot, counter: region.join(),
    "list": lambda region, ring, slot, counter: list(region),
    "close": lambda region, ring, slot, counter: region.close(),
}


def gets_or_is_refused(ring: Ring) -> None:
    """
    A child whose parent has died may be quicker than the proof; what matters is that it has called.
    """
    try:
        ring.get_nowait()
    except (Empty, RoleTakenError):
        pass


def publishes_or_is_refused(slot: memlane.Slot) -> None:
    try:
        slot.publish(b"12345678")
    except RoleTakenError:
        pass


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_closes_no_file_that_has_the_number_of_an_inherited_lock(
    region: Region, fork: str
) -> None:
    """
    A program closed our descriptor behind our back and opened a file of its own, which got the
    number: its forked child has that file still.
    """

    def replace() -> None:
        before = numbers_of(region)
        region.join()
        [lock] = numbers_of(region) - before
        reading, writing = os.pipe()
        os.dup2(writing, lock)
        os.close(writing)

        def use() -> None:
            assert _core.fork_epoch()  # a raw clone makes up for its hooks by now
            os.write(lock, b"still open")

        with AnyFork(fork, use) as child:
            assert 0 == child.wait()
        assert b"still open" == os.read(reading, 16)

    runs(replace)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fork", FORKS)
def test_death_of_the_parent_is_seen_though_its_child_lives(
    region: Region, fork: str, call: str, line: Lines
) -> None:
    """
    The parent is killed, its child lives and has made one call, whichever: all see the parent as
    dead, and its roles go to others (hazard 15, for forks without hooks hazard 16)
    """
    ring = region.ring("ring", capacity=4096, producers=2)
    slot = region.slot("slot", 8)
    counter = region.counter("counter")

    def parent(forks: Forks) -> None:
        ring.put(b"parent")
        ring.get()
        slot.publish(b"12345678")
        forks(lambda: CALLS[call](region, ring, slot, counter), by=partial(AnyFork, fork))

    with orphan(line, parent) as process:
        assert process.pid not in alive(region)
        if call not in ("get", "publish"):
            while len(ring):
                ring.get_nowait()
            slot.publish(b"87654321")


@pytest.mark.parametrize("fork", FORKS)
def test_living_parent_is_not_taken_for_dead_by_its_child(region: Region, fork: str) -> None:
    """A child that calls, closes and ends takes nothing from its parent (hazard 15)"""
    ring = region.ring("ring", capacity=4096, producers=2)
    ring.put(b"parent")
    slot = region.slot("slot", 8)
    slot.publish(b"12345678")

    def child() -> None:
        for take in (lambda: ring.get(), lambda: slot.publish(b"87654321")):
            with pytest.raises(RoleTakenError) as caught:
                take()
            assert (os.getppid(),) == caught.value.pids
        ring.put(b"child")
        region.close()

    assert b"parent" == ring.get()
    with AnyFork(fork, child) as made:
        assert 0 == made.wait()

    assert b"child" == ring.get()
    assert {os.getpid()} == alive(region)
    assert 2 == slot.publish(b"23456789")


def test_child_that_ends_as_a_program_ends_takes_nothing_from_its_parent(name: str) -> None:
    """
    A child that inherits a claim, a loan and handles, and runs through the end of the interpreter,
    commits, releases and gives back nothing
    """
    program = unrelated(
        """
import os, sys, memlane
ring = memlane.Ring(capacity=4096, producers=2)
ring.put(b"first")
ring.put(b"second")
loan = ring.borrow()
room = ring.reserve(5)
room[:] = b"third"
if os.fork() == 0:
    sys.exit(0)
os.wait()
assert bytes(loan) == b"first", bytes(loan)
room.commit()
assert ring.get_many(9) == [b"second", b"third"]
loan.release()
assert [p.pid for p in ring.region.participants() if p.alive] == [os.getpid()]
ring.close()
print("good")
"""
    )

    assert "good\n" == output_of(program)


# ---- what a fork can meet ------------------------------------------------------------------------


def test_child_does_not_inherit_a_lock_description_that_another_thread_is_opening() -> None:
    """
    A thread opens lock descriptions while another forks: no child has one, so none keeps its parent
    alive (hazard 4)
    """
    with busy_thread(join_and_close):
        for _ in range(60):
            runs(has_no_lock_description)


def join_and_close() -> None:
    with Region.create(None, 4096) as region:
        region.join()


def has_no_lock_description() -> None:
    """Of each region a child has one description, the base."""
    found: list[tuple[int, int]] = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            status = os.fstat(number)
            where = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the descriptor of the listing itself
        if where.startswith("/memfd:memlane"):
            assert number < 512
            found.append((status.st_dev, status.st_ino))
    assert len(set(found)) == len(found)


@contextmanager
def busy_thread(step: Callable[[], object]) -> Iterator[None]:
    """A thread that does the same again and again."""
    over = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not over.is_set():
                step()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert [] == failed


def put_if_there_is_room(ring: Ring, record: bytes) -> bool:
    try:
        ring.put(record, timeout=0.01)
    except memlane.Full:
        return False
    return True


def test_child_of_a_fork_amid_a_large_put_puts_at_once() -> None:
    """
    Another thread holds the mutex of the producer while it copies; the child's put neither waits
    for it nor disturbs it, and takes a lane of its own (hazard 15)
    """
    large = os.urandom(LARGE_NBYTES)
    with (
        Ring(capacity="16 MiB", producers=2) as ring,
        busy_thread(lambda: put_if_there_is_room(ring, large)),
    ):
        for _ in range(16):
            with Child(ring.put, b"child") as child:
                while (record := ring.get()) != b"child":
                    assert large == record
                assert 0 == child.wait()


def fork_amid_a_large_publish(line: Lines) -> None:
    values = [bytes([number]) * LARGE_NBYTES for number in range(3)]
    with memlane.Slot.create(None, LARGE_NBYTES) as slot:

        def parent(forks: Forks) -> None:
            slot.publish(values[0])
            with busy_thread(lambda: slot.publish(values[1])):
                forks(lambda: slot.publish(values[2]))

        with orphan(line, parent):
            assert values[2] == slot.read()


def test_child_of_a_fork_amid_a_large_publish_publishes_when_its_parent_is_dead(
    line: Lines,
) -> None:
    """
    Another thread holds the mutex of the slot while it copies; the parent is killed, and the child
    becomes the writer without waiting for that mutex (hazard 15)
    """
    for _ in range(6):
        fork_amid_a_large_publish(line)


def fork_amid_a_large_get(line: Lines) -> None:
    large = os.urandom(LARGE_NBYTES)
    with Ring(capacity="16 MiB", producers=1) as ring:

        def child() -> None:
            while not put_if_there_is_room(ring, b"child"):
                assert large == ring.get()  # the parent had filled the ring
            while (record := ring.get()) != b"child":
                assert large == record

        def parent(forks: Forks) -> None:
            ring.put(large)
            with (
                busy_thread(lambda: put_if_there_is_room(ring, large)),
                busy_thread(lambda: ring.get()),
            ):
                forks(child)

        with orphan(line, parent):
            pass  # the child has got all of it


def test_child_of_a_fork_amid_a_large_get_gets_when_its_parent_is_dead(line: Lines) -> None:
    """
    Other threads hold the mutexes of producer and consumer while they copy; the parent is killed,
    and the child has both roles without waiting for those mutexes, and every record whole (hazard
    15)
    """
    for _ in range(6):
        fork_amid_a_large_get(line)


def test_childs_put_does_not_wait_behind_its_parents_threads(region: Region) -> None:
    """
    Threads of the parent wait for room in its full lane; the child's put is the first in its own
    (hazard 15)
    """
    ring = region.ring("ring", capacity=4096, producers=2)
    ring.put(bytes(4096))
    waiting = [threading.Thread(target=ring.put, args=(b"waited",)) for _ in range(2)]
    for thread in waiting:
        thread.start()
    while (
        _waiters(ring) < 1
    ):  # the first in the queue watches the lane, the other waits for its turn
        os.sched_yield()

    runs(lambda: ring.put(b"child", timeout=0))

    got = {ring.get() for _ in range(4)}
    for thread in waiting:
        thread.join()
    assert {bytes(4096), b"waited", b"child"} == got


def _waiters(ring: Ring) -> int:
    """How many puts have announced in lane 0 that they wait."""
    offset = ring.region._member.entries()[0][2]
    with open(f"/proc/self/fd/{ring.region._member.base}", "rb") as file:
        return int.from_bytes(os.pread(file.fileno(), 4, offset + 256 + 4), "little")


def test_claim_of_the_parent_is_not_the_childs_to_commit(region: Region) -> None:
    """
    A claim is open at the fork: the child's commit, abort and exit do nothing, its own put does not
    wait for the claim, and the parent commits as if nothing had been (hazard 15)
    """
    ring = region.ring("ring", capacity=4096, producers=2)
    room = ring.reserve(6)
    room[:] = b"parent"

    def child() -> None:
        ring.put(b"child", timeout=0)
        room.commit()
        assert 1 == len(ring)

    runs(child)
    runs(room.abort)
    runs(lambda: room.__exit__(None, None, None))
    assert [b"child"] == ring.get_many(9)

    room.commit()

    assert [b"parent"] == ring.get_many(9)


def test_claim_of_a_parent_that_dies_is_gone_and_the_childs_commit_of_it_too(
    region: Region, line: Lines
) -> None:
    """
    The parent is killed with a claim open; the child commits its copy of it, in vain, and takes
    over the lane (hazard 15)
    """
    ring = region.ring("ring", capacity=4096, producers=1)

    def parent(forks: Forks) -> None:
        ring.put(b"before")
        reservation = ring.reserve(6)
        reservation[:] = b"parent"

        def child() -> None:
            reservation.commit()
            ring.put(b"child", timeout=0)

        forks(child)

    with orphan(line, parent):
        assert [b"before", b"child"] == ring.get_many(9)


def test_loan_of_the_parent_is_not_the_childs_to_release(region: Region) -> None:
    """
    A loan is out at the fork: the child's release, close and exit leave the record to the parent,
    whose view stays what it was while others fill the ring (hazard 15)
    """
    ring = region.ring("ring", capacity=4096, producers=1)
    ring.put(b"a" * 2048)
    loan = ring.borrow()

    def child() -> None:
        assert b"a" * 2048 == bytes(loan)
        loan.release()
        region.close()

    runs(child)
    runs(loan.release)
    runs(lambda: None)

    ring.put(b"b" * 2048)
    with pytest.raises(memlane.Full):
        ring.put(b"c" * 2048, timeout=0)
    assert b"a" * 2048 == bytes(loan)
    loan.release()
    assert [b"b" * 2048] == ring.get_many(9)
    ring.put(b"c" * 2048, timeout=0)


def test_loan_that_a_child_inherited_keeps_its_bytes_mapped_after_close(region: Region) -> None:
    """
    The child closes the region while it has the parent's loan: its view can still be read, never a
    crash (hazard 15)
    """
    ring = region.ring("ring", capacity=4096)
    ring.put(b"record")
    loan = ring.borrow()
    view = memoryview(loan)

    def child() -> None:
        region.close()
        assert b"record" == bytes(view)

    runs(child)
    view.release()
    loan.release()


def test_record_on_loan_to_a_dead_parent_comes_to_its_child(region: Region, line: Lines) -> None:
    """
    The parent is killed with a record in hand; its child takes the role of the consumer and gets
    that record, although it has a copy of the parent's loan (hazard 15)
    """
    ring = region.ring("ring", capacity=4096, producers=1)
    ring.put(b"first")
    ring.put(b"second")

    def parent(forks: Forks) -> None:
        loan = ring.borrow()

        def child() -> None:
            assert [b"first", b"second"] == ring.get_many(9)
            loan.release()

        forks(child)

    with orphan(line, parent):
        assert 0 == len(ring)


def test_child_is_kept_from_the_creation_byte_by_its_parent_not_by_an_inherited_lock(
    region: Region,
) -> None:
    """
    A thread of the parent is making an object at the fork: the child is told the parent's pid, and
    makes its own as soon as the parent is through (hazard 15)
    """
    region.join()
    descriptor = os.open(f"/proc/self/fd/{region._member.base}", os.O_RDWR | os.O_CLOEXEC)

    def refused() -> None:
        with pytest.raises(TimeoutError, match=f"process {os.getppid()} "):
            region.counter("late", timeout=0)

    with Creating(region._member, 0):
        runs(refused)
        with Table(f"/proc/self/fd/{descriptor}") as table:
            assert table.is_locked(CREATION_BYTE)
    runs(lambda: region.counter("late", timeout=0))
    os.close(descriptor)

    assert ["late"] == list(region)


def test_close_in_a_child_unmaps_although_a_call_of_the_parent_was_under_way(
    region: Region,
) -> None:
    """
    A get of another thread waits at the fork; the child, which has no such thread, closes the
    region: its memory is unmapped, so that it does not keep the region present for ever (hazard 14)
    """
    ring = region.ring("ring", capacity=4096)
    thread = threading.Thread(target=ring.get)
    thread.start()
    while not ring.stats()["consumer_pid"]:
        os.sched_yield()
    inode = str(os.fstat(region._member.base).st_ino)

    def child() -> None:
        region.close()
        with open("/proc/self/maps") as maps:
            assert not any(inode == each.split()[4] for each in maps)

    try:
        runs(child)
    finally:
        ring.put(b"record")
        thread.join()


# ---- names, users, kinds of memory ---------------------------------------------------------------


def test_child_joins_the_region_it_has_mapped_not_the_one_that_bears_its_name_now(
    name: str,
) -> None:
    """
    Create, unlink, fork; another region of the same name is made: the child's row is in its own
    (hazard 13)
    """
    with Region.create(name, "1 MiB") as old:
        old.unlink()
        with Region.create(name, "1 MiB") as new:

            def child() -> None:
                old.join()
                assert {os.getpid()} == alive(old)
                assert set() == alive(new)

            runs(child)
        new.unlink()


def test_child_of_an_unlinked_region_works_on(name: str) -> None:
    """A region without a name any more is as good as before for those who have it (hazard 13)"""
    with Region.create(name, "1 MiB") as region:
        ring = region.ring("ring", capacity=4096, producers=2)
        ring.put(b"parent")
        region.unlink()

        runs(lambda: ring.put(b"child", timeout=0))

        assert [b"parent", b"child"] == [ring.get(), ring.get()]


DAEMON = """
import os, sys, memlane
name, quiet = sys.argv[1], sys.argv[2] == "closes"
region = memlane.Region.create(name, "1 MiB")
ring = region.ring("ring", capacity=4096)
ring.put(b"record")
reader, writer = os.pipe()
if os.fork():
    os.read(reader, 1)
    os._exit(0)
os.setsid()
pid = os.fork()
if pid:
    os._exit(0)
# The daemon: it has the region mapped, and has not called anything yet.
if quiet:
    os.closerange(3, writer)
    os.closerange(writer + 1, 4096)
print(os.getpid(), flush=True)
os.write(writer, b"x")
if sys.stdin.readline().strip() == "call":
    ring.put(b"from the daemon")
    print("called", flush=True)
    sys.stdin.readline()
os._exit(0)
"""


@pytest.mark.sweeps
@pytest.mark.parametrize("closes", ["closes", "keeps"])
def test_sweep_leaves_what_a_daemon_has_mapped_that_has_not_called_anything(
    name: str, closes: str
) -> None:
    """
    The program daemonizes: the parent exits, the daemon has the region only as a mapping, with or
    without its descriptors. Its name and its semaphores stay, and go when the daemon is gone
    (hazard 14)
    """
    with unrelated(DAEMON, name, closes) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        daemon = int(program.stdout.readline())
        assert 0 == program.wait()

        memlane.sweep()
        assert name in Region.names()
        with Region.open(name) as region:
            ring = region.ring("ring")
            assert b"record" == ring.get()
            assert daemon not in alive(region)
            if closes == "keeps":
                program.stdin.write("call\n")
                program.stdin.flush()
                assert "called\n" == program.stdout.readline()
                assert daemon in alive(region)
                assert b"from the daemon" == ring.get()
        memlane.sweep()
        assert name in Region.names()

        program.communicate("end\n")
    wait_until(lambda: not _lives(daemon))
    assert name in memlane.sweep()


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = 65534


@needs_root
@pytest.mark.parametrize("named", [True, False], ids=["named", "memfd"])
def test_child_that_drops_privileges_first_is_refused_and_told_to_join_before(
    name: str, named: bool
) -> None:
    """
    With permissions 0600 another user cannot join: PermissionError says what to do (hazard 17)
    """
    with Region.create(name if named else None, "1 MiB") as region:
        ring = region.ring("ring", capacity=4096)

        def child() -> None:
            os.setuid(NOBODY)
            for call in (region.join, lambda: ring.put(b"record"), ring.get_nowait):
                with pytest.raises(PermissionError, match=r"region\.join\(\) before dropping"):
                    call()
            assert 0 == len(ring)

        runs(child)
    region.unlink()


@needs_root
@pytest.mark.parametrize("named", [True, False], ids=["named", "memfd"])
def test_child_that_joins_before_it_drops_privileges_works_on(name: str, named: bool) -> None:
    """`region.join()` first, setuid after: the child puts and gets as another user (hazard 17)"""
    with Region.create(name if named else None, "1 MiB") as region:
        there = region.ring("there", capacity=4096)
        back = region.ring("back", capacity=4096)

        def child() -> None:
            region.join()
            os.setuid(NOBODY)
            assert {os.getpid(), os.getppid()} >= alive(region)
            back.put(b"from " + there.get())

        with Child(child) as made:
            there.put(b"parent")
            assert b"from parent" == back.get()
            assert 0 == made.wait()
        assert {os.getpid()} == alive(region)
    region.unlink()


@needs_root
@pytest.mark.parametrize("named", [True, False], ids=["named", "memfd"])
def test_child_joins_after_it_dropped_privileges_where_permissions_allow(
    name: str, named: bool
) -> None:
    """With permissions 0666 another user joins through what it inherited, also late (hazard 17)"""
    with Region.create(name if named else None, "1 MiB", permissions=0o666) as region:
        ring = region.ring("ring", capacity=4096)

        def child() -> None:
            os.setuid(NOBODY)
            ring.put(b"record")

        runs(child)
        assert b"record" == ring.get()
    region.unlink()


def test_object_made_after_the_fork_in_anonymous_memory_is_refused_in_the_child() -> None:
    """
    The semaphores of a MAP_ANONYMOUS region have no name: what a child would make, others could not
    find; it is told so, and uses what was made before (hazard 18)
    """
    with Region.create(None, "1 MiB", anonymous=True) as region:
        ring = region.ring("ring", capacity=4096)

        def child() -> None:
            for make in (
                lambda: region.ring("late", capacity=4096),
                lambda: region.slot("late", 8),
                lambda: region.counter("late"),
            ):
                with pytest.raises(RuntimeError, match="after the fork"):
                    make()
            ring.put(b"record")
            assert ["ring"] == list(region)

        runs(child)
        assert b"record" == ring.get()


def test_object_that_the_parent_makes_after_the_fork_in_anonymous_memory_serves_both(
    line: Lines,
) -> None:
    """
    The child cannot ring or hear the semaphores of what its parent made since; it polls, and every
    record arrives (hazard 18)
    """
    go = line()
    with Region.create(None, "1 MiB", anonymous=True) as region:

        def child() -> None:
            go.hear()
            region.ring("back", capacity=4096).put(b"from " + region.ring("there").get())

        with Child(child) as made:
            there = region.ring("there", capacity=4096)
            back = region.ring("back", capacity=4096)
            go.tell()
            there.put(b"parent")

            assert b"from parent" == back.get()
            assert 0 == made.wait()


# ---- children of the standard library ------------------------------------------------------------


def put_pid(ring: Ring) -> tuple[int, int]:
    """What a worker does; its pid, and its tag."""
    ring.put(str(os.getpid()).encode())
    return os.getpid(), ring.region._member.tag


def put_pid_and_wait(ring: Ring, barrier: Any) -> None:
    put_pid(ring)
    barrier.wait(PATIENCE_S)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_take_roles_of_their_own(method: str) -> None:
    """Under every start method each child that lives has a row and a lane, and its death is seen"""
    context: Any = multiprocessing.get_context(method)
    with Ring(capacity=4096, producers=3) as ring:
        ring.put(str(os.getpid()).encode())
        barrier = context.Barrier(3)
        children = [
            context.Process(target=put_pid_and_wait, args=(ring, barrier)) for _ in range(2)
        ]
        for child in children:
            child.start()
        found = {int(ring.get()) for _ in range(3)}

        pids = {os.getpid(), *(child.pid for child in children)}
        assert pids == found
        assert pids == alive(ring.region)
        assert pids == {lane["pid"] for lane in ring.stats()["lanes"]}
        barrier.wait(PATIENCE_S)
        for child in children:
            child.join()
            assert 0 == child.exitcode
        assert {os.getpid()} == alive(ring.region)


_ring: Ring | None = None


def take_ring(ring: Ring) -> None:
    global _ring
    _ring = ring


def put_pid_here(_number: int) -> tuple[int, int]:
    assert _ring is not None
    return put_pid(_ring)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_pool_take_roles_of_their_own(method: str) -> None:
    """
    A ring passed to the workers of a ProcessPoolExecutor: one row and one lane a worker, however
    many tasks
    """
    context = multiprocessing.get_context(method)
    with Ring(capacity=4096, producers=3) as ring:
        ring.put(b"0")
        with concurrent.futures.ProcessPoolExecutor(
            2, mp_context=context, initializer=take_ring, initargs=(ring,)
        ) as pool:
            done = set(pool.map(put_pid_here, range(8)))

            assert len({pid for pid, _ in done}) == len(done) <= 2
            assert {tag for _, tag in done}.isdisjoint({ring.region._member.tag})
            got = [ring.get() for _ in range(9)]
        assert {b"0", *(str(pid).encode() for pid, _ in done)} == set(got)
        assert {os.getpid()} == alive(ring.region)


@pytest.mark.parametrize("close_fds", [True, False])
def test_program_that_a_participant_has_started_does_not_keep_it_alive(
    region: Region, line: Lines, close_fds: bool
) -> None:
    """
    subprocess starts programs without running hooks (vfork); one that outlives its parent holds
    nothing of it
    """
    says = line()
    ring = region.ring("ring", capacity=4096, producers=1)

    def parent() -> None:
        ring.put(b"record")
        program = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=close_fds
        )
        says.tell(program.pid)
        program.wait()

    with Child(parent) as process:
        program = int(says.hear())
        # Its standard input is held here, too, so that it outlives its parent.
        held = os.open(f"/proc/{program}/fd/0", os.O_WRONLY)
        process.kill()

        assert _lives(program)
        assert process.pid not in alive(region)
        ring.put(b"successor", timeout=0)
        os.close(held)


def test_participant_goes_on_after_it_started_programs(region: Region) -> None:
    """vfork shares the memory of the parent: its epoch, row and lane are what they were"""
    ring = region.ring("ring", capacity=4096, producers=1)
    ring.put(b"before")
    epoch, tag = _core.fork_epoch(), region._member.tag

    subprocess.run(["/bin/true"], check=True)
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    runs(lambda: None)

    ring.put(b"after")
    assert (epoch, tag) == (_core.fork_epoch(), region._member.tag)
    assert [b"before", b"after"] == ring.get_many(9)
