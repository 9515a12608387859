# SPDX-License-Identifier: MIT
"""Attachment: a handle of this process on a region. It knows entries, and no kind of object."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing.context
import os
import sys
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any, Protocol, Self

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import Handle, Membership
from memlane._instead import Named
from memlane._region import directory, files, opening
from memlane._region.directory import Entry
from memlane._region.location import BACKINGS, Location, Name
from memlane._region.open_regions import open_regions
from memlane.errors import LayoutError, MemlaneError, RegionNotFoundError


@dataclass(frozen=True, slots=True)
class Participant:
    """
    A row of a region's participants table.

    Attributes:
        row: The number of the row.
        pid: The pid of the process in its own pid namespace.
        name: The name of its program.
        start_time: The start of the process, in clock ticks since boot.
        alive: Whether the kernel holds its lock; only this decides, not the pid.
    """

    row: int
    pid: int
    name: str
    start_time: int
    alive: bool


class Carried(Protocol):
    """What an attachment needs of the objects that were opened through it."""

    _object_name: str
    _owns: bool

    def _detach(self) -> None: ...


@_core.clear_errors
class Attachment(metaclass=Named):
    """
    A handle of this process on a region: its lifetime, its participants, the names in its
        directory.

    A process maps a region once, however often it opens it. A context manager; leaving it closes
    the handle, and never unlinks. Can be pickled to child processes.
    """

    def __init__(self, *_arguments: object, **_keywords: object) -> None:
        kind = type(self).__name__
        raise TypeError(
            f"a {kind} is not made by calling the class; use {kind}.create(name, nbytes), with the "
            f"name None for one without a name, or {kind}.open(name)"
        )

    _handle: Handle
    _member: Membership
    _location: Location
    _owner: int | None
    _objects: weakref.WeakSet[Any]
    _warns: bool
    _closed: bool
    #: The kind and name of its only object, if the region was created for it; messages use them.
    _made_for: tuple[str, str] | None

    @classmethod
    def _from_handle(
        cls,
        handle: Handle,
        location: Location,
        *,
        owner: int | None = None,
        warns: bool = True,
    ) -> Self:
        made = object.__new__(cls)
        made._handle = handle
        made._member = handle.membership
        made._location = location
        made._owner = owner
        made._objects = weakref.WeakSet()
        made._warns = warns
        made._made_for = None
        made._closed = False  # last: from now on __del__ closes it
        return made

    # ---- creating and opening --------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        name: Name,
        nbytes: int | str,
        *,
        permissions: int = 0o600,
        anonymous: bool = False,
        label: str | None = None,
    ) -> Self:
        """
        Create a new region without objects. Its name stays until `unlink`, or until a `sweep` when
        no process has it open; neither close nor the end of a `with` removes it.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file; None creates a memfd,
                which has no name and leaves nothing behind.
            nbytes: Space for objects, in bytes or as text like "64 MiB". Memory is reserved as
                objects are created.
            permissions: File permission bits, whatever the umask.
            anonymous: With name None: MAP_ANONYMOUS memory, which is shared by fork only.
            label: With name None: its name in messages, repr and /proc, 1 to 100 bytes of printable
                text.

        Raises:
            RegionExistsError: the name is taken.
            OSError: no space, no permission, a network file system.
            TypeError, ValueError: an argument is out of range.
        """
        if _arguments.size(nbytes, "nbytes") == 0:
            raise ValueError("nbytes must be at least 1, got 0; a region without space has no use")
        location = Location.parse(name, label)
        handle = opening.create(location, nbytes, permissions=permissions, anonymous=anonymous)
        return cls._from_handle(handle, location)

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
        Open an existing region.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file.
            timeout: How long to wait for the name to appear, in seconds; None waits for ever.
            readonly: Map it without write access: for readers of slots, which then wait by polling.
            owner: User id that must own it; by default the own user or root.

        Raises:
            RegionNotFoundError: there was none within *timeout*.
            LayoutError: the file is not a region, or another version of this library created it.
            TruncatedError, CorruptedError: its bytes are not those of a sound region.
            PermissionError: not readable or writable, or owned by another user.
        """
        location = Location.parse(name)
        handle = opening.open_existing(location, timeout=timeout, readonly=readonly, owner=owner)
        return cls._from_handle(handle, location, owner=owner)

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        nbytes: int | str,
        *,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """
        Open the region of this name, or create it if there is none. Of concurrent callers only one
        creates it.

        Raises:
            As `open` and `create`, without RegionNotFoundError and RegionExistsError.
        """
        location = Location.parse(name)
        handle, _ = opening.open_or_create(location, nbytes, permissions=permissions, owner=owner)
        made = cls._from_handle(handle, location, owner=owner)
        made._expect_space(nbytes)
        return made

    @classmethod
    def _look_at(cls, location: Location, path: Path) -> Self:
        """Open the file at *path* without counting as a user of the region."""
        return cls._from_handle(opening.look_at(location, path), location)

    def _expect_space(self, nbytes: int | str) -> None:
        """Close the region and raise an error if it is smaller than a new one would have been."""
        found = self._member.nbytes - self._member.objects_offset
        asked = _arguments.size(nbytes, "nbytes")
        if found < asked:
            self.close()
            raise LayoutError(
                f"{self._member.name} exists with space for {found} bytes of objects, expected "
                f"{asked}; open it as it is with Region.open, or unlink it and create it again",
                name=str(self._location.path),
                expected=asked,
                found=found,
            )

    # ---- facts -----------------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        """The name as it was given: a str, a path, or None."""
        return self._location.name

    @property
    def label(self) -> str | None:
        """The label of an unnamed region; None: it has none."""
        return self._location.label

    @property
    def backing(self) -> str:
        """The kind of its memory: "named", "path", "memfd" or "anonymous"."""
        return BACKINGS[self._member.backing]

    @property
    def nbytes(self) -> int:
        """Length in bytes with header and tables; memory is reserved as objects are created."""
        return self._member.nbytes

    @property
    def readonly(self) -> bool:
        """Whether it was opened without write access."""
        return self._member.readonly

    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
        return self._closed

    def _check(self) -> Membership:
        if self._closed:
            raise _core.closed_error(self, self._called())
        return self._member

    def _called(self) -> str:
        """The name in messages: that of its only object, if the region was created for it."""
        return self._member.called(*self._made_for) if self._made_for else self._member.name

    def participants(self) -> list[Participant]:
        """
        List the processes with a row of the table: every process that takes roles or announces
        itself.

        Dead processes are listed only if the region is open read-only, so that their rows cannot be
        freed.

        Raises:
            ClosedError: this process closed the region, or a descriptor of it that is needed to
                prove who is alive.
        """
        return [
            Participant(row=row, pid=pid, name=name, start_time=start_time, alive=alive)
            for row, pid, start_time, name, alive in self._check().participants()
        ]

    def join(self) -> None:
        """
        Take a row of the table now instead of at first use, for instance before privileges are
        dropped or descriptors are closed.

        Raises:
            PermissionError: the region is open read-only, or the file may not be opened any more.
            RoleTakenError: every row is taken.
            ClosedError: this process closed the region.
        """
        self._check().join()

    # ---- the directory ---------------------------------------------------------------------------

    def _entries(self) -> list[Entry]:
        return directory.entries_of(self._check())

    def _find(self, name: str) -> Entry | None:
        return directory.find(self._check(), name)

    def __iter__(self) -> Iterator[str]:
        """The names of all objects, in the order of their creation."""
        return iter([entry.name for entry in self._entries()])

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __bool__(self) -> bool:
        return True

    def remove(self, name: str, *, timeout: float | None = 10) -> None:
        """
        Remove one object from the region, for all processes and for good; its name and its space
        can be used again.

        From now on every call on a handle of it raises ClosedError, in this process and in others,
        and so do calls that wait. The contents are lost. Loans and views keep their bytes. The
        space is not reused while one of them is alive, or while another process has used the object
        and has neither closed it nor called it since. Write access to the region is enough to
        remove its objects.

        Args:
            name: As in `region.ring(name, ...)`.
            timeout: Longest wait for another process that adds or removes an object, in seconds;
                None waits for ever, 0 never waits.

        Raises:
            ObjectNotFoundError: a KeyError: there is no object of that name.
            ValueError: the object has a region of its own: unlink it.
            TimeoutError: another process has not finished adding an object; it is named.
            PermissionError: the region is open read-only.
            RoleTakenError: every row of the participants table is taken.
            ClosedError: this process closed the region.
        """
        member = self._check()
        if member.readonly:
            raise PermissionError(
                errno.EACCES,
                f"{member.name} is open read-only and {_arguments.shown(name)} cannot be removed "
                "from it; open it without readonly=True",
            )
        if any(found._owns and found._object_name == name for found in list(self._objects)):
            raise ValueError(
                f"{name!r} has {member.name} to itself and goes with it; call unlink() of either"
            )
        directory.remove(member, name, timeout)

    # ---- the end ---------------------------------------------------------------------------------

    def _carry(self, opened: Carried) -> None:
        """
        Close an object with this region. This is the last step of opening it: from then on a close
        of the region closes the object completely.
        """
        self._objects.add(opened)
        if self._closed:  # closed meanwhile, without this object
            opened._detach()
            self._check()

    def close(self) -> None:
        """
        Close the region in this process, with all objects that were opened through this handle.

        Running calls and loans keep row, roles and memory until they end. The name stays. Never
        fails; if a signal handler raises during it, closing again completes it.
        """
        self._closed = True
        for found in list(self._objects):
            found._detach()
        self._handle.let_go()

    def unlink(self) -> None:
        """
        Remove the name for every process; processes that have the region open go on using it. Works
        after `close`, too.

        An unnamed region has nothing to unlink. A name that is gone already, or leads to another
        region by now, is not touched.

        Raises:
            PermissionError: the name may not be removed, or the file not be written.
            OSError: another process is removing it, and does not go on (EBUSY, after 5 seconds).
        """
        if self._location.path is not None:
            opening.remove_name(self._member, self._location.path)

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_closed", True) or sys.is_finalizing():
            return
        try:
            if self._warns and self._member.is_native:
                # the `with` of a lock acquires and releases it
                is_lock = self._made_for is not None and self._made_for[0] == "lock"
                how = "call its close()" if is_lock else "use it in a with, or close it"
                warnings.warn(
                    f"{self._called()} was never closed; {how}",
                    ResourceWarning,
                    2,
                    self,
                )
        finally:
            self.close()  # also where warnings are errors

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.nbytes} bytes, {self.backing}"
        label = "" if self.label is None else f" labeled {self.label!r}"
        return f"<memlane.{type(self).__name__} {self.name!r}{label}, {state}>"

    # ---- travelling ------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        member = self._check()
        spawning = multiprocessing.context.get_spawning_popen() is not None
        handed_over = None
        if member.backing == _core.BACKING_ANONYMOUS:
            if spawning:
                raise MemlaneError(
                    f"{self._called()} is MAP_ANONYMOUS memory, which is shared by fork only; make "
                    "it with name None and without anonymous=True: as a memfd it can be passed "
                    "under every start method"
                )
        elif spawning:
            handed_over = reduction.DupFd(member.base)
        name = self._location.name
        return _rebuild, (
            type(self),
            member.region_id,
            name if name is None or isinstance(name, str) else Path(name),
            member.readonly,
            os.getpid(),
            member.base,
            handed_over,
            self._owner,
            self._location.label,
        )

    # ---- all names -----------------------------------------------------------------------------

    @staticmethod
    def names() -> list[str]:
        """
        The names of all regions in POSIX shared memory that this user may look at, sorted.

        Raises:
            OSError: they cannot be listed, for instance for lack of a descriptor.
        """
        return files.all_names()


@_core.clear_errors
def _rebuild(
    cls: type[Attachment],
    region_id: int,
    name: Name,
    readonly: bool,
    pid: int,
    base: int,
    handed_over: Any,
    owner: int | None = None,
    label: str | None = None,
) -> Attachment:
    """
    Unpickle a region: the one that this process has open, else by the descriptor that was passed
    while spawning or that of the sender, else by its name, under the rules of `open`.
    """
    location = Location.parse(name, label)
    passed = None if handed_over is None else _core.Descriptor(handed_over.detach)
    with passed or contextlib.nullcontext() as number:
        with open_regions.lock():
            handle = open_regions.find_id(region_id, readonly)
        if handle is None:
            sender = f"/proc/{pid}/fd/{base}" if number is None else f"/proc/self/fd/{number}"
            handle = opening.open_again(
                sender, region_id, location, readonly=readonly, is_name=False, owner=owner
            )
        if handle is None and location.path is not None:
            source = str(location.path)
            handle = opening.open_again(
                source, region_id, location, readonly=readonly, is_name=True, owner=owner
            )
        if handle is not None:
            return cls._from_handle(handle, location, owner=owner, warns=False)
    raise RegionNotFoundError(
        f"{location.title} with id {region_id:016x} cannot be opened from process {pid}: that "
        "process has ended, closed it, or is out of reach; pass it while the child is started, "
        "keep it open in the sender, or use a name",
        name=name,
        errno=errno.ENOENT,
    )
