# SPDX-License-Identifier: MIT
"""From a location to a handle of its region: create, open, open again in another process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing.process
import os
import secrets
import stat
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import memlane._arguments as _arguments
import memlane._calls as _calls
import memlane._core as _core
from memlane._core import Descriptor, Handle, Mapping, Membership
from memlane._region import directory, files, semaphores
from memlane._region.location import Location
from memlane._region.open_regions import open_regions
from memlane.errors import LayoutError, RegionExistsError, RegionNotFoundError

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

#: Adds objects to a new region before it becomes visible.
Fill = Callable[[Membership], object]


def create(
    location: Location,
    nbytes: int | str,
    *,
    permissions: int,
    anonymous: bool = False,
    fill: Fill | None = None,
    word: str = "region",
) -> Handle:
    """
    A new region with space for *nbytes* of objects; it gets its name when it is complete. *word* is
    the kind of object it is created for.
    """
    wanted = _arguments.size(nbytes, "nbytes")
    permissions = _arguments.permissions(permissions)
    path, backing, title = location.path, location.backing, location.title
    if anonymous:
        if location.name is not None:
            raise ValueError(
                f"an anonymous region has no name, got {_arguments.shown(location.name)}; pass None"
            )
        backing = _core.BACKING_ANONYMOUS
    if location.name is None and _is_importing_main():
        warnings.warn(
            f"{title.replace('region', word, 1)} is made while this child process imports the main "
            "module, so it is not the one of its parent; make it below if __name__ == '__main__' "
            "and pass it to the process, or give it a name",
            RuntimeWarning,
            _calls.level_of_caller(),
        )
    region_id = secrets.randbits(64) or 1
    header, total = _core.header_bytes(
        wanted,
        region_id=region_id,
        backing=backing,
        permissions=permissions,
        libc=semaphores.libc(),
    )
    temporary = None if path is None else files.temporary_name(path, region_id)
    handle = None
    try:
        if temporary is None:
            opened = files.new_memfd(location.label, title)
        else:
            opened = files.new_file(temporary, permissions, title)
        with opened as descriptor:
            if path is not None and _core.is_network_file(descriptor):
                raise OSError(
                    errno.EOPNOTSUPP,
                    f"{title} would be on a network file system, where locks prove nothing; use a "
                    "local one",
                    str(path),
                )
            if not _core.presence_lock(descriptor):
                raise OSError(
                    errno.EAGAIN, f"the new file of {title} was locked by somebody else; try again"
                )
            if backing == _core.BACKING_ANONYMOUS:
                os.ftruncate(descriptor, _core.PAGE_SIZE)  # a companion file, for the locks only
                mapping = Mapping.anonymous(total, no_reserve=True)
            else:
                files.lengthen(descriptor, total, path, title)
                os.fchmod(descriptor, permissions)
                _core.reserve(
                    descriptor,
                    0,
                    _core.RESERVED_AT_CREATION_NBYTES,
                    path=None if path is None else str(path),
                )
                if backing == _core.BACKING_MEMFD:
                    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
                mapping = Mapping.from_fd(descriptor, "r+", nbytes=total)
            mapping[: len(header)] = header
            member = Membership(
                mapping,
                opened,
                name=title,
                path=None if path is None else str(path),
                readonly=False,
            )
        member.doorbells = bells = semaphores.DoorbellSet(member)
        with open_regions.lock():
            handle = open_regions.add(member)
        if temporary is not None:
            member.found_at = str(temporary)
        if path is not None:
            try:
                bells.make_anchor()
            except (OSError, bells.Error):
                if backing == _core.BACKING_NAMED:
                    raise  # the directory of its name must have space for the anchor, too
        if fill is not None:
            fill(member)
        if path is not None and temporary is not None:
            files.link(member.base, temporary, path, title)
            member.found_at = str(path)
    except BaseException:
        if handle is not None:
            handle.let_go()
        if temporary is not None:  # an error here must not hide the first one
            with contextlib.suppress(OSError):
                temporary.unlink()
            with contextlib.suppress(OSError, semaphores.DoorbellSet.Error):
                semaphores.remove_set(region_id)
        raise
    return handle


def open_existing(
    location: Location, *, timeout: float | None, readonly: bool, owner: int | None
) -> Handle:
    """Open an existing region, or wait for one up to *timeout* seconds; None: for ever."""
    if location.path is None:
        raise TypeError(
            "open needs a name, got None; a region without a name travels by pickle or fork"
        )
    timeout = _arguments.optional_timeout(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    pause = 0.0005
    while True:
        handle = _open_once(location, location.path, readonly, owner)
        if handle is not None:
            return handle
        if end is not None and time.monotonic() >= end:
            raise RegionNotFoundError(
                f"{location.title} does not exist{files.meant(location.name)}; create it, check "
                "the name, or wait for it with timeout=",
                name=str(location.path),
                errno=errno.ENOENT,
            )
        time.sleep(pause if end is None else max(0, min(pause, end - time.monotonic())))
        pause = min(2 * pause, 0.02)


def open_or_create(
    location: Location,
    nbytes: int | str,
    *,
    permissions: int,
    owner: int | None,
    fill: Fill | None = None,
) -> tuple[Handle, bool]:
    """The region, and whether it was created here; of concurrent processes only one creates it."""
    _arguments.size(nbytes, "nbytes")
    _arguments.permissions(permissions)
    if location.path is None:
        raise TypeError("open_or_create needs a name, got None; use create(None, ...)")
    while True:
        handle = _open_once(location, location.path, False, owner)
        if handle is not None:
            return handle, False
        try:
            return create(location, nbytes, permissions=permissions, fill=fill), True
        except RegionExistsError:
            pass


def _open_once(location: Location, path: Path, readonly: bool, owner: int | None) -> Handle | None:
    """One attempt; None: the name does not exist."""
    while True:
        try:
            access = os.O_RDONLY if readonly else os.O_RDWR
            flags = access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            opened = _core.Descriptor(os.open, path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise LayoutError(
                    f"{location.title} is no regular file ({os.strerror(error.errno)}); check the "
                    "name",
                    name=str(path),
                    expected="a region",
                    found="no regular file",
                ) from None
            raise _core.explained(
                error, f"open {location.title}", str(path), None if readonly else files.OPENING
            ) from None
        with opened as descriptor:
            found = files.check_file(descriptor, path, location.title, owner)
            handle = _join(opened, found, location, path, readonly)
            # Between open and presence the name may have been swept or unlinked: once more.
            if handle is not None:
                return handle


def open_again(
    source: str,
    region_id: int,
    location: Location,
    *,
    readonly: bool,
    is_name: bool,
    owner: int | None,
) -> Handle | None:
    """
    Open the region with this id by a path under /proc or by its name. None: the path leads to
    nothing, or to another file. A name is followed under the rules of `open`.
    """
    path, title = location.path, location.title
    flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # A description of our own: the sender's locks and ours must not be the same.
        opened = _core.Descriptor(os.open, source, flags | (os.O_NOFOLLOW if is_name else 0))
    except OSError:
        return None
    with opened as descriptor:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or files.region_id_of(descriptor) != region_id:
            return None
        if is_name:
            assert path is not None
            files.check_file(descriptor, path, title, owner)
        return _join(opened, found, location, Path(source) if is_name else None, readonly)


def _join(
    opened: Descriptor,
    found: os.stat_result,
    location: Location,
    named: Path | None,
    readonly: bool,
) -> Handle | None:
    """
    Take presence in an opened file, and attach to its region unless this process has it open. None:
    the path that *named* it leads to it no longer. None as *named*: it has no name to lose.
    """
    descriptor = opened.number
    exclusive = files.acquire_presence(
        descriptor,
        allow_exclusive=location.path is not None and not readonly,
        title=location.title,
    )
    if named is not None and not semaphores.still_names(named, found):
        return None
    with open_regions.lock():
        known = open_regions.find(found.st_dev, found.st_ino, readonly, descriptor)
        if known is not None:
            return known
        return _attach(opened, location, readonly, exclusive)


def look_at(location: Location, path: Path) -> Handle:
    """
    Open the file at *path*, read-only and without presence: a tool that only looks must not count
    as a user, nor keep a process that opens the region from exclusive presence.
    """
    opened = files.open_to(f"look at {location.title}", path, os.O_RDONLY | os.O_NONBLOCK)
    with opened as descriptor:
        # the kernel has decided who may look
        files.check_file(descriptor, path, location.title, os.fstat(descriptor).st_uid)
        member = _map(opened, location.title, str(path), True)
    member.doorbells = semaphores.DoorbellSet(member)
    with open_regions.lock():
        return open_regions.count(member)


def _map(opened: Descriptor, title: str, path: str | None, readonly: bool) -> Membership:
    """Map a region; the membership takes the descriptor over."""
    mapping = Mapping.from_fd(opened.number, "r" if readonly else "r+")
    try:
        return Membership(mapping, opened, name=title, path=path, readonly=readonly)
    except BaseException:
        mapping.close()
        raise


def _attach(opened: Descriptor, location: Location, readonly: bool, exclusive: bool) -> Handle:
    """
    Map a region whose presence this process holds, under the lock of all open regions. The
    membership takes the descriptor over.
    """
    path = None if location.path is None else str(location.path)
    member = _map(opened, location.title, path, readonly)
    try:
        bells = semaphores.DoorbellSet(member)
        member.doorbells = bells
        bells.acquire_presence(exclusive=exclusive)
        if exclusive:
            for entry in directory.entries_of(member):
                bells.mend(entry.at_once, entry.later)
            _core.presence_lock(member.base)  # let the others in
        return open_regions.add(member)
    except BaseException:
        member.close()
        raise


def _is_importing_main() -> bool:
    """Whether this is a spawned child of multiprocessing that still imports the main module."""
    return getattr(multiprocessing.process.current_process(), "_inheriting", False)


def remove_name(member: Membership, path: Path) -> None:
    """
    Remove the name of a region, if it still leads to this region, with its semaphores.

    Raises:
        PermissionError: the name may not be removed, or the file not be written.
        OSError: another process is removing it, and does not go on (EBUSY, after 5 seconds).
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        opened = _core.Descriptor(os.open, path, flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            semaphores.remove_set(member.region_id)
            return
        raise _core.explained(error, f"unlink {member.name}", str(path)) from None
    with opened as descriptor:
        files.acquire_presence(descriptor, allow_exclusive=False, title=member.name)
        found = os.fstat(descriptor)
        is_ours = member.region_id == files.region_id_of(descriptor)
        # a truncated region has no id any more
        is_ours |= member.file == (found.st_dev, found.st_ino)
        if is_ours:
            files.remove_name(descriptor, path, found, title=member.name, waits=True)
        semaphores.remove_set(member.region_id)
