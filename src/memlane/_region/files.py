# SPDX-License-Identifier: MIT
"""
Files of regions: creating and naming them, the checks before joining one, and presence.

A name changes only under presence: the read lock that the kernel keeps as long as a process has the
region mapped.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import time
from pathlib import Path

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._region import semaphores
from memlane._region.location import PREFIX, SHARED_MEMORY, Name
from memlane.errors import LayoutError, RegionExistsError, TruncatedError

#: Without O_TMPFILE a new region has such a name until it is complete; no user name begins with a
#: dot.
NEW_PREFIX = ".memlane-new."

#: How long open waits for a process that holds presence exclusively for a moment, to open or sweep.
#: Arbitrary, far above the time that either takes.
_PRESENCE_PATIENCE_S = 5.0

#: How many files are searched for a similar name. Arbitrary: some milliseconds.
_LOOKED_THROUGH = 1000

#: Flags for opening a file only to look at it.
_LOOKING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

#: Remedies if a region cannot be created in the directory of all names, or in one of a user's.
_ELSEWHERE = "or give a pathlib.Path, for a file elsewhere"
_IN_SHARED_MEMORY = {
    errno.ENOENT: f"mount a tmpfs there, {_ELSEWHERE}",
    errno.EACCES: f"check its permissions, {_ELSEWHERE}",
    errno.EROFS: f"mount it for writing, {_ELSEWHERE}",
}
_IN_DIRECTORY = {
    errno.ENOENT: "make its directory first",
    errno.EACCES: "choose a directory that this user may write",
    errno.EROFS: "choose a directory on another one",
}
_READ_ONLY = "if reading is enough, open it with readonly=True"
#: Remedies if a region cannot be opened for writing.
OPENING = {
    errno.EACCES: f"check its owner and permissions; {_READ_ONLY}",
    errno.EROFS: _READ_ONLY,
}


def meant(name: Name) -> str:
    """For the error that no region has this name: a similar name that exists."""
    if not isinstance(name, str):
        return ""
    try:
        with os.scandir(SHARED_MEMORY) as there:
            found = [entry.name for entry in itertools.islice(there, _LOOKED_THROUGH)]
    except OSError:
        return ""
    known = [it.removeprefix(PREFIX) for it in found if it.startswith(PREFIX)]
    return _arguments.meant(name, sorted(known))


def open_to(doing: str, path: Path, flags: int) -> _core.Descriptor:
    """Open an existing file; the OSError says for what, why not, and what to do."""
    try:
        return _core.Descriptor(os.open, path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise _core.explained(
            error,
            doing,
            str(path),
            {
                errno.EACCES: "ask its owner, or do it as that user or as root",
                errno.ELOOP: "it is a symbolic link; name its target",
            },
        ) from None


def _path_under_proc(descriptor: int) -> str:
    """The path of an open file of this process, whatever its name; needs /proc."""
    return f"/proc/self/fd/{descriptor}"


def temporary_name(path: Path, region_id: int) -> Path:
    """The name of a region's file until the region is complete; sweep knows such names."""
    return path.parent / f"{NEW_PREFIX}{semaphores.set_of(region_id)}"


def new_memfd(label: str | None, title: str) -> _core.Descriptor:
    """A new file in memory, without a name."""
    try:
        return _core.Descriptor(
            os.memfd_create,
            "memlane" if label is None else f"memlane:{label}",
            os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING,
        )
    except OSError as error:
        raise _core.explained(error, f"create {title}") from None


def lengthen(descriptor: int, nbytes: int, path: Path | None, title: str) -> None:
    """Give a new file its length."""
    try:
        os.ftruncate(descriptor, nbytes)
    except OSError as error:
        doing = f"create {title} of {nbytes} bytes"
        where = None if path is None else str(path)
        if error.errno == errno.EINVAL:
            raise OSError(
                errno.EINVAL,
                f"cannot {doing}: its file system does not take such a length, as hugetlbfs takes "
                "whole huge pages only; use another one",
                *([] if where is None else [where]),
            ) from None
        raise _core.explained(error, doing, where) from None


def new_file(temporary: Path, permissions: int, title: str) -> _core.Descriptor:
    """
    A new unnamed file in the directory of *temporary*. If the file system has none, or /proc is
    missing and so the file could not be named later, the file is called *temporary*.
    """
    directory, flags = temporary.parent, os.O_RDWR | os.O_CLOEXEC
    try:
        opened = _core.Descriptor(os.open, directory, flags | os.O_TMPFILE, permissions)
        if os.path.exists(_path_under_proc(opened.number)):
            return opened
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _core.no_room(str(directory), _core.PAGE_SIZE) from None
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            remedies = _IN_SHARED_MEMORY if directory == SHARED_MEMORY else _IN_DIRECTORY
            raise _core.explained(error, f"create {title}", str(directory), remedies) from None
    flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return _core.Descriptor(os.open, temporary, flags, permissions)
    except OSError as error:
        # the directory exists: an unnamed file was requested in it just now
        anew = {errno.ENOENT: "choose a directory in which files can be made"}
        raise _core.explained(
            error, f"create {title}", str(directory), _IN_DIRECTORY | anew
        ) from None


def link(descriptor: int, temporary: Path, path: Path, title: str) -> None:
    """Give a complete region its name, which must be free, and remove the temporary name."""
    doing = f"give {title} its name"
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        opened = _core.Descriptor(os.open, path.parent, flags)
    except OSError as error:
        raise _core.explained(error, doing, str(path.parent), _IN_DIRECTORY) from None
    try:
        # With a directory descriptor this is linkat with AT_SYMLINK_FOLLOW; a plain link would be
        # EXDEV.
        is_nameless = os.fstat(descriptor).st_nlink == 0
        source = _path_under_proc(descriptor) if is_nameless else str(temporary)
        with opened as directory:
            os.link(source, path, src_dir_fd=directory, follow_symlinks=True)
        if not is_nameless:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        in_use = _is_in_use(path)
        why = "" if in_use is None else ", in use" if in_use else ", and nobody has it open"
        what = " or run memlane sweep" if in_use is False else ""
        raise RegionExistsError(
            f"{title} exists already{why}; open it, or unlink it first{what}",
            name=str(path),
            in_use=in_use,
            errno=errno.EEXIST,
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:  # a name counts as a file, too
            raise _core.no_room(str(path), _core.PAGE_SIZE) from None
        raise _core.explained(error, doing, str(path), _IN_DIRECTORY) from None


def _is_in_use(path: Path) -> bool | None:
    """Whether a process has the region of this name open; None if that cannot be known."""
    try:
        with _core.Descriptor(os.open, path, _LOOKING) as descriptor:
            return _core.is_present(descriptor)
    except OSError:
        return None


def check_file(descriptor: int, path: Path, title: str, owner: int | None) -> os.stat_result:
    """
    Refuse files that must not be joined: other kinds of files, files of other users, network file
    systems, truncated files.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise LayoutError(
            f"{title} is no regular file; check the name",
            name=str(path),
            expected="a region",
            found="no regular file",
        )
    allowed = {os.geteuid(), 0} if owner is None else {owner}
    if found.st_uid not in allowed:
        raise PermissionError(
            errno.EPERM,
            f"{title} belongs to user {found.st_uid}, expected "
            f"{' or '.join(map(str, sorted(allowed)))}; pass owner={found.st_uid} if you trust "
            "that user",
            str(path),
        )
    if _core.is_network_file(descriptor):
        raise OSError(
            errno.EOPNOTSUPP,
            f"{title} is on a network file system, where locks prove nothing; use a local one",
            str(path),
        )
    begin = os.pread(descriptor, 8, 0)
    if begin != _core.MAGIC and (begin or found.st_size):
        raise LayoutError(
            f"{title} is no region of memlane: it does not begin with the magic number; check the "
            "name",
            name=str(path),
            expected="a region",
            found="other bytes",
        )
    if found.st_size < _core.HEADER_NBYTES:
        raise TruncatedError(
            f"{title} has {found.st_size} bytes, a region has at least {_core.HEADER_NBYTES}; "
            "remove it",
            name=str(path),
            path=str(path),
            expected=_core.HEADER_NBYTES,
            found=found.st_size,
        )
    return found


def acquire_presence(descriptor: int, *, allow_exclusive: bool, title: str) -> bool:
    """
    Take presence. True if it is exclusive: no other process has the region, and none can open it
    until presence is shared again.
    """
    end = time.monotonic() + _PRESENCE_PATIENCE_S
    while True:
        if allow_exclusive and _core.presence_lock(descriptor, True):
            return True
        if _core.presence_lock(descriptor):
            return False
        if time.monotonic() > end:
            raise OSError(
                errno.EBUSY,
                f"{title} is being opened or swept by a process that does not go on; find that "
                "process",
            )
        time.sleep(0.0005)


def remove_name(
    descriptor: int, path: Path, found: os.stat_result, *, title: str, waits: bool
) -> bool:
    """
    Remove a name if it still leads to the file of *descriptor*, whose presence the caller holds,
    and tell whether it did. A lock lets only one process at a time be between its look and its
    removal. Otherwise a second one could remove the name of a region that was created in between.
    """
    end = time.monotonic() + _PRESENCE_PATIENCE_S
    while not _core.name_lock(descriptor):
        if not waits:
            return False
        if time.monotonic() > end:
            raise OSError(
                errno.EBUSY,
                f"the name of {title} is being removed by a process that does not go on; find "
                "that process",
                str(path),
            )
        time.sleep(0.0005)
    if not semaphores.still_names(path, found):
        return False
    os.unlink(path)
    return True


def region_id_of(descriptor: int) -> int:
    """The id in the header of the region behind a descriptor; 0 if it is no region."""
    begin = os.pread(descriptor, 32, 0)
    if len(begin) < 32 or begin[:8] != _core.MAGIC:
        return 0
    return int.from_bytes(begin[24:32], sys.byteorder)


def paths_in_shared_memory(*prefixes: str) -> list[Path]:
    """The files there whose names begin so. OSError if they cannot be listed."""
    names = semaphores.names_in(SHARED_MEMORY, "list the regions")
    return [SHARED_MEMORY / name for name in names if name.startswith(prefixes)]


def all_names() -> list[str]:
    """
    The names of all regions in shared memory that this user may look at, sorted. OSError if they
    cannot be listed.
    """
    found = []
    for path in paths_in_shared_memory(PREFIX):
        try:
            opened = _core.Descriptor(os.open, path, _LOOKING)
        except OSError as error:
            semaphores.pass_over(error, "look at a region", path)
            continue
        with opened as descriptor:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and region_id_of(descriptor):
                found.append(path.name.removeprefix(PREFIX))
    return sorted(found)
