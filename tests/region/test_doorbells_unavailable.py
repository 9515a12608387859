# SPDX-License-Identifier: MIT
"""Semaphores that cannot be opened: their users poll."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from memlane import Ring
from tests import ROOT
from tests.support.doorbells import bell_at, id_of, open_semaphore, ring_of, waiting
from tests.support.processes import Child, output_of, unrelated, wait_until
from tests.support.region_files import (
    LANE_DOORBELL,
    PAGE,
    RING_DOORBELL,
    RING_WAITERS,
    SEMAPHORE,
    bytes_of,
    needs_mounts,
    semaphores,
    set_field,
)

pytestmark = pytest.mark.machine


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
    """What bears the name of a semaphore is not opened unless it is one of ours. (hazard 34)"""
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
    region has noted, and a process that finds another file polls.
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
    Whatever bytes a writer left in it, everything still arrives. (hazard 34)
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
    """
    Semaphores of another C library may look different inside: they are left alone. (hazard 34)
    """
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
    It has the file but not /dev/shm, as in a container: all arrives, nothing is made. (hazard 34)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path, wait="sleep") as ring:
        program = unrelated(
            "import memlane, os, pathlib, sys\n"
            "sys.path.insert(0, sys.argv[2])\n"
            "from tests.support import region_files\n"
            "region_files.own_shared_memory(1 << 20)\n"
            "with memlane.Ring.open(pathlib.Path(sys.argv[1]), wait='sleep') as ring:\n"
            "    ring.put(b'from there')\n"
            "    sys.stdin.readline()\n"
            "    print(ring.get(), os.listdir('/dev/shm'))",
            str(path),
            str(ROOT),
        )
        with ring.consumer() as receiving:
            assert b"from there" == receiving.get()
        ring.put(b"from here")
        assert program.stdin is not None
        print("go on", file=program.stdin, flush=True)
        assert "b'from here' []\n" == output_of(program)
        ring.unlink()
