# SPDX-License-Identifier: MIT
"""
Regions as files: their bytes and locks by hand, their semaphores, and a /dev/shm of one's own.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memlane import Region
from memlane._region import semaphores as semaphores_module
from memlane.shared_object import SharedObject

SHARED_MEMORY = Path("/dev/shm")
PAGE = 4096
#: Fields of the header: offset and format; docs/layout.md draws them.
HEADER = {
    "magic": (0, "Q"),
    "layout_version": (8, "I"),
    "layout_draft": (12, "I"),
    "features": (16, "Q"),
    "region_id": (24, "Q"),
    "nbytes": (32, "Q"),
    "table_offset": (40, "Q"),
    "rows": (48, "I"),
    "row_nbytes": (52, "I"),
    "directory_offset": (56, "Q"),
    "entries": (64, "I"),
    "entry_nbytes": (68, "I"),
    "objects_offset": (72, "Q"),
    "backing": (80, "I"),
    "permissions": (84, "I"),
    "libc": (104, "24s"),
    "count": (512, "Q"),
    "creation_pid": (576, "I"),
}
#: Where the sections of a region begin that has tables of the usual size.
SELECTORS = 4096 + 1024 * 64
DIRECTORY = SELECTORS + 256 * 64
OBJECTS = DIRECTORY + 1024 * 1024
#: In a ring: the word that counts waiting consumers, and the consumers' doorbell; in lane 0: owner,
#: the word that counts waiting puts, and their doorbell.
RING_WAITERS, RING_DOORBELL = 8, 128
LANE_OWNER, LANE_WAITERS, LANE_DOORBELL = 256, 260, 256 + 384
LANE_NBYTES = 512
#: In a doorbell: the unnamed semaphore, whose value is glibc's first 32 bits.
SEMAPHORE = 32
PRESENCE_BYTE = 1 << 61
ROW_BYTE = PRESENCE_BYTE + 64


def file_of(region: Region) -> Path:
    """A path that leads to the file below a region, also to one without a name."""
    if isinstance(region.name, str):
        return SHARED_MEMORY / f"memlane.{region.name}"
    if region.name is not None:
        return Path(region.name)
    return Path(f"/proc/self/fd/{region._member.base}")


def field(path: Path, name: str) -> int:
    """A field of the header of a region at rest."""
    at, form = HEADER[name]
    with open(path, "rb") as file:
        value: int = struct.unpack(form, os.pread(file.fileno(), struct.calcsize(form), at))[0]
        return value


def set_field(path: Path, name: str, value: int | bytes) -> None:
    at, form = HEADER[name]
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), struct.pack(form, value), at)


def ours() -> set[str]:
    """What lies in /dev/shm that memlane could have made."""
    return {
        name
        for name in os.listdir(SHARED_MEMORY)
        if name.startswith(("memlane.", ".memlane", "sem.")) and not name.startswith("sem.mp-")
    }


class Bytes:
    """The bytes of a region in use, mapped a second time; offsets count from *begin*."""

    def __init__(self, path: Path, begin: int = 0) -> None:
        self.begin = begin
        # A description of our own: the locks of the library are not touched.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._mapping = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)

    def half(self, at: int) -> int:
        value: int = struct.unpack_from("I", self._mapping, self.begin + at)[0]
        return value

    def set_half(self, at: int, value: int) -> None:
        struct.pack_into("I", self._mapping, self.begin + at, value)

    def word(self, at: int) -> int:
        value: int = struct.unpack_from("Q", self._mapping, self.begin + at)[0]
        return value

    def set_word(self, at: int, value: int) -> None:
        struct.pack_into("Q", self._mapping, self.begin + at, value)

    def write(self, at: int, data: bytes) -> None:
        self._mapping[self.begin + at : self.begin + at + len(data)] = data

    def close(self) -> None:
        self._mapping.close()


@contextmanager
def bytes_of(thing: Region | SharedObject) -> Iterator[Bytes]:
    """The bytes of a region, or of an object: then offsets count from its first byte."""
    if isinstance(thing, Region):
        found = Bytes(file_of(thing))
    else:
        entry = thing.region._find(thing._object_name)
        assert entry is not None
        found = Bytes(file_of(thing.region), entry[2])
    try:
        yield found
    finally:
        found.close()


def semaphores(region_id: int) -> dict[int, Path]:
    """The named semaphores of a region that there are, by number."""
    return {
        int(path.name.rpartition(".")[2]): path
        for path in SHARED_MEMORY.glob(f"sem.memlane.{semaphores_module.set_of(region_id)}.*")
    }


# ---- mounts of one's own -------------------------------------------------------------------------

_MNT_DETACH = 2
_CLONE_NEWNS, _MS_PRIVATE_REC = 0x00020000, 1 << 18 | 1 << 14
_libc = ctypes.CDLL(None, use_errno=True)


MS_RDONLY, MS_REMOUNT = 1, 32


def mount(kind: str, at: Path, options: str = "", *, flags: int = 0) -> None:
    """Mount a file system, for this process and its children; OSError if that is not permitted."""
    done = _libc.mount(kind.encode(), os.fsencode(at), kind.encode(), flags, options.encode())
    if done != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {kind}", str(at))


def own_mounts() -> None:
    """Move this process, a child made for it, to a mount namespace of its own."""
    if _libc.unshare(_CLONE_NEWNS) != 0 or _libc.mount(b"", b"/", None, _MS_PRIVATE_REC, None) != 0:
        raise OSError(ctypes.get_errno(), "cannot have mounts of one's own")


def without_proc() -> None:
    """Take /proc away from this process, a child made for it."""
    own_mounts()
    if _libc.umount2(b"/proc", _MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), "cannot unmount", "/proc")


def own_shared_memory(nbytes: int | None = None, inodes: int = 0) -> None:
    """
    Give this process, a child made for it, an empty /dev/shm of *nbytes*, by default half of the
    memory, and of that many inodes, 0 for any number.
    """
    own_mounts()
    size = "50%" if nbytes is None else nbytes
    mount("tmpfs", SHARED_MEMORY, f"size={size},nr_inodes={inodes}")


@functools.cache
def _can_mount() -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            own_shared_memory(PAGE)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


needs_mounts = pytest.mark.skipif(
    not _can_mount(), reason="needs a mount namespace of its own, which takes root"
)


def fill_up(path: Path, leave: int = 0) -> None:
    """Fill the file system of a new file at *path* until *leave* bytes are free."""
    room = os.statvfs(path.parent)
    nbytes = room.f_bavail * room.f_frsize - leave
    with open(path, "wb") as file:
        try:
            if nbytes > 0:
                os.posix_fallocate(file.fileno(), 0, nbytes)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
