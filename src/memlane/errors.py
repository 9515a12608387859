# SPDX-License-Identifier: MIT
"""
Every error of memlane, on one screen.

All have the base `MemlaneError`. They also derive from the error of the standard library that a
caller would catch anyway. Facts are attributes and survive pickling. `Full`, `Empty`, `Lapped` and
`ShutDown` are normal outcomes, not failures. Failures of the operating system stay `OSError` with
errno and path.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

if sys.version_info >= (3, 13):
    from queue import ShutDown as _QueueShutDown
else:
    _QueueShutDown = Exception


class MemlaneError(Exception):
    """Base of all errors of this library; never raised itself. Keyword facts become attributes."""

    _facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, text: str = "", **facts: Any) -> None:
        # Full and Empty are raised in every round of a polling loop: no avoidable work here.
        if not self.args:  # of an OSError; other errors got theirs from __new__
            super().__init__(text)
        if facts:
            self._facts = facts
            for fact, value in facts.items():
                setattr(self, fact, value)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), dict(self._facts))


def _rebuild(error: type[MemlaneError], text: str, facts: dict[str, Any]) -> MemlaneError:
    return error(text, **facts)


class RegionExistsError(MemlaneError, FileExistsError):
    """
    The name passed to `create` is taken; open the region, or unlink it first. Facts: `name`,
    `in_use` (whether a process has it open; None: unknown).
    """

    name: str
    in_use: bool | None


class RegionNotFoundError(MemlaneError, FileNotFoundError):
    """No region of that name exists, or appeared within the timeout. Facts: `name`."""

    name: str


class ObjectNotFoundError(MemlaneError, KeyError):
    """A region has no object of that name. Facts: `name`, `region` (its title in messages)."""

    name: str
    region: str


class LayoutError(MemlaneError, ValueError):
    """
    Sound bytes that do not fit: not a region, another layout version, another geometry, another
    kind of object. Facts: `name`, `found`, `expected`.
    """

    name: str
    found: Any
    expected: Any


class CorruptedError(MemlaneError, ValueError):
    """
    Shared bytes that no correct program writes, seen twice. Any process with write access to a
    region can corrupt it; nothing was read or written out of bounds. Facts: `name`.
    """

    name: str


class TruncatedError(MemlaneError, OSError):
    """
    The file of a mapping is too short, or lost pages. Facts: `name`, `path`, `expected` and `found`
    (bytes; None: its present length cannot be known).
    """

    name: str
    path: Any
    expected: int
    found: Any


class ClosedError(MemlaneError, ValueError):
    """
    *This process* closed the object (or was taken for dead because its descriptors were closed).
    """


class QueueClosedError(ClosedError, OSError):
    """
    *This process* closed the queue. A ValueError, as of a multiprocessing.Queue, and an OSError, as
    of a multiprocessing.SimpleQueue.
    """


class RoleTakenError(MemlaneError):
    """
    The role (producer, consumer, writer) is held by a live process. Facts: `role`, and `pids` of
    the holders, each in its own pid namespace.
    """

    role: str
    pids: tuple[int, ...]


class OwnerDied(MemlaneError):
    """
    The process that had a lock died with it, so what the lock protects may be half done. Raised
    only with `on_owner_died="raise"`, by an `acquire` that has the lock.
    """


class PeerGoneError(MemlaneError, ConnectionError):
    """
    Raised only with `require_peer=True`: all producers have died or left and the ring is drained,
    or all consumers have died or left and nobody would get the record. Facts: `died` and `left`,
    the numbers of these processes.
    """

    died: int
    left: int


class RecordTooLargeError(MemlaneError, ValueError):
    """The record can never fit, even in an empty lane. Facts: `nbytes`, `max_record`."""

    nbytes: int
    max_record: int


class ShutDown(MemlaneError, _QueueShutDown):
    """
    The ring was shut down. `put` raises it at once, `get` when the ring is drained. From Python
    3.13 on it is a `queue.ShutDown`.
    """


class StaleHandleError(MemlaneError, LookupError):
    """
    The block of a heap that a handle names was freed, since nobody held it any more; or it is not
    sealed. Facts: `number` of the block.
    """

    number: int


class HoldersFullError(MemlaneError):
    """
    As many processes hold a block of a heap as can hold one, or as many records and loans do.
    Facts: `number` of the block, `limit`.
    """

    number: int
    limit: int


class Holder(NamedTuple):
    """
    A process that keeps blocks of a heap.

    Attributes:
        pid, name: Those of the process; None and "" if it is dead. What the dead held is free for
            the next allocation that needs room.
        blocks, bytes: How many blocks it holds, and how much room they take.
        lent: How many blocks are held by loans that it answers for, for readers to come.
    """

    pid: int | None
    name: str
    blocks: int
    bytes: int
    lent: int


class InFlight(NamedTuple):
    """
    An object whose records, or whose latest value, hold blocks of a heap.

    Attributes:
        object: Its name.
        blocks, bytes: How many blocks, and how much room they take.
    """

    object: str
    blocks: int
    bytes: int


class Laggard(NamedTuple):
    """
    A subscription that a publish waited for.

    Attributes:
        pid, name: Those of its process; None and "" if it has gone meanwhile.
        records, bytes: How far it is behind in the lane of this publisher.
        seconds: How long this publisher has seen it at the same record.
    """

    pid: int | None
    name: str
    records: int
    bytes: int
    seconds: float


class Full(MemlaneError, queue.Full):
    """
    There was no room within the timeout; nothing was put.

    Attributes:
        cause: Why the lane of this producer is full: "records" or "bytes" are used up; "on loan": a
            consumer holds the oldest record; "views": views of committed reservations of this
            process are alive; "nobody left": every consumer is gone; "claim": another thread has an
            open reservation in the lane.
        records: The number of records in the lane, of `max_records`.
        nbytes: The number of bytes used up, of `capacity`.
        on_loan: The number of records held by consumers, as far as a few looks show, if they are
            the cause.
        holders: Pids of the processes that hold them.
        views: The number of committed reservations of this producer with living views.
        need: Of a queue with the cause "memory": the number of bytes that were needed. Other causes
            of a queue are "records", "bytes", and "turn": another process is in the midst of a put
            in the lane that processes share.
        free: The number of bytes that are free.
        limit: The limit of the container that leaves no more; None: there is none.
        needed: Of a heap: the number of bytes that were asked for. The cause is "room", or "blocks"
            if all its blocks are in use; `holders` are of the type Holder then.
        largest_free: The longest piece of room that the heap has.
        in_flight: The objects whose records hold blocks of it, of the type InFlight.
        laggards: Of a topic: the subscriptions that were waited for, the one that is furthest
            behind first; then the cause is "laggards".
    """

    cause: str = "records"
    records: int = 0
    max_records: int = 0
    nbytes: int = 0
    capacity: int = 0
    on_loan: int = 0
    holders: tuple[Any, ...] = ()
    views: int = 0
    laggards: tuple[Laggard, ...] = ()
    need: int = 0
    free: int | None = None
    limit: int | None = None
    needed: int = 0
    largest_free: int = 0
    in_flight: tuple[InFlight, ...] = ()


class Empty(MemlaneError, queue.Empty):
    """
    There was nothing within the timeout; nothing was taken. A slot: never published.

    Attributes:
        cause: "empty"; "on loan": consumers hold all records; or "nobody left": every producer is
            gone. The last two and the other attributes are set for rings only.
        on_loan: The number of records held; those of other processes as far as a few looks show.
        holders: Pids of the processes that hold them, as far as they were seen.
        producers: 0 for "nobody left"; otherwise None: they were not counted.
    """

    cause: str = "empty"
    on_loan: int = 0
    holders: tuple[int, ...] = ()
    producers: int | None = None


class Lapped(MemlaneError):
    """
    A subscriber was too slow; reading continues after the gap. Facts: `lost`, the exact number of
    lost records.
    """

    lost: int


class Evicted(MemlaneError):
    """
    Publishers waited for a subscription for longer than its `evict_after`, and wait no longer. Told
    once; subscribe again to go on. Facts: `seconds` without progress, and `records`, the number
    that it was behind.
    """

    seconds: float
    records: int
