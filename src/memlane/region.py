# SPDX-License-Identifier: MIT
"""
Region: one shared object that carries many; its creation, its names, its end.

A region is a mapping with a header of ours in front (src/core/layout.h). Nobody ever sees a
half-made one: it gets its name when it is complete and its creator is present. A name changes only
under presence, the read lock that the kernel keeps for as long as a process has the region mapped.
"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing.context
import multiprocessing.process
import os
import secrets
import stat
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import memlane._arguments as _arguments
import memlane._calls as _calls
import memlane._core as _core
from memlane._core import Handle, Mapping, Membership
from memlane._region import directory, files, semaphores
from memlane._region.files import Name
from memlane._region.open_regions import open_regions
from memlane.errors import (
    CorruptedError,
    LayoutError,
    MemlaneError,
    ObjectNotFoundError,
    RegionExistsError,
    RegionNotFoundError,
)
from memlane.shared_object import Entry, SharedObject, used_nbytes

if TYPE_CHECKING:
    from memlane.counter import Counter
    from memlane.ring import Ring
    from memlane.slot import Slot, SlotTable
    from memlane.values import CtypesT, DataclassT, Layout

Wait = Literal["adaptive", "spin", "sleep"]
BACKINGS = {
    _core.BACKING_NAMED: "named",
    _core.BACKING_PATH: "path",
    _core.BACKING_MEMFD: "memfd",
    _core.BACKING_ANONYMOUS: "anonymous",
}
_F_ADD_SEALS, _SEALS = 1033, 0x0001 | 0x0002 | 0x0004  # SEAL, SHRINK, GROW of linux/fcntl.h


@dataclass(frozen=True, slots=True)
class Participant:
    """
    A row of a region's participants table.

    Attributes:
        row: Its number.
        pid: As the process calls itself, in its own pid namespace.
        name: Of the program it runs.
        start_time: Of the process, in clock ticks since boot.
        alive: Whether the kernel holds its lock; this alone decides, not the pid.
    """

    row: int
    pid: int
    name: str
    start_time: int
    alive: bool


@_core.clear_errors
class Region:
    """
    A piece of shared memory with a directory of objects: rings, slots, counters.

    Made by `create`, `open` or `open_or_create`. A context manager; leaving it closes, and never
    unlinks. However often a process opens a region, it has it once. Pickles to child processes: a
    memfd, a named or a file-backed region under every start method, one made with `anonymous=True`
    by fork only.
    """

    def __init__(self) -> None:
        raise TypeError(
            "a Region is made by Region.create, open or open_or_create, not by calling the class"
        )

    _handle: Handle
    _member: Membership
    _name: Name
    _path: Path | None
    _owner: int | None
    _label: str | None
    _objects: weakref.WeakSet[SharedObject]
    _warns: bool
    _closed: bool
    #: The word and the name of the object that has it to itself, by which messages call it then.
    _made_for: tuple[str, str] | None

    @classmethod
    def _of(
        cls,
        handle: Handle,
        name: Name,
        *,
        owner: int | None = None,
        label: str | None = None,
        warns: bool = True,
    ) -> Self:
        region = object.__new__(cls)
        region._handle = handle
        region._member = handle.membership
        region._name = name
        region._owner = owner
        region._label = label
        region._path = files.place(name)[0]
        region._objects = weakref.WeakSet()
        region._warns = warns
        region._closed = False
        region._made_for = None
        return region

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
        Make a new region, empty but for its header. Its name stays until `unlink`, or a `sweep`
        when nobody has it open; close does not remove it, nor does the end of a `with`.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file; None makes a memfd, which
                has no name and leaves nothing behind.
            nbytes: Room for objects, in bytes or as text like "64 MiB". Memory is reserved as
                objects are made.
            permissions: File permission bits, whatever the umask.
            anonymous: With name None: MAP_ANONYMOUS memory, which travels by fork only.
            label: With name None: what messages, repr and /proc call it, 1 to 100 bytes of
                printable text.

        Raises:
            RegionExistsError: the name is taken.
            OSError: no room, no permission, a network file system.
            TypeError, ValueError: an argument is out of range.
        """
        if _arguments.size(nbytes, "nbytes") == 0:
            raise ValueError("nbytes must be at least 1, got 0; a region without room has no use")
        return cls._create(name, nbytes, permissions, anonymous, None, label)

    @classmethod
    def _create(
        cls,
        name: Name,
        nbytes: int | str,
        permissions: int,
        anonymous: bool = False,
        fill: Callable[[Self], object] | None = None,
        label: str | None = None,
        word: str = "region",
    ) -> Self:
        """
        Create, with what *fill* puts in before anybody else can see the region; *word* says what it
        is for.
        """
        if label is not None:
            label = _arguments.label(label, name)
        path, backing, called = files.place(name, label)
        wanted = _arguments.size(nbytes, "nbytes")
        permissions = _arguments.permissions(permissions)
        if anonymous:
            if name is not None:
                raise ValueError(
                    f"an anonymous region has no name, got {_arguments.shown(name)}; pass None"
                )
            backing = _core.BACKING_ANONYMOUS
        if name is None and _is_importing_main():
            warnings.warn(
                f"{called.replace('region', word, 1)} is made while this child process imports the "
                "main module, so it is not the one of its parent; make it below if __name__ == "
                "'__main__' and pass it to the process, or give it a name",
                RuntimeWarning,
                _calls.level_of_caller(),
            )
        region_id = secrets.randbits(64) or 1
        header, total = _header(region_id, backing, wanted, permissions)
        temporary: Path | None = None
        if path is None:
            descriptor = files.new_memfd(label, called)
        else:
            descriptor, temporary = files.new_file(path.parent, permissions, region_id, called)
        try:
            if path is not None and _core.is_network_file(descriptor):
                raise OSError(
                    errno.EOPNOTSUPP,
                    f"{called} would be on a network file system, where locks prove nothing; use a "
                    "local one",
                    str(path),
                )
            if not _core.presence_lock(descriptor):
                raise OSError(
                    errno.EAGAIN, f"the new file of {called} was locked by somebody else; try again"
                )
            if backing == _core.BACKING_ANONYMOUS:
                os.ftruncate(descriptor, _core.PAGE_SIZE)  # a companion that only bears the locks
                mapping = Mapping.anonymous(total, no_reserve=True)
            else:
                files.lengthen(descriptor, total, path, called)
                os.fchmod(descriptor, permissions)
                _core.reserve(
                    descriptor,
                    0,
                    _core.RESERVED_AT_CREATION_NBYTES,
                    path=None if path is None else str(path),
                )
                if backing == _core.BACKING_MEMFD:
                    fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEALS)
                mapping = Mapping.from_fd(descriptor, "r+", nbytes=total)
            mapping[: len(header)] = header
            member = Membership(
                mapping,
                descriptor,
                name=called,
                path=None if path is None else str(path),
                readonly=False,
            )
        except BaseException:
            os.close(descriptor)
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise
        member.doorbells = bells = semaphores.DoorbellSet(member)
        with open_regions.lock():
            handle = open_regions.add(member)
        region = cls._of(handle, name, label=label)
        try:
            if path is not None:
                try:
                    bells.make_anchor()
                except (OSError, bells.Error):
                    if backing == _core.BACKING_NAMED:
                        raise  # its memory would have to be there, too
            if fill is not None:
                fill(region)
            if path is not None:
                files.link(descriptor, temporary, path, called)
        except BaseException:
            region.close()
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            if path is not None:
                semaphores.remove_set(region_id)
            raise
        return region

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
            readonly: Map it without write access: for readers of slots, who then wait by polling.
            owner: User id that must own it; by default one's own or root.

        Raises:
            RegionNotFoundError: there was none within *timeout*.
            LayoutError: something else bears the name, or another version of this library made it.
            TruncatedError, CorruptedError: its bytes are not those of a sound region.
            PermissionError: not readable or writable, or owned by somebody else.
        """
        path, _, called = files.place(name)
        if path is None:
            raise TypeError(
                "open needs a name, got None; a region without a name travels by pickle or fork"
            )
        timeout = _arguments.optional_timeout(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.0005
        while True:
            handle = cls._open_once(path, called, readonly, owner)
            if handle is not None:
                return cls._of(handle, name, owner=owner)
            if end is not None and time.monotonic() >= end:
                raise RegionNotFoundError(
                    f"{called} does not exist{files.meant(name)}; create it, check the name, or "
                    "wait for it with timeout=",
                    name=str(path),
                    errno=errno.ENOENT,
                )
            time.sleep(pause if end is None else max(0, min(pause, end - time.monotonic())))
            pause = min(2 * pause, 0.02)

    @classmethod
    def _open_once(
        cls, path: Path, called: str, readonly: bool, owner: int | None
    ) -> Handle | None:
        """One try; None: there is nothing under the name."""
        while True:
            try:
                access = os.O_RDONLY if readonly else os.O_RDWR
                descriptor = os.open(path, access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                    raise LayoutError(
                        f"{called} is no regular file ({os.strerror(error.errno)}); check the name",
                        name=str(path),
                        expected="a region",
                        found="no regular file",
                    ) from None
                raise _core.explained(
                    error, f"open {called}", str(path), None if readonly else files.OPENING
                ) from None
            owned = True
            try:
                found = files.check_file(descriptor, path, called, owner)
                alone = files.be_present(descriptor, may_be_alone=not readonly, called=called)
                # Between open and presence the name may have been swept or unlinked.
                if not semaphores.still_leads_to(path, found):
                    continue
                with open_regions.lock():
                    known = open_regions.find(found.st_dev, found.st_ino, readonly, descriptor)
                    if known is not None:
                        return known
                    owned = False
                    return cls._attach(descriptor, called, str(path), readonly, alone)
            finally:
                if owned:
                    os.close(descriptor)

    @classmethod
    def _look_at(cls, path: Path, name: Name, called: str) -> Self:
        """
        Open what *path* leads to, read-only and without being present: a tool that looks must not
        be taken for a user, nor keep one who opens the region from being alone there.
        """
        descriptor = files.open_to(f"look at {called}", path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            # the kernel has decided who may look
            files.check_file(descriptor, path, called, os.fstat(descriptor).st_uid)
        except BaseException:
            os.close(descriptor)
            raise
        member = cls._map(descriptor, called, str(path), True)
        member.doorbells = semaphores.DoorbellSet(member)
        with open_regions.lock():
            handle = open_regions.count(member)
        return cls._of(handle, name)

    @classmethod
    def _map(cls, descriptor: int, called: str, path: str | None, readonly: bool) -> Membership:
        """Map a region. Takes the descriptor over, also when it fails."""
        try:
            mapping = Mapping.from_fd(descriptor, "r" if readonly else "r+")
            try:
                return Membership(mapping, descriptor, name=called, path=path, readonly=readonly)
            except BaseException:
                mapping.close()
                raise
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def _attach(
        cls, descriptor: int, called: str, path: str | None, readonly: bool, alone: bool
    ) -> Handle:
        """
        Map a region whose presence is ours, under the registry lock. Takes the descriptor over,
        also when it fails.
        """
        member = cls._map(descriptor, called, path, readonly)
        try:
            bells = semaphores.DoorbellSet(member)
            member.doorbells = bells
            bells.be_present(alone=alone)
            if alone:
                bells.mend(member.entries())
                _core.presence_lock(descriptor)  # let the others in
            return open_regions.add(member)
        except BaseException:
            member.close()
            raise

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
        Open the region of this name, or make it if there is none; of several at once, one makes it.

        Raises:
            As `open` and `create`, without RegionNotFoundError and RegionExistsError.
        """
        return cls._open_or_create(name, nbytes, permissions, owner)

    @classmethod
    def _open_or_create(
        cls,
        name: str | os.PathLike[str],
        nbytes: int | str,
        permissions: int,
        owner: int | None,
        fill: Callable[[Self], object] | None = None,
    ) -> Self:
        _arguments.size(nbytes, "nbytes")
        _arguments.permissions(permissions)
        path, _, called = files.place(name)
        if path is None:
            raise TypeError("open_or_create needs a name, got None; use create(None, ...)")
        while True:
            handle = cls._open_once(path, called, False, owner)
            if handle is not None:
                region = cls._of(handle, name, owner=owner)
                if fill is None:
                    region._expect_room(nbytes)
                return region
            try:
                return cls._create(name, nbytes, permissions, fill=fill)
            except RegionExistsError:
                pass

    def _expect_room(self, nbytes: int | str) -> None:
        """Close, with an error, where a region is smaller than a new one would have been."""
        found = self._member.nbytes - self._member.objects_offset
        asked = _arguments.size(nbytes, "nbytes")
        if found < asked:
            self.close()
            raise LayoutError(
                f"{self._member.name} exists with room for {found} bytes of objects, expected "
                f"{asked}; open it as it is with Region.open, or unlink it and create it again",
                name=str(self._path),
                expected=asked,
                found=found,
            )

    # ---- facts -----------------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        """The name as it was given: a str, a path, or None."""
        return self._name

    @property
    def label(self) -> str | None:
        """What an unnamed region was called by its maker; None: nothing."""
        return self._label

    @property
    def backing(self) -> str:
        """Where its memory is: "named", "path", "memfd" or "anonymous"."""
        return BACKINGS[self._member.backing]

    @property
    def nbytes(self) -> int:
        """Length in bytes, header and tables included; memory is reserved as objects are made."""
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
        """What messages call it: as the object that has it to itself, if there is one."""
        return self._member.called(*self._made_for) if self._made_for else self._member.name

    def participants(self) -> list[Participant]:
        """
        Tell who is in the region with a row of the table: every process that takes roles or
        announces itself.

        The dead are not listed, but to one who has the region open read-only and so cannot free
        their rows.

        Raises:
            ClosedError: this process closed the region, or a descriptor of it, without which
                nobody's life is proven.
        """
        return [
            Participant(row=row, pid=pid, name=name, start_time=start_time, alive=alive)
            for row, pid, start_time, name, alive in self._check().participants()
        ]

    def stats(self) -> dict[str, Any]:
        """
        Tell what is going on, as plain dicts and lists: sizes, participants, and what each object
        says of itself.

        Raises:
            ClosedError: this process closed the region.
            CorruptedError, LayoutError: an object in it cannot be made out.
        """
        member = self._check()
        entries = member.entries()
        objects: dict[str, Any] = {}
        for entry in entries:
            with self._wrap(entry) as found:
                objects[entry[0]] = {
                    "kind": type(found).__name__.lower(),
                    "nbytes": entry[3],
                    **found.stats(),
                }
        return {
            "name": None if self._name is None else os.fspath(self._name),
            "backing": self.backing,
            "nbytes": member.nbytes,
            "used": used_nbytes(member.objects_offset, entries),
            "participants": sum(participant.alive for participant in self.participants()),
            "objects": objects,
        }

    def join(self) -> None:
        """
        Take a row of the table now, not at first use: before dropping privileges or closing
        descriptors.

        Raises:
            PermissionError: opened read-only, or the file may not be opened any more.
            RoleTakenError: every row is taken.
            ClosedError: this process closed the region.
        """
        self._check().join()

    # ---- objects ---------------------------------------------------------------------------------

    def ring(
        self,
        name: str,
        *,
        capacity: int | str | None = None,
        producers: int | None = None,
        consumers: Literal["one", "many"] | None = None,
        records: int | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
        timeout: float | None = 10,
    ) -> Ring:
        """
        Open the ring *name*, or make it if a capacity is given and there is none.

        Args:
            name: 1 to 63 bytes of UTF-8.
            capacity: Bytes of records for each producer, rounded up to pages; reserved when a
                producer comes.
            producers: How many there can be at a time, 1 to 1,000; 16 unless asked.
            consumers: "one" process at a time gets, or "many" do, as in `Ring`.
            records: How many records a producer's lane holds at most; capacity / 64 unless asked.
            wait, require_peer: As in `Ring`.
            timeout: Longest wait for another process that is making an object, in seconds.

        Raises:
            ObjectNotFoundError: a KeyError: there is none, and no capacity was given.
            LayoutError: there is something else of that name, or a ring of another geometry.
            TimeoutError: another process has not finished making an object; it is named.
            OSError, ValueError: no room for it.
        """
        from memlane.ring import Ring

        return Ring._in(
            self,
            name,
            capacity=capacity,
            producers=producers,
            consumers=consumers,
            records=records,
            wait=wait,
            require_peer=require_peer,
            timeout=timeout,
        )

    @overload
    def slot(
        self,
        name: str,
        layout: str,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[tuple[Any, ...]]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: int,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[bytes]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[CtypesT]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[DataclassT]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[Any]: ...
    def slot(
        self,
        name: str,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[Any]:
        """
        Open the slot *name*, or make it if a layout is given and there is none. See `Slot.create`.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        from memlane.slot import Slot

        return Slot._in(
            self,
            name,
            layout,
            1,
            writers=writers,
            copies=copies,
            watchers=watchers,
            timeout=timeout,
        )

    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: str,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[tuple[Any, ...]]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: int,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[bytes]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[CtypesT]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[DataclassT]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None = None,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[Any]: ...
    def table(
        self,
        name: str,
        slots: int | None = None,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[Any]:
        """
        Open the table of slots *name*, or make it if a layout is given and there is none. See
        `SlotTable.create`.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        from memlane.slot import SlotTable

        return SlotTable._in(
            self,
            name,
            layout,
            slots,
            writers=writers,
            copies=copies,
            watchers=watchers,
            timeout=timeout,
        )

    def counter(self, name: str, *, timeout: float | None = 10) -> Counter:
        """
        Open the counter *name*, or make it, with value 0, if there is none.

        Raises:
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        from memlane.counter import Counter

        return Counter._in(self, name, timeout=timeout)

    def _wrap(self, entry: Entry) -> SharedObject:
        return self._class_of(entry)._of(self, entry)

    def _class_of(self, entry: Entry) -> type[SharedObject]:
        for kind in SharedObject._classes():
            if entry[1] == kind._kind and kind._is(entry):
                return kind
        raise LayoutError(
            f"object {entry[0]!r} of {self._member.name} has kind {entry[1]}, which this library "
            "does not know",
            name=entry[0],
            expected=[kind._kind for kind in SharedObject._classes()],
            found=entry[1],
        )

    @_core.clear_errors
    def __getitem__(self, name: str) -> SharedObject:
        """
        Open whatever object bears this name.

        Raises:
            ObjectNotFoundError: a KeyError: there is none of that name.
        """
        entry = self._find(name)
        if entry is None:
            raise self._not_there(name)
        return self._wrap(entry)

    def _not_there(self, name: str, what_to_do: str = "") -> ObjectNotFoundError:
        there = [entry[0] for entry in self._check().entries()]
        return ObjectNotFoundError(
            f"{self._member.name} has no object {_arguments.shown(name)}"
            f"{_arguments.meant(name, there)}{what_to_do}",
            name=name,
            region=self._member.name,
        )

    def __setitem__(self, name: str, made: SharedObject) -> None:
        """What `region["hits"] += 1` does at its end; nothing else can be put in like that."""
        if getattr(made, "_region", None) is not self or made._object_name != name:
            called = _arguments.shown(name)
            raise TypeError(
                f"object {called} is not set by assigning; make it with region.ring({called}, "
                "...), slot, table or counter"
            )

    def __iter__(self) -> Iterator[str]:
        """The names of all objects, in the order they were made."""
        return iter([entry[0] for entry in self._check().entries()])

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __bool__(self) -> bool:
        return True

    def _find(self, name: str) -> Entry | None:
        if not isinstance(name, str):
            _arguments.object_name(name)  # which says so
        return next((entry for entry in self._check().entries() if entry[0] == name), None)

    def _find_or_add(
        self,
        name: str,
        kind: int,
        geometry: tuple[int, ...],
        nbytes: int,
        reserved_nbytes: int,
        schema: str,
        timeout: float | None,
    ) -> tuple[Entry, bool]:
        """The entry of that name, added if there was none; and whether it was."""
        timeout = _arguments.optional_timeout(timeout)  # also where nobody is waited for
        member = self._check()
        with member.pinned():
            return self._find_or_add_pinned(
                member, name, kind, geometry, nbytes, reserved_nbytes, schema, timeout
            )

    def _find_or_add_pinned(
        self,
        member: Membership,
        name: str,
        kind: int,
        geometry: tuple[int, ...],
        nbytes: int,
        reserved_nbytes: int,
        schema: str,
        timeout: float | None,
    ) -> tuple[Entry, bool]:
        found = self._find(name)
        if found is not None:
            return found, False
        encoded = _arguments.object_name(name)
        if member.readonly:
            raise PermissionError(
                errno.EACCES,
                f"{member.name} is open read-only and has no object {name!r}, which cannot be made "
                "in it; open it without readonly=True",
            )
        described = schema.encode()
        if len(described) > _core.SCHEMA_NBYTES:
            raise ValueError(
                f"the layout of {name!r} takes {len(described)} bytes to describe, at most "
                f"{_core.SCHEMA_NBYTES} fit"
            )
        if member.backing == _core.BACKING_ANONYMOUS and not member.is_native:
            raise RuntimeError(
                f"cannot make {name!r} in {member.name} after the fork: the other processes could "
                "not find its semaphores; make it before, or use a region with name None, which is "
                "a memfd"
            )
        with self._creating(timeout):
            found = self._find(name)  # somebody may have been faster
            if found is not None:
                return found, False
            member.add_entry(
                encoded,
                kind,
                nbytes,
                geometry,
                described,
                reserved_nbytes,
                directory.doorbells_of(member, kind, nbytes, geometry),
                *directory.parts_of(kind, geometry),
            )
        entry = self._find(name)
        if entry is None:
            raise CorruptedError(
                f"{name!r} was added to the directory of {member.name} and is not in it; unlink "
                "the region and create it again",
                name=member.name,
            )
        return entry, True

    def remove(self, name: str, *, timeout: float | None = 10) -> None:
        """
        Remove one object from the region, for all processes and for good; its name and its room can
        be used again.

        Every call on a handle of it raises ClosedError from now on, waiting ones too, in this
        process and in others. What it held is lost. Loans and views of it keep their bytes, and
        while one is alive, or another process has used the object and neither closed it nor called
        it since, its room is kept, too. Whoever may write to the region may remove what is in it.

        Args:
            name: As in `region.ring(name, ...)`.
            timeout: Longest wait for another process that is making or removing an object, in
                seconds; None waits for ever, 0 never waits.

        Raises:
            ObjectNotFoundError: a KeyError: there is none of that name.
            ValueError: the object has the region to itself: unlink it.
            TimeoutError: another process has not finished making an object; it is named.
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
        with self._creating(timeout):
            entry = self._find(name)
            if entry is None:
                raise self._not_there(name)
            directory.remove(member, entry)

    def _creating(self, timeout: float | None) -> directory.Creating:
        return directory.Creating(self._member, timeout)

    # ---- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """
        Be done with the region in this process: with all objects that this handle gave out.

        Calls under way and loans keep row, roles and memory until they are through. The name stays.
        Never fails; where the handler of a signal raises in its midst, closing again does the rest.
        """
        self._closed = True
        for found in list(self._objects):
            found._leave()
        self._handle.let_go()

    def unlink(self) -> None:
        """
        Take the name away, for everybody; who has the region open goes on using it. Works after
        `close`, too.

        A region without a name has nothing to unlink. A name that is gone already, or leads to
        another region by now, is left alone.

        Raises:
            PermissionError: the name may not be removed, or the file not be written.
            OSError: another process is removing it, and does not go on (EBUSY, after 5 seconds).
        """
        if self._path is None:
            return
        member = self._member
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._path, flags)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                semaphores.remove_set(member.region_id)
                return
            raise _core.explained(error, f"unlink {member.name}", str(self._path)) from None
        try:
            files.be_present(descriptor, may_be_alone=False, called=member.name)
            found = os.fstat(descriptor)
            is_ours = member.region_id == files.region_id_of(descriptor)
            # one that was cut off has no id any more
            is_ours |= member.file == (found.st_dev, found.st_ino)
            if is_ours:
                files.remove_name(descriptor, self._path, found, called=member.name, waits=True)
            semaphores.remove_set(member.region_id)
        finally:
            os.close(descriptor)

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
                warnings.warn(
                    f"{self._called()} was never closed; use it in a with, or close it",
                    ResourceWarning,
                    2,
                    self,
                )
        finally:
            self.close()  # also where warnings are errors

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.nbytes} bytes, {self.backing}"
        label = "" if self._label is None else f" labeled {self._label!r}"
        return f"<memlane.{type(self).__name__} {self._name!r}{label}, {state}>"

    # ---- travelling ------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        member = self._check()
        spawning = multiprocessing.context.get_spawning_popen() is not None
        handed_over = None
        if member.backing == _core.BACKING_ANONYMOUS:
            if spawning:
                raise MemlaneError(
                    f"{self._called()} is MAP_ANONYMOUS memory, which travels by fork only; make "
                    "it with name None and without anonymous=True, then it is a memfd and travels "
                    "under every start method"
                )
        elif spawning:
            handed_over = reduction.DupFd(member.base)
        name = (
            None
            if self._name is None
            else self._name
            if isinstance(self._name, str)
            else Path(self._name)
        )
        return _rebuild, (
            type(self),
            member.region_id,
            name,
            member.readonly,
            os.getpid(),
            member.base,
            handed_over,
            self._owner,
            self._label,
        )

    # ---- all names -----------------------------------------------------------------------------

    @staticmethod
    def names() -> list[str]:
        """The names of all regions in POSIX shared memory that this user may look at, sorted."""
        return files.all_names()


def _is_importing_main() -> bool:
    """Whether multiprocessing has spawned this process, and it has not got to its work yet."""
    return getattr(multiprocessing.process.current_process(), "_inheriting", False)


def _header(region_id: int, backing: int, nbytes: int, permissions: int) -> tuple[bytes, int]:
    return _core.header_bytes(
        nbytes,
        region_id=region_id,
        backing=backing,
        permissions=permissions,
        libc=semaphores.libc(),
    )


@_core.clear_errors
def _rebuild(
    cls: type[Region],
    region_id: int,
    name: Name,
    readonly: bool,
    pid: int,
    base: int,
    handed_over: Any,
    owner: int | None = None,
    label: str | None = None,
) -> Region:
    """
    Unpickle: the region this process has, the descriptor handed over while spawning, or the
    sender's, or what its name leads to, under the rules of `open`.
    """
    passed = -1 if handed_over is None else handed_over.detach()
    try:
        with open_regions.lock():
            handle = open_regions.find_id(region_id, readonly)
        if handle is None:
            sender = f"/proc/self/fd/{passed}" if passed >= 0 else f"/proc/{pid}/fd/{base}"
            handle = _attach_again(sender, region_id, name, readonly, False, owner, label)
        if handle is None and name is not None:
            handle = _attach_again(
                str(files.place(name)[0]), region_id, name, readonly, True, owner, label
            )
        if handle is not None:
            return cls._of(handle, name, owner=owner, label=label, warns=False)
    finally:
        if passed >= 0:
            os.close(passed)
    raise RegionNotFoundError(
        f"{files.place(name, label)[2]} with id {region_id:016x} is not to be had from process "
        f"{pid}: it has gone, closed it, or is out of reach; pass it while the child is started, "
        "keep it open in the sender, or use a name",
        name=name,
        errno=errno.ENOENT,
    )


def _attach_again(
    source: str,
    region_id: int,
    name: Name,
    readonly: bool,
    is_name: bool,
    owner: int | None,
    label: str | None,
) -> Handle | None:
    """
    The region of that id, if *source* leads to it. Presence comes before the registry lock, as in
    `open`: for presence one may have to wait, and whoever is waited for may need that lock.
    """
    path, _, called = files.place(name, label)
    flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # A description of our own: the sender's locks and ours must not be the same.
        descriptor = os.open(source, flags | (os.O_NOFOLLOW if is_name else 0))
    except OSError:
        return None
    owned = True
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or files.region_id_of(descriptor) != region_id:
            return None
        if is_name:
            assert path is not None
            files.check_file(descriptor, path, called, owner)
        alone = files.be_present(
            descriptor, may_be_alone=path is not None and not readonly, called=called
        )
        if is_name and not semaphores.still_leads_to(Path(source), found):
            return None
        with open_regions.lock():
            known = open_regions.find(found.st_dev, found.st_ino, readonly, descriptor)
            if known is not None:
                return known
            owned = False
            return Region._attach(
                descriptor, called, None if path is None else str(path), readonly, alone
            )
    finally:
        if owned:
            os.close(descriptor)
