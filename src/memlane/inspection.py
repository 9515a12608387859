# SPDX-License-Identifier: MIT
"""
Inspection: which regions exist, and the facts of each, as `memlane ls` and `stat` show them.

    import memlane.inspection

    for target in memlane.inspection.regions():
        print(memlane.inspection.facts(target))

Nothing here joins a region, or takes a lock that other processes could meet. A target is named by

    REGION            a named region, in /dev/shm
    REGION/OBJECT     one of its objects
    ./FILE, /FILE     a region in a file; with /OBJECT behind it, one of its objects
    PID:N             descriptor N of process PID, an unnamed region
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import memlane._arguments as _arguments
import memlane._core as _core
import memlane._proc as _proc
from memlane._proc import File, mapped_files, process
from memlane._region import files, semaphores
from memlane._region.attachment import Participant
from memlane._region.directory import used_nbytes
from memlane._region.location import PREFIX, SHARED_MEMORY, Location
from memlane._region.sweep import remove
from memlane.errors import CorruptedError, MemlaneError, RegionNotFoundError
from memlane.region import Region

__all__ = [
    "File",
    "Target",
    "error_text",
    "facts",
    "find",
    "mapped_files",
    "matching",
    "memory_nbytes",
    "near",
    "only",
    "process",
    "regions",
    "roles",
    "semaphore_sets",
    "traffic",
]

_PATTERN = re.compile(r"[*?]|\[.+\]")
_OF_PROCESS = re.compile(r"([0-9]+):([0-9]+)(?:/(.+))?", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """
    A region, or one of its objects.

    Attributes:
        name: The name of the region, as it was given.
        path: The path by which it can be opened.
        object: The name of the object; None: the whole region.
        kind: "named", "path" or "unnamed".
        label: The label of an unnamed region, "" if it has none.
    """

    name: str
    path: Path
    object: str | None
    kind: str
    label: str = ""

    @property
    def region_name(self) -> str | Path:
        """The name for `Region.open`; an unnamed region has none."""
        return self.name if self.kind == "named" else self.path

    def open(self) -> Region:
        """
        Open the region only to look at it, without counting as a user of it.

        Raises:
            RegionNotFoundError: there is none; the text suggests similar names.
            MemlaneError, OSError: it is not a sound region, or may not be opened.
        """
        try:
            if self.kind == "unnamed":
                title = f"region {self.name}"
                location = Location(None, None, _core.BACKING_MEMFD, title)
            elif self.kind == "named":  # as it was found, even a name that `create` would refuse
                title = f"region {self.name!r}"
                location = Location(self.name, self.path, _core.BACKING_NAMED, title)
            else:
                location = Location.parse(self.region_name)
            return Region._look_at(location, self.path)
        except FileNotFoundError:
            raise self.not_found() from None

    def remove(self) -> None:
        """
        Remove a region that no process has open, with its semaphores.

        Raises:
            RegionNotFoundError: there is none.
            BlockingIOError: a process has it open.
            ValueError: it has no name that could be removed.
            MemlaneError, OSError: it is not a region, or may not be removed.
        """
        if self.kind == "unnamed":
            raise ValueError(
                f"region {self.name!r} has no name that could be removed; end the processes that "
                "have it open"
            )
        try:
            remove(self.region_name)
        except FileNotFoundError:
            raise self.not_found() from None

    def not_found(self) -> RegionNotFoundError:
        """The error that it does not exist, with similar names."""
        if self.kind == "unnamed":
            pid, _, number = self.name.partition(":")
            text = f"process {pid} has no descriptor {number}, or it is not visible"
            hint = "; memlane ls --all shows what there is"
        elif self.kind == "path":
            text, hint = f"there is no file {self.name!r}", ""
        else:
            text = f"there is no region {self.name!r}"
            hint = near(self.name, files.all_names()) or "; memlane ls shows what there is"
        return RegionNotFoundError(text + hint, name=self.name, errno=errno.ENOENT)


def find(text: str) -> Target:
    """
    The target of a name: REGION, REGION/OBJECT, a path, or PID:N. It need not exist.

    Raises:
        ValueError: *text* is not a valid name.
    """
    if text.startswith((".", "/")):
        path, inside = Path(text), None
        if not path.exists() and path.parent.is_file():
            path, inside = path.parent, path.name
        return Target(str(path), path, inside, "path")
    matched = _OF_PROCESS.fullmatch(text)
    if matched and not _path_of(text.partition("/")[0]).exists():
        pid, number, inside = matched.groups()
        path = _proc.PROC / pid / "fd" / number
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


def regions(*, unnamed: bool = False) -> list[Target]:
    """All named regions that this user can see; with *unnamed*, the unnamed ones too."""
    # every file with such a name, even one that `create` would refuse
    found = [
        Target(name, SHARED_MEMORY / (PREFIX + name), None, "named") for name in files.all_names()
    ]
    if unnamed:
        for _, (pid, number, label) in _proc.unnamed():
            path = _proc.PROC / str(pid) / "fd" / str(number)
            if _begins_as_region(path):
                found.append(Target(f"{pid}:{number}", path, None, "unnamed", label))
    return found


def matching(pattern: str, *, unnamed: bool = False) -> list[Target]:
    """
    The targets of a name, or of all names that a pattern with `*`, `?` or `[...]` matches: regions,
    or with a "/" in it objects of regions; files, if it begins as a path. A region of that very
    name comes first. No target: nothing matches.

    Args:
        pattern: As for `find`.
        unnamed: Match unnamed regions, too.

    Raises:
        ValueError: *pattern* is neither a pattern nor a valid name.
    """
    if not _PATTERN.search(pattern):
        return [find(pattern)]
    if pattern.startswith((".", "/")):
        return [find(path) for path in sorted(glob.glob(pattern)) if os.path.isfile(path)]
    of_region, slash, of_object = pattern.partition("/")
    there = regions(unnamed=unnamed)
    exact = [target for target in there if target.name == of_region]
    found = exact or [one for one in there if fnmatch.fnmatchcase(one.name, of_region)]
    if not slash:
        return found
    return [
        replace(target, object=name)
        for target in found
        for name in _names_in(target)
        if fnmatch.fnmatchcase(name, of_object)
    ]


def _names_in(target: Target) -> list[str]:
    """The names of the objects of a region; none where they cannot be read."""
    try:
        with target.open() as region:
            return list(region)
    except (MemlaneError, OSError):
        return []


def _begins_as_region(path: Path) -> bool:
    try:
        opened = _core.Descriptor(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    with opened as descriptor:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and files.region_id_of(descriptor) != 0


# ---- facts ---------------------------------------------------------------------------------------


def facts(target: Target, maps: dict[File, list[int]] | None = None) -> dict[str, Any] | None:
    """
    The facts of a region as plain dicts and lists, as `memlane stat --json` prints them. Corrupted
    parts hide nothing else; their errors are facts, too. None: there is no such region.

    Args:
        target: From `find` or `regions`.
        maps: From `mapped_files`, for several calls; None: looked up now.
    """
    known = mapped_files() if maps is None else maps
    told: dict[str, Any] = {"name": target.name, "path": str(target.path)}
    if target.label:
        told["label"] = target.label
    errors: list[str] = []
    try:
        told |= _facts_of_file(target.path, known)
    except FileNotFoundError:
        return None
    except OSError as error:
        errors.append(error_text(error))
    try:
        region = target.open()
    except RegionNotFoundError:
        return None
    except (MemlaneError, OSError) as error:
        errors.append(error_text(error))
    else:
        with region:
            _add_facts_inside(told, region, errors)
    if errors:
        told["error"] = errors[0]
        told["errors"] = errors
    return told


def only(facts: dict[str, Any], objects: Iterable[str]) -> dict[str, Any]:
    """The facts of a region without those of objects that are not among *objects*."""
    if "stats" not in facts:
        return facts
    wanted = set(objects)
    kept = [name for name in facts["objects"] if name in wanted]
    return {
        **facts,
        "objects": kept,
        **{key: {name: facts[key][name] for name in kept} for key in ("kinds", "stats")},
    }


def _facts_of_file(path: Path, maps: dict[File, list[int]]) -> dict[str, Any]:
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
            # If no process is present, those that have it mapped only look at it, as this one.
            "processes": [
                {"pid": pid, "name": _proc.name_of(pid)}
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
        errors.append(error_text(error))
        entries = []
    facts["objects"] = [entry.name for entry in entries]
    facts["kinds"], facts["stats"] = {}, {}
    for entry in entries:
        sizes = {"nbytes": entry.nbytes} if entry.is_sound else {}
        try:
            with closing(region._open_entry(entry)) as made:
                facts["kinds"][entry.name] = type(made).__name__.lower()
                facts["stats"][entry.name] = {**sizes, **made.stats()}
        except Exception as error:  # one object must not hide the others, whatever is in it
            errors.append(error_text(error))
            is_corrupted = isinstance(error, CorruptedError)
            facts["kinds"].setdefault(entry.name, "corrupted" if is_corrupted else "unknown")
            facts["stats"][entry.name] = {**sizes, "error": error_text(error)}
    try:
        rows = region.participants()
    except (MemlaneError, OSError) as error:
        errors.append(error_text(error))
        rows = []
    facts["participants"] = [_of_row(row) for row in rows if row.alive]
    facts["dead"] = [_of_row(row) for row in rows if not row.alive]
    facts["waiting"] = sum(
        stats.get("records", 0) for stats in facts["stats"].values() if "lanes" in stats
    )


def _of_row(row: Participant) -> dict[str, Any]:
    return {"row": row.row, "pid": row.pid, "name": row.name, "start_time": row.start_time}


#: What `stats` of any kind says of a process that has a role.
_STATES = ("alive", "dead", "unknown")


def roles(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """
    The roles that processes have in the objects of a region, as its facts tell them, whatever kinds
    they are: dicts of the object, its kind, the role, its place ("lane 0"), the state of the
    process ("alive", "dead", "unknown"), its pid, and what else `stats` says of that place.
    """
    for name, stats in facts.get("stats", {}).items():
        told = {"object": name, "kind": facts["kinds"][name]}
        for key, value in stats.items():
            if value in _STATES and isinstance(stats.get(f"{key}_pid"), int):
                pid = stats[f"{key}_pid"]
                yield {**told, "role": key, "place": "", "state": value, "pid": pid, "facts": {}}
            if not isinstance(value, list):
                continue
            for place in value:
                if isinstance(place, dict) and isinstance(place.get("pid"), int):
                    yield {**told, **_role_of(key, place)}


def _role_of(key: str, place: dict[str, Any]) -> dict[str, Any]:
    """The role at one of several places of an object."""
    role = next((word for word, value in place.items() if value in _STATES), key)
    number = place.get(key.removesuffix("s"))
    return {
        "role": role,
        "place": "" if number is None else f"{key.removesuffix('s')} {number}",
        "state": place.get(role, "unknown"),
        "pid": place["pid"],
        "facts": {
            word: value
            for word, value in place.items()
            if word not in ("pid", "name", role, key.removesuffix("s"))
        },
    }


def traffic(
    target: Target, before: Mapping[str, list[int]]
) -> dict[str, tuple[list[int], int, float]]:
    """
    What went through each object of a region whose kind can tell: how far it is, and the number and
    the bytes of the records or values since a call before. The bytes of more than 4,096 records of
    a lane are an estimate.

    Args:
        target: From `find` or `regions`.
        before: How far each object was, as the call before told; empty: since their beginning.

    Raises:
        RegionNotFoundError: there is no such region.
        MemlaneError, OSError: it cannot be opened.
    """
    found = {}
    with target.open() as region:
        for entry in region._entries():
            if target.object not in (None, entry.name):
                continue
            try:
                with closing(region._open_entry(entry)) as made:
                    if hasattr(made, "_traffic"):
                        found[entry.name] = made._traffic(before.get(entry.name, []))
            except Exception:  # told by `facts`; one object must not hide the others
                continue
    return found


def semaphore_sets(known_ids: Iterable[str]) -> list[dict[str, Any]]:
    """
    Sets of semaphores without a region among *known_ids*, the `id` facts of regions: those of a
    region in a file, and those left behind.
    """
    known = set(known_ids)
    found = []
    for of_set, in_use in sorted(semaphores.sets_in_use().items()):
        # each looks through all of /dev/shm, so not for the many that belong to a region
        left = [] if of_set in known else semaphores.set_files(of_set)
        if left:
            found.append({"id": of_set, "semaphores": len(left), "in_use": in_use})
    return found


def memory_nbytes(name: str) -> int:
    """
    How many bytes a file takes that `sweep` names: that of a region, or the files of a set of
    semaphores ("semaphores ID").
    """
    of_set = name.removeprefix("semaphores ")
    if of_set != name:
        return sum(map(_blocks_nbytes, semaphores.set_files(of_set)))
    prefix = "" if name.startswith(files.NEW_PREFIX) else PREFIX
    return _blocks_nbytes(SHARED_MEMORY / (prefix + name))


def _blocks_nbytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


# ---- texts ---------------------------------------------------------------------------------------


def near(asked: str, there: Iterable[str]) -> str:
    """The existing name that was probably meant, as the end of an error text; else ""."""
    found = _arguments.near(asked, there)
    return f"; did you mean {found}" if found else ""


def error_text(error: Exception) -> str:
    """The text of an error, without the number that Python puts in front of an OSError of ours."""
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return str(error)
