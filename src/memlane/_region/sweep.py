# SPDX-License-Identifier: MIT
"""Removing regions that nobody has open."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._region import files, semaphores
from memlane._region.location import PREFIX, SHARED_MEMORY, Location
from memlane.errors import LayoutError


@_core.clear_errors
def sweep(names: Iterable[str] | None = None, *, dry_run: bool = False) -> list[str]:
    """
    Remove every named region, and every set of semaphores, that nobody has open. Returns what was
    removed.

    Args:
        names: Of all these regions only, with their semaphores; None: of all.
        dry_run: Remove nothing; return what would be removed now.

    What is in use is never touched, also across pid namespaces: the kernel's locks decide. Files of
    other users are left alone, unless root sweeps. Never waits.

    Raises:
        TypeError, ValueError: one of *names* can be no name of a region.
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
    for path in [*SHARED_MEMORY.glob(PREFIX + "*"), *SHARED_MEMORY.glob(files.NEW_PREFIX + "*")]:
        if only is not None and path.name not in only:
            continue
        try:
            # Always a description of our own: through one that we have the region open with we
            # would be alone.
            opened = _core.Descriptor(os.open, path, flags)
        except OSError:
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
    Remove one region that nobody has open, a named one or one in a file, with its semaphores. Also
    one that is cut off or otherwise spoilt, as long as it begins as a region does.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: this user may not write it.
        BlockingIOError: somebody has it open.
        LayoutError: it is something else.
        OSError: it is somebody else's.
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
