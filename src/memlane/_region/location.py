# SPDX-License-Identifier: MIT
"""Location: where a region is. A name given by a user is parsed once, on entry."""

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
        name: The name as it was given.
        path: The path of the file; None: the region has no file.
        backing: A number of BACKINGS; an unnamed region is a memfd unless stated otherwise.
        title: The name of the region in messages.
        label: The label of an unnamed region; None: it has none.
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
            TypeError, ValueError: the name or label is invalid, or both are given.
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
