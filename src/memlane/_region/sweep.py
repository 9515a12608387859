# SPDX-License-Identifier: MIT
"""Sweeping: removing regions that no process has open."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._region import files, semaphores
from memlane._region.location import PREFIX, Location
from memlane.errors import LayoutError


@_core.clear_errors
def sweep(names: Iterable[str] | None = None, *, dry_run: bool = False) -> list[str]:
    """
    Remove every named region, and every set of semaphores, that no process has open. Returns the
    names of what was removed.

    Args:
        names: Sweep only these regions, with their semaphores; None: all regions.
        dry_run: Remove nothing; return what would be removed now.

    A region in use is never removed, also across pid namespaces: the kernel's locks decide. Files
    of other users are not touched, unless root sweeps. Never waits.

    Raises:
        TypeError, ValueError: one of *names* is not a valid name of a region.
        OSError: the regions cannot be listed or opened, for instance for lack of a descriptor.
    """
    if names is not None and (isinstance(names, (str, bytes)) or not hasattr(names, "__iter__")):
        raise TypeError(
            f"names must be a list of names, or None for all, got {_arguments.shown(names)}"
            + (f"; pass [{_arguments.shown(names)}]" if isinstance(names, str) else "")
        )
    only = None if names is None else {PREFIX + _arguments.name(name, "names") for name in names}
    removed: list[str] = []
    ids: set[int] = set()
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for path in files.paths_in_shared_memory(PREFIX, files.NEW_PREFIX):
        if only is not None and path.name not in only:
            continue
        try:
            # Always a description of our own: through one by which this process has the region
            # open, the lock would always succeed.
            opened = _core.Descriptor(os.open, path, flags)
        except OSError as error:
            semaphores.pass_over(error, "sweep regions", path)
            continue
        with contextlib.suppress(OSError), opened as descriptor:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or os.geteuid() not in (0, found.st_uid):
                continue
            is_new = path.name.startswith(files.NEW_PREFIX)
            region_id = files.region_id_of(descriptor)
            if not is_new and not region_id:
                continue
            if dry_run:
                if _core.is_present(descriptor):
                    continue
            elif not _core.presence_lock(descriptor, True) or not files.remove_name(
                descriptor, path, found, title=path.name, waits=False
            ):
                continue
            removed.append(path.name if is_new else path.name.removeprefix(PREFIX))
            ids.add(region_id)
    return removed + list(semaphores.sweep_sets(None if only is None else ids, dry_run=dry_run))


def remove(name: str | os.PathLike[str]) -> None:
    """
    Remove one region that no process has open, a named one or one in a file, with its semaphores.
    A truncated or corrupted region is removed too, if its file begins with the magic number.

    Raises:
        FileNotFoundError: it does not exist.
        PermissionError: this user may not write it.
        BlockingIOError: a process has it open.
        LayoutError: it is not a region.
        OSError: it belongs to another user.
    """
    location = Location.parse(name)
    path, title = location.path, location.title
    assert path is not None
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    with files.open_to(f"remove {title}", path, flags) as descriptor:
        found = os.fstat(descriptor)
        begin = os.pread(descriptor, 8, 0) if stat.S_ISREG(found.st_mode) else None
        if begin is None or not _core.MAGIC.startswith(begin):
            raise LayoutError(
                f"{title} is no region of memlane; check the name, or remove the file as a file",
                name=str(path),
                expected="a region",
                found="something else",
            )
        region_id = files.region_id_of(descriptor)
        if not _core.presence_lock(descriptor, True):
            raise BlockingIOError(errno.EBUSY, f"{title} is in use")
        files.remove_name(descriptor, path, found, title=title, waits=True)
        if region_id:
            semaphores.remove_set(region_id)
