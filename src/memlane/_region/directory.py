# SPDX-License-Identifier: MIT
"""The directory of a region: its entries, found and added and removed, whatever their kind is."""

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
    What the directory says of an object.

    Attributes:
        name: 1 to 63 bytes of UTF-8.
        kind: Its number.
        offset, nbytes: Where it lies in the region, in bytes.
        geometry: Eight numbers, of which its kind knows the meaning.
        schema: What values look like, for kinds that have values.
        number: Of the entry in the directory.
        sequence: A number that no other object has in this entry.
        at_once, later: Where in the region its doorbells are: those made with it, and those made
            by their first users.
        is_sound: False: it is out of bounds. Of such a one only the name and the number count; it
            is called by its number where it has no name of its own.
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
    """What a new object is to be: how much room it takes, and what its entry says of it."""

    kind: int
    geometry: tuple[int, ...]
    nbytes: int
    #: How much of it gets memory at once; the rest when it is first used.
    reserved_nbytes: int
    schema: str = ""
    #: For the error that there is no room: what makes it so large, ": 4 lanes of 1 MiB", and what
    #: to ask for, "fewer producers= or ".
    parts: str = ""
    or_less: str = ""
    #: Those made with it and those made by their first users. They are woken when it is removed,
    #: and their semaphores are removed with it.
    doorbells: tuple[Doorbells, Doorbells] = (NO_DOORBELLS, NO_DOORBELLS)


def entries_of(member: Membership) -> list[Entry]:
    """All entries, in the order they were made; one that is out of bounds hides no other."""
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
    """How much of a region its header, its tables and the objects in it take up."""
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
    """The error that there is none of that name; it says which one could have been meant."""
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
    """The entry of that name, added if there was none; and whether it was."""
    timeout = _arguments.optional_timeout(timeout)  # also where nobody is waited for
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
            found = find(member, name)  # somebody may have been faster
            if found is not None:
                return found, False
            member.add_entry(
                encoded,
                wanted.kind,
                wanted.nbytes,
                wanted.geometry,
                schema,
                wanted.reserved_nbytes,
                _doorbells_of(member, wanted),
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


def _doorbells_of(member: Membership, wanted: Wanted) -> Callable[[int], None]:
    """
    What makes, for an object at an offset, the doorbells that are made with it; for MAP_ANONYMOUS
    all, since they cannot be made later.
    """

    def initialize(offset: int) -> None:
        assert isinstance(member.doorbells, DoorbellSet)
        all_now = member.backing == _core.BACKING_ANONYMOUS
        for first, stride, count in wanted.doorbells if all_now else wanted.doorbells[:1]:
            for number in range(count):
                member.doorbells.at(offset + first + number * stride, True)

    return initialize


def remove(member: Membership, name: str, timeout: float | None) -> None:
    """Remove an object: the first step under the creation byte is the removal."""
    with Creating(member, timeout):
        entry = find(member, name)
        if entry is None:
            raise not_there(member, name)
        member.remove_entry(entry.number, entry.sequence)
        assert isinstance(member.doorbells, DoorbellSet)
        for places in (entry.at_once, entry.later):
            member.doorbells.wake(places)
            member.doorbells.remove(places)
        member.free_removed_objects()


class Creating:
    """
    To be the one who adds or removes an object: the kernel's lock on the creation byte, polled with
    a deadline.

    It goes with a process that dies, and its holder is named to those who wait. Threads of one
    process share the lock description, so a lock of the process stands before it. The region is
    pinned meanwhile.
    """

    #: Which thread has which lock: one that would wait for itself is told so.
    _holders: ClassVar[dict[Any, int]] = {}

    def __init__(self, member: Membership, timeout: float | None) -> None:
        self._member = member
        self._end = None if timeout is None else time.monotonic() + _arguments.timeout(timeout)
        self._lock = member.creation_mutex()
        self._pinned = member.pinned()

    def __enter__(self) -> None:
        self._pinned.__enter__()
        try:
            self._become_the_one()
        except BaseException:
            self._pinned.__exit__()
            raise

    def _become_the_one(self) -> None:
        if self._holders.get(self._lock) == threading.get_ident():
            raise RuntimeError(
                f"this thread is making an object in {self._member.name} already; a handler of a "
                "signal, or a finalizer, must not make one in its midst"
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
                        f"{self._member.name}; wait longer, or see what holds it up: everything "
                        "else goes on"
                    )
                time.sleep(pause)
                pause = min(2 * pause, 0.02)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        self._holders.pop(self._lock, None)
        self._lock.release()

    def __exit__(self, *_error: object) -> None:
        try:
            self._member.unlock_creation()
        finally:
            self._let_go()
            self._pinned.__exit__()
