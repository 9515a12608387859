# SPDX-License-Identifier: MIT
"""Where a region is: a name as users give it, parsed once, at the door."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import memlane._arguments as _arguments
import memlane._core as _core

#: A str names POSIX shared memory, an os.PathLike a file; None: a region has no name.
Name = str | os.PathLike[str] | None

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "memlane."
BACKINGS = {
    _core.BACKING_NAMED: "named",
    _core.BACKING_PATH: "path",
    _core.BACKING_MEMFD: "memfd",
    _core.BACKING_ANONYMOUS: "anonymous",
}


@dataclass(frozen=True, slots=True)
class Location:
    """
    A name, parsed.

    Attributes:
        name: As it was given.
        path: Of the file; None: there is none.
        backing: A number of BACKINGS; an unnamed region is a memfd unless somebody says otherwise.
        title: What messages call the region.
        label: What its maker called one without a name; None: nothing.
    """

    name: Name
    path: Path | None
    backing: int
    title: str
    label: str | None = None

    @classmethod
    def parse(cls, name: Name, label: str | None = None) -> Self:
        """
        Raises:
            TypeError, ValueError: no such name or label can be; a region has one of the two.
        """
        if label is not None:
            label = _arguments.label(label, name)
        if name is None:
            title = "unnamed region" if label is None else f"region labeled {label!r}"
            return cls(None, None, _core.BACKING_MEMFD, title, label)
        if isinstance(name, os.PathLike):
            path = Path(os.path.abspath(os.fsdecode(name)))
            return cls(name, path, _core.BACKING_PATH, f"region {str(name)!r}")
        path = SHARED_MEMORY / (PREFIX + _arguments.name(name))
        return cls(name, path, _core.BACKING_NAMED, f"region {name!r}")
