# SPDX-License-Identifier: MIT
"""Lock, RLock and Event, for unrelated processes. The verbs are in the extension."""

from __future__ import annotations

import os
from typing import Any, Literal, Self

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import EventBase, LockBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import SharedObject

_WATCHERS = 64
_TOLD = ("tell", "raise")

_OwnerDied = Literal["tell", "raise"]


def _wanted(kind: int, watchers: int) -> Wanted:
    watching = _arguments.integer(watchers, "watchers", "an int")
    if not 0 <= watching <= 64:
        raise ValueError(f"watchers must be from 0 to 64, got {_arguments.shown(watching)}")
    shape = _core.lock_shape if kind == _core.KIND_LOCK else _core.event_shape
    nbytes, doorbells = shape(watching)
    return Wanted(kind, (watching,), nbytes, nbytes, doorbells=doorbells)


#: What locks and semaphores of others call what a lock does.
_INSTEAD = {
    "lock get_lock mutex enter wait": "use acquire(), or `with lock:`",
    "unlock free leave signal notify": "use release()",
    "try_acquire try_lock trylock tryacquire acquire_nowait": "use acquire(block=False)",
    "timed_lock acquire_timeout": "use acquire(timeout=seconds)",
    "is_locked": "use locked()",
    "recovered owner_is_dead consistent make_consistent": (
        "use owner_died, which is true from acquire to release where the owner before died"
    ),
    "get_value value": "use locked()",
    "fileno": "use memlane.wait([lock]), or memlane.aio.wrap(lock)",
}
_OPERATORS = {
    "is no asynchronous context manager": "use `async with memlane.aio.wrap(lock)`",
    "is no number": "use locked()",
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Lock(LockBase, SharedObject, kind=_core.KIND_LOCK):
    """
    A lock for unrelated processes, and for threads, that goes on when its owner dies.

    It belongs to the thread that acquired it, until that thread releases it: `with lock:` does
    both, and leaves the handle open. When the process that has it dies, the next one gets it and is
    told: `owner_died` is true until the release, or with on_owner_died="raise" `acquire` raises
    `OwnerDied` and has the lock; `with` releases it before it raises. Each death is told once.

    `Lock()` makes one without a name, to be passed to child processes under any start method;
    `create`, `open`, `open_or_create` are for one in a region of its own, `region.lock(...)` for
    one among others. A handle that is closed with the lock taken by it releases it.
    """

    _needs = "its name to region.lock()"
    _on_owner_died: _OwnerDied = "tell"

    def __init__(
        self,
        *,
        on_owner_died: _OwnerDied = "tell",
        watchers: int = _WATCHERS,
        anonymous: bool = False,
        label: str | None = None,
    ) -> None:
        _arguments.choice(on_owner_died, "on_owner_died", _TOLD)
        wanted = _wanted(_core.KIND_LOCK, watchers)
        self._create_here(
            None, wanted, anonymous=anonymous, label=label, on_owner_died=on_owner_died
        )

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        *,
        on_owner_died: _OwnerDied = "tell",
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create a lock in a new region of its own.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file; None: unnamed, to be
                passed to children.
            on_owner_died: "tell": `acquire` returns normally and `owner_died` is true. "raise":
                `acquire` raises `OwnerDied`, and the lock is taken. It is of this handle, and of
                those that are pickled from it.
            watchers: How many threads can sleep until it is free at once, 0 to 64; further ones
                poll.
            permissions: File permission bits, whatever the umask.
            label: With name None: its name in messages, repr and /proc, 1 to 100 bytes of
                printable text.

        The name stays until `unlink`, or until a `sweep` when no process has it open.

        Raises:
            RegionExistsError: the name is taken.
            OSError: there is no room.
            TypeError, ValueError: an argument is out of range.
        """
        _arguments.choice(on_owner_died, "on_owner_died", _TOLD)
        wanted = _wanted(_core.KIND_LOCK, watchers)
        return cls._create(
            name, wanted, permissions=permissions, label=label, on_owner_died=on_owner_died
        )

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        on_owner_died: _OwnerDied = "tell",
        timeout: float | None = 0,
        owner: int | None = None,
    ) -> Self:
        """
        Open a lock that has a region of its own. *timeout* is how long to wait for the name to
        appear, in seconds; None waits for ever.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        _arguments.choice(on_owner_died, "on_owner_died", _TOLD)
        return cls._open(
            name, {}, timeout=timeout, readonly=False, owner=owner, on_owner_died=on_owner_died
        )

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        *,
        on_owner_died: _OwnerDied = "tell",
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """Open the lock of this name, or create it. Raises as `create` and `open`."""
        _arguments.choice(on_owner_died, "on_owner_died", _TOLD)
        wanted = _wanted(_core.KIND_LOCK, _WATCHERS)
        return cls._open_or_create(
            name, wanted, {}, permissions=permissions, owner=owner, on_owner_died=on_owner_died
        )

    @classmethod
    def _in_region(
        cls, region: Attachment, name: str, *, on_owner_died: _OwnerDied, timeout: float | None
    ) -> Self:
        _arguments.choice(on_owner_died, "on_owner_died", _TOLD)
        wanted = _wanted(_core.KIND_LOCK, _WATCHERS)
        return cls._open_or_create_in(
            region, name, wanted, {}, timeout=timeout, on_owner_died=on_owner_died
        )

    _recursive = False

    def _attach(
        self,
        member: _core.Membership,
        entry: Entry,
        *,
        on_owner_died: _OwnerDied = "tell",
        **_options: Any,
    ) -> None:
        self._on_owner_died = on_owner_died
        self._bind(member, entry, on_owner_died == "raise", self._recursive)

    def _options(self) -> dict[str, Any]:
        return {"on_owner_died": self._on_owner_died}

    def stats(self) -> dict[str, Any]:
        """
        The pid of its owner, and how many owners died with it, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"owner": self.owner, "deaths": self.deaths}


@_core.clear_errors
class RLock(Lock):
    """
    A lock that the thread that has it may take again: it is free when that thread has released it
    as often. In everything else a `Lock`, and the same bytes.
    """

    _recursive = True


#: What events of others call what an event does.
_INSTEAD_OF_EVENT = {
    "isSet": "use is_set()",
    "notify notify_all signal trigger fire": "use set()",
    "reset unset": "use clear()",
    "poll value get": "use is_set()",
    "wait_for": "use wait(timeout)",
    "acquire": "use wait(timeout)",
    "release": "use set()",
}
_OPERATORS_OF_EVENT = {
    "is no asynchronous context manager": "use `await memlane.aio.wrap(event).wait()`",
    "is no number": "use is_set()",
}


@_core.clear_errors
@instead(_INSTEAD_OF_EVENT, _OPERATORS_OF_EVENT)
class Event(EventBase, SharedObject, kind=_core.KIND_EVENT):
    """
    Something that is set or not, for unrelated processes and for threads: `set`, `clear`, `is_set`,
    `wait`, as of threading.Event.

    `Event()` makes one without a name, to be passed to child processes under any start method;
    `create`, `open`, `open_or_create` are for one in a region of its own, `region.event(...)` for
    one among others.
    """

    _needs = "its name to region.event()"

    def __init__(
        self, *, watchers: int = _WATCHERS, anonymous: bool = False, label: str | None = None
    ) -> None:
        wanted = _wanted(_core.KIND_EVENT, watchers)
        self._create_here(None, wanted, anonymous=anonymous, label=label)

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        *,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create an event that is not set, in a new region of its own. *watchers* is how many threads
        can sleep in `wait` at once, 0 to 64; further ones poll. With name None, *label* is its name
        in messages, repr and /proc. A name stays until `unlink`, or until a `sweep` when no process
        has it open.

        Raises:
            RegionExistsError, OSError, TypeError, ValueError: as `Region.create`.
        """
        wanted = _wanted(_core.KIND_EVENT, watchers)
        return cls._create(name, wanted, permissions=permissions, label=label)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open an event that has a region of its own. With *readonly* it can be looked at and waited
        for, by polling.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        return cls._open(name, {}, timeout=timeout, readonly=readonly, owner=owner)

    @classmethod
    def open_or_create(
        cls, name: str | os.PathLike[str], *, permissions: int = 0o600, owner: int | None = None
    ) -> Self:
        """Open the event of this name, or create it. Raises as `create` and `open`."""
        wanted = _wanted(_core.KIND_EVENT, _WATCHERS)
        return cls._open_or_create(name, wanted, {}, permissions=permissions, owner=owner)

    @classmethod
    def _in_region(cls, region: Attachment, name: str, *, timeout: float | None) -> Self:
        wanted = _wanted(_core.KIND_EVENT, _WATCHERS)
        return cls._open_or_create_in(region, name, wanted, {}, timeout=timeout)

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._bind(member, entry)

    def stats(self) -> dict[str, Any]:
        """
        Whether it is set, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"set": self.is_set()}
