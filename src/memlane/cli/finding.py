# SPDX-License-Identifier: MIT
"""
What a NAME on the command line leads to, and all facts of it. Nothing here joins a region, or
takes a lock that others could meet.

    REGION            a named region, in /dev/shm
    REGION/OBJECT     one of its objects
    ./FILE, /FILE     a region in a file; with /OBJECT behind it, one of its objects
    PID:N             descriptor N of process PID, as `ls --all` shows regions without a name
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memlane import CorruptedError, MemlaneError, Region, RegionNotFoundError, _core
from memlane._region import files, semaphores
from memlane._region.directory import used_nbytes
from memlane._region.location import PREFIX, SHARED_MEMORY, Location
from memlane.cli import processes
from memlane.cli.text import near, said

_OF_PROCESS = re.compile(r"([0-9]+):([0-9]+)(?:/(.+))?", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """Where a region is, and which of its objects is meant; None: all."""

    name: str  # of the region, as it was given
    path: Path  # by which it can be opened
    object: str | None
    kind: str  # "named", "path" or "unnamed"
    label: str = ""

    @property
    def region_name(self) -> str | Path:
        """By what memlane opens it; not for one without a name."""
        return self.name if self.kind == "named" else self.path

    def open(self) -> Region:
        """
        Open it to look at it.

        Raises:
            RegionNotFoundError: there is none; the text has names that are near.
            MemlaneError, OSError: it is no sound region, or may not be opened.
        """
        try:
            if self.kind == "unnamed":
                title = f"region {self.name}"
                location = Location(None, None, _core.BACKING_MEMFD, title)
            elif self.kind == "named":  # as it was found, also one that `create` would refuse
                title = f"region {self.name!r}"
                location = Location(self.name, self.path, _core.BACKING_NAMED, title)
            else:
                location = Location.parse(self.region_name)
            return Region._look_at(location, self.path)
        except FileNotFoundError:
            raise self.not_found() from None

    def not_found(self) -> RegionNotFoundError:
        if self.kind == "unnamed":
            pid, _, number = self.name.partition(":")
            text = f"process {pid} has no descriptor {number}, or it is not to be seen"
            hint = "; memlane ls --all shows what there is"
        elif self.kind == "path":
            text, hint = f"there is no file {self.name!r}", ""
        else:
            text = f"there is no region {self.name!r}"
            hint = near(self.name, files.all_names()) or "; memlane ls shows what there is"
        return RegionNotFoundError(text + hint, name=self.name, errno=errno.ENOENT)


def target(text: str) -> Target:
    """
    What a NAME means.

    Raises:
        ValueError: it can be no name.
    """
    if text.startswith((".", "/")):
        path, inside = Path(text), None
        if not path.exists() and path.parent.is_file():
            path, inside = path.parent, path.name
        return Target(str(path), path, inside, "path")
    matched = _OF_PROCESS.fullmatch(text)
    if matched and not _path_of(text.partition("/")[0]).exists():
        pid, number, inside = matched.groups()
        path = processes.PROC / pid / "fd" / number
        return Target(f"{int(pid)}:{int(number)}", path, inside, "unnamed")
    name, slash, inside = text.partition("/")
    path = _path_of(name)
    if slash and not inside:
        raise ValueError(f"the name of an object is missing behind the '/', got {text!r}")
    return Target(name, path, inside or None, "named")


def _path_of(name: str) -> Path:
    path = Location.parse(name).path
    assert path is not None
    return path


def everything(also_unnamed: bool) -> list[Target]:
    """All regions that this user can see: those with a name, and on demand those without."""
    # whatever bears such a name, also one that no region would be given
    found = [
        Target(name, SHARED_MEMORY / (PREFIX + name), None, "named") for name in files.all_names()
    ]
    if also_unnamed:
        for _, (pid, number, label) in processes.unnamed():
            path = processes.PROC / str(pid) / "fd" / str(number)
            if _begins_as_region(path):
                found.append(Target(f"{pid}:{number}", path, None, "unnamed", label))
    return found


def _begins_as_region(path: Path) -> bool:
    try:
        opened = _core.Descriptor(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    with opened as descriptor:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and files.region_id_of(descriptor) != 0


# ---- facts ---------------------------------------------------------------------------------------


def facts_of(found: Target, maps: dict[processes.File, list[int]]) -> dict[str, Any] | None:
    """
    All that can be known of a region, one fact at a time: what is spoilt hides nothing else. None:
    it went away meanwhile.
    """
    facts: dict[str, Any] = {"name": found.name, "path": str(found.path)}
    if found.label:
        facts["label"] = found.label
    errors: list[str] = []
    try:
        facts |= _facts_of_file(found.path, maps)
    except FileNotFoundError:
        return None
    except OSError as error:
        errors.append(said(error))
    try:
        region = found.open()
    except RegionNotFoundError:
        return None
    except (MemlaneError, OSError) as error:
        errors.append(said(error))
    else:
        with region:
            _add_facts_inside(facts, region, errors)
    if errors:
        facts["error"] = errors[0]
        facts["errors"] = errors
    return facts


def _facts_of_file(path: Path, maps: dict[processes.File, list[int]]) -> dict[str, Any]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    with _core.Descriptor(os.open, path, flags) as descriptor:
        found = os.fstat(descriptor)
        in_use = _core.is_present(descriptor)
        region_id = files.region_id_of(descriptor) if stat.S_ISREG(found.st_mode) else 0
        return {
            "id": semaphores.set_of(region_id),
            "nbytes": found.st_size,
            "memory_nbytes": found.st_blocks * 512,
            "in_use": in_use,
            # Where nobody is present, who has it mapped only looks at it, as we do.
            "processes": [
                {"pid": pid, "name": processes.name_of(pid)}
                for pid in (maps.get((found.st_dev, found.st_ino), []) if in_use else [])
            ],
        }


def _add_facts_inside(facts: dict[str, Any], region: Region, errors: list[str]) -> None:
    facts["nbytes"] = region.nbytes
    facts["backing"] = region.backing
    try:
        entries = region._entries()
        facts["used"] = used_nbytes(region._member, entries)
    except (MemlaneError, OSError) as error:
        errors.append(said(error))
        entries = []
    facts["objects"] = [entry.name for entry in entries]
    facts["kinds"], facts["stats"] = {}, {}
    for entry in entries:
        sizes = {"nbytes": entry.nbytes} if entry.is_sound else {}
        try:
            with region._open_entry(entry) as made:
                facts["kinds"][entry.name] = type(made).__name__.lower()
                facts["stats"][entry.name] = {**sizes, **made.stats()}
        except Exception as error:  # one object must not hide the others, whatever is in it
            errors.append(said(error))
            is_corrupted = isinstance(error, CorruptedError)
            facts["kinds"].setdefault(entry.name, "corrupted" if is_corrupted else "unknown")
            facts["stats"][entry.name] = {**sizes, "error": said(error)}
    try:
        rows = region.participants()
    except (MemlaneError, OSError) as error:
        errors.append(said(error))
        rows = []
    facts["participants"] = [
        {"row": row.row, "pid": row.pid, "name": row.name} for row in rows if row.alive
    ]
    facts["dead"] = [
        {"row": row.row, "pid": row.pid, "name": row.name} for row in rows if not row.alive
    ]
    facts["waiting"] = sum(
        stats.get("records", 0) for stats in facts["stats"].values() if "lanes" in stats
    )


def users(facts: dict[str, Any]) -> list[str]:
    """Who has a region open, by pid and name, with a row or without."""
    by_pid = {one["pid"]: one["name"] for one in facts.get("processes", ())}
    by_pid |= {one["pid"]: one["name"] for one in facts.get("participants", ())}
    return [f"{pid} {name}".rstrip() for pid, name in sorted(by_pid.items())]


def who(facts: dict[str, Any]) -> str:
    """The same for people; also where nobody is, or where they are not to be seen."""
    found = users(facts)
    if found:
        return ", ".join(found)
    return "processes that are not to be seen from here" if facts.get("in_use") else "nobody"


def sets_without_region(known_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Sets of semaphores whose region has no name here: of a file, or left behind."""
    known = set(known_ids)
    found = []
    for of_set, in_use in sorted(semaphores.sets_in_use().items()):
        left = semaphores.set_files(of_set)
        if of_set not in known and left:
            found.append({"id": of_set, "semaphores": len(left), "in_use": in_use})
    return found
