# SPDX-License-Identifier: MIT
"""The directory of a region: finding, adding and removing entries of any kind."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import Membership
from memlane._region.semaphores import DoorbellSet
from memlane.errors import CorruptedError, ObjectNotFoundError

_ALIGNMENT = 4096  # of objects, whatever the machine's pages (docs/layout.md)


class Entry(NamedTuple):
    """
    The description of an object in the directory.

    Attributes:
        name: 1 to 63 bytes of UTF-8.
        kind: The number of its kind.
        offset, nbytes: Its bytes in the region.
        geometry: Eight numbers with a meaning for its kind.
        schema: The layout of its values, for kinds that have values.
        number: The number of the entry in the directory.
        sequence: A number that no other object has in this entry.
        at_once, later: The places of its doorbells in the region: those created with it, and those
            created by their first users.
        is_sound: False: the entry is out of bounds. Then only the name and the number are valid,
            and an entry without a name of its own is named by its number.
    """

    name: str
    kind: int
    offset: int
    nbytes: int
    geometry: tuple[int, ...]
    schema: str
    number: int
    sequence: int
    at_once: Sequence[int]
    later: Sequence[int]
    is_sound: bool


#: Where doorbells are in an object: (offset of the first, stride to the next, count). The two are
#: multiples of 64, which is the size of one; at most 1,024.
Doorbells = tuple[int, int, int]
NO_DOORBELLS: Doorbells = (0, 0, 0)


class Wanted(NamedTuple):
    """The description of an object to be added: its space, and the contents of its entry."""

    kind: int
    geometry: tuple[int, ...]
    nbytes: int
    #: How much of it gets memory at once; the rest gets it at first use.
    reserved_nbytes: int
    schema: str = ""
    #: For the error that there is no space: the reason for its size, ": 4 lanes of 1 MiB", and how
    #: to reduce it, "fewer producers= or ".
    parts: str = ""
    or_less: str = ""
    #: Doorbells created with it, and those created by their first users. A removal wakes their
    #: waiters and removes their semaphores.
    doorbells: tuple[Doorbells, Doorbells] = (NO_DOORBELLS, NO_DOORBELLS)
    #: Fills in what its bytes have beyond zeros, at an offset, before others can see it.
    fill: Callable[[Membership, int], None] | None = None


def entries_of(member: Membership) -> list[Entry]:
    """All entries, in the order of their creation; one out of bounds hides no other."""
    found = [Entry(*entry) for entry in member.entries()]
    names = {"", *(entry.name for entry in found if entry.is_sound)}
    for index, entry in enumerate(found):
        if not entry.is_sound and entry.name in names:
            found[index] = entry._replace(name=f"(entry {entry.number})")
        names.add(entry.name)
    return found


def require_sound(member: Membership, entry: Entry) -> Entry:
    """The entry, or the error that it is out of bounds."""
    if not entry.is_sound:
        raise CorruptedError(
            f"object {_arguments.shown(entry.name)} of {member.name} is corrupted: entry "
            f"{entry.number} of the directory is out of bounds; the other objects can be used, for "
            "this one unlink the region and create it again",
            name=member.name,
        )
    return entry


def used_nbytes(member: Membership, entries: list[Entry]) -> int:
    """How many bytes of a region its header, its tables and its objects use."""
    return member.objects_offset + sum(
        -(-entry.nbytes // _ALIGNMENT) * _ALIGNMENT for entry in entries if entry.is_sound
    )


def find(member: Membership, name: str) -> Entry | None:
    """The entry of that name; CorruptedError if it is out of bounds."""
    if not isinstance(name, str):
        _arguments.object_name(name)  # which says so
    found = next((entry for entry in entries_of(member) if entry.name == name), None)
    return None if found is None else require_sound(member, found)


def not_there(member: Membership, name: str, what_to_do: str = "") -> ObjectNotFoundError:
    """The error that no object has that name; it suggests a similar name."""
    there = [entry.name for entry in entries_of(member)]
    return ObjectNotFoundError(
        f"{member.name} has no object {_arguments.shown(name)}"
        f"{_arguments.meant(name, there)}{what_to_do}",
        name=name,
        region=member.name,
    )


def find_or_add(
    member: Membership, name: str, wanted: Wanted, timeout: float | None
) -> tuple[Entry, bool]:
    """The entry of that name, added if there was none; and whether it was added."""
    timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
    with member.pinned():
        found = find(member, name)
        if found is not None:
            return found, False
        encoded = _arguments.object_name(name)
        if member.readonly:
            raise PermissionError(
                errno.EACCES,
                f"{member.name} is open read-only and has no object {name!r}, which cannot be made "
                "in it; open it without readonly=True",
            )
        schema = wanted.schema.encode()
        if len(schema) > _core.SCHEMA_NBYTES:
            raise ValueError(
                f"the layout of {name!r} takes {len(schema)} bytes to describe, at most "
                f"{_core.SCHEMA_NBYTES} fit"
            )
        if member.backing == _core.BACKING_ANONYMOUS and not member.is_native:
            raise RuntimeError(
                f"cannot make {name!r} in {member.name} after the fork: the other processes could "
                "not find its semaphores; make it before, or use a region with name None, which is "
                "a memfd"
            )
        with Creating(member, timeout):
            found = find(member, name)  # another process may have been faster
            if found is not None:
                return found, False
            member.add_entry(
                encoded,
                wanted.kind,
                wanted.nbytes,
                wanted.geometry,
                schema,
                wanted.reserved_nbytes,
                _initialize_of(member, wanted),
                wanted.parts,
                wanted.or_less,
                wanted.doorbells,
            )
        entry = find(member, name)
        if entry is None:
            raise CorruptedError(
                f"{name!r} was added to the directory of {member.name} and is not in it; unlink "
                "the region and create it again",
                name=member.name,
            )
        return entry, True


def _initialize_of(member: Membership, wanted: Wanted) -> Callable[[int], None]:
    """
    A function that fills in an object at an offset, and creates its doorbells: those that are
    created with the object, and for MAP_ANONYMOUS all, since they cannot be created later.
    """

    def initialize(offset: int) -> None:
        if wanted.fill is not None:
            wanted.fill(member, offset)
        assert isinstance(member.doorbells, DoorbellSet)
        all_now = member.backing == _core.BACKING_ANONYMOUS
        for first, stride, count in wanted.doorbells if all_now else wanted.doorbells[:1]:
            for number in range(count):
                member.doorbells.at(offset + first + number * stride, True)

    return initialize


def remove(member: Membership, name: str, timeout: float | None) -> None:
    """Remove an object: the first step under the creation byte is the removal itself."""
    with Creating(member, timeout):
        entry = find(member, name)
        if entry is None:
            raise not_there(member, name)
        member.remove_entry(entry.number, entry.sequence)
        assert isinstance(member.doorbells, DoorbellSet)
        member.doorbells.wake_selectors()
        for places in (entry.at_once, entry.later):
            member.doorbells.wake(places)
            member.doorbells.remove(places)
        _core.free_removed_objects(member)


class Creating:
    """
    The right to add or remove an object: the kernel's lock on the creation byte, polled with a
    deadline.

    The lock is released when its holder dies, and the error of a waiter names its holder. Threads
    of one process share the lock description, so a lock of the process is taken before it. The
    region is pinned meanwhile.
    """

    #: Which thread has which lock: a thread that would wait for itself gets an error.
    _holders: ClassVar[dict[Any, int]] = {}

    def __init__(self, member: Membership, timeout: float | None) -> None:
        self._member = member
        self._end = None if timeout is None else time.monotonic() + _arguments.timeout(timeout)
        self._lock = member.creation_mutex()
        self._pinned = member.pinned()

    def __enter__(self) -> None:
        self._pinned.__enter__()
        try:
            self._acquire()
        except BaseException:
            self._pinned.__exit__()
            raise

    def _acquire(self) -> None:
        if self._holders.get(self._lock) == threading.get_ident():
            raise RuntimeError(
                f"this thread is making an object in {self._member.name} already; a signal handler "
                "or a finalizer must not make another one meanwhile"
            )
        left = -1 if self._end is None else max(0.0, self._end - time.monotonic())
        left = min(left, threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=left):
            raise TimeoutError(
                "another thread of this process has not finished making an object in "
                f"{self._member.name}"
            )
        try:
            self._holders[self._lock] = threading.get_ident()
            pause = 0.0005
            while not self._member.try_lock_creation():
                if self._end is not None and time.monotonic() >= self._end:
                    holder = self._member.creation_holder
                    raise TimeoutError(
                        f"process {holder} has not finished making an object in "
                        f"{self._member.name}; wait longer, or find what stops that process: all "
                        "other calls go on"
                    )
                time.sleep(pause)
                pause = min(2 * pause, 0.02)
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        self._holders.pop(self._lock, None)
        self._lock.release()

    def __exit__(self, *_error: object) -> None:
        try:
            self._member.unlock_creation()
        finally:
            self._release()
            self._pinned.__exit__()
