# SPDX-License-Identifier: MIT
"""Doorbells: sleepers are woken, and whatever happens to a semaphore, everything still arrives."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import posix_ipc
import pytest

import memlane
import memlane.doorbell as doorbell_module
from memlane import Empty, Full, Ring, ShutDown, Slot, _core
from processes import PATIENCE_S, Child, output_of, unrelated, wait_until
from region_files import (
    LANE_DOORBELL,
    LANE_WAITERS,
    PAGE,
    RING_DOORBELL,
    RING_WAITERS,
    SEMAPHORE,
    bytes_of,
    needs_mounts,
    semaphores,
    set_field,
)

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc, for a shim")
#: Semaphores of the C library count to this.
VALUE_MAX = 2**31 - 1
SLEEPERS = ["named", "path", "memfd", "anonymous"]


def ring_of(backing: str, name: str, tmp_path: Path, **options: Any) -> Ring:
    """A ring whose waits sleep at once, in memory of each kind."""
    if backing == "named":
        return Ring.create(name, wait="sleep", **options)
    if backing == "path":
        return Ring.create(tmp_path / "ring.lane", wait="sleep", **options)
    return Ring(wait="sleep", anonymous=backing == "anonymous", **options)


def id_of(thing: Ring | Slot) -> int:
    return thing.region._member.region_id


def value_of(region_id: int, number: int) -> int:
    """How many tokens lie in a named semaphore."""
    semaphore = posix_ipc.Semaphore(f"/memlane.{doorbell_module.set_of(region_id)}.{number}")
    try:
        return int(semaphore.value)
    finally:
        semaphore.close()


def tokens(ring: Ring, doorbell: int = RING_DOORBELL) -> int:
    """How many tokens lie at the doorbell of the consumers, or at the one that is named."""
    with bytes_of(ring) as raw:
        if ring.region.backing == "memfd":
            return raw.half(doorbell + SEMAPHORE)
        return value_of(id_of(ring), (raw.begin + doorbell) // 64)


def waiting(ring: Ring, waiters: int = RING_WAITERS) -> int:
    with bytes_of(ring) as raw:
        return raw.half(waiters)


def stop_asleep(child: Child, is_announced: Callable[[], object]) -> None:
    """Stop a child while its announcement stands: between two slices there is none for a moment."""
    stop_all_asleep([child], is_announced)


def stop_all_asleep(children: list[Child], are_announced: Callable[[], object]) -> None:
    while True:
        wait_until(are_announced, "the announcements")
        for child in children:
            child.stop()
        if are_announced():
            return
        for child in children:
            child.go_on()


def bell_at(ring: Ring, doorbell: int = RING_DOORBELL) -> Any:
    """What this process has of a doorbell."""
    entry = ring.region._find(ring._object_name)
    doorbells = ring.region._member.doorbells
    assert entry is not None
    assert doorbells is not None
    return doorbells.at(entry[2] + doorbell, False)


@contextmanager
def open_semaphore(ring: Ring, backing: str) -> Iterator[tuple[mmap.mmap, int]]:
    """The memory in which the consumers' semaphore lies, and where in it."""
    with bytes_of(ring) as raw:
        at = raw.begin + RING_DOORBELL
    path = f"/proc/self/fd/{ring.region._member.base}"
    if backing != "memfd":
        path, at = str(semaphores(id_of(ring))[at // 64]), -SEMAPHORE
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        yield mapping, at + SEMAPHORE


def wake_sleepers(mapping: mmap.mmap, begin: int) -> None:
    """Have whoever sleeps at a semaphore look at its bytes again, without a token for it."""
    numbers = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # of the system call futex
    if platform.machine() not in numbers:
        pytest.skip(f"the numbers of system calls on {platform.machine()} are not known here")
    address = ctypes.c_char.from_buffer(mapping, begin)
    wake, everybody = 1, 2**31 - 1
    ctypes.CDLL(None).syscall(
        numbers[platform.machine()], ctypes.byref(address), wake, everybody, 0, 0, 0
    )


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

    announced = backing != "anonymous"  # else there is no doorbell, and who waits polls

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


def test_a_ringer_killed_before_its_post_costs_a_slice(name: str) -> None:
    """It took the announcement and died: the sleeper looks again by itself. (trap 29)"""
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
    The record it was woken for goes to the next consumer, who sleeps and wakes as usual. (trap 29)
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
    """Whoever eats the token, the sleeper it was meant for looks again. (trap 29)"""
    with Ring.create(name, wait="sleep") as ring:
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.put(b"the token is gone")
            with bytes_of(ring) as raw:
                number = (raw.begin + RING_DOORBELL) // 64
            semaphore = posix_ipc.Semaphore(
                f"/memlane.{doorbell_module.set_of(id_of(ring))}.{number}"
            )
            semaphore.acquire(0)
            semaphore.close()
            child.go_on()
            assert 0 == child.wait()
        ring.unlink()


def test_each_watcher_of_a_slot_has_a_doorbell_of_its_own(name: str) -> None:
    """
    Four watchers, one publish: a token for each, so that one who loops eats nobody's. (trap 31)
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
    """Whoever gets no doorbell still sees the new value; so does a read-only one."""
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


# ---- hostile words -------------------------------------------------------------------------------


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_a_hostile_count_of_waiters_does_not_hang_the_ringer(
    backing: str, name: str, tmp_path: Path
) -> None:
    """However many are said to sleep, posts are bounded; the count is only a hint. (trap 32)"""
    with ring_of(backing, name, tmp_path, records=4096, capacity="1 MiB") as ring:
        with bytes_of(ring) as raw:
            for waiters in (RING_WAITERS, LANE_WAITERS):
                raw.set_half(waiters, 2**32 - 1)
        ring.put(b"first")
        assert 1 == tokens(ring)
        assert 4000 == ring.put_many([b"x"] * 4000)
        assert tokens(ring) <= 1 + 1024
        assert 4001 == len(ring.get_many(5000))
        # An announcement wraps the count round: the sleeper looks again after a slice.
        with bytes_of(ring) as raw:
            raw.set_half(RING_WAITERS, 2**32 - 1)
        with pytest.raises(Empty):
            ring.get(timeout=0.01)
        with bytes_of(ring) as raw:
            raw.set_half(RING_WAITERS, 2**32 - 1)
        ring.shutdown()
        with pytest.raises(ShutDown):
            ring.get()
        ring.unlink()


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_a_semaphore_full_of_tokens_is_no_error(backing: str, name: str, tmp_path: Path) -> None:
    """
    sem_post fails with EOVERFLOW: more tokens than there can be sleepers are left already. (trap
    32)
    """
    with ring_of(backing, name, tmp_path) as ring:
        with bytes_of(ring) as raw:
            number = (raw.begin + RING_DOORBELL) // 64
            if backing == "memfd":
                raw.set_half(RING_DOORBELL + SEMAPHORE, VALUE_MAX)
            else:
                with open(semaphores(id_of(ring))[number], "r+b") as file:
                    file.write(VALUE_MAX.to_bytes(4, sys.byteorder))
            raw.set_half(RING_WAITERS, 2**32 - 1)
        assert 3 == ring.put_many([b"a", b"b", b"c"])
        assert VALUE_MAX == tokens(ring)
        assert [b"a", b"b", b"c"] == ring.get_many(3)
        with pytest.raises(Empty):
            ring.get(timeout=0.01)
        ring.unlink()


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_tokens_that_nobody_can_have_left_are_taken_at_once(
    backing: str, name: str, tmp_path: Path
) -> None:
    """
    Who would sleep at a semaphore with two thousand million tokens is awake once, not until they
    are counted down.
    """
    with ring_of(backing, name, tmp_path) as ring:
        with open_semaphore(ring, backing) as (bytes_, begin):
            bytes_[begin : begin + 4] = VALUE_MAX.to_bytes(4, sys.byteorder)
        assert VALUE_MAX == tokens(ring)
        with ring.consumer() as receiving, pytest.raises(Empty):
            receiving.get(timeout=0.01)

        assert 0 == tokens(ring)
        ring.unlink()


# ---- doorbells that cannot be opened -------------------------------------------------------------


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_empty(path: Path) -> None:
    path.unlink()
    path.touch()


def spoil_small(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"\0" * 8)


def spoil_large(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"\0" * PAGE)


def spoil_other(path: Path) -> None:
    """The right size, but another file than the one noted in the region."""
    path.rename(path.with_name(path.name + "x"))
    path.write_bytes(b"\0" * 32)
    path.with_name(path.name + "x").unlink()


def spoil_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def spoil_symlink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def spoil_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILERS = [
    spoil_missing,
    spoil_empty,
    spoil_small,
    spoil_large,
    spoil_other,
    spoil_fifo,
    spoil_symlink,
    spoil_directory,
]


@pytest.mark.parametrize("spoil", SPOILERS)
@pytest.mark.parametrize("which", ["all but the anchor", "the anchor", "all"])
def test_who_cannot_open_a_doorbell_polls(
    spoil: Callable[[Path], None], which: str, name: str
) -> None:
    """What bears the name of a semaphore is not opened unless it is one of ours. (trap 34)"""
    with Ring.create(name, wait="sleep") as ring:
        ring.put(b"makes the lane's doorbell")
        with ring.consumer() as receiving:
            receiving.get()
        made = semaphores(id_of(ring))
        chosen = {"all": list(made), "the anchor": [0]}.get(which, [n for n in made if n])
        for number in chosen:
            spoil(made[number])

        program = unrelated(
            "import memlane, sys\n"
            "with memlane.Ring.open(sys.argv[1], wait='sleep') as ring:\n"
            "    ring.put(b'from there')\n"
            "    sys.stdin.readline()\n"
            "    print(ring.get(), flush=True)",
            name,
        )
        with ring.consumer() as receiving:
            assert b"from there" == receiving.get()
        ring.put(b"from here")
        assert program.stdin is not None
        print("go on", file=program.stdin, flush=True)
        assert "b'from here'\n" == output_of(program)
        for path in semaphores(id_of(ring)).values():
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
        ring.unlink()


def test_a_semaphore_in_another_file_than_the_noted_one_is_not_opened(name: str) -> None:
    """
    Name, size, owner and bytes of one of ours do not make it one: it is device and inode that the
    region has noted, and who finds another file polls.
    """

    def is_attached() -> bool:
        program = unrelated(
            "import memlane, sys\n"
            "with memlane.Ring.open(sys.argv[1], wait='sleep') as ring:\n"
            "    at = ring.region._find(ring._object_name)[2] + int(sys.argv[2])\n"
            "    print(ring.region._member.doorbells.at(at, False).attached)",
            name,
            str(RING_DOORBELL),
        )
        return output_of(program) == "True\n"

    with Ring.create(name, wait="sleep") as ring:
        assert is_attached()
        entry = ring.region._find(ring._object_name)
        assert entry is not None
        path = semaphores(id_of(ring))[(entry[2] + RING_DOORBELL) // 64]
        twin = path.with_name(f"{path.name}x")
        twin.write_bytes(path.read_bytes())
        twin.chmod(path.stat().st_mode & 0o777)
        twin.rename(path)

        assert not is_attached()
        ring.unlink()


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_a_semaphore_full_of_garbage_ends_nobody(backing: str, name: str, tmp_path: Path) -> None:
    """
    Whatever bytes a writer left in it, everything still arrives. (trap 34)
    """
    random.seed(7)
    for garbage in (b"\xff" * 32, b"\0" * 8 + b"\xff" * 24, random.randbytes(32)):
        with ring_of(backing, name, tmp_path, records=2) as ring:
            ring.put(b"makes the lane's doorbell")
            with ring.consumer() as receiving:
                receiving.get()
            with bytes_of(ring) as raw:
                for doorbell in (RING_DOORBELL, LANE_DOORBELL):
                    if backing == "memfd":
                        raw.write(doorbell + SEMAPHORE, garbage)
                    else:
                        number = (raw.begin + doorbell) // 64
                        with open(semaphores(id_of(ring))[number], "r+b") as file:
                            file.write(garbage)

            def receive(ring: Ring = ring) -> None:
                assert [b"%d" % number for number in range(20)] == [ring.get() for _ in range(20)]

            with Child(receive) as child:
                for number in range(20):
                    ring.put(b"%d" % number)
                assert 0 == child.wait()
            with bytes_of(ring) as raw:
                raw.set_half(RING_WAITERS, 5)
            ring.put(b"rung for")
            assert b"rung for" == ring.get()
            ring.unlink()


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_a_semaphore_that_is_spoilt_under_a_sleeper_ends_nobody(
    backing: str, name: str, tmp_path: Path
) -> None:
    """
    The bytes change while a process sleeps at them, and it is made to look at them: it lives, and
    gets its record. The C library would have ended it.
    """
    random.seed(11)
    spoilt = [bytes([byte]) * 32 for byte in (0, 1, 0x7F, 0x80, 0xFF)]
    spoilt += [half.to_bytes(4, "little") * 2 + random.randbytes(24) for half in (0, 1, 2**31)]
    spoilt += [random.randbytes(32) for _ in range(4)]

    def receive() -> None:
        for number in range(len(spoilt)):
            assert b"%d" % number == ring.get()

    with ring_of(backing, name, tmp_path) as ring, Child(receive) as child:
        assert bell_at(ring).attached
        with open_semaphore(ring, backing) as (bytes_, begin):
            sound = bytes_[begin : begin + 32]
            for number, garbage in enumerate(spoilt):
                wait_until(lambda: waiting(ring) and child.state() in "SZ", "the child to sleep")
                bytes_[begin : begin + 32] = garbage
                wake_sleepers(bytes_, begin)
                ring.put(b"%d" % number)
                wait_until(lambda: not len(ring), "the record to be taken")
                bytes_[begin : begin + 32] = sound
            assert 0 == child.wait()
        ring.unlink()


def test_a_process_with_another_libc_polls(tmp_path: Path) -> None:
    """Semaphores of another C library may look different inside: they are left alone. (trap 34)"""
    path = tmp_path / "ring.lane"
    Ring.create(path).close()
    set_field(path, "libc", b"musl")
    with Ring.open(path, wait="sleep") as ring:
        # no lambda: another process, another interpreter
        program = unrelated(
            "import memlane, pathlib, sys\n"
            "with memlane.Ring.open(pathlib.Path(sys.argv[1]), wait='sleep') as ring:\n"
            "    ring.put(ring.get())\n",
            str(path),
        )
        ring.put(b"there")
        assert "" == output_of(program)  # gone, so the role of the consumer is free
        answer = ring.get()
        attached = bell_at(ring).attached
        ring.unlink()

    assert b"there" == answer
    assert not attached


@needs_mounts
def test_a_process_in_another_mount_namespace_polls(tmp_path: Path) -> None:
    """
    It has the file but not /dev/shm, as in a container: all arrives, nothing is made. (trap 34)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path, wait="sleep") as ring:
        program = unrelated(
            "import memlane, os, pathlib, sys\n"
            "sys.path.insert(0, sys.argv[2])\n"
            "import region_files\n"
            "region_files.own_shared_memory(1 << 20)\n"
            "with memlane.Ring.open(pathlib.Path(sys.argv[1]), wait='sleep') as ring:\n"
            "    ring.put(b'from there')\n"
            "    sys.stdin.readline()\n"
            "    print(ring.get(), os.listdir('/dev/shm'))",
            str(path),
            str(Path(__file__).parent),
        )
        with ring.consumer() as receiving:
            assert b"from there" == receiving.get()
        ring.put(b"from here")
        assert program.stdin is not None
        print("go on", file=program.stdin, flush=True)
        assert "b'from here' []\n" == output_of(program)
        ring.unlink()


# ---- sets that are lost --------------------------------------------------------------------------


def test_a_set_lost_in_a_reboot_is_made_anew(tmp_path: Path) -> None:
    """A file survives, /dev/shm does not: the first opener makes the semaphores again. (trap 23)"""
    path = tmp_path / "ring.lane"
    with Ring.create(path, wait="sleep") as ring:
        ring.put(b"kept")
        before = sorted(semaphores(id_of(ring)))
    for left in semaphores(id_of(ring)).values():
        left.unlink()
    with Ring.open(path, wait="sleep") as ring:
        after = sorted(semaphores(id_of(ring)))
        with ring.consumer() as receiving:
            assert b"kept" == receiving.get()
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.put(b"rings")
            rung = tokens(ring)
            child.go_on()
            assert 0 == child.wait()
        whole = sorted(semaphores(id_of(ring)))
        ring.unlink()
        left_behind = semaphores(id_of(ring))

    assert before[:2] == after
    assert before == whole
    assert 1 == rung
    assert {} == left_behind


@pytest.mark.parametrize("lost", ["all", "anchor", "bells"])
def test_ten_openers_at_once_after_the_set_was_lost_make_one_set(lost: str, tmp_path: Path) -> None:
    """Only one who is alone makes it anew: all ten end at the same semaphores. (trap 23)"""
    path = tmp_path / "ring.lane"
    with Ring.create(path, producers=16, wait="sleep") as ring:
        ring.put(b"makes a lane's")
        ring.get()
    for number, left in semaphores(id_of(ring)).items():
        if lost == "all" or (number == 0) == (lost == "anchor"):
            left.unlink()

    def open_and_put() -> None:
        os.close(begin)
        assert b"" == os.read(start, 1)
        with Ring.open(path, wait="sleep") as ring:
            ring.put(b"here")
            assert bell_at(ring).attached
            os.kill(os.getpid(), signal.SIGSTOP)  # present until all are

    start, begin = os.pipe()
    children = [Child(open_and_put) for _ in range(10)]
    os.close(begin)
    os.close(start)
    for child in children:
        status = os.waitpid(child.pid, os.WUNTRACED)[1]
        assert os.WIFSTOPPED(status), status
    with Ring.open(path, wait="sleep") as ring:
        records = [ring.get() for _ in range(10)]
        numbers = sorted(semaphores(id_of(ring)))
        attached = bell_at(ring).attached
        for child in children:
            child.go_on()
        assert [0] * 10 == [child.wait() for child in children]
        ring.unlink()
        left_behind = semaphores(id_of(ring))

    assert [b"here"] * 10 == records
    assert attached
    # The anchor, the consumers', and one for each of the ten lanes; the first lane was leased
    # before.
    assert 12 == len(numbers)
    assert {} == left_behind


@pytest.mark.sweeps
def test_a_removal_killed_between_any_two_steps_is_finished_by_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Wherever it stops, the region can be opened and used, and a sweep removes what is left. (trap
    23)
    """
    unlink = doorbell_module._unlink

    for steps in range(5):
        path = tmp_path / f"ring-{steps}.lane"
        with (
            Ring.create(path, producers=2, wait="sleep") as ring,
            ring.producer() as first,
            ring.producer() as second,
        ):
            first.put(b"1")
            second.put(b"2")
        region_id = id_of(ring)
        assert 4 == len(semaphores(region_id))

        def remove_some(region_id: int = region_id, steps: int = steps) -> None:
            done = 0

            def unlink_or_die(of_set: str, number: int) -> None:
                nonlocal done
                if done == steps:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
                unlink(of_set, number)

            monkeypatch.setattr(doorbell_module, "_unlink", unlink_or_die)
            doorbell_module.remove_set(region_id)

        with Child(remove_some) as child:
            assert (0 if steps == 4 else -signal.SIGKILL) == child.wait()
        left = semaphores(region_id)
        assert 4 - steps == len(left)
        assert not left or 0 in left, "the anchor goes last"
        with Ring.open(path, wait="sleep") as ring:
            assert {b"1", b"2"} == set(ring.get_many(9))
            ring.put(b"3")
            assert b"3" == ring.get()
        os.unlink(path)
        removed = memlane.sweep()
        assert f"semaphores {doorbell_module.set_of(region_id)}" in removed
        assert {} == semaphores(region_id)


@pytest.mark.sweeps
def test_a_paused_sweep_does_not_spoil_a_set_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One removes and is paused, another opens alone and makes the set anew: all arrives. (trap 23)
    """
    path = tmp_path / "ring.lane"
    unlink = doorbell_module._unlink
    with Ring.create(path, producers=2, wait="sleep") as ring:
        ring.put(b"makes a lane's")
        ring.get()
    region_id = id_of(ring)

    def sweep_with_a_pause() -> None:
        def unlink_and_pause(of_set: str, number: int) -> None:
            unlink(of_set, number)
            os.kill(os.getpid(), signal.SIGSTOP)

        monkeypatch.setattr(doorbell_module, "_unlink", unlink_and_pause)
        memlane.sweep()

    def until_stopped(sweeper: Child) -> bool:
        status = os.waitpid(sweeper.pid, os.WUNTRACED)[1]
        if not os.WIFSTOPPED(status):
            sweeper.status = os.waitstatus_to_exitcode(status)
        return os.WIFSTOPPED(status)

    whole = sorted(semaphores(region_id))
    assert 3 == len(whole)
    for removed in (1, 2, 3):
        with Child(sweep_with_a_pause) as sweeper:
            assert until_stopped(sweeper)
            for _ in range(removed - 1):
                sweeper.go_on()
                assert until_stopped(sweeper)
            with Ring.open(path, wait="sleep") as ring:
                ring.put(b"while it is paused")
                made = sorted(semaphores(region_id))
                sweeper.go_on()
                while until_stopped(sweeper):
                    sweeper.go_on()
                kept = sorted(semaphores(region_id))
                with ring.consumer() as receiving:
                    assert b"while it is paused" == receiving.get()
                    exchange_with_program(receiving, path)
            assert 0 == sweeper.status
        # While the anchor is there and locked nothing is made; nothing that was made is removed.
        assert (whole[: 3 - removed] if removed < 3 else whole) == made
        assert ([] if removed < 3 else whole) == kept
        with Ring.open(path) as ring:
            ring.put(b"has its doorbell again")
            ring.get()
            assert set(whole) <= set(semaphores(region_id))
    ring.unlink()

    assert {} == semaphores(region_id)


def exchange_with_program(receiving: memlane.Consumer, path: Path) -> None:
    program = unrelated(
        "import memlane, pathlib, sys\n"
        "with memlane.Ring.open(pathlib.Path(sys.argv[1]), wait='sleep') as ring:\n"
        "    ring.put(b'from there')",
        str(path),
    )
    assert b"from there" == receiving.get()
    assert "" == output_of(program)


def file_is(descriptor: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))


@pytest.mark.sweeps
def test_an_opener_does_not_replace_the_anchor_that_a_sweep_has_just_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The sweep would remove the new one by its name, from under the opener who is present there; so
    the opener waits until the sweep is through, and then begins the set. (trap 23)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path, wait="sleep") as ring:
        region_id = id_of(ring)
    whole = sorted(semaphores(region_id))
    for left in semaphores(region_id).values():
        left.unlink()
    make, unlink, sleep = doorbell_module._make, doorbell_module._unlink, time.sleep
    sweepers: list[Child] = []

    def sweep_with_a_stop() -> None:
        def stop_and_unlink(of: str, number: int) -> None:
            if of == doorbell_module.set_of(region_id):
                os.kill(os.getpid(), signal.SIGSTOP)
            unlink(of, number)

        monkeypatch.setattr(doorbell_module, "_unlink", stop_and_unlink)
        memlane.sweep()

    def make_and_be_swept(of: str, number: int, permissions: int) -> tuple[int, int]:
        made = make(of, number, permissions)
        if not sweepers:
            sweepers.append(Child(sweep_with_a_stop))
            assert os.WIFSTOPPED(os.waitpid(sweepers[0].pid, os.WUNTRACED)[1])
        return made

    def let_sweep_end(_seconds: float = 0) -> None:
        monkeypatch.setattr(time, "sleep", sleep)
        if sweepers[0].status is None:
            sweepers[0].go_on()
            assert 0 == sweepers[0].wait()

    monkeypatch.setattr(doorbell_module, "_make", make_and_be_swept)
    monkeypatch.setattr(doorbell_module, "_SWEEP_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(time, "sleep", let_sweep_end)  # while the opener waits, if it does
    with Ring.open(path, wait="sleep") as ring:
        let_sweep_end()
        begun = sorted(semaphores(region_id))
        assert bell_at(ring).attached
        ring.unlink()

    assert whole == begun


def test_a_ring_is_created_without_doorbells_if_a_sweep_of_its_set_stands_still(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whoever has locked the new anchor and is stopped makes nobody hang or fail: all poll, until one
    is alone again and finds it unlocked. (trap 23)
    """
    make = doorbell_module._make
    locked: list[int] = []

    def make_and_lock(of_set: str, number: int, permissions: int) -> tuple[int, int]:
        made = make(of_set, number, permissions)
        if number == 0:
            locked.append(os.open(doorbell_module._file(of_set, 0), os.O_RDWR | os.O_CLOEXEC))
            assert _core.presence_lock(locked[-1], True)
        return made

    monkeypatch.setattr(doorbell_module, "_make", make_and_lock)
    with Ring.create(name, wait="sleep") as ring:
        without = sorted(semaphores(id_of(ring)))
        with Child(ring.get) as child:
            ring.put(b"for one who polls")
            assert 0 == child.wait()
    for descriptor in locked:
        os.close(descriptor)  # as if it had been killed
    with Ring.open(name, wait="sleep") as ring:
        attached = bell_at(ring).attached
        ring.unlink()

    assert 1 == len(locked)
    assert [0] == without
    assert attached


@pytest.mark.sweeps
def test_a_sweep_removes_what_was_made_between_its_list_and_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What outlived its anchor, the next sweep would remove without a look at who uses it. (trap 23)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path) as ring:
        region_id = id_of(ring)
    before = semaphores(region_id)
    lock = _core.presence_lock
    met: list[int] = []

    def come_and_go_before(descriptor: int, for_writing: bool = False) -> bool:
        if for_writing and not met and file_is(descriptor, before[0]):
            with Ring.open(path) as ring:
                met.append(descriptor)
                ring.put(b"makes the lane's doorbell")
            assert set(before) < set(semaphores(region_id))
        return lock(descriptor, for_writing)

    monkeypatch.setattr(_core, "presence_lock", come_and_go_before)
    removed = memlane.sweep()
    left = semaphores(region_id)

    assert 1 == len(met)
    assert f"semaphores {doorbell_module.set_of(region_id)}" in removed
    assert {} == left


@pytest.mark.sweeps
def test_a_sweep_that_finds_no_anchor_leaves_a_set_that_is_begun_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it saw without an anchor has one now, and somebody present there. (trap 23)"""
    path = tmp_path / "ring.lane"
    with Ring.create(path) as ring:
        region_id = id_of(ring)
    whole = semaphores(region_id)
    whole[0].unlink()
    really_open = os.open
    begun: list[Ring] = []

    def open_and_begin(at: Any, *rest: Any, **options: Any) -> int:
        try:
            return really_open(at, *rest, **options)
        except FileNotFoundError:
            if at == whole[0]:
                monkeypatch.setattr(os, "open", really_open)
                begun.append(Ring.open(path))
            raise

    monkeypatch.setattr(os, "open", open_and_begin)
    removed = memlane.sweep()
    left = semaphores(region_id)
    with begun[0] as ring:
        ring.unlink()

    assert f"semaphores {doorbell_module.set_of(region_id)}" not in removed
    assert whole == left


@pytest.mark.sweeps
def test_sets_beyond_those_that_a_sweep_locks_at_once_are_swept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many lie about, all go but that in use."""
    monkeypatch.setattr(doorbell_module, "_LOCKED_AT_ONCE", 2)
    at_rest = []
    for number in range(5):
        with Ring.create(tmp_path / f"ring-{number}.lane") as ring:
            at_rest.append(id_of(ring))
    with Ring.create(tmp_path / "used.lane") as ring:
        removed = memlane.sweep()
        used = sorted(semaphores(id_of(ring)))
        ring.unlink()

    assert {f"semaphores {doorbell_module.set_of(region_id)}" for region_id in at_rest} <= set(
        removed
    )
    assert [{}] * 5 == [semaphores(region_id) for region_id in at_rest]
    assert 2 == len(used)


# ---- many, and for long --------------------------------------------------------------------------


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long slices, probes, last = -1, offset;

long slices_slept(void) { return slices; }
long probes_made(void) { return probes; }
void start(long count) { slices = probes = 0; last = count; }

#ifdef NO_SLEEP
/* Every slice is over at once; the last one comes with a signal. */
static void slice(void) {
    if (++slices == last)
        raise(SIGALRM);
}
long syscall(long number, ...) {
    static long (*real)(long, ...);
    long all[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        all[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && (int)all[1] == FUTEX_WAIT_BITSET) {
        slice();
        errno = ETIMEDOUT;
        return -1;
    }
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, all[0], all[1], all[2], all[3], all[4], all[5]);
}
int nanosleep(const struct timespec *length, struct timespec *left) {
    (void)length; (void)left;
    slice();
    return 0;
}
static int counted(int descriptor, int command, void *argument) {
    if (command == F_OFD_GETLK)
        probes++;
    return (int)syscall(SYS_fcntl, descriptor, command, argument);
}
#define FCNTL(name) int name(int descriptor, int command, ...) { \
    va_list list; \
    va_start(list, command); \
    void *argument = va_arg(list, void *); \
    va_end(list); \
    return counted(descriptor, command, argument); \
}
FCNTL(fcntl)
FCNTL(fcntl64)
#else
/* The wall clock is set an hour forward and back, at every look. */
static long jump(void) {
    offset = offset ? 0 : 3600;
    return offset;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
#endif
"""


@pytest.fixture(scope="module")
def shims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """
    Two libraries to be loaded before others: one whose sleeps are over at once, one whose clock
    jumps.
    """
    place = tmp_path_factory.mktemp("shims")
    (place / "shim.c").write_text(SHIM)
    built = {}
    for which, flags in (("no sleep", ["-DNO_SLEEP"]), ("clock", [])):
        library = place / f"{which.replace(' ', '-')}.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", *flags, "-o", library, place / "shim.c"], check=True
        )
        built[which] = str(library)
    return built


def under(shim: str, code: str, *args: str) -> str:
    """What an unrelated program prints that has a shim loaded before all libraries."""
    return output_of(unrelated(code, *args, env={**os.environ, "LD_PRELOAD": shim}))


WAIT_FOR_SLICES = """
import ctypes, signal, sys, memlane, warnings
sys.path.insert(0, sys.argv[1])
import region_files as files
shim = ctypes.CDLL(None)
slices = 36_000

class Over(Exception):
    pass

def over(number, frame):
    raise Over

signal.signal(signal.SIGALRM, over)

def look(wait, expected=Over):
    shim.start(slices)
    try:
        wait()
    except expected:
        assert shim.slices_slept() >= slices, shim.slices_slept()
        return
    raise AssertionError("did not wait")
"""


@needs_compiler
def test_an_hour_of_sleep_leaves_the_announcements_as_they_were(shims: dict[str, str]) -> None:
    """After 36,000 slices one waiter counts as one, and none when it is over. (trap 30)"""
    printed = under(
        shims["no sleep"],
        WAIT_FOR_SLICES
        + """
with memlane.Ring(wait="sleep", records=1) as ring, memlane.Slot.create(None, "q") as slot:
    with files.bytes_of(ring) as raw, files.bytes_of(slot) as other:
        most = 0
        def over(number, frame):
            global most
            most = max(raw.half(files.RING_WAITERS), raw.half(files.LANE_WAITERS))
            raise Over
        signal.signal(signal.SIGALRM, over)
        look(ring.get)
        print(most, raw.half(files.RING_WAITERS))
        ring.put(b"full")
        look(lambda: ring.put(b"x"))
        print(most, raw.half(files.LANE_WAITERS))
        look(lambda: slot.wait_newer(0))
        print(other.word(64 * 128 + 8))
    assert ring.get() == b"full"
""",
        str(Path(__file__).parent),
    )

    numbers = [list(map(int, line.split())) for line in printed.splitlines()]
    assert numbers[0][0] <= 1
    assert numbers[1][0] <= 1
    assert [0, 0, 0] == [numbers[0][1], numbers[1][1], numbers[2][0]]


#: A region with 1,000 live participants, each with a lane: rows and owners written by hand, their
#: locks
#: held by one description of a file of our own.
CROWD = """
import fcntl, os, struct
slices = 200
ring = memlane.Ring(capacity=4096, producers=1000, records=1, wait="sleep")
ring.consumer()
try:
    ring.get_nowait()
except memlane.Empty:
    pass
ours = ring.region.participants()[0].row
descriptor = os.open(files.file_of(ring.region), os.O_RDWR)
rows = [row for row in range(1001) if row != ours][:1000]
with files.bytes_of(ring) as raw, files.bytes_of(ring.region) as whole:
    for lane, row in enumerate(rows):
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, files.ROW_BYTE + row, 1, 0)
        fcntl.fcntl(descriptor, 37, lock)  # F_OFD_SETLK
        whole.set_word(4096 + 64 * row, 1)
        raw.set_half(files.LANE_OWNER + files.LANE_NBYTES * lane, 1 << 10 | row)
    raw.set_half(4, 1000)
"""


@needs_compiler
def test_in_a_crowd_a_look_costs_a_bounded_number_of_probes(shims: dict[str, str]) -> None:
    """
    With 1,000 live participants a slice of any waiter asks the kernel a few times, not 1,000. (trap
    30)
    """
    printed = under(
        shims["no sleep"],
        WAIT_FOR_SLICES
        + CROWD
        + """
print(len(ring.region.participants()), all(one.alive for one in ring.region.participants()))
look(lambda: ring.get(require_peer=True))
print(shim.probes_made() / shim.slices_slept())
look(lambda: ring.put(b"x", timeout=600))
# the first look of a put is a whole one
print((shim.probes_made() - 2 * 1000) / shim.slices_slept())
ring.close()
""",
        str(Path(__file__).parent),
    ).splitlines()

    assert "1001 True" == printed[0]
    assert float(printed[1]) <= 2 * 8
    assert float(printed[2]) <= 2 * 8


# ---- clocks and signals --------------------------------------------------------------------------


@needs_compiler
def test_a_clock_that_is_set_during_a_wait_changes_nothing(shims: dict[str, str]) -> None:
    """
    Timeouts count on the monotonic clock: a jump of an hour, either way, is not noticed. (trap 35)
    """
    printed = under(
        shims["clock"],
        """
import time, memlane
first, second = time.time(), time.time()
assert abs(first - second) > 3000, "the shim does nothing"

def took(wait, expected):
    began = time.monotonic()
    try:
        wait()
    except expected:
        return time.monotonic() - began
    raise AssertionError("did not wait")

with memlane.Ring(wait="sleep", records=1) as ring, memlane.Slot.create(None, "q") as slot:
    print(took(lambda: ring.get(timeout=0.2), memlane.Empty) >= 0.2)
    ring.put(b"full")
    print(took(lambda: ring.put(b"x", timeout=0.2), memlane.Full) >= 0.2)
    print(took(lambda: slot.wait_newer(0, timeout=0.2), TimeoutError) >= 0.2)
    never = lambda: memlane.Region.open("surely-nothing", timeout=0.2)
    print(took(never, FileNotFoundError) >= 0.2)
    slot.publish((1,))
    print(slot.age < 60)
""",
    )

    assert "True\n" * 5 == printed


class Interrupted(Exception):
    """What a handler raises."""


def waits() -> dict[str, tuple[Callable[[float | None], Any], type[Exception], Callable[[], int]]]:
    """
    Every call that sleeps: with a timeout, what it raises at its end, and how many are announced.
    """
    ring, full, slot = Ring(wait="sleep"), Ring(wait="sleep", records=1), Slot.create(None, "q")
    full.put(b"full")

    def armed() -> int:
        with bytes_of(slot) as raw:
            return raw.word(64 * 128 + 8).bit_count()

    return {
        "get": (lambda timeout: ring.get(timeout=timeout), Empty, lambda: waiting(ring)),
        "get_many": (lambda t: ring.get_many(3, timeout=t), Empty, lambda: waiting(ring)),
        "borrow": (lambda timeout: ring.borrow(timeout=timeout), Empty, lambda: waiting(ring)),
        "put": (
            lambda timeout: full.put(b"x", timeout=timeout),
            Full,
            lambda: waiting(full, LANE_WAITERS),
        ),
        "reserve": (
            lambda timeout: full.reserve(1, timeout=timeout),
            Full,
            lambda: waiting(full, LANE_WAITERS),
        ),
        "wait_newer": (lambda timeout: slot.wait_newer(0, timeout=timeout), TimeoutError, armed),
    }


WAITS = ["get", "get_many", "borrow", "put", "reserve", "wait_newer"]


@pytest.mark.parametrize("how", ["returns", "forks"])
@pytest.mark.parametrize("which", WAITS)
def test_a_thousand_signals_a_second_neither_end_nor_stretch_a_wait(which: str, how: str) -> None:
    """
    Handlers run while a call sleeps, also ones that fork; the call goes on to its timeout. (trap
    35)
    """

    def wait() -> None:
        call, expected, announced = waits()[which]
        handled = 0

        def handle(_number: int, _frame: Any) -> None:
            nonlocal handled
            handled += 1
            if how == "forks" and handled % 20 == 1:
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        began = time.monotonic()
        with pytest.raises(expected):
            call(0.15)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert time.monotonic() - began >= 0.15
        assert handled > 0
        assert 0 == announced()

    with Child(wait) as child:
        assert 0 == child.wait()


@pytest.mark.parametrize("raised", [Interrupted, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("which", WAITS)
def test_what_a_handler_raises_comes_out_as_itself(which: str, raised: type[BaseException]) -> None:
    """Out of every call that sleeps, with nothing left announced; the next call works. (trap 35)"""

    def wait() -> None:
        call, expected, announced = waits()[which]
        calling, handled = False, 0

        def handle(_number: int, _frame: Any) -> None:
            nonlocal handled
            if handled == 10:
                return  # one more was on its way when the timer was stopped
            handled += calling
            if handled == 10:
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise raised("from the handler")

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with pytest.raises(raised, match="from the handler"):
            calling = True
            call(None)
        assert 10 == handled
        assert 0 == announced()
        with pytest.raises(expected):
            call(0.001)

    with Child(wait) as child:
        assert 0 == child.wait()


@pytest.mark.parametrize("backing", SLEEPERS)
def test_ctrl_c_ends_a_wait_that_would_last_for_ever(
    backing: str, name: str, tmp_path: Path
) -> None:
    """SIGINT is a KeyboardInterrupt, at once, whatever the doorbell is. (trap 35)"""
    asleep = os.eventfd(0)

    def wait() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ring.consumer()
        os.eventfd_write(asleep, 1)
        with pytest.raises(KeyboardInterrupt):
            ring.get()
        ring.put(b"goes on")
        assert b"goes on" == ring.get()

    with ring_of(backing, name, tmp_path) as ring:
        with Child(wait) as child:
            os.eventfd_read(asleep)
            if backing != "anonymous":
                wait_until(lambda: waiting(ring), "the child to sleep")
            else:
                wait_until(lambda: child.state() == "S", "the child to sleep")
            child.signal(signal.SIGINT)
            assert 0 == child.wait()
        ring.unlink()
    os.close(asleep)


def test_records_arrive_while_signals_rain(name: str) -> None:
    """Announcements taken back at every signal lose no wake-up. (trap 35)"""

    def receive() -> None:
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for number in range(50):
            assert b"%d" % number == ring.get()

    with Ring.create(name, wait="sleep", records=1) as ring:
        with Child(receive) as child:
            for number in range(50):
                ring.put(b"%d" % number)
            assert 0 == child.wait()
        ring.unlink()


@pytest.mark.parametrize(("libc", "before"), [(b"glibc", "sem."), (b"another libc", "")])
def test_a_named_semaphore_has_the_same_file_whatever_a_libc_puts_before_its_name(
    libc: bytes, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """musl puts nothing there; who looked for glibc's file found none, and made no ring."""
    monkeypatch.setattr(doorbell_module, "libc", lambda: libc)
    name = doorbell_module._name("0abc", 3)

    assert doorbell_module._file("0abc", 3) == Path("/dev/shm") / (before + name[1:])
    assert doorbell_module._file("0abc", 3).name == "sem.memlane.0abc.3"
