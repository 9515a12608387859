# SPDX-License-Identifier: MIT
"""
Every error of memlane, on one screen.

One base, `MemlaneError`; a parent from the standard library where a caller would catch that one
anyway. Facts travel as attributes and survive pickling. `Full`, `Empty`, `Lapped` and `ShutDown`
are normal outcomes, not failures. Failures of the operating system stay `OSError` with errno and
path.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

if sys.version_info >= (3, 13):
    from queue import ShutDown as _QueueShutDown
else:
    _QueueShutDown = Exception


class MemlaneError(Exception):
    """Base of all errors of this library; never raised itself. Keyword facts become attributes."""

    _facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, text: str = "", **facts: Any) -> None:
        # Full and Empty are raised in every round of a polling loop: no work that need not be.
        if not self.args:  # those of an OSError; others have been set by __new__
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
    `create` found the name taken; open it, or unlink it first. Facts: `name`, `in_use` (whether
    anybody has it open; None: unknown).
    """

    name: str
    in_use: bool | None


class RegionNotFoundError(MemlaneError, FileNotFoundError):
    """`open` found nothing under the name, within its timeout if it had one. Facts: `name`."""

    name: str


class ObjectNotFoundError(MemlaneError, KeyError):
    """A region has no object of that name. Facts: `name`, `region` (as messages call it)."""

    name: str
    region: str


class LayoutError(MemlaneError, ValueError):
    """
    Sound bytes that do not fit: no region of ours, another layout version, another geometry,
    another kind of object. Facts: `name`, `found`, `expected`.
    """

    name: str
    found: Any
    expected: Any


class CorruptedError(MemlaneError, ValueError):
    """
    Shared bytes that no sound program writes, seen twice. Whoever may write a region may spoil it;
    nothing was read or written out of bounds. Facts: `name`.
    """

    name: str


class TruncatedError(MemlaneError, OSError):
    """
    The file below a mapping is shorter than it must be, or lost pages. Facts: `name`, `path`,
    `expected` and `found` (bytes; None: the length that it has now cannot be known).
    """

    name: str
    path: Any
    expected: int
    found: Any


class ClosedError(MemlaneError, ValueError):
    """
    *This process* closed the object (or was taken for dead because its descriptors were closed).
    """


class RoleTakenError(MemlaneError):
    """
    The role (producer, consumer, writer) is held by a live process. Facts: `role`, `pids` of the
    holders as they call themselves.
    """

    role: str
    pids: tuple[int, ...]


class PeerGoneError(MemlaneError, ConnectionError):
    """
    Asked for by `require_peer=True`: the producers there were have died or left, and nothing is
    left to get; or the consumers there were have, and nobody would get what is put. Facts: `died`
    and `left`, how many of them did.
    """

    died: int
    left: int


class RecordTooLargeError(MemlaneError, ValueError):
    """The record can never fit, however long one waits. Facts: `nbytes`, `max_record`."""

    nbytes: int
    max_record: int


class ShutDown(MemlaneError, _QueueShutDown):
    """
    The ring was shut down: for `put` at once, for `get` when everything has been drained. It is a
    `queue.ShutDown` where there is one, from Python 3.13 on.
    """


class Full(MemlaneError, queue.Full):
    """
    There was no room within the timeout; nothing was put.

    Attributes:
        cause: What the lane of this producer is full of: "records" or "bytes"; "on loan": the
            oldest record is in the hand of a consumer; "views": views of rooms that this process
            has committed; "nobody left": every consumer that there was is gone. Or "claim": another
            thread has a room open in the lane.
        records: How many records use up room, of `max_records`.
        nbytes: How many bytes are used up, of `capacity`.
        on_loan: How many records are in hand, as far as a few looks show, if they are the cause.
        holders: Pids of the processes that have them.
        views: How many committed rooms of this producer have views that are alive.
    """

    cause: str = "records"
    records: int = 0
    max_records: int = 0
    nbytes: int = 0
    capacity: int = 0
    on_loan: int = 0
    holders: tuple[int, ...] = ()
    views: int = 0


class Empty(MemlaneError, queue.Empty):
    """
    There was nothing within the timeout; nothing was taken. A slot: never published.

    Attributes:
        cause: "empty"; "on loan": consumers have all that there is in hand; or "nobody left": no
            producer is there any more. That and the rest is told of rings.
        on_loan: How many records are in hand; those of other processes as far as a few looks show.
        holders: Pids of the processes that have them, as far as they were seen.
        producers: 0 for "nobody left"; else None: they were not counted.
    """

    cause: str = "empty"
    on_loan: int = 0
    holders: tuple[int, ...] = ()
    producers: int | None = None


class Lapped(MemlaneError):
    """
    A subscriber was too slow; reading goes on behind the gap. Facts: `lost`, the exact number.
    """

    lost: int
