# SPDX-License-Identifier: MIT
"""The right to add an object to a region or to remove one: one process and one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import Membership
from memlane._region import semaphores
from memlane.errors import CorruptedError
from memlane.shared_object import Entry


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


def parts_of(kind: int, geometry: tuple[int, ...]) -> tuple[str, str]:
    """
    For the error that there is no room for an object: what makes it so large, and what to ask for.
    """
    if kind == _core.KIND_RING:
        lanes, capacity = geometry[:2]
        each = _arguments.size_text(capacity)
        return (
            f": a lane of {each}" if lanes == 1 else f": {lanes} lanes of {each}",
            "fewer producers=, a smaller capacity= or " if lanes > 1 else "a smaller capacity= or ",
        )
    if kind in (_core.KIND_SLOT, _core.KIND_TABLE):
        slots, nbytes, copies = geometry[:3]
        of_slots = "" if kind == _core.KIND_SLOT else f"{slots} slots of "
        fewer = "" if kind == _core.KIND_SLOT else "fewer slots, "
        few = "fewer copies=, " if copies > 2 else ""
        return (
            f": {of_slots}{copies} copies of {_arguments.size_text(nbytes)}",
            f"{fewer}{few}a smaller layout or ",
        )
    return "", ""


def doorbells_of(
    member: Membership, kind: int, nbytes: int, geometry: tuple[int, ...]
) -> Callable[[int], None]:
    """
    What makes, for an object at an offset, the doorbells that are made with it; for MAP_ANONYMOUS
    all, since they cannot be made later.
    """

    def initialize(offset: int) -> None:
        assert isinstance(member.doorbells, semaphores.DoorbellSet)
        at_once, later = _core.doorbell_offsets(kind, offset, nbytes, geometry)
        for place in at_once + (later if member.backing == _core.BACKING_ANONYMOUS else []):
            member.doorbells.at(place, True)

    return initialize


def remove(member: Membership, entry: Entry) -> None:
    """Remove an object that was found under the creation byte: the first step is the removal."""
    member.remove_entry(entry[6], entry[7])
    assert isinstance(member.doorbells, semaphores.DoorbellSet)
    try:
        _core.wake_removed(member, entry)
    except CorruptedError:
        pass  # then nobody can wait there but by polling
    member.doorbells.remove(_core.doorbell_offsets(*entry[1:5]))
    member.free_removed_objects()
